//! Unpacks a layer archive into a directory, in the form that overlay takes as a lower layer.
//!
//! The archive is hostile. Every name is resolved inside the layer's own directory, by handles: a link
//! planted by an earlier entry leads at most to another place of the same layer, and lower layers are never
//! looked at. Nothing is executed, and nothing outside the directory is opened.
//!
//! - `.wh.x` becomes a character device 0:0 (which any user may make since Linux 5.8), `.wh..wh..opq` the
//!   attribute `user.overlay.opaque`. Both hide only lower layers, wherever they stand in the archive.
//!   On a file system that is an overlay itself neither can be made, and fuse-overlayfs is what can use the
//!   layer; it takes both as files, under the names that they have in the archive.
//! - Attributes that overlay or fuse-overlayfs would believe are dropped, or a layer could forge redirects,
//!   opaque directories and owners. So are trusted.* (nobody in a user namespace can set them).
//! - Device nodes are left out: nobody can make them in a user namespace, and the runtime gives `/dev` anyway.
//! - A later entry replaces an earlier one of the same name; a directory over a directory keeps its content.
//! - Directories get owner, mode and times at the end, so that filling them neither fails nor changes them.

mod names;
mod place;
#[cfg(test)]
mod tests;
mod tree;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use self::names::Meaning;
pub(super) use self::names::{OPAQUE, WHITEOUT, clean, join, split};
use self::place::Places;
use self::tree::{Attributes, Node, Tree};
use super::error::{Error, Result};
use super::tar::{Archive, Entry, Header, Kind, Limits};
use super::{Digest, UnpackOptions};
use crate::kernel::idmap::{self, IdRange};
use crate::kernel::{selinux, xattr};

/// The mode of a directory that the archive only implies; of the root as podman has it, and as RPM's package
/// of file systems wants it.
pub(super) fn implied_mode(path: &[u8]) -> u32 {
    if path.is_empty() { 0o555 } else { 0o755 }
}

/// Attributes that change what overlay or fuse-overlayfs make of a file, or that only rbox writes.
const FORGED: [&[u8]; 4] = [b"user.overlay.", b"user.fuseoverlayfs.", b"user.containers.", b"user.rbox."];

/// Why an entry is refused or cannot be made.
#[derive(Debug)]
enum Problem {
    /// It is unacceptable.
    Text(String),
    /// A call failed.
    Call(&'static str, std::io::Error),
    /// The archive itself.
    Archive(super::tar::Error),
}

impl From<&'static str> for Problem {
    fn from(text: &'static str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// `f_type` of overlay.
const OVERLAY: rustix::fs::FsWord = 0x794C_7630;

/// What was unpacked.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) digest: Digest,
    pub(super) archive_size: u64,
    pub(super) size: u64,
    pub(super) entries: u64,
    pub(super) implied: Vec<String>,
    pub(super) opaque: Vec<String>,
    pub(super) squashed: bool,
    pub(super) max_owner: (u32, u32),
    pub(super) devices: u64,
    pub(super) dropped_xattrs: u64,
}

/// Unpacks all of `input` into the empty directory `root` (open for reading).
pub(super) fn unpack(root: &OwnedFd, input: impl Read, options: &UnpackOptions) -> Result<Unpacked> {
    let mut unpacker = Unpacker::new(root, options).map_err(|p| refused(b"/", p))?;
    let limits = Limits { max_entries: options.max_entries, max_bytes: options.max_bytes };
    let mut archive = Archive::new(input, limits);
    while let Some(mut entry) = archive.next_entry()? {
        // The name is kept aside for messages only where one is needed.
        if let Err(problem) = unpacker.entry(&mut entry) {
            return Err(refused(&entry.header.path, problem));
        }
    }
    let entries = archive.entries();
    let (digest, archive_size) = archive.finish()?;
    unpacker.finish().map_err(|p| refused(b"/", p))?;
    Ok(Unpacked {
        digest,
        archive_size,
        size: unpacker.size,
        entries,
        implied: unpacker.implied(),
        opaque: unpacker.tree.opaque(),
        squashed: unpacker.squashed,
        max_owner: unpacker.max_owner,
        devices: unpacker.devices,
        dropped_xattrs: unpacker.dropped_xattrs,
    })
}

fn refused(entry: &[u8], problem: Problem) -> Error {
    let entry = String::from_utf8_lossy(&entry[..entry.len().min(4096)]).into_owned();
    match problem {
        Problem::Text(problem) => Error::Entry { entry, problem },
        Problem::Call(call, source) => Error::Unpack { entry, call, source },
        Problem::Archive(error) => Error::Archive(error),
    }
}

struct Unpacker<'a> {
    options: &'a UnpackOptions,
    umask: u32,
    /// Whiteouts are files under their own names.
    plain_whiteouts: bool,
    places: Places<'a>,
    tree: Tree,
    size: u64,
    squashed: bool,
    max_owner: (u32, u32),
    devices: u64,
    dropped_xattrs: u64,
}

impl<'a> Unpacker<'a> {
    fn new(root: &'a OwnedFd, options: &'a UnpackOptions) -> Result<Self, Problem> {
        let mut tree = Tree::default();
        tree.insert(b"", Node::Directory { attributes: None, mtime: (0, 0) })?;
        let statfs = rustix::fs::fstatfs(root).map_err(failed("fstatfs"))?;
        Ok(Self {
            options,
            umask: umask(),
            plain_whiteouts: statfs.f_type == OVERLAY,
            places: Places::new(root),
            tree,
            size: 0,
            squashed: false,
            max_owner: (0, 0),
            devices: 0,
            dropped_xattrs: 0,
        })
    }

    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), Problem> {
        let path = names::clean(&entry.header.path)?.into_owned();
        if path.is_empty() {
            return self.root_entry(&entry.header);
        }
        let (dir, name) = names::split(&path);
        let meaning = names::meaning(dir, name)?;
        if meaning == Meaning::Aufs {
            return Ok(());
        }
        if meaning != Meaning::Plain && entry.header.kind == Kind::Directory {
            return Err("a whiteout is no directory".into());
        }
        let owner = self.owner(&entry.header)?;
        let (parent, real) = self.parent(dir, entry.header.mtime)?;
        let place = Place { dir: parent, path: names::join(&real, name), name: OsStr::from_bytes(name) };
        match meaning {
            Meaning::Aufs => Ok(()),
            Meaning::Opaque | Meaning::Whiteout(_) if self.plain_whiteouts => {
                self.make(&place, "mknodat", |dir, name| {
                    rustix::fs::mknodat(dir, name, FileType::RegularFile, Mode::RUSR, 0)
                })
            }
            Meaning::Opaque => self.tree.set_opaque(&real),
            Meaning::Whiteout(target) => {
                let path = names::join(&real, target);
                self.whiteout(&Place { path, name: OsStr::from_bytes(target), ..place })
            }
            Meaning::Plain => match entry.header.kind {
                Kind::File => self.file(&place, entry, owner),
                Kind::Directory => self.directory(&place, &entry.header, owner),
                Kind::Symlink => self.symlink(&place, &entry.header, owner),
                Kind::HardLink => self.hard_link(&place, &entry.header.link),
                Kind::Fifo => self.fifo(&place, &entry.header, owner),
                Kind::CharDevice | Kind::BlockDevice => {
                    self.devices += 1;
                    // What an earlier entry put there is replaced all the same.
                    self.clear(&place)
                }
            },
        }
    }

    /// An entry for the root itself may only set its attributes (CVE-2021-29136).
    fn root_entry(&mut self, header: &Header) -> Result<(), Problem> {
        if header.kind != Kind::Directory {
            return Err("the root is no directory".into());
        }
        let owner = self.owner(header)?;
        let node = Node::Directory { attributes: Some(attributes(header, owner)), mtime: header.mtime };
        self.tree.insert(b"", node)
    }

    fn file<R: Read>(
        &mut self,
        place: &Place<'_>,
        entry: &mut Entry<'_, R>,
        owner: (u32, u32),
    ) -> Result<(), Problem> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Setuid and its like are set after the last write and chown, which clear them; and attributes may
        // need write permission.
        let mode = entry.header.mode;
        let plain = mode & !0o777 == 0 && mode & self.umask == 0 && entry.header.xattrs.is_empty();
        let first = Mode::from_raw_mode(if plain { mode } else { 0o600 });
        let file = self.make(place, "openat", |dir, name| rustix::fs::openat(dir, name, flags, first))?;
        let file = File::from(file);
        write_content(&file, entry)?;
        self.size = self.size.saturating_add(entry.header.size);
        let fd = file.as_fd();
        if owner != (0, 0) {
            let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
            rustix::fs::fchown(fd, Some(uid), Some(gid)).map_err(failed("fchown"))?;
        }
        self.set_xattrs(fd, &entry.header.xattrs)?;
        if !plain {
            rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)).map_err(failed("fchmod"))?;
        }
        rustix::fs::futimens(fd, &times(entry.header.mtime)).map_err(failed("utimensat"))
    }

    fn directory(&mut self, place: &Place<'_>, header: &Header, owner: (u32, u32)) -> Result<(), Problem> {
        let node = Node::Directory { attributes: Some(attributes(header, owner)), mtime: header.mtime };
        match rustix::fs::mkdirat(&*place.dir, place.name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) if place.is_directory()? => {}
            Err(Errno::EXIST) => {
                let was_whiteout = self.tree.is_whiteout(&place.path);
                self.make(place, "mkdirat", |dir, name| rustix::fs::mkdirat(dir, name, Mode::RWXU))?;
                if was_whiteout {
                    self.tree.set_opaque(&place.path)?;
                }
            }
            Err(e) => return Err(failed("mkdirat")(e)),
        }
        self.tree.insert(&place.path, node)
    }

    fn symlink(&mut self, place: &Place<'_>, header: &Header, owner: (u32, u32)) -> Result<(), Problem> {
        let target = OsStr::from_bytes(&header.link);
        self.make(place, "symlinkat", |dir, name| rustix::fs::symlinkat(target, dir, name))?;
        self.finish_special(place, header, owner)
    }

    fn fifo(&mut self, place: &Place<'_>, header: &Header, owner: (u32, u32)) -> Result<(), Problem> {
        let mode = Mode::from_raw_mode(header.mode & 0o777);
        let make =
            |dir: BorrowedFd<'_>, name: &OsStr| rustix::fs::mknodat(dir, name, FileType::Fifo, mode, 0);
        self.make(place, "mknodat", make)?;
        self.finish_special(place, header, owner)?;
        if header.mode & !0o777 != 0 || header.mode & self.umask != 0 {
            // We made it a moment ago, and nobody else writes here: it is no link.
            let mode = Mode::from_raw_mode(header.mode);
            rustix::fs::chmodat(&*place.dir, place.name, mode, AtFlags::empty())
                .map_err(failed("fchmodat"))?;
        }
        Ok(())
    }

    /// Owner, attributes and times of what cannot be opened.
    fn finish_special(
        &mut self,
        place: &Place<'_>,
        header: &Header,
        owner: (u32, u32),
    ) -> Result<(), Problem> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        if owner != (0, 0) {
            let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
            rustix::fs::chownat(&*place.dir, place.name, Some(uid), Some(gid), nofollow)
                .map_err(failed("fchownat"))?;
        }
        for (name, value) in &header.xattrs {
            let set =
                is_kept_xattr(name) && xattr::set_at(place.dir.as_fd(), place.name, name, value).is_ok();
            self.dropped_xattrs += u64::from(!set);
        }
        let times = times(header.mtime);
        rustix::fs::utimensat(&*place.dir, place.name, &times, nofollow).map_err(failed("utimensat"))
    }

    /// The target must be an earlier file of this layer. A link to a whiteout would be a second whiteout,
    /// under a name that does not say so.
    fn hard_link(&mut self, place: &Place<'_>, link: &[u8]) -> Result<(), Problem> {
        let target = names::clean(link).map_err(|_| "its target leads out of the root")?.into_owned();
        let (dir, name) = names::split(&target);
        if name.is_empty() {
            return Err("its target is the root".into());
        }
        let missing = || Problem::Text(format!("its target {:?} is not in the layer", lossy(&target)));
        let Some((dir, real)) = self.places.find(dir)? else { return Err(missing()) };
        if names::join(&real, name) == place.path {
            return Err("it is a link to itself".into());
        }
        let name = OsStr::from_bytes(name);
        match rustix::fs::statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => return Err("its target is a directory".into()),
                FileType::CharacterDevice => return Err(missing()),
                _ => {}
            },
            Err(Errno::NOENT) => return Err(missing()),
            Err(e) => return Err(failed("fstatat")(e)),
        }
        // Replacing may remove the target itself (a directory that holds it): then the second try fails.
        self.make(place, "linkat", |to, to_name| {
            rustix::fs::linkat(&*dir, name, to, to_name, AtFlags::empty())
        })
    }

    /// What is there already, in this same layer, stays: a whiteout hides lower layers only.
    fn whiteout(&mut self, place: &Place<'_>) -> Result<(), Problem> {
        match rustix::fs::mknodat(&*place.dir, place.name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => self.tree.insert(&place.path, Node::Whiteout),
            Err(Errno::EXIST) if place.is_directory()? => self.tree.set_opaque(&place.path),
            Err(Errno::EXIST) => Ok(()),
            Err(Errno::PERM) => {
                Err("the kernel (before Linux 5.8) or a sandbox forbids to make whiteouts".into())
            }
            Err(e) => Err(failed("mknodat")(e)),
        }
    }

    /// Runs `make`, and once more after removing what is in its way.
    fn make<T>(
        &mut self,
        place: &Place<'_>,
        call: &'static str,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<T>,
    ) -> Result<T, Problem> {
        match make(place.dir.as_fd(), place.name) {
            Err(Errno::EXIST) => {
                self.clear(place)?;
                make(place.dir.as_fd(), place.name).map_err(failed(call))
            }
            other => other.map_err(failed(call)),
        }
    }

    /// Removes what an earlier entry made at this place.
    fn clear(&mut self, place: &Place<'_>) -> Result<(), Problem> {
        let label = std::path::Path::new(place.name);
        crate::kernel::remove::remove_tree(place.dir.as_fd(), place.name, label).map_err(|e| match e {
            crate::kernel::Error::Path { call, source, .. }
            | crate::kernel::Error::Call { call, source, .. } => Problem::Call(call, source),
        })?;
        self.tree.remove(&place.path);
        // Open directories may be gone, and resolved paths may lead elsewhere now.
        self.places.forget();
        Ok(())
    }

    /// The directory `dir`, made with its parents if the archive only implies it.
    fn parent(&mut self, dir: &[u8], mtime: (i64, u32)) -> Result<(Rc<OwnedFd>, Rc<[u8]>), Problem> {
        if let Some(found) = self.places.find(dir)? {
            return Ok(found);
        }
        self.places.make(dir, &mut self.tree, mtime)
    }

    /// The owner on disk.
    fn owner(&mut self, header: &Header) -> Result<(u32, u32), Problem> {
        // An id of more than 32 bits is refused below, or does not count.
        let narrow = |id: u64| u32::try_from(id).unwrap_or(u32::MAX);
        let (uid, gid) = (narrow(header.uid), narrow(header.gid));
        self.max_owner = (self.max_owner.0.max(uid), self.max_owner.1.max(gid));
        if self.options.squash {
            self.squashed |= header.uid != 0 || header.gid != 0;
            return Ok((0, 0));
        }
        known_id("uid", header.uid, &self.options.maps.uid)?;
        known_id("gid", header.gid, &self.options.maps.gid)?;
        Ok((uid, gid))
    }

    fn set_xattrs(&mut self, fd: BorrowedFd<'_>, xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Problem> {
        for (name, value) in xattrs {
            if !is_kept_xattr(name) {
                self.dropped_xattrs += 1;
                continue;
            }
            match xattr::set(fd, name, value) {
                Ok(()) => {}
                // The file system has no attributes, or this one is not for us to set (labels of an LSM).
                Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL | Errno::RANGE) => self.dropped_xattrs += 1,
                Err(e) => return Err(failed("fsetxattr")(e)),
            }
        }
        Ok(())
    }

    /// Sets what had to wait: useless whiteouts go, opaque directories are marked, directories get their
    /// attributes, the deepest first.
    fn finish(&mut self) -> Result<(), Problem> {
        for path in self.tree.useless_whiteouts() {
            let (dir, name) = names::split(path);
            if let Some((dir, _)) = self.places.find(dir)? {
                rustix::fs::unlinkat(&*dir, OsStr::from_bytes(name), AtFlags::empty())
                    .map_err(failed("unlinkat"))?;
            }
        }
        let tree = std::mem::take(&mut self.tree);
        for (path, attributes, mtime) in tree.directories() {
            let fd = self.places.open(path)?;
            let fd = fd.as_fd();
            let implied = Attributes { mode: implied_mode(path), mtime, ..Attributes::default() };
            let attributes = attributes.unwrap_or(&implied);
            // Also 0:0, against a setgid directory above the store.
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            if attributes.uid != 0 || attributes.gid != 0 {
                rustix::fs::fchown(fd, Some(uid), Some(gid)).map_err(failed("fchown"))?;
            }
            self.set_xattrs(fd, &attributes.xattrs)?;
            if tree.is_opaque(path) {
                xattr::set(fd, b"user.overlay.opaque", b"y").map_err(failed("fsetxattr"))?;
            }
            rustix::fs::fchmod(fd, Mode::from_raw_mode(attributes.mode)).map_err(failed("fchmod"))?;
            rustix::fs::futimens(fd, &times(attributes.mtime)).map_err(failed("utimensat"))?;
        }
        self.tree = tree;
        Ok(())
    }

    /// The implied directories, parents first. A name that is not UTF-8 cannot be recorded; its directory
    /// keeps the default attributes.
    fn implied(&self) -> Vec<String> {
        let implied = self.tree.directories().filter(|(_, attributes, _)| attributes.is_none());
        let mut paths: Vec<String> =
            implied.filter_map(|(path, ..)| String::from_utf8(path.to_vec()).ok()).collect();
        paths.reverse();
        paths
    }
}

/// Where an entry goes: a directory, the real path for bookkeeping, and the name.
struct Place<'a> {
    dir: Rc<OwnedFd>,
    path: Vec<u8>,
    name: &'a OsStr,
}

impl Place<'_> {
    fn is_directory(&self) -> Result<bool, Problem> {
        let stat = rustix::fs::statat(&*self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(failed("fstatat"))?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }
}

/// Copies the content; holes stay holes.
fn write_content<R: Read>(mut file: &File, entry: &mut Entry<'_, R>) -> Result<(), Problem> {
    let (sparse, size) = (entry.header.sparse, entry.header.size);
    while let Some((offset, bytes)) = entry.next_piece().map_err(Problem::Archive)? {
        let written = if sparse { file.write_all_at(bytes, offset) } else { file.write_all(bytes) };
        written.map_err(|e| Problem::Call("write", e))?;
    }
    if sparse {
        file.set_len(size).map_err(|e| Problem::Call("ftruncate", e))?;
    }
    Ok(())
}

fn attributes(header: &Header, (uid, gid): (u32, u32)) -> Attributes {
    Attributes { mode: header.mode, uid, gid, mtime: header.mtime, xattrs: header.xattrs.clone() }
}

/// Whether an attribute may stand in a layer. Labels are the host's to give.
pub(super) fn is_kept_xattr(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.")
        && name != selinux::ATTRIBUTE.as_bytes()
        && !FORGED.iter().any(|prefix| name.starts_with(prefix))
}

/// Checks that the user's namespace has the id; the message says what range would be needed.
fn known_id(what: &str, id: u64, map: &[IdRange]) -> Result<(), Problem> {
    let known = u32::try_from(id).ok().filter(|id| idmap::to_outside(map, *id).is_some());
    known.map(drop).ok_or_else(|| {
        let have: u64 =
            map.iter().map(|range| u64::from(range.inside) + u64::from(range.count)).max().unwrap_or(0);
        Problem::Text(format!(
            "it belongs to {what} {id}, and the user namespace has only {have} ids: at least {id} sub-ids \
             are needed in /etc/sub{what}"
        ))
    })
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// The process's umask, which is not to be changed for the sake of other threads. Where it cannot be known,
/// every mode is set explicitly.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
}

fn failed(call: &'static str) -> impl Fn(Errno) -> Problem {
    move |errno| Problem::Call(call, errno.into())
}

fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
