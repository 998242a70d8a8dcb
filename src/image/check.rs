//! Putting the parts of damaged images right from what else the store has of them: for `system check`.

use super::config::ImageConfig;
use super::encryption::is_encrypted;
use super::error::{LayerError, Result, chain};
use super::inflate::Inflated;
use super::manifest::{DOCUMENT_MAX, Document, Manifest};
use super::platform::Platform;
use super::progress::{Event, Progress};
use super::pull::layer::known_blob;
use super::pull::write::Documents;
use super::pull::{Context, again};
use super::reference::{LOCALHOST, Reference};
use crate::store::{self, Digest, ImageId, LayerLock, Store, UnpackOptions};

/// Manifests are looked for among blobs of at most this size.
const MANIFEST_LIKELY: u64 = 256 << 10;

/// What differs between a layer and the archive that the store has of it; nothing where it has none.
///
/// # Errors
/// When the archive is damaged itself, or does not fit on the disk once more.
pub fn layer_differences(
    store: &Store,
    id: &Digest,
    options: &UnpackOptions,
) -> Result<Option<Vec<String>>, LayerError> {
    let Some(archive) = archive_of(store, id)? else { return Ok(None) };
    Ok(Some(store.layer_differences(id, archive, options)?))
}

/// Unpacks a layer anew from the archive that the store has of it; false where it has none that is whole.
///
/// # Errors
/// When it cannot be written.
pub fn renew_layer(store: &Store, lock: &LayerLock, options: &UnpackOptions) -> Result<bool, LayerError> {
    let Some((blob, _)) = known_blob(store, lock.id())? else { return Ok(false) };
    if store.wrong_digest(&blob)?.is_some() {
        return Ok(false);
    }
    let Some(archive) = archive_of(store, lock.id())? else { return Ok(false) };
    store.renew_layer(lock, archive, options)?;
    Ok(true)
}

fn archive_of(store: &Store, id: &Digest) -> store::Result<Option<impl std::io::Read + use<>>> {
    let Some((blob, _)) = known_blob(store, id)? else { return Ok(None) };
    Ok(store.blob(&blob)?.map(Inflated::new))
}

/// Writes the record of an image anew: all that it says is in the config, the manifest and the layers. False where one
/// of these is not there.
///
/// # Errors
/// When it cannot be written.
pub fn rebuild_record(store: &Store, id: &ImageId) -> Result<bool> {
    let Ok(config_bytes) = store.read_blob(&id.digest(), DOCUMENT_MAX) else { return Ok(false) };
    let Ok(config) = ImageConfig::parse(&config_bytes) else { return Ok(false) };
    let Some((manifest_digest, manifest_bytes, manifest)) = manifest_of(store, id)? else { return Ok(false) };
    let mut indexes = Vec::new();
    for digest in store.names_of(id)?.into_iter().filter_map(|tag| tag.manifest) {
        // What was pulled under a name may be a list that has the manifest in it.
        if digest != manifest_digest
            && let Ok(bytes) = store.read_blob(&digest, DOCUMENT_MAX)
        {
            indexes.push(bytes);
        }
    }
    let image = id.to_string();
    let documents =
        Documents { image, manifest_bytes, manifest_digest, manifest, indexes, config_bytes, config };
    if !documents.layers()?.iter().all(|job| matches!(store.layer(&job.diff_id), Ok(Some(_)))) {
        return Ok(false);
    }
    documents.write(store)?;
    Ok(true)
}

/// Fetches again what the store lacks of an image, from where its names say that it came; false where none of them leads to it.
/// What fails on the way is told to `progress`.
///
/// # Errors
/// When the store cannot be read.
pub fn fetch(
    context: Context<'_>,
    id: &ImageId,
    platform: Option<Platform>,
    progress: &mut dyn Progress,
) -> Result<bool> {
    for tag in context.store.names_of(id)? {
        let (Ok(name), Some(digest)) = (Reference::parse(&tag.name), tag.manifest) else { continue };
        // Nobody serves images without a port there: it was made or loaded here.
        if name.domain() == LOCALHOST {
            continue;
        }
        match again(context, &name.with_digest(digest), platform.clone(), progress) {
            Ok(fetched) if fetched == *id => return Ok(true),
            Ok(other) => {
                let text = format!("{name} is another image by now: {other}");
                progress.event(Event::Warning(&text));
            }
            Err(error) => progress.event(Event::Warning(&chain(&error))),
        }
    }
    Ok(false)
}

/// The manifest of the image with this config.
fn manifest_of(store: &Store, id: &ImageId) -> Result<Option<(Digest, Vec<u8>, Manifest)>> {
    for digest in store.blobs()? {
        let small = store.blob(&digest)?.and_then(|file| file.metadata().ok());
        if small.is_none_or(|meta| meta.len() > MANIFEST_LIKELY) {
            continue;
        }
        let Ok(bytes) = store.read_blob(&digest, MANIFEST_LIKELY) else { continue };
        if let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, None)
            && manifest.config.digest == id.digest()
            // What was served of an image that was decrypted is no manifest of what is here.
            && !manifest.layers.iter().any(|layer| is_encrypted(&layer.media_type))
        {
            return Ok(Some((digest, bytes, *manifest)));
        }
    }
    Ok(None)
}
