//! The images that are here: what lists, inspect and history show of them, and removing them.
//!
//! Everything is read from the store's records without a lock; an image that vanishes meanwhile is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::config::{Healthcheck, HistoryEntry, ImageConfig, RootFs, RunConfig};
use super::error::{Error, Refusal, Result};
use super::manifest::{DOCUMENT_MAX, Document, Manifest};
use super::reference::Reference;
use crate::store::{self, Digest, ImageId, ImageRecord, Store, TagRecord};

/// An image with its names.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Its record.
    pub record: ImageRecord,
    /// Its names, sorted.
    pub tags: Vec<TagRecord>,
    /// An untagged image whose layers another one builds on.
    pub has_children: bool,
}

/// The documents of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Details {
    /// Its config.
    pub config: ImageConfig,
    /// Its manifest.
    pub manifest: Manifest,
}

/// Who uses an image, by image id: containers.
pub type Users = BTreeMap<String, Vec<String>>;

impl Image {
    /// Names with a tag, as `REPOSITORY:TAG`.
    #[must_use]
    pub fn repo_tags(&self) -> Vec<String> {
        self.tags.iter().filter(|tag| !tag.name.contains('@')).map(|tag| tag.name.clone()).collect()
    }

    /// All names.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.tags.iter().map(|tag| tag.name.clone()).collect()
    }

    /// All names, and after them those that it had and lost, the latest first.
    #[must_use]
    pub fn names_history(&self, store: &Store) -> Vec<String> {
        let mut names = self.names();
        let past = store.past_names(&self.record.id);
        let past: Vec<String> = past.into_iter().filter(|name| !names.contains(name)).collect();
        names.extend(past);
        names
    }

    /// All digests under which it is known, with each of its repositories.
    #[must_use]
    pub fn repo_digests(&self) -> Vec<String> {
        let mut list: Vec<String> = Vec::new();
        for tag in &self.tags {
            let Ok(reference) = Reference::parse(&tag.name) else { continue };
            let known = self.record.manifest.iter().chain(&self.record.manifests).chain(&tag.manifest);
            for digest in known {
                list.push(format!("{}@{digest}", reference.repository()));
            }
        }
        list.sort();
        list.dedup();
        list
    }

    /// The digest of its manifest.
    #[must_use]
    pub fn digest(&self) -> String {
        self.record.manifest.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> jiff::Timestamp {
        self.record
            .created
            .as_deref()
            .and_then(|text| text.parse().ok())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// Neither named nor needed.
    #[must_use]
    pub fn is_dangling(&self) -> bool {
        self.tags.is_empty() && !self.has_children
    }
}

/// When an image was used last: pulled again, or a container made of it or removed.
#[must_use]
pub fn last_used(store: &Store, image: &Image) -> Option<jiff::Timestamp> {
    jiff::Timestamp::try_from(store.last_use(&image.record.id)?).ok()
}

/// All images, the newest first.
pub fn list(store: &Store) -> Result<Vec<Image>> {
    let mut tags: BTreeMap<ImageId, Vec<TagRecord>> = BTreeMap::new();
    for tag in store.tags()? {
        tags.entry(tag.image.clone()).or_default().push(tag);
    }
    let records = store.images()?;
    let mut images: Vec<Image> = records
        .into_iter()
        .map(|record| Image {
            tags: tags.remove(&record.id).unwrap_or_default(),
            record,
            has_children: false,
        })
        .collect();
    mark_children(&mut images);
    images.sort_by(|a, b| b.created().cmp(&a.created()).then_with(|| a.record.id.cmp(&b.record.id)));
    Ok(images)
}

/// Finds out which of these images others of them build on.
pub fn mark_children(images: &mut [Image]) {
    // In this order what builds on an image follows on it.
    let chains: BTreeSet<Vec<&Digest>> = images.iter().map(|image| chain_of(&image.record)).collect();
    let has_children = |own: Vec<&Digest>| {
        let next = chains.range((Bound::Excluded(own.clone()), Bound::Unbounded)).next();
        !own.is_empty() && next.is_some_and(|next| next.starts_with(&own))
    };
    let children: Vec<bool> = images.iter().map(|image| has_children(chain_of(&image.record))).collect();
    for (image, has_children) in images.iter_mut().zip(children) {
        image.has_children = has_children;
    }
}

fn chain_of(record: &ImageRecord) -> Vec<&Digest> {
    record.layers.iter().map(|layer| &layer.diff_id).collect()
}

fn layers_of(record: &ImageRecord) -> Vec<Digest> {
    record.layers.iter().map(|layer| layer.diff_id.clone()).collect()
}

/// One image with its names.
pub fn image(store: &Store, record: ImageRecord) -> Result<Image> {
    let tags = store.names_of(&record.id)?;
    Ok(Image { record, tags, has_children: false })
}

/// Reads the documents of an image.
pub fn details(store: &Store, record: &ImageRecord) -> Result<Details> {
    let refuse = |problem| Error::Refused { image: record.id.to_string(), problem };
    let config = store.read_blob(&record.id.digest(), DOCUMENT_MAX)?;
    let config = ImageConfig::parse(&config).map_err(|error| refuse(error.into()))?;
    let digest = record.manifest.as_ref().ok_or_else(|| {
        let (image, digest) = (record.id.to_string(), Box::new(record.id.digest()));
        Error::Store(store::Error::Incomplete { image, what: "manifest", digest })
    })?;
    let manifest = store.read_blob(digest, DOCUMENT_MAX)?;
    match Document::parse(&manifest, None).map_err(|error| refuse(error.into()))? {
        Document::Manifest(manifest) => Ok(Details { config, manifest: *manifest }),
        Document::Index(_) => Err(refuse(Refusal::Nested)),
    }
}

/// What `inspect` shows, with podman's names.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspection {
    id: String,
    digest: String,
    repo_tags: Vec<String>,
    repo_digests: Vec<String>,
    parent: String,
    comment: String,
    created: Option<Moment>,
    config: RunConfig,
    version: String,
    author: String,
    architecture: String,
    os: String,
    size: u64,
    virtual_size: u64,
    graph_driver: GraphDriver,
    #[serde(rename = "RootFS")]
    root_fs: InspectedRootFs,
    labels: Option<BTreeMap<String, String>>,
    annotations: BTreeMap<String, String>,
    manifest_type: &'static str,
    user: String,
    history: Vec<HistoryEntry>,
    names_history: Vec<String>,
    /// Not podman's: when a container was made of it last, or it was pulled.
    last_used: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<Healthcheck>,
}

/// A point in time as text; templates print what has this type's name as Go prints times.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename = "GoTime")]
struct Moment(String);

#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct GraphDriver {
    name: &'static str,
    data: BTreeMap<&'static str, String>,
}

#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedRootFs {
    r#type: String,
    layers: Vec<Digest>,
}

/// Everything about an image.
pub fn inspect(store: &Store, record: ImageRecord) -> Result<Inspection> {
    let image = image(store, record)?;
    let Details { config, manifest } = details(store, &image.record)?;
    let RootFs { kind, diff_ids } = config.rootfs;
    let comment = match config.history.first() {
        Some(first) if config.comment.is_empty() => first.comment.clone(),
        _ => config.comment,
    };
    let mut run = config.config;
    let healthcheck = run.healthcheck.take();
    let (user, labels) = (run.user.clone(), run.labels.clone());
    Ok(Inspection {
        id: image.record.id.to_string(),
        digest: image.digest(),
        repo_tags: image.repo_tags(),
        repo_digests: image.repo_digests(),
        parent: String::new(),
        comment,
        created: config.created.map(Moment),
        config: run,
        version: config.docker_version,
        author: config.author,
        architecture: config.architecture,
        os: config.os,
        size: image.record.size,
        virtual_size: image.record.size,
        graph_driver: graph_driver(store, &image.record)?,
        root_fs: InspectedRootFs { r#type: kind, layers: diff_ids },
        labels: Some(labels).filter(|labels| !labels.is_empty()),
        annotations: manifest.annotations,
        manifest_type: manifest.family.manifest_type(),
        user,
        history: config.history,
        names_history: image.names_history(store),
        last_used: last_used(store, &image).map(|time| Moment(time.to_string())),
        healthcheck,
    })
}

fn graph_driver(store: &Store, record: &ImageRecord) -> Result<GraphDriver> {
    let mut folders = Vec::new();
    for id in record.mount_layers() {
        if let Some(layer) = store.layer(&id)? {
            folders.push(layer.diff().display().to_string());
        }
    }
    let mut data = BTreeMap::new();
    if let Some(top) = folders.pop() {
        data.insert("UpperDir", top);
    }
    folders.reverse();
    if !folders.is_empty() {
        data.insert("LowerDir", folders.join(":"));
    }
    Ok(GraphDriver { name: "overlay", data })
}

/// One step of an image's history, as `history` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The image that ends with this step, if it is here.
    pub id: Option<ImageId>,
    /// The names of images that end here.
    pub tags: Vec<String>,
    /// What was done.
    pub entry: HistoryEntry,
    /// Bytes of its layer.
    pub size: u64,
}

/// The steps of an image, the last one first.
pub fn history(store: &Store, record: &ImageRecord) -> Result<Vec<Step>> {
    let config = details(store, record)?.config;
    let others = list(store)?;
    let mut left = layers_of(record);
    let mut used: Vec<ImageId> = Vec::new();
    let mut steps = Vec::new();
    for entry in config.history.into_iter().rev() {
        let here: Vec<&Image> = others.iter().filter(|image| layers_of(&image.record) == left).collect();
        // Of several images with the same layers the one that was asked for.
        let first = here.iter().find(|image| image.record.id == record.id).or(here.first());
        let id = first.map(|image| image.record.id.clone()).filter(|id| !used.contains(id));
        used.extend(id.clone());
        let tags = here.iter().flat_map(|image| image.names()).collect();
        let mut size = 0;
        if !entry.empty_layer
            && let Some(layer) = left.pop()
        {
            size = store.layer(&layer)?.map_or(0, |layer| layer.record().archive_size);
        }
        steps.push(Step { id, tags, entry, size });
    }
    Ok(steps)
}
