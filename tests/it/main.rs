//! The integration tests: one crate, one file per subject.

mod sandbox;
