//! The user's own namespace, called H: how its id maps are found and how a process enters it.
//!
//! Ids on disk are ids of H. Every command that writes the store, and every monitor, is inside.
//! A process must be single-threaded to enter.

mod cause;
mod enter;
pub mod error;
mod hold;
mod holder;
mod maker;
pub mod maps;
mod trial;

use crate::kernel::ns;

pub use enter::{Entering, begin, begin_beside, enter, stay};
pub use error::{Error, Result};
pub use holder::{end_holders, reclaim_records};
pub use maps::{MapKind, MapWriter, SingleReason, UserMaps, user_maps};
pub use trial::{Worth, try_out};

/// How a process got into H.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// It was inside when rbox started.
    Already,
    /// It joined the namespace that a running process holds.
    Joined {
        /// The holder.
        pid: u32,
    },
    /// It made the namespace.
    Made,
}

/// Whether this process is root of a user namespace that is not the initial one: under
/// `rbox unshare`, under another tool's equivalent, or in a container. That namespace is H then.
#[must_use]
pub fn inside() -> bool {
    rustix::process::geteuid().is_root()
        && !ns::in_initial_user_namespace()
        && rustix::thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_ADMIN))
}
