//! Landlock: a process gives up, for itself and all that it starts, what lies outside of given hierarchies.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use super::{Error, Result};

/// Ask for the version instead of making a rule set.
const CREATE_VERSION: u32 = 1;
/// A rule about a file or hierarchy.
const RULE_PATH_BENEATH: i32 = 1;

/// Every way to use files and directories up to the version of the interface: each adds to those before.
const FILE_RIGHTS: [(i32, u64); 4] = [(1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15)];
/// Those of a file that is no directory: execute, write, read, truncate, and ioctl of a device.
const RIGHTS_OF_FILES: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15;
/// The version since which there are scopes.
const SCOPES: i32 = 6;

/// Sockets in the abstract namespace of others cannot be connected to.
pub const SCOPE_ABSTRACT_SOCKETS: u64 = 1;
/// Other processes cannot be sent signals.
pub const SCOPE_SIGNALS: u64 = 1 << 1;

#[repr(C)]
struct RulesetAttributes {
    files: u64,
    network: u64,
    scopes: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// The version of the kernel's interface; `None` where it has none, or it is switched off.
#[must_use]
pub fn version() -> Option<i32> {
    let none = std::ptr::null::<RulesetAttributes>();
    // SAFETY: with this flag the kernel reads nothing.
    let result = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, CREATE_VERSION) };
    i32::try_from(result).ok().filter(|version| *version > 0)
}

/// Rules to live by: no file but those below what [`Ruleset::allow`] names.
#[derive(Debug)]
pub struct Ruleset {
    descriptor: OwnedFd,
    rights: u64,
}

impl Ruleset {
    /// Makes rules for a kernel with this version of the interface, and with those of `scopes` that it knows.
    pub fn new(version: i32, scopes: u64) -> Result<Self> {
        let rights = FILE_RIGHTS.iter().filter(|(since, _)| *since <= version).map(|(_, right)| right).sum();
        let scopes = if version >= SCOPES { scopes } else { 0 };
        let attributes = RulesetAttributes { files: rights, network: 0, scopes };
        let size = size_of::<RulesetAttributes>();
        // SAFETY: the kernel reads `size` bytes of the attributes during the call; fields that it does not know are 0.
        let result =
            unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attributes, size, 0_u32) };
        let number = check(result, "landlock_create_ruleset")?;
        // SAFETY: a result that is no error is a new descriptor that nobody else owns.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number as i32) };
        Ok(Self { descriptor, rights })
    }

    /// Leaves everything at and below `place` to the process, which is a directory or not.
    pub fn allow(&self, place: impl AsFd, is_directory: bool) -> Result<()> {
        let allowed = if is_directory { self.rights } else { self.rights & RIGHTS_OF_FILES };
        let rule = PathBeneath { allowed, parent: place.as_fd().as_raw_fd() };
        let ruleset = self.descriptor.as_raw_fd();
        // SAFETY: the kernel reads the rule during the call.
        let result = unsafe {
            libc::syscall(libc::SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &raw const rule, 0_u32)
        };
        check(result, "landlock_add_rule").map(drop)
    }

    /// Puts this process under the rules for good. Needs no_new_privs or `CAP_SYS_ADMIN` in its user namespace.
    pub fn restrict_self(self) -> Result<()> {
        // SAFETY: plain integers.
        let result =
            unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.descriptor.as_raw_fd(), 0_u32) };
        check(result, "landlock_restrict_self").map(drop)
    }
}

fn check(result: libc::c_long, call: &'static str) -> Result<libc::c_long> {
    if result == -1 {
        return Err(Error::call(call, "", io::Error::last_os_error()));
    }
    Ok(result)
}
