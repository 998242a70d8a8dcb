//! The label that a security module of the host gives to the program.
//!
//! It is asked for by writing to a file of one's own in /proc, and counts from the next exec on. That file must be the
//! kernel's: an image that brings a /proc of its own would otherwise decide whether it is confined (CVE-2019-16884).
//! So the parent opens the host's /proc before the child is made, and nothing is looked up in the container's.
//! A user may ask for any profile that is loaded, unless she is confined herself.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::super::error::{Error, Result};
use super::super::plan::Process;
use super::{Stage, mounts};

/// The file of AppArmor alone, and before Linux 5.8 that of whichever module comes first.
const FILES: [&str; 2] = ["thread-self/attr/apparmor/exec", "thread-self/attr/exec"];

/// Whether the kernel runs AppArmor.
#[must_use]
pub fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// Whether the kernel runs SELinux, whose labels rbox does not set.
#[must_use]
pub fn has_selinux() -> bool {
    std::path::Path::new("/sys/fs/selinux/enforce").exists()
}

/// The host's /proc, for processes that need it; to be called where that is still in sight.
pub(in crate::runtime) fn label_files(process: &Process) -> Result<Option<OwnedFd>> {
    process.apparmor_profile.as_ref().map(|_| mounts::host_procfs()).transpose()
}

impl Stage<'_> {
    /// Asks for the profile of the program.
    pub(super) fn set_label(&self) -> Result<()> {
        let (Some(profile), Some(procfs)) = (&self.process.apparmor_profile, &self.procfs) else {
            return Ok(());
        };
        write(procfs, format!("exec {profile}").as_bytes()).map_err(|errno| match errno {
            // The file is there, so it is the profile that is not.
            Errno::NOENT => Error::invalid(
                format!("AppArmor profile `{profile}`"),
                "it is not loaded (`sudo apparmor_parser -r FILE` loads one)",
            ),
            errno => Error::Step {
                doing: format!("cannot apply the AppArmor profile `{profile}`"),
                source: errno.into(),
            },
        })
    }
}

fn write(procfs: &OwnedFd, text: &[u8]) -> Result<(), Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let open =
        |path| rustix::fs::openat2(procfs, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve);
    let file = match open(FILES[0]) {
        Err(Errno::NOENT) => open(FILES[1]).map_err(|errno| match errno {
            Errno::NOENT => Errno::OPNOTSUPP,
            errno => errno,
        })?,
        opened => opened?,
    };
    // The kernel takes it in one piece or not at all.
    rustix::io::write(&file, text).map(drop)
}
