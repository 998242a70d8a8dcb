//! Errors of the user namespace layer.

use std::path::PathBuf;

use crate::config::ErrorKind;
use crate::kernel;

/// Shorthand for results of the user namespace layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the user namespace cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not let this user make user namespaces.
    #[error("cannot create a user namespace: {cause}")]
    Create {
        /// The reason as far as it can be seen from here.
        cause: &'static str,
        /// The administrator's command that changes it.
        fix: Option<String>,
        /// The failed call.
        source: kernel::Error,
    },
    /// newuidmap or newgidmap refused.
    #[error("{} {pid} failed: {message}", helper.display())]
    Helper {
        /// The program.
        helper: PathBuf,
        /// The process whose map was to be set.
        pid: u32,
        /// What it wrote to its standard error.
        message: String,
    },
    /// An id map cannot be written.
    #[error("cannot set the id map of the user namespace")]
    Map(#[source] kernel::Error),
    /// A file or call that always works did not.
    #[error("cannot enter the user namespace")]
    Kernel(#[from] kernel::Error),
    /// The helper process that writes the maps vanished.
    #[error("the process that sets the id maps ended early")]
    HelperVanished,
}

impl Error {
    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Create { .. } | Self::Helper { .. } | Self::Map(_) => ErrorKind::Denied,
            Self::Kernel(_) | Self::HelperVanished => ErrorKind::Internal,
        }
    }

    /// A command or setting that helps.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Create { fix, .. } => fix.as_deref(),
            _ => None,
        }
    }
}
