//! What the store takes on disk.
//!
//! Sizes of layers and derived trees were recorded when they were written; blobs are files of one directory. So nothing
//! here walks a tree of image files.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use super::error::Result;
use super::open::MAX_RECORD;
use super::session::Kind;
use super::table::{references, tag_file};
use super::{Digest, ImageId, ImageRecord, Store, TagRecord};
use crate::kernel::{disk, file};
use crate::store::derive::DerivedRecord;

/// Directories of blobs, by algorithm.
const BLOBS: [&str; 2] = ["sha256", "sha512"];

/// A part of images that several of them may share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// An unpacked layer.
    Layer(Digest),
    /// A blob: a layer as it was pulled, a manifest, a config.
    Blob(Digest),
}

impl From<(Kind, Digest)> for Object {
    fn from((kind, digest): (Kind, Digest)) -> Self {
        match kind {
            Kind::Layer => Self::Layer(digest),
            Kind::Blob => Self::Blob(digest),
        }
    }
}

/// Bytes on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Layers and blobs, needed or not.
    pub objects: BTreeMap<Object, u64>,
    /// Trees that were derived from layers, with those.
    pub derived: Vec<(Vec<Digest>, u64)>,
    /// Downloads that were interrupted.
    pub partial: u64,
    /// The directories that the blobs are in.
    pub folders: u64,
}

impl Usage {
    /// The sum of all layers and derived trees.
    #[must_use]
    pub fn layers(&self) -> u64 {
        let layers = self.objects.iter().filter(|(object, _)| matches!(object, Object::Layer(_)));
        layers.map(|(_, bytes)| bytes).sum::<u64>() + self.derived.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }

    /// The sum of all blobs, those that are not whole included.
    #[must_use]
    pub fn blobs(&self) -> u64 {
        let blobs = self.objects.iter().filter(|(object, _)| matches!(object, Object::Blob(_)));
        blobs.map(|(_, bytes)| bytes).sum::<u64>() + self.partial + self.folders
    }

    /// Takes these objects out, with the trees that were derived from them, and returns their bytes.
    pub fn take(&mut self, objects: &BTreeSet<Object>) -> u64 {
        let bytes = self.of(objects);
        self.objects.retain(|object, _| !objects.contains(object));
        self.derived
            .retain(|(sources, _)| !sources.iter().any(|id| objects.contains(&Object::Layer(id.clone()))));
        bytes
    }

    /// The bytes of these objects; derived trees count with any of their layers.
    #[must_use]
    pub fn of(&self, objects: &BTreeSet<Object>) -> u64 {
        let own: u64 = objects.iter().filter_map(|object| self.objects.get(object)).sum();
        let gone = |sources: &[Digest]| sources.iter().any(|id| objects.contains(&Object::Layer(id.clone())));
        own + self.derived.iter().filter(|(sources, _)| gone(sources)).map(|(_, bytes)| bytes).sum::<u64>()
    }
}

impl Store {
    /// What layers and blobs take.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        for name in self.list("layers")? {
            let Some(digest) = super::gc::digest_of("layers", &name) else { continue };
            let bytes = match self.layer(&digest) {
                Ok(Some(layer)) => layer.on_disk(),
                // No layer, or a damaged one: then only the files can tell.
                _ => disk::tree(&self.layer_path(&digest)),
            };
            usage.objects.insert(Object::Layer(digest), bytes);
        }
        for algorithm in BLOBS {
            let dir = format!("blobs/{algorithm}");
            for name in self.list(&dir)? {
                let Some(digest) = super::gc::digest_of(&dir, &name) else { continue };
                let bytes =
                    self.blob_path(&digest).symlink_metadata().map_or(0, |meta| disk::allocated(&meta));
                usage.objects.insert(Object::Blob(digest), bytes);
            }
        }
        for name in self.list("derived")? {
            let path = self.data().join("derived").join(&name);
            let record = file::read_limited(&path.join("derived.json"), MAX_RECORD).unwrap_or_default();
            let record: Option<DerivedRecord> = serde_json::from_slice(&record).ok();
            let (sources, recorded) = record.map_or((Vec::new(), None), |one| (one.sources, one.disk));
            let bytes = recorded.map_or_else(|| disk::tree(&path), |bytes| bytes + disk::flat(&path));
            usage.derived.push((sources, bytes));
        }
        let blobs = self.data().join("blobs");
        let partial = blobs.join("partial");
        let sizes = |dir: &PathBuf| dir.symlink_metadata().map_or(0, |meta| disk::allocated(&meta));
        usage.partial = disk::flat(&partial) - sizes(&partial);
        usage.folders = sizes(&partial) + BLOBS.iter().map(|name| sizes(&blobs.join(name))).sum::<u64>();
        Ok(usage)
    }

    /// What the record of an image and its names take.
    #[must_use]
    pub fn records_size(&self, id: &ImageId, tags: &[TagRecord]) -> u64 {
        let names = tags.iter().map(|tag| self.data().join("tags").join(tag_file(&tag.name)));
        let history = self.data().join("history").join(format!("{id}.json"));
        names.chain([self.image_path(id), history]).map(|path| disk::tree(&path)).sum()
    }

    /// Everything that an image needs.
    #[must_use]
    pub fn objects_of(record: &ImageRecord) -> Vec<Object> {
        references(record).into_iter().map(Object::from).collect()
    }

    /// What [`Self::usage`] counts, as paths.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub fn usage_paths(&self) -> Result<HashSet<PathBuf>> {
        let mut paths: HashSet<PathBuf> = HashSet::new();
        for dir in ["layers", "derived"] {
            let names = self.list(dir)?;
            paths.extend(names.iter().map(|name| self.data().join(dir).join(name)));
        }
        let folders = BLOBS.iter().chain(&["partial"]);
        paths.extend(folders.map(|name| self.data().join("blobs").join(name)));
        Ok(paths)
    }
}
