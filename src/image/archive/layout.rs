//! The OCI image layout: `oci-layout`, `index.json`, `blobs/ALGORITHM/HEX`.

use std::collections::BTreeMap;

use super::ArchiveError;
use super::bring::Supply;
use super::files::Files;
use super::load::{Found, Packed};
use crate::image::config::ImageConfig;
use crate::image::error::{Error, Refusal};
use crate::image::manifest::{DOCUMENT_MAX, Descriptor, Document, Index};
use crate::image::platform::Platform;
use crate::image::pull::write::Documents;
use crate::store::{Digest, Hasher};

/// What containerd and BuildKit name an image by.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// What the OCI specification names an image by: often only a tag.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Docker writes one entry for each of an image's names, and marks what is no image.
const DOCKER_REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const NESTING_MAX: usize = 3;

/// Finds the images of a layout: all, or those of one name.
pub(super) fn images(
    files: &Files,
    wanted: Option<&str>,
    platform: Option<&Platform>,
) -> Result<Vec<Found>, Failure> {
    let bytes = files.document("index.json")?;
    let index = match Document::parse(&bytes, None).map_err(Refusal::Manifest)? {
        Document::Index(index) => index,
        Document::Manifest(_) => return Err(ArchiveError::Refused("index.json is a manifest").into()),
    };
    let chosen: Vec<&Descriptor> = index
        .manifests
        .iter()
        .filter(|entry| !entry.annotations.contains_key(DOCKER_REFERENCE_TYPE))
        .filter(|entry| wanted.is_none_or(|wanted| names_match(&entry.annotations, wanted)))
        .collect();
    if chosen.is_empty() {
        let wanted = wanted.unwrap_or("an image");
        return Err(ArchiveError::NoSuchImage(wanted.to_owned()).into());
    }
    // Entries of several platforms and no name are one image.
    if chosen.len() > 1
        && chosen.iter().all(|entry| entry.platform.is_some() && name(&entry.annotations).is_none())
    {
        let manifests = chosen.into_iter().cloned().collect();
        let index = Index { manifests, ..index.clone() };
        return Ok(vec![one(files, &choose(&index, platform)?.clone(), vec![], None, platform)?]);
    }
    let mut found: Vec<Found> = Vec::new();
    for entry in chosen {
        let name = name(&entry.annotations);
        // Docker repeats the entry for each name.
        match found.iter_mut().find(|found| found.top == entry.digest) {
            Some(known) => known.names.extend(name),
            None => found.push(one(files, entry, vec![], name, platform)?),
        }
    }
    Ok(found)
}

/// A problem of the archive, or of an image in it.
#[derive(Debug)]
pub(super) enum Failure {
    Archive(ArchiveError),
    Image(Refusal),
    Platform(Box<Error>),
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Image(refusal)
    }
}

fn names_match(annotations: &BTreeMap<String, String>, wanted: &str) -> bool {
    [CONTAINERD_NAME, REF_NAME].iter().any(|key| annotations.get(*key).is_some_and(|value| value == wanted))
}

fn name(annotations: &BTreeMap<String, String>) -> Option<String> {
    [CONTAINERD_NAME, REF_NAME]
        .iter()
        .find_map(|key| annotations.get(*key))
        .filter(|name| !name.is_empty())
        .cloned()
}

/// Follows an entry to the image of the platform.
fn one(
    files: &Files,
    entry: &Descriptor,
    indexes: Vec<Vec<u8>>,
    name: Option<String>,
    platform: Option<&Platform>,
) -> Result<Found, Failure> {
    if indexes.len() > NESTING_MAX {
        return Err(Refusal::Nested.into());
    }
    let bytes = blob(files, entry)?;
    let document = Document::parse(&bytes, Some(&entry.media_type)).map_err(Refusal::Manifest)?;
    let manifest = match document {
        Document::Index(index) => {
            let next = choose(&index, platform)?.clone();
            let mut indexes = indexes;
            indexes.push(bytes);
            let found = one(files, &next, indexes, name, platform)?;
            return Ok(Found { top: entry.digest.clone(), ..found });
        }
        Document::Manifest(manifest) => *manifest,
    };
    let config_bytes = blob(files, &manifest.config)?;
    let config = ImageConfig::parse(&config_bytes).map_err(Refusal::Config)?;
    let documents = Documents {
        image: name.clone().unwrap_or_else(|| entry.digest.to_string()),
        manifest_bytes: bytes,
        manifest_digest: entry.digest.clone(),
        manifest,
        indexes,
        config_bytes,
        config,
    };
    let mut contents = Vec::new();
    for layer in &documents.manifest.layers {
        contents.push(Supply::Content(files.get(&blob_name(&layer.digest))?));
    }
    let names = name.into_iter().collect();
    Ok(Found { top: entry.digest.clone(), names, image: Packed { documents, contents } })
}

/// The entry for the platform, or for this machine's.
pub(super) fn choose<'i>(index: &'i Index, platform: Option<&Platform>) -> Result<&'i Descriptor, Failure> {
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let no_platforms = index.manifests.iter().all(|entry| entry.platform.is_none());
    if let [only] = index.manifests.as_slice()
        && no_platforms
    {
        return Ok(only);
    }
    wanted.choose(&index.manifests).ok_or_else(|| {
        let available = index.manifests.iter().filter_map(|entry| entry.platform.as_ref());
        let available = available.filter(|p| p.os != "unknown").map(ToString::to_string).collect();
        let image = "of the archive".to_owned();
        Failure::Platform(Box::new(Error::NoPlatform { image, wanted: Box::new(wanted.clone()), available }))
    })
}

/// Reads a document that a descriptor names, and checks it.
fn blob(files: &Files, descriptor: &Descriptor) -> Result<Vec<u8>, ArchiveError> {
    let name = blob_name(&descriptor.digest);
    let bytes = files.get(&name)?.read(&name, DOCUMENT_MAX)?;
    if bytes.len() as u64 != descriptor.size {
        return Err(ArchiveError::Size { name, expected: descriptor.size, actual: bytes.len() as u64 });
    }
    let mut hasher = Hasher::like(&descriptor.digest);
    hasher.update(&bytes);
    let actual = hasher.finish();
    if actual != descriptor.digest {
        let (expected, actual) = (Box::new(descriptor.digest.clone()), Box::new(actual));
        return Err(ArchiveError::Mismatch { name, expected, actual });
    }
    Ok(bytes)
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}
