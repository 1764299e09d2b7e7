//! Everything that needs a server, a process or a socket: one crate, one file per subject.

mod redis_server;
mod redis_store;
mod store;
