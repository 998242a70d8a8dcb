//! From a directory tree to an archive: what `commit`, `export` and `save` write.
//!
//! Entries come sorted by name, times are cut to seconds, and only what belongs into an image is written, so
//! the same tree gives the same bytes. Whiteouts of overlay become `.wh.` entries again, its opaque
//! directories `.wh..wh..opq`; its own attributes are left out.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
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
#[derive(Debug, Clone, Default)]
pub struct PackOptions {
    /// The container's ids in terms of the ids on disk; what is on disk is written as the container sees it.
    pub maps: IdMaps,
    /// The tree is the upper directory of an overlay: its whiteouts become `.wh.` entries.
    pub overlay: bool,
    /// Directories with all in them, and empty files, that are left out: paths from the top of the tree.
    pub without: Vec<String>,
    /// Somebody else's tree: ids that the maps do not have become 65534, and what cannot be read is left out.
    pub lenient: bool,
}

/// Takes entries one after the other.
pub trait Sink {
    /// Takes an entry; `content` is that of a file. It may turn out shorter or longer than promised.
    fn entry(&mut self, header: &Header, content: Option<&mut dyn Read>) -> Result<()>;
}

impl<W: Write> Sink for Writer<W> {
    fn entry(&mut self, header: &Header, content: Option<&mut dyn Read>) -> Result<()> {
        let written = match content {
            Some(content) => self.append(header, content),
            None => self.header(header),
        };
        written.map_err(|e| output(&header.path, e))
    }
}

/// Writes everything below `root` (open for reading) to `out`, without the root itself. The caller adds
/// other entries or ends the archive.
pub fn pack(root: &OwnedFd, options: &PackOptions, out: &mut dyn Sink) -> Result<()> {
    let mut packer = Packer { options, out, prefix: Vec::new(), links: HashMap::new() };
    packer.directory(root)
}

/// Writes the file or directory `place` (a handle, also of `O_PATH`) as `name`, with everything below it; of a
/// directory without a name only what is below.
pub fn pack_as(place: &OwnedFd, name: &[u8], options: &PackOptions, out: &mut dyn Sink) -> Result<()> {
    let mut packer = Packer { options, out, prefix: name.to_vec(), links: HashMap::new() };
    let stat = rustix::fs::fstat(place).map_err(|e| failed("fstat", name, e))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let dir = open_below(place, b"", flags)?;
            if !name.is_empty() {
                let mut header = packer.header(&stat, Kind::Directory, b"")?;
                header.path.push(b'/');
                header.xattrs = read_xattrs(
                    || xattr::list(&dir).map_err(|e| failed("flistxattr", name, e)),
                    |key| xattr::get(&dir, key).map_err(|e| failed("fgetxattr", name, e)),
                )?;
                packer.out.entry(&header, None)?;
            }
            packer.directory(&dir)
        }
        FileType::RegularFile => {
            // The handle is what was looked at; its name may mean something else by now.
            let path = kernel::path::proc_fd_path(place.as_fd());
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed("open", name, e))?;
            let mut header = packer.header(&stat, Kind::File, b"")?;
            header.xattrs = read_xattrs(
                || xattr::list(&file).map_err(|e| failed("flistxattr", name, e)),
                |key| xattr::get(&file, key).map_err(|e| failed("fgetxattr", name, e)),
            )?;
            packer.out.entry(&header, Some(&mut File::from(file)))
        }
        _ => Err(Error::Entry {
            entry: String::from_utf8_lossy(name).into_owned(),
            problem: "it is neither a file nor a directory".to_owned(),
        }),
    }
}

struct Packer<'a> {
    options: &'a PackOptions,
    out: &'a mut dyn Sink,
    /// What stands before every name.
    prefix: Vec<u8>,
    /// Files with several names that were written already, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl Packer<'_> {
    /// The entries of a directory, sorted, each followed by what is below it. Directories are reopened by
    /// their path from the root, so that depth costs no descriptors.
    fn directory(&mut self, root: &OwnedFd) -> Result<()> {
        let mut todo = vec![Vec::new()];
        while let Some(path) = todo.pop() {
            // A running container may remove what was listed a moment ago.
            let opened = open_below(root, &path, OFlags::RDONLY | OFlags::DIRECTORY);
            let Some(dir) = self.there(opened)? else { continue };
            if self.options.overlay && is_opaque(&dir, &path)? {
                self.out.entry(&marker(join(&self.prefix, &join(&path, OPAQUE))), None)?;
            }
            let mut below = Vec::new();
            for name in sorted_names(&dir, &path)? {
                let full = join(&path, name.as_bytes());
                let entry = self.entry(&dir, &name, &full);
                if self.there(entry)? == Some(true) {
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
        if self.options.without.iter().any(|other| path == other.as_bytes())
            && (stat.st_size == 0 || FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
        {
            return Ok(false);
        }
        let Some(kind) = kind(&stat) else {
            // A socket is no content.
            return Ok(false);
        };
        if self.options.overlay && is_whiteout(&stat) {
            let (parent, name) = split(path);
            let path = join(parent, &[WHITEOUT, name].concat());
            self.out.entry(&marker(join(&self.prefix, &path)), None)?;
            return Ok(false);
        }
        let mut header = self.header(&stat, kind, path)?;
        if kind == Kind::Directory {
            header.path.push(b'/');
            header.xattrs = xattrs(dir, name, path)?;
            self.out.entry(&header, None)?;
            return Ok(true);
        }
        if stat.st_nlink > 1
            && let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino))
        {
            (header.kind, header.link, header.size) = (Kind::HardLink, first.clone(), 0);
            self.out.entry(&header, None)?;
            return Ok(false);
        }
        header.xattrs = xattrs(dir, name, path)?;
        match kind {
            Kind::File => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                let file = open_below(dir, name.as_bytes(), flags)?;
                let now = rustix::fs::fstat(&file).map_err(|e| failed("fstat", path, e))?;
                if FileType::from_raw_mode(now.st_mode) != FileType::RegularFile {
                    // It was replaced since the look at it: reading could take for ever.
                    return Ok(false);
                }
                self.out.entry(&header, Some(&mut File::from(file)))?;
            }
            Kind::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new())
                    .map_err(|e| failed("readlinkat", path, e))?;
                header.link = target.into_bytes();
                self.out.entry(&header, None)?;
            }
            _ => self.out.entry(&header, None)?,
        }
        if stat.st_nlink > 1 {
            self.links.insert((stat.st_dev, stat.st_ino), header.path);
        }
        Ok(false)
    }

    fn header(&self, stat: &Stat, kind: Kind, path: &[u8]) -> Result<Header> {
        let lenient = self.options.lenient;
        let id = |what: &str, id: u32, map: &[_]| match idmap::to_inside(map, id) {
            Some(id) => Ok(u64::from(id)),
            None if lenient => Ok(NOBODY),
            None => Err(Error::Entry {
                entry: String::from_utf8_lossy(path).into_owned(),
                problem: format!("it belongs to {what} {id}, which the container does not have"),
            }),
        };
        let size = if kind == Kind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
        let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        Ok(Header {
            path: if path.is_empty() { self.prefix.clone() } else { join(&self.prefix, path) },
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

    /// Nothing, if the reason of a failure is that something is gone, or may not be read and need not.
    fn there<T>(&self, result: Result<T>) -> Result<Option<T>> {
        use std::io::ErrorKind;
        match result {
            Err(Error::Kernel { source, action: READ_TREE }) => match source.io().kind() {
                ErrorKind::NotFound => Ok(None),
                ErrorKind::PermissionDenied if self.options.lenient => Ok(None),
                // Replaced by a file or a link meanwhile.
                ErrorKind::NotADirectory if self.options.lenient => Ok(None),
                _ if self.options.lenient && source.errno() == Some(libc::ELOOP) => Ok(None),
                _ => Err(Error::Kernel { source, action: READ_TREE }),
            },
            other => other.map(Some),
        }
    }
}

/// What the kernel shows for ids that it cannot map.
const NOBODY: u64 = 65534;
/// What failures say that are about the tree and not about what becomes of it.
const READ_TREE: &str = "read a tree";

/// An empty file that stands for a whiteout.
fn marker(path: Vec<u8>) -> Header {
    Header::plain(path, Kind::File, 0, 0)
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
    read_xattrs(
        || xattr::list_at(dir.as_fd(), name).map_err(|e| failed("llistxattr", path, e)),
        |key| xattr::get_at(dir.as_fd(), name, key).map_err(|e| failed("lgetxattr", path, e)),
    )
}

fn read_xattrs(
    list: impl Fn() -> Result<Vec<Vec<u8>>>,
    get: impl Fn(&[u8]) -> Result<Option<Vec<u8>>>,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut xattrs = Vec::new();
    for key in list()? {
        // Labels belong to the host, not to the image.
        let wanted = is_kept_xattr(&key) && !key.starts_with(b"security.") || key == b"security.capability";
        if !wanted {
            continue;
        }
        if let Some(value) = get(&key)? {
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
    Error::Kernel { action: READ_TREE, source: kernel::Error::path(call, path, source) }
}

pub(crate) fn output(path: &[u8], source: std::io::Error) -> Error {
    let path = PathBuf::from(OsStr::from_bytes(path));
    Error::Kernel { action: "write the archive", source: kernel::Error::path("write", path, source) }
}
