//! A writing process's own place in the store: its staging directory and its pins.
//!
//! `tmp/PID-RANDOM/` holds what is not finished. Its owner keeps a `flock` on the directory, so whether
//! the owner lives is asked of the kernel and not guessed from a pid, which another pid namespace or a
//! reboot would make meaningless. Whatever cannot be shown to be alive is removed by the next writer.
//!
//! `tmp/PID-RANDOM/pins` names the blobs and layers that the process relies on before an image record
//! refers to them; garbage collection leaves them alone. Pins are added under the shared table lock and
//! read under the exclusive one, so that an object is either pinned in time or seen to be missing.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::{Digest, Store};
use crate::kernel;
use crate::kernel::file::{self, Flock};

/// The longest list of pins that is read.
const MAX_PINS: u64 = 16 << 20;

/// What a pin protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A file of `blobs/`.
    Blob,
    /// A directory of `layers/`.
    Layer,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Layer => "layer",
        }
    }
}

/// The staging directory of this process; removed when dropped.
#[derive(Debug)]
pub(super) struct Session {
    dir: PathBuf,
    pins: Mutex<File>,
    next: AtomicU64,
    /// A forked child inherits the value but not the directory.
    pid: u32,
    _alive: Flock,
}

impl Session {
    pub(super) fn start(store: &Store) -> Result<Self> {
        let tmp = store.data().join("tmp");
        reclaim(&tmp);
        let fail = |call, path: &Path| {
            let path = path.to_owned();
            move |e: Errno| Error::Kernel {
                action: "make a staging directory",
                source: kernel::Error::path(call, &path, e),
            }
        };
        loop {
            let dir = tmp.join(format!("{}-{:08x}", std::process::id(), random()));
            match rustix::fs::mkdir(&dir, Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(e) => return Err(fail("mkdir", &dir)(e)),
            }
            // Between mkdir and flock another process may take the directory for a dead one's.
            let alive = match Flock::try_exclusive_existing(&dir) {
                Ok(Some(lock)) => lock,
                Ok(None) => continue,
                Err(e) if e.io().kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::kernel("lock the staging directory")(e)),
            };
            let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
            let pins = rustix::fs::openat(&alive, "pins", flags, Mode::RUSR | Mode::WUSR)
                .map_err(fail("open", &dir.join("pins")))?;
            let pins = Mutex::new(File::from(pins));
            return Ok(Self { dir, pins, next: AtomicU64::new(0), pid: std::process::id(), _alive: alive });
        }
    }

    /// A fresh directory for one object that is being made.
    pub(super) fn stage(&self, what: &str) -> Result<PathBuf> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.join(format!("{what}-{number}"));
        rustix::fs::mkdir(&dir, Mode::RWXU).map_err(|e| Error::Kernel {
            action: "make a staging directory",
            source: kernel::Error::path("mkdir", &dir, e),
        })?;
        Ok(dir)
    }

    /// A fresh name in the staging directory, to move garbage to.
    pub(super) fn trash(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("trash-{number}"))
    }

    /// Protects an object that is there or that this process is going to make.
    pub(super) fn pin(&self, table: &TableLock, kind: Kind, digest: &Digest) -> Result<()> {
        let TableLock { .. } = table;
        let line = format!("{} {digest}\n", kind.word());
        let mut pins = self.pins.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        pins.write_all(line.as_bytes()).map_err(|e| Error::Kernel {
            action: "pin an object",
            source: kernel::Error::path("write", self.dir.join("pins"), e),
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.pid == std::process::id() {
            remove(&self.dir);
        }
    }
}

/// A directory for what is not in its place yet; removed with all that is in it when dropped.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
}

impl Staging {
    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// The lock of the tables: held for the moments in which records change or objects are pinned (shared).
#[derive(Debug)]
pub(super) struct TableLock {
    _lock: Flock,
}

impl Store {
    /// Makes a directory for something that is being made, on the file system of the store.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn staging(&self, what: &str) -> Result<Staging> {
        Ok(Staging { path: self.session()?.stage(what)? })
    }

    /// Keeps garbage collection out while something is pinned.
    pub(super) fn table_shared(&self) -> Result<TableLock> {
        let lock = Flock::shared(&self.data().join("locks/table"));
        lock.map(|lock| TableLock { _lock: lock }).map_err(Error::kernel("lock the tables"))
    }

    /// Keeps every other writer of tables out.
    pub(super) fn table_exclusive(&self) -> Result<TableLock> {
        let lock = Flock::exclusive(&self.data().join("locks/table"));
        lock.map(|lock| TableLock { _lock: lock }).map_err(Error::kernel("lock the tables"))
    }

    /// What living processes, this one included, rely on. Call it under the exclusive table lock.
    pub(super) fn pinned(&self) -> HashSet<(Kind, Digest)> {
        let mut pinned = HashSet::new();
        for dir in staging_dirs(&self.data().join("tmp")) {
            // The pins of a dead process count for one collection more: that is only less eager.
            let Ok(bytes) = file::read_limited(&dir.join("pins"), MAX_PINS) else { continue };
            let text = String::from_utf8_lossy(&bytes);
            pinned.extend(text.lines().filter_map(|line| {
                let (word, digest) = line.split_once(' ')?;
                let kind = [Kind::Blob, Kind::Layer].into_iter().find(|kind| kind.word() == word)?;
                Some((kind, digest.parse().ok()?))
            }));
        }
        pinned
    }

    /// Removes the staging directories of processes that are gone.
    pub fn reclaim_staging(&self) {
        reclaim(&self.data().join("tmp"));
    }
}

/// Removes the staging directories of processes that are gone, in the store at `data`.
pub fn reclaim_staging(data: &Path) {
    reclaim(&data.join("tmp"));
}

/// Staging directories of processes that are gone, in the store at `data`.
#[must_use]
pub fn abandoned_staging(data: &Path) -> Vec<PathBuf> {
    let dirs = staging_dirs(&data.join("tmp"));
    dirs.into_iter().filter(|dir| matches!(Flock::try_exclusive_existing(dir), Ok(Some(_)))).collect()
}

/// Removes the entries of `tmp` that nobody holds. Best effort: what cannot be removed now (a file of a
/// sub-id, seen from outside the user namespace) is tried again by the next writer.
fn reclaim(tmp: &Path) {
    for dir in staging_dirs(tmp) {
        if let Ok(Some(_dead)) = Flock::try_exclusive_existing(&dir) {
            remove(&dir);
        }
    }
}

fn staging_dirs(tmp: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(tmp) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// Removes a tree of ours, as far as that is possible.
pub(super) fn remove(path: &Path) {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = rustix::fs::open(parent, flags, Mode::empty()) else { return };
    if rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        let _ = kernel::remove::remove_tree(dir.as_fd(), name, path);
    }
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(_) => u32::from_ne_bytes(bytes),
        // Only uniqueness matters, and mkdir checks that.
        Err(_) => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |elapsed| elapsed.subsec_nanos()),
    }
}
