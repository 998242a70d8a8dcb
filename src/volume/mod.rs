//! Mount specifications and named volumes.
//!
//! `-v`, `--mount` and `--tmpfs` are parsed to [`Mount`], plain data from which the OCI
//! mounts are made. Parsing looks at text only, except that a `type=glob` pattern is
//! expanded at once; whether a source exists is asked when the container is created.

pub mod error;
pub mod filter;
mod glob;
mod long;
pub mod mount;
pub mod named;
pub mod options;
mod path;
mod relabel;
mod set;
mod short;

pub use error::{Error, Result};
pub(crate) use glob::path_matches;
pub use long::parse_mount;
pub use mount::{Access, Mount, MountOptions, Propagation, Relabel, Source, VolumeOverlay};
pub use named::{Volume, Volumes};
pub use options::{Backing, DriverOptions};
pub use path::clean as clean_path;
pub use relabel::{relabel, shared as shared_context};
pub use set::{MountFlags, collect};
pub use short::{parse_tmpfs, parse_volume};
