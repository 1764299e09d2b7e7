//! Every integration test, in one crate.

mod amqp;
mod broker;
mod proxy;
mod rabbitmq;
