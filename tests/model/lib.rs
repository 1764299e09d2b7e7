//! The pure core of the product, compiled from its own sources and from nothing else.

#[path = "../../src"]
mod src {
    pub mod domain;
}

pub use src::domain;
