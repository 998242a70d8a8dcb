//! Files in a list of images: an artifact of its own, which the list names beside its images.
//!
//! Manifest, config and files are blobs of the store; the record of the list names them, so they stay as long as it does.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::artifact::{EMPTY, EMPTY_TYPE, TITLE, mime};
use super::error::{Error, Refusal, Result};
use super::list::{Overrides, read, write};
use super::manifest::{DOCUMENT_MAX, Descriptor, Document, Manifest, media_type};
use crate::kernel;
use crate::store::{BlobSlot, Digest, Hasher, ImageRecord, Store};

/// What an artifact is that nobody has given a type.
const UNKNOWN: &str = "application/vnd.unknown.artifact.v1";

/// An artifact to make.
#[derive(Debug, Clone, Default)]
pub struct AttachRequest {
    /// Its files.
    pub files: Vec<PathBuf>,
    /// What it is; nothing for the usual, an empty text for none.
    pub artifact_type: Option<String>,
    /// The file that is its config.
    pub config: Option<PathBuf>,
    /// The type of the config.
    pub config_type: Option<String>,
    /// The type of the files; guessed where there is none.
    pub layer_type: Option<String>,
    /// Files do not have their names.
    pub exclude_titles: bool,
    /// The image that it belongs to.
    pub subject: Option<ImageRecord>,
}

/// Makes an artifact and adds it to a list.
///
/// # Errors
/// When a file cannot be read, or the store not be written.
pub fn attach(
    store: &Store,
    list: &ImageRecord,
    request: &AttachRequest,
    overrides: &Overrides,
) -> Result<ImageRecord> {
    let mut layers = Vec::new();
    for path in &request.files {
        let (mut layer, start) = put(store, path)?;
        layer.media_type = match &request.layer_type {
            Some(given) => given.clone(),
            None => mime::detect(&start).split(';').next().unwrap_or_default().to_owned(),
        };
        if !request.exclude_titles {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            layer.annotations.insert(TITLE.to_owned(), name);
        }
        layers.push(layer);
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "artifactType": request.artifact_type.as_deref().unwrap_or(UNKNOWN),
        "config": config(store, request)?,
        "layers": layers,
        "subject": request.subject.as_ref().map(|image| subject(store, image)).transpose()?,
    });
    let Value::Object(mut manifest) = manifest else { unreachable!("an object was written") };
    manifest.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
    let bytes = serde_json::to_vec(&manifest).expect("a manifest serialises");
    let digest = store.put_blob(&bytes)?;
    let mut entry = Descriptor::new(media_type::OCI_MANIFEST, digest.clone(), bytes.len() as u64);
    entry.artifact_type = manifest.get("artifactType").and_then(Value::as_str).map(str::to_owned);
    overrides.apply_to_artifact(&mut entry);
    let mut index = read(store, list)?;
    index.manifests.retain(|old| old.digest != digest);
    index.manifests.push(entry);
    let mut list = list.clone();
    list.manifests.push(digest);
    write(store, &list, index)
}

fn config(store: &Store, request: &AttachRequest) -> Result<Descriptor> {
    let (mut config, default) = match &request.config {
        Some(path) => {
            let (config, _) = put(store, path)?;
            let default = if config.size > 0 { media_type::OCI_CONFIG } else { EMPTY_TYPE };
            (config, default)
        }
        None => (Descriptor::new("", store.put_blob(EMPTY)?, EMPTY.len() as u64), EMPTY_TYPE),
    };
    config.media_type = request.config_type.clone().unwrap_or_else(|| default.to_owned());
    Ok(config)
}

fn subject(store: &Store, image: &ImageRecord) -> Result<Descriptor> {
    let digest = image.manifest.clone().ok_or_else(|| Error::NotKnown(image.id.to_string()))?;
    let bytes = store.read_blob(&digest, DOCUMENT_MAX)?;
    let document = Document::parse(&bytes, None);
    let media_type = match document
        .map_err(|error| Error::Refused { image: image.id.to_string(), problem: Refusal::Manifest(error) })?
    {
        Document::Manifest(manifest) => manifest.family.manifest_type(),
        Document::Index(index) => index.family.index_type(),
    };
    Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
}

/// Stores a file; returned with it are its first bytes.
fn put(store: &Store, path: &Path) -> Result<(Descriptor, Vec<u8>)> {
    let failed = |call| {
        let path = path.to_owned();
        move |error: std::io::Error| {
            let source = kernel::Error::path(call, &path, error);
            Error::Archive { path: Some(path.clone()), source: Box::new(source.into()) }
        }
    };
    let mut file = File::open(path).map_err(failed("open"))?;
    let mut start = Vec::new();
    (&file).take(mime::SNIFFED as u64).read_to_end(&mut start).map_err(failed("read"))?;
    let mut hasher = Hasher::sha256();
    let mut size = 0;
    pieces(&mut file, |piece| {
        hasher.update(piece);
        size += piece.len() as u64;
        Ok(())
    })
    .map_err(failed("read"))?;
    let digest = hasher.finish();
    if let BlobSlot::Missing(mut writer) = store.blob_writer(&digest, Some(size))? {
        writer.restart()?;
        let mut outcome = Ok(());
        pieces(&mut file, |piece| {
            outcome = writer.write(piece);
            if outcome.is_err() { Err(std::io::ErrorKind::Other.into()) } else { Ok(()) }
        })
        .or_else(|error| if outcome.is_err() { Ok(()) } else { Err(failed("read")(error)) })?;
        outcome?;
        writer.commit()?;
    }
    Ok((Descriptor::new("", digest, size), start))
}

fn pieces(file: &mut File, mut each: impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
    file.rewind()?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => each(&buffer[..count])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The manifest of an artifact of a list; nothing for an entry that is an image.
pub(super) fn artifact(
    store: &Store,
    list: &ImageRecord,
    digest: &Digest,
) -> Result<Option<(Vec<u8>, Manifest)>> {
    if !list.manifests.contains(digest) {
        return Ok(None);
    }
    let bytes = store.read_blob(digest, DOCUMENT_MAX)?;
    match Document::parse(&bytes, None) {
        Ok(Document::Manifest(manifest)) => Ok(Some((bytes, *manifest))),
        _ => Ok(None),
    }
}

/// The blobs of all artifacts among the entries `digests` of a list.
pub(super) fn parts<'d>(
    store: &Store,
    list: &ImageRecord,
    digests: impl Iterator<Item = &'d Digest>,
) -> Result<Vec<Digest>> {
    let mut parts = BTreeSet::new();
    for digest in digests {
        if let Some((_, manifest)) = artifact(store, list, digest)? {
            parts.insert(digest.clone());
            parts.extend(manifest.layers.into_iter().chain([manifest.config]).map(|blob| blob.digest));
        }
    }
    Ok(parts.into_iter().collect())
}
