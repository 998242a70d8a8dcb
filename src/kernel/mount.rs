//! The mount API that works on handles (Linux 5.12): a file system or a copy of
//! a mount is made detached, gets its flags, and only then is attached to a
//! directory named by a descriptor. No path is resolved twice and there is no
//! moment in which a mount is visible without its restrictions.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::{Error, Result};

/// Attributes of one mount, as `mount_setattr` takes them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attributes {
    /// `MOUNT_ATTR_…` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_…` bits to clear.
    pub clear: u64,
    /// Propagation type (`MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`), or 0 to keep it.
    pub propagation: u64,
}

/// `MOUNT_ATTR_RDONLY`.
pub const READ_ONLY: u64 = 0x01;
/// `MOUNT_ATTR_NOSUID`.
pub const NO_SUID: u64 = 0x02;
/// `MOUNT_ATTR_NODEV`.
pub const NO_DEV: u64 = 0x04;
/// `MOUNT_ATTR_NOEXEC`.
pub const NO_EXEC: u64 = 0x08;
/// `MOUNT_ATTR__ATIME`: the three access-time settings are one field.
pub const ATIME_MASK: u64 = 0x70;
/// `MOUNT_ATTR_NOATIME`.
pub const NO_ATIME: u64 = 0x10;
/// `MOUNT_ATTR_STRICTATIME`.
pub const STRICT_ATIME: u64 = 0x20;
/// `MOUNT_ATTR_NODIRATIME`.
pub const NO_DIR_ATIME: u64 = 0x80;
/// `MOUNT_ATTR_NOSYMFOLLOW` (Linux 5.14).
pub const NO_SYMLINK_FOLLOW: u64 = 0x20_0000;

/// Propagation `MS_UNBINDABLE`.
pub const UNBINDABLE: u64 = libc::MS_UNBINDABLE;
/// Propagation `MS_PRIVATE`.
pub const PRIVATE: u64 = libc::MS_PRIVATE;
/// Propagation `MS_SLAVE`.
pub const SLAVE: u64 = libc::MS_SLAVE;
/// Propagation `MS_SHARED`.
pub const SHARED: u64 = libc::MS_SHARED;

impl Attributes {
    /// Attributes that only set `bits`.
    #[must_use]
    pub const fn setting(bits: u64) -> Self {
        Self { set: bits, clear: 0, propagation: 0 }
    }

    /// Attributes that only change the propagation.
    #[must_use]
    pub const fn propagating(propagation: u64) -> Self {
        Self { set: 0, clear: 0, propagation }
    }

    /// Whether nothing would change.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.set == 0 && self.clear == 0 && self.propagation == 0
    }
}

/// A file system being configured, between `fsopen` and `fsmount`.
#[derive(Debug)]
pub struct FileSystemContext {
    context: OwnedFd,
    kind: String,
}

impl FileSystemContext {
    /// Starts configuring a file system of type `kind`.
    pub fn open(kind: &CStr) -> Result<Self> {
        let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| Error::call("fsopen", kind.to_string_lossy(), errno))?;
        Ok(Self { context, kind: kind.to_string_lossy().into_owned() })
    }

    /// Sets an option that has a value.
    pub fn set(&self, key: &CStr, value: &CStr) -> Result<()> {
        rustix::mount::fsconfig_set_string(self.context.as_fd(), key, value).map_err(|errno| {
            self.error("fsconfig", &format!("{}={}", key.to_string_lossy(), value.to_string_lossy()), errno)
        })
    }

    /// Sets an option without a value.
    pub fn set_flag(&self, key: &CStr) -> Result<()> {
        rustix::mount::fsconfig_set_flag(self.context.as_fd(), key)
            .map_err(|errno| self.error("fsconfig", &key.to_string_lossy(), errno))
    }

    /// Sets an option whose value is an open file.
    pub fn set_fd(&self, key: &CStr, value: impl AsFd) -> Result<()> {
        rustix::mount::fsconfig_set_fd(self.context.as_fd(), key, value.as_fd())
            .map_err(|errno| self.error("fsconfig", &key.to_string_lossy(), errno))
    }

    /// Makes the file system and a detached mount of it.
    pub fn mount(&self, attributes: u64) -> Result<OwnedFd> {
        rustix::mount::fsconfig_create(self.context.as_fd())
            .map_err(|errno| self.error("fsconfig(create)", "", errno))?;
        let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
        rustix::mount::fsmount(self.context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|errno| self.error("fsmount", "", errno))
    }

    /// The error with what the file system wrote about it: the context's
    /// descriptor gives messages such as "e overlay: bad lowerdir".
    fn error(&self, call: &'static str, operand: &str, errno: rustix::io::Errno) -> Error {
        let mut detail = format!("{} {operand}", self.kind).trim_end().to_owned();
        let mut message = [0_u8; 256];
        while let Ok(length @ 1..) = rustix::io::read(self.context.as_fd(), &mut message) {
            detail.push_str(": ");
            detail.push_str(String::from_utf8_lossy(&message[..length]).trim_end());
        }
        Error::call(call, detail, errno)
    }
}

/// Mounts a file system of type `kind` at `target` by the classic call, whose options are one text of up to
/// a page.
pub fn mount_at(target: &CStr, kind: &CStr, options: &CStr) -> Result<()> {
    rustix::mount::mount(kind, target, kind, rustix::mount::MountFlags::empty(), options)
        .map_err(|errno| Error::call("mount", format!("{kind:?} {}", options.to_string_lossy()), errno))
}

/// Takes the topmost mount off `target`.
pub fn detach_at(target: &CStr) -> Result<()> {
    rustix::mount::unmount(target, UnmountFlags::DETACH)
        .map_err(|errno| Error::call("umount", target.to_string_lossy(), errno))
}

/// Copies the mount at `path` below `directory`, detached; with `recursive`
/// also the mounts below it.
pub fn clone_tree(directory: impl AsFd, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(directory, path, flags)
        .map_err(|errno| Error::call("open_tree", path.to_string_lossy(), errno))
}

/// Another `O_PATH` handle to what `tree` is. Unlike the handle that a detached
/// tree was made with, it does not keep the tree in a mount namespace: once that one is closed,
/// the mount can be used through this one but no longer be changed, copied or attached.
pub fn reopen(tree: impl AsFd) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(tree, c"", flags).map_err(|errno| Error::call("open_tree", "", errno))
}

/// Attaches the detached mount `tree` on the file or directory `target`.
pub fn attach(tree: impl AsFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", target, c"", flags)
        .map_err(|errno| Error::call("move_mount", "", errno))
}

/// `struct mount_attr` of the kernel.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes the attributes of a mount, and with `recursive` of all below it.
pub fn set_attributes(mount: impl AsFd, recursive: bool, attributes: Attributes) -> Result<()> {
    set_attributes_at(mount, c"", recursive, attributes)
}

/// Changes the attributes of the mount at `path`.
pub fn set_attributes_at(
    directory: impl AsFd,
    path: &CStr,
    recursive: bool,
    attributes: Attributes,
) -> Result<()> {
    let mut clear = attributes.clear;
    if attributes.set & ATIME_MASK != 0 {
        clear |= ATIME_MASK;
    }
    let arguments = MountAttr {
        attr_set: attributes.set,
        attr_clr: clear,
        propagation: attributes.propagation,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { 0x8000 } else { 0 };
    // SAFETY: the path is a C string and the struct has the size given; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_fd().as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const arguments,
            size_of::<MountAttr>(),
        )
    };
    if result == -1 {
        let detail = format!("{} set {:#x} clear {clear:#x}", path.to_string_lossy(), attributes.set);
        return Err(Error::call("mount_setattr", detail.trim(), io::Error::last_os_error()));
    }
    Ok(())
}

/// Cuts the propagation of every mount of this namespace towards its origin.
pub fn make_all(propagation: u64) -> Result<()> {
    set_attributes_at(CWD, c"/", true, Attributes::propagating(propagation))
}

/// Makes the mounted directory `root` the root of this mount namespace and
/// detaches the old one. `pivot_root(".", ".")` stacks the old root on the
/// same place, so no directory for it is needed inside.
pub fn pivot_root(root: impl AsFd) -> Result<()> {
    let old = rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::path("open", "/", errno))?;
    let error = |call| move |errno| Error::call(call, "", io::Error::from(errno));
    rustix::process::fchdir(root.as_fd()).map_err(error("fchdir"))?;
    rustix::process::pivot_root(c".", c".").map_err(error("pivot_root"))?;
    // The old root lies over the new one now; it goes with all mounts below it.
    rustix::process::fchdir(old.as_fd()).map_err(error("fchdir"))?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).map_err(error("umount"))?;
    rustix::process::chdir(c"/").map_err(error("chdir"))
}
