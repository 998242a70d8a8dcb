//! Whole files: atomic writes, bounded reads, locks, syncing.
//!
//! A record is written to a temporary name in its own directory, synced, renamed over its name, and the
//! directory is synced: after a crash or power cut the old or the new content is there, whole. Temporary
//! names start with [`TEMP_PREFIX`]; whoever lists a directory of records skips them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Error, Result};

/// How the names of files start that a writer has not finished yet.
pub const TEMP_PREFIX: &str = ".tmp-";

/// Whether a write must survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Synced before it becomes visible, and its directory after.
    Sync,
    /// Atomic against other processes only: for files that a reboot may lose.
    None,
}

/// Puts `bytes` at `dir/name`, replacing what is there in one step.
pub fn write_atomic(
    dir: &Path,
    name: &OsStr,
    bytes: &[u8],
    mode: Mode,
    durability: Durability,
) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(dir, flags, Mode::empty()).map_err(|e| Error::path("open", dir, e))?;
    write_at(fd.as_fd(), dir, name, bytes, mode, durability)
}

/// The same relative to an open directory (not `O_PATH`), which `label` names in messages.
pub fn write_at(
    dir: BorrowedFd<'_>,
    label: &Path,
    name: &OsStr,
    bytes: &[u8],
    mode: Mode,
    durability: Durability,
) -> Result<()> {
    let (temp, mut file) = create_temp(dir, label, mode)?;
    let fail = |call, e: std::io::Error| Error::path(call, label.join(name), e);
    let written = (|| {
        file.write_all(bytes).map_err(|e| fail("write", e))?;
        if durability == Durability::Sync {
            file.sync_data().map_err(|e| fail("fdatasync", e))?;
        }
        rustix::fs::renameat(dir, &temp, dir, name).map_err(|e| fail("renameat", e.into()))
    })();
    if written.is_err() {
        // Best effort: the first error is the one to tell, and leftovers are known by their prefix.
        let _ = rustix::fs::unlinkat(dir, &temp, AtFlags::empty());
    } else if durability == Durability::Sync {
        sync_dir(dir, label)?;
    }
    written
}

/// Creates a file with a temporary name of its own.
fn create_temp(dir: BorrowedFd<'_>, label: &Path, mode: Mode) -> Result<(OsString, File)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = OsString::from(format!("{TEMP_PREFIX}{}-{count}", std::process::id()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(dir, &name, flags, mode) {
            // The umask must not decide who reads a record.
            Ok(fd) => {
                rustix::fs::fchmod(&fd, mode).map_err(|e| Error::path("fchmod", label.join(&name), e))?;
                return Ok((name, File::from(fd)));
            }
            // Left by a dead process whose id came round again.
            Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::path("openat", label.join(&name), e)),
        }
    }
}

/// Writes `text` over the beginning of the file at `path`, and blanks over the rest of it. The file keeps its
/// blocks, so a text no longer than a block is written even on a full disk; a crash in the middle tears it.
///
/// # Errors
/// When the file does not exist or cannot be written.
pub fn overwrite_text(path: &Path, text: &[u8]) -> Result<()> {
    let fail = |e| Error::path("write", path, e);
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(fail)?;
    let size = rustix::fs::fstat(&fd).map_err(fail)?.st_size;
    let mut padded = text.to_vec();
    padded.resize(text.len().max(usize::try_from(size).unwrap_or(0)), b' ');
    File::from(fd).write_all(&padded).map_err(|e| Error::path("write", path, e))
}

/// Reads a regular file of at most `max` bytes, without waiting for a FIFO or device.
pub fn read_limited(path: &Path, max: u64) -> Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::path("open", path, e))?;
    super::path::read_regular(File::from(fd), max).map_err(|e| Error::path("read", path, e))
}

/// Reads at most `max` bytes of what a caller has named: a file, or a pipe as shells make of `<(command)`.
pub fn read_given(path: &Path, max: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|e| Error::path("open", path, e))?;
    super::path::read_to_limit(file, 0, max).map_err(|e| Error::path("read", path, e))
}

/// The same where `-` is standard input.
pub fn read_given_or_stdin(path: &Path, max: u64) -> Result<Vec<u8>> {
    if path != Path::new("-") {
        return read_given(path, max);
    }
    let failed = |e: io::Error| Error::path("read", Path::new("stdin"), e);
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    super::path::read_to_limit(File::from(stdin), 0, max).map_err(failed)
}

/// Reads a file of a few kilobytes, such as a record, or one of `/proc` or `/sys`, which do not know their size: one
/// call reads the text and one finds its end, where `fs::read` would feel its way from 32 bytes on.
pub fn read_small(path: &Path) -> Result<Vec<u8>> {
    read_small_at(CWD, path)
}

/// The same for a path below an open directory: the way to that is not walked again for each file.
pub fn read_small_at(dir: impl AsFd, path: &Path) -> Result<Vec<u8>> {
    let fail = |e| Error::path("read", path, e);
    let fd = rustix::fs::openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(fail)?;
    let (mut text, mut length) = (vec![0; 4096], 0);
    loop {
        if length == text.len() {
            text.resize(2 * length, 0);
        }
        match rustix::io::read(&fd, &mut text[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(fail(e)),
        }
    }
    text.truncate(length);
    Ok(text)
}

/// Reads a record below an open directory to the end of `text`. A regular file ends where a call reads less than there
/// was room for, so that most records take one call.
pub fn append_record_at(dir: impl AsFd, path: &str, text: &mut Vec<u8>) -> std::result::Result<(), Errno> {
    let fd = rustix::fs::openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    loop {
        text.reserve(4096);
        let room = text.capacity() - text.len();
        match rustix::io::read(&fd, rustix::buffer::spare_capacity(text)) {
            Ok(n) if n < room => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Makes the entries of a directory durable.
pub fn sync_dir(dir: BorrowedFd<'_>, label: &Path) -> Result<()> {
    match rustix::fs::fsync(dir) {
        // Some file systems (FUSE) cannot sync a directory; they have nothing to promise then.
        Ok(()) | Err(Errno::INVAL | Errno::NOSYS) => Ok(()),
        Err(e) => Err(Error::path("fsync", label, e)),
    }
}

/// Makes the entries of the directory at `path` durable.
pub fn sync_dir_path(path: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::path("open", path, e))?;
    sync_dir(fd.as_fd(), path)
}

/// Writes out the whole file system of `fd`: cheaper than a sync a file after thousands of them.
/// Since Linux 5.8 it also reports write errors of that file system.
pub fn sync_fs(fd: impl AsFd, label: &Path) -> Result<()> {
    rustix::fs::syncfs(fd).map_err(|e| Error::path("syncfs", label, e))
}

/// An advisory lock on a file; the kernel releases it when the last copy of the descriptor closes, however
/// the process ends. A forked child holds it too, until it closes the descriptor.
#[derive(Debug)]
pub struct Flock {
    fd: OwnedFd,
    path: PathBuf,
}

impl AsFd for Flock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Flock {
    /// Waits until nobody holds the file at `path` (made if missing) exclusively.
    pub fn shared(path: &Path) -> Result<Self> {
        lock_path(path, FlockOperation::LockShared, true)?.ok_or_else(|| would_block(path))
    }

    /// Waits until nobody else holds the file at `path` (made if missing).
    pub fn exclusive(path: &Path) -> Result<Self> {
        lock_path(path, FlockOperation::LockExclusive, true)?.ok_or_else(|| would_block(path))
    }

    /// Takes the shared lock, or returns `None` at once if someone holds the file exclusively.
    pub fn try_shared(path: &Path) -> Result<Option<Self>> {
        lock_path(path, FlockOperation::NonBlockingLockShared, true)
    }

    /// Takes the exclusive lock, or returns `None` at once if someone holds the file.
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        lock_path(path, FlockOperation::NonBlockingLockExclusive, true)
    }

    /// Like [`Self::shared`] on a file or directory that must exist already (ENOENT otherwise).
    pub fn shared_existing(path: &Path) -> Result<Self> {
        lock_path(path, FlockOperation::LockShared, false)?.ok_or_else(|| would_block(path))
    }

    /// Like [`Self::exclusive`] on a file or directory that must exist already (ENOENT otherwise).
    pub fn exclusive_existing(path: &Path) -> Result<Self> {
        lock_path(path, FlockOperation::LockExclusive, false)?.ok_or_else(|| would_block(path))
    }

    /// Like [`Self::try_shared`] on a file or directory that must exist already (ENOENT otherwise).
    pub fn try_shared_existing(path: &Path) -> Result<Option<Self>> {
        lock_path(path, FlockOperation::NonBlockingLockShared, false)
    }

    /// Like [`Self::try_exclusive`] on a file or directory that must exist already (ENOENT otherwise).
    pub fn try_exclusive_existing(path: &Path) -> Result<Option<Self>> {
        lock_path(path, FlockOperation::NonBlockingLockExclusive, false)
    }

    /// Locks an open file exclusively, or gives `None` at once if someone holds it.
    pub fn try_exclusive_fd(fd: OwnedFd, path: &Path) -> Result<Option<Self>> {
        let locked = flock(fd.as_fd(), path, FlockOperation::NonBlockingLockExclusive)?;
        Ok(locked.then(|| Self { fd, path: path.to_owned() }))
    }

    /// Frees the lock at once, also where a forked process still has a copy of its descriptor.
    pub fn release(self) {
        // It fails for no descriptor that is open.
        let _ = rustix::fs::flock(&self.fd, FlockOperation::Unlock);
    }

    /// The locked file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn lock_path(path: &Path, operation: FlockOperation, create: bool) -> Result<Option<Flock>> {
    loop {
        let fd = open_lock(path, create)?;
        if !flock(fd.as_fd(), path, operation)? {
            return Ok(None);
        }
        // The file may have been removed or replaced between open and lock: then the lock is on a file
        // that nobody else will ever look at.
        let held = rustix::fs::fstat(&fd).map_err(|e| Error::path("fstat", path, e))?;
        match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(now) if (now.st_dev, now.st_ino) == (held.st_dev, held.st_ino) => {
                return Ok(Some(Flock { fd, path: path.to_owned() }));
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(e) => return Err(Error::path("stat", path, e)),
        }
    }
}

/// Opens a lock file, for writing where that is possible: NFS makes `flock` a record lock, which an exclusive
/// holder must have the file open for writing for.
fn open_lock(path: &Path, create: bool) -> Result<OwnedFd> {
    let base = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fail = |e| Error::path("open", path, e);
    match rustix::fs::open(path, base | OFlags::RDWR, Mode::empty()) {
        Ok(fd) => return Ok(fd),
        Err(Errno::NOENT) if create => {
            let flags = base | OFlags::RDWR | OFlags::CREATE;
            return rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(fail);
        }
        // A directory, or a file system or file that is read-only.
        Err(Errno::ISDIR | Errno::ROFS | Errno::ACCESS | Errno::PERM) => {}
        Err(e) => return Err(fail(e)),
    }
    rustix::fs::open(path, base | OFlags::RDONLY, Mode::empty()).map_err(fail)
}

/// `flock`; false where a non-blocking attempt found the file held.
fn flock(fd: BorrowedFd<'_>, path: &Path, operation: FlockOperation) -> Result<bool> {
    loop {
        match rustix::fs::flock(fd, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::path("flock", path, e)),
        }
    }
}

fn would_block(path: &Path) -> Error {
    Error::path("flock", path, Errno::WOULDBLOCK)
}

/// Whether `name` is that of a file which a writer has not finished.
#[must_use]
pub fn is_temporary(name: &OsStr) -> bool {
    name.as_bytes().starts_with(TEMP_PREFIX.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(test: &str) -> Self {
            let dir = crate::kernel::scratch::path(&format!("file-{test}"));
            std::fs::create_dir(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_write_replaces_in_one_step_and_leaves_nothing_else() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = Dir::new("write");
        let mode = Mode::RUSR | Mode::WUSR;
        for (text, durability) in [("one", Durability::Sync), ("longer", Durability::None)] {
            write_atomic(&dir.0, "name".as_ref(), text.as_bytes(), mode, durability).unwrap();
            let path = dir.0.join("name");
            assert_eq!(read_limited(&path, 6).unwrap(), text.as_bytes());
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        }
        assert!(read_limited(&dir.0.join("name"), 5).is_err());
        std::fs::create_dir(dir.0.join("taken")).unwrap();
        assert!(write_atomic(&dir.0, "taken".as_ref(), b"", mode, Durability::None).is_err());
        assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 2);
    }

    #[test]
    fn locks_exclude_and_follow_a_replaced_file() {
        let dir = Dir::new("lock");
        let path = dir.0.join("lock");
        let first = Flock::shared(&path).unwrap();
        let second = Flock::try_shared(&path).unwrap().unwrap();
        assert!(Flock::try_exclusive(&path).unwrap().is_none());
        drop((first, second));
        let held = Flock::try_exclusive(&path).unwrap().unwrap();
        assert!(Flock::try_shared(&path).unwrap().is_none());
        // Whoever waits for a file that is removed meanwhile gets the next one of that name.
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| Flock::exclusive(&path).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(50));
            std::fs::remove_file(&path).unwrap();
            drop(held);
            let held = waiter.join().unwrap();
            assert!(Flock::try_exclusive(&path).unwrap().is_none());
            drop(held);
        });
        std::fs::remove_file(&path).unwrap();
        assert!(Flock::exclusive_existing(&path).is_err());
        assert!(Flock::try_exclusive_existing(&dir.0).unwrap().is_some(), "directories can be locked");
    }
}
