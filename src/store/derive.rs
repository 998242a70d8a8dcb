//! Trees made from layers: `derived/HASH/{derived.json,diff/}`.
//!
//! Two needs, one walk:
//! - A container whose root is another id than the layers are owned by needs them with shifted owners. No
//!   user may mount a file system with shifted ids, so trees are made once a map: of stubs that take their
//!   data from the layers (overlay's data-only layers; since Linux 6.16 a user may have them, but only
//!   below the last ordinary layer, so the layers of an image become one tree), else a layer at a time of
//!   copies, which share their blocks where the file system can.
//! - Overlay stacks at most 500 layers, so a taller image has its lowest ones merged into one, by hard links.
//!
//! A derived tree lives as long as all its sources. It can be made again at any time.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::layer::{Layer, Stage};
use super::pack::{failed, is_opaque, is_whiteout, open_below, sorted_names};
use super::record::VERSION;
use super::unpack::join;
use super::{Digest, Store};
use crate::kernel;
use crate::kernel::disk::Usage;
use crate::kernel::file::{self, Durability, Flock};
use crate::kernel::idmap::{self, IdMaps, IdRange};
use crate::kernel::xattr;

/// How a derived tree gets the content of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Method {
    /// Stubs that refer to the layers; the layers are merged.
    Stubs,
    /// Copies.
    Copies,
    /// Hard links; the layers are merged.
    Links,
}

/// `derived.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DerivedRecord {
    version: u32,
    /// The layers that it was made from, lowest first.
    pub(super) sources: Vec<Digest>,
    method: Method,
    maps: Option<IdMaps>,
    /// What the tree takes on disk beside its layers. It is not part of what the tree is named for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) disk: Option<u64>,
}

impl Store {
    /// Finds or makes the tree of `layers` (lowest first) by `method`, with owners shifted by `maps`; returns
    /// its directory, relative to the store.
    pub(super) fn derive(&self, layers: &[Layer], method: Method, maps: Option<&IdMaps>) -> Result<PathBuf> {
        let sources: Vec<Digest> = layers.iter().map(|layer| layer.record().id.clone()).collect();
        let record = DerivedRecord { version: VERSION, sources, method, maps: maps.cloned(), disk: None };
        let bytes = serde_json::to_vec(&record).expect("records have text keys only");
        let key = Digest::of(&bytes).hex();
        let relative = PathBuf::from("derived").join(&key);
        let target = self.data().join(&relative);
        let done = relative.join("diff");
        if target.join("derived.json").exists() {
            return Ok(done);
        }
        let lock = self.data().join("locks").join(format!("derived-{key}"));
        let _lock = Flock::exclusive(&lock).map_err(Error::kernel("lock a derived layer"))?;
        if target.join("derived.json").exists() {
            return Ok(done);
        }
        match rustix::fs::mkdirat(self.root(), "derived", Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(failed("mkdirat", b"derived", e)),
        }
        let stage = Stage::new(self, "derived")?;
        let diff = stage.make_diff()?;
        for layer in layers {
            let mut walk =
                Walk { layer, method, maps, target: &diff, links: HashMap::new(), dirs: BTreeMap::new() };
            walk.run()?;
        }
        // Linked files are those of the layers.
        let mut usage = if method == Method::Links { Usage::of_own_files() } else { Usage::default() };
        usage.add(&stage.path.join("diff"), &std::collections::HashSet::new());
        let record = DerivedRecord { disk: Some(usage.bytes()), ..record };
        let bytes = serde_json::to_vec(&record).expect("records have text keys only");
        let (mode, name) = (Mode::RUSR | Mode::WUSR, OsStr::new("derived.json"));
        file::write_atomic(&stage.path, name, &bytes, mode, Durability::None)
            .map_err(Error::kernel("write a derived layer"))?;
        file::sync_fs(&diff, &stage.path).map_err(Error::kernel("sync a derived layer"))?;
        rustix::fs::rename(&stage.path, &target).map_err(|e| Error::Kernel {
            action: "publish a derived layer",
            source: kernel::Error::path("rename", &target, e),
        })?;
        super::blob::sync(self, "derived")?;
        Ok(done)
    }
}

/// One layer on its way into the derived tree.
struct Walk<'a> {
    layer: &'a Layer,
    method: Method,
    maps: Option<&'a IdMaps>,
    target: &'a OwnedFd,
    /// Files with several names, by inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Directories and what they get at the end.
    dirs: BTreeMap<Vec<u8>, Stat>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<()> {
        let root = rustix::fs::open(
            self.layer.diff(),
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| failed("open", self.layer.diff().as_os_str().as_bytes(), e))?;
        let mut todo = vec![Vec::new()];
        while let Some(path) = todo.pop() {
            let from = open_below(&root, &path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let to = open_below(self.target, &path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let opaque = is_opaque(&from, &path)?;
            if opaque && self.merges() {
                for name in sorted_names(&to, &path)? {
                    remove(&to, &name, &join(&path, name.as_bytes()))?;
                }
            }
            self.copy_xattrs(&from, &to, &path)?;
            self.dirs.insert(path.clone(), rustix::fs::fstat(&from).map_err(|e| failed("fstat", &path, e))?);
            for name in sorted_names(&from, &path)? {
                let full = join(&path, name.as_bytes());
                if self.entry(&from, &to, &name, &full)? {
                    todo.push(full);
                }
            }
        }
        for (path, stat) in self.dirs.iter().rev() {
            let dir = open_below(self.target, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            self.finish(&dir, stat, path)?;
        }
        Ok(())
    }

    /// Whether the layers become one tree.
    fn merges(&self) -> bool {
        self.method != Method::Copies
    }

    /// Makes one entry; true if it is a directory, whose content is to follow.
    fn entry(&mut self, from: &OwnedFd, to: &OwnedFd, name: &OsStr, path: &[u8]) -> Result<bool> {
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| failed("fstatat", path, e))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            match rustix::fs::mkdirat(to, name, Mode::RWXU) {
                Err(Errno::EXIST) if !is_directory(to, name, path)? => {
                    remove(to, name, path)?;
                    rustix::fs::mkdirat(to, name, Mode::RWXU).map_err(|e| failed("mkdirat", path, e))?;
                }
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(failed("mkdirat", path, e)),
            }
            return Ok(true);
        }
        if self.merges() {
            // Merged layers start at the bottom: a whiteout has nothing left to hide.
            remove(to, name, path)?;
            if is_whiteout(&stat) {
                return Ok(false);
            }
        }
        if self.method == Method::Links {
            rustix::fs::linkat(from, name, to, name, AtFlags::empty())
                .map_err(|e| failed("linkat", path, e))?;
            return Ok(false);
        }
        if stat.st_nlink > 1 && !is_whiteout(&stat) {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let first = OsStr::from_bytes(first);
                rustix::fs::linkat(self.target, first, to, name, AtFlags::empty())
                    .map_err(|e| failed("linkat", path, e))?;
                return Ok(false);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        match kind {
            FileType::RegularFile => self.file(from, to, name, &stat, path)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())
                    .map_err(|e| failed("readlinkat", path, e))?;
                rustix::fs::symlinkat(&target, to, name).map_err(|e| failed("symlinkat", path, e))?;
                self.finish_at(to, name, &stat, path)?;
            }
            _ => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)
                    .map_err(|e| failed("mknodat", path, e))?;
                if !is_whiteout(&stat) {
                    self.finish_at(to, name, &stat, path)?;
                }
            }
        }
        Ok(false)
    }

    fn file(&self, from: &OwnedFd, to: &OwnedFd, name: &OsStr, stat: &Stat, path: &[u8]) -> Result<()> {
        let source = open_below(from, name.as_bytes(), OFlags::RDONLY | OFlags::NOFOLLOW)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| failed("openat", path, e))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if self.method == Method::Stubs && size > 0 {
            rustix::fs::ftruncate(&file, size).map_err(|e| failed("ftruncate", path, e))?;
            let place = PathBuf::from("/")
                .join(self.layer.record().id.hex())
                .join("diff")
                .join(OsStr::from_bytes(path));
            let set = |key: &[u8], value: &[u8]| {
                xattr::set(&file, key, value).map_err(|e| failed("fsetxattr", path, e))
            };
            set(b"user.overlay.metacopy", b"")?;
            set(b"user.overlay.redirect", place.as_os_str().as_bytes())?;
        } else if size > 0 && rustix::fs::ioctl_ficlone(&file, &source).is_err() {
            // Falls back to copy_file_range, then to reading and writing.
            let (mut source, mut file) = (File::from(dup(&source, path)?), File::from(dup(&file, path)?));
            std::io::copy(&mut source, &mut file).map_err(|e| failed("copy", path, e))?;
        }
        // Owner first: a change of it clears setuid bits and file capabilities.
        let (uid, gid) = self.owner(stat, path)?;
        rustix::fs::fchown(&file, Some(uid), Some(gid)).map_err(|e| failed("fchown", path, e))?;
        self.copy_xattrs(&source, &file, path)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o7777))
            .map_err(|e| failed("fchmod", path, e))?;
        rustix::fs::futimens(&file, &times(stat)).map_err(|e| failed("utimensat", path, e))
    }

    fn finish(&self, dir: &OwnedFd, stat: &Stat, path: &[u8]) -> Result<()> {
        let (uid, gid) = self.owner(stat, path)?;
        rustix::fs::fchown(dir, Some(uid), Some(gid)).map_err(|e| failed("fchown", path, e))?;
        rustix::fs::fchmod(dir, Mode::from_raw_mode(stat.st_mode & 0o7777))
            .map_err(|e| failed("fchmod", path, e))?;
        rustix::fs::futimens(dir, &times(stat)).map_err(|e| failed("utimensat", path, e))
    }

    /// Owner, mode and times of what cannot be opened.
    fn finish_at(&self, to: &OwnedFd, name: &OsStr, stat: &Stat, path: &[u8]) -> Result<()> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let (uid, gid) = self.owner(stat, path)?;
        rustix::fs::chownat(to, name, Some(uid), Some(gid), nofollow)
            .map_err(|e| failed("fchownat", path, e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            rustix::fs::chmodat(to, name, mode, AtFlags::empty()).map_err(|e| failed("fchmodat", path, e))?;
        }
        rustix::fs::utimensat(to, name, &times(stat), nofollow).map_err(|e| failed("utimensat", path, e))
    }

    fn copy_xattrs(&self, from: &OwnedFd, to: &OwnedFd, path: &[u8]) -> Result<()> {
        for name in xattr::list(from).map_err(|e| failed("flistxattr", path, e))? {
            // In a merged tree nothing is below that could be hidden.
            if self.merges() && name.starts_with(b"user.overlay.") {
                continue;
            }
            if let Some(value) = xattr::get(from, &name).map_err(|e| failed("fgetxattr", path, e))? {
                match xattr::set(to, &name, &value) {
                    // A label of the host's security module is not ours to copy.
                    Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP) => {}
                    Err(e) => return Err(failed("fsetxattr", path, e)),
                }
            }
        }
        Ok(())
    }

    fn owner(&self, stat: &Stat, path: &[u8]) -> Result<(Uid, Gid)> {
        let Some(maps) = self.maps else {
            return Ok((Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)));
        };
        let shift = |what: &str, id: u32, map: &[IdRange]| {
            idmap::to_outside(map, id).ok_or_else(|| Error::Entry {
                entry: String::from_utf8_lossy(path).into_owned(),
                problem: format!("it belongs to {what} {id}, which the container's id map does not have"),
            })
        };
        Ok((
            Uid::from_raw(shift("uid", stat.st_uid, &maps.uid)?),
            Gid::from_raw(shift("gid", stat.st_gid, &maps.gid)?),
        ))
    }
}

fn is_directory(dir: &OwnedFd, name: &OsStr, path: &[u8]) -> Result<bool> {
    let stat =
        rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("fstatat", path, e))?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn remove(dir: &OwnedFd, name: &OsStr, path: &[u8]) -> Result<()> {
    let label = PathBuf::from(OsString::from(OsStr::from_bytes(path)));
    kernel::remove::remove_tree(dir.as_fd(), name, &label).map_err(Error::kernel("merge layers"))
}

fn dup(fd: &OwnedFd, path: &[u8]) -> Result<OwnedFd> {
    fd.try_clone().map_err(|e| failed("dup", path, e))
}

fn times(stat: &Stat) -> Timestamps {
    let nanos = |nsec: u64| i64::try_from(nsec).unwrap_or(0);
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: nanos(stat.st_atime_nsec) },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: nanos(stat.st_mtime_nsec) },
    }
}
