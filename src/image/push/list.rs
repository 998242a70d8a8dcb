//! Pushes a list: its images under their digests, then its index under the tag.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;

use super::network::{Written, sign};
use super::{PushRequest, Stored, push};
use crate::image::attach;
use crate::image::compress::{Algorithm, Settings};
use crate::image::encryption::EncryptionKeys;
use crate::image::error::{Error, Result};
use crate::image::list;
use crate::image::manifest::{Descriptor, Family, Index, Manifest};
use crate::image::outgoing::missing;
use crate::image::place::own_place;
use crate::image::progress::{Event, Progress, Reporter};
use crate::image::pull::{Context, pull};
use crate::image::reference::Reference;
use crate::image::registries::Registries;
use crate::image::registry::{Access, block_on};
use crate::image::request::{PullPolicy, PullRequest, RegistryOptions};
use crate::image::signature::Signing;
use crate::store::{Digest, ImageRecord};

/// What marks an image whose layers are compressed by zstd, for clients that can choose.
const ZSTD_MARK: &str = "io.github.containers.compression.zstd";

/// What is pushed, and how.
#[derive(Debug, Clone)]
pub struct ListPushRequest {
    /// The list.
    pub list: ImageRecord,
    /// Where to.
    pub destination: Reference,
    /// The images, too.
    pub all: bool,
    /// The family of documents.
    pub format: Option<Family>,
    /// How layers are compressed.
    pub compression: Settings,
    /// Also those that are compressed otherwise.
    pub recompress: bool,
    /// Images that the list has in another compression only are pushed once more in these.
    pub also: Vec<Settings>,
    /// Who signs the images and the list.
    pub signing: Signing,
    /// Whom layers of the images are encrypted for.
    pub encryption: EncryptionKeys,
    /// How the registry is talked to.
    pub registry: RegistryOptions,
}

/// Pushes a list; returns the digest of its index.
///
/// # Errors
/// When one of its images is nowhere, or the registry refuses something.
pub fn push_list(
    context: Context<'_>,
    request: &ListPushRequest,
    progress: &mut dyn Progress,
) -> Result<Digest> {
    let mut index = list::read(context.store, &request.list)?;
    let mut images = Vec::new();
    if request.all {
        for entry in &mut index.manifests {
            if let Some((bytes, manifest)) = attach::artifact(context.store, &request.list, &entry.digest)? {
                put_artifact(context, request, (bytes, &manifest), progress)?;
                continue;
            }
            let image = bring(context, &request.list, &request.registry, &entry.digest, progress)?;
            let mut part = PushRequest {
                image,
                destination: request.destination.clone(),
                format: request.format,
                compression: request.compression,
                recompress: request.recompress,
                by_digest: true,
                signing: request.signing.clone(),
                encryption: request.encryption.clone(),
                registry: request.registry.clone(),
            };
            let pushed = push(context, &part, progress)?;
            place_entry(entry, &pushed.manifest, pushed.has_zstd);
            part.recompress = true;
            images.push((entry.clone(), part));
        }
    }
    for settings in &request.also {
        let is_zstd = settings.algorithm != Algorithm::Gzip;
        for (base, part) in &images {
            let is_there = |entry: &Descriptor| {
                entry.platform == base.platform && entry.annotations.contains_key(ZSTD_MARK) == is_zstd
            };
            if index.manifests.iter().any(is_there) {
                continue;
            }
            let part = PushRequest { compression: *settings, ..part.clone() };
            let mut entry = base.clone();
            let pushed = push(context, &part, progress)?;
            place_entry(&mut entry, &pushed.manifest, pushed.has_zstd);
            index.manifests.push(entry);
        }
    }
    if let Some(family) = request.format {
        index.family = family;
    }
    let progress = RefCell::new(progress);
    put_index(context, request, &index, Reporter::new(&progress))
}

/// Has an entry lead to an image as it was written.
pub(in crate::image) fn place_entry(entry: &mut Descriptor, manifest: &Descriptor, has_zstd: bool) {
    entry.digest.clone_from(&manifest.digest);
    entry.size = manifest.size;
    entry.media_type.clone_from(&manifest.media_type);
    entry.annotations.remove(ZSTD_MARK);
    if has_zstd {
        entry.annotations.insert(ZSTD_MARK.to_owned(), "true".to_owned());
    }
}

/// Sends an artifact that the list has of its own.
fn put_artifact(
    context: Context<'_>,
    request: &ListPushRequest,
    (bytes, manifest): (Vec<u8>, &Manifest),
    progress: &mut dyn Progress,
) -> Result<()> {
    let progress = RefCell::new(progress);
    let reporter = Reporter::new(&progress);
    let registries = Registries::load(context.env, context.paths)?;
    let place = own_place(context, &registries, &request.registry, &request.destination)?;
    let client = place.client(reporter).with_access(Access::Push);
    let failed =
        |source| Error::Destination { reference: Box::new(place.remote.clone()), source: Box::new(source) };
    block_on(async {
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            let digest = blob.digest.clone();
            if client.has_blob(&digest).await.map_err(failed)? {
                reporter.report(Event::BlobSkipped(&digest));
                continue;
            }
            let file = context.store.blob(&digest)?.ok_or_else(|| missing(&request.list, "blob", &digest))?;
            reporter.report(Event::BlobStarted { digest: &digest, size: Some(blob.size), offset: 0 });
            let stored = Stored { file: Arc::new(file), digest: digest.clone(), size: blob.size, reporter };
            client.upload(&stored).await.map_err(failed)?;
            reporter.report(Event::BlobDone(&digest));
        }
        let remote = place.remote.with_digest(Digest::of(&bytes));
        let put = client.put_manifest(&remote, Bytes::from(bytes), manifest.family.manifest_type());
        put.await.map(drop).map_err(failed)
    })?
}

fn put_index(
    context: Context<'_>,
    request: &ListPushRequest,
    index: &Index,
    reporter: Reporter<'_>,
) -> Result<Digest> {
    let registries = Registries::load(context.env, context.paths)?;
    let place = own_place(context, &registries, &request.registry, &request.destination)?;
    let client = place.client(reporter).with_access(Access::Push);
    let bytes = index.to_json();
    let digest = Digest::of(&bytes);
    reporter.report(Event::Manifest);
    let signers = request.signing.signers(context.env)?;
    block_on(async {
        let put = client.put_manifest(&place.remote, Bytes::from(bytes), index.family.index_type());
        put.await.map_err(|source| Error::Destination {
            reference: Box::new(place.remote.clone()),
            source: Box::new(source),
        })?;
        let subject = Written { name: &request.destination, remote: &place.remote, digest: &digest };
        sign(context, &client, &signers, subject, reporter).await
    })??;
    Ok(digest)
}

/// The image of an entry: the one that is here, or the one that the list was told to come from.
pub(in crate::image) fn bring(
    context: Context<'_>,
    list: &ImageRecord,
    registry: &RegistryOptions,
    digest: &Digest,
    progress: &mut dyn Progress,
) -> Result<ImageRecord> {
    let local = || -> Result<Option<ImageRecord>> {
        let records = context.store.images()?;
        // An image that was pulled again since may have another manifest now, and is the same all the same.
        let is_it = |record: &ImageRecord| {
            !record.list && (record.manifest.as_ref() == Some(digest) || record.manifests.contains(digest))
        };
        Ok(records.into_iter().find(is_it))
    };
    if let Some(record) = local()? {
        return Ok(record);
    }
    let Some(source) = list.sources.get(&digest.to_string()) else {
        return Err(Error::NotKnown(digest.to_string()));
    };
    let source = PullRequest {
        name: format!("docker://{source}@{digest}"),
        policy: PullPolicy::Always,
        registry: registry.clone(),
        ..PullRequest::default()
    };
    pull(context, &source, progress)?;
    local()?.ok_or_else(|| Error::NotKnown(digest.to_string()))
}
