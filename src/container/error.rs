//! Why an operation on a container failed.

use std::path::PathBuf;

use super::Status;
use crate::config::{self, ErrorKind};
use crate::image::artifact::ArtifactError;
use crate::monitor::Failure;
use crate::{kernel, network, runtime, store, userns, volume};

/// Why an operation on a container failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No container answers to the reference.
    #[error("no container with name or ID {reference:?} found: no such container")]
    NotFound {
        /// As the user gave it.
        reference: String,
    },
    /// The id prefix fits several containers.
    #[error("more than one result for container name or ID {reference:?}: container ID prefix is ambiguous")]
    Ambiguous {
        /// As the user gave it.
        reference: String,
    },
    /// The name does not follow the grammar.
    #[error("names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument: {name:?}")]
    BadName {
        /// The name.
        name: String,
    },
    /// The name belongs to another container.
    #[error(
        "creating container storage: the container name {name:?} is already in use by {id}. You have to remove that container to be able to reuse that name: that name is already in use"
    )]
    NameInUse {
        /// The name.
        name: String,
        /// Its owner.
        id: String,
    },
    /// The id belongs to another container.
    #[error("container ID {id} is already in use: container already exists")]
    IdInUse {
        /// The id.
        id: String,
    },
    /// The verb does not fit the state.
    #[error("{what}: container state improper")]
    WrongState {
        /// The whole sentence, as podman says it.
        what: String,
        /// The state it is in.
        status: Status,
    },
    /// The container has ended, but nobody was there to see how.
    #[error(
        "container {id} conmon exited prematurely, exit code could not be retrieved: conmon process killed"
    )]
    MonitorGone {
        /// The container.
        id: String,
    },
    /// The container has no cgroup that could be frozen.
    #[error("cgroup v2 freezer is not available for this container, so it cannot be paused")]
    NoFreezer,
    /// Others use it.
    #[error(
        "container {id} has dependent containers which must be removed before it: {}: container already exists",
        others.join(", ")
    )]
    HasDependents {
        /// The container.
        id: String,
        /// The others.
        others: Vec<String>,
    },
    /// A file of the container cannot be understood.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The record of a container is of no use; only its removal by force is.
    #[error("container {id} is damaged")]
    Broken {
        /// The container.
        id: String,
        /// What is wrong.
        source: Box<Error>,
    },
    /// A file of a container that should be there is not.
    #[error("{} is missing or empty", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file was written by a newer rbox.
    #[error("{} has version {found}, this rbox reads up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// What this rbox knows.
        known: u32,
    },
    /// A value that the user gave is not usable.
    #[error("{what}")]
    Invalid {
        /// The whole sentence.
        what: String,
    },
    /// `--hostuser` names nobody.
    #[error("user: unknown user {name}")]
    UnknownHostUser {
        /// As given.
        name: String,
    },
    /// A flag or value of a later version.
    #[error("not supported yet: {what}")]
    Unsupported {
        /// The feature.
        what: String,
    },
    /// rbox's own runtime has no such flag.
    #[error("OCI runtime error: rbox: unknown option --{flag}")]
    RuntimeFlag {
        /// The flag, without dashes.
        flag: String,
    },
    /// fuse-overlayfs does not do its work.
    #[error("mounting by {}: {what}", program.display())]
    Fuse {
        /// The program.
        program: PathBuf,
        /// What happened.
        what: String,
    },
    /// A mount or volume cannot be.
    #[error(transparent)]
    Volume(#[from] volume::Error),
    /// An artifact cannot be mounted.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A network cannot be.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A device that was asked for by name cannot be had.
    #[error("setting up CDI devices")]
    Devices {
        /// Why.
        source: Box<Error>,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The runtime failed.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The user's namespace cannot be entered.
    #[error(transparent)]
    UserNamespace(#[from] userns::Error),
    /// The container could not be started; in the words of its monitor.
    #[error("{0}")]
    NotStarted(Failure),
}

impl Error {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Broken { id, .. } => {
                Some(format!("`rbox rm --force {id}` removes it and all that runs of it"))
            }
            Self::Devices { source } => source.hint(),
            Self::IdInUse { .. } => Some(
                "`rbox container restore --name NAME` gives the restored container an ID of its own"
                    .to_owned(),
            ),
            Self::Config(error) => error.hint(),
            _ => None,
        }
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::UnknownHostUser { .. } => ErrorKind::NotFound,
            Self::NameInUse { .. }
            | Self::IdInUse { .. }
            | Self::WrongState { .. }
            | Self::HasDependents { .. } => ErrorKind::Conflict,
            Self::Ambiguous { .. }
            | Self::BadName { .. }
            | Self::Invalid { .. }
            | Self::RuntimeFlag { .. } => ErrorKind::InvalidInput,
            Self::Broken { source, .. } | Self::Devices { source } => source.kind(),
            Self::Newer { .. } | Self::Unsupported { .. } | Self::NoFreezer => ErrorKind::Unsupported,
            Self::Damaged { .. }
            | Self::Missing { .. }
            | Self::MonitorGone { .. }
            | Self::Kernel(_)
            | Self::NotStarted(_)
            | Self::Fuse { .. } => ErrorKind::Internal,
            Self::Store(error) => error.kind(),
            Self::Runtime(error) => error.kind(),
            Self::UserNamespace(error) => error.kind(),
            Self::Config(error) => error.kind(),
            Self::Network(error) => error.kind(),
            Self::Volume(error) => error.kind(),
            Self::Artifact(error) => error.kind(),
        }
    }
}
