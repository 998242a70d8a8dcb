//! Manifests and indexes, in the OCI form and in Docker's schema 2.
//!
//! The bytes of a document are its identity: they are stored and served as received, and never written again from
//! these types. [`Document::parse`] is the one gate for bytes from a registry or an archive. It refuses what two
//! readers could understand differently (CVE-2021-41190): a document with both `layers` and `manifests`, and one
//! whose `mediaType` is not the type it was served as.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::platform::Platform;
use crate::store::Digest;

/// The largest manifest, index or config that is read (the limit of containers/image).
pub const DOCUMENT_MAX: u64 = 4 << 20;

/// Media types of documents, as they stand in `Accept` and `Content-Type`.
pub mod media_type {
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image config.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, uncompressed.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker manifest list.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker image manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker image config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker layer, zstd: nobody's standard, but written by BuildKit.
    pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
    /// Docker layer, gzip, that may only come from its vendor.
    pub const DOCKER_FOREIGN_LAYER: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    /// Docker layer, uncompressed.
    pub const DOCKER_LAYER_TAR: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker image manifest, schema 1: refused.
    pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
    /// Docker image manifest, schema 1 with signatures: refused.
    pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
}

/// Why bytes are no usable manifest or index.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// No JSON, or not of the expected shape.
    #[error("invalid manifest")]
    Json(#[source] serde_json::Error),
    /// Docker schema 1, which no current tool makes and which has no config.
    #[error(
        "unsupported manifest: Docker schema 1 images are not supported, push the image again with a current tool"
    )]
    Schema1,
    /// A media type that is neither manifest nor index.
    #[error("unsupported manifest media type {0:?}")]
    MediaType(String),
    /// Readable both as a manifest and as an index, or as neither.
    #[error("ambiguous manifest: it must have either `layers` and `config` or `manifests`")]
    Ambiguous,
    /// Served as one type, says another one of itself.
    #[error("manifest says it is {stated:?} but was served as {served:?}")]
    TypeMismatch {
        /// `mediaType` inside the document.
        stated: String,
        /// `Content-Type`, or the media type of the descriptor that leads here.
        served: String,
    },
    /// More layers than any file system can stack.
    #[error("manifest lists {0} layers")]
    TooManyLayers(usize),
}

/// Reference to content by digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Free annotations.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// In an index: which platform the manifest is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// In OCI 1.1: the artifact type of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor without anything that may be left out.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }
}

/// OCI or Docker: which of the two families a document is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `application/vnd.oci.image.*`
    Oci,
    /// `application/vnd.docker.distribution.*`
    Docker,
}

/// The manifest of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// OCI or Docker.
    pub family: Family,
    /// The image config, whose digest is the image's id.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests, one a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// OCI or Docker.
    pub family: Family,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// Annotations of the index.
    pub annotations: BTreeMap<String, String>,
}

/// What a manifest URL or an index entry leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Box<Manifest>),
    /// One image for each of several platforms.
    Index(Index),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    #[serde(default, deserialize_with = "null_as_default")]
    annotations: BTreeMap<String, String>,
    // Only schema 1 has these two.
    fs_layers: Option<serde::de::IgnoredAny>,
    history: Option<serde::de::IgnoredAny>,
}

/// The kernel stacks at most 500 overlay layers; no tool makes more than 127.
const LAYERS_MAX: usize = 500;

impl Document {
    /// Parses a document that was served as `served` (a `Content-Type` or the media type of a descriptor).
    pub fn parse(bytes: &[u8], served: Option<&str>) -> Result<Self, ManifestError> {
        let served = served.map(|s| s.split(';').next().unwrap_or(s).trim());
        if matches!(served, Some(media_type::DOCKER_SCHEMA1 | media_type::DOCKER_SCHEMA1_SIGNED)) {
            return Err(ManifestError::Schema1);
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        if wire.schema_version == Some(1) || wire.fs_layers.is_some() || wire.history.is_some() {
            return Err(ManifestError::Schema1);
        }
        // Registries in front of plain file servers say text/plain or application/json, which tells nothing.
        let served = served
            .filter(|s| !matches!(*s, "" | "application/json" | "text/plain" | "application/octet-stream"));
        if let (Some(stated), Some(served)) = (wire.media_type.as_deref(), served)
            && stated != served
        {
            return Err(ManifestError::TypeMismatch { stated: stated.to_owned(), served: served.to_owned() });
        }
        Self::from_wire(wire, served)
    }

    fn from_wire(wire: Wire, served: Option<&str>) -> Result<Self, ManifestError> {
        let declared = wire.media_type.as_deref().or(served).map(classify).transpose()?;
        match (wire.config, wire.layers, wire.manifests) {
            (Some(config), Some(layers), None) => {
                if layers.len() > LAYERS_MAX {
                    return Err(ManifestError::TooManyLayers(layers.len()));
                }
                let family = match declared {
                    Some((family, Shape::Manifest)) => family,
                    Some((_, Shape::Index)) => return Err(ManifestError::Ambiguous),
                    None => Family::Oci,
                };
                Ok(Self::Manifest(Box::new(Manifest {
                    family,
                    config,
                    layers,
                    annotations: wire.annotations,
                })))
            }
            (None, None, Some(manifests)) => {
                let family = match declared {
                    Some((family, Shape::Index)) => family,
                    Some((_, Shape::Manifest)) => return Err(ManifestError::Ambiguous),
                    None => Family::Oci,
                };
                Ok(Self::Index(Index { family, manifests, annotations: wire.annotations }))
            }
            _ => Err(ManifestError::Ambiguous),
        }
    }
}

impl Index {
    /// The document in JSON. The same index always gives the same bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut value = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": self.family.index_type(),
            "manifests": self.manifests,
        });
        if !self.annotations.is_empty() {
            value["annotations"] = serde_json::json!(self.annotations);
        }
        serde_json::to_vec(&value).expect("an index serialises")
    }
}

impl Manifest {
    /// The document in JSON. The same manifest always gives the same bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut value = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": self.family.manifest_type(),
            "config": self.config,
            "layers": self.layers,
        });
        if !self.annotations.is_empty() {
            value["annotations"] = serde_json::json!(self.annotations);
        }
        serde_json::to_vec(&value).expect("a manifest serialises")
    }
}

enum Shape {
    Manifest,
    Index,
}

fn classify(media: &str) -> Result<(Family, Shape), ManifestError> {
    match media {
        media_type::OCI_MANIFEST => Ok((Family::Oci, Shape::Manifest)),
        media_type::OCI_INDEX => Ok((Family::Oci, Shape::Index)),
        media_type::DOCKER_MANIFEST => Ok((Family::Docker, Shape::Manifest)),
        media_type::DOCKER_INDEX => Ok((Family::Docker, Shape::Index)),
        media_type::DOCKER_SCHEMA1 | media_type::DOCKER_SCHEMA1_SIGNED => Err(ManifestError::Schema1),
        _ => Err(ManifestError::MediaType(media.to_owned())),
    }
}

impl Family {
    /// The media type of a manifest of this family.
    #[must_use]
    pub fn manifest_type(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_MANIFEST,
            Self::Docker => media_type::DOCKER_MANIFEST,
        }
    }

    /// The media type of an index of this family.
    #[must_use]
    pub fn index_type(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_INDEX,
            Self::Docker => media_type::DOCKER_INDEX,
        }
    }
}

/// Go writes an empty map or list as `null`.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1";

    fn descriptor(media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","size":3,"digest":"sha256:{HEX}"}}"#)
    }

    fn manifest(media_type: &str) -> String {
        let (config, layer) = (descriptor(media_type::OCI_CONFIG), descriptor(media_type::OCI_LAYER_GZIP));
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{config},"layers":[{layer}],"annotations":null}}"#
        )
    }

    #[test]
    fn reads_both_families() {
        for (media, family) in
            [(media_type::OCI_MANIFEST, Family::Oci), (media_type::DOCKER_MANIFEST, Family::Docker)]
        {
            for served in [None, Some(media), Some("application/json"), Some("text/plain; charset=utf-8")] {
                match Document::parse(manifest(media).as_bytes(), served).unwrap() {
                    Document::Manifest(m) => assert_eq!((m.family, m.layers.len()), (family, 1)),
                    Document::Index(_) => panic!("{media} is no index"),
                }
            }
        }
        let entry = descriptor(media_type::OCI_MANIFEST);
        for (media, family) in
            [(media_type::OCI_INDEX, Family::Oci), (media_type::DOCKER_INDEX, Family::Docker)]
        {
            let text = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
            match Document::parse(text.as_bytes(), Some(media)).unwrap() {
                Document::Index(index) => assert_eq!((index.family, index.manifests.len()), (family, 1)),
                Document::Manifest(_) => panic!("{media} is no manifest"),
            }
        }
    }

    #[test]
    fn s67_refuses_documents_with_two_meanings() {
        let (config, layer) = (descriptor(media_type::OCI_CONFIG), descriptor(media_type::OCI_LAYER));
        for (text, served) in [
            (format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}],"manifests":[]}}"#), None),
            (format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#), Some(media_type::OCI_INDEX)),
            (r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(), Some(media_type::OCI_MANIFEST)),
            (r#"{"schemaVersion":2}"#.to_owned(), None),
            (r#"{"schemaVersion":2,"layers":[]}"#.to_owned(), None),
        ] {
            assert!(
                matches!(Document::parse(text.as_bytes(), served), Err(ManifestError::Ambiguous)),
                "{text}"
            );
        }
        let mismatch =
            Document::parse(manifest(media_type::OCI_MANIFEST).as_bytes(), Some(media_type::DOCKER_MANIFEST));
        assert!(matches!(mismatch, Err(ManifestError::TypeMismatch { .. })));
    }

    #[test]
    fn refuses_what_is_not_a_manifest() {
        for (text, served, what) in [
            (r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#, None, "schema 1"),
            (r#"{"schemaVersion":1}"#, Some(media_type::DOCKER_SCHEMA1_SIGNED), "schema 1"),
            ("<html>", None, "invalid manifest"),
            ("", None, "invalid manifest"),
            (r#"{"schemaVersion":2,"mediaType":"a/b","layers":[]}"#, None, "media type"),
            (r#"{"layers":[{"mediaType":"a","size":-1,"digest":"sha256:x"}]}"#, None, "invalid manifest"),
        ] {
            let error = Document::parse(text.as_bytes(), served).unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
