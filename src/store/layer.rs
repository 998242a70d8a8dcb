//! Layers: `layers/ID/{layer.json,diff/}`.
//!
//! ID is the digest of the uncompressed archive, so images share layers, and layers can be unpacked in any
//! order and at the same time. (What a layer archive takes from the layers below it, the attributes of
//! directories that it only implies, is repaired by one small layer on top: see [`super::attributes`].)
//!
//! Order of an unpack: lock -> staging directory -> files -> digest checked -> `layer.json` -> syncfs ->
//! rename to its place -> fsync of `layers/`. Killed before the rename, only staging is left.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::open::{MAX_RECORD, parse_record};
use super::record::{LayerRecord, VERSION};
use super::session::Kind;
use super::{Digest, Store, unpack};
use crate::kernel;
use crate::kernel::disk;
use crate::kernel::file::{self, Durability, Flock};
use crate::kernel::idmap::IdMaps;
use crate::kernel::xattr;

/// A layer in the store.
#[derive(Debug, Clone)]
pub struct Layer {
    path: PathBuf,
    record: LayerRecord,
}

impl Layer {
    /// What is known about it.
    #[must_use]
    pub fn record(&self) -> &LayerRecord {
        &self.record
    }

    /// What it takes on disk. Files are not walked, except for those of a layer that an earlier rbox unpacked.
    #[must_use]
    pub fn on_disk(&self) -> u64 {
        let files = if self.record.disk == 0 && self.record.size > 0 {
            disk::tree(&self.diff())
        } else {
            self.record.disk
        };
        files + disk::flat(&self.path)
    }

    /// The layer hides everything below it.
    #[must_use]
    pub fn hides_lower(&self) -> bool {
        self.record.opaque.iter().any(String::is_empty)
    }

    /// The directory that holds its files, in the form that overlay takes as a lower layer.
    #[must_use]
    pub fn diff(&self) -> PathBuf {
        self.path.join("diff")
    }
}

/// The only right to unpack one layer. Unpacking stops being possible with the lock, not with the process.
#[derive(Debug)]
pub struct LayerLock {
    id: Digest,
    present: Option<Layer>,
    _lock: Flock,
}

impl LayerLock {
    /// The layer, if it is there already: then there is nothing to unpack.
    #[must_use]
    pub fn present(&self) -> Option<&Layer> {
        self.present.as_ref()
    }

    /// The layer's id.
    #[must_use]
    pub fn id(&self) -> &Digest {
        &self.id
    }
}

/// How a layer is unpacked.
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// The ids of the user namespace that unpacks; the inside of its maps is what archives may use.
    pub maps: IdMaps,
    /// The user has one id: every owner becomes it.
    pub squash: bool,
    /// The most entries that are accepted.
    pub max_entries: u64,
    /// The most bytes of archive that are accepted.
    pub max_bytes: u64,
}

impl Store {
    /// The layer with this id (the digest of its uncompressed archive), if it is in the store.
    pub fn layer(&self, id: &Digest) -> Result<Option<Layer>> {
        let path = self.layer_path(id);
        let record_path = path.join("layer.json");
        match file::read_limited(&record_path, MAX_RECORD) {
            Ok(bytes) => Ok(Some(Layer { path, record: parse_record(&record_path, &bytes)? })),
            Err(e) if e.io().kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::kernel("read a layer record")(e)),
        }
    }

    /// Gets the right to unpack a layer, waiting while another process does; the layer is safe from
    /// garbage collection from here on. Whoever holds one lock must not wait for another: use
    /// [`Self::try_lock_layer`].
    pub fn lock_layer(&self, id: &Digest) -> Result<LayerLock> {
        let lock = self.open_layer_lock(id, |path| Flock::exclusive(path).map(Some))?;
        Ok(lock.expect("a waiting lock is never refused"))
    }

    /// Like [`Self::lock_layer`], but `None` at once while another process unpacks the layer.
    pub fn try_lock_layer(&self, id: &Digest) -> Result<Option<LayerLock>> {
        self.open_layer_lock(id, Flock::try_exclusive)
    }

    /// Unpacks the uncompressed archive `input` to the end of the stream as the locked layer. If its
    /// digest is not the layer's id, or anything in it is refused, nothing is left behind.
    pub fn unpack_layer(&self, lock: &LayerLock, input: impl Read, options: &UnpackOptions) -> Result<Layer> {
        if let Some(layer) = &lock.present {
            return Ok(layer.clone());
        }
        let (stage, diff, record) = self.stage_layer(&lock.id, input, options)?;
        self.publish(&stage, diff, record)
    }

    /// Unpacks an archive to staging. Its digest is `id`, or nothing is left behind.
    pub(super) fn stage_layer(
        &self,
        id: &Digest,
        input: impl Read,
        options: &UnpackOptions,
    ) -> Result<(Stage, OwnedFd, LayerRecord)> {
        let stage = Stage::new(self, "layer")?;
        let diff = stage.make_diff()?;
        let unpacked = unpack::unpack(&diff, input, options)?;
        if unpacked.digest != *id {
            return Err(super::blob::mismatch("layer diffID", id, &unpacked.digest));
        }
        let record = LayerRecord {
            version: VERSION,
            id: id.clone(),
            size: unpacked.size,
            disk: 0,
            archive_size: unpacked.archive_size,
            entries: unpacked.entries,
            implied: unpacked.implied,
            opaque: unpacked.opaque,
            squashed: unpacked.squashed,
            max_uid: unpacked.max_owner.0,
            max_gid: unpacked.max_owner.1,
            devices: unpacked.devices,
            dropped_xattrs: unpacked.dropped_xattrs,
        };
        Ok((stage, diff, record))
    }

    /// Makes a staged layer durable and visible.
    pub(super) fn publish(&self, stage: &Stage, diff: OwnedFd, mut record: LayerRecord) -> Result<Layer> {
        record.disk = disk::tree(&stage.path.join("diff"));
        let bytes = serde_json::to_vec(&record).expect("records have text keys only");
        let mode = Mode::RUSR | Mode::WUSR;
        file::write_atomic(&stage.path, "layer.json".as_ref(), &bytes, mode, Durability::None)
            .map_err(Error::kernel("write a layer record"))?;
        // One sync of the file system for thousands of files.
        file::sync_fs(&diff, &stage.path).map_err(Error::kernel("sync a layer"))?;
        drop(diff);
        let path = self.layer_path(&record.id);
        let fail =
            |e| Error::Kernel { action: "publish a layer", source: kernel::Error::path("rename", &path, e) };
        match rustix::fs::renameat(CWD, &stage.path, CWD, &path) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                // A removal was cut off: a directory without a record is no layer.
                rustix::fs::renameat(CWD, &path, CWD, self.session()?.trash()).map_err(fail)?;
                rustix::fs::renameat(CWD, &stage.path, CWD, &path).map_err(fail)?;
            }
            other => other.map_err(fail)?,
        }
        super::blob::sync(self, "layers")?;
        Ok(Layer { path, record })
    }

    pub(super) fn layer_path(&self, id: &Digest) -> PathBuf {
        self.data().join("layers").join(id.hex())
    }

    fn open_layer_lock(
        &self,
        id: &Digest,
        lock: impl FnOnce(&Path) -> kernel::Result<Option<Flock>>,
    ) -> Result<Option<LayerLock>> {
        self.session()?.pin(&self.table_shared()?, Kind::Layer, id)?;
        let path = self.data().join("locks").join(format!("layer-{}", id.hex()));
        let Some(lock) = lock(&path).map_err(Error::kernel("lock a layer"))? else { return Ok(None) };
        let present = match self.layer(id) {
            // What is unpacked takes its place.
            Err(Error::Record { .. }) => None,
            present => present?,
        };
        Ok(Some(LayerLock { id: id.clone(), present, _lock: lock }))
    }
}

/// A directory of the staging area that is removed unless it was moved away.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) path: PathBuf,
}

impl Stage {
    pub(super) fn new(store: &Store, what: &str) -> Result<Self> {
        Ok(Self { path: store.session()?.stage(what)? })
    }

    /// Makes the layer's root, free of what a directory inherits: a setgid bit or default ACL above the
    /// store would change every file of the layer.
    pub(super) fn make_diff(&self) -> Result<OwnedFd> {
        let path = self.path.join("diff");
        let fail = |call, e: Errno| Error::Kernel {
            action: "make a layer directory",
            source: kernel::Error::path(call, &path, e),
        };
        rustix::fs::mkdir(&path, Mode::RWXU).map_err(|e| fail("mkdir", e))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let diff = rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| fail("open", e))?;
        for acl in [&b"system.posix_acl_default"[..], b"system.posix_acl_access"] {
            match xattr::remove(&diff, acl) {
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(e) => return Err(fail("fremovexattr", e)),
            }
        }
        rustix::fs::fchmod(&diff, Mode::RWXU).map_err(|e| fail("fchmod", e))?;
        Ok(diff)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        super::session::remove(&self.path);
    }
}
