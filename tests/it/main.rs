//! Everything that is tested through the public interface, a file per subject.

// A test may fail by panicking; clippy allows it only inside of test functions by itself.
#![allow(clippy::unwrap_used)]

mod amqp;
mod broker;
mod config;
mod connectors;
mod proxy;
mod rabbitmq;
mod redis_server;
mod redis_store;
mod store;
