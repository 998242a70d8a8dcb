//! Signatures of images: what they say, whether they are good, where they are found, and making them.
//!
//! | format | signed by | found |
//! |---|---|---|
//! | simple signing | an OpenPGP key ([`openpgp`]) | in the lookaside of registries.d, in `dir:` folders |
//! | sigstore | a key, or a certificate with a log's word ([`sigstore`]) | beside the image, as `sha256-HEX.sig` |
//!
//! What a signature says is read only after it was verified. The mathematics are ring's and webpki's.

mod certificate;
mod identity;
mod image;
mod key;
mod openpgp;
mod payload;
pub(crate) mod place;
mod private_key;
mod registries_d;
mod rekor;
mod requirement;
mod sign;
mod sigstore;

use std::path::PathBuf;

pub use image::{SignRequest, sign};
pub(crate) use registries_d::SignaturePlaces;
pub(crate) use requirement::{SignedBy, SigstoreSigned};
pub(crate) use sign::Signer;
pub use sign::Signing;
pub(crate) use sigstore::Attachment;

use crate::config::{ErrorKind, Paths};
use crate::image::reference::Reference;
use crate::kernel;
use crate::store::{Digest, Hasher};

/// The largest signature that is read.
pub(crate) const SIGNATURE_MAX: u64 = 4 << 20;
/// More signatures of one image than this nobody makes.
pub(crate) const SIGNATURES_MAX: usize = 128;
/// What stands before a signature that is no OpenPGP message.
const SIGSTORE_MARK: &[u8] = b"\0sigstore-json\n";

/// Why signatures cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// A file cannot be read.
    #[error("reading the configuration of signatures")]
    Read(#[source] kernel::Error),
    /// A file of registries.d is wrong.
    #[error("parsing {}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A signature is no signature.
    #[error("parsing signature {0:?}: {1}")]
    Form(String, &'static str),
    /// A lookaside of a kind that is not known.
    #[error("Unsupported scheme when reading signature from {0}")]
    Scheme(String),
    /// A signature cannot be written to a file.
    #[error("writing a signature")]
    Write(#[source] kernel::Error),
    /// A lookaside that is a web server.
    #[error("Writing directly to lookaside {0} is not supported. Configure a lookaside-staging: location")]
    NotWritable(String),
    /// Signatures of sigstore are not to be written.
    #[error("writing sigstore attachments is disabled by configuration")]
    AttachmentsDisabled,
    /// A private key cannot be used.
    #[error("loading the private key {}: {message}", path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why not.
        message: &'static str,
    },
    /// A private key without what decrypts it.
    #[error("private key passphrase not provided")]
    NoPassphrase,
    /// There is no `gpg`.
    #[error("signing with an OpenPGP key needs the program gpg, which is not in $PATH")]
    NoProgram,
    /// `gpg` does not sign.
    #[error("creating a signature by {key:?} with gpg: {message}")]
    Gpg {
        /// The key.
        key: String,
        /// What it says.
        message: String,
    },
    /// ring has no random numbers, or the like.
    #[error("creating a signature failed")]
    Failed,
}

impl SignatureError {
    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(_) | Self::Write(_) | Self::Gpg { .. } => ErrorKind::Denied,
            Self::File { .. }
            | Self::Form(..)
            | Self::Scheme(_)
            | Self::NotWritable(_)
            | Self::AttachmentsDisabled
            | Self::Key { .. }
            | Self::NoPassphrase => ErrorKind::InvalidInput,
            Self::NoProgram => ErrorKind::NotFound,
            Self::Failed => ErrorKind::Internal,
        }
    }

    /// What helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::AttachmentsDisabled => Some(
                "a file in ~/.config/containers/registries.d allows it: `docker: {REGISTRY: {use-sigstore-attachments: true}}`".to_owned(),
            ),
            Self::NoPassphrase => Some("`--sign-passphrase-file` names a file with it".to_owned()),
            _ => None,
        }
    }
}

/// The owners of the OpenPGP keys in a file, for people.
#[must_use]
pub fn key_owners(file: &[u8]) -> Vec<String> {
    openpgp::Keyring::owners(file).unwrap_or_default()
}

/// Where the signatures of a scope of policy.json are read, as far as registries.d says so.
///
/// # Errors
/// When a file of registries.d is wrong.
pub fn shown_lookaside(paths: &Paths, scope: &str) -> Result<Option<String>, SignatureError> {
    Ok(SignaturePlaces::load(paths)?.shown(scope))
}

/// A signature as it was found: nothing in it is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signature {
    /// An OpenPGP message.
    Simple(Vec<u8>),
    /// One of sigstore.
    Sigstore(Attachment),
}

impl Signature {
    /// Reads the form that lookasides and `dir:` folders have.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, &'static str> {
        match bytes.first() {
            None => Err("it is empty"),
            Some(0) => {
                let json = bytes.strip_prefix(SIGSTORE_MARK).ok_or("its format is not known")?;
                serde_json::from_slice(json).map(Self::Sigstore).map_err(|_| "it is malformed")
            }
            // Packets of OpenPGP begin with such a byte.
            Some(0x80..) => Ok(Self::Simple(bytes.to_vec())),
            Some(_) => Err("its format is not known"),
        }
    }
}

/// What is to be signed: an image at the place where it was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'s> {
    /// The name that the user means; images in folders have none.
    pub(crate) name: Option<&'s Reference>,
    /// Its manifest.
    pub(crate) manifest: &'s [u8],
}

impl Subject<'_> {
    /// Whether the digest, of whatever algorithm, is the manifest's.
    fn has(&self, digest: &Digest) -> bool {
        let mut hasher = Hasher::like(digest);
        hasher.update(self.manifest);
        hasher.finish() == *digest
    }
}
