//! From the documents of an image to its record in the store.

use crate::image::config::ImageConfig;
use crate::image::error::{Error, Refusal, Result};
use crate::image::manifest::{Manifest, media_type};
use crate::store::record::VERSION;
use crate::store::{Digest, ImageId, ImageLayer, ImageRecord, Store};

use super::layer::{LayerJob, known_blob};

/// The documents of one image, checked against their digests.
#[derive(Debug, Clone)]
pub(crate) struct Documents {
    /// The image's name, for messages.
    pub(crate) image: String,
    /// The bytes of its manifest.
    pub(crate) manifest_bytes: Vec<u8>,
    /// The digest of the manifest.
    pub(crate) manifest_digest: Digest,
    /// The manifest.
    pub(crate) manifest: Manifest,
    /// Indexes that led to it.
    pub(crate) indexes: Vec<Vec<u8>>,
    /// The bytes of its config.
    pub(crate) config_bytes: Vec<u8>,
    /// The config.
    pub(crate) config: ImageConfig,
}

impl Documents {
    /// Checks that manifest and config belong together and that every layer is of a known kind (S57).
    pub(crate) fn layers(&self) -> Result<Vec<LayerJob>> {
        let refuse = |problem| Error::Refused { image: self.image.clone(), problem };
        check_config_type(&self.manifest.config.media_type).map_err(refuse)?;
        let (layers, diff_ids) = (&self.manifest.layers, &self.config.rootfs.diff_ids);
        if layers.len() != diff_ids.len() {
            return Err(refuse(Refusal::LayerCount { layers: layers.len(), diff_ids: diff_ids.len() }));
        }
        if let Some(layer) = layers.iter().find(|layer| !is_layer_type(&layer.media_type)) {
            return Err(refuse(Refusal::LayerType(layer.media_type.clone())));
        }
        let jobs = layers.iter().zip(diff_ids);
        Ok(jobs.map(|(layer, id)| LayerJob { descriptor: layer.clone(), diff_id: id.clone() }).collect())
    }

    /// Writes the record. All layers must be in the store.
    pub(crate) fn write(self, store: &Store) -> Result<ImageRecord> {
        store.put_blob(&self.manifest_bytes)?;
        let mut manifests = Vec::new();
        for index in &self.indexes {
            manifests.push(store.put_blob(index)?);
        }
        let mut layers = Vec::new();
        for job in self.layers()? {
            layers.push(image_layer(store, job)?);
        }
        let record = ImageRecord {
            version: VERSION,
            id: ImageId::of(&self.config_bytes),
            manifest: Some(self.manifest_digest),
            manifests,
            layers,
            attributes: None,
            size: 0,
            created: self.config.created.clone(),
            architecture: self.config.architecture.clone(),
            os: self.config.os.clone(),
            variant: self.config.variant.clone(),
            labels: self.config.config.labels.clone(),
            list: false,
            sources: std::collections::BTreeMap::new(),
        };
        Ok(store.put_image(record, &self.config_bytes)?)
    }
}

/// A layer with its blob: the one of the manifest, or another one of the same layer.
fn image_layer(store: &Store, job: LayerJob) -> Result<ImageLayer> {
    let LayerJob { descriptor, diff_id } = job;
    let (blob, media_type) = if store.blob_path(&descriptor.digest).exists() {
        (Some(descriptor.digest), Some(descriptor.media_type))
    } else {
        known_blob(store, &diff_id)?.map_or((None, None), |(blob, media)| (Some(blob), media))
    };
    Ok(ImageLayer { diff_id, blob, media_type })
}

/// Each layer once: an image may use one several times.
pub(crate) fn distinct(jobs: &[LayerJob]) -> Vec<LayerJob> {
    let mut seen = std::collections::HashSet::new();
    jobs.iter().filter(|job| seen.insert(job.diff_id.clone())).cloned().collect()
}

fn check_config_type(media: &str) -> Result<(), Refusal> {
    match media {
        media_type::OCI_CONFIG | media_type::DOCKER_CONFIG => Ok(()),
        // Some old tools wrote a plain JSON type, or nothing.
        "" | "application/json" | "application/octet-stream" => Ok(()),
        other => Err(Refusal::Artifact(other.to_owned())),
    }
}

/// Tar archives with the compressions that the decompressor tells apart by itself.
fn is_layer_type(media: &str) -> bool {
    let Some(base) = media.split(';').next() else { return false };
    matches!(
        base,
        media_type::OCI_LAYER
            | media_type::OCI_LAYER_GZIP
            | media_type::OCI_LAYER_ZSTD
            | media_type::DOCKER_LAYER
            | media_type::DOCKER_LAYER_TAR
            | media_type::DOCKER_LAYER_ZSTD
            | media_type::DOCKER_FOREIGN_LAYER
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::manifest::{Descriptor, Family};

    fn descriptor(media: &str) -> Descriptor {
        let text =
            format!(r#"{{"mediaType":"{media}","size":1,"digest":"{}"}}"#, Digest::of(media.as_bytes()));
        serde_json::from_str(&text).unwrap()
    }

    fn documents(config: &str, layers: &[&str], diff_ids: usize) -> Documents {
        let mut parsed = ImageConfig::default();
        parsed.rootfs.diff_ids = (0..diff_ids).map(|i| Digest::of(&[u8::try_from(i).unwrap()])).collect();
        Documents {
            image: "x".into(),
            manifest_bytes: vec![],
            manifest_digest: Digest::of(b""),
            manifest: Manifest {
                family: Family::Oci,
                config: descriptor(config),
                layers: layers.iter().map(|layer| descriptor(layer)).collect(),
                annotations: std::collections::BTreeMap::default(),
            },
            indexes: vec![],
            config_bytes: vec![],
            config: parsed,
        }
    }

    #[test]
    fn s57_config_and_manifest_must_agree() {
        let gzip = media_type::OCI_LAYER_GZIP;
        assert_eq!(documents(media_type::OCI_CONFIG, &[gzip, gzip], 2).layers().unwrap().len(), 2);
        assert_eq!(documents(media_type::OCI_CONFIG, &[], 0).layers().unwrap().len(), 0);
        for (config, layers, diff_ids, problem) in [
            (media_type::OCI_CONFIG, vec![gzip], 2, "1 layers, but the config names 2"),
            (media_type::OCI_CONFIG, vec![gzip, gzip], 1, "2 layers, but the config names 1"),
            ("application/vnd.cncf.helm.config.v1+json", vec![gzip], 1, "not a container image"),
            (
                media_type::OCI_CONFIG,
                vec!["application/vnd.oci.image.layer.v1.tar+gzip+encrypted"],
                1,
                "unsupported layer type",
            ),
        ] {
            let error = documents(config, &layers, diff_ids).layers().unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
