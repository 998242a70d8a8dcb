//! What the user and the administrator decided before rbox started.
//!
//! Owns the environment ([`Env`], read once), the XDG directories ([`Paths`]),
//! containers.conf ([`Config`]), the sub-id files ([`subid`]), specifications of devices ([`cdi`]), the contexts
//! that SELinux has for containers ([`selinux`]) and the time zone ([`zone`]). It reads these files and nothing
//! else, prints nothing, and costs a few failed `open` calls when they are absent.

pub mod cdi;
pub mod containers;
pub mod env;
pub mod error;
mod load;
pub mod paths;
pub mod selinux;
pub mod storage;
pub mod subid;
pub mod zone;

pub use containers::Config;
pub use env::Env;
pub use error::{Error, ErrorKind, Result};
pub use paths::{PathOptions, Paths};
pub use storage::StorageHints;
