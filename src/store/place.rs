//! From entries to a directory that exists: what `cp`, `volume import` and their like write.
//!
//! Unlike the unpacking of a layer, the directory has content already, and somebody may change it meanwhile: a
//! running container in particular. Everything is done below one handle; parents are opened anew for each entry,
//! through no symbolic link and no `..`, so a race can at worst make an entry fail (CVE-2018-15664,
//! CVE-2019-10152). The content of an archive is data: no name of it leads out, device nodes are not made.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::pack::Sink;
use super::tar::{Archive, Header, Kind};
use super::unpack::{clean, is_kept_xattr, split};
use crate::kernel;
use crate::kernel::idmap::{self, IdMaps};
use crate::kernel::xattr;

/// Who gets what is written.
#[derive(Debug, Clone)]
pub enum Owner {
    /// One owner, by the ids on disk.
    Fixed(u32, u32),
    /// The ids of the entries, which the maps turn into those on disk.
    Mapped(IdMaps),
    /// Whoever runs this; rights beyond those of a file of his own (setuid, capabilities) are dropped.
    Caller,
}

/// How entries are written.
#[derive(Debug, Clone)]
pub struct PlaceOptions {
    /// Who gets them.
    pub owner: Owner,
    /// A directory may be replaced by something else, and something else by a directory.
    pub replace: bool,
    /// The name of the directory in messages.
    pub label: PathBuf,
}

/// A directory that takes entries.
#[derive(Debug)]
pub struct Place {
    dir: OwnedFd,
    options: PlaceOptions,
    /// Directories, whose attributes are set when nothing more is written into them.
    directories: Vec<Header>,
}

type Called<T> = std::result::Result<T, (&'static str, Errno)>;

impl Place {
    /// Takes entries into `dir`, a handle of a directory.
    #[must_use]
    pub fn new(dir: OwnedFd, options: PlaceOptions) -> Self {
        Self { dir, options, directories: Vec::new() }
    }

    /// Takes all entries of an archive.
    pub fn take_archive<R: Read>(&mut self, archive: &mut Archive<R>) -> Result<()> {
        while let Some(mut entry) = archive.next_entry()? {
            let header = entry.header.clone();
            let content: Option<&mut dyn Read> = (header.kind == Kind::File).then_some(&mut entry as _);
            self.entry(&header, content)?;
        }
        Ok(())
    }

    /// Sets what had to wait: owner, mode and time of directories, the deepest first.
    pub fn finish(mut self) -> Result<()> {
        let mut directories = std::mem::take(&mut self.directories);
        directories.sort_by(|a, b| b.path.cmp(&a.path));
        for header in directories {
            let done = self.open(&header.path).and_then(|dir| self.attributes(&dir, &header));
            match done {
                // Somebody was faster; it is his now.
                Ok(()) | Err((_, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) => {}
                Err(failure) => return Err(self.failure(&header.path, failure)),
            }
        }
        Ok(())
    }

    fn failure(&self, path: &[u8], (call, errno): (&'static str, Errno)) -> Error {
        let path = self.options.label.join(OsStr::from_bytes(path));
        Error::Place { path, call, source: errno.into() }
    }

    /// Opens a directory below the place, following nothing.
    fn open(&self, path: &[u8]) -> Called<OwnedFd> {
        let at = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.dir, OsStr::from_bytes(at), flags, Mode::empty(), resolve)
            .map_err(|e| ("open", e))
    }

    /// The directory of an entry; made with its parents where the archive only implies it.
    fn parent(&self, path: &[u8]) -> Called<OwnedFd> {
        match self.open(path) {
            Err((_, Errno::NOENT)) if !path.is_empty() => {
                let (above, name) = split(path);
                let above = self.parent(above)?;
                match rustix::fs::mkdirat(&above, OsStr::from_bytes(name), Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(("mkdir", e)),
                }
                let dir = self.open(path)?;
                if let Owner::Fixed(uid, gid) = self.options.owner {
                    chown(&dir, uid, gid)?;
                }
                Ok(dir)
            }
            other => other,
        }
    }

    fn write(&mut self, header: &Header, content: Option<&mut dyn Read>) -> Called<()> {
        let (above, name) = split(&header.path);
        let dir = self.parent(above)?;
        let name = OsStr::from_bytes(name);
        match header.kind {
            Kind::Directory => {
                match rustix::fs::mkdirat(&dir, name, Mode::RWXU) {
                    Ok(()) => {}
                    Err(Errno::EXIST) if is_directory(&dir, name)? => {}
                    Err(Errno::EXIST) if self.options.replace => {
                        remove(&dir, name)?;
                        rustix::fs::mkdirat(&dir, name, Mode::RWXU).map_err(|e| ("mkdir", e))?;
                    }
                    Err(e) => return Err(("mkdir", e)),
                }
                self.directories.push(header.clone());
                Ok(())
            }
            Kind::File => self.file(&dir, name, header, content),
            Kind::Symlink => {
                let text = OsStr::from_bytes(&header.link);
                self.make(&dir, name, "symlink", || rustix::fs::symlinkat(text, &dir, name))?;
                self.special(&dir, name, header)
            }
            Kind::Fifo => {
                let mode = Mode::from_raw_mode(header.mode & 0o777);
                let make = || rustix::fs::mknodat(&dir, name, FileType::Fifo, mode, 0);
                self.make(&dir, name, "mknod", make)?;
                self.special(&dir, name, header)
            }
            Kind::HardLink => {
                let target = clean(&header.link).map_err(|_| ("link", Errno::XDEV))?.into_owned();
                let (above, old) = split(&target);
                let from = self.open(above)?;
                let old = OsStr::from_bytes(old);
                let make = || rustix::fs::linkat(&from, old, &dir, name, AtFlags::empty());
                self.make(&dir, name, "link", make)
            }
            // An unprivileged user cannot make them.
            Kind::CharDevice | Kind::BlockDevice => Ok(()),
        }
    }

    fn file(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        header: &Header,
        content: Option<&mut dyn Read>,
    ) -> Called<()> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create =
            || rustix::fs::openat(dir, name, flags | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR);
        let file = match self.make(dir, name, "open", create) {
            // A file that is a mount point, such as /etc/hosts, cannot be replaced, only overwritten.
            Err((_, Errno::BUSY)) => {
                let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
                let file = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|e| ("open", e))?;
                let stat = rustix::fs::fstat(&file).map_err(|e| ("fstat", e))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Err(("open", Errno::BUSY));
                }
                rustix::fs::ftruncate(&file, 0).map_err(|e| ("ftruncate", e))?;
                file
            }
            other => other?,
        };
        let mut file = File::from(file);
        if let Some(content) = content {
            copy(content, &mut file, header.size)?;
        }
        self.attributes(&file, header)
    }

    /// Runs `make`, and once more after removing what is in its way and may be removed.
    fn make<T>(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        call: &'static str,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Called<T> {
        match make() {
            Err(Errno::EXIST) if self.options.replace || !is_directory(dir, name)? => {
                remove(dir, name)?;
                make().map_err(|e| (call, e))
            }
            other => other.map_err(|e| (call, e)),
        }
    }

    /// The owner on disk; none where it is right from the beginning.
    fn owner(&self, header: &Header) -> Called<Option<(u32, u32)>> {
        match &self.options.owner {
            Owner::Fixed(uid, gid) => Ok(Some((*uid, *gid))),
            Owner::Caller => Ok(None),
            Owner::Mapped(maps) => {
                let map = |id: u64, map: &[_]| {
                    let outside = u32::try_from(id).ok().and_then(|id| idmap::to_outside(map, id));
                    outside.ok_or(("chown", Errno::OVERFLOW))
                };
                Ok(Some((map(header.uid, &maps.uid)?, map(header.gid, &maps.gid)?)))
            }
        }
    }

    /// Owner, attributes, mode and time of an open file; the owner first, because a change of it clears rights.
    fn attributes(&self, file: &impl AsFd, header: &Header) -> Called<()> {
        let owner = self.owner(header)?;
        if let Some((uid, gid)) = owner {
            chown(file, uid, gid)?;
        }
        for (name, value) in &header.xattrs {
            let wanted = is_kept_xattr(name) && (owner.is_some() || name.starts_with(b"user."));
            if wanted {
                // Not every file system can keep them.
                let _ = xattr::set(file, name, value);
            }
        }
        let harmless = owner.is_some() || header.kind == Kind::Directory;
        let mode = if harmless { header.mode } else { header.mode & 0o777 };
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode)).map_err(|e| ("fchmod", e))?;
        rustix::fs::futimens(file, &times(header)).map_err(|e| ("utimensat", e))
    }

    /// Owner and time of what cannot be opened.
    fn special(&self, dir: &OwnedFd, name: &OsStr, header: &Header) -> Called<()> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        if let Some((uid, gid)) = self.owner(header)? {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::chownat(dir, name, Some(uid), Some(gid), nofollow).map_err(|e| ("fchownat", e))?;
        }
        rustix::fs::utimensat(dir, name, &times(header), nofollow).map_err(|e| ("utimensat", e))
    }
}

impl Sink for Place {
    fn entry(&mut self, header: &Header, content: Option<&mut dyn Read>) -> Result<()> {
        let path = clean(&header.path).map_err(|problem| Error::Entry {
            entry: String::from_utf8_lossy(&header.path).into_owned(),
            problem: problem.to_owned(),
        })?;
        if path.is_empty() {
            // The place itself is not the archive's to change.
            return Ok(());
        }
        let header = Header { path: path.into_owned(), ..header.clone() };
        self.write(&header, content).map_err(|failure| self.failure(&header.path, failure))
    }
}

fn copy(content: &mut dyn Read, file: &mut File, size: u64) -> Called<()> {
    let fail =
        |call: &'static str| move |e: std::io::Error| (call, Errno::from_io_error(&e).unwrap_or(Errno::IO));
    let mut buffer = vec![0; usize::try_from(size.clamp(4096, 128 << 10)).unwrap_or(4096)];
    let mut left = size;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = match content.read(&mut buffer[..wanted]) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other.map_err(fail("read"))?,
        };
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).map_err(fail("write"))?;
        left -= count as u64;
    }
    Ok(())
}

fn is_directory(dir: &OwnedFd, name: &OsStr) -> Called<bool> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(("fstatat", e)),
    }
}

fn remove(dir: &OwnedFd, name: &OsStr) -> Called<()> {
    let label = PathBuf::from(name);
    kernel::remove::remove_tree(dir.as_fd(), name, &label)
        .map_err(|e| ("unlinkat", e.errno().map_or(Errno::IO, Errno::from_raw_os_error)))
}

fn chown(file: &impl AsFd, uid: u32, gid: u32) -> Called<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::fchown(file, Some(uid), Some(gid)).map_err(|e| ("fchown", e))
}

fn times(header: &Header) -> Timestamps {
    let (tv_sec, tv_nsec) = (header.mtime.0, i64::from(header.mtime.1));
    let time = Timespec { tv_sec, tv_nsec };
    Timestamps { last_access: time, last_modification: time }
}
