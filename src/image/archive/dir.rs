//! skopeo's `dir:`: `manifest.json` is the manifest itself, blobs are files named by the hexadecimal part of their
//! digest.

use super::ArchiveError;
use super::bring::Supply;
use super::files::Files;
use super::layout::Failure;
use super::load::{Found, Packed};
use crate::image::config::ImageConfig;
use crate::image::error::Refusal;
use crate::image::manifest::{DOCUMENT_MAX, Document};
use crate::image::pull::write::Documents;
use crate::store::Digest;

/// The one image of a folder.
pub(super) fn image(files: &Files) -> Result<Found, Failure> {
    let manifest_bytes = files.document("manifest.json")?;
    let Document::Manifest(manifest) = Document::parse(&manifest_bytes, None).map_err(Refusal::Manifest)?
    else {
        return Err(ArchiveError::Refused("the folder holds a list of images").into());
    };
    let name = manifest.config.digest.hex();
    let config_bytes = files.get(&name)?.read(&name, DOCUMENT_MAX)?;
    let actual = Digest::of(&config_bytes);
    if actual != manifest.config.digest {
        let (expected, actual) = (Box::new(manifest.config.digest.clone()), Box::new(actual));
        return Err(ArchiveError::Mismatch { name, expected, actual }.into());
    }
    let config = ImageConfig::parse(&config_bytes).map_err(Refusal::Config)?;
    let mut contents = Vec::new();
    for layer in &manifest.layers {
        contents.push(Supply::Content(files.get(&layer.digest.hex())?));
    }
    let manifest_digest = Digest::of(&manifest_bytes);
    let documents = Documents {
        image: manifest_digest.to_string(),
        manifest_bytes,
        manifest_digest: manifest_digest.clone(),
        manifest: *manifest,
        indexes: vec![],
        config_bytes,
        config,
    };
    Ok(Found { top: manifest_digest, names: vec![], image: Packed { documents, contents } })
}
