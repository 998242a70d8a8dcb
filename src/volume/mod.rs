//! Mount specifications and named volumes.
//!
//! `-v`, `--mount` and `--tmpfs` are parsed to [`Mount`], plain data that is kept
//! in the container record and from which the OCI mounts are made. Parsing does no
//! I/O; what needs the file system (does the source exist, which volume is it) is
//! asked when the container is created.

pub mod mount;

pub use mount::{Access, Mount, MountOptions, Propagation, Relabel, Source};
