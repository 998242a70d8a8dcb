//! Errors of the configuration layer, and the classification that every layer above shares.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::cdi::Problem;
use crate::kernel;

/// What kind of failure an error is; the command line maps it to an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The named object does not exist.
    NotFound,
    /// The object exists already, or is in a state that forbids the action.
    Conflict,
    /// The request itself is wrong.
    InvalidInput,
    /// The kernel, the administrator or a registry refused.
    Denied,
    /// Neither this host nor this version of rbox can do it.
    Unsupported,
    /// Somebody else holds it at the moment.
    Busy,
    /// A bug, or a host that fails in a way nobody expects.
    Internal,
}

/// Shorthand for results of the configuration layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration file exists but cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: kernel::Error,
    },
    /// A configuration file is not what its format demands.
    #[error("{}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The key and what is wrong with it.
        message: String,
    },
    /// `--module NAME` names nothing.
    #[error("could not resolve module \"{name}\": searched {}", searched.join(", "))]
    ModuleNotFound {
        /// The module as typed.
        name: String,
        /// The places looked at.
        searched: Vec<String>,
    },
    /// Neither `$HOME` nor /etc/passwd says where the user's home is.
    #[error("cannot find the home directory of uid {uid}: $HOME is not set and /etc/passwd has no entry")]
    NoHome {
        /// The user.
        uid: u32,
    },
    /// A directory for volatile state is not the user's own.
    #[error("{} is not a directory that only uid {uid} can use: {problem}", path.display())]
    UntrustedDir {
        /// The directory.
        path: PathBuf,
        /// Who asked.
        uid: u32,
        /// Its owner, type or mode.
        problem: String,
    },
    /// An environment variable of rbox's own makes no sense.
    #[error("{name}={value}: it must be {wanted}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it could be.
        wanted: &'static str,
    },
    /// No specification describes these devices.
    #[error("unresolvable CDI devices {}", devices.join(", "))]
    UnknownDevices {
        /// As they were asked for.
        devices: Vec<String>,
        /// Those that there are.
        known: Vec<String>,
        /// Specifications that were left out.
        problems: Vec<Problem>,
    },
    /// A specification wants what is not done here.
    #[error("not supported yet: {}: {what}", path.display())]
    UnsupportedDevice {
        /// The specification.
        path: PathBuf,
        /// What it wants.
        what: &'static str,
    },
    /// A path option is not absolute and the current directory is gone.
    #[error("cannot make {} absolute", path.display())]
    RelativePath {
        /// The path as given.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// So many names are listed in a hint.
const LISTED: usize = 12;

impl Error {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let Self::UnknownDevices { known, problems, .. } = self else { return None };
        let mut hint = match known.as_slice() {
            [] => "no specification describes a device (`rbox doctor cdi` says where they are looked for)"
                .to_owned(),
            known => {
                let rest = if known.len() > LISTED { ", …" } else { "" };
                format!("there are {}{rest}", known[..known.len().min(LISTED)].join(", "))
            }
        };
        for Problem { path, reason } in problems {
            let _ = write!(hint, "; {} is left out: {reason}", path.display());
        }
        Some(hint)
    }

    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } | Self::UntrustedDir { .. } => ErrorKind::Denied,
            Self::Parse { .. } | Self::RelativePath { .. } | Self::Variable { .. } => ErrorKind::InvalidInput,
            Self::ModuleNotFound { .. } | Self::NoHome { .. } | Self::UnknownDevices { .. } => {
                ErrorKind::NotFound
            }
            Self::UnsupportedDevice { .. } => ErrorKind::Unsupported,
        }
    }
}
