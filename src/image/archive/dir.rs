//! skopeo's `dir:`: `manifest.json` is the manifest itself, blobs are files named by the hexadecimal part of their
//! digest. It may be a list as well; then the manifests of the images are `HEX.manifest.json`.

use super::ArchiveError;
use super::bring::Supply;
use super::files::Files;
use super::layout::{Failure, choose};
use super::load::{Found, Packed};
use crate::image::config::ImageConfig;
use crate::image::error::Refusal;
use crate::image::manifest::{DOCUMENT_MAX, Document};
use crate::image::platform::Platform;
use crate::image::pull::write::Documents;
use crate::store::{Digest, Hasher};

/// The image of a folder, or of a list in it the one for the platform.
pub(super) fn image(files: &Files, platform: Option<&Platform>) -> Result<Found, Failure> {
    let mut manifest_bytes = files.document("manifest.json")?;
    let top = Digest::of(&manifest_bytes);
    let mut indexes = Vec::new();
    let manifest = match Document::parse(&manifest_bytes, None).map_err(Refusal::Manifest)? {
        Document::Manifest(manifest) => manifest,
        Document::Index(index) => {
            let entry = choose(&index, platform)?;
            let name = format!("{}.manifest.json", entry.digest.hex());
            let bytes = checked(files, name, &entry.digest)?;
            indexes.push(std::mem::replace(&mut manifest_bytes, bytes));
            let document = Document::parse(&manifest_bytes, Some(&entry.media_type));
            match document.map_err(Refusal::Manifest)? {
                Document::Manifest(manifest) => manifest,
                Document::Index(_) => return Err(Refusal::Nested.into()),
            }
        }
    };
    let config_bytes = checked(files, manifest.config.digest.hex(), &manifest.config.digest)?;
    let config = ImageConfig::parse(&config_bytes).map_err(Refusal::Config)?;
    let mut contents = Vec::new();
    for layer in &manifest.layers {
        contents.push(Supply::Content(files.get(&layer.digest.hex())?));
    }
    let manifest_digest = Digest::of(&manifest_bytes);
    let documents = Documents {
        image: manifest_digest.to_string(),
        manifest_bytes,
        manifest_digest,
        manifest: *manifest,
        indexes,
        config_bytes,
        config,
    };
    Ok(Found { top, names: vec![], image: Packed { documents, contents } })
}

/// Reads a document and checks it.
fn checked(files: &Files, name: String, digest: &Digest) -> Result<Vec<u8>, ArchiveError> {
    let bytes = files.get(&name)?.read(&name, DOCUMENT_MAX)?;
    let mut hasher = Hasher::like(digest);
    hasher.update(&bytes);
    let actual = hasher.finish();
    if actual == *digest {
        return Ok(bytes);
    }
    let (expected, actual) = (Box::new(digest.clone()), Box::new(actual));
    Err(ArchiveError::Mismatch { name, expected, actual })
}
