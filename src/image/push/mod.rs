//! Push: from an image of the store to a registry, or into files.
//!
//! Blobs go first, several at a time; then the config; the manifest is last, so that a registry never has one that names
//! what is not there.

mod layer;
mod list;
mod network;

pub(in crate::image) use layer::Stored;
pub use list::{ListPushRequest, push_list};
pub(in crate::image) use list::{bring, place_entry};
pub(crate) use network::{Written, sign};

use std::cell::RefCell;

use super::compress::Settings;
use super::encryption::EncryptionKeys;
use super::error::{Error, Result};
use super::manifest::{Descriptor, Family};
use super::outgoing::{Outgoing, Wanted};
use super::place::own_place;
use super::progress::{Progress, Reporter};
use super::pull::Context;
use super::reference::Reference;
use super::registries::Registries;
use super::request::RegistryOptions;
use super::signature::Signing;
use crate::store::ImageRecord;

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
    /// Who signs it.
    pub signing: Signing,
    /// Whom layers are encrypted for.
    pub encryption: EncryptionKeys,
    /// Under its digest, and not under the tag of the destination: as a part of a list.
    pub by_digest: bool,
    /// How the registry is talked to.
    pub registry: RegistryOptions,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Its manifest.
    pub manifest: Descriptor,
    /// Some layer is compressed by zstd.
    pub has_zstd: bool,
}

/// Pushes an image.
///
/// # Errors
/// When the image is not whole, or the registry refuses it.
pub fn push(context: Context<'_>, request: &PushRequest, progress: &mut dyn Progress) -> Result<Pushed> {
    let progress = RefCell::new(progress);
    let reporter = Reporter::new(&progress);
    let registries = Registries::load(context.env, context.paths)?;
    let place = own_place(context, &registries, &request.registry, &request.destination)?;
    let signers = request.signing.signers(context.env)?;
    let image = Outgoing::read(context.store, request.image.clone())?;
    let wanted = match request.recompress {
        true => Wanted::All(request.compression),
        false => Wanted::Plain(request.compression),
    };
    let family = family(&image, request, wanted)?;
    network::push(
        context,
        &image,
        network::Target {
            place: &place,
            name: &request.destination,
            family,
            wanted,
            by_digest: request.by_digest,
            signers: &signers,
            encryption: &request.encryption,
        },
        reporter,
    )
}

/// The family of the documents that are written.
fn family(image: &Outgoing, request: &PushRequest, wanted: Wanted) -> Result<Family> {
    let needs_oci = image.needs_oci(wanted);
    match request.format {
        Some(Family::Docker) if !request.encryption.is_empty() => Err(Error::Options(
            "encryption required together with format v2s2, which does not support encryption: use `--format oci`",
        )),
        None if !request.encryption.is_empty() => Ok(Family::Oci),
        Some(Family::Docker) if needs_oci => Err(Error::Options(
            "zstd layers need the OCI format: push with `--format oci`, or compress with gzip",
        )),
        Some(family) => Ok(family),
        None if needs_oci => Ok(Family::Oci),
        None => Ok(image.manifest.family),
    }
}
