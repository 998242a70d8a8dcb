//! Lists of images (manifest lists, image indexes): making and changing them, and looking at those of registries.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::attach;
use super::config::ImageConfig;
use super::error::{Error, Refusal, Result};
use super::manifest::{DOCUMENT_MAX, Descriptor, Document, Family, Index};
use super::place::places;
use super::platform::Platform;
use super::progress::{Progress, Reporter, Silent};
use super::pull::Context;
use super::reference::Reference;
use super::registries::Registries;
use super::registry::{Served, block_on};
use super::request::RegistryOptions;
use crate::store::{Digest, ImageRecord, Store};

/// What is said about an entry instead of what its image says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Annotations that are added.
    pub annotations: BTreeMap<String, String>,
    /// Processor.
    pub architecture: Option<String>,
    /// Operating system.
    pub os: Option<String>,
    /// Its version.
    pub os_version: Option<String>,
    /// Its features.
    pub os_features: Vec<String>,
    /// Variant of the processor.
    pub variant: Option<String>,
    /// Features of the processor.
    pub features: Vec<String>,
}

impl Overrides {
    fn apply(&self, entry: &mut Descriptor) {
        entry.annotations.extend(self.annotations.clone());
        self.apply_platform(entry);
    }

    /// The same for an artifact, which has a platform only if one is stated.
    pub(super) fn apply_to_artifact(&self, entry: &mut Descriptor) {
        entry.annotations.extend(self.annotations.clone());
        let only = Self { annotations: self.annotations.clone(), ..Self::default() };
        if *self != only {
            self.apply_platform(entry);
        }
    }

    fn apply_platform(&self, entry: &mut Descriptor) {
        let platform = entry.platform.get_or_insert_with(|| Platform::normalised("", "", None));
        if let Some(architecture) = &self.architecture {
            platform.architecture.clone_from(architecture);
        }
        if let Some(os) = &self.os {
            platform.os.clone_from(os);
        }
        if self.os_version.is_some() {
            platform.os_version.clone_from(&self.os_version);
        }
        if self.variant.is_some() {
            platform.variant.clone_from(&self.variant);
        }
        if !self.os_features.is_empty() {
            platform.os_features.clone_from(&self.os_features);
        }
        if !self.features.is_empty() {
            platform.features.clone_from(&self.features);
        }
    }
}

/// Makes an empty list.
///
/// # Errors
/// When it cannot be written.
pub fn create(store: &Store, name: &Reference) -> Result<ImageRecord> {
    let index = Index { family: Family::Docker, manifests: Vec::new(), annotations: BTreeMap::new() };
    let record = store.put_list(None, &index.to_json(), BTreeMap::new(), Vec::new())?;
    store.tag(&name.to_string(), &record.id, None)?;
    Ok(record)
}

/// The index of a list.
///
/// # Errors
/// When it cannot be read.
pub fn read(store: &Store, list: &ImageRecord) -> Result<Index> {
    let refuse = |problem: Refusal| Error::Refused { image: list.id.to_string(), problem };
    let digest = list.manifest.as_ref().ok_or_else(|| Error::NotKnown(list.id.to_string()))?;
    let bytes = store.read_blob(digest, DOCUMENT_MAX)?;
    match Document::parse(&bytes, None).map_err(|error| refuse(error.into()))? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => Err(refuse(Refusal::NoList)),
    }
}

/// The image of a list for a platform: its digest, and itself if it is here.
///
/// # Errors
/// When the list has none for it.
pub fn choose(
    store: &Store,
    list: &ImageRecord,
    name: &str,
    platform: Option<Platform>,
) -> Result<(Digest, Option<ImageRecord>)> {
    let index = read(store, list)?;
    let wanted = platform.unwrap_or_else(Platform::host);
    let Some(chosen) = wanted.choose(&index.manifests) else {
        let platforms = index.manifests.iter().filter_map(|entry| entry.platform.as_ref());
        let available = platforms.map(ToString::to_string).collect();
        return Err(Error::NoPlatform { image: name.to_owned(), wanted: Box::new(wanted), available });
    };
    let is_it = |record: &ImageRecord| {
        let digest = &chosen.digest;
        !record.list && (record.manifest.as_ref() == Some(digest) || record.manifests.contains(digest))
    };
    Ok((chosen.digest.clone(), store.images()?.into_iter().find(is_it)))
}

/// Writes a changed index.
///
/// # Errors
/// When it cannot be written.
pub fn write(store: &Store, list: &ImageRecord, mut index: Index) -> Result<ImageRecord> {
    // Only an empty list is Docker's, as podman has it.
    index.family = if index.manifests.is_empty() { Family::Docker } else { Family::Oci };
    let parts = attach::parts(store, list, index.manifests.iter().map(|entry| &entry.digest))?;
    Ok(store.put_list(Some(&list.id), &index.to_json(), list.sources.clone(), parts)?)
}

/// Adds an image that is here.
///
/// # Errors
/// When the image is not whole.
pub fn add_local(
    store: &Store,
    list: &ImageRecord,
    image: &ImageRecord,
    overrides: &Overrides,
) -> Result<ImageRecord> {
    let digest = image.manifest.as_ref().ok_or_else(|| Error::NotKnown(image.id.to_string()))?;
    let bytes = store.read_blob(digest, DOCUMENT_MAX)?;
    let refuse = |problem: Refusal| Error::Refused { image: image.id.to_string(), problem };
    let Document::Manifest(manifest) = Document::parse(&bytes, None).map_err(|e| refuse(e.into()))? else {
        return Err(refuse(Refusal::Nested));
    };
    let config = store.read_blob(&image.id.digest(), DOCUMENT_MAX)?;
    let config = ImageConfig::parse(&config).map_err(|error| refuse(error.into()))?;
    let mut entry = Descriptor::new(manifest.family.manifest_type(), digest.clone(), bytes.len() as u64);
    entry.platform = Some(platform(&config));
    overrides.apply(&mut entry);
    add(store, list, vec![entry], None)
}

/// Adds what a registry has under a name: an image, or of a list the entry for this machine (or `all`).
///
/// # Errors
/// When the registry does not have it.
pub fn add_remote(
    context: Context<'_>,
    list: &ImageRecord,
    reference: &Reference,
    all: bool,
    overrides: &Overrides,
    options: &RegistryOptions,
) -> Result<ImageRecord> {
    let refuse = |problem: Refusal| Error::Refused { image: format!("docker://{reference}"), problem };
    let served = remote(context, reference, options)?;
    let document = Document::parse(&served.bytes, served.media_type.as_deref());
    let mut entries = match document.map_err(|error| refuse(error.into()))? {
        Document::Index(index) if all => index.manifests,
        Document::Index(index) => {
            let wanted = Platform::host();
            let chosen = wanted.choose(&index.manifests).cloned();
            let chosen = chosen.ok_or_else(|| Error::NoPlatform {
                image: format!("docker://{reference}"),
                wanted: Box::new(wanted),
                available: index
                    .manifests
                    .iter()
                    .filter_map(|d| d.platform.as_ref())
                    .map(ToString::to_string)
                    .collect(),
            })?;
            vec![chosen]
        }
        Document::Manifest(manifest) => {
            let config = with_client(context, reference, options, async |client, _| {
                client.document(&manifest.config).await
            })?;
            let config = ImageConfig::parse(&config).map_err(|error| refuse(error.into()))?;
            let size = served.bytes.len() as u64;
            let mut entry = Descriptor::new(manifest.family.manifest_type(), served.digest, size);
            entry.platform = Some(platform(&config));
            vec![entry]
        }
    };
    if let [only] = entries.as_mut_slice() {
        overrides.apply(only);
    }
    add(context.store, list, entries, Some(reference))
}

fn platform(config: &ImageConfig) -> Platform {
    let mut platform = Platform::normalised(&config.os, &config.architecture, config.variant.as_deref());
    // What the config does not state is not invented.
    platform.variant.clone_from(&config.variant);
    platform
}

fn add(
    store: &Store,
    list: &ImageRecord,
    entries: Vec<Descriptor>,
    source: Option<&Reference>,
) -> Result<ImageRecord> {
    let mut index = read(store, list)?;
    let mut list = list.clone();
    for entry in entries {
        index.manifests.retain(|old| old.digest != entry.digest);
        if let Some(source) = source {
            list.sources.insert(entry.digest.to_string(), source.repository());
        }
        index.manifests.push(entry);
    }
    write(store, &list, index)
}

/// Changes what a list says about one of its entries.
///
/// # Errors
/// When it has no such entry.
pub fn annotate(
    store: &Store,
    list: &ImageRecord,
    digest: &Digest,
    overrides: &Overrides,
) -> Result<ImageRecord> {
    let mut index = read(store, list)?;
    let entry = index.manifests.iter_mut().find(|entry| entry.digest == *digest);
    overrides.apply(entry.ok_or_else(|| no_entry(digest))?);
    write(store, list, index)
}

/// Takes an entry out of a list.
///
/// # Errors
/// When it has no such entry.
pub fn remove(store: &Store, list: &ImageRecord, digest: &Digest) -> Result<ImageRecord> {
    let mut index = read(store, list)?;
    let before = index.manifests.len();
    index.manifests.retain(|entry| entry.digest != *digest);
    if index.manifests.len() == before {
        return Err(no_entry(digest));
    }
    let mut list = list.clone();
    list.sources.remove(&digest.to_string());
    write(store, &list, index)
}

fn no_entry(digest: &Digest) -> Error {
    Error::NotKnown(format!("no instance matching digest {digest} found in manifest list"))
}

/// The document that a registry has under a name.
///
/// # Errors
/// When it has none, or cannot be asked.
pub fn remote(context: Context<'_>, reference: &Reference, options: &RegistryOptions) -> Result<Served> {
    with_client(context, reference, options, async |client, remote| client.manifest(remote).await)
}

/// Asks each place of a reference until one answers.
fn with_client<T>(
    context: Context<'_>,
    reference: &Reference,
    options: &RegistryOptions,
    ask: impl AsyncFn(&super::registry::Client<'_>, &Reference) -> Result<T, super::registry::RegistryError>,
) -> Result<T> {
    let registries = Registries::load(context.env, context.paths)?;
    let mut silent = Silent;
    let silent: RefCell<&mut dyn Progress> = RefCell::new(&mut silent);
    let mut last = None;
    for place in places(context, &registries, options, reference)? {
        let client = place.client(Reporter::new(&silent));
        match block_on(ask(&client, &place.remote))? {
            Ok(value) => return Ok(value),
            Err(error) => last = Some(error),
        }
    }
    let source = Box::new(last.expect("a reference has a place of its own"));
    Err(Error::Reading { reference: Box::new(reference.clone()), source })
}
