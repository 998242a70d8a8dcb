//! How a process gets into H.
//!
//! The maps of a new user namespace with more than one id are written by newuidmap and newgidmap, from outside of
//! it. That takes longer than everything else before a container's first process exists, so a child, the *maker*,
//! makes the namespace and has it mapped while its parent goes on. Then the parent, or a process that it has forked
//! since, joins; the maker keeps the namespace alive until then.
//!
//! Supplementary groups are kept as they are: dropping them would take away access to the
//! user's own files, and `--group-add keep-groups` needs them. What a container's processes
//! get is set by the runtime.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use super::maker::Maker;
use super::{Error, MapKind, Membership, Result, UserMaps, cause, hold, holder, inside};
use crate::config::Paths;
use crate::kernel::idmap::{IdMaps, to_proc_text};
use crate::kernel::ns::{self, Namespace, NamespaceSet};
use crate::kernel::{self, cred, prctl};

pub(super) const USER: NamespaceSet = NamespaceSet::EMPTY.with(Namespace::User);

/// Moves this process into H and makes it root there; it must have one thread.
///
/// The namespace of a living holder recorded in `paths` is joined, if its maps are `maps`.
/// Otherwise the namespace is made, and held for `linger` after its last use.
pub fn enter(paths: &Paths, maps: &UserMaps, linger: Option<Duration>) -> Result<Membership> {
    begin(paths, maps, linger)?.finish()
}

/// Starts what [`enter`] waits for. Nothing changes for this process before [`Entering::finish`].
pub fn begin(paths: &Paths, maps: &UserMaps, linger: Option<Duration>) -> Result<Entering> {
    if inside() {
        return Ok(Entering(Way::Already));
    }
    if let Some((pid, pidfd)) = holder::living(paths, maps).next() {
        return Ok(Entering(Way::Join { pid, pidfd, otherwise: maps.clone() }));
    }
    Ok(Entering(make(maps, || {
        if let Some(linger) = linger {
            // Without a holder the next command makes a namespace of its own.
            let _ = hold::leave_behind(paths, maps, linger);
        }
    })?))
}

/// As [`begin`], but this process stays where it is: the host's root, beside a container that is not below H.
pub fn stay() -> Entering {
    Entering(Way::Already)
}

/// As [`begin`], but for the namespace that one process is in: those of other holders are as
/// good for everything but joining further namespaces of its containers.
pub fn begin_beside(pid: u32, pidfd: OwnedFd) -> Entering {
    Entering(if inside() { Way::Already } else { Way::JoinOnly { pid, pidfd } })
}

fn make(maps: &UserMaps, then: impl FnOnce()) -> Result<Way> {
    Ok(match &maps.kind {
        MapKind::Single { .. } => Way::MapOneself(maps.maps.clone()),
        MapKind::Full(writer) => Way::Made(Maker::start(&maps.maps, writer, then)?),
    })
}

/// A process on its way into H.
#[must_use = "the process is not in the namespace before `finish`"]
#[derive(Debug)]
pub struct Entering(Way);

#[derive(Debug)]
enum Way {
    Already,
    Join { pid: u32, pidfd: OwnedFd, otherwise: UserMaps },
    JoinOnly { pid: u32, pidfd: OwnedFd },
    MapOneself(IdMaps),
    Made(Maker),
}

impl Entering {
    /// Waits until the namespace is mapped, joins it and becomes root.
    pub fn finish(self) -> Result<Membership> {
        let membership = match self.0 {
            Way::Already => return Ok(Membership::Already),
            Way::Join { pid, pidfd, otherwise } => match ns::enter_process(pidfd.as_fd(), USER) {
                Ok(()) => Membership::Joined { pid },
                // It has ended meanwhile. EINVAL: we have threads, and making a namespace will say so as well.
                Err(error) if matches!(error.errno(), Some(libc::ESRCH | libc::EPERM | libc::EINVAL)) => {
                    return Self(make(&otherwise, || ())?).finish();
                }
                Err(error) => return Err(error.into()),
            },
            Way::JoinOnly { pid, pidfd } => {
                ns::enter_process(pidfd.as_fd(), USER)?;
                Membership::Joined { pid }
            }
            Way::MapOneself(maps) => {
                unshare().map_err(cause::of_unshare)?;
                write_single_maps(&maps)?;
                Membership::Made
            }
            Way::Made(maker) => {
                maker.join()?;
                Membership::Made
            }
        };
        // Our host ids are 0 inside already; this also settles the saved ids.
        cred::set_gid(0)?;
        cred::set_uid(0)?;
        // Gaining capabilities made the process non-dumpable, and with that its own files in
        // /proc belong to the host's root: it could not write the id maps of its children.
        prctl::set_dumpable(true)?;
        Ok(membership)
    }

    /// The child that somebody must reap where another process than the one that began finishes.
    ///
    /// # Errors
    /// When the process has no free descriptor.
    pub fn child(&self) -> Result<Option<OwnedFd>> {
        let Way::Made(maker) = &self.0 else { return Ok(None) };
        let copy = maker.pidfd().try_clone_to_owned();
        Ok(Some(copy.map_err(|source| kernel::Error::call("fcntl(F_DUPFD)", "", source))?))
    }
}

/// Moves this process into a new user namespace.
pub(super) fn unshare() -> kernel::Result<()> {
    ns::unshare(USER)?;
    // newuidmap checks that it maps a process of its caller, by the owner of /proc/PID, and
    // that is root for a process that is not dumpable.
    prctl::set_dumpable(true)
}

/// Without privileges, a map of the caller's own id may be written, once setgroups is given up
/// (otherwise groups that *deny* access could be dropped: CVE-2014-8989).
fn write_single_maps(maps: &IdMaps) -> Result<()> {
    let write = |path: &str, text: &str| write_map(Path::new(path), text).map_err(Error::Map);
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &to_proc_text(&maps.uid))?;
    write("/proc/self/gid_map", &to_proc_text(&maps.gid))
}

/// The kernel takes a map in one write only.
pub(super) fn write_map(path: &Path, text: &str) -> kernel::Result<()> {
    let written = File::options().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| kernel::Error::path("write", path, source))
}
