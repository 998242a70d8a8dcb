//! Push: from an image of the store to a registry, or into files.
//!
//! Blobs go first, several at a time; then the config; the manifest is last, so that a registry never has one that names
//! what is not there.

mod layer;
mod network;

use std::cell::RefCell;

use super::compress::Settings;
use super::error::{Error, Result};
use super::manifest::Family;
use super::outgoing::{Outgoing, Wanted};
use super::place::own_place;
use super::progress::{Progress, Reporter};
use super::pull::Context;
use super::reference::Reference;
use super::registries::Registries;
use super::request::RegistryOptions;
use crate::store::{Digest, ImageRecord};

/// What is pushed, and how.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The image.
    pub image: ImageRecord,
    /// Where to.
    pub destination: Reference,
    /// The family of documents, if not the image's own.
    pub format: Option<Family>,
    /// How layers are compressed.
    pub compression: Settings,
    /// Also those that are compressed otherwise.
    pub recompress: bool,
    /// How the registry is talked to.
    pub registry: RegistryOptions,
}

/// Pushes an image; returns the digest of its manifest.
///
/// # Errors
/// When the image is not whole, or the registry refuses it.
pub fn push(context: Context<'_>, request: &PushRequest, progress: &mut dyn Progress) -> Result<Digest> {
    let progress = RefCell::new(progress);
    let reporter = Reporter::new(&progress);
    let registries = Registries::load(context.env, context.paths)?;
    let place = own_place(context, &registries, &request.registry, &request.destination)?;
    let image = Outgoing::read(context.store, request.image.clone())?;
    let wanted = match request.recompress {
        true => Wanted::All(request.compression),
        false => Wanted::Plain(request.compression),
    };
    let family = family(&image, request, wanted)?;
    network::push(context, &image, network::Target { place: &place, family, wanted }, reporter)
}

/// The family of the documents that are written.
fn family(image: &Outgoing, request: &PushRequest, wanted: Wanted) -> Result<Family> {
    let needs_oci = image.needs_oci(wanted);
    match request.format {
        Some(Family::Docker) if needs_oci => Err(Error::Options(
            "zstd layers need the OCI format: push with `--format oci`, or compress with gzip",
        )),
        Some(family) => Ok(family),
        None if needs_oci => Ok(Family::Oci),
        None => Ok(image.manifest.family),
    }
}
