//! Arguments that several commands share, and the grammars of their values.

pub mod containers;
pub mod create;
pub mod csv;
pub mod fds;
pub mod go;
pub mod limits;
pub mod registry;
