//! Tables and properties of `write`.
