//! `rbox pod …`: there are no pods yet. What scripts call to clean up works on none.

pub mod create;
pub mod exists;
pub mod list;
pub mod prune;
pub mod rm;
