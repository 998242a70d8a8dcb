//! An image to one place of a registry.

use std::cell::OnceCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::Pushed;
use super::layer::{Coded, Coding, Encoded, Stored};
use crate::image::compress::Settings;
use crate::image::encryption::{EncryptionKeys, LayerCipher};
use crate::image::error::{Error, Result};
use crate::image::manifest::{Descriptor, Family};
use crate::image::outgoing::{Leaving, Outgoing, Wanted, described, layer_type, method, missing, type_of};
use crate::image::place::Place;
use crate::image::progress::{Event, Reporter};
use crate::image::pull::Context;
use crate::image::reference::Reference;
use crate::image::registry::{Access, Client, RegistryError, block_on};
use crate::image::signature::place::{self, PlaceError};
use crate::image::signature::{SignaturePlaces, Signer};
use crate::store::{Digest, ImageRecord, Store, TagRecord, Variant};

/// More repositories than this are not asked for a blob.
const MOUNTS_MAX: usize = 3;

/// Where to, and in which form.
#[derive(Clone, Copy)]
pub(super) struct Target<'t> {
    pub(super) place: &'t Place,
    /// What the image is called when it is signed.
    pub(super) name: &'t Reference,
    pub(super) family: Family,
    pub(super) wanted: Wanted,
    pub(super) by_digest: bool,
    pub(super) signers: &'t [Signer],
    pub(super) encryption: &'t EncryptionKeys,
}

/// Pushes `image`.
pub(super) fn push(
    context: Context<'_>,
    image: &Outgoing,
    target: Target<'_>,
    reporter: Reporter<'_>,
) -> Result<Pushed> {
    let client = target.place.client(reporter).with_access(Access::Push);
    std::thread::scope(|scope| {
        let upload = Upload {
            context,
            store: context.store,
            image,
            target,
            client: &client,
            reporter,
            scope,
            known: OnceCell::new(),
        };
        block_on(upload.run(context.parallel()))?
    })
}

/// A manifest that was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'w> {
    /// The image's name.
    pub(crate) name: &'w Reference,
    /// Its name where it was written.
    pub(crate) remote: &'w Reference,
    /// The manifest's digest.
    pub(crate) digest: &'w Digest,
}

/// Signs a manifest that is there by now.
pub(crate) async fn sign(
    context: Context<'_>,
    client: &Client<'_>,
    signers: &[Signer],
    subject: Written<'_>,
    reporter: Reporter<'_>,
) -> Result<()> {
    let Written { name, remote, digest } = subject;
    if signers.is_empty() {
        return Ok(());
    }
    let places = SignaturePlaces::load(context.paths)?;
    let mut signatures = Vec::new();
    for signer in signers {
        reporter.report(Event::Signing(signer.way()));
        signatures.push(signer.sign(name, digest)?);
    }
    place::put(client, &places, remote, digest, signatures).await.map_err(|error| match error {
        PlaceError::Registry(source) => {
            Error::Destination { reference: Box::new(remote.clone()), source: Box::new(source) }
        }
        PlaceError::Signature(error) => error.into(),
    })
}

/// One image on its way.
struct Upload<'u, 'scope, 'env> {
    context: Context<'u>,
    store: &'u Store,
    image: &'u Outgoing,
    target: Target<'u>,
    client: &'u Client<'u>,
    reporter: Reporter<'u>,
    /// Where layers are compressed.
    scope: &'scope Scope<'scope, 'env>,
    /// All images here with their names, once somebody asks.
    known: OnceCell<(Vec<ImageRecord>, Vec<TagRecord>)>,
}

impl Upload<'_, '_, '_> {
    async fn run(&self, parallel: usize) -> Result<Pushed> {
        self.reporter.report(Event::Source);
        let leaving = self.image.leaving(self.target.wanted);
        let chosen = self.target.encryption.chosen(leaving.len())?;
        let leaving: Vec<(Leaving, bool)> = leaving.into_iter().zip(chosen).collect();
        // A layer that the image has twice is sent once.
        let mut distinct: Vec<&(Leaving, bool)> = Vec::new();
        for layer in &leaving {
            if !distinct.contains(&layer) {
                distinct.push(layer);
            }
        }
        let send = async |(layer, is_encrypted): &(Leaving, bool)| match is_encrypted {
            true => self.sealed(layer).await,
            false => self.layer(layer).await,
        };
        let sent: Vec<Descriptor> =
            stream::iter(distinct.iter().map(|layer| send(layer))).buffered(parallel).try_collect().await?;
        let of = |layer: &(Leaving, bool)| {
            let at = distinct.iter().position(|other| *other == layer).expect("each layer is one of them");
            sent[at].clone()
        };
        let layers: Vec<Descriptor> = leaving.iter().map(of).collect();
        let has_zstd = layers.iter().any(|layer| layer.media_type.contains("zstd"));
        let (manifest, family) = self.image.manifest_with(layers, self.target.family);
        let config = &self.image.manifest.config.digest;
        self.reporter.report(Event::Config(config));
        self.document(config, &self.image.config_bytes).await?;
        self.reporter.report(Event::Manifest);
        let described = Descriptor::new(family.manifest_type(), Digest::of(&manifest), manifest.len() as u64);
        let remote = &self.target.place.remote;
        let by_digest = remote.with_digest(described.digest.clone());
        let reference = if self.target.by_digest { &by_digest } else { remote };
        self.client
            .put_manifest(reference, Bytes::from(manifest), family.manifest_type())
            .await
            .map_err(|error| self.failed(error))?;
        let Target { name, signers, .. } = self.target;
        let subject = Written { name, remote, digest: &described.digest };
        sign(self.context, self.client, signers, subject, self.reporter).await?;
        Ok(Pushed { manifest: described, has_zstd })
    }

    /// Sees to it that the registry has a layer.
    async fn layer(&self, layer: &Leaving) -> Result<Descriptor> {
        match layer {
            Leaving::AsIs(descriptor) => self.stored(descriptor).await.map(|()| descriptor.clone()),
            Leaving::Encoded { blob, diff_id, settings } => self.encoded(blob, diff_id, *settings).await,
        }
    }

    async fn stored(&self, descriptor: &Descriptor) -> Result<()> {
        let digest = &descriptor.digest;
        if self.is_there(digest, &[]).await? {
            self.reporter.report(Event::BlobSkipped(digest));
            return Ok(());
        }
        let file = self.open(digest)?;
        let size = file.metadata().map_or(descriptor.size, |meta| meta.len());
        self.reporter.report(Event::BlobStarted { digest, size: Some(size), offset: 0 });
        let payload = Stored { file: Arc::new(file), digest: digest.clone(), size, reporter: self.reporter };
        self.client.upload(&payload).await.map_err(|error| self.failed(error))?;
        self.reporter.report(Event::BlobDone(digest));
        Ok(())
    }

    async fn encoded(&self, blob: &Digest, diff_id: &Digest, settings: Settings) -> Result<Descriptor> {
        let method = method(settings);
        let described = |variant: Variant| {
            let family = self.target.family;
            described(settings.algorithm, family, (variant.digest, variant.size), variant.annotations)
        };
        let remote = &self.target.place.remote;
        let mut repositories = vec![remote.repository()];
        if let Some(known) = self.store.variant(diff_id, &method) {
            let elsewhere = known.repositories.iter().filter(|other| **other != remote.repository());
            repositories.extend(elsewhere.cloned());
            if self.is_there(&known.digest, &repositories).await? {
                self.reporter.report(Event::BlobSkipped(&known.digest));
                self.remember(diff_id, Variant { repositories, ..known.clone() });
                return Ok(described(known));
            }
        }
        let coding = Coding { settings: Some(settings), cipher: None };
        let Coded { digest, size, annotations, .. } = self.send(blob, diff_id, coding).await?;
        let variant = Variant { method, digest, size, annotations, repositories };
        self.remember(diff_id, variant.clone());
        Ok(described(variant))
    }

    /// Encrypts a layer on its way. Nobody has it yet: each time the key is another one.
    async fn sealed(&self, layer: &Leaving) -> Result<Descriptor> {
        let cipher = LayerCipher::generate()?;
        let (plain, blob, settings) = match layer {
            Leaving::AsIs(descriptor) => (descriptor.clone(), &descriptor.digest, None),
            Leaving::Encoded { blob, diff_id, settings } => {
                let media_type = type_of(settings.algorithm, self.target.family);
                (Descriptor::new(media_type, diff_id.clone(), 0), blob, Some(*settings))
            }
        };
        let coding = Coding { settings, cipher: Some(cipher.clone()) };
        let Coded { digest, size, sealed, .. } = self.send(blob, &plain.digest, coding).await?;
        let (plain_digest, sum) = sealed.expect("it was encrypted");
        let media_type = layer_type(&plain.media_type, self.target.family).to_owned();
        let plain = Descriptor { digest: plain_digest, media_type, ..plain };
        Ok(self.target.encryption.describe(&plain, &cipher, &sum, (digest, size))?)
    }

    /// Sends a blob coded anew.
    async fn send(&self, blob: &Digest, shown: &Digest, coding: Coding) -> Result<Coded> {
        self.reporter.report(Event::BlobStarted { digest: shown, size: None, offset: 0 });
        let payload = Encoded {
            file: Arc::new(self.open(blob)?),
            shown: shown.clone(),
            coding,
            reporter: self.reporter,
            scope: self.scope,
            result: Arc::new(Mutex::new(None)),
        };
        self.client.upload(&payload).await.map_err(|error| self.failed(error))?;
        self.reporter.report(Event::BlobDone(shown));
        let coded = payload.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(coded.expect("an upload ends when all of it was coded"))
    }

    fn remember(&self, diff_id: &Digest, variant: Variant) {
        if let Err(error) = self.store.put_variant(diff_id, variant) {
            // The next push is slower, that is all.
            self.reporter.report(Event::Warning(&crate::image::error::chain(&error)));
        }
    }

    /// Whether the repository has a blob, or can have it from another one of the registry; `others` are some that
    /// have it.
    async fn is_there(&self, digest: &Digest, others: &[String]) -> Result<bool> {
        if self.client.has_blob(digest).await.map_err(|error| self.failed(error))? {
            return Ok(true);
        }
        for other in self.repositories(digest, others)? {
            if self.client.mount_blob(digest, &other).await.map_err(|error| self.failed(error))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn document(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        if !self.is_there(digest, &[]).await? {
            let payload = Bytes::copy_from_slice(bytes);
            self.client.upload(&payload).await.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    fn open(&self, digest: &Digest) -> Result<std::fs::File> {
        self.store.blob(digest)?.ok_or_else(|| missing(&self.image.record, "blob", digest))
    }

    fn failed(&self, source: RegistryError) -> Error {
        let reference = Box::new(self.target.place.remote.clone());
        Error::Destination { reference, source: Box::new(source) }
    }

    /// Other repositories of the same registry that have a blob: those of `others`, and what the names of images here
    /// tell. Returned are their paths.
    fn repositories(&self, blob: &Digest, others: &[String]) -> Result<Vec<String>> {
        if self.known.get().is_none() {
            let _ = self.known.set((self.store.images()?, self.store.tags()?));
        }
        let (records, tags) = self.known.get().expect("just set");
        let has = |record: &&ImageRecord| {
            record.id.digest() == *blob || record.layers.iter().any(|layer| layer.blob.as_ref() == Some(blob))
        };
        let named = records
            .iter()
            .filter(has)
            .flat_map(|record| tags.iter().filter(|tag| tag.image == record.id).map(|tag| tag.name.clone()));
        let remote = &self.target.place.remote;
        let mut found: Vec<String> = Vec::new();
        for name in others.iter().cloned().chain(named) {
            let Ok(name) = Reference::parse(&name) else { continue };
            let path = name.path().to_owned();
            if name.domain() == remote.domain() && path != remote.path() && !found.contains(&path) {
                found.push(path);
            }
        }
        found.truncate(MOUNTS_MAX);
        Ok(found)
    }
}
