//! Every integration test, in one crate.

// A test may fail by panicking; clippy allows it only inside of test functions by itself.
#![allow(clippy::unwrap_used)]

mod amqp;
mod broker;
mod proxy;
mod rabbitmq;
