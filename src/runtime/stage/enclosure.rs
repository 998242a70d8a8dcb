//! The last wall: a process that got hold of something outside of its root can do nothing with it.
//!
//! Namespaces decide what can be named, not what can be used: a directory of the host that comes in as a descriptor
//! (CVE-2024-21626), by a socket or by a link of /proc opens the whole file system around it. Under Landlock every
//! path is followed up to the container's root, or is refused.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{FileType, Mode, OFlags};

use crate::kernel::{self, descriptor, landlock};

use super::super::error::Result;
use super::super::plan::Enclosure;
use super::Stage;

/// Before this version a file could never be moved between directories.
const OLDEST: i32 = 2;

/// Whether the kernel can enclose processes.
#[must_use]
pub fn can_enclose() -> bool {
    landlock::version().is_some_and(|version| version >= OLDEST)
}

impl Stage<'_> {
    /// Puts this process under the rules, where the kernel has them.
    pub(super) fn enclose(&self, enclosure: Enclosure) -> Result<()> {
        let Some(version) = landlock::version().filter(|version| *version >= OLDEST) else { return Ok(()) };
        let mut scopes = 0;
        if enclosure.abstract_sockets {
            scopes |= landlock::SCOPE_ABSTRACT_SOCKETS;
        }
        if enclosure.signals {
            scopes |= landlock::SCOPE_SIGNALS;
        }
        let rules = landlock::Ruleset::new(version, scopes)?;
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| kernel::Error::path("open", "/", errno))?;
        rules.allow(&root, true)?;
        // What the program is given on purpose: it may open /dev/stdout again, which may be a file of the host.
        for number in (0..3).chain(self.kept.iter().copied()) {
            let Ok(given) = descriptor::duplicate(number) else { continue };
            // A directory only where it was asked for by its number.
            allow_given(&rules, given.as_fd(), number > 2)?;
        }
        Ok(rules.restrict_self()?)
    }
}

fn allow_given(rules: &landlock::Ruleset, given: BorrowedFd<'_>, directories: bool) -> Result<()> {
    let stat = rustix::fs::fstat(given).map_err(|errno| kernel::Error::call("fstat", "", errno))?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if is_directory && !directories {
        return Ok(());
    }
    match rules.allow(given, is_directory) {
        // A pipe or socket: such are never refused.
        Err(error) if matches!(error.errno(), Some(libc::EBADFD | libc::EBADF)) => Ok(()),
        result => Ok(result?),
    }
}
