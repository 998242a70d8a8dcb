//! Blobs: `blobs/ALGORITHM/HEX`, whole and verified, or not there at all.
//!
//! A download goes to `blobs/partial/ALGORITHM-HEX`, which is also its lock: a second process that wants
//! the same blob waits for the first and then finds it. A partial file may be cut off anywhere or, after a
//! power cut, hold rubbish; nobody believes it before its digest was computed over every byte.
//!
//! Order of a commit: size and digest checked -> fdatasync -> rename to the final name -> fsync of the
//! directory. Killed before the rename, the partial file is continued by the next download.

use std::fs::File;
use std::io::{Read as _, Write};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::session::Kind;
use super::{Digest, Hasher, Store};
use crate::kernel;
use crate::kernel::file::{self, Flock};

/// A blob that is there, or the means to bring it.
#[derive(Debug)]
pub enum BlobSlot {
    /// It is in the store; nothing needs to be fetched.
    Present(File),
    /// It is not; this process now has the only right to write it.
    Missing(BlobWriter),
}

/// Writes one blob. Dropped without [`Self::commit`], it leaves the partial file to be continued.
#[derive(Debug)]
pub struct BlobWriter {
    digest: Digest,
    size: Option<u64>,
    /// Boxed, since it makes up most of the value.
    hasher: Box<Hasher>,
    offset: u64,
    file: File,
    partial: PathBuf,
    target: PathBuf,
    _lock: Flock,
}

impl Store {
    /// Where the blob is, or would be.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.data().join("blobs").join(digest.algorithm()).join(digest.hex())
    }

    /// Opens a blob for reading, if it is in the store.
    pub fn blob(&self, digest: &Digest) -> Result<Option<File>> {
        let path = self.blob_path(digest);
        match rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => {
                Err(Error::Kernel { action: "open a blob", source: kernel::Error::path("open", path, e) })
            }
        }
    }

    /// Reads a small blob (a manifest, a configuration) and checks its digest again.
    pub fn read_blob(&self, digest: &Digest, max: u64) -> Result<Vec<u8>> {
        let bytes = file::read_limited(&self.blob_path(digest), max).map_err(|e| match e.io().kind() {
            std::io::ErrorKind::NotFound => Error::NotFound { what: "blob", text: digest.to_string() },
            _ => Error::kernel("read a blob")(e),
        })?;
        let mut hasher = Hasher::like(digest);
        hasher.update(&bytes);
        let actual = hasher.finish();
        if actual == *digest { Ok(bytes) } else { Err(mismatch("blob digest", digest, &actual)) }
    }

    /// Finds a blob or gets the right to write it, waiting while another process writes it. `size` is
    /// checked where it is known. Whoever holds one writer must not wait for another (two processes could
    /// wait for each other): use [`Self::try_blob_writer`].
    pub fn blob_writer(&self, digest: &Digest, size: Option<u64>) -> Result<BlobSlot> {
        let slot = self.open_slot(digest, size, true)?;
        Ok(slot.expect("a waiting lock is never refused"))
    }

    /// Like [`Self::blob_writer`], but `None` at once while another process writes the blob.
    pub fn try_blob_writer(&self, digest: &Digest, size: Option<u64>) -> Result<Option<BlobSlot>> {
        self.open_slot(digest, size, false)
    }

    /// Stores `bytes` and returns their SHA-256.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if let BlobSlot::Missing(mut writer) = self.blob_writer(&digest, Some(bytes.len() as u64))? {
            writer.restart()?;
            writer.write(bytes)?;
            writer.commit()?;
        }
        Ok(digest)
    }

    fn open_slot(&self, digest: &Digest, size: Option<u64>, wait: bool) -> Result<Option<BlobSlot>> {
        // Pinned first: from here on garbage collection leaves it alone, whoever brings it.
        self.session()?.pin(&self.table_shared()?, Kind::Blob, digest)?;
        if let Some(file) = self.blob(digest)? {
            return Ok(Some(BlobSlot::Present(file)));
        }
        let partial =
            self.data().join("blobs/partial").join(format!("{}-{}", digest.algorithm(), digest.hex()));
        let lock_error = Error::kernel("lock a partial blob");
        let lock = if wait {
            Flock::exclusive(&partial).map_err(lock_error)?
        } else {
            match Flock::try_exclusive(&partial).map_err(lock_error)? {
                Some(lock) => lock,
                None => return Ok(None),
            }
        };
        if let Some(file) = self.blob(digest)? {
            // Finished while we waited; what we hold is an empty file that the lock made.
            let _ = rustix::fs::unlink(&partial);
            return Ok(Some(BlobSlot::Present(file)));
        }
        let target = self.blob_path(digest);
        BlobWriter::resume(digest, size, lock, partial, target).map(|writer| Some(BlobSlot::Missing(writer)))
    }
}

impl BlobWriter {
    /// Continues a partial file: its bytes are hashed again, since the hash state was not saved.
    fn resume(
        digest: &Digest,
        size: Option<u64>,
        lock: Flock,
        partial: PathBuf,
        target: PathBuf,
    ) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&partial, flags, Mode::empty()).map_err(|e| Error::Kernel {
            action: "open a partial blob",
            source: kernel::Error::path("open", &partial, e),
        })?;
        let hasher = Box::new(Hasher::like(digest));
        let file = File::from(file);
        let mut writer =
            Self { digest: digest.clone(), size, hasher, offset: 0, file, partial, target, _lock: lock };
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = writer.file.read(&mut buffer).map_err(|e| writer.io("read", e))?;
            if count == 0 {
                break;
            }
            writer.hasher.update(&buffer[..count]);
            writer.offset += count as u64;
        }
        if writer.size.is_some_and(|size| writer.offset > size) {
            writer.restart()?;
        }
        Ok(writer)
    }

    /// How many bytes are there already: the place from which to ask for more.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The blob's digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Drops what was written so far: the sender does not serve ranges.
    pub fn restart(&mut self) -> Result<()> {
        use std::io::Seek as _;
        self.file.set_len(0).map_err(|e| self.io("ftruncate", e))?;
        self.file.rewind().map_err(|e| self.io("lseek", e))?;
        *self.hasher = Hasher::like(&self.digest);
        self.offset = 0;
        Ok(())
    }

    /// Adds `bytes`. More than the promised size is refused before it is written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let offset = self.offset + bytes.len() as u64;
        if let Some(size) = self.size
            && offset > size
        {
            return Err(mismatch("blob size", size, format!("at least {offset} bytes")));
        }
        self.file.write_all(bytes).map_err(|e| self.io("write", e))?;
        self.hasher.update(bytes);
        self.offset = offset;
        Ok(())
    }

    /// Another handle on the partial file, to read back what was written already.
    pub fn reader(&self) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::open(&self.partial, flags, Mode::empty())
            .map(File::from)
            .map_err(|e| self.io("open", e.into()))
    }

    /// Checks size and digest and puts the blob at its place, durably. A wrong blob is removed.
    pub fn commit(mut self) -> Result<File> {
        if let Some(size) = self.size
            && self.offset != size
        {
            // Too short: the rest may still come.
            return Err(mismatch("blob size", size, self.offset));
        }
        let actual = std::mem::replace(&mut *self.hasher, Hasher::sha256()).finish();
        if actual != self.digest {
            let error = mismatch("blob digest", &self.digest, &actual);
            self.discard();
            return Err(error);
        }
        self.file.sync_data().map_err(|e| self.io("fdatasync", e))?;
        rustix::fs::renameat(CWD, &self.partial, CWD, &self.target)
            .map_err(|e| self.io("rename", e.into()))?;
        if let Some(dir) = self.target.parent() {
            file::sync_dir_path(dir).map_err(Error::kernel("sync the blobs"))?;
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(&self.target, flags, Mode::empty());
        file.map(File::from).map_err(|e| self.io("open", e.into()))
    }

    /// Gives up for now; the partial file stays, to be continued later.
    pub fn abandon(self) {}

    /// Gives up and removes what was written.
    pub fn discard(self) {
        // While the lock is held nobody else can have opened it to write. A file that stays is harmless.
        let _ = rustix::fs::unlink(&self.partial);
    }

    fn io(&self, call: &'static str, source: std::io::Error) -> Error {
        Error::Kernel { action: "write a blob", source: kernel::Error::path(call, &self.partial, source) }
    }
}

pub(super) fn mismatch(
    what: &'static str,
    expected: impl std::fmt::Display,
    actual: impl std::fmt::Display,
) -> Error {
    Error::Mismatch { what, expected: expected.to_string(), actual: actual.to_string() }
}

/// Syncs a directory of the store by handle.
pub(super) fn sync(store: &Store, dir: &str) -> Result<()> {
    let path = store.data().join(dir);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(store.root(), dir, flags, Mode::empty()).map_err(|e| Error::Kernel {
        action: "sync the store",
        source: kernel::Error::path("open", &path, e),
    })?;
    file::sync_dir(fd.as_fd(), &path).map_err(Error::kernel("sync the store"))
}
