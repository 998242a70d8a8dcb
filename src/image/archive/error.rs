//! What is wrong with an archive or layout.

use crate::config::ErrorKind;
use crate::image::decompress::DecompressError;
use crate::kernel;
use crate::store::{Digest, tar};

/// What is wrong with an archive or layout.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A call on the file or folder failed.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is no tar archive, or a damaged one.
    #[error(transparent)]
    Tar(#[from] tar::Error),
    /// Its compression cannot be undone.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// It is none of the formats.
    #[error(
        "payload does not match any of the supported image formats:\n * oci: {0}\n * oci-archive: {0}\n * docker-archive: {0}\n * dir: {0}"
    )]
    Format(String),
    /// It refers to a file that it does not have.
    #[error("file {0:?} is not in the archive")]
    Missing(String),
    /// One of its documents is too large or has the wrong size.
    #[error("{name:?} has {actual} bytes instead of {expected}")]
    Size {
        /// The file.
        name: String,
        /// As stated, or the limit.
        expected: u64,
        /// As it is.
        actual: u64,
    },
    /// A document is not JSON of the expected form.
    #[error("invalid {name}")]
    Json {
        /// The file.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Content is not what its digest says.
    #[error("{name:?} does not match its digest: expected {expected}, got {actual}")]
    Mismatch {
        /// The file.
        name: String,
        /// As stated.
        expected: Box<Digest>,
        /// As it is.
        actual: Box<Digest>,
    },
    /// There is no image of that name.
    #[error("{0:?} is not in the archive")]
    NoSuchImage(String),
    /// Something in it is refused.
    #[error("{0}")]
    Refused(&'static str),
}

impl ArchiveError {
    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Kernel(error) if error.io().kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Kernel(error) if error.io().kind() == std::io::ErrorKind::PermissionDenied => {
                ErrorKind::Denied
            }
            Self::Kernel(_) | Self::Io(_) => ErrorKind::Internal,
            Self::NoSuchImage(_) => ErrorKind::NotFound,
            _ => ErrorKind::InvalidInput,
        }
    }
}
