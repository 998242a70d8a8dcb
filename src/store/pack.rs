//! From a directory tree to an archive: what `commit`, `export` and `save` write.
//!
//! Entries come sorted by name, times are cut to seconds, and only what belongs into an image is written, so
//! the same tree gives the same bytes. Whiteouts of overlay become `.wh.` entries again, its opaque
//! directories `.wh..wh..opq`; its own attributes are left out.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};

use super::error::{Error, Result};
use super::tar::{Header, Kind, Writer};
use super::unpack::{OPAQUE, WHITEOUT, is_kept_xattr, join, split};
use crate::kernel;
use crate::kernel::idmap::{self, IdMaps};
use crate::kernel::xattr;

/// How a tree is packed.
#[derive(Debug, Clone)]
pub struct PackOptions {
    /// The container's ids in terms of the ids on disk; what is on disk is written as the container sees it.
    pub maps: IdMaps,
    /// The tree is the upper directory of an overlay: its whiteouts become `.wh.` entries.
    pub overlay: bool,
}

/// Writes everything below `root` (open for reading) to `out`, without the root itself. The caller adds
/// other entries or ends the archive.
pub fn pack<W: Write>(root: &OwnedFd, options: &PackOptions, out: &mut Writer<W>) -> Result<()> {
    let mut packer = Packer { options, out, links: HashMap::new() };
    packer.directory(root, b"")
}

struct Packer<'a, W> {
    options: &'a PackOptions,
    out: &'a mut Writer<W>,
    /// Files with several names that were written already, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Packer<'_, W> {
    /// The entries of a directory, sorted, each followed by what is below it. Directories are reopened by
    /// their path from the root, so that depth costs no descriptors.
    fn directory(&mut self, root: &OwnedFd, start: &[u8]) -> Result<()> {
        let mut todo = vec![start.to_vec()];
        while let Some(path) = todo.pop() {
            // A running container may remove what was listed a moment ago.
            let Some(dir) = there(open_below(root, &path, OFlags::RDONLY | OFlags::DIRECTORY))? else {
                continue;
            };
            if self.options.overlay && is_opaque(&dir, &path)? {
                self.write(&marker(join(&path, OPAQUE)))?;
            }
            let mut below = Vec::new();
            for name in sorted_names(&dir, &path)? {
                let full = join(&path, name.as_bytes());
                if there(self.entry(&dir, &name, &full))? == Some(true) {
                    below.push(full);
                }
            }
            todo.extend(below.into_iter().rev());
        }
        Ok(())
    }

    /// Writes one entry; true if it is a directory.
    fn entry(&mut self, dir: &OwnedFd, name: &OsStr, path: &[u8]) -> Result<bool> {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| failed("fstatat", path, e))?;
        let Some(kind) = kind(&stat) else {
            // A socket is no content.
            return Ok(false);
        };
        if self.options.overlay && is_whiteout(&stat) {
            let (parent, name) = split(path);
            self.write(&marker(join(parent, &[WHITEOUT, name].concat())))?;
            return Ok(false);
        }
        let mut header = self.header(&stat, kind, path)?;
        if kind == Kind::Directory {
            header.path.push(b'/');
            header.xattrs = xattrs(dir, name, path)?;
            self.write(&header)?;
            return Ok(true);
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                (header.kind, header.link, header.size) = (Kind::HardLink, first.clone(), 0);
                self.write(&header)?;
                return Ok(false);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        header.xattrs = xattrs(dir, name, path)?;
        match kind {
            Kind::File => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                let file = open_below(dir, name.as_bytes(), flags)?;
                self.out.append(&header, File::from(file)).map_err(|e| output(path, e))?;
            }
            Kind::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new())
                    .map_err(|e| failed("readlinkat", path, e))?;
                header.link = target.into_bytes();
                self.write(&header)?;
            }
            _ => self.write(&header)?,
        }
        Ok(false)
    }

    fn header(&self, stat: &Stat, kind: Kind, path: &[u8]) -> Result<Header> {
        let id = |what: &str, id: u32, map: &[_]| {
            idmap::to_inside(map, id).map(u64::from).ok_or_else(|| Error::Entry {
                entry: String::from_utf8_lossy(path).into_owned(),
                problem: format!("it belongs to {what} {id}, which the container does not have"),
            })
        };
        let size = if kind == Kind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
        let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        Ok(Header {
            path: path.to_vec(),
            kind,
            link: Vec::new(),
            mode: stat.st_mode & 0o7777,
            uid: id("uid", stat.st_uid, &self.options.maps.uid)?,
            gid: id("gid", stat.st_gid, &self.options.maps.gid)?,
            size,
            mtime: (stat.st_mtime, 0),
            device: if is_device { device } else { (0, 0) },
            xattrs: Vec::new(),
            sparse: false,
        })
    }

    fn write(&mut self, header: &Header) -> Result<()> {
        self.out.header(header).map_err(|e| output(&header.path, e))
    }
}

/// Nothing, if the reason of a failure is that something is gone.
fn there<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(Error::Kernel { source, .. }) if source.io().kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// An empty file that stands for a whiteout.
fn marker(path: Vec<u8>) -> Header {
    Header {
        path,
        kind: Kind::File,
        link: Vec::new(),
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: (0, 0),
        device: (0, 0),
        xattrs: Vec::new(),
        sparse: false,
    }
}

fn kind(stat: &Stat) -> Option<Kind> {
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        _ => return None,
    })
}

/// Overlay's whiteout: the character device 0:0.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether overlay takes nothing of a directory from lower layers.
pub(super) fn is_opaque(dir: &OwnedFd, path: &[u8]) -> Result<bool> {
    let value = xattr::get(dir, b"user.overlay.opaque").map_err(|e| failed("fgetxattr", path, e))?;
    Ok(value.is_some_and(|value| value == b"y"))
}

fn xattrs(dir: &OwnedFd, name: &OsStr, path: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut xattrs = Vec::new();
    for key in xattr::list_at(dir.as_fd(), name).map_err(|e| failed("llistxattr", path, e))? {
        // Labels belong to the host, not to the image.
        let wanted = is_kept_xattr(&key) && !key.starts_with(b"security.") || key == b"security.capability";
        if !wanted {
            continue;
        }
        if let Some(value) =
            xattr::get_at(dir.as_fd(), name, &key).map_err(|e| failed("lgetxattr", path, e))?
        {
            xattrs.push((key, value));
        }
    }
    Ok(xattrs)
}

/// The names in a directory, sorted by bytes.
pub(super) fn sorted_names(dir: &OwnedFd, path: &[u8]) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir).map_err(|e| failed("getdents", path, e))? {
        let name = entry.map_err(|e| failed("getdents", path, e))?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort();
    Ok(names)
}

/// Opens `path` below `dir`, following no link; an empty path is `dir` itself.
pub(super) fn open_below(dir: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let at = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(dir, OsStr::from_bytes(at), flags | OFlags::CLOEXEC, Mode::empty(), resolve)
        .map_err(|e| failed("openat2", path, e))
}

pub(super) fn failed(call: &'static str, path: &[u8], source: impl Into<std::io::Error>) -> Error {
    let path = PathBuf::from(OsStr::from_bytes(path));
    Error::Kernel { action: "read a tree", source: kernel::Error::path(call, path, source) }
}

fn output(path: &[u8], source: std::io::Error) -> Error {
    failed("write the archive at", path, source)
}
