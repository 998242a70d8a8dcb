//! The cgroup of a running container, as other commands see it: freezing, killing.
//!
//! The runtime makes cgroups and the monitor removes them; here is what the directory in the state is
//! good for. It may be empty: hosts with the old hierarchy give none to users.

use std::fs::{self, File};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{Error, Result};
use crate::kernel::file;
use crate::runtime::cgroup::Cgroup;

/// Whether the cgroup is frozen.
#[must_use]
pub fn is_frozen(dir: &str) -> bool {
    !dir.is_empty()
        && file::read_small(&Path::new(dir).join("cgroup.freeze")).is_ok_and(|text| text.starts_with(b"1"))
}

/// Freezes or thaws all processes of the cgroup.
///
/// # Errors
/// Where there is no cgroup to freeze.
pub fn freeze(dir: &str, frozen: bool) -> Result<()> {
    if dir.is_empty() {
        return Err(Error::NoFreezer);
    }
    Ok(Cgroup::open(Path::new(dir))?.freeze(frozen)?)
}

/// Kills every process of the cgroup, if there is one.
pub fn kill(dir: &str) {
    if dir.is_empty() {
        return;
    }
    // Gone with its last process, or a kernel before 5.14: the first process is killed by itself.
    let _ = Cgroup::open(Path::new(dir)).and_then(|cgroup| cgroup.kill());
}

/// Removes the cgroup of a container that has ended and whose monitor could not do it, with whoever is left in it.
pub fn remove(dir: &str) {
    if dir.is_empty() {
        return;
    }
    // It is gone already where systemd made it.
    let _ = Cgroup::open(Path::new(dir)).map(|cgroup| cgroup.clear());
}

/// How often the kernel has killed something in the cgroup of a living container for want of memory.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    events: File,
    kills: u64,
}

impl MemoryWatch {
    /// Begins to watch, where there is a cgroup that counts.
    pub(super) fn begin(dir: &str) -> Option<Self> {
        if dir.is_empty() {
            return None;
        }
        let events = File::open(Path::new(dir).join("memory.events")).ok()?;
        let mut watch = Self { events, kills: 0 };
        // The kernel tells of what is newer than the last look.
        watch.look()?;
        Some(watch)
    }

    /// A descriptor with an exceptional condition once there is something to look at. It is always readable.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// At the end of the container: whether anything was killed, and whether since the last look. The file is open
    /// already; a cgroup that is gone has nothing to add.
    pub(super) fn conclude(mut self) -> (bool, bool) {
        let news = self.look() == Some(true);
        (self.kills > 0, news)
    }

    /// Whether something was killed since the last look; nothing if the cgroup is gone.
    pub(super) fn look(&mut self) -> Option<bool> {
        let mut text = [0; 512];
        let length = self.events.read_at(&mut text, 0).ok()?;
        let kills = kills(std::str::from_utf8(&text[..length]).ok()?);
        Some(kills > std::mem::replace(&mut self.kills, kills))
    }
}

fn kills(text: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

/// Whether the kernel killed something in the cgroup for want of memory.
#[must_use]
pub fn was_out_of_memory(dir: &str) -> bool {
    !dir.is_empty()
        && fs::read_to_string(Path::new(dir).join("memory.events")).is_ok_and(|text| kills(&text) > 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn kills_are_counted() {
        for (text, count) in [
            ("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n", 2),
            ("oom_kill 0\n", 0),
            ("oom_kill x\n", 0),
            ("", 0),
        ] {
            assert_eq!(super::kills(text), count, "{text}");
        }
    }
}
