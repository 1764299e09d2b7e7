//! Tables and properties of `resolve`.
