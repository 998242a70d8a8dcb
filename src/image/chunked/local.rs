//! Blobs of the store that have a table: where pieces of other blobs may be found.
//!
//! Nothing is kept about them: their tables are read when the first layer that has one comes, those of the images with
//! most in common first.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::table::{Format, Piece};
use super::tail::Tail;
use crate::image::manifest::media_type;
use crate::store::{Digest, ImageLayer, Store};

/// So many blobs are looked at.
const BLOBS_MAX: usize = 64;

/// A blob with its pieces. It is open, so nobody can take it away.
#[derive(Debug)]
pub(in crate::image) struct LocalBlob {
    pub(super) file: File,
    pub(super) format: Format,
    pub(super) pieces: Vec<Piece>,
}

impl LocalBlob {
    /// Bytes of it.
    pub(in crate::image) fn read(&self, at: u64, length: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

/// Blobs that have a table, those of images of `repository` first, then those of the images that were used last. What
/// cannot be read is passed over: everything can be fetched.
pub(in crate::image) fn blobs(store: &Store, repository: &str) -> Vec<LocalBlob> {
    let mut blobs = Vec::new();
    for digest in candidates(store, repository) {
        if blobs.len() == BLOBS_MAX {
            break;
        }
        blobs.extend(store.blob(&digest).ok().flatten().and_then(read));
    }
    blobs
}

fn read(file: File) -> Option<LocalBlob> {
    let tail = Tail::of(&file)?;
    let length = usize::try_from(tail.range.end - tail.range.start).ok()?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, tail.range.start).ok()?;
    let pieces = tail.pieces(&bytes)?;
    Some(LocalBlob { file, format: tail.format(), pieces })
}

fn candidates(store: &Store, repository: &str) -> Vec<Digest> {
    let (Ok(mut images), Ok(tags)) = (store.images(), store.tags()) else { return Vec::new() };
    let related: HashSet<_> = tags
        .into_iter()
        .filter(|tag| tag.name.strip_prefix(repository).is_some_and(|rest| rest.starts_with([':', '@'])))
        .map(|tag| tag.image)
        .collect();
    images.sort_by_cached_key(|image| {
        (!related.contains(&image.id), std::cmp::Reverse(store.last_use(&image.id)))
    });
    let mut seen = HashSet::new();
    let layers = images.into_iter().flat_map(|image| image.layers).filter(may_have_table);
    layers.filter_map(|layer| layer.blob).filter(|blob| seen.insert(blob.clone())).collect()
}

fn may_have_table(layer: &ImageLayer) -> bool {
    !matches!(layer.media_type.as_deref(), Some(media_type::OCI_LAYER | media_type::DOCKER_LAYER_TAR))
}
