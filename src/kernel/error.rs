//! The error of the kernel layer: which call failed, on what.

use std::io;
use std::path::{Path, PathBuf};

/// A failed system call with its operands.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call that names a path.
    #[error("{call} {}", path.display())]
    Path {
        /// The system call or operation, such as `openat2`.
        call: &'static str,
        /// The path as given to the call.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A call without a path.
    #[error("{call}{}{detail}", if detail.is_empty() { "" } else { " " })]
    Call {
        /// The system call.
        call: &'static str,
        /// Its operands as text, or nothing.
        detail: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Shorthand for results of the kernel layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Builds an error of a call on `path`.
    pub fn path(call: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self::Path { call, path: path.as_ref().to_owned(), source: source.into() }
    }

    /// Builds an error of a call without a path.
    pub fn call(call: &'static str, detail: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Call { call, detail: detail.into(), source: source.into() }
    }

    /// The operating system's error behind this one.
    #[must_use]
    pub fn io(&self) -> &io::Error {
        match self {
            Self::Path { source, .. } | Self::Call { source, .. } => source,
        }
    }

    /// The raw errno, if the kernel gave one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.io().raw_os_error()
    }
}
