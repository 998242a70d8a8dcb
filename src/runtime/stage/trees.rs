//! Trees that the parent prepares: those that the container's root may not reach.
//!
//! A container whose root is not the caller is a stranger in her home: it may neither enter the store nor the
//! sources of bind mounts; where it has her id but not as root, it needs the group of every directory above
//! them too. There the parent, who may, opens them in a mount namespace of its own before it makes the child,
//! and hands over detached trees.
//!
//! The same goes for what another container has mounted, of which only its own mount namespace can give a copy.

use std::os::fd::{AsFd as _, OwnedFd, RawFd};

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use crate::kernel::idmap::{IdMaps, to_inside, to_outside};
use crate::kernel::mount;
use crate::kernel::ns::{self, Namespace, NamespaceSet};
use crate::kernel::{self};

use super::super::error::Result;
use super::super::plan::{Mount, MountSource, Plan, RootSource, UserNamespace};
use super::mounts::{clone_source, is_dir, tree_root};
use super::rootfs::{mount_file, mount_overlay, open_host, open_source};
use super::{borrow, copy_up, identity};

/// Where a prepared tree belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// The root file system.
    Root,
    /// The mount of this number.
    Mount(usize),
    /// What is to get another owner in the mount of this number.
    Owned(usize),
}

/// Prepared trees.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Trees(Vec<(Place, OwnedFd)>);

impl Trees {
    /// Takes a tree out.
    pub(super) fn take(&mut self, place: Place) -> Option<OwnedFd> {
        let index = self.0.iter().position(|(found, _)| *found == place)?;
        Some(self.0.swap_remove(index).1)
    }

    pub(super) fn descriptors(&mut self) -> impl Iterator<Item = &mut OwnedFd> {
        self.0.iter_mut().map(|(_, tree)| tree)
    }

    /// What passes an exec.
    pub(super) fn pack(&self, pass: impl Fn(&OwnedFd) -> Result<RawFd>) -> Result<Vec<(Place, RawFd)>> {
        self.0.iter().map(|(place, tree)| Ok((*place, pass(tree)?))).collect()
    }

    pub(super) fn unpack(list: Vec<(Place, RawFd)>, adopt: impl Fn(RawFd) -> OwnedFd) -> Self {
        Self(list.into_iter().map(|(place, number)| (place, adopt(number))).collect())
    }
}

/// Prepares what the child will not reach. This process gets a mount namespace of its own.
///
/// # Errors
/// When a source cannot be opened.
pub(in crate::runtime) fn prepare(plan: &Plan) -> Result<Trees> {
    let mut trees = joined(plan)?;
    let maps = match &plan.namespaces.user {
        UserNamespace::Host => return Ok(Trees(trees)),
        UserNamespace::New(maps) if to_outside(&maps.uid, 0) == Some(kernel::cred::effective_uid()) => {
            return Ok(Trees(trees));
        }
        UserNamespace::New(maps) => Some(maps),
        UserNamespace::Join(_) => None,
    };
    if ns::unshare(NamespaceSet::default().with(Namespace::Mount)).is_err() {
        // It has no right to mount; maybe the child reaches everything all the same.
        return Ok(Trees(trees));
    }
    // What the host mounts later still arrives here.
    mount::make_all(mount::SLAVE)?;
    let label = plan.mount_label.as_ref();
    let root = match &plan.root {
        RootSource::Bind(path) => mount::clone_tree(open_host(path)?, c"", true)?,
        RootSource::Overlay(overlay) => mount_overlay(overlay, label)?,
    };
    trees.push((Place::Root, root));
    for (index, mount) in plan.mounts.iter().enumerate() {
        match &mount.source {
            MountSource::Bind { path, below, recursive } => {
                let source = open_source(path, below.as_deref())?;
                if mount.chown || mount.copy_up {
                    let tree = mount::clone_tree(&source, c"", false)?;
                    adopt(mount, maps, &tree)?;
                    trees.push((Place::Owned(index), tree));
                }
                trees.push((Place::Mount(index), clone_source(&source, path, *recursive)?));
            }
            MountSource::Overlay(overlay) => {
                trees.push((Place::Mount(index), mount_overlay(overlay, label)?));
            }
            MountSource::File(file) => trees.push((Place::Mount(index), mount_file(file, label)?)),
            MountSource::Copy { .. }
            | MountSource::Joined { .. }
            | MountSource::FileSystem { .. }
            | MountSource::Cgroup => {}
        }
    }
    Ok(Trees(trees))
}

/// What other containers give.
fn joined(plan: &Plan) -> Result<Vec<(Place, OwnedFd)>> {
    let mut trees = Vec::new();
    for (index, mount) in plan.mounts.iter().enumerate() {
        if let MountSource::Joined { namespace, path } = &mount.source
            && let Some(tree) = borrow::borrow(namespace, path)?
        {
            trees.push((Place::Mount(index), tree));
        }
    }
    Ok(trees)
}

/// Gives what the container shall own an owner whom it knows: only then can it give it to its user.
fn adopt(mount: &Mount, maps: Option<&IdMaps>, tree: &OwnedFd) -> Result<()> {
    let Some(maps) = maps else { return Ok(()) };
    let (Some(uid), Some(gid)) = (to_outside(&maps.uid, 0), to_outside(&maps.gid, 0)) else { return Ok(()) };
    let stat = rustix::fs::fstat(tree).map_err(|errno| kernel::Error::call("fstat", "", errno))?;
    let known = to_inside(&maps.uid, stat.st_uid).is_some() && to_inside(&maps.gid, stat.st_gid).is_some();
    let fresh = is_dir(tree)? && copy_up::is_empty(tree.as_fd())?;
    if known || !(mount.chown || fresh) {
        return Ok(());
    }
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        identity::change_owner_below(&tree_root(tree.as_fd())?, uid, gid)?;
    }
    kernel::path::set_owner_fd(tree.as_fd(), uid, gid)
        .map_err(|errno| kernel::Error::call("fchownat", "", errno).into())
}
