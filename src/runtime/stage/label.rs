//! The labels that a security module of the host gives to the program, its keyring and its file systems.
//!
//! Those of processes are asked for by writing to a file of one's own in /proc, and count from the next exec on. That
//! file must be the kernel's: an image that brings a /proc of its own would otherwise decide whether it is confined
//! (CVE-2019-16884). So the parent opens the host's /proc before the child is made, and nothing is looked up in the
//! container's. A user may ask for any profile that is loaded, unless she is confined herself.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::kernel::mount::FileSystemContext;
use crate::kernel::{self, selinux};

use super::super::error::{Error, Result};
use super::super::plan::{MountLabel, Process};
use super::{Stage, mounts};

/// The file of AppArmor alone, and before Linux 5.8 that of whichever module comes first.
const APPARMOR_FILES: [&str; 2] = ["thread-self/attr/apparmor/exec", "thread-self/attr/exec"];

/// SELinux has none of its own.
const SELINUX_EXEC: &str = "thread-self/attr/exec";
const SELINUX_KEY: &str = "thread-self/attr/keycreate";

/// Whether the kernel runs AppArmor.
#[must_use]
pub fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// The host's /proc, for processes that need it; to be called where that is still in sight.
pub(in crate::runtime) fn label_files(process: &Process) -> Result<Option<OwnedFd>> {
    let wanted = process.apparmor_profile.is_some() || process.selinux_label.is_some();
    wanted.then(mounts::host_procfs).transpose()
}

impl Stage<'_> {
    /// Asks for the labels of the program.
    pub(super) fn set_label(&self) -> Result<()> {
        let Some(procfs) = &self.procfs else { return Ok(()) };
        if let Some(profile) = &self.process.apparmor_profile {
            let text = format!("exec {profile}");
            write(procfs, &APPARMOR_FILES, &text).map_err(|errno| match errno {
                // The file is there, so it is the profile that is not.
                Errno::NOENT => Error::invalid(
                    format!("AppArmor profile `{profile}`"),
                    "it is not loaded (`sudo apparmor_parser -r FILE` loads one)",
                ),
                errno => Error::Step {
                    doing: format!("cannot apply the AppArmor profile `{profile}`"),
                    source: errno.into(),
                },
            })?;
        }
        self.write_selinux(procfs, SELINUX_EXEC)
    }

    /// Asks for the label of keys that this process makes: the program may use its session keyring only if that
    /// has its own label.
    pub(super) fn label_keys(&self) -> Result<()> {
        self.procfs.as_ref().map_or(Ok(()), |procfs| self.write_selinux(procfs, SELINUX_KEY))
    }

    fn write_selinux(&self, procfs: &OwnedFd, file: &str) -> Result<()> {
        let Some(label) = &self.process.selinux_label else { return Ok(()) };
        write(procfs, &[file], label)
            .map_err(|errno| Error::SelinuxLabel { label: label.clone(), source: errno.into() })
    }

    /// The label of file systems that are made for the container.
    pub(super) fn mount_label(&self) -> Option<&MountLabel> {
        self.plan.and_then(|plan| plan.mount_label.as_ref())
    }
}

/// Gives a file system that is being made a label for all of its files. In a user namespace the kernel takes one only
/// for overlay, tmpfs, ramfs and devpts (`selinux_set_mnt_opts`).
pub(super) fn label_file_system(context: &FileSystemContext, label: Option<&MountLabel>) -> Result<()> {
    label.map_or(Ok(()), |label| mounts::set_option(context, label.option.as_str(), Some(&label.context)))
}

/// Labels the root of a mounted file system that takes no label when it is made: message queues. Where the policy or
/// the kernel refuses, its queues cannot be used, which is no reason not to start.
pub(super) fn label_root(tree: &OwnedFd, label: Option<&MountLabel>) -> Result<()> {
    let Some(label) = label else { return Ok(()) };
    match selinux::set_file_context(tree, &label.context) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM) => Ok(()),
        Err(errno) => Err(kernel::Error::call("setxattr", label.context.clone(), errno).into()),
    }
}

/// Writes to the first of `files` that the kernel has.
fn write(procfs: &OwnedFd, files: &[&str], text: &str) -> Result<(), Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let open =
        |path| rustix::fs::openat2(procfs, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve);
    let mut found = Err(Errno::OPNOTSUPP);
    for path in files {
        match open(*path) {
            Err(Errno::NOENT) => {}
            opened => {
                found = opened;
                break;
            }
        }
    }
    // The kernel takes it in one piece or not at all.
    rustix::io::write(&found?, text.as_bytes()).map(drop)
}
