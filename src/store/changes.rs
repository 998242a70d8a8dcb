//! What a container changed: its upper directory compared with the layers below, for `diff`.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::pack::{failed, is_opaque, is_whiteout, open_below, sorted_names};
use super::unpack::{join, split};
use super::{Digest, Layer, Store};

/// How a path differs from the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    /// It is there, but other.
    Changed,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

impl Change {
    /// The letter that `diff` prints.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Changed => 'C',
            Self::Added => 'A',
            Self::Deleted => 'D',
        }
    }
}

impl Store {
    /// Lists what the upper directory changes over `layers` (lowest first), sorted by path. Paths start
    /// with `/`. What is below a deleted directory is not listed.
    pub fn changes(&self, layers: &[Digest], upper: &Path) -> Result<Vec<(Change, PathBuf)>> {
        let mut lowers = Vec::with_capacity(layers.len());
        for id in layers.iter().rev() {
            let layer =
                self.layer(id)?.ok_or_else(|| Error::NotFound { what: "layer", text: id.to_string() })?;
            lowers.push(open_root(&layer)?);
            if layer.hides_lower() {
                break;
            }
        }
        let upper = open_dir(upper)?;
        let mut changes = Vec::new();
        let mut todo = vec![Vec::new()];
        while let Some(path) = todo.pop() {
            let dir = open_below(&upper, &path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let names = sorted_names(&dir, &path)?;
            if is_opaque(&dir, &path)? {
                for name in lower_names(&lowers, &path)? {
                    if !names.iter().any(|own| own.as_bytes() == name) {
                        changes.push((Change::Deleted, absolute(&join(&path, &name))));
                    }
                }
            }
            for name in names {
                let full = join(&path, name.as_bytes());
                let stat = rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|e| failed("fstatat", &full, e))?;
                let below = lower(&lowers, &full)?;
                let change = match (is_whiteout(&stat), below.is_some()) {
                    (true, true) => Change::Deleted,
                    // It was made and removed again.
                    (true, false) => continue,
                    (false, true) => Change::Changed,
                    (false, false) => Change::Added,
                };
                changes.push((change, absolute(&full)));
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    todo.push(full);
                }
            }
        }
        changes.sort_by(|a, b| a.1.cmp(&b.1));
        Ok(changes)
    }
}

/// What the merged lower layers have at `path`.
fn lower(lowers: &[OwnedFd], path: &[u8]) -> Result<Option<Stat>> {
    let (parent, name) = split(path);
    for root in lowers {
        match find_parent(root, parent)? {
            Parent::Missing { last: false } => {}
            Parent::Missing { last: true } | Parent::NoDirectory => return Ok(None),
            Parent::Directory { dir, last } => {
                match rustix::fs::statat(&dir, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => return Ok((!is_whiteout(&stat)).then_some(stat)),
                    Err(Errno::NOENT) if last => return Ok(None),
                    Err(Errno::NOENT) => {}
                    Err(e) => return Err(failed("fstatat", path, e)),
                }
            }
        }
    }
    Ok(None)
}

/// The names that the merged lower layers have in the directory `path`, sorted.
fn lower_names(lowers: &[OwnedFd], path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for root in lowers {
        match find_parent(root, path)? {
            Parent::Missing { last: false } => {}
            Parent::Missing { last: true } | Parent::NoDirectory => break,
            Parent::Directory { dir, last } => {
                names.extend(sorted_names(&dir, path)?.into_iter().map(OsStringExt::into_vec));
                if last {
                    break;
                }
            }
        }
    }
    names.sort();
    names.dedup();
    let mut there = Vec::with_capacity(names.len());
    for name in names {
        if lower(lowers, &join(path, &name))?.is_some() {
            there.push(name);
        }
    }
    Ok(there)
}

/// What one layer has for a directory; `last` if nothing further down counts.
enum Parent {
    Directory { dir: OwnedFd, last: bool },
    Missing { last: bool },
    NoDirectory,
}

fn find_parent(root: &OwnedFd, path: &[u8]) -> Result<Parent> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir = root.try_clone().map_err(|e| failed("dup", path, e))?;
    let mut last = false;
    for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
        dir = match rustix::fs::openat(&dir, OsStr::from_bytes(part), flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(Parent::Missing { last }),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Parent::NoDirectory),
            Err(e) => return Err(failed("openat", path, e)),
        };
        last |= is_opaque(&dir, path)?;
    }
    Ok(Parent::Directory { dir, last })
}

fn open_root(layer: &Layer) -> Result<OwnedFd> {
    open_dir(&layer.diff())
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed("open", path.as_os_str().as_bytes(), e))
}

fn absolute(path: &[u8]) -> PathBuf {
    Path::new("/").join(OsStr::from_bytes(path))
}
