//! Devices: the six that every program expects, links, and those of the spec.
//!
//! A user namespace cannot make device nodes, so the host's are bound; each is
//! checked to be the device that it should be before it is shown.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Dev, FileType, Mode, OFlags};

use crate::kernel::mount::{self, Attributes};
use crate::kernel::{self, cred};

use super::super::error::{Error, Result};
use super::super::plan::{Device, DeviceKind, MountSource};
use super::super::streams::Streams;
use super::Stage;

/// Name, major, minor.
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links in /dev and where they lead. Docker's and podman's `core` to /proc/kcore is left out.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

impl Stage<'_> {
    pub(super) fn make_devices(&mut self) -> Result<()> {
        let plan = self.plan();
        let is_host_dev = |mount: &super::super::plan::Mount| {
            mount.destination == Path::new("/dev") && matches!(mount.source, MountSource::Bind { .. })
        };
        if !plan.mounts.iter().any(is_host_dev) {
            // Nodes of the container's own where they can be made and go away with it: by the host's a container
            // that shares the ids of the host could change the owner and mode of those.
            let own = !self.in_new_user_namespace()
                && plan.mounts.iter().any(|mount| {
                    mount.destination == Path::new("/dev")
                        && mount.attributes.set & mount::NO_DEV == 0
                        && matches!(&mount.source, MountSource::FileSystem { kind, .. } if kind == "tmpfs")
                });
            for (name, major, minor) in DEFAULT {
                let path = Path::new("/dev").join(name);
                if own {
                    let kind = DeviceKind::Character;
                    let node = Device { path, kind, major, minor, mode: None, uid: None, gid: None };
                    match self.make_device(&node) {
                        // Something is mounted there.
                        Err(Error::Kernel(error)) if error.errno() == Some(libc::EEXIST) => {}
                        made => made?,
                    }
                } else {
                    self.bind_device(&path, FileType::CharacterDevice, major, minor)?;
                }
            }
            self.make_links()?;
            if matches!(self.streams, Streams::Terminal { .. }) {
                // Where the terminal will be shown: /dev may be read-only by then.
                self.root().create_file("dev/console", Mode::from_raw_mode(0o600))?;
            }
        }
        // What is a link into the container's own devpts must not become the host's node.
        let known = |device: &Device| {
            let mut names = DEFAULT.iter().map(|(name, ..)| *name).chain(["ptmx"]);
            names.any(|name| device.path == Path::new("/dev").join(name))
        };
        for device in plan.devices.iter().filter(|device| !known(device)) {
            self.make_device(device)?;
        }
        Ok(())
    }

    fn make_links(&self) -> Result<()> {
        let directory = self.root().sub_root("dev")?;
        for (link, target) in LINKS {
            match directory.symlink(target, link) {
                // The image's own, in a container without a file system on /dev.
                Err(error) if error.errno() == Some(libc::EEXIST) => {}
                result => result?,
            }
        }
        Ok(())
    }

    fn make_device(&self, device: &Device) -> Result<()> {
        let kind = match device.kind {
            DeviceKind::Character => FileType::CharacterDevice,
            DeviceKind::Block => FileType::BlockDevice,
            DeviceKind::Fifo => FileType::Fifo,
        };
        if kind != FileType::Fifo && self.in_new_user_namespace() {
            return self.bind_device(&device.path, kind, device.major, device.minor);
        }
        let root = self.root();
        if let Some(parent) = device.path.parent() {
            root.create_dir_all(parent, Mode::from_raw_mode(0o755))?;
        }
        let mode = Mode::from_raw_mode(device.mode.unwrap_or(0o666) & 0o7777);
        let number = rustix::fs::makedev(device.major, device.minor);
        match root.mknod(&device.path, kind, mode, number) {
            Ok(()) => {}
            Err(error) if kind != FileType::Fifo && error.errno() == Some(libc::EPERM) => {
                return self.bind_device(&device.path, kind, device.major, device.minor);
            }
            Err(error) => return Err(error.into()),
        }
        root.set_mode(&device.path, mode)?;
        if device.uid.is_some() || device.gid.is_some() {
            let (uid, gid) =
                (device.uid.unwrap_or(cred::effective_uid()), device.gid.unwrap_or(cred::effective_gid()));
            root.set_owner(&device.path, uid, gid)?;
        }
        Ok(())
    }

    /// Shows the host's node of the same path, or the one that /dev/char or /dev/block names.
    fn bind_device(&self, path: &Path, kind: FileType, major: u32, minor: u32) -> Result<()> {
        let number = rustix::fs::makedev(major, minor);
        let directory = if kind == FileType::BlockDevice { "/dev/block" } else { "/dev/char" };
        let by_number: PathBuf = format!("{directory}/{major}:{minor}").into();
        let node = host_device(path, kind, number).or_else(|_| host_device(&by_number, kind, number))?;
        let tree = mount::clone_tree(&node, c"", false)?;
        // A node has nothing below it that the host could mount later, and CRIU cannot make slaves of one group again.
        let restricted = Attributes::setting(mount::NO_SUID | mount::NO_EXEC);
        mount::set_attributes(&tree, false, Attributes { propagation: mount::PRIVATE, ..restricted })?;
        let target = self.root().create_file(path, Mode::from_raw_mode(0o666))?;
        Ok(mount::attach(&tree, &target)?)
    }
}

/// Opens a node of the host and checks that it is the device.
pub(super) fn host_device(path: &Path, kind: FileType, number: Dev) -> Result<OwnedFd> {
    let fail =
        |source| Error::Step { doing: format!("cannot use the host's device `{}`", path.display()), source };
    let node = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| fail(errno.into()))?;
    let stat = rustix::fs::fstat(&node).map_err(|errno| kernel::Error::path("fstat", path, errno))?;
    if FileType::from_raw_mode(stat.st_mode) != kind || stat.st_rdev != number {
        return Err(fail(std::io::Error::from_raw_os_error(libc::ENODEV)));
    }
    Ok(node)
}

/// The host's /dev/null.
pub(super) fn host_null() -> Result<OwnedFd> {
    host_device(Path::new("/dev/null"), FileType::CharacterDevice, rustix::fs::makedev(1, 3))
}
