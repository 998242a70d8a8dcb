//! Mounts: each is made detached, restricted, then attached to a target that was
//! found or made inside the root.

use std::ffi::CString;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode};

use crate::kernel::mount::{self, Attributes, FileSystemContext};
use crate::kernel::path::RootDir;
use crate::kernel::{self, file};

use super::super::error::{Error, Result};
use super::super::plan::{FileSource, LabelOption, Membership, Mount, MountLabel, MountSource};
use super::label::{label_file_system, label_root};
use super::rootfs::{c_bytes, c_path, mount_file, mount_overlay, open_host, open_source};
use super::trees::Place;
use super::{Stage, copy_up};

const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// Attributes that only restrict. Others may be locked by the host (EPERM): then
/// the mount stays as strict as it was.
const RESTRICTIONS: u64 =
    mount::READ_ONLY | mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC | mount::NO_SYMLINK_FOLLOW;

/// Files in /proc over which tools such as lxcfs may mount. Anything else there could
/// make the runtime write to a fake (CVE-2019-16884, CVE-2019-19921).
const PROC_TARGETS: [&str; 8] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

impl Stage<'_> {
    pub(super) fn mount_all(&mut self) -> Result<()> {
        let plan = self.plan();
        for (index, mount) in plan.mounts.iter().enumerate() {
            self.mount_one(index, mount).map_err(|error| in_mount(&mount.destination, error))?;
        }
        Ok(())
    }

    fn mount_one(&mut self, index: usize, mount: &Mount) -> Result<()> {
        match &mount.source {
            MountSource::Bind { path, below, recursive } => {
                self.bind(index, mount, (path, below.as_deref()), *recursive)
            }
            MountSource::Copy { path } => {
                let tree = self.copy_of(path)?;
                self.attach(mount, "copy", &tree)
            }
            MountSource::Joined { .. } => match self.trees.take(Place::Mount(index)) {
                Some(tree) => self.attach(mount, "bind", &tree),
                None => Ok(()),
            },
            MountSource::FileSystem { kind, source, options } => {
                let context = FileSystemContext::open(&c_text(kind)?)?;
                context.set(c"source", &c_text(source)?)?;
                for (key, value) in options {
                    match set_option(&context, key, value.as_deref()) {
                        // A terminal belongs to the group tty only where that group exists.
                        Err(_) if kind == "devpts" && key == "gid" => {}
                        result => result?,
                    }
                }
                if kind == "tmpfs" && !has_mode_of_its_own(&mount.source) {
                    self.keep_mode(&context, &mount.destination)?;
                }
                self.label(&context, kind, options)?;
                let tree = context.mount(0)?;
                if kind == "mqueue" {
                    label_root(&tree, self.mount_label())?;
                }
                self.attach(mount, kind, &tree)
            }
            MountSource::Overlay(overlay) => {
                let tree = match self.trees.take(Place::Mount(index)) {
                    Some(tree) => tree,
                    None => mount_overlay(overlay, self.mount_label())?,
                };
                self.attach(mount, "overlay", &tree)
            }
            MountSource::File(file) => {
                let tree = match self.trees.take(Place::Mount(index)) {
                    Some(tree) => tree,
                    None => mount_file(file, self.mount_label())?,
                };
                let destination = self.place_of(file, &mount.destination)?;
                self.attach(&Mount { destination, ..mount.clone() }, "overlay", &tree)
            }
            MountSource::Cgroup => {
                let (tree, own) = self.cgroup_tree()?;
                let mut mount = mount.clone();
                if !own {
                    // It is the host's: processes of the container must not move themselves in it.
                    mount.recursive_attributes.set |= mount::READ_ONLY;
                }
                self.attach(&mount, "cgroup2", &tree)
            }
        }
    }

    /// Gives a new file system the container's label, where it has none of its own.
    fn label(
        &self,
        context: &FileSystemContext,
        kind: &str,
        options: &[(String, Option<String>)],
    ) -> Result<()> {
        let labelled = options.iter().any(|(key, _)| LabelOption::parse(key).is_some());
        match kind {
            "tmpfs" | "ramfs" | "devpts" if !labelled => label_file_system(context, self.mount_label()),
            _ => Ok(()),
        }
    }

    /// Where a file goes: below a directory, or onto what is no directory.
    fn place_of(&self, file: &FileSource, destination: &Path) -> Result<PathBuf> {
        let below = destination.join(&file.name);
        match self.root().open_path(destination) {
            Ok(found) if is_dir(&found)? => Ok(below),
            Ok(_) if file.needs_directory => {
                let what = format!("mount at `{}`", destination.display());
                Err(Error::invalid(what, "it is a file, and there is more than one blob"))
            }
            Err(error) if error.errno() != Some(libc::ENOENT) => Err(error.into()),
            Err(_) if file.needs_directory => Ok(below),
            Ok(_) | Err(_) => Ok(destination.to_owned()),
        }
    }

    /// Gives a tmpfs the mode of the directory that it covers: /var/cache stays root's, /tmp everybody's.
    fn keep_mode(&self, context: &FileSystemContext, destination: &Path) -> Result<()> {
        // There may be none yet.
        let Ok(directory) = self.root().open_path(destination) else { return Ok(()) };
        let stat = rustix::fs::fstat(&directory).map_err(|errno| kernel::Error::call("fstat", "", errno))?;
        Ok(context.set(c"mode", &c_text(&format!("{:04o}", stat.st_mode & 0o7777))?)?)
    }

    /// A file on the container's tmpfs for copies. Its content comes last: the engine may write it
    /// until the surroundings are ready.
    fn copy_of(&mut self, path: &Path) -> Result<OwnedFd> {
        if self.files.is_none() {
            self.files = Some(tmpfs_for_files(self.mount_label())?);
        }
        let files = self.files.as_ref().expect("made above");
        let name = Path::new(path.file_name().unwrap_or(path.as_os_str()));
        match files.create_new(name, Mode::from_raw_mode(0o644)) {
            Ok(copy) => self.copies.push((path.to_owned(), copy)),
            // The same file at a second place.
            Err(error) if error.errno() == Some(libc::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        match mount::clone_tree(files, &c_path(name)?, false) {
            Err(error) if error.errno() == Some(libc::EINVAL) => self.mounted_copy_of(path, name),
            copy => Ok(copy?),
        }
    }

    /// The same where a detached mount cannot be copied, before Linux 6.15: a tmpfs for this file alone covers a place
    /// of this namespace for a moment.
    fn mounted_copy_of(&mut self, path: &Path, name: &Path) -> Result<OwnedFd> {
        self.copies.retain(|(other, _)| other != path);
        let files = tmpfs_for_files(self.mount_label())?;
        self.copies.push((path.to_owned(), files.create_new(name, Mode::from_raw_mode(0o644))?));
        mount::attach(files.as_fd(), open_host(Path::new("/proc"))?)?;
        let copy = mount::clone_tree(&files, &c_path(name)?, false);
        mount::detach_at(c"/proc")?;
        Ok(copy?)
    }

    pub(super) fn fill_copies(&mut self) -> Result<()> {
        /// Engines make files of a few lines; a user may have given a longer /etc/hosts.
        const MAX_SIZE: u64 = 4 << 20;
        for (path, mut copy) in std::mem::take(&mut self.copies) {
            let content = file::read_limited(&path, MAX_SIZE)?;
            copy.write_all(&content).map_err(|source| kernel::Error::path("write", &path, source))?;
        }
        Ok(())
    }

    /// The container's view of its cgroup; where the kernel refuses one, the host's.
    fn cgroup_tree(&self) -> Result<(OwnedFd, bool)> {
        if self.plan().namespaces.cgroup == Membership::New {
            let context = FileSystemContext::open(c"cgroup2")?;
            context.set(c"source", c"cgroup")?;
            if let Ok(tree) = context.mount(0) {
                return Ok((tree, true));
            }
        }
        let host = open_host(Path::new("/sys/fs/cgroup"))?;
        Ok((mount::clone_tree(&host, c"", true)?, false))
    }

    fn bind(
        &mut self,
        index: usize,
        mount: &Mount,
        (path, below): (&Path, Option<&Path>),
        recursive: bool,
    ) -> Result<()> {
        let (tree, own) = match self.trees.take(Place::Mount(index)) {
            Some(tree) => (tree, self.trees.take(Place::Owned(index))),
            None => {
                let source = open_source(path, below)?;
                let own = (mount.chown || mount.copy_up).then(|| mount::clone_tree(&source, c"", false));
                (clone_source(&source, path, recursive)?, own.transpose()?)
            }
        };
        if let Some(own) = own {
            // Nothing says whose a new volume is that the image knows nothing of: it becomes the program's.
            let fresh = || -> Result<bool> {
                Ok(!self.root().exists(&mount.destination)? && copy_up::is_empty(own.as_fd())?)
            };
            if mount.chown || fresh()? {
                self.chown.push(own);
            }
        }
        let mut mount = mount.clone();
        if mount.attributes.propagation == 0 && mount.recursive_attributes.propagation == 0 {
            mount.recursive_attributes.propagation = mount::PRIVATE;
        }
        self.attach(&mount, "bind", &tree)
    }

    fn attach(&mut self, mount: &Mount, kind: &str, tree: &OwnedFd) -> Result<()> {
        let is_dir = is_dir(tree)?;
        let target = self.target(&mount.destination, kind, is_dir, tree.as_fd())?;
        if mount.copy_up && is_dir {
            copy_up::fill(target.as_fd(), tree.as_fd(), !has_mode_of_its_own(&mount.source))?;
        }
        let mut attributes = mount.attributes;
        if kind == "tmpfs" && attributes.set & mount::READ_ONLY != 0 {
            // Targets of mounts and devices are still to be made in it: /dev may be one.
            attributes.set &= !mount::READ_ONLY;
            self.read_only.push(tree.try_clone().map_err(|source| kernel::Error::call("dup", "", source))?);
        }
        restrict(tree.as_fd(), true, mount.recursive_attributes)?;
        restrict(tree.as_fd(), false, attributes)?;
        Ok(mount::attach(tree, &target)?)
    }

    /// Finds the target inside the root, or makes it.
    fn target(&self, path: &Path, kind: &str, is_dir: bool, tree: BorrowedFd<'_>) -> Result<OwnedFd> {
        if path == Path::new("/") {
            return Err(Error::invalid("mounts", "the root itself is no target"));
        }
        let root = self.root();
        let own_proc = kind == "proc" || file_system(tree)? == PROC_SUPER_MAGIC;
        if path == Path::new("/proc") && !own_proc {
            return Err(Error::invalid("mount at `/proc`", "only a proc file system may be there"));
        }
        if own_proc || kind == "sysfs" {
            // A link would lead masks and read-only paths astray (CVE-2023-27561).
            if root.lstat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory)
            {
                let what = format!("mount at `{}`", path.display());
                return Err(Error::invalid(what, "it is not an ordinary directory"));
            }
        }
        let target = if is_dir {
            root.create_dir_all(path, Mode::from_raw_mode(0o755))?
        } else {
            root.create_file(path, Mode::from_raw_mode(0o644))?
        };
        if file_system(target.as_fd())? == PROC_SUPER_MAGIC
            && !PROC_TARGETS.iter().any(|known| path == Path::new(known))
        {
            let what = format!("mount at `{}`", path.display());
            return Err(Error::invalid(what, "it lies in the container's /proc"));
        }
        Ok(target)
    }
}

pub(super) fn clone_source(source: &OwnedFd, path: &Path, recursive: bool) -> Result<OwnedFd> {
    mount::clone_tree(source, c"", recursive).map_err(|error| match error.errno() {
        // Leaving out what lies below would show what it covers.
        Some(libc::EINVAL) if !recursive => Error::invalid(
            format!("bind mount of `{}`", path.display()),
            "there are mounts below it, which the kernel does not let a user namespace leave out: use rbind",
        ),
        _ => error.into(),
    })
}

/// Sets one option of a file system.
pub(super) fn set_option(context: &FileSystemContext, key: &str, value: Option<&str>) -> Result<()> {
    let key = c_text(key)?;
    match value {
        Some(value) => context.set(&key, &c_text(value)?)?,
        None => context.set_flag(&key)?,
    }
    Ok(())
}

/// Sets attributes while the mount is still detached. What only loosens may be refused.
fn restrict(tree: BorrowedFd<'_>, recursive: bool, attributes: Attributes) -> Result<()> {
    let strict =
        Attributes { set: attributes.set & RESTRICTIONS, clear: 0, propagation: attributes.propagation };
    if !strict.is_empty() {
        mount::set_attributes(tree, recursive, strict)?;
    }
    let rest = Attributes { set: attributes.set & !RESTRICTIONS, clear: attributes.clear, propagation: 0 };
    if !rest.is_empty() {
        match mount::set_attributes(tree, recursive, rest) {
            Err(error) if error.errno() == Some(libc::EPERM) => {}
            result => result?,
        }
    }
    Ok(())
}

pub(in crate::runtime) fn is_dir(fd: impl AsFd) -> Result<bool> {
    let stat = rustix::fs::fstat(fd).map_err(|errno| kernel::Error::call("fstat", "", errno))?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn file_system(fd: BorrowedFd<'_>) -> Result<u64> {
    let stat = rustix::fs::fstatfs(fd).map_err(|errno| kernel::Error::call("fstatfs", "", errno))?;
    Ok(stat.f_type as u64)
}

/// The host's /proc, which this process goes on seeing until it enters the root.
pub(in crate::runtime) fn host_procfs() -> Result<OwnedFd> {
    let procfs = open_host(Path::new("/proc"))?;
    if file_system(procfs.as_fd())? != PROC_SUPER_MAGIC {
        return Err(Error::invalid("the host's `/proc`", "it is no proc file system"));
    }
    Ok(procfs)
}

/// A handle by which paths below a mounted tree are reached.
pub(super) fn tree_root(tree: BorrowedFd<'_>) -> Result<RootDir> {
    let fd = tree.try_clone_to_owned().map_err(|source| kernel::Error::call("dup", "", source))?;
    Ok(RootDir::from_fd(fd, "/"))
}

fn c_text(text: &str) -> Result<CString> {
    c_bytes(text.as_bytes().to_vec())
}

fn in_mount(destination: &Path, error: Error) -> Error {
    match error {
        Error::Kernel(error) => {
            let doing = format!("cannot mount `{}`: {error}", destination.display());
            let errno = error.errno().unwrap_or(libc::EIO);
            Error::Step { doing, source: std::io::Error::from_raw_os_error(errno) }
        }
        Error::Step { doing, source } => {
            Error::Step { doing: format!("cannot mount `{}`: {doing}", destination.display()), source }
        }
        other => other,
    }
}

/// Whether a mount was given a mode, which then counts for more than the image's.
fn has_mode_of_its_own(source: &MountSource) -> bool {
    matches!(source, MountSource::FileSystem { options, .. } if options.iter().any(|(key, _)| key == "mode"))
}

/// A tmpfs for copies of small files, detached.
fn tmpfs_for_files(label: Option<&MountLabel>) -> Result<RootDir> {
    let context = FileSystemContext::open(c"tmpfs")?;
    context.set(c"source", c"files")?;
    context.set(c"size", c"16m")?;
    context.set(c"mode", c"0755")?;
    label_file_system(&context, label)?;
    let tree = context.mount(mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC)?;
    Ok(RootDir::from_fd(tree, "/"))
}
