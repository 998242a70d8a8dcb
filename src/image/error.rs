//! What can go wrong with images, in podman's words where scripts look for them.

use std::path::PathBuf;

use super::archive::ArchiveError;
use super::artifact::ArtifactError;
use super::auth::{AuthError, KeyError};
use super::decompress::DecompressError;
use super::download::DownloadError;
use super::encryption::EncryptionError;
use super::manifest::ManifestError;
use super::platform::Platform;
use super::policy::PolicyError;
use super::reference::{Reference, ReferenceError};
use super::registries::{CandidateError, RegistriesError};
use super::registry::RegistryError;
use super::signature::SignatureError;
use crate::config::ErrorKind;
use crate::store::{self, Digest};

/// Shorthand for results of the image layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation on images.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text that is no image reference.
    #[error("parsing reference {text:?}")]
    Reference {
        /// What was given.
        text: String,
        /// What is wrong.
        source: ReferenceError,
    },
    /// registries.conf cannot be used, or forbids it.
    #[error(transparent)]
    Registries(#[from] RegistriesError),
    /// policy.json forbids the image.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Something with artifacts.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// Signatures cannot be read or made.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Credentials cannot be read or written.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// An argument of login or logout.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A registry cannot be asked for an image.
    #[error("initializing source docker://{reference}")]
    Source {
        /// The image.
        reference: Box<Reference>,
        /// What happened.
        source: Box<RegistryError>,
    },
    /// A registry cannot be asked for a document.
    #[error("reading image \"docker://{reference}\"")]
    Reading {
        /// The image.
        reference: Box<Reference>,
        /// What happened.
        source: Box<RegistryError>,
    },
    /// A registry cannot be given an image.
    #[error("writing to docker://{reference}")]
    Destination {
        /// The image.
        reference: Box<Reference>,
        /// What happened.
        source: Box<RegistryError>,
    },
    /// No HTTP client.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// The manifest or config of an image is refused.
    #[error("{image}: {problem}")]
    Refused {
        /// The image.
        image: String,
        /// What is wrong with it.
        problem: Refusal,
    },
    /// An index without the platform.
    #[error("choosing an image from manifest list {image}: no image found in image index for architecture {:?}, variant {:?}, OS {:?}", wanted.architecture, wanted.variant.as_deref().unwrap_or_default(), wanted.os)]
    NoPlatform {
        /// The image.
        image: String,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What there is.
        available: Vec<String>,
    },
    /// A layer cannot be stored.
    #[error("copying layer {digest}")]
    Layer {
        /// The layer's blob.
        digest: Box<Digest>,
        /// What happened.
        source: LayerError,
    },
    /// A layer cannot be decrypted.
    #[error("decrypting layer {digest}")]
    Decrypt {
        /// The encrypted blob.
        digest: Box<Digest>,
        /// What happened.
        source: EncryptionError,
    },
    /// Keys cannot be used, or a layer not be encrypted.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// None of several candidates could be pulled.
    #[error("{} errors occurred while pulling:{}", .0.len(), list(.0))]
    Several(Vec<Error>),
    /// No such image here.
    #[error("{0}: image not known")]
    NotKnown(String),
    /// A name with a transport that rbox does not read.
    #[error("not supported yet: the transport of {0:?}")]
    Transport(String),
    /// An archive or layout cannot be read.
    #[error("{}", if let Some(path) = path { format!("reading {}", path.display()) } else { "reading the archive".to_owned() })]
    Archive {
        /// The file; none for standard input.
        path: Option<PathBuf>,
        /// What is wrong with it.
        source: Box<ArchiveError>,
    },
    /// A file of the web cannot be had.
    #[error("downloading {url}")]
    Download {
        /// Where it should be.
        url: String,
        /// What happened.
        source: Box<DownloadError>,
    },
    /// An option that contradicts another one.
    #[error("{0}")]
    Options(&'static str),
}

/// Why an image is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Its manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Its config is not one.
    #[error("invalid image config: {0}")]
    Config(#[from] serde_json::Error),
    /// Its config and its manifest do not belong together.
    #[error("the manifest has {layers} layers, but the config names {diff_ids}")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the config.
        diff_ids: usize,
    },
    /// A layer of a kind that cannot be unpacked.
    #[error("unsupported layer type {0:?}")]
    LayerType(String),
    /// An artifact that is no container image.
    #[error("not a container image: its config is of type {0:?}")]
    Artifact(String),
    /// One image where a list of images is needed.
    #[error("it is an image and no manifest list")]
    NoList,
    /// Indexes that lead to indexes without end.
    #[error("the image index is nested too deeply")]
    Nested,
}

/// Why a layer cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// It cannot be decompressed.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It cannot be decrypted.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// The blob in the store or archive cannot be read.
    #[error("reading the layer")]
    Read(#[source] std::io::Error),
    /// Something else failed first.
    #[error("cancelled")]
    Cancelled,
}

fn list(errors: &[Error]) -> String {
    errors.iter().map(|error| format!("\n * {}", chain(error))).collect()
}

/// An error and its sources, joined with colons.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = source.source();
    }
    text
}

impl LayerError {
    /// The error of a whole image.
    pub(super) fn of(self, digest: &Digest) -> Error {
        let digest = Box::new(digest.clone());
        match self {
            Self::Encryption(source) => Error::Decrypt { digest, source },
            source => Error::Layer { digest, source },
        }
    }
}

impl From<CandidateError> for Error {
    fn from(error: CandidateError) -> Self {
        match error {
            CandidateError::Reference { text, source } => Self::Reference { text, source },
            CandidateError::Registries(error) => Self::Registries(error),
        }
    }
}

impl From<RegistryError> for Error {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl Error {
    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Reference { .. } | Self::Key(_) | Self::Refused { .. } | Self::Options(_) => {
                ErrorKind::InvalidInput
            }
            Self::Registries(RegistriesError::Blocked(_)) => ErrorKind::Denied,
            Self::Registries(_) => ErrorKind::InvalidInput,
            Self::Policy(error) => error.kind(),
            Self::Signature(error) => error.kind(),
            Self::Artifact(error) => error.kind(),
            Self::Auth(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Source { source, .. }
            | Self::Reading { source, .. }
            | Self::Destination { source, .. }
            | Self::Registry(source) => source.kind(),
            Self::NoPlatform { .. } | Self::NotKnown(_) => ErrorKind::NotFound,
            Self::Layer { source, .. } => match source {
                LayerError::Store(error) => error.kind(),
                LayerError::Decompress(_) => ErrorKind::InvalidInput,
                LayerError::Encryption(error) => error.kind(),
                LayerError::Read(_) | LayerError::Cancelled => ErrorKind::Internal,
            },
            Self::Decrypt { source, .. } | Self::Encryption(source) => source.kind(),
            Self::Several(errors) => errors.last().map_or(ErrorKind::Internal, Self::kind),
            Self::Transport(_) => ErrorKind::Unsupported,
            Self::Archive { source, .. } => source.kind(),
            Self::Download { source, .. } => source.kind(),
        }
    }

    /// A setting or command that helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Source { reference, source }
            | Self::Reading { reference, source }
            | Self::Destination { reference, source } => source.hint(reference.domain()),
            Self::NoPlatform { available, .. } if !available.is_empty() => {
                Some(format!("the image exists for {}", available.join(", ")))
            }
            Self::Policy(_) => Some("`image trust show` lists what the policy says".to_owned()),
            Self::Signature(error) => error.hint(),
            Self::Decrypt { source, .. } | Self::Encryption(source) => source.hint(),
            Self::Several(errors) => errors.iter().find_map(Self::hint),
            _ => None,
        }
    }
}
