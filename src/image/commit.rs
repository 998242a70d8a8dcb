//! A new image from an old one, a layer and a changed config: what `commit` writes.
//!
//! Fields of the old config that are not known here stay as they are. The same input gives the same bytes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::config::{HistoryEntry, ImageConfig, RunConfig};
use super::error::{Error, Refusal, Result};
use super::manifest::{DOCUMENT_MAX, Document, Family, Manifest, media_type};
use super::outgoing::layer_type;
use super::platform::Platform;
use crate::store::record::VERSION;
use crate::store::{Committed, ImageId, ImageLayer, ImageRecord, Store};

/// What becomes an image.
#[derive(Debug)]
pub struct CommitRequest<'a> {
    /// The image that the layer lies on; none for an image of this one layer.
    pub base: Option<&'a ImageRecord>,
    /// The new layer.
    pub layer: Committed,
    /// Only the new layer: it holds everything.
    pub squash: bool,
    /// How containers of it are run.
    pub config: RunConfig,
    /// `--author`
    pub author: Option<String>,
    /// The step as history shows it.
    pub history: HistoryEntry,
    /// Docker's types of documents, not OCI's.
    pub docker: bool,
    /// Operating system, architecture and variant, where there is no base.
    pub platform: (String, String, Option<String>),
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

impl CommitRequest<'_> {
    /// An image of `layer` alone, for this machine, that nobody has run anything in.
    #[must_use]
    pub fn of_layer(layer: Committed, created: String, comment: String) -> Self {
        let host = Platform::host();
        Self {
            base: None,
            layer,
            squash: true,
            config: RunConfig::default(),
            author: None,
            history: HistoryEntry { created: Some(created), comment, ..HistoryEntry::default() },
            docker: false,
            platform: (host.os, host.architecture, host.variant),
            annotations: BTreeMap::new(),
        }
    }
}

/// Writes the documents of the image and its record.
///
/// # Errors
/// When the base is damaged, or the store fails.
pub fn commit(store: &Store, request: CommitRequest<'_>) -> Result<ImageRecord> {
    let old = match request.base {
        Some(base) => store.read_blob(&base.id.digest(), DOCUMENT_MAX)?,
        None => b"{}".to_vec(),
    };
    let refuse = |problem: Refusal| Error::Refused {
        image: request.base.map(|base| base.id.to_string()).unwrap_or_default(),
        problem,
    };
    let bytes = config(&old, &request).map_err(|e| refuse(e.into()))?;
    let config = ImageConfig::parse(&bytes).map_err(|e| refuse(e.into()))?;
    let media = if request.docker { media_type::DOCKER_LAYER_TAR } else { media_type::OCI_LAYER };
    let new = ImageLayer {
        diff_id: request.layer.digest.clone(),
        blob: Some(request.layer.digest.clone()),
        media_type: Some(media.to_owned()),
    };
    let mut layers = match request.base {
        Some(base) if !request.squash => base.layers.clone(),
        _ => Vec::new(),
    };
    layers.push(new);
    let manifest = manifest(store, &request, &bytes, media)?;
    let manifest = manifest.map(|bytes| store.put_blob(&bytes)).transpose()?;
    let record = ImageRecord {
        version: VERSION,
        id: ImageId::of(&bytes),
        manifest,
        manifests: Vec::new(),
        layers,
        attributes: None,
        size: 0,
        created: config.created.clone(),
        architecture: config.architecture.clone(),
        os: config.os.clone(),
        variant: config.variant.clone(),
        labels: config.config.labels.clone(),
        list: false,
        sources: BTreeMap::new(),
    };
    Ok(store.put_image(record, &bytes)?)
}

/// The new config document.
fn config(old: &[u8], request: &CommitRequest<'_>) -> std::result::Result<Vec<u8>, serde_json::Error> {
    let parsed = ImageConfig::parse(old)?;
    let mut document: Value = serde_json::from_slice(old)?;
    let (os, architecture, variant) = &request.platform;
    if request.base.is_none() {
        document = json!({ "architecture": architecture, "os": os });
        if let Some(variant) = variant {
            document["variant"] = json!(variant);
        }
    }
    document["created"] = json!(request.history.created);
    if let Some(author) = &request.author {
        document["author"] = json!(author);
    }
    // Unknown fields of the run config stay; known ones are those of the request, and gone if empty.
    let mut run = match document.get("config") {
        Some(Value::Object(run)) => run.clone(),
        _ => serde_json::Map::new(),
    };
    for key in [
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "Healthcheck",
        "OnBuild",
        "Shell",
        "ArgsEscaped",
        "StopTimeout",
    ] {
        run.remove(key);
    }
    if let Value::Object(known) = serde_json::to_value(&request.config)? {
        run.extend(known);
    }
    document["config"] = Value::Object(run);
    let mut diff_ids = parsed.rootfs.diff_ids;
    let mut history = parsed.history;
    if request.squash {
        diff_ids.clear();
        // The steps are told, but what they made is in the one layer now.
        history.iter_mut().for_each(|step| step.empty_layer = true);
    }
    diff_ids.push(request.layer.digest.clone());
    history.push(request.history.clone());
    document["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
    document["history"] = serde_json::to_value(history)?;
    if request.docker && !request.history.comment.is_empty() {
        document["comment"] = json!(request.history.comment);
    }
    serde_json::to_vec(&document)
}

/// The new manifest; none where the base has none that could be continued.
fn manifest(
    store: &Store,
    request: &CommitRequest<'_>,
    config: &[u8],
    new_type: &str,
) -> Result<Option<Vec<u8>>> {
    let mut layers = Vec::new();
    if let Some(base) = request.base
        && !request.squash
    {
        let Some(digest) = &base.manifest else { return Ok(None) };
        let bytes = store.read_blob(digest, DOCUMENT_MAX)?;
        let parsed = Document::parse(&bytes, None)
            .map_err(|error| Error::Refused { image: base.id.to_string(), problem: error.into() })?;
        let Document::Manifest(manifest) = parsed else { return Ok(None) };
        let Manifest { layers: old, .. } = *manifest;
        for descriptor in old {
            let family = if request.docker { Family::Docker } else { Family::Oci };
            let media = layer_type(&descriptor.media_type, family);
            layers.push(json!({ "mediaType": media, "digest": descriptor.digest, "size": descriptor.size }));
        }
    }
    let Committed { digest, size } = &request.layer;
    layers.push(json!({ "mediaType": new_type, "digest": digest, "size": size }));
    let (kind, config_type) = match request.docker {
        true => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG),
        false => (media_type::OCI_MANIFEST, media_type::OCI_CONFIG),
    };
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": { "mediaType": config_type, "digest": ImageId::of(config).digest(), "size": config.len() },
        "layers": layers,
    });
    if !request.annotations.is_empty() {
        document["annotations"] = json!(request.annotations);
    }
    Ok(Some(serde_json::to_vec(&document).expect("a document of text and numbers")))
}
