//! System call wrappers, and all `unsafe` code of the crate.
//!
//! Nothing here knows what a container or an image is. Each wrapper makes one
//! system call and fails with an error that carries its operands.

pub mod error;
pub mod idmap;
pub mod poll;
pub mod signal;
pub mod socket;
pub mod tty;

pub use error::{Error, Result};
