//! docker-archive: `manifest.json` lists images by config file, names and layer files.

use serde::Deserialize;

use super::ArchiveError;
use super::bring::Supply;
use super::files::{Content, Files};
use super::layout::Failure;
use super::load::{Found, Packed};
use crate::image::config::ImageConfig;
use crate::image::error::Refusal;
use crate::image::manifest::{Descriptor, Family, Manifest, media_type, null_as_default};
use crate::image::pull::write::Documents;
use crate::image::reference::Reference;
use crate::store::{Digest, Hasher};

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default, deserialize_with = "null_as_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    layers: Vec<String>,
}

/// Finds the images of an archive: all, or the one of a name or of a number (`@1`).
pub(super) fn images(files: &Files, wanted: Option<&str>) -> Result<Vec<Found>, Failure> {
    let bytes = files.document("manifest.json")?;
    let items: Vec<Item> = serde_json::from_slice(&bytes)
        .map_err(|source| ArchiveError::Json { name: "manifest.json".to_owned(), source })?;
    let number = wanted.and_then(|wanted| wanted.strip_prefix('@')?.parse::<usize>().ok());
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let mut names = Vec::new();
        for tag in &item.repo_tags {
            // A name that is none is refused with the whole archive: nobody writes one by accident.
            let name =
                Reference::parse(tag).map_err(|_| ArchiveError::Refused("RepoTags has an invalid name"))?;
            names.push(name.with_default_tag().to_string());
        }
        let is_wanted = match (wanted, number) {
            (None, _) => true,
            (Some(_), Some(number)) => index == number,
            (Some(wanted), None) => {
                let wanted =
                    Reference::parse(wanted).map(|r| r.with_default_tag().to_string()).unwrap_or_default();
                names.contains(&wanted)
            }
        };
        if is_wanted {
            found.push(one(files, item, names)?);
        }
    }
    match (found.is_empty(), wanted) {
        (true, Some(wanted)) => Err(ArchiveError::NoSuchImage(wanted.to_owned()).into()),
        (true, None) => Err(ArchiveError::NoSuchImage("an image".to_owned()).into()),
        (false, _) => Ok(found),
    }
}

fn one(files: &Files, item: &Item, names: Vec<String>) -> Result<Found, Failure> {
    let config_bytes = files.document(&item.config)?;
    let config = ImageConfig::parse(&config_bytes).map_err(Refusal::Config)?;
    let diff_ids = &config.rootfs.diff_ids;
    if item.layers.len() != diff_ids.len() {
        return Err(Refusal::LayerCount { layers: item.layers.len(), diff_ids: diff_ids.len() }.into());
    }
    let mut contents = Vec::new();
    let mut layers = Vec::new();
    for (name, diff_id) in item.layers.iter().zip(diff_ids) {
        let content = files.get(name)?;
        layers.push(descriptor(&content, diff_id)?);
        contents.push(Supply::Content(content));
    }
    let config_descriptor =
        Descriptor::new(media_type::DOCKER_CONFIG, Digest::of(&config_bytes), config_bytes.len() as u64);
    let manifest = Manifest {
        family: Family::Docker,
        config: config_descriptor,
        layers,
        annotations: std::collections::BTreeMap::default(),
    };
    // The manifest that the archive does not have. The same image always gets the same one.
    let manifest_bytes = manifest.to_json();
    let manifest_digest = Digest::of(&manifest_bytes);
    let image = names.first().cloned().unwrap_or_else(|| item.config.clone());
    let documents = Documents {
        image,
        manifest_bytes,
        manifest_digest: manifest_digest.clone(),
        manifest,
        indexes: vec![],
        config_bytes,
        config,
    };
    Ok(Found { top: manifest_digest, names, image: Packed { documents, contents } })
}

/// Layers are plain archives, whose digest the config names; a compressed one has a digest of its own.
fn descriptor(content: &Content, diff_id: &Digest) -> Result<Descriptor, ArchiveError> {
    let mut start = [0; 4];
    let count = content.read_at(&mut start, 0)?;
    let media = match &start[..count] {
        [0x1f, 0x8b, ..] => media_type::DOCKER_LAYER,
        [0x28, 0xb5, 0x2f, 0xfd] => media_type::DOCKER_LAYER_ZSTD,
        _ => return Ok(Descriptor::new(media_type::DOCKER_LAYER_TAR, diff_id.clone(), content.size())),
    };
    let mut hasher = Hasher::sha256();
    let mut buffer = vec![0; 256 << 10];
    let mut position = 0;
    loop {
        let count = content.read_at(&mut buffer, position)?;
        if count == 0 {
            return Ok(Descriptor::new(media, hasher.finish(), content.size()));
        }
        hasher.update(&buffer[..count]);
        position += count as u64;
    }
}
