//! cgroups: version 2 only.
//!
//! A container gets a cgroup of its own: in a scope that the user's systemd makes, or below the caller's cgroup where
//! that is delegated. It is cloned into it, because moving a process later costs some 0.7 ms, and leaves a moment in
//! which nothing is limited. On hosts with version 1 or both, and where nothing is delegated to the user,
//! there is none. Limits are an error then: they are never silently ignored.
//!
//! | file | owns |
//! |---|---|
//! | `devices` | which devices a container may use |
//! | `make` | where a container's cgroup is, its controllers and limits |
//! | `scope` | scopes: cgroups that systemd makes and removes |
//! | `split` | the caller's cgroup in two halves, for services |
//! | `manager`, `wire` | requests to systemd; D-Bus messages |

mod devices;
mod make;
mod manager;
mod scope;
mod split;
mod wire;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use crate::kernel;
use crate::kernel::process::Pid;

use super::error::{Error, Result};

pub(super) use devices::access as device_access;
pub use make::{available, change, none, numbers};
pub(super) use make::{create, path_for_other};
pub use manager::Address;
pub use scope::{Asked, SLICE, SYSTEM_SLICE, Scope, unit_of};

pub use super::spec::cgroup_settings as settings;
pub use split::Split;

const MOUNT: &str = "/sys/fs/cgroup";
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// A cgroup.
#[derive(Debug)]
pub struct Cgroup {
    directory: OwnedFd,
    path: PathBuf,
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Cgroup {
    /// Opens the cgroup whose directory is `path`.
    ///
    /// # Errors
    /// When it is gone.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| kernel::Error::path("open", path, errno))?;
        Ok(Self { directory, path: path.to_owned() })
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Kills every process in it and below.
    ///
    /// # Errors
    /// When the kernel is older than 5.14.
    pub fn kill(&self) -> Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// Stops or continues every process in it and below.
    ///
    /// # Errors
    /// When the cgroup is gone.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        self.write("cgroup.freeze", if frozen { "1" } else { "0" })
    }

    /// Whether it is frozen.
    ///
    /// # Errors
    /// When the cgroup is gone.
    pub fn is_frozen(&self) -> Result<bool> {
        Ok(self.read("cgroup.freeze")?.trim() == "1")
    }

    /// The processes in it, as this process sees them.
    ///
    /// # Errors
    /// When the cgroup is gone.
    pub fn processes(&self) -> Result<Vec<i32>> {
        Ok(self.read("cgroup.procs")?.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Removes it with the cgroups below, in which no process may be left.
    ///
    /// # Errors
    /// When a process is left.
    pub fn remove(&self) -> Result<()> {
        remove_tree(&self.path).map_err(|source| kernel::Error::path("rmdir", &self.path, source).into())
    }

    /// Removes it with what may be left in it: without a pid namespace of its own, the container's
    /// other processes do not end with the first one.
    pub fn clear(&self) {
        if self.remove().is_ok() {
            return;
        }
        // Before Linux 5.14 there is no such file, and an empty cgroup is no error.
        let _ = self.kill();
        for _ in 0..50 {
            if self.remove().is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Writes one of its files.
    ///
    /// # Errors
    /// When the kernel refuses the value.
    pub fn write(&self, file: &str, value: &str) -> Result<()> {
        let fail =
            |call| move |errno| kernel::Error::path(call, self.path.join(file), io::Error::from(errno));
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.directory, file, flags, Mode::empty()).map_err(fail("open"))?;
        rustix::io::write(&opened, value.as_bytes()).map_err(fail("write"))?;
        Ok(())
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.path.join(file);
        fs::read_to_string(&path).map_err(|source| kernel::Error::path("read", path, source).into())
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// The cgroup of a process, if it is another one than the caller's.
pub(super) fn open_of(pid: Pid) -> Option<Cgroup> {
    let theirs = cgroup_path(&pid.as_raw_nonzero().to_string()).ok()?;
    if !is_version_2() || theirs == own_cgroup().ok()? {
        return None;
    }
    Cgroup::open(&below_mount(&theirs).ok()?).ok()
}

/// The directory of a cgroup path, which must not lead out of the hierarchy.
fn below_mount(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::from(MOUNT);
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::invalid("linux.cgroupsPath", "it has a `..`"));
            }
        }
    }
    if clean == Path::new(MOUNT) {
        return Err(Error::invalid("linux.cgroupsPath", "the root cgroup cannot be a container's"));
    }
    Ok(clean)
}

/// Whether version 2 is all that this host uses.
#[must_use]
pub fn is_version_2() -> bool {
    rustix::fs::statfs(MOUNT).is_ok_and(|stat| stat.f_type as u64 == CGROUP2_SUPER_MAGIC)
}

/// The controllers that systemd has handed to the manager of the user `uid`; nothing where she has none.
#[must_use]
pub fn of_user_manager(uid: u32) -> Option<Vec<String>> {
    let file = format!("{MOUNT}/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers");
    let text = fs::read_to_string(file).ok()?;
    Some(text.split_whitespace().map(str::to_owned).collect())
}

fn own_cgroup() -> Result<PathBuf> {
    cgroup_path("self")
}

/// The line of version 2 in a process's cgroup file.
fn cgroup_path(process: &str) -> Result<PathBuf> {
    let path = format!("/proc/{process}/cgroup");
    let text = fs::read_to_string(&path).map_err(|source| kernel::Error::path("read", &path, source))?;
    let line = text.lines().find_map(|line| line.strip_prefix("0::"));
    line.map(PathBuf::from).ok_or_else(|| Error::unsupported("a kernel without cgroup v2"))
}

/// In which cgroup a further process of a container starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ExecCgroup {
    /// In that of the first process, wherever it has gone.
    #[default]
    OfFirst,
    /// In the container's, which has this directory; in that of the first process where the container has handed out
    /// controllers there, because then the kernel lets no process in.
    Container(PathBuf),
    /// In this one, and nowhere else.
    Exactly(PathBuf),
}

impl ExecCgroup {
    /// The cgroup `path` of a container whose own one has the directory `container`.
    ///
    /// # Errors
    /// When the path leads out of the container's.
    pub fn below(container: &Path, path: &str) -> Result<Self> {
        let invalid = |why: &str| Err(Error::invalid("--cgroup", format!("`{}` {why}", path.escape_debug())));
        let relative = path.trim_start_matches('/');
        if relative.contains('\0')
            || Path::new(relative).components().any(|part| part == Component::ParentDir)
        {
            return invalid("is not a sub cgroup path");
        }
        if relative.contains(':') && !container.join(relative).exists() {
            return invalid("names controllers, and cgroup v2 has one path for all: give the path alone");
        }
        Ok(Self::Exactly(container.join(relative)))
    }

    /// Its path from the root of the hierarchy.
    fn path(&self, first: Pid) -> Result<PathBuf> {
        let from_root =
            |directory: &Path| Path::new("/").join(directory.strip_prefix(MOUNT).unwrap_or(directory));
        match self {
            Self::Exactly(directory) => Ok(from_root(directory)),
            Self::Container(directory) if takes_processes(directory) => Ok(from_root(directory)),
            Self::Container(_) | Self::OfFirst => cgroup_path(&first.as_raw_nonzero().to_string()),
        }
    }
}

/// The rule of "no internal processes": who hands out controllers has no processes.
fn takes_processes(directory: &Path) -> bool {
    fs::read_to_string(directory.join("cgroup.subtree_control")).is_ok_and(|text| text.trim().is_empty())
}

/// Where a further process of the container of `first` is to start, if it is another cgroup than the caller's, and the
/// caller may put processes there.
pub(super) fn for_exec(first: Pid, choice: &ExecCgroup) -> Result<Option<OwnedFd>> {
    if !is_version_2() {
        return Ok(None);
    }
    let theirs = choice.path(first)?;
    if theirs == own_cgroup()? {
        return Ok(None);
    }
    let cgroup = Cgroup::open(&below_mount(&theirs)?)?;
    // A process of the container may have made cgroups of its own below; they are the container's as well.
    if !common_is_writable(&theirs)?
        && !theirs.ancestors().any(|path| scope::enter_beside(path).unwrap_or(false))
    {
        let denied = rustix::io::Errno::ACCESS;
        return Err(kernel::Error::path("access", cgroup.path.join("cgroup.procs"), denied).into());
    }
    Ok(Some(cgroup.directory))
}

/// Moves this process to the cgroup whose directory is `directory`.
pub(super) fn join(directory: &OwnedFd) -> Result<()> {
    let fail = |errno| kernel::Error::call("write", "cgroup.procs", io::Error::from(errno));
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory, "cgroup.procs", flags, Mode::empty()).map_err(fail)?;
    rustix::io::write(&opened, b"0").map_err(fail)?;
    Ok(())
}

/// Whether the user may move processes between the caller's cgroup and `theirs`: the kernel wants her to be able to
/// write `cgroup.procs` in the nearest one above both.
fn common_is_writable(theirs: &Path) -> Result<bool> {
    let own = own_cgroup()?;
    let common: PathBuf =
        own.components().zip(theirs.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
    let directory = Path::new(MOUNT).join(common.strip_prefix("/").unwrap_or(&common));
    Ok(rustix::fs::access(directory.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_of_an_exec_are_the_containers() {
        let container = Path::new("/sys/fs/cgroup/x/container");
        for (path, below) in [("/", ""), ("", ""), ("a", "a"), ("/a/b", "a/b"), ("./a", "./a")] {
            let found = ExecCgroup::below(container, path).unwrap();
            assert_eq!(found, ExecCgroup::Exactly(container.join(below)), "{path}");
        }
        for bad in ["..", "/..", "a/../../b", "a/..", "cpu:a", "a\0"] {
            assert!(ExecCgroup::below(container, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_stay_in_the_hierarchy() {
        assert_eq!(
            below_mount(Path::new("/user.slice/x")).unwrap(),
            Path::new("/sys/fs/cgroup/user.slice/x")
        );
        for bad in ["/", "/../x", "/a/../../b", "."] {
            assert!(below_mount(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
