//! Kernel parameters, masked paths and read-only paths.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::kernel::mount::{self, Attributes, FileSystemContext};

use super::super::error::{Error, Result};
use super::super::plan::{Membership, MountLabel};
use super::label::label_file_system;
use super::{Stage, devices, mounts};

impl Stage<'_> {
    /// Writes kernel parameters through a procfs that nobody else has seen: one
    /// mounted in the root could be a fake (CVE-2019-16884 and its successors). Whose pid namespace is the
    /// host's may not mount one, and takes the host's: what is written goes to the namespaces of the writer.
    pub(super) fn set_kernel_parameters(&self) -> Result<()> {
        let plan = self.plan();
        if plan.sysctls.is_empty() {
            return Ok(());
        }
        let flags = mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
        let procfs = match FileSystemContext::open(c"proc")?.mount(flags) {
            Err(error) if error.errno() == Some(libc::EPERM) && plan.namespaces.pid != Membership::New => {
                mounts::host_procfs()?
            }
            mounted => mounted?,
        };
        for (name, value) in &plan.sysctls {
            write_parameter(&procfs, name, value).map_err(|source| Error::Step {
                doing: format!("cannot set kernel parameter `{name}` to `{value}`"),
                source: source.into(),
            })?;
        }
        Ok(())
    }

    /// Covers masked paths: directories by one shared empty read-only tmpfs,
    /// files by /dev/null. Then makes the read-only paths so.
    pub(super) fn mask_paths(&mut self) -> Result<()> {
        let plan = self.plan();
        let mut empty: Option<OwnedFd> = None;
        let mut null: Option<OwnedFd> = None;
        for path in &plan.masked_paths {
            let Some(target) = self.existing(path)? else { continue };
            let cover = if mounts::is_dir(&target)? {
                let directory = match empty.take() {
                    Some(directory) => directory,
                    None => empty_directory(self.mount_label())?,
                };
                match mount::clone_tree(&directory, c"", false) {
                    // Before Linux 6.15 a detached mount cannot be copied: each path gets one of its own.
                    Err(error) if error.errno() == Some(libc::EINVAL) => directory,
                    cover => {
                        empty = Some(directory);
                        cover?
                    }
                }
            } else {
                let node = match null.take() {
                    Some(node) => node,
                    None => devices::host_null()?,
                };
                let cover = mount::clone_tree(&node, c"", false)?;
                let restricted = Attributes::setting(mount::READ_ONLY | mount::NO_EXEC);
                mount::set_attributes(
                    &cover,
                    false,
                    Attributes { propagation: mount::PRIVATE, ..restricted },
                )?;
                null = Some(node);
                cover
            };
            mount::attach(&cover, &target)?;
        }
        for path in &plan.read_only_paths {
            if let Some(target) = self.existing(path)? {
                make_read_only(&target)?;
            }
        }
        Ok(())
    }

    /// What is at `path` in the root, if anything is: kernels differ in what /proc and /sys hold.
    fn existing(&self, path: &Path) -> Result<Option<OwnedFd>> {
        match self.root().open_path(path) {
            Ok(target) => Ok(Some(target)),
            Err(error) => match error.errno() {
                Some(libc::ENOENT | libc::ENOTDIR | libc::EACCES) => Ok(None),
                _ => Err(error.into()),
            },
        }
    }
}

/// A tmpfs with nothing in it, for all masked directories.
fn empty_directory(label: Option<&MountLabel>) -> Result<OwnedFd> {
    let context = FileSystemContext::open(c"tmpfs")?;
    context.set(c"source", c"tmpfs")?;
    context.set(c"size", c"0")?;
    context.set(c"nr_inodes", c"1")?;
    context.set(c"mode", c"0555")?;
    label_file_system(&context, label)?;
    Ok(context.mount(mount::READ_ONLY | mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC)?)
}

fn make_read_only(target: &OwnedFd) -> Result<()> {
    let tree = mount::clone_tree(target, c"", true)?;
    mount::set_attributes(&tree, true, Attributes::setting(mount::READ_ONLY))?;
    Ok(mount::attach(&tree, target)?)
}

fn write_parameter(procfs: &OwnedFd, name: &str, value: &str) -> Result<(), rustix::io::Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(procfs, parameter_path(name), flags, Mode::empty(), resolve)?;
    rustix::io::write(file.as_fd(), value.as_bytes()).map(drop)
}

/// `.` separates and `/` stands for a dot in a name, as sysctl(8) has it.
fn parameter_path(name: &str) -> String {
    let swapped = name.chars().map(|c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    });
    "sys/".chars().chain(swapped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths() {
        assert_eq!(parameter_path("net.ipv4.conf.eth0/1.forwarding"), "sys/net/ipv4/conf/eth0.1/forwarding");
    }
}
