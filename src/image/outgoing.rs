//! An image on its way out of the store: its documents, checked, and what becomes of each layer.
//!
//! What was pulled leaves as it came, byte for byte, and so keeps its digests. Layers that were made here are plain
//! archives and are compressed on the way; `--compression-format` asks for that with all layers.

use super::chunked::{self, Annotations};
use super::compress::{Algorithm, Settings};
use super::config::ImageConfig;
use super::error::{Error, Refusal, Result};
use super::manifest::{DOCUMENT_MAX, Descriptor, Document, Family, Manifest, media_type};
use crate::store::{self, Digest, ImageRecord, Store};

/// An image with its documents.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    /// Its record.
    pub(crate) record: ImageRecord,
    /// Its manifest as it is stored.
    pub(crate) manifest_bytes: Vec<u8>,
    /// The same; the layers are those blobs that the store has.
    pub(crate) manifest: Manifest,
    /// Its config as it is stored.
    pub(crate) config_bytes: Vec<u8>,
    /// The same.
    pub(crate) config: ImageConfig,
}

/// How one layer leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// As the blob that it is.
    AsIs(Descriptor),
    /// Compressed anew.
    Encoded {
        /// The blob in the store.
        blob: Digest,
        /// The layer.
        diff_id: Digest,
        /// How it is compressed.
        settings: Settings,
    },
}

/// What the caller wants of compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Whatever is plain is compressed so.
    Plain(Settings),
    /// Everything that is not compressed so already is compressed anew.
    All(Settings),
}

impl Outgoing {
    /// Reads the documents of an image.
    pub(crate) fn read(store: &Store, record: ImageRecord) -> Result<Self> {
        let refuse = |problem| Error::Refused { image: record.id.to_string(), problem };
        let digest =
            record.manifest.clone().ok_or_else(|| missing(&record, "manifest", &record.id.digest()))?;
        let mut manifest_bytes = store.read_blob(&digest, DOCUMENT_MAX)?;
        let mut manifest = match Document::parse(&manifest_bytes, None).map_err(|e| refuse(e.into()))? {
            Document::Manifest(manifest) => *manifest,
            Document::Index(_) => return Err(refuse(Refusal::Nested)),
        };
        let config_bytes = store.read_blob(&record.id.digest(), DOCUMENT_MAX)?;
        let config = ImageConfig::parse(&config_bytes).map_err(|e| refuse(e.into()))?;
        if manifest.layers.len() != record.layers.len() {
            let (layers, diff_ids) = (manifest.layers.len(), record.layers.len());
            return Err(refuse(Refusal::LayerCount { layers, diff_ids }));
        }
        // Where the blob is another one than the manifest's, what is written says so.
        let mut as_stored = manifest.clone();
        for (descriptor, layer) in as_stored.layers.iter_mut().zip(&record.layers) {
            let blob = layer.blob.as_ref().ok_or_else(|| missing(&record, "blob", &descriptor.digest))?;
            if descriptor.digest != *blob {
                let file = store.blob(blob)?.ok_or_else(|| missing(&record, "blob", blob))?;
                descriptor.size = file.metadata().map_or(0, |meta| meta.len());
                descriptor.digest = blob.clone();
                chunked::forget(&mut descriptor.annotations);
                if let Some(media_type) = &layer.media_type {
                    descriptor.media_type.clone_from(media_type);
                }
            }
        }
        if as_stored != manifest {
            manifest_bytes = as_stored.to_json();
            manifest = as_stored;
        }
        Ok(Self { manifest_bytes, manifest, config_bytes, config, record })
    }

    /// What becomes of each layer.
    pub(crate) fn leaving(&self, wanted: Wanted) -> Vec<Leaving> {
        let layers = self.manifest.layers.iter().zip(&self.record.layers);
        let each = |(descriptor, layer): (&Descriptor, &store::ImageLayer)| {
            let is = compression_of(descriptor);
            let settings = match wanted {
                Wanted::Plain(settings) if is == Some(None) => settings,
                Wanted::All(settings) if is.is_some_and(|is| is != Some(settings.algorithm)) => settings,
                Wanted::Plain(_) | Wanted::All(_) => {
                    return Leaving::AsIs(descriptor.clone());
                }
            };
            Leaving::Encoded { blob: descriptor.digest.clone(), diff_id: layer.diff_id.clone(), settings }
        };
        layers.map(each).collect()
    }

    /// Whether some layer cannot be in a Docker image.
    pub(crate) fn needs_oci(&self, wanted: Wanted) -> bool {
        self.leaving(wanted).iter().any(|layer| match layer {
            Leaving::Encoded { settings, .. } => settings.algorithm != Algorithm::Gzip,
            // BuildKit's own type for Docker images stays in them.
            Leaving::AsIs(layer) => layer.media_type == media_type::OCI_LAYER_ZSTD,
        })
    }

    /// The manifest with these layers, in `family`; the stored bytes where nothing is different.
    pub(crate) fn manifest_with(&self, layers: Vec<Descriptor>, family: Family) -> (Vec<u8>, Family) {
        let mut manifest = Manifest { layers, ..self.manifest.clone() };
        if family != manifest.family {
            manifest.family = family;
            let config = match family {
                Family::Oci => media_type::OCI_CONFIG,
                Family::Docker => media_type::DOCKER_CONFIG,
            };
            config.clone_into(&mut manifest.config.media_type);
        }
        for layer in &mut manifest.layers {
            layer.media_type = layer_type(&layer.media_type, family).to_owned();
        }
        if manifest == self.manifest {
            return (self.manifest_bytes.clone(), family);
        }
        (manifest.to_json(), family)
    }
}

/// A part of an image that the store does not have.
pub(crate) fn missing(record: &ImageRecord, what: &'static str, digest: &Digest) -> Error {
    let digest = Box::new(digest.clone());
    Error::Store(store::Error::Incomplete { image: record.id.to_string(), what, digest })
}

/// How a layer is compressed; nothing for a type that is not known.
fn compression_of(layer: &Descriptor) -> Option<Option<Algorithm>> {
    match layer_type(&layer.media_type, Family::Oci) {
        media_type::OCI_LAYER => Some(None),
        media_type::OCI_LAYER_GZIP => Some(Some(Algorithm::Gzip)),
        media_type::OCI_LAYER_ZSTD if layer.annotations.contains_key(chunked::TABLE_DIGEST) => {
            Some(Some(Algorithm::ZstdChunked))
        }
        media_type::OCI_LAYER_ZSTD => Some(Some(Algorithm::Zstd)),
        _ => None,
    }
}

/// How a form of a layer is remembered. The number changes whenever the same settings give other bytes.
pub(crate) fn method(settings: Settings) -> String {
    let name = match settings.algorithm {
        Algorithm::Gzip => "gzip",
        Algorithm::Zstd => "zstd",
        Algorithm::ZstdChunked => "zstd:chunked",
    };
    format!("{name}-{}-v2", settings.level())
}

/// Describes a layer that was compressed so.
pub(crate) fn described(
    algorithm: Algorithm,
    family: Family,
    (digest, size): (Digest, u64),
    annotations: Annotations,
) -> Descriptor {
    Descriptor { annotations, ..Descriptor::new(type_of(algorithm, family), digest, size) }
}

/// The type of a layer with that compression.
pub(crate) fn type_of(algorithm: Algorithm, family: Family) -> &'static str {
    let oci = match algorithm {
        Algorithm::Gzip => media_type::OCI_LAYER_GZIP,
        Algorithm::Zstd | Algorithm::ZstdChunked => media_type::OCI_LAYER_ZSTD,
    };
    layer_type(oci, family)
}

/// The type of a layer in a family.
pub(crate) fn layer_type(media: &str, family: Family) -> &str {
    match (media, family) {
        (media_type::OCI_LAYER, Family::Docker) => media_type::DOCKER_LAYER_TAR,
        (media_type::OCI_LAYER_GZIP, Family::Docker) => media_type::DOCKER_LAYER,
        (media_type::OCI_LAYER_ZSTD, Family::Docker) => media_type::DOCKER_LAYER_ZSTD,
        (media_type::DOCKER_LAYER_TAR, Family::Oci) => media_type::OCI_LAYER,
        (media_type::DOCKER_LAYER | media_type::DOCKER_FOREIGN_LAYER, Family::Oci) => {
            media_type::OCI_LAYER_GZIP
        }
        (media_type::DOCKER_LAYER_ZSTD, Family::Oci) => media_type::OCI_LAYER_ZSTD,
        (other, _) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_layers_in_both_families() {
        for (oci, docker) in [
            (media_type::OCI_LAYER, media_type::DOCKER_LAYER_TAR),
            (media_type::OCI_LAYER_GZIP, media_type::DOCKER_LAYER),
            (media_type::OCI_LAYER_ZSTD, media_type::DOCKER_LAYER_ZSTD),
        ] {
            assert_eq!(layer_type(oci, Family::Docker), docker);
            assert_eq!(layer_type(docker, Family::Oci), oci);
            assert_eq!(layer_type(oci, Family::Oci), oci);
        }
        let layer = |media: &str| Descriptor::new(media, Digest::of(b""), 0);
        assert_eq!(compression_of(&layer(media_type::DOCKER_LAYER)), Some(Some(Algorithm::Gzip)));
        assert_eq!(compression_of(&layer("application/x")), None);
        let mut zstd = layer(media_type::OCI_LAYER_ZSTD);
        assert_eq!(compression_of(&zstd), Some(Some(Algorithm::Zstd)));
        zstd.annotations.insert(chunked::TABLE_DIGEST.to_owned(), String::new());
        assert_eq!(compression_of(&zstd), Some(Some(Algorithm::ZstdChunked)));
    }
}
