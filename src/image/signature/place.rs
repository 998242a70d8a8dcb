//! Where signatures are found and written: the lookaside of registries.d, and tags beside the image.

use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Attachment, SIGNATURE_MAX, SIGNATURES_MAX, Signature, SignatureError, SignaturePlaces, Subject};
use crate::config::Paths;
use crate::image::error::Error;
use crate::image::manifest::{Descriptor, Document, Family, Manifest, media_type};
use crate::image::policy::Demands;
use crate::image::reference::Reference;
use crate::image::registry::{Client, RegistryError};
use crate::kernel;
use crate::kernel::file::{Durability, read_limited, write_atomic};
use crate::store::Digest;

/// Why signatures cannot be brought or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// A registry or web server failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Something else did.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

/// All signatures of the manifest `digest`.
pub(crate) async fn find(
    client: &Client<'_>,
    places: &SignaturePlaces,
    remote: &Reference,
    digest: &Digest,
) -> Result<Vec<Signature>, PlaceError> {
    let mut found = Vec::new();
    let base = places.lookaside(remote, false);
    for number in 1..=SIGNATURES_MAX {
        let url = format!("{base}@{}/signature-{number}", folder(digest));
        let bytes = match file_of(&url) {
            Some(path) => file(&path)?,
            None if url.starts_with("http://") || url.starts_with("https://") => {
                client.lookaside(&url, SIGNATURE_MAX).await?
            }
            None => return Err(SignatureError::Scheme(base).into()),
        };
        let Some(bytes) = bytes else { break };
        found.push(Signature::from_bytes(&bytes).map_err(|problem| SignatureError::Form(url, problem))?);
    }
    if places.has_attachments(remote)
        && let Some(manifest) = attachments(client, remote, digest).await?
    {
        for layer in manifest.layers.iter().take(SIGNATURES_MAX) {
            let payload = client.document(layer).await?;
            let (media_type, annotations) = (layer.media_type.clone(), layer.annotations.clone());
            found.push(Signature::Sigstore(Attachment { media_type, payload, annotations }));
        }
    }
    Ok(found)
}

/// Checks the signatures of one of `documents`: a manifest and what leads to it. One good one is enough.
pub(crate) async fn verify(
    paths: &Paths,
    client: &Client<'_>,
    name: &Reference,
    remote: &Reference,
    demands: &Demands,
    documents: &[&[u8]],
) -> Result<(), Error> {
    if demands.is_empty() {
        return Ok(());
    }
    let places = SignaturePlaces::load(paths)?;
    let mut first = None;
    for manifest in documents {
        let found = find(client, &places, remote, &Digest::of(manifest)).await;
        let found = found.map_err(|error| match error {
            PlaceError::Registry(source) => {
                Error::Source { reference: Box::new(name.clone()), source: Box::new(source) }
            }
            PlaceError::Signature(error) => error.into(),
        })?;
        match demands.check(Subject { name: Some(name), manifest }, &found) {
            Ok(()) => return Ok(()),
            Err(error) => first = first.or(Some(error)),
        }
    }
    first.map_or(Ok(()), |error| Err(error.into()))
}

/// The signatures in a `dir:` folder.
pub(crate) fn in_folder(folder: &Path) -> Result<Vec<Signature>, SignatureError> {
    let mut found = Vec::new();
    for number in 1..=SIGNATURES_MAX {
        let path = folder.join(format!("signature-{number}"));
        let Some(bytes) = file(&path)? else { break };
        let form = |problem| SignatureError::Form(path.display().to_string(), problem);
        found.push(Signature::from_bytes(&bytes).map_err(form)?);
    }
    Ok(found)
}

/// Writes signatures of the manifest `digest` where others look for them.
pub(crate) async fn put(
    client: &Client<'_>,
    places: &SignaturePlaces,
    remote: &Reference,
    digest: &Digest,
    signatures: Vec<Signature>,
) -> Result<(), PlaceError> {
    let mut attached = Vec::new();
    for signature in signatures {
        match signature {
            Signature::Simple(message) => {
                let base = places.lookaside(remote, true);
                let path = file_of(&format!("{base}@{}", folder(digest)));
                write_next(&path.ok_or(SignatureError::NotWritable(base))?, &message)?;
            }
            Signature::Sigstore(attachment) => attached.push(attachment),
        }
    }
    if attached.is_empty() {
        return Ok(());
    }
    if !places.has_attachments(remote) {
        return Err(SignatureError::AttachmentsDisabled.into());
    }
    attach(client, remote, digest, attached).await
}

/// Writes a signature beside those that are in a folder.
pub(crate) fn write_next(folder: &Path, message: &[u8]) -> Result<(), SignatureError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.map_err(|error| SignatureError::Write(kernel::Error::path("mkdir", folder, error)))?;
    let mut number = 1;
    while folder.join(format!("signature-{number}")).exists() {
        number += 1;
    }
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let name = format!("signature-{number}");
    write_atomic(folder, name.as_ref(), message, mode, Durability::Sync).map_err(SignatureError::Write)
}

/// The folder below a base for a manifest's simple signatures.
pub(crate) fn folder(digest: &Digest) -> String {
    digest.to_string().replacen(':', "=", 1)
}

async fn attach(
    client: &Client<'_>,
    remote: &Reference,
    digest: &Digest,
    new: Vec<Attachment>,
) -> Result<(), PlaceError> {
    let (mut layers, mut config) = match attachments(client, remote, digest).await? {
        Some(manifest) => {
            let config = client.document(&manifest.config).await?;
            (manifest.layers, serde_json::from_slice(&config).unwrap_or(Value::Null))
        }
        None => (Vec::new(), Value::Null),
    };
    if !config.is_object() {
        config = json!({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers"}});
    }
    for Attachment { media_type, payload, annotations } in new {
        let payload = Bytes::from(payload);
        let mut descriptor = Descriptor::new(&media_type, Digest::of(&payload), payload.len() as u64);
        descriptor.annotations = annotations;
        if layers.contains(&descriptor) {
            continue;
        }
        client.upload(&payload).await?;
        layers.push(descriptor);
    }
    config["rootfs"]["diff_ids"] = layers.iter().map(|layer| layer.digest.to_string()).collect();
    let config = Bytes::from(config.to_string());
    client.upload(&config).await?;
    let manifest = Manifest {
        family: Family::Oci,
        config: Descriptor::new(media_type::OCI_CONFIG, Digest::of(&config), config.len() as u64),
        layers,
        annotations: std::collections::BTreeMap::new(),
    };
    let bytes = Bytes::from(manifest.to_json());
    let tagged = attachment_name(remote, digest);
    Ok(client.put_manifest(&tagged, bytes, media_type::OCI_MANIFEST).await?)
}

/// The manifest whose layers are signatures, if there is one.
async fn attachments(
    client: &Client<'_>,
    remote: &Reference,
    digest: &Digest,
) -> Result<Option<Manifest>, PlaceError> {
    let tagged = attachment_name(remote, digest);
    let served = match client.manifest(&tagged).await {
        Ok(served) => served,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match Document::parse(&served.bytes, served.media_type.as_deref()) {
        Ok(Document::Manifest(manifest)) => Ok(Some(*manifest)),
        _ => Err(SignatureError::Form(tagged.to_string(), "it is no manifest").into()),
    }
}

fn attachment_name(remote: &Reference, digest: &Digest) -> Reference {
    let tag = format!("{}.sig", digest.to_string().replacen(':', "-", 1));
    remote.without_version().with_tag(&tag).expect("a digest makes a tag")
}

/// The path of a `file:` URL.
pub(super) fn file_of(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("file://")?;
    // A host in such a URL means this one.
    let path = &rest[rest.find('/')?..];
    let mut bytes = Vec::with_capacity(path.len());
    let mut left = path.as_bytes();
    while let Some((&byte, rest)) = left.split_first() {
        let escaped = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let escaped = escaped.filter(|_| byte == b'%').and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(escaped.unwrap_or(byte));
        left = if escaped.is_some() { &rest[2..] } else { rest };
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

fn file(path: &Path) -> Result<Option<Vec<u8>>, SignatureError> {
    match read_limited(path, SIGNATURE_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(error) => Err(SignatureError::Read(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_urls() {
        assert_eq!(file_of("file:///a/b%20c@sha256=x"), Some("/a/b c@sha256=x".into()));
        assert_eq!(file_of("file://localhost/a%"), Some("/a%".into()));
        assert_eq!(file_of("https://a/b"), None);
        assert_eq!(file_of("file://x"), None);
    }
}
