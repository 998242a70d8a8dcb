//! Namespaces: kinds, sets of kinds, entering and leaving.

use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags};

use super::process::{self, Pid};
use super::{Error, Result};

/// The inode number of the initial user namespace (`PROC_USER_INIT_INO` of the kernel).
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// One kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// Ids and capabilities.
    User,
    /// Mounts.
    Mount,
    /// Process ids.
    Pid,
    /// Network.
    Network,
    /// Host and domain name.
    Uts,
    /// System V and POSIX message queues, shared memory.
    Ipc,
    /// The root of the cgroup tree.
    Cgroup,
    /// Offsets of the monotonic and boot clocks.
    Time,
}

impl Namespace {
    /// All kinds, the user namespace first: it decides what the others allow.
    pub const ALL: [Self; 8] =
        [Self::User, Self::Mount, Self::Pid, Self::Network, Self::Uts, Self::Ipc, Self::Cgroup, Self::Time];

    /// The `CLONE_NEW…` flag.
    #[must_use]
    pub const fn flag(self) -> u32 {
        match self {
            Self::User => libc::CLONE_NEWUSER as u32,
            Self::Mount => libc::CLONE_NEWNS as u32,
            Self::Pid => libc::CLONE_NEWPID as u32,
            Self::Network => libc::CLONE_NEWNET as u32,
            Self::Uts => libc::CLONE_NEWUTS as u32,
            Self::Ipc => libc::CLONE_NEWIPC as u32,
            Self::Cgroup => libc::CLONE_NEWCGROUP as u32,
            Self::Time => 0x80,
        }
    }

    /// The file name in `/proc/PID/ns`.
    #[must_use]
    pub const fn proc_name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mnt",
            Self::Pid => "pid",
            Self::Network => "net",
            Self::Uts => "uts",
            Self::Ipc => "ipc",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

/// A set of kinds of namespaces.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct NamespaceSet(u32);

impl NamespaceSet {
    /// No kind.
    pub const EMPTY: Self = Self(0);

    /// This set and `kind`.
    #[must_use]
    pub const fn with(self, kind: Namespace) -> Self {
        Self(self.0 | kind.flag())
    }

    /// This set without `kind`.
    #[must_use]
    pub const fn without(self, kind: Namespace) -> Self {
        Self(self.0 & !kind.flag())
    }

    /// Whether `kind` is in the set.
    #[must_use]
    pub const fn contains(self, kind: Namespace) -> bool {
        self.0 & kind.flag() != 0
    }

    /// Whether no kind is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags for clone3.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0 as u64
    }
}

impl FromIterator<Namespace> for NamespaceSet {
    fn from_iter<T: IntoIterator<Item = Namespace>>(kinds: T) -> Self {
        kinds.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Display for NamespaceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for kind in Namespace::ALL.into_iter().filter(|kind| self.contains(*kind)) {
            write!(f, "{separator}{}", kind.proc_name())?;
            separator = ",";
        }
        Ok(())
    }
}

/// Opens the namespace of `kind` in which `pid` lives.
pub fn open(pid: Pid, kind: Namespace) -> Result<OwnedFd> {
    open_path(format!("/proc/{}/ns/{}", pid.as_raw_nonzero(), kind.proc_name()))
}

/// Opens a namespace file such as `/proc/self/ns/net`.
pub fn open_path(path: impl AsRef<Path>) -> Result<OwnedFd> {
    let path = path.as_ref();
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::path("open", path, errno))
}

/// The device and inode numbers that identify a namespace.
pub fn identity(namespace: impl AsFd) -> Result<(u64, u64)> {
    let stat = rustix::fs::fstat(namespace).map_err(|errno| Error::call("fstat", "namespace", errno))?;
    Ok((stat.st_dev, stat.st_ino))
}

/// What the kernel calls the namespace of `kind` in which `pid` lives, such as `net:[4026531840]`. It tells
/// namespaces apart as [`identity`] does, and costs one call instead of three.
pub fn name_of(pid: Pid, kind: Namespace) -> Result<CString> {
    let path = format!("/proc/{}/ns/{}", pid.as_raw_nonzero(), kind.proc_name());
    rustix::fs::readlink(&path, Vec::with_capacity(32)).map_err(|errno| Error::path("readlink", &path, errno))
}

/// The kind of the namespace behind a descriptor.
pub fn kind_of(namespace: impl AsFd) -> Result<Option<Namespace>> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: this ioctl takes no argument; on other files it fails with ENOTTY.
    let flag = unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_NSTYPE) };
    if flag < 0 {
        return Err(Error::call("ioctl(NS_GET_NSTYPE)", "", std::io::Error::last_os_error()));
    }
    Ok(Namespace::ALL.into_iter().find(|kind| kind.flag() as i32 == flag))
}

/// Enters one namespace by its file. For pid and time, only later children enter.
pub fn enter(namespace: impl AsFd, kind: Namespace) -> Result<()> {
    let kinds = ThreadNameSpaceType::from_bits_retain(kind.flag());
    // One setns for both kinds of descriptor: it takes the flags as an integer.
    rustix::thread::move_into_thread_name_spaces(namespace.as_fd(), kinds)
        .map_err(|errno| Error::call("setns", kind.proc_name(), errno))
}

/// Enters several namespaces of the process behind `pidfd` in one step, with
/// the rights that its user namespace gives.
pub fn enter_process(pidfd: impl AsFd, kinds: NamespaceSet) -> Result<()> {
    rustix::thread::move_into_thread_name_spaces(
        pidfd.as_fd(),
        ThreadNameSpaceType::from_bits_retain(kinds.0),
    )
    .map_err(|errno| Error::call("setns", kinds.to_string(), errno))
}

/// Whether this process is in the initial user namespace; unknown (no /proc) counts as yes.
#[must_use]
pub fn in_initial_user_namespace() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self/ns/user").map_or(true, |meta| meta.ino() == INITIAL_USER_NAMESPACE)
}

/// Moves this process into new namespaces (for pid and time: its children).
pub fn unshare(kinds: NamespaceSet) -> Result<()> {
    if kinds.contains(Namespace::User) || kinds.contains(Namespace::Mount) {
        process::require_single_thread()?;
    }
    // SAFETY: CLONE_FILES, the flag that makes unshare unsafe, is never in a NamespaceSet.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::from_bits_retain(kinds.0)) }
        .map_err(|errno| Error::call("unshare", kinds.to_string(), errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_show_their_kinds() {
        let set: NamespaceSet = [Namespace::Pid, Namespace::User].into_iter().collect();
        assert_eq!(set.to_string(), "user,pid");
        assert!(set.without(Namespace::User).contains(Namespace::Pid));
        assert!(!set.contains(Namespace::Network));
    }

    #[test]
    fn a_namespace_file_knows_its_kind() {
        for kind in Namespace::ALL {
            let file = open(rustix::process::getpid(), kind).unwrap();
            assert_eq!(kind_of(&file).unwrap(), Some(kind));
        }
    }
}
