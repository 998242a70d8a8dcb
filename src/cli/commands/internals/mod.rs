//! `rbox internals`: what rbox and its package call rbox with. Hidden, and free to change.

pub mod builtin;
pub mod generate;
pub mod hello;
