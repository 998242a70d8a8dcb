//! Images in files.

use std::path::PathBuf;

use super::error::{Error, Result};
use super::progress::Reporter;
use super::pull::Context;
use crate::config::ErrorKind;
use crate::store::ImageId;

/// A file or folder with images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder in the OCI image layout.
    OciLayout {
        /// The folder.
        path: PathBuf,
        /// Which of its images.
        reference: Option<String>,
    },
    /// The same in an archive.
    OciArchive {
        /// The archive.
        path: PathBuf,
        /// Which of its images.
        reference: Option<String>,
    },
    /// What `docker save` writes.
    DockerArchive {
        /// The archive.
        path: PathBuf,
        /// Which of its images.
        reference: Option<String>,
    },
    /// A folder with a manifest and blobs named by their digests.
    Dir {
        /// The folder.
        path: PathBuf,
    },
}

/// Loads from a file.
pub(crate) fn load_source(
    _context: Context<'_>,
    source: &Source,
    _reporter: Reporter<'_>,
) -> Result<Vec<ImageId>> {
    Err(Error::Transport(format!("{source:?}")))
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl ArchiveError {
    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(_) => ErrorKind::Internal,
        }
    }
}
