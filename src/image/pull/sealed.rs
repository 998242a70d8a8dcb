//! Encrypted layers of an image on their way in.
//!
//! The encrypted blob is brought as any other, and decrypted twice: once to learn whether it is what was encrypted and which
//! digest the plain one has, once to store that. From then on the image is one with plain layers; the encrypted blobs go.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};

use super::layer::{Feed, Piece, known_blob, poll};
use super::write::Documents;
use crate::image::encryption::{DecryptionKeys, EncryptionError, Opened, is_encrypted};
use crate::image::error::{Error, LayerError, Refusal, Result};
use crate::image::manifest::Descriptor;
use crate::store::{BlobSlot, Digest, Hasher, Store};

const READ_SIZE: usize = 256 << 10;

/// An encrypted layer whose key is known.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    /// The encrypted blob.
    pub(crate) blob: Descriptor,
    opened: Opened,
    diff_id: Digest,
}

impl Documents {
    /// The encrypted layers, each once. Their keys are looked at before the first byte is fetched.
    pub(crate) fn sealed(&self, keys: &DecryptionKeys) -> Result<Vec<Sealed>> {
        let (layers, diff_ids) = (&self.manifest.layers, &self.config.rootfs.diff_ids);
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for (at, blob) in layers.iter().enumerate() {
            if !is_encrypted(&blob.media_type) || !seen.insert(&blob.digest) {
                continue;
            }
            let diff_id = diff_ids.get(at).cloned().ok_or_else(|| {
                let problem = Refusal::LayerCount { layers: layers.len(), diff_ids: diff_ids.len() };
                Error::Refused { image: self.image.clone(), problem }
            })?;
            let opened = keys.open(blob);
            let opened =
                opened.map_err(|source| Error::Decrypt { digest: Box::new(blob.digest.clone()), source })?;
            found.push(Sealed { blob: blob.clone(), opened, diff_id });
        }
        Ok(found)
    }

    /// Puts plain layers in the place of those that were encrypted. The manifest becomes another one, that which was served
    /// stays with the image.
    pub(crate) fn unsealed(&mut self, plain: &[(Digest, Descriptor)]) {
        if plain.is_empty() {
            return;
        }
        for layer in &mut self.manifest.layers {
            if let Some((_, found)) = plain.iter().find(|(digest, _)| *digest == layer.digest) {
                layer.clone_from(found);
            }
        }
        self.indexes.push(std::mem::replace(&mut self.manifest_bytes, self.manifest.to_json()));
        self.manifest_digest = Digest::of(&self.manifest_bytes);
    }
}

/// Brings an encrypted layer as a plain blob, and describes that.
pub(crate) fn unseal(
    store: &Store,
    sealed: &Sealed,
    stop: &AtomicBool,
    feed: &mut dyn Feed,
) -> std::result::Result<Descriptor, LayerError> {
    if let Some(plain) = present(store, sealed, stop)? {
        return Ok(plain);
    }
    let file = encrypted(store, &sealed.blob, stop, feed)?;
    let outcome = decrypt(store, sealed, &file, stop);
    // It is of no use any more, or was never any.
    store.drop_blob(&sealed.blob.digest)?;
    outcome
}

/// The blob of a layer that is here already.
fn present(
    store: &Store,
    sealed: &Sealed,
    stop: &AtomicBool,
) -> std::result::Result<Option<Descriptor>, LayerError> {
    let Some(_layer) = store.layer(&sealed.diff_id)? else { return Ok(None) };
    let Some((digest, media_type)) = known_blob(store, &sealed.diff_id)? else { return Ok(None) };
    match poll(stop, || store.try_blob_writer(&digest, None))? {
        BlobSlot::Present(file) => {
            let mut plain = sealed.opened.plain.clone();
            plain.size = file.metadata().map_err(LayerError::Read)?.len();
            plain.digest = digest;
            plain.media_type = media_type.unwrap_or(plain.media_type);
            Ok(Some(plain))
        }
        BlobSlot::Missing(writer) => {
            writer.discard();
            Ok(None)
        }
    }
}

/// The encrypted blob, checked by its digest.
fn encrypted(
    store: &Store,
    blob: &Descriptor,
    stop: &AtomicBool,
    feed: &mut dyn Feed,
) -> std::result::Result<File, LayerError> {
    let slot = poll(stop, || store.try_blob_writer(&blob.digest, Some(blob.size)))?;
    let mut writer = match slot {
        BlobSlot::Present(file) => return Ok(file),
        BlobSlot::Missing(writer) => writer,
    };
    feed.begin(writer.offset())?;
    loop {
        match feed.next()? {
            Piece::Data(bytes) => writer.write(&bytes)?,
            Piece::Restart => writer.restart()?,
            Piece::End => break,
        }
    }
    writer.commit()?;
    let path = store.blob_path(&blob.digest);
    File::open(path).map_err(LayerError::Read)
}

fn decrypt(
    store: &Store,
    sealed: &Sealed,
    file: &File,
    stop: &AtomicBool,
) -> std::result::Result<Descriptor, LayerError> {
    let Opened { cipher, sum: stated, plain } = &sealed.opened;
    let (mut hasher, mut sum, mut stream) = (Hasher::sha256(), cipher.sum(), cipher.stream(0));
    pieces(file, stop, |piece| {
        sum.update(piece);
        stream.apply(piece);
        hasher.update(piece);
        Ok(())
    })?;
    if !cipher.verify(stated, sum) {
        return Err(EncryptionError::Tampered.into());
    }
    let plain = Descriptor { digest: hasher.finish(), ..plain.clone() };
    let slot = poll(stop, || store.try_blob_writer(&plain.digest, Some(plain.size)))?;
    let BlobSlot::Missing(mut writer) = slot else { return Ok(plain) };
    writer.restart()?;
    let mut stream = cipher.stream(0);
    pieces(file, stop, |piece| {
        stream.apply(piece);
        Ok(writer.write(piece)?)
    })?;
    writer.commit()?;
    Ok(plain)
}

/// Reads a file from its beginning.
fn pieces(
    mut file: &File,
    stop: &AtomicBool,
    mut each: impl FnMut(&mut [u8]) -> std::result::Result<(), LayerError>,
) -> std::result::Result<(), LayerError> {
    use std::io::Seek as _;
    file.rewind().map_err(LayerError::Read)?;
    let mut buffer = vec![0; READ_SIZE];
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(LayerError::Cancelled);
        }
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => each(&mut buffer[..count])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LayerError::Read(error)),
        }
    }
}
