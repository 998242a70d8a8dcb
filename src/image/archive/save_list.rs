//! Save: a list of images with all of them, into an OCI layout or a `dir:`.
//!
//! In a layout the list and its images are OCI documents, as the format wants it. A `dir:` has the list as
//! `manifest.json` and the manifest of each image as `HEX.manifest.json`, which is how skopeo reads and writes it.

use std::path::PathBuf;

use super::Source;
use super::output::{Output, Problem, Saved};
use super::save::{DIR_VERSION, Naming, SaveLayers, SaveTarget, Saver, finish_layout};
use crate::image::attach;
use crate::image::encryption::EncryptionKeys;
use crate::image::error::{Error, Result};
use crate::image::list;
use crate::image::manifest::{Descriptor, Family, Index, Manifest, media_type};
use crate::image::outgoing::Outgoing;
use crate::image::progress::{Event, Progress};
use crate::image::pull::Context;
use crate::image::push::{bring, place_entry};
use crate::image::request::RegistryOptions;
use crate::store::{Digest, ImageRecord};

/// What is written, and where to.
#[derive(Debug)]
pub struct SaveListRequest {
    /// The list.
    pub list: ImageRecord,
    /// The images, too.
    pub all: bool,
    /// The family of documents in a `dir:`.
    pub family: Option<Family>,
    /// The layers.
    pub layers: SaveLayers,
    /// Whom they are encrypted for.
    pub encryption: EncryptionKeys,
    /// How images that are not here are fetched.
    pub registry: RegistryOptions,
    /// Where to.
    pub target: Source,
}

/// An entry of the list.
enum Member {
    Image(Box<Outgoing>),
    Artifact(Vec<u8>, Box<Manifest>),
}

/// Writes a list; returns the digest of its index.
///
/// # Errors
/// When the format has no lists, an image is nowhere, or the target cannot be written.
pub fn save_list(
    context: Context<'_>,
    request: &SaveListRequest,
    progress: &mut dyn Progress,
) -> Result<Digest> {
    let is_layout = match (&request.target, request.family) {
        (Source::DockerArchive { .. }, _) => {
            return Err(Error::Options(
                "an archive of docker's cannot hold a manifest list: use oci-archive",
            ));
        }
        (Source::Dir { .. }, Some(Family::Docker)) if !request.encryption.is_empty() => {
            return Err(Error::Options("images in Docker's formats cannot be encrypted: use an OCI format"));
        }
        (Source::Dir { .. }, _) => false,
        (_, Some(Family::Docker)) => {
            return Err(Error::Options("the format contradicts the transport, which has OCI documents only"));
        }
        _ => true,
    };
    let index = list::read(context.store, &request.list)?;
    let mut members = Vec::new();
    // All are here before anything is written.
    for entry in index.manifests.iter().filter(|_| request.all) {
        members.push(match attach::artifact(context.store, &request.list, &entry.digest)? {
            Some((bytes, manifest)) => Member::Artifact(bytes, Box::new(manifest)),
            None => {
                let image = bring(context, &request.list, &request.registry, &entry.digest, progress)?;
                Member::Image(Box::new(Outgoing::read(context.store, image)?))
            }
        });
    }
    let saver = Saver { context, images: &[], layers: request.layers, encryption: &request.encryption };
    let all = &|saver: &Saver<'_>, out: &mut dyn Output, progress: &mut dyn Progress| {
        let naming = if is_layout { Naming::LAYOUT } else { Naming::LIST_DIR };
        let mut index = index.clone();
        for (entry, member) in index.manifests.iter_mut().zip(&members) {
            write_member(saver, request, (entry, member), &naming, out, progress)?;
        }
        progress.event(Event::Manifest);
        write_index(index, request, is_layout, out)
    };
    let written = match &request.target {
        Source::OciArchive { path, .. } => saver.archive(SaveTarget::Path(path.clone()), progress, all),
        target => saver.folder(target.path(), progress, all),
    };
    let shown: PathBuf = request.target.path().to_owned();
    written.map_err(|problem: Problem| problem.of(Some(shown)))
}

fn write_member(
    saver: &Saver<'_>,
    request: &SaveListRequest,
    (entry, member): (&mut Descriptor, &Member),
    naming: &Naming,
    out: &mut dyn Output,
    progress: &mut dyn Progress,
) -> Saved {
    match member {
        Member::Image(image) => {
            let own = if request.encryption.is_empty() { image.manifest.family } else { Family::Oci };
            let family = match &request.target {
                Source::Dir { .. } => request.family.unwrap_or(own),
                _ => Family::Oci,
            };
            let written = saver.member(image, family, naming, out, progress)?;
            place_entry(entry, &written.manifest, written.has_zstd);
        }
        Member::Artifact(bytes, manifest) => {
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                let mut file = saver.blob(&request.list, &blob.digest)?;
                saver.layer(blob, &mut file, &(naming.blob)(&blob.digest), out, progress)?;
            }
            out.bytes(&(naming.manifest)(&Digest::of(bytes)), bytes)?;
        }
    }
    Ok(())
}

fn write_index(
    mut index: Index,
    request: &SaveListRequest,
    is_layout: bool,
    out: &mut dyn Output,
) -> Saved<Digest> {
    let is_oci = |entry: &Descriptor| entry.media_type == media_type::OCI_MANIFEST;
    index.family = match request.family {
        Some(family) => family,
        None if is_layout || index.manifests.iter().any(is_oci) => Family::Oci,
        None => index.family,
    };
    let bytes = index.to_json();
    let digest = Digest::of(&bytes);
    if is_layout {
        out.bytes(&(Naming::LAYOUT.blob)(&digest), &bytes)?;
        let top = Descriptor::new(index.family.index_type(), digest.clone(), bytes.len() as u64);
        let (Source::OciLayout { reference, .. } | Source::OciArchive { reference, .. }) = &request.target
        else {
            return Ok(digest);
        };
        finish_layout(&top, reference.as_slice(), out)?;
    } else {
        out.bytes("version", DIR_VERSION)?;
        out.bytes("manifest.json", &bytes)?;
    }
    Ok(digest)
}
