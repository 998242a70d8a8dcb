//! The cgroup of a running container, as other commands see it: freezing, killing, counting.
//!
//! The runtime makes and removes cgroups; here is only what a path in the state is good for.
//! Everything works without one, too: hosts with the old hierarchy give none to users.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{Error, Result};
use crate::kernel;
use crate::kernel::process::Pid;

/// The path of the cgroup that `pid` is in, if it is another one than ours.
#[must_use]
pub fn own_path(pid: Pid) -> Option<String> {
    let theirs = path_of(&pid.as_raw_nonzero().to_string())?;
    (path_of("self")? != theirs).then_some(theirs)
}

/// The path in the unified hierarchy of a process, as `/proc` names it.
fn path_of(process: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// Where the unified hierarchy is mounted.
fn mount_point() -> Option<&'static Path> {
    static MOUNT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        // Nearly always there: spares the reading of the mount table.
        let usual = Path::new("/sys/fs/cgroup");
        if usual.join("cgroup.procs").exists() {
            return Some(usual.to_owned());
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            after.starts_with("cgroup2 ").then(|| before.split(' ').nth(4).map(PathBuf::from))?
        })
    };
    MOUNT.get_or_init(find).as_deref()
}

/// The directory of a cgroup.
#[must_use]
pub fn dir(path: &str) -> Option<PathBuf> {
    let path = path.strip_prefix('/').filter(|path| !path.is_empty())?;
    Some(mount_point()?.join(path))
}

/// Whether the cgroup is frozen.
#[must_use]
pub fn is_frozen(path: &str) -> bool {
    dir(path).is_some_and(|dir| fs::read(dir.join("cgroup.freeze")).is_ok_and(|text| text.starts_with(b"1")))
}

/// Freezes or thaws all processes of the cgroup.
///
/// # Errors
/// Where there is no cgroup to freeze.
pub fn freeze(path: &str, frozen: bool) -> Result<()> {
    let Some(dir) = dir(path) else { return Err(Error::NoFreezer) };
    write(&dir.join("cgroup.freeze"), if frozen { "1" } else { "0" })
}

/// Kills every process of the cgroup. `false` where there is none.
///
/// # Errors
/// When the kernel refuses.
pub fn kill(path: &str) -> Result<bool> {
    let Some(dir) = dir(path) else { return Ok(false) };
    match write(&dir.join("cgroup.kill"), "1") {
        Ok(()) => Ok(true),
        // Gone with its last process.
        Err(Error::Kernel(e)) if e.io().kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether the kernel killed something in the cgroup for want of memory.
#[must_use]
pub fn was_out_of_memory(path: &str) -> bool {
    let events = dir(path).and_then(|dir| fs::read_to_string(dir.join("memory.events")).ok());
    events.is_some_and(|text| {
        text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"))
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    rustix::fs::open(
        path,
        rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .and_then(|fd| rustix::io::write(fd, text.as_bytes()))
    .map(drop)
    .map_err(|e| kernel::Error::path("write", path, e).into())
}
