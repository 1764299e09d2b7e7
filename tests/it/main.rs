//! x

mod connectors;
