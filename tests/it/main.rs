//! Every integration test, in one crate.

mod broker;
mod proxy;
mod rabbitmq;
