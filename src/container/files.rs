//! The files of a container, running or not, for `cp` and its like.
//!
//! A running container is reached by a handle on `/proc/PID/root`, so everything that is mounted in it is seen as
//! the container sees it. The root of any other is mounted for this process alone; what its volumes and bind
//! mounts would cover is found by their targets.
//!
//! Paths of a container are resolved by the kernel below its root (`openat2`), once: whatever the container swaps
//! meanwhile, nothing outside of it is reached (CVE-2018-15664, CVE-2019-10152, CVE-2021-41089). No program of the
//! container is run and no library of it is loaded (CVE-2019-14271).

use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::create::CreateRequest;
use super::lookup::read_json;
use super::root::{self, clear_volatile, layers};
use super::{ContainerId, Containers, Error, Record, Result, Status};
use crate::kernel::file::Flock;
use crate::kernel::idmap::{IdMaps, to_outside};
use crate::kernel::ns::{self, Namespace, NamespaceSet};
use crate::kernel::path::RootDir;
use crate::kernel::{self, cred, mount};
use crate::runtime::{self, RootSource, UserLookup};
use crate::store::{Driver, Store};
use crate::volume;

/// How many links the last name of a path may be, one after the other.
const MAX_LINKS: usize = 40;

/// A container whose files are about to be reached. Made before the user's namespace is entered: only the caller
/// is above every namespace that a container of his can be in.
#[derive(Debug)]
pub struct Door {
    record: Record,
    live: Option<RootDir>,
}

/// The files of one container.
#[derive(Debug)]
pub struct Files {
    /// The container's id.
    pub id: ContainerId,
    root: RootDir,
    /// Container ids in terms of ids on disk.
    maps: IdMaps,
    live: bool,
    workdir: PathBuf,
    lookup: UserLookup,
    /// What covers directories of a root that is not in use.
    covers: Vec<Cover>,
    /// Keeps the container from being started meanwhile.
    _lock: Option<Flock>,
}

/// A bind mount or volume of a container that does not run.
#[derive(Debug)]
struct Cover {
    target: PathBuf,
    source: PathBuf,
    writable: bool,
}

/// Something that is there.
#[derive(Debug)]
pub struct Found {
    /// A handle (`O_PATH`) on it.
    pub handle: OwnedFd,
    /// It is a directory.
    pub is_dir: bool,
    /// Its name, links followed; empty for the root.
    pub name: OsString,
}

/// A place to write to.
#[derive(Debug)]
pub struct Target {
    /// The directory: the path itself, or the one above it.
    pub dir: OwnedFd,
    /// The path of that directory, for messages.
    pub label: PathBuf,
    /// What the path names, if that is no directory.
    pub name: Option<OsString>,
    /// The path leads to something.
    pub exists: bool,
}

impl Containers {
    /// What the user asked for when the container was made.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn request(&self, id: &ContainerId) -> Result<Option<CreateRequest>> {
        read_json(&self.dir(id).join("request.json"), 1)
    }

    /// Opens the way to a container's files.
    ///
    /// # Errors
    /// When the state cannot be read, or the kernel denies access to the processes.
    pub fn door(&self, record: Record) -> Result<Door> {
        let mut state = self.state(&record.id)?;
        let runs = |status| matches!(status, Status::Running | Status::Stopping | Status::Paused);
        let refusal = "the container does not get to its program, until when it has no files";
        if runs(state.status)
            && let Err(error) = self.first_process(&record, runs, refusal)
        {
            state = self.state(&record.id)?;
            if runs(state.status) {
                return Err(error);
            }
        }
        let stored = state.stored.filter(|_| state.status.is_alive());
        let Some(init) = stored.map(|stored| stored.init) else { return Ok(Door { record, live: None }) };
        let path = PathBuf::from(format!("/proc/{}/root", init.pid));
        let root = RootDir::open(&path);
        // Only now it is known whose root that was.
        match init.open()? {
            Some(_) => Ok(Door { record, live: Some(RootDir::from_fd(take(root?)?, "/")) }),
            None => Ok(Door { record, live: None }),
        }
    }
}

fn take(root: RootDir) -> Result<OwnedFd> {
    let fd = root.as_fd().try_clone_to_owned().map_err(|e| kernel::Error::path("dup", root.path(), e))?;
    Ok(fd)
}

impl Door {
    /// The container's id.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.record.id
    }

    /// Gets to the files. The process has one thread and is in the user's namespace; for a container that does not
    /// run it gets a mount namespace of its own, and `/` as working directory.
    ///
    /// # Errors
    /// When the root cannot be mounted.
    pub fn enter(self, containers: &Containers, store: &Store) -> Result<Files> {
        let Self { record, live } = self;
        let request = containers.request(&record.id)?;
        let is_live = live.is_some();
        let (root, covers, lock) = match live {
            Some(root) => (root, Vec::new(), None),
            None => {
                let lock = containers.lock(&record.id)?;
                (mount_idle(containers, store, &record)?, covers(&record), Some(lock))
            }
        };
        let mut lookup = request.map(|request| request.extras.lookup).unwrap_or_default();
        if is_live {
            lookup.passwd_entries.clear();
            lookup.group_entries.clear();
        }
        Ok(Files {
            id: record.id,
            root,
            maps: record.root.maps,
            live: is_live,
            workdir: Path::new("/").join(record.process.working_dir),
            lookup,
            covers,
            _lock: lock,
        })
    }
}

/// Mounts the root of a container that does not run.
fn mount_idle(containers: &Containers, store: &Store, record: &Record) -> Result<RootDir> {
    let (dir, root) = (containers.dir(&record.id), &record.root);
    let state = containers.state(&record.id)?;
    if state.status.is_alive() {
        let what = format!("container {} was started meanwhile", record.id);
        return Err(Error::WrongState { what, status: state.status });
    }
    if root.unowned && state.stored.is_none() {
        store.make_upper(&layers(root)?, &root.maps, &dir.join("upper"), &dir.join("work"))?;
    }
    refuse_fuse(store, record)?;
    clear_volatile(&dir);
    let mut source = root::source(store, &dir, root)?;
    if let RootSource::Overlay(overlay) = &mut source {
        // Once done it shall last.
        overlay.volatile = false;
    }
    ns::unshare(NamespaceSet::EMPTY.with(Namespace::Mount))?;
    mount::make_all(mount::SLAVE)?;
    Ok(RootDir::from_fd(runtime::mount_root(&source)?, "/"))
}

impl Containers {
    /// The root of a container as it is now, without what is mounted in it, read-only and for this process alone;
    /// it may run. The process has one thread and is in the user's namespace; it gets a mount namespace of its own.
    ///
    /// # Errors
    /// When the root cannot be mounted.
    pub fn snapshot(&self, store: &Store, record: &Record) -> Result<OwnedFd> {
        refuse_fuse(store, record)?;
        let mut source = root::source(store, &self.dir(&record.id), &record.root)?;
        if let RootSource::Overlay(overlay) = &mut source
            && let Some(upper) = overlay.upper.take()
        {
            // No second mount may write to an upper directory, but any number may read it as one layer more.
            overlay.lowers.insert(0, overlay.upper_base.join(upper));
            overlay.work = None;
            overlay.volatile = false;
        }
        root::mount_alone(&source)
    }
}

impl Containers {
    /// Mounts the root of a container in the mount namespace of this process, and returns where. One that runs shows
    /// its files read-only, because its root cannot be mounted twice for writing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn mount(&self, store: &Store, record: &Record) -> Result<PathBuf> {
        let at = self.dir(&record.id).join("merged");
        if is_mount_point(&at)? {
            return Ok(at);
        }
        refuse_fuse(store, record)?;
        let dir = self.dir(&record.id);
        let mut source = root::source(store, &dir, &record.root)?;
        if let RootSource::Overlay(overlay) = &mut source {
            overlay.volatile = false;
            if self.state(&record.id)?.status.is_alive() {
                if let Some(upper) = overlay.upper.take() {
                    overlay.lowers.insert(0, overlay.upper_base.join(upper));
                }
                overlay.work = None;
            } else {
                clear_volatile(&dir);
            }
        }
        let target = RootDir::open(&at)?;
        mount::attach(runtime::mount_root(&source)?, &target)?;
        Ok(at)
    }

    /// Where [`Self::mount`] has mounted the root of a container, in this process's mount namespace.
    ///
    /// # Errors
    /// When the directory cannot be looked at.
    pub fn mounted(&self, id: &ContainerId) -> Result<Option<PathBuf>> {
        let at = self.dir(id).join("merged");
        Ok(is_mount_point(&at)?.then_some(at))
    }

    /// Takes the root of a container off again; whether there was one is returned.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unmount(&self, id: &ContainerId) -> Result<bool> {
        let Some(at) = self.mounted(id)? else { return Ok(false) };
        unmount_at(&at)?;
        Ok(true)
    }
}

/// Takes off what is mounted at `at`.
pub(super) fn unmount_at(at: &Path) -> Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let text = std::ffi::CString::new(at.as_os_str().as_bytes())
        .map_err(|_| Error::Invalid { what: format!("{} has a NUL byte", at.display()) })?;
    Ok(mount::detach_at(&text)?)
}

/// Whether another file system is mounted on `path`, which itself is on that of its parent.
pub(super) fn is_mount_point(path: &Path) -> Result<bool> {
    let device = |path: &Path| match rustix::fs::stat(path) {
        Ok(stat) => Ok(Some(stat.st_dev)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(errno) => Err(kernel::Error::path("stat", path, errno)),
    };
    let above = device(path.parent().unwrap_or(Path::new("/")))?;
    Ok(device(path)?.is_some_and(|own| Some(own) != above))
}

pub(super) fn refuse_fuse(store: &Store, record: &Record) -> Result<()> {
    if record.root.directory.is_none() && store.driver()?.driver == Driver::FuseOverlay {
        let what = "files of a container that does not run, where fuse-overlayfs mounts its root".to_owned();
        return Err(Error::Unsupported { what });
    }
    Ok(())
}

/// What a start would mount over directories of the root.
fn covers(record: &Record) -> Vec<Cover> {
    let shown = record.mounts.iter().filter(|mount| {
        // Without these words it is an overlay over its source, which is not to be written to.
        let bind = mount.options.iter().any(|word| matches!(word.as_str(), "bind" | "rbind"));
        matches!(mount.kind.as_str(), "bind" | "volume") && bind
    });
    let cover = |mount: &super::record::Mount| Cover {
        target: volume::clean_path(Path::new(&mount.destination)),
        source: PathBuf::from(&mount.source),
        writable: mount.writable,
    };
    let mut covers: Vec<Cover> = shown.map(cover).collect();
    // The innermost first.
    covers.sort_by_key(|cover| std::cmp::Reverse(cover.target.components().count()));
    covers
}

impl Files {
    /// The ids of this container in terms of those on disk.
    #[must_use]
    pub fn maps(&self) -> &IdMaps {
        &self.maps
    }

    /// The container's root itself.
    #[must_use]
    pub fn root(&self) -> &RootDir {
        &self.root
    }

    /// Whether `path` is the root, of which `/dev`, `/proc` and `/sys` are no content.
    #[must_use]
    pub fn is_root(&self, path: &str) -> bool {
        self.absolute(path) == Path::new("/")
    }

    /// The container's user as ids on disk.
    ///
    /// # Errors
    /// When the user is unknown in the container, or outside of its id map.
    pub fn user(&self) -> Result<(u32, u32)> {
        let (uid, gid) = runtime::user::ids(&self.lookup, &self.root)?;
        match (to_outside(&self.maps.uid, uid), to_outside(&self.maps.gid, gid)) {
            (Some(uid), Some(gid)) => Ok((uid, gid)),
            _ => Err(Error::Invalid {
                what: format!("the container's user {uid}:{gid} is outside of its id map"),
            }),
        }
    }

    /// From now on this process makes files as the container's root does, if that is not itself: file systems that
    /// are mounted in a container take no others.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn write_as_root(&self) -> Result<()> {
        let root = (to_outside(&self.maps.uid, 0), to_outside(&self.maps.gid, 0));
        match root {
            (Some(uid), Some(gid)) if self.live && (uid, gid) != (0, 0) => Ok(cred::make_files_as(uid, gid)?),
            _ => Ok(()),
        }
    }

    /// Finds what `path` leads to, links followed.
    ///
    /// # Errors
    /// When the container's files cannot be read.
    pub fn find(&self, path: &str) -> Result<Option<Found>> {
        let (root, rel, _) = self.locate(path)?;
        let Some(handle) = there(root.open_path(&rel))? else { return Ok(None) };
        let stat = stat_of(&handle)?;
        let last = last_name(&root, &rel)?;
        let name = match last.file_name() {
            Some(name) => name.to_owned(),
            // `..` or the top of a mount: its own name will do.
            None => self.absolute(path).file_name().map(ToOwned::to_owned).unwrap_or_default(),
        };
        Ok(Some(Found { handle, is_dir: is_dir(&stat), name }))
    }

    /// Finds where something that is copied to `path` goes. Nothing, if not even the directory above is there.
    ///
    /// # Errors
    /// When the place is mounted read-only, or the files cannot be read.
    pub fn target(&self, path: &str) -> Result<Option<Target>> {
        let (root, rel, writable) = self.locate(path)?;
        let label = self.absolute(path);
        if !writable {
            let what = format!("{} of container {} is mounted read-only", label.display(), self.id);
            return Err(Error::Invalid { what });
        }
        if let Some(handle) = there(root.open_path(&rel))?
            && is_dir(&stat_of(&handle)?)
        {
            return Ok(Some(Target { dir: handle, label, name: None, exists: true }));
        }
        let last = last_name(&root, &rel)?;
        let Some(name) = last.file_name() else { return Ok(None) };
        let above = last.parent().unwrap_or(Path::new(""));
        let Some(dir) = there(root.open_path(above))? else { return Ok(None) };
        if !is_dir(&stat_of(&dir)?) {
            return Ok(None);
        }
        let exists = root.exists(&rel)?;
        let label = label.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Some(Target { dir, label, name: Some(name.to_owned()), exists }))
    }

    /// The path from the container's root.
    fn absolute(&self, path: &str) -> PathBuf {
        volume::clean_path(&self.workdir.join(path))
    }

    /// The root below which `path` is, the path from there, and whether it can be written to.
    fn locate(&self, path: &str) -> Result<(RootDir, PathBuf, bool)> {
        let path = self.absolute(path);
        for cover in &self.covers {
            let Ok(rest) = path.strip_prefix(&cover.target) else { continue };
            let source = rustix::fs::open(&cover.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| kernel::Error::path("open", &cover.source, errno))?;
            if is_dir(&stat_of(&source)?) {
                return Ok((RootDir::from_fd(source, &cover.target), rest.to_owned(), cover.writable));
            }
            // A file of its own: found by its name in the directory on the host.
            let above = RootDir::open(cover.source.parent().unwrap_or(Path::new("/")))?;
            let name = PathBuf::from(cover.source.file_name().unwrap_or_default());
            return Ok((above, name, cover.writable));
        }
        let rel = path.strip_prefix("/").unwrap_or(&path).to_owned();
        Ok((self.root.try_clone()?, rel, true))
    }
}

/// The path that `rel` leads to once its last name is no link any more, whether anything is there or not.
fn last_name(root: &RootDir, rel: &Path) -> Result<PathBuf> {
    let mut rel = rel.to_owned();
    for _ in 0..MAX_LINKS {
        let Some(stat) = there(root.lstat(&rel))? else { break };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            break;
        }
        let Some(text) = there(root.read_link(&rel))? else { break };
        // An absolute text replaces the path: it starts at the root again.
        rel = rel.parent().unwrap_or(Path::new("")).join(text);
    }
    Ok(rel)
}

/// Nothing where nothing is.
fn there<T>(result: kernel::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e)
            if matches!(e.errno(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG)) =>
        {
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}

fn stat_of(handle: &OwnedFd) -> Result<Stat> {
    rustix::fs::fstat(handle).map_err(|errno| kernel::Error::call("fstat", "", errno).into())
}

fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
