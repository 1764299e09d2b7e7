//! Everything that is tested through the public interface, a file per subject.

mod config;
