//! What a process shows of its work: metrics, logs, health pages.

pub mod health;
pub mod logs;
pub mod metrics;

pub use health::{NotReady, Readiness};
pub use metrics::Metrics;
