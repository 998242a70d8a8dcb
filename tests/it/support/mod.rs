//! The sealed environment of a test, its images, its registry and its oracles.

pub mod canary;
pub mod chunked;
pub mod cutter;
pub mod disk;
pub mod env;
pub mod fake;
pub mod image;
pub mod registry;

pub use env::{Outcome, TestEnv};
