//! Paths below a directory that is not trusted.
//!
//! [`RootDir`] holds a directory and resolves every path with
//! `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)`: `..`, absolute paths and
//! symbolic links stay inside, whatever another process renames meanwhile. A
//! caller works on the descriptors it gets back and never resolves a string twice.
//!
//! Calls that change a directory entry resolve the parent in the root and then act
//! on one plain name relative to that descriptor; the last component is not followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dev, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timestamps, Uid};
use rustix::io::Errno;

use super::{Error, Result};

/// How many symbolic links one resolution may expand, as in the kernel (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;
/// `openat2` answers EAGAIN when a rename races with `..`; the kernel advises to try again.
const MAX_RETRIES: usize = 128;

/// An open directory below which paths are resolved without ever leaving it.
#[derive(Debug)]
pub struct RootDir {
    fd: OwnedFd,
    /// For messages only.
    path: PathBuf,
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl RootDir {
    /// Opens `path`, which the caller trusts, as a root.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::path("open", path, e))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Takes an open directory as a root; `path` names it in messages.
    pub fn from_fd(fd: OwnedFd, path: impl Into<PathBuf>) -> Self {
        Self { fd, path: path.into() }
    }

    /// Another handle on the same directory.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone().map_err(|e| Error::path("dup", &self.path, e))?;
        Ok(Self { fd, path: self.path.clone() })
    }

    /// The name of the root, for messages; never to be resolved again.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A handle (`O_PATH`) on what `rel` names, links followed inside the root.
    pub fn open_path(&self, rel: impl AsRef<Path>) -> Result<OwnedFd> {
        self.openat2(rel.as_ref(), OFlags::PATH, Mode::empty())
    }

    /// A handle (`O_PATH`) on `rel` itself, even if that is a symbolic link.
    pub fn open_path_nofollow(&self, rel: impl AsRef<Path>) -> Result<OwnedFd> {
        self.openat2(rel.as_ref(), OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
    }

    /// Opens a directory for reading.
    pub fn open_dir(&self, rel: impl AsRef<Path>) -> Result<OwnedFd> {
        self.openat2(rel.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// The directory `rel` as a root of its own.
    pub fn sub_root(&self, rel: impl AsRef<Path>) -> Result<Self> {
        let rel = rel.as_ref();
        let fd = self.openat2(rel, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self { fd, path: self.path.join(strip_root(rel)) })
    }

    /// Opens a file with `flags`; with `CREATE` also through dangling links, inside the root.
    pub fn open_file(&self, rel: impl AsRef<Path>, flags: OFlags, mode: Mode) -> Result<File> {
        self.openat2(rel.as_ref(), flags, mode).map(File::from)
    }

    /// Reads a regular file of at most `max` bytes. Anything else (a FIFO, a device) is refused
    /// without waiting for it.
    pub fn read_limited(&self, rel: impl AsRef<Path>, max: u64) -> Result<Vec<u8>> {
        let rel = rel.as_ref();
        let file = self.open_file(rel, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?;
        read_regular(file, max).map_err(|e| Error::path("read", self.path.join(strip_root(rel)), e))
    }

    /// Whether `rel` leads to something, links followed inside the root.
    pub fn exists(&self, rel: impl AsRef<Path>) -> Result<bool> {
        match self.open_path(rel) {
            Ok(_) => Ok(true),
            Err(e) if matches!(e.io().kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// What `rel` leads to.
    pub fn stat(&self, rel: impl AsRef<Path>) -> Result<Stat> {
        let rel = rel.as_ref();
        let fd = self.open_path(rel)?;
        rustix::fs::fstat(&fd).map_err(|e| self.error("fstat", rel, e))
    }

    /// What `rel` itself is, not following a link.
    pub fn lstat(&self, rel: impl AsRef<Path>) -> Result<Stat> {
        let rel = rel.as_ref();
        let fd = self.open_path_nofollow(rel)?;
        rustix::fs::fstat(&fd).map_err(|e| self.error("fstat", rel, e))
    }

    /// The text of the symbolic link `rel`.
    pub fn read_link(&self, rel: impl AsRef<Path>) -> Result<PathBuf> {
        let rel = rel.as_ref();
        let fd = self.open_path_nofollow(rel)?;
        read_link_fd(&fd).map_err(|e| self.error("readlinkat", rel, e))
    }

    /// The parent directory of `rel` and its last name, which is not followed.
    pub fn parent(&self, rel: impl AsRef<Path>) -> Result<(OwnedFd, OsString)> {
        let rel = rel.as_ref();
        let Some(name) = rel.file_name() else {
            return Err(self.error("open parent of", rel, Errno::INVAL));
        };
        let parent = rel.parent().unwrap_or(Path::new(""));
        let fd = self.openat2(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok((fd, name.to_owned()))
    }

    /// Makes `rel` and its missing parents as directories, like `mkdir -p` run inside the root:
    /// a dangling link on the way gets its target made, inside the root. Returns an `O_PATH` handle.
    pub fn create_dir_all(&self, rel: impl AsRef<Path>, mode: Mode) -> Result<OwnedFd> {
        let rel = rel.as_ref();
        match self.openat2(rel, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            Err(e) if e.io().kind() == io::ErrorKind::NotFound => self.walk_create(rel, mode, None),
            other => other,
        }
    }

    /// Makes sure that `rel` is there and is no directory, creating an empty file and missing parents
    /// (0755): the target of a file's bind mount. Returns a handle for that.
    pub fn create_file(&self, rel: impl AsRef<Path>, mode: Mode) -> Result<OwnedFd> {
        self.walk_create(rel.as_ref(), Mode::from_raw_mode(0o755), Some(mode))
    }

    /// Creates the file `rel`, which must not exist (not even as a link), for writing.
    pub fn create_new(&self, rel: impl AsRef<Path>, mode: Mode) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        self.openat2(rel.as_ref(), flags, mode).map(File::from)
    }

    /// Makes one directory; its parent must exist.
    pub fn create_dir(&self, rel: impl AsRef<Path>, mode: Mode) -> Result<()> {
        self.at("mkdirat", rel.as_ref(), |dir, name| rustix::fs::mkdirat(dir, name, mode))
    }

    /// Makes the symbolic link `rel` with the text `target`.
    pub fn symlink(&self, target: impl AsRef<Path>, rel: impl AsRef<Path>) -> Result<()> {
        let target = target.as_ref();
        self.at("symlinkat", rel.as_ref(), |dir, name| rustix::fs::symlinkat(target, dir, name))
    }

    /// Makes `rel` another name of `existing`, whose last component is not followed.
    pub fn hard_link(&self, existing: impl AsRef<Path>, rel: impl AsRef<Path>) -> Result<()> {
        let (from, from_name) = self.parent(existing)?;
        self.at("linkat", rel.as_ref(), |dir, name| {
            rustix::fs::linkat(&from, &from_name, dir, name, AtFlags::empty())
        })
    }

    /// Moves `from` to `to`, replacing it.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let (from, from_name) = self.parent(from)?;
        self.at("renameat", to.as_ref(), |dir, name| rustix::fs::renameat(&from, &from_name, dir, name))
    }

    /// Makes a device node or FIFO.
    pub fn mknod(&self, rel: impl AsRef<Path>, kind: FileType, mode: Mode, device: Dev) -> Result<()> {
        self.at("mknodat", rel.as_ref(), |dir, name| rustix::fs::mknodat(dir, name, kind, mode, device))
    }

    /// Removes what is no directory.
    pub fn remove_file(&self, rel: impl AsRef<Path>) -> Result<()> {
        self.at("unlinkat", rel.as_ref(), |dir, name| rustix::fs::unlinkat(dir, name, AtFlags::empty()))
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, rel: impl AsRef<Path>) -> Result<()> {
        self.at("unlinkat", rel.as_ref(), |dir, name| rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR))
    }

    /// Removes `rel` and everything below it; that nothing is there is no error.
    pub fn remove_tree(&self, rel: impl AsRef<Path>) -> Result<()> {
        let rel = rel.as_ref();
        match self.parent(rel) {
            Ok((dir, name)) => {
                super::remove::remove_tree(dir.as_fd(), &name, &self.path.join(strip_root(rel)))
            }
            Err(e) if e.io().kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Changes the mode of `rel`, which must not be a symbolic link.
    pub fn set_mode(&self, rel: impl AsRef<Path>, mode: Mode) -> Result<()> {
        let rel = rel.as_ref();
        let fd = self.open_path_nofollow(rel)?;
        set_mode_fd(fd.as_fd(), mode).map_err(|e| self.error("chmod", rel, e))
    }

    /// Changes the owner of `rel` itself.
    pub fn set_owner(&self, rel: impl AsRef<Path>, uid: u32, gid: u32) -> Result<()> {
        let rel = rel.as_ref();
        let fd = self.open_path_nofollow(rel)?;
        set_owner_fd(fd.as_fd(), uid, gid).map_err(|e| self.error("fchownat", rel, e))
    }

    /// Changes the times of `rel` itself.
    pub fn set_times(&self, rel: impl AsRef<Path>, times: &Timestamps) -> Result<()> {
        self.at("utimensat", rel.as_ref(), |dir, name| {
            rustix::fs::utimensat(dir, name, times, AtFlags::SYMLINK_NOFOLLOW)
        })
    }

    /// Runs `call` on the parent directory and the last name of `rel`.
    fn at(
        &self,
        what: &'static str,
        rel: &Path,
        call: impl FnOnce(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<()>,
    ) -> Result<()> {
        let (dir, name) = self.parent(rel)?;
        call(dir.as_fd(), &name).map_err(|e| self.error(what, rel, e))
    }

    fn openat2(&self, rel: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        open_in(self.fd.as_fd(), rel, flags, mode).map_err(|e| self.error("openat2", rel, e))
    }

    fn error(&self, call: &'static str, rel: &Path, errno: Errno) -> Error {
        Error::path(call, self.path.join(strip_root(rel)), errno)
    }

    /// The usual case: nothing is missing but the last name.
    fn create_last(&self, rel: &Path, dir_mode: Mode, file_mode: Option<Mode>) -> Option<OwnedFd> {
        let (dir, name) = self.parent(rel).ok()?;
        let Some(mode) = file_mode else {
            rustix::fs::mkdirat(&dir, &name, dir_mode).ok()?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            return rustix::fs::openat(&dir, &name, flags, Mode::empty()).ok();
        };
        rustix::fs::openat(&dir, &name, NEW_FILE, mode).ok()
    }

    /// Walks `rel` name by name, making what is missing. Every step resolves from the root again, so a
    /// race can change where things land inside the root, never lead out of it.
    fn walk_create(&self, rel: &Path, dir_mode: Mode, file_mode: Option<Mode>) -> Result<OwnedFd> {
        if let Some(made) = self.create_last(rel, dir_mode, file_mode) {
            return Ok(made);
        }
        let fail = |call, errno| self.error(call, rel, errno);
        let mut todo: Vec<OsString> = Vec::new();
        push_components(&mut todo, rel);
        let (mut done, mut links, mut retries) = (PathBuf::new(), 0, 0);
        while let Some(name) = todo.pop() {
            if name == ".." {
                done.pop();
                continue;
            }
            let next = done.join(&name);
            let last = todo.is_empty();
            match open_in(self.fd.as_fd(), &next, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(fd) => {
                    let stat = rustix::fs::fstat(&fd).map_err(|e| fail("fstat", e))?;
                    match FileType::from_raw_mode(stat.st_mode) {
                        FileType::Symlink => {
                            links += 1;
                            if links > MAX_LINKS {
                                return Err(fail("create", Errno::LOOP));
                            }
                            let target = read_link_fd(&fd).map_err(|e| fail("readlinkat", e))?;
                            if target.is_absolute() {
                                done = PathBuf::new();
                            }
                            push_components(&mut todo, &target);
                        }
                        FileType::Directory => done = next,
                        _ if last && file_mode.is_some() => return Ok(fd),
                        _ => return Err(fail("create", Errno::NOTDIR)),
                    }
                }
                Err(Errno::NOENT) => {
                    let parent = self.openat2(&done, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
                    match make_one(parent.as_fd(), &name, dir_mode, file_mode.filter(|_| last)) {
                        // Look at it again: another process may have put something else there.
                        Ok(()) | Err(Errno::EXIST) if retries < MAX_RETRIES => todo.push(name),
                        Ok(()) => return Err(fail("create", Errno::AGAIN)),
                        Err(e) => return Err(fail("create", e)),
                    }
                    retries += 1;
                }
                Err(e) => return Err(fail("openat2", e)),
            }
        }
        if file_mode.is_some() {
            return Err(fail("create", Errno::ISDIR));
        }
        self.openat2(&done, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }
}

/// `openat2` below `root`; an empty `rel` is the root itself.
pub fn open_in(root: BorrowedFd<'_>, rel: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let rel = if rel.as_os_str().is_empty() { Path::new(".") } else { rel };
    // NO_MAGICLINKS: /proc/self/fd/N and its like lead anywhere (CVE-2019-5736, CVE-2024-21626).
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..MAX_RETRIES {
        match rustix::fs::openat2(root, rel, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// A path by which the kernel reaches the open file `fd`, for calls that take no `O_PATH` descriptor.
#[must_use]
pub fn proc_fd_path(fd: BorrowedFd<'_>) -> String {
    use std::os::fd::AsRawFd as _;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// `chmod` on a handle, `O_PATH` allowed. A symbolic link has no mode of its own (EOPNOTSUPP).
pub fn set_mode_fd(fd: BorrowedFd<'_>, mode: Mode) -> rustix::io::Result<()> {
    if FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Symlink {
        return Err(Errno::OPNOTSUPP);
    }
    rustix::fs::chmodat(CWD, proc_fd_path(fd), mode, AtFlags::empty())
}

/// `chown` on a handle, `O_PATH` allowed.
pub fn set_owner_fd(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

/// Reads an open regular file of at most `max` bytes.
pub(super) fn read_regular(file: File, max: u64) -> io::Result<Vec<u8>> {
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    read_to_limit(file, usize::try_from(meta.len().min(max)).unwrap_or(0), max)
}

/// Reads to the end, at most `max` bytes, of which about `expected` will come.
pub(super) fn read_to_limit(file: File, expected: usize, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(expected);
    // One byte more than allowed tells a file that is too long from one that fits exactly.
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {max} bytes")));
    }
    Ok(bytes)
}

fn read_link_fd(fd: &OwnedFd) -> rustix::io::Result<PathBuf> {
    let text = rustix::fs::readlinkat(fd, "", Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(text.as_bytes())))
}

/// How a file is opened that must not exist, not even as a link.
const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn make_one(dir: BorrowedFd<'_>, name: &OsStr, dir_mode: Mode, file: Option<Mode>) -> rustix::io::Result<()> {
    let Some(mode) = file else { return rustix::fs::mkdirat(dir, name, dir_mode) };
    rustix::fs::openat(dir, name, NEW_FILE, mode).map(drop)
}

/// Pushes the names of `path` so that the first is popped first.
fn push_components(stack: &mut Vec<OsString>, path: &Path) {
    let names = path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    let at = stack.len();
    stack.extend(names);
    stack[at..].reverse();
}

fn strip_root(rel: &Path) -> &Path {
    rel.strip_prefix("/").unwrap_or(rel)
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
