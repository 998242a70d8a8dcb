//! Artifacts from and to registries.

use std::cell::RefCell;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

use super::{ArtifactError, ArtifactManifest, Artifacts, Blob};
use crate::image::encryption::{DecryptionKeys, is_encrypted};
use crate::image::error::{Error, Result};
use crate::image::manifest::{DOCUMENT_MAX, Descriptor, Document, media_type};
use crate::image::place::{Place, own_place, places};
use crate::image::policy::Demands;
use crate::image::progress::{Event, Progress, Reporter};
use crate::image::pull::Context;
use crate::image::push::{Stored, Written, sign};
use crate::image::reference::Reference;
use crate::image::registries::Registries;
use crate::image::registry::{Access, BlobPiece, Client, RegistryError, block_on};
use crate::image::request::RegistryOptions;
use crate::image::signature::{Signing, place};
use crate::kernel;
use crate::kernel::file::read_limited;
use crate::store::Digest;

/// What is pushed, and where to.
#[derive(Debug, Clone, Default)]
pub struct PushRequest {
    /// The artifact that is here.
    pub name: String,
    /// Its name there.
    pub destination: String,
    /// Who signs it.
    pub signing: Signing,
    /// How the registry is talked to.
    pub registry: RegistryOptions,
}

/// Pulls an artifact; returns its digest. With keys, files that are encrypted are decrypted; without, they stay as they are.
///
/// # Errors
/// When there is none, the policy refuses it, or none of the keys fits.
pub fn pull(
    context: Context<'_>,
    name: &str,
    (options, keys): (&RegistryOptions, &DecryptionKeys),
    progress: &mut dyn Progress,
) -> Result<Digest> {
    let reference = parse(name)?;
    let name = name.strip_prefix("docker://").unwrap_or(name);
    fetch_as(context, &reference, name, (options, keys), progress)
}

/// Brings what an artifact that is here lacks.
pub(super) fn again(
    context: Context<'_>,
    reference: &Reference,
    name: &str,
    progress: &mut dyn Progress,
) -> Result<Digest> {
    let options = RegistryOptions { retry: Some(0), ..RegistryOptions::default() };
    progress.event(Event::Trying(reference));
    fetch_as(context, reference, name, (&options, &DecryptionKeys::default()), progress)
}

/// Fetches what a reference leads to and gives it a name.
fn fetch_as(
    context: Context<'_>,
    reference: &Reference,
    name: &str,
    (options, keys): (&RegistryOptions, &DecryptionKeys),
    progress: &mut dyn Progress,
) -> Result<Digest> {
    let progress = RefCell::new(progress);
    let reporter = Reporter::new(&progress);
    let demands = context.policy()?.check(reference)?;
    let registries = Registries::load(context.env, context.paths)?;
    let mut places = places(context, &registries, options, reference)?;
    let own = places.pop().expect("there is at least one place");
    let artifacts = Artifacts::of(context.paths);
    let fetch = |place: &Place| {
        let client = place.client(reporter).with_purpose(format!("initializing source docker://{reference}"));
        let (client, name_there, demands) = (&client, reference, &demands);
        let fetch = Fetch { context, client, reporter, name: name_there, place, demands, keys };
        block_on(fetch.run(&artifacts, name))?
    };
    for mirror in &places {
        match fetch(mirror) {
            Err(error @ (Error::Source { .. } | Error::Auth(_))) => {
                let text = format!("mirror {}: {}", mirror.remote, crate::image::error::chain(&error));
                reporter.report(Event::Warning(&text));
            }
            outcome => return outcome,
        }
    }
    fetch(&own)
}

struct Fetch<'f> {
    context: Context<'f>,
    client: &'f Client<'f>,
    reporter: Reporter<'f>,
    name: &'f Reference,
    place: &'f Place,
    demands: &'f Demands,
    keys: &'f DecryptionKeys,
}

impl Fetch<'_> {
    async fn run(&self, artifacts: &Artifacts, name: &str) -> Result<Digest> {
        let remote = &self.place.remote;
        let served = self.client.manifest(remote).await.map_err(|error| self.failed(error))?;
        self.reporter.report(Event::Source);
        let refused = || ArtifactError::Manifest(format!("docker://{}", self.name));
        // The same gate as for images; only then it is read as what it is.
        if !matches!(
            Document::parse(&served.bytes, served.media_type.as_deref()),
            Ok(Document::Manifest(manifest)) if manifest.family == crate::image::manifest::Family::Oci
        ) {
            return Err(refused().into());
        }
        let mut manifest: ArtifactManifest = serde_json::from_slice(&served.bytes).map_err(|_| refused())?;
        place::verify(self.context.paths, self.client, self.name, remote, self.demands, &[&served.bytes])
            .await?;
        let is_sealed = |layer: &Blob| !self.keys.is_empty() && is_encrypted(&layer.media_type);
        let open = |layer: &Blob| {
            let (digest, sealed) = (Box::new(layer.digest.clone()), is_sealed(layer));
            let opened = sealed.then(|| self.keys.open(&layer.to_descriptor()));
            opened.transpose().map_err(|source| Error::Decrypt { digest, source })
        };
        let opened: Vec<_> = manifest.layers.iter().map(open).collect::<Result<_>>()?;
        let _lock = artifacts.lock()?;
        for (layer, opened) in manifest.layers.iter_mut().zip(&opened) {
            self.blob(artifacts, layer).await?;
            if let Some(opened) = opened
                && let Err(error) = artifacts.unseal(layer, opened)?
            {
                artifacts.sweep_all()?;
                return Err(Error::Decrypt { digest: Box::new(layer.digest.clone()), source: error });
            }
        }
        let bytes = match opened.iter().any(Option::is_some) {
            true => serde_json::to_vec(&manifest).expect("a manifest serialises"),
            false => served.bytes,
        };
        self.reporter.report(Event::Config(&manifest.config.digest));
        self.blob(artifacts, &manifest.config).await?;
        self.reporter.report(Event::Manifest);
        Ok(artifacts.put(name, &bytes, &manifest.artifact_type)?)
    }

    async fn blob(&self, artifacts: &Artifacts, blob: &Blob) -> Result<()> {
        let digest = &blob.digest;
        if artifacts.blob_path(digest).exists() {
            self.reporter.report(Event::BlobSkipped(digest));
            return Ok(());
        }
        self.reporter.report(Event::BlobStarted { digest, size: Some(blob.size), offset: 0 });
        let mut stream = self.client.blob(&Descriptor::new(&blob.media_type, digest.clone(), blob.size), 0);
        let mut writer = artifacts.writer()?;
        loop {
            match stream.next().await.map_err(|error| self.failed(error))? {
                BlobPiece::Data(bytes) => {
                    writer.write(&bytes)?;
                    self.reporter.report(Event::BlobProgress { digest, position: stream.position() });
                }
                BlobPiece::Restart => writer.restart()?,
                BlobPiece::End => break,
            }
        }
        let (actual, _) = writer.finish()?;
        if actual != *digest {
            // It lies under its own digest, which nothing names.
            return Err(self.failed(RegistryError::Mismatch {
                doing: format!("reading blob {digest}"),
                expected: Box::new(digest.clone()),
                actual: Box::new(actual),
            }));
        }
        self.reporter.report(Event::BlobDone(digest));
        Ok(())
    }

    fn failed(&self, error: RegistryError) -> Error {
        Error::Source { reference: Box::new(self.name.clone()), source: Box::new(error) }
    }
}

/// Pushes an artifact; returns the digest of its manifest.
///
/// # Errors
/// When there is none, or the registry refuses it.
pub fn push(context: Context<'_>, request: &PushRequest, progress: &mut dyn Progress) -> Result<Digest> {
    let destination = parse(&request.destination)?;
    let artifacts = Artifacts::of(context.paths);
    let artifact = artifacts.find(&request.name)?;
    let manifest =
        read_limited(&artifacts.blob_path(&artifact.digest), DOCUMENT_MAX).map_err(ArtifactError::from)?;
    let signers = request.signing.signers(context.env)?;
    let registries = Registries::load(context.env, context.paths)?;
    let place = own_place(context, &registries, &request.registry, &destination)?;
    let progress = RefCell::new(progress);
    let reporter = Reporter::new(&progress);
    let client = place.client(reporter).with_access(Access::Push);
    let failed =
        |source| Error::Destination { reference: Box::new(place.remote.clone()), source: Box::new(source) };
    reporter.report(Event::Source);
    block_on(async {
        for blob in &artifact.manifest.layers {
            send(&client, &artifacts, blob, reporter).await?.map_err(failed)?;
        }
        reporter.report(Event::Config(&artifact.manifest.config.digest));
        send(&client, &artifacts, &artifact.manifest.config, reporter).await?.map_err(failed)?;
        reporter.report(Event::Manifest);
        let put = client.put_manifest(&place.remote, Bytes::from(manifest), media_type::OCI_MANIFEST);
        put.await.map_err(failed)?;
        let subject = Written { name: &destination, remote: &place.remote, digest: &artifact.digest };
        sign(context, &client, &signers, subject, reporter).await
    })??;
    Ok(artifact.digest)
}

async fn send(
    client: &Client<'_>,
    artifacts: &Artifacts,
    blob: &Blob,
    reporter: Reporter<'_>,
) -> Result<std::result::Result<(), RegistryError>> {
    let digest = &blob.digest;
    match client.has_blob(digest).await {
        Ok(false) => {}
        Ok(true) => {
            reporter.report(Event::BlobSkipped(digest));
            return Ok(Ok(()));
        }
        Err(error) => return Ok(Err(error)),
    }
    let path = artifacts.blob_path(digest);
    let file = File::open(&path).map_err(|error| kernel::Error::path("open", &path, error));
    let file = Arc::new(file.map_err(ArtifactError::from)?);
    reporter.report(Event::BlobStarted { digest, size: Some(blob.size), offset: 0 });
    let sent = client.upload(&Stored { file, digest: digest.clone(), size: blob.size, reporter }).await;
    reporter.report(Event::BlobDone(digest));
    Ok(sent.map(drop))
}

fn parse(name: &str) -> Result<Reference> {
    if name.is_empty() {
        return Err(ArtifactError::Unnamed.into());
    }
    let text = name.strip_prefix("docker://").unwrap_or(name);
    match Reference::parse(text) {
        Ok(reference) => Ok(reference.with_default_tag()),
        Err(source) => Err(Error::Reference { text: name.to_owned(), source }),
    }
}
