//! What can go wrong in the store.

use std::path::PathBuf;

use super::Digest;
use crate::config::ErrorKind;
use crate::kernel;

/// Shorthand for results of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed store operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a file of the store.
    #[error("cannot {action}")]
    Kernel {
        /// What was being done, such as `write the image record`.
        action: &'static str,
        /// The failed call.
        source: kernel::Error,
    },
    /// The directory is no store, or not one that this process may use.
    #[error("cannot use {} as the store: {problem}", path.display())]
    Unusable {
        /// The store's directory.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// What the kernel's overlay can do could not be found out this time.
    #[error("cannot find out whether overlay works here: {problem}")]
    Trial {
        /// What came in between.
        problem: String,
    },
    /// A record that cannot be understood.
    #[error("the record {} is damaged: {problem}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A record or store of a later rbox.
    #[error("{} has version {found}, and this rbox knows versions up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The latest version that this program understands.
        known: u32,
    },
    /// Nothing of this name or id.
    #[error("{text}: {what} not known")]
    NotFound {
        /// `image`, `layer`, `blob`.
        what: &'static str,
        /// What the user typed, or the id.
        text: String,
    },
    /// A list of images where one image is needed.
    #[error("{text} is a manifest list and no image: name one of its images")]
    List {
        /// What the user typed.
        text: String,
    },
    /// A short name or id prefix that fits several images.
    #[error("{text:?} fits more than one image: {}", candidates.join(", "))]
    Ambiguous {
        /// What the user typed.
        text: String,
        /// Some of the images.
        candidates: Vec<String>,
    },
    /// The image is in use.
    #[error("image used by {}: image is in use by a container: consider listing external containers and force-removing image", users.join(", "))]
    InUse {
        /// Ids of the containers.
        users: Vec<String>,
    },
    /// Content whose digest or size is not the promised one.
    #[error("{what} does not match: expected {expected}, got {actual}")]
    Mismatch {
        /// `blob digest`, `blob size`, `layer diffID`.
        what: &'static str,
        /// What was promised.
        expected: String,
        /// What came.
        actual: String,
    },
    /// A layer archive that is refused.
    #[error("layer archive refused")]
    Archive(#[from] super::tar::Error),
    /// A layer entry that is refused or cannot be made.
    #[error("layer entry {entry:?} refused: {problem}")]
    Entry {
        /// The entry's name.
        entry: String,
        /// Why.
        problem: String,
    },
    /// A layer entry that the file system does not take.
    #[error("cannot unpack {entry:?}: {call}")]
    Unpack {
        /// The entry's name.
        entry: String,
        /// The failed call.
        call: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file that is to be written into an existing directory.
    #[error("error creating {path:?}: {call}")]
    Place {
        /// Where.
        path: PathBuf,
        /// The failed call.
        call: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The stream that brings the content failed.
    #[error("cannot read the content of {what}")]
    Input {
        /// What was being read.
        what: &'static str,
        /// The reader's error.
        source: std::io::Error,
    },
    /// A record refers to content that is gone.
    #[error("image {image} needs {what} {digest}, which is not in the store")]
    Incomplete {
        /// The image.
        image: String,
        /// `layer` or `blob`.
        what: &'static str,
        /// The missing object.
        digest: Box<Digest>,
    },
    /// This host cannot do it.
    #[error("{0}")]
    Unsupported(String),
}

impl Error {
    /// How callers treat it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Kernel { source, .. } => match source.io().kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    ErrorKind::Denied
                }
                _ => ErrorKind::Internal,
            },
            Self::Unusable { .. } => ErrorKind::Denied,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Ambiguous { .. }
            | Self::List { .. }
            | Self::Mismatch { .. }
            | Self::Archive(_)
            | Self::Entry { .. } => ErrorKind::InvalidInput,
            Self::InUse { .. } => ErrorKind::Conflict,
            Self::Newer { .. } | Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::Place { source, .. } => match source.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    ErrorKind::Denied
                }
                _ => ErrorKind::Internal,
            },
            Self::Trial { .. }
            | Self::Record { .. }
            | Self::Unpack { .. }
            | Self::Input { .. }
            | Self::Incomplete { .. } => ErrorKind::Internal,
        }
    }

    /// For `map_err` on kernel calls.
    pub(crate) fn kernel(action: &'static str) -> impl Fn(kernel::Error) -> Self {
        move |source| Self::Kernel { action, source }
    }
}
