//! The cgroup of a running container, as other commands see it: freezing, killing.
//!
//! The runtime makes cgroups and the monitor removes them; here is what the directory in the state is
//! good for. It may be empty: hosts with the old hierarchy give none to users.

use std::fs;
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

/// Whether the kernel killed something in the cgroup for want of memory.
#[must_use]
pub fn was_out_of_memory(dir: &str) -> bool {
    !dir.is_empty()
        && fs::read_to_string(Path::new(dir).join("memory.events")).is_ok_and(|text| {
            text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"))
        })
}
