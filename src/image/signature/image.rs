//! `image sign`: simple signatures of an image that is in a registry or here, written into a folder.

use std::cell::RefCell;
use std::path::PathBuf;

use super::place::{folder, write_next};
use super::{Signature, SignatureError, SignaturePlaces, Signing};
use crate::image::error::{Error, Refusal, Result};
use crate::image::manifest::{DOCUMENT_MAX, Document};
use crate::image::place::own_place;
use crate::image::progress::{Progress, Reporter, Silent};
use crate::image::pull::Context;
use crate::image::reference::Reference;
use crate::image::registries::Registries;
use crate::image::registry::block_on;
use crate::image::request::RegistryOptions;
use crate::image::transport::Transport;
use crate::store::Digest;

/// What is signed.
#[derive(Debug, Clone, Default)]
pub struct SignRequest {
    /// The image with its transport.
    pub name: String,
    /// The key, as `gpg` takes it.
    pub key: String,
    /// Below what the signatures are written, if not where registries.d says.
    pub directory: Option<PathBuf>,
    /// The images of a list in place of the list.
    pub all: bool,
    /// How the registry is talked to.
    pub registry: RegistryOptions,
}

/// Signs.
///
/// # Errors
/// When there is no such image, `gpg` does not sign or a signature cannot be written.
pub fn sign(context: Context<'_>, request: &SignRequest) -> Result<()> {
    let signing = Signing { gpg_key: Some(request.key.clone()), ..Signing::default() };
    let signers = signing.signers(context.env)?;
    let (name, manifest) = manifest(context, request)?;
    let base = match &request.directory {
        Some(directory) => directory.join(name.path()),
        None => {
            let url = SignaturePlaces::load(context.paths)?.lookaside(&name, true);
            super::place::file_of(&url).ok_or(SignatureError::NotWritable(url))?
        }
    };
    let digests = match Document::parse(&manifest, None) {
        Ok(Document::Index(index)) if request.all => {
            index.manifests.into_iter().map(|entry| entry.digest).collect()
        }
        _ if request.all => {
            return Err(Error::Refused { image: request.name.clone(), problem: Refusal::NoList });
        }
        Ok(_) => vec![Digest::of(&manifest)],
        Err(problem) => {
            return Err(Error::Refused { image: request.name.clone(), problem: problem.into() });
        }
    };
    for digest in digests {
        let mut path = base.clone().into_os_string();
        path.push(format!("@{}", folder(&digest)));
        for signer in &signers {
            if let Signature::Simple(message) = signer.sign(&name, &digest)? {
                write_next(path.as_ref(), &message)?;
            }
        }
    }
    Ok(())
}

/// The image's name and its manifest.
fn manifest(context: Context<'_>, request: &SignRequest) -> Result<(Reference, Vec<u8>)> {
    match Transport::parse(&request.name)? {
        Some(Transport::Docker(reference)) => {
            let registries = Registries::load(context.env, context.paths)?;
            let place = own_place(context, &registries, &request.registry, &reference)?;
            let mut silent = Silent;
            let silent: RefCell<&mut dyn Progress> = RefCell::new(&mut silent);
            let client = place.client(Reporter::new(&silent));
            let served = block_on(client.manifest(&place.remote))?.map_err(|source| Error::Source {
                reference: Box::new(reference.clone()),
                source: Box::new(source),
            })?;
            Ok((reference, served.bytes))
        }
        // Podman's scripts mean the images that are here.
        Some(Transport::Storage { root: None, name }) => {
            let found = context.store.find_image(&name)?;
            let named = found.name.unwrap_or(name);
            let reference = Reference::parse(&named)
                .map_err(|source| Error::Reference { text: named, source })?
                .with_default_tag();
            let digest = found.record.manifest.ok_or_else(|| Error::NotKnown(request.name.clone()))?;
            Ok((reference, context.store.read_blob(&digest, DOCUMENT_MAX)?))
        }
        _ => Err(Error::Transport(request.name.clone())),
    }
}
