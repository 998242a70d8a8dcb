//! Errors of the OCI command line's verbs.

use std::path::PathBuf;

use super::record::Status;
use crate::config::ErrorKind;
use crate::{kernel, runtime};

/// Shorthand for results of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no container id.
    #[error("invalid container ID `{}`: {why}", id.escape_debug())]
    BadId {
        /// As given.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such container.
    #[error("container `{id}` does not exist")]
    NotFound {
        /// Its id.
        id: String,
    },
    /// The id is in use.
    #[error("container with id `{id}` already exists")]
    Exists {
        /// The id.
        id: String,
    },
    /// The container's first process has ended.
    #[error("container not running: `{id}`")]
    Stopped {
        /// Its id.
        id: String,
    },
    /// The container is in a state that forbids the verb.
    #[error("cannot {verb} container `{id}`: it is {}", status.name())]
    State {
        /// Its id.
        id: String,
        /// What was to be done.
        verb: &'static str,
        /// Its state.
        status: Status,
    },
    /// The container has no cgroup of its own.
    #[error("container `{id}` has no cgroup of its own on this host")]
    NoCgroup {
        /// Its id.
        id: String,
    },
    /// More memory is in use than a new limit allows.
    #[error("cannot set the memory limit of container `{id}` to {limit}: it uses {used} bytes")]
    InUse {
        /// Its id.
        id: String,
        /// The limit asked for.
        limit: u64,
        /// What is in use.
        used: u64,
    },
    /// A record cannot be understood.
    #[error("{}: {why}", path.display())]
    Record {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The runtime failed.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// A system call failed.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
}

impl Error {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadId { .. } => ErrorKind::InvalidInput,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Exists { .. } | Self::Stopped { .. } | Self::State { .. } | Self::InUse { .. } => {
                ErrorKind::Conflict
            }
            Self::NoCgroup { .. } => ErrorKind::Unsupported,
            Self::Record { .. } | Self::Kernel(_) => ErrorKind::Internal,
            Self::Runtime(error) => error.kind(),
        }
    }
}
