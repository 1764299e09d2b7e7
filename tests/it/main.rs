//! Everything that is tested through the public interface, a file per subject.

mod config;
//! Every integration test, in one crate.

mod broker;
mod proxy;
mod rabbitmq;
