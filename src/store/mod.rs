//! The content store.

pub mod digest;

pub use digest::Digest;
