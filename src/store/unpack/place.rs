//! Finding the directories of a layer while it is unpacked.
//!
//! A directory is opened once and kept for the entries that follow, which mostly lie beside it. The plain
//! case is one `openat2(RESOLVE_NO_SYMLINKS)`; where a link is on the way, the path is walked name by name
//! inside the root, so that bookkeeping always knows the real path.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::tree::{Node, Tree};
use super::{Problem, failed, names};

/// Open directories that are kept.
const MAX_OPEN: usize = 64;
/// As many links as the kernel follows (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;
/// Names that may be walked one by one in a layer: chains of long links could else take hours. An ordinary
/// layer needs thousands.
const MAX_STEPS: u64 = 4_000_000;

/// An open directory and its real path.
type Found = (Rc<OwnedFd>, Rc<[u8]>);

pub(super) struct Places<'a> {
    root: &'a OwnedFd,
    open: HashMap<Vec<u8>, Found>,
    steps: u64,
}

impl<'a> Places<'a> {
    pub(super) fn new(root: &'a OwnedFd) -> Self {
        Self { root, open: HashMap::new(), steps: 0 }
    }

    /// The directory `path` (clean, as an entry names it), or nothing if it is not there as a directory.
    pub(super) fn find(&mut self, path: &[u8]) -> Result<Option<Found>, Problem> {
        if let Some(found) = self.open.get(path) {
            return Ok(Some(found.clone()));
        }
        let found = match self.open_real(path) {
            Ok(fd) => (Rc::new(fd), Rc::from(path)),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            // A link is on the way.
            Err(Errno::LOOP) => match self.walk(path, &mut Visit::Find)? {
                Some(real) => (Rc::new(self.open_real(&real).map_err(failed("openat2"))?), Rc::from(real)),
                None => return Ok(None),
            },
            Err(e) => return Err(failed("openat2")(e)),
        };
        Ok(Some(self.keep(path, found)))
    }

    /// Makes the directory `path` and its parents. They are implied: their attributes are unknown.
    pub(super) fn make(&mut self, path: &[u8], tree: &mut Tree, mtime: (i64, u32)) -> Result<Found, Problem> {
        let real = self.walk(path, &mut Visit::Make { tree, mtime })?;
        let real = real.ok_or("its directory cannot be made")?;
        let fd = self.open_real(&real).map_err(failed("openat2"))?;
        Ok(self.keep(path, (Rc::new(fd), Rc::from(real))))
    }

    /// Opens a directory by its real path, for reading (attributes cannot be set by an `O_PATH` handle).
    pub(super) fn open(&self, real: &[u8]) -> Result<OwnedFd, Problem> {
        self.open_real(real).map_err(failed("openat2"))
    }

    /// Forgets what is open: something was removed.
    pub(super) fn forget(&mut self) {
        self.open.clear();
    }

    fn keep(&mut self, path: &[u8], found: Found) -> Found {
        if self.open.len() >= MAX_OPEN {
            self.open.clear();
        }
        self.open.insert(path.to_vec(), found.clone());
        found
    }

    fn open_real(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(self.root, Path::new(OsStr::from_bytes(path)), flags, Mode::empty(), resolve)
    }

    /// Resolves `path` inside the root and returns the real path; nothing if a part is missing and not to
    /// be made.
    fn walk(&mut self, path: &[u8], visit: &mut Visit<'_>) -> Result<Option<Vec<u8>>, Problem> {
        let mut todo = Vec::new();
        push_parts(&mut todo, path);
        let (mut real, mut links) = (Vec::new(), 0);
        while let Some(part) = todo.pop() {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err("the layer has too many links on its paths".into());
            }
            if part == b".." {
                real.truncate(names::split(&real).0.len());
                continue;
            }
            let dir = self.open_real(&real).map_err(failed("openat2"))?;
            let name = OsStr::from_bytes(&part);
            let next = names::join(&real, &part);
            match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => real = next,
                    FileType::Symlink => {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err("too many links on the way".into());
                        }
                        let target =
                            rustix::fs::readlinkat(&dir, name, Vec::new()).map_err(failed("readlinkat"))?;
                        if target.as_bytes().starts_with(b"/") {
                            real.clear();
                        }
                        push_parts(&mut todo, target.as_bytes());
                    }
                    _ => match visit {
                        Visit::Find => return Ok(None),
                        Visit::Make { tree, .. } if tree.is_whiteout(&next) => {
                            // Entries below a name that the layer also whites out: a new directory.
                            rustix::fs::unlinkat(&dir, name, AtFlags::empty()).map_err(failed("unlinkat"))?;
                            tree.remove(&next);
                            tree.set_opaque(&next)?;
                            todo.push(part);
                        }
                        Visit::Make { .. } => return Err("its directory is a file".into()),
                    },
                },
                Err(Errno::NOENT) => {
                    let Visit::Make { tree, mtime } = visit else { return Ok(None) };
                    rustix::fs::mkdirat(dir.as_fd(), name, Mode::RWXU).map_err(failed("mkdirat"))?;
                    if !tree.is_known(&next) {
                        tree.insert(&next, Node::Directory { attributes: None, mtime: *mtime })?;
                    }
                    real = next;
                }
                Err(e) => return Err(failed("fstatat")(e)),
            }
        }
        Ok(Some(real))
    }
}

/// What a walk does about missing directories.
enum Visit<'a> {
    Find,
    Make { tree: &'a mut Tree, mtime: (i64, u32) },
}

fn push_parts(todo: &mut Vec<Vec<u8>>, path: &[u8]) {
    let parts = path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let at = todo.len();
    todo.extend(parts.map(<[u8]>::to_vec));
    todo[at..].reverse();
}
