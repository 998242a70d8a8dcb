//! One image from one place of a registry.

use std::sync::atomic::AtomicBool;
use std::thread::Scope;

use super::Context;
use super::network::Transfer;
use super::write::{Documents, distinct};
use crate::image::config::ImageConfig;
use crate::image::encryption::DecryptionKeys;
use crate::image::error::{Error, Refusal, Result};
use crate::image::manifest::{DOCUMENT_MAX, Descriptor, Document, Manifest, media_type};
use crate::image::place::Place;
use crate::image::platform::Platform;
use crate::image::policy::{Demands, Policy};
use crate::image::progress::{Event, Reporter};
use crate::image::reference::Reference;
use crate::image::registry::{Client, RegistryError, Served, block_on};
use crate::image::request::PullRequest;
use crate::image::signature::place;
use crate::store::{Digest, ImageId};

/// Indexes may lead to indexes, but not for long.
const NESTING_MAX: usize = 3;

/// An image to fetch.
#[derive(Debug)]
pub(super) struct Fetch<'f, 'scope, 'env> {
    pub(super) context: Context<'scope>,
    pub(super) client: &'f Client<'f>,
    pub(super) reporter: Reporter<'f>,
    /// The name that the user means; mirrors are asked under another one.
    pub(super) name: &'f Reference,
    /// The name at the place that is asked.
    pub(super) remote: &'f Reference,
    /// The platform that is wanted, if one was asked for.
    pub(super) platform: Option<&'f Platform>,
    /// What signatures must prove.
    pub(super) demands: &'f Demands,
    /// For layers that are encrypted.
    pub(super) keys: &'f DecryptionKeys,
    /// Where the workers of layers run.
    pub(super) scope: &'scope Scope<'scope, 'env>,
    /// Ends the workers.
    pub(super) stop: &'scope AtomicBool,
}

/// What the name led to before, and is here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'k> {
    pub(super) id: &'k ImageId,
    pub(super) digest: &'k Digest,
    /// Say something only if it has changed.
    pub(super) quietly: bool,
}

/// What a fetch ended with.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) id: ImageId,
    /// The digest that the name led to: of the index, if there is one.
    pub(super) digest: Digest,
}

impl<'scope, 'env> Fetch<'_, 'scope, 'env> {
    /// Fetches manifest, config and layers, and writes the record. `known` is what the name led to before and is
    /// here: if it still does, nothing is fetched.
    pub(super) async fn run(&self, known: Option<Known<'_>>) -> Result<Fetched> {
        // Who must prove something does it every time.
        let known = known.filter(|_| self.demands.is_empty());
        if let Some(known) = known {
            // A registry that does not answer HEAD may answer GET.
            let head = self.client.head_manifest(self.remote).await;
            if head.is_ok_and(|head| head.digest.as_ref() == Some(known.digest)) {
                return self.unchanged(known);
            }
        }
        let top = self.client.manifest(self.remote).await.map_err(|error| self.source(error))?;
        if let Some(known) = known {
            if *known.digest == top.digest {
                return self.unchanged(known);
            }
            if known.quietly {
                self.reporter.report(Event::Trying(self.name));
            }
        }
        self.reporter.report(Event::Source);
        let digest = top.digest.clone();
        let (served, manifest, indexes) = self.choose(top).await?;
        // The signature of an index is as good as one of the manifest that it leads to.
        let above = indexes.iter().rev().map(Vec::as_slice);
        let documents: Vec<&[u8]> = std::iter::once(served.bytes.as_slice()).chain(above).collect();
        let paths = self.context.paths;
        place::verify(paths, self.client, self.name, self.remote, self.demands, &documents).await?;
        let config_bytes = self.blob_or_local(&manifest.config).await?;
        let config = ImageConfig::parse(&config_bytes).map_err(|error| self.refuse(error.into()))?;
        let mut documents = Documents {
            image: self.name.to_string(),
            manifest_bytes: served.bytes,
            manifest_digest: served.digest,
            manifest,
            indexes,
            config_bytes,
            config,
        };
        let sealed = documents.sealed(self.keys)?;
        let plain = self.transfer().unseal(self.client, self.name, self.reporter, sealed).await?;
        documents.unsealed(&plain);
        let jobs = distinct(&documents.layers()?);
        self.transfer().run(self.client, self.name, self.reporter, &jobs).await?;
        self.warn_of_platform(&documents.config);
        self.reporter.report(Event::Config(&documents.manifest.config.digest));
        self.reporter.report(Event::Manifest);
        let record = documents.write(self.context.store)?;
        Ok(Fetched { id: record.id, digest })
    }

    /// Says what a pull says, though nothing needs to be done.
    fn unchanged(&self, known: Known<'_>) -> Result<Fetched> {
        let Known { id, digest, quietly } = known;
        self.context.store.record_use(id);
        if quietly {
            return Ok(Fetched { id: id.clone(), digest: digest.clone() });
        }
        self.reporter.report(Event::Source);
        if let Some(record) = self.context.store.image(id)? {
            for layer in &record.layers {
                self.reporter.report(Event::BlobSkipped(layer.blob.as_ref().unwrap_or(&layer.diff_id)));
            }
        }
        self.reporter.report(Event::Config(&id.digest()));
        self.reporter.report(Event::Manifest);
        Ok(Fetched { id: id.clone(), digest: digest.clone() })
    }

    /// Follows indexes to the manifest of the platform.
    async fn choose(&self, top: Served) -> Result<(Served, Manifest, Vec<Vec<u8>>)> {
        let mut served = top;
        let mut indexes = Vec::new();
        for _ in 0..=NESTING_MAX {
            let document = Document::parse(&served.bytes, served.media_type.as_deref())
                .map_err(|error| self.refuse(error.into()))?;
            let index = match document {
                Document::Manifest(manifest) => return Ok((served, *manifest, indexes)),
                Document::Index(index) => index,
            };
            let wanted = self.platform.cloned().unwrap_or_else(Platform::host);
            let Some(chosen) = wanted.choose(&index.manifests) else {
                let platforms = index.manifests.iter().filter_map(|d| d.platform.as_ref());
                let known = platforms.filter(|platform| platform.os != "unknown");
                let mut available: Vec<String> = known.map(ToString::to_string).collect();
                available.dedup();
                return Err(Error::NoPlatform {
                    image: format!("docker://{}", self.name),
                    wanted: Box::new(wanted),
                    available,
                });
            };
            indexes.push(served.bytes);
            served = self.manifest_or_local(chosen).await?;
        }
        Err(self.refuse(Refusal::Nested))
    }

    async fn manifest_or_local(&self, descriptor: &Descriptor) -> Result<Served> {
        if let Ok(bytes) = self.context.store.read_blob(&descriptor.digest, DOCUMENT_MAX) {
            let media_type = Some(descriptor.media_type.clone());
            return Ok(Served { bytes, digest: descriptor.digest.clone(), media_type });
        }
        let reference = self.remote.with_digest(descriptor.digest.clone());
        let served = self.client.manifest(&reference).await.map_err(|error| self.source(error))?;
        // The index said what kind of document it is; the server must not say something else now.
        let known = [
            media_type::OCI_MANIFEST,
            media_type::DOCKER_MANIFEST,
            media_type::OCI_INDEX,
            media_type::DOCKER_INDEX,
        ];
        if known.contains(&descriptor.media_type.as_str()) {
            return Ok(Served { media_type: Some(descriptor.media_type.clone()), ..served });
        }
        Ok(served)
    }

    async fn blob_or_local(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        if let Ok(bytes) = self.context.store.read_blob(&descriptor.digest, DOCUMENT_MAX) {
            return Ok(bytes);
        }
        self.client.document(descriptor).await.map_err(|error| self.source(error))
    }

    fn transfer(&self) -> Transfer<'scope, 'env> {
        Transfer {
            store: self.context.store,
            options: self.context.unpack,
            parallel: self.context.parallel(),
            scope: self.scope,
            stop: self.stop,
        }
    }

    fn warn_of_platform(&self, config: &ImageConfig) {
        let wanted = self.platform.cloned().unwrap_or_else(Platform::host);
        let actual = config.platform();
        if !actual.architecture.is_empty() && !wanted.accepts(&actual) {
            let text = format!("image platform ({actual}) does not match the expected platform ({wanted})");
            self.reporter.report(Event::Warning(&text));
        }
    }

    fn source(&self, error: RegistryError) -> Error {
        Error::Source { reference: Box::new(self.name.clone()), source: Box::new(error) }
    }

    fn refuse(&self, problem: Refusal) -> Error {
        Error::Refused { image: format!("docker://{}", self.name), problem }
    }
}

/// What is wanted of a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'w> {
    /// The platform, if one was asked for.
    pub(super) platform: Option<&'w Platform>,
    /// What signatures must prove.
    pub(super) demands: &'w Demands,
    /// For layers that are encrypted.
    pub(super) keys: &'w DecryptionKeys,
    /// What the name led to before and is here.
    pub(super) known: Option<Known<'w>>,
}

/// Fetches `name` from `place`.
pub(super) fn fetch(
    context: Context<'_>,
    name: &Reference,
    place: &Place,
    wanted: Wanted<'_>,
    reporter: Reporter<'_>,
) -> Result<Fetched> {
    let stop = AtomicBool::new(false);
    let client = place.client(reporter).with_purpose(format!("initializing source docker://{name}"));
    std::thread::scope(|scope| {
        let fetch = Fetch {
            context,
            client: &client,
            reporter,
            name,
            remote: &place.remote,
            platform: wanted.platform,
            demands: wanted.demands,
            keys: wanted.keys,
            scope,
            stop: &stop,
        };
        block_on(fetch.run(wanted.known))?
    })
}

/// Fetches every tag of the repository `name` from `place`; `keep` gets each as it comes.
pub(super) fn fetch_all_tags(
    context: Context<'_>,
    name: &Reference,
    place: &Place,
    request: (&PullRequest, &Policy),
    reporter: Reporter<'_>,
    keep: &mut dyn FnMut(&Reference, Fetched) -> Result<()>,
) -> Result<()> {
    let (request, policy) = request;
    let stop = AtomicBool::new(false);
    let client = place.client(reporter).with_purpose(format!("initializing source docker://{name}"));
    let failed = |source| Error::Source { reference: Box::new(name.clone()), source: Box::new(source) };
    std::thread::scope(|scope| {
        block_on(async {
            for tag in client.tags().await.map_err(failed)? {
                if is_attachment(&tag) {
                    continue;
                }
                let tagged = |reference: &Reference| {
                    reference.with_tag(&tag).map_err(|source| Error::Reference { text: tag.clone(), source })
                };
                let (name, remote) = (tagged(name)?, tagged(&place.remote)?);
                let demands = policy.check(&name)?;
                reporter.report(Event::Trying(&name));
                let fetch = Fetch {
                    context,
                    client: &client,
                    reporter,
                    name: &name,
                    remote: &remote,
                    platform: request.platform.as_ref(),
                    demands: &demands,
                    keys: &request.decryption,
                    scope,
                    stop: &stop,
                };
                keep(&name, fetch.run(None).await?)?;
            }
            Ok(())
        })?
    })
}

/// Whether a tag is one of those under which signatures and the like of another image lie: `sha256-HEX.sig`.
fn is_attachment(tag: &str) -> bool {
    tag.strip_prefix("sha256-")
        .and_then(|rest| rest.split_at_checked(64))
        .is_some_and(|(hex, _)| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_attachments() {
        let hex = "a".repeat(64);
        assert!(is_attachment(&format!("sha256-{hex}.sig")) && is_attachment(&format!("sha256-{hex}")));
        assert!(!is_attachment("sha256-abc.sig") && !is_attachment("latest"));
    }
}
