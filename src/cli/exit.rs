//! Exit codes of the process, in one place.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | success, or the container's own 0 |
//! | 1 | `exists`: no; `rm`, `rmi`, `stop`: no such object; a log level that does not exist |
//! | 2 | `rm`, `rmi`: the object is in use |
//! | 125 | an error of rbox itself, usage errors included |
//! | 126 | the container's command cannot be invoked |
//! | 127 | the container's command cannot be found |
//! | 128+n | the container was killed by signal n |
//!
//! Whatever else a container's command returns is passed through.

use std::process::ExitCode;

use crate::config::ErrorKind;

/// The exit code of a command that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus(u8);

impl ExitStatus {
    /// Everything went well.
    pub const SUCCESS: Self = Self(0);
    /// A question was answered with no, or the named object does not exist.
    pub const NO: Self = Self(1);
    /// The object is in use.
    pub const IN_USE: Self = Self(2);
    /// rbox itself failed.
    pub const ERROR: Self = Self(125);
    /// The container's command cannot be invoked.
    pub const NOT_EXECUTABLE: Self = Self(126);
    /// The container's command cannot be found.
    pub const NOT_FOUND: Self = Self(127);

    /// A code as a process or a container gave it.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        Self(code)
    }

    /// Failures of commands that answer a question by their exit code (`exists`), and of those
    /// that remove (`rm`, `rmi`): a missing object is 1, one in use is 2.
    #[must_use]
    pub const fn of_removal(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotFound => Self::NO,
            ErrorKind::Conflict | ErrorKind::Busy => Self::IN_USE,
            ErrorKind::InvalidInput | ErrorKind::Denied | ErrorKind::Unsupported | ErrorKind::Internal => {
                Self::ERROR
            }
        }
    }

    /// The code as a shell sees it.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.0)
    }
}
