//! Everything that needs a server, a process or a socket: one crate, one file per subject.

#![allow(clippy::unwrap_used, reason = "what tests share may fail by panicking, as tests may")]

mod redis_server;
mod redis_store;
mod store;
