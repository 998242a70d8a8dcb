//! cgroups: version 2 only.
//!
//! A container gets a cgroup of its own below the caller's, if the caller may make
//! one; it is cloned into it, because moving a process later costs some 0.7 ms.
//! On hosts with version 1 or both, and where nothing is delegated to the user,
//! there is none. Limits are an error then: they are never silently ignored.

mod split;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::kernel::process::Pid;
use crate::kernel::{self, path::RootDir};

use super::error::{Error, Result};
use super::plan::Plan;

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

/// Makes the cgroup of a container and applies its limits. `None` where there can be none
/// and none is needed.
pub(super) fn create(plan: &Plan) -> Result<Option<Cgroup>> {
    if plan.cgroup.disabled {
        return Ok(None);
    }
    let made = make(plan);
    match made {
        Ok(cgroup) => Ok(Some(cgroup)),
        Err(_) if plan.cgroup.settings.is_empty() && !plan.cgroup.required => Ok(None),
        Err(error) => Err(error),
    }
}

/// The path of a cgroup that another runtime shall make for a container: absolute from the root of the
/// hierarchy. `None` where there can be none and none is needed.
pub(super) fn path_for_other(plan: &Plan) -> Result<Option<PathBuf>> {
    if plan.cgroup.disabled {
        return Ok(None);
    }
    let possible = is_version_2() && may_make(&Path::new(MOUNT).join(relative(&own_cgroup()?)));
    match (&plan.cgroup.path, possible) {
        (Some(path), true) => Ok(Some(path.clone())),
        (None, true) => Ok(Some(own_cgroup()?.join(format!("rbox-{}", name(plan))))),
        (_, false) if plan.cgroup.settings.is_empty() && !plan.cgroup.required => Ok(None),
        (_, false) => Err(Error::unsupported("resource limits: no cgroup can be made here")),
    }
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn may_make(directory: &Path) -> bool {
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_ok()
}

/// The cgroup of a process, if it is another one than the caller's.
pub(super) fn open_of(pid: Pid) -> Option<Cgroup> {
    let theirs = cgroup_path(&pid.as_raw_nonzero().to_string()).ok()?;
    if !is_version_2() || theirs == own_cgroup().ok()? {
        return None;
    }
    Cgroup::open(&below_mount(&theirs).ok()?).ok()
}

fn make(plan: &Plan) -> Result<Cgroup> {
    if !is_version_2() {
        return Err(Error::unsupported("resource limits: this host does not use cgroup v2 alone"));
    }
    let own = own_cgroup()?;
    let relative = match &plan.cgroup.path {
        // systemd's form SLICE:PREFIX:NAME; without its manager only the last parts can be used.
        Some(path) if path.to_string_lossy().contains(':') => {
            let text = path.to_string_lossy();
            let mut parts = text.splitn(3, ':').skip(1);
            own.join(format!("{}-{}.scope", parts.next().unwrap_or("rbox"), parts.next().unwrap_or("")))
        }
        Some(path) if path.is_absolute() => path.clone(),
        Some(path) => own.join(path),
        None => own.join(format!("rbox-{}", name(plan))),
    };
    let path = below_mount(&relative)?;
    // Never a cgroup that exists: its processes would be killed with the container.
    let parent = path.parent().expect("it lies below the mount");
    make_all(parent)?;
    rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755))
        .map_err(|errno| kernel::Error::path("mkdir", &path, errno))?;
    let cgroup = Cgroup::open(&path)?;
    match limit(&cgroup, parent, &plan.cgroup.settings) {
        Ok(()) => Ok(cgroup),
        Err(error) => {
            let _ = cgroup.remove();
            Err(error)
        }
    }
}

fn name(plan: &Plan) -> String {
    if plan.identity.id.is_empty() { std::process::id().to_string() } else { plan.identity.id.clone() }
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

fn make_all(path: &Path) -> Result<()> {
    let root = RootDir::open(Path::new(MOUNT))?;
    let relative = path.strip_prefix(MOUNT).unwrap_or(path);
    root.create_dir_all(relative, Mode::from_raw_mode(0o755))?;
    Ok(())
}

/// Enables the controllers that the settings need, and writes them.
fn limit(cgroup: &Cgroup, parent: &Path, settings: &[(String, String)]) -> Result<()> {
    let mut enabled: Vec<&str> = Vec::new();
    for (file, _) in settings {
        let controller = file.split('.').next().unwrap_or(file);
        if controller != "cgroup" && !enabled.contains(&controller) {
            enabled.push(controller);
        }
    }
    if !enabled.is_empty() {
        let parent = Cgroup::open(parent)?;
        for controller in enabled {
            // Fails with EBUSY while processes are in the parent, with ENOENT where it is not delegated.
            parent.write("cgroup.subtree_control", &format!("+{controller}")).map_err(|error| {
                Error::Step {
                    doing: format!("resource limits: the {controller} controller is not available here"),
                    source: match error {
                        Error::Kernel(error) => {
                            io::Error::from_raw_os_error(error.errno().unwrap_or(libc::EIO))
                        }
                        other => io::Error::other(other.to_string()),
                    },
                }
            })?;
        }
    }
    settings.iter().try_for_each(|(file, value)| cgroup.write(file, value))
}

/// Whether version 2 is all that this host uses.
#[must_use]
pub fn is_version_2() -> bool {
    rustix::fs::statfs(MOUNT).is_ok_and(|stat| stat.f_type as u64 == CGROUP2_SUPER_MAGIC)
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

/// The cgroup of a process, if it is another one than the caller's.
pub(super) fn of_process(pid: Pid) -> Result<Option<OwnedFd>> {
    if !is_version_2() {
        return Ok(None);
    }
    let theirs = cgroup_path(&pid.as_raw_nonzero().to_string())?;
    if theirs == own_cgroup()? {
        return Ok(None);
    }
    let cgroup = Cgroup::open(&below_mount(&theirs)?)?;
    let check = rustix::fs::accessat(
        &cgroup.directory,
        "cgroup.procs",
        rustix::fs::Access::WRITE_OK,
        AtFlags::empty(),
    );
    check.map_err(|errno| kernel::Error::path("access", cgroup.path.join("cgroup.procs"), errno))?;
    Ok(Some(cgroup.directory))
}

#[cfg(test)]
mod tests {
    use super::*;

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
