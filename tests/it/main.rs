//! Everything that is tested through the public interface, a file per subject.

#![allow(clippy::unwrap_used)]

mod amqp;
mod broker;
mod config;
mod connectors;
mod kills;
mod pipeline;
mod proxy;
mod rabbitmq;
mod redis_server;
mod redis_store;
mod sandbox;
mod store;
