//! Layers: `layers/ID/{layer.json,diff/}`.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::open::{MAX_RECORD, parse_record};
use super::record::LayerRecord;
use super::session::Kind;
use super::{Digest, ImageRecord, Store};
use crate::kernel::file::{self, Flock};
use crate::kernel::idmap::IdMaps;

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
    pub fn unpack_layer(
        &self,
        lock: &LayerLock,
        _input: impl Read,
        _options: &UnpackOptions,
    ) -> Result<Layer> {
        match &lock.present {
            Some(layer) => Ok(layer.clone()),
            None => Err(Error::Unsupported("not supported yet: unpacking a layer".to_owned())),
        }
    }

    pub(super) fn layer_path(&self, id: &Digest) -> PathBuf {
        self.data().join("layers").join(id.hex())
    }

    /// Makes the layer that repairs directories which the archives of `record` only imply.
    pub(super) fn ensure_attributes(&self, _record: &ImageRecord) -> Result<Option<Digest>> {
        Ok(None)
    }

    fn open_layer_lock(
        &self,
        id: &Digest,
        lock: impl FnOnce(&Path) -> crate::kernel::Result<Option<Flock>>,
    ) -> Result<Option<LayerLock>> {
        self.session()?.pin(&self.table_shared()?, Kind::Layer, id)?;
        let path = self.data().join("locks").join(format!("layer-{}", id.hex()));
        let Some(lock) = lock(&path).map_err(Error::kernel("lock a layer"))? else { return Ok(None) };
        let present = self.layer(id)?;
        Ok(Some(LayerLock { id: id.clone(), present, _lock: lock }))
    }
}
