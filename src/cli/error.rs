//! What a command fails with, and how it is printed.
//!
//! A library error becomes a [`CommandError`] by `?` alone: the list at the end
//! of this file names each of them. Its `Display` is the headline (podman's
//! phrase where scripts look for one), its sources follow after colons as
//! podman prints them, and hints come from [`super::hints`].

use std::error::Error as StdError;
use std::fmt::{Display, Write as _};
use std::io;

use super::exit::ExitStatus;
use super::hints;
use crate::config::ErrorKind;
use crate::monitor::{Failure, Reason};
use crate::{container, kernel, runtime};

/// The failure of a command: a text, hints, an exit code.
#[derive(Debug)]
pub struct CommandError {
    /// What follows `Error: `; empty for a failure that was reported already.
    message: String,
    /// Whether `Error: ` is printed at all.
    prefixed: bool,
    hints: Vec<String>,
    status: ExitStatus,
    kind: Option<ErrorKind>,
}

/// The result of commands.
pub type Result<T, E = CommandError> = std::result::Result<T, E>;

impl CommandError {
    /// An error of rbox itself, exit code 125.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            prefixed: true,
            hints: Vec::new(),
            status: ExitStatus::ERROR,
            kind: None,
        }
    }

    /// An error whose text is printed as it is: the few that podman prints without `Error: `.
    pub fn plain(message: impl Into<String>) -> Self {
        Self { prefixed: false, ..Self::new(message) }
    }

    /// An error of the flags of `command_path`, with the pointer to its help.
    pub fn usage(message: impl Display, command_path: &str) -> Self {
        Self::new(format!("{message}\nSee '{command_path} --help'"))
    }

    /// A failure about which nothing (more) is to be said.
    #[must_use]
    pub fn silent(status: ExitStatus) -> Self {
        Self { status, ..Self::new("") }
    }

    /// Replaces the exit code.
    #[must_use]
    pub fn with_status(mut self, status: ExitStatus) -> Self {
        self.status = status;
        self
    }

    /// Adds a hint: a command or setting that works.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Puts what was being done in front of the message.
    #[must_use]
    pub fn context(mut self, doing: impl Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// Replaces the exit code by what `table` gives for the kind of the error.
    #[must_use]
    pub fn with_status_of(self, table: fn(ErrorKind) -> ExitStatus) -> Self {
        let status = self.kind.map_or(self.status, table);
        self.with_status(status)
    }

    /// What kind of failure the library reported, if it came from there.
    #[must_use]
    pub fn kind(&self) -> Option<ErrorKind> {
        self.kind
    }

    /// The exit code.
    #[must_use]
    pub fn status(&self) -> ExitStatus {
        self.status
    }

    /// The text after `Error: `.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The lines to print, if there is anything to say.
    #[must_use]
    pub fn headline(&self) -> Option<String> {
        match (self.message.is_empty(), self.prefixed) {
            (true, _) => None,
            (false, true) => Some(format!("Error: {}", self.message)),
            (false, false) => Some(self.message.clone()),
        }
    }

    /// The hints, in order.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// An error and its sources, joined with colons, as podman prints them.
    #[must_use]
    pub fn describe(error: &(dyn StdError + 'static)) -> String {
        let mut message = describe(error);
        let mut source = error.source();
        while let Some(cause) = source {
            let _ = write!(message, ": {}", describe(cause));
            source = cause.source();
        }
        message
    }

    fn from_library(error: &(dyn StdError + 'static), kind: ErrorKind) -> Self {
        Self { hints: hints::for_error(error), kind: Some(kind), ..Self::new(Self::describe(error)) }
    }
}

/// The text of one error of a chain. The standard library appends
/// `(os error 2)` to an errno; podman and every script print it bare.
fn describe(error: &(dyn StdError + 'static)) -> String {
    match error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
        Some(errno) => kernel::errno::describe(errno),
        None => error.to_string(),
    }
}

impl From<io::Error> for CommandError {
    /// Only for the terminal and pipes of this process: a file belongs to an error that names it.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            // The reader of a pipe has gone: `rbox ps | head -1` is no failure to report.
            return Self::silent(ExitStatus::SUCCESS);
        }
        Self::new(describe(&error))
    }
}

impl From<kernel::Error> for CommandError {
    fn from(error: kernel::Error) -> Self {
        Self::from_library(&error, ErrorKind::Internal)
    }
}

/// Each library error that `?` turns into a [`CommandError`]: add yours.
macro_rules! library_errors {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                Self::from_library(&error, error.kind())
            }
        }
    )+};
}

library_errors! {
    crate::config::Error,
    crate::engine::Error,
    crate::image::Error,
    crate::network::Error,
    crate::runtime::instance::Error,
    crate::store::Error,
    crate::userns::Error,
    crate::volume::Error,
}

impl From<container::Error> for CommandError {
    /// Wrapped errors are taken out first: hints look for what the kernel said.
    fn from(error: container::Error) -> Self {
        use container::Error;
        match error {
            Error::Kernel(error) => error.into(),
            Error::Store(error) => error.into(),
            Error::Runtime(error) => error.into(),
            Error::UserNamespace(error) => error.into(),
            Error::Config(error) => error.into(),
            Error::Network(error) => error.into(),
            Error::Volume(error) => error.into(),
            Error::NotStarted(failure) => failure.into(),
            // As podman, which finds devices when it is about to start the command.
            error @ Error::Devices { .. } => {
                Self::from_library(&error, error.kind()).with_status(ExitStatus::NOT_EXECUTABLE)
            }
            error => Self::from_library(&error, error.kind()),
        }
    }
}

impl From<runtime::Error> for CommandError {
    fn from(error: runtime::Error) -> Self {
        let status = ExitStatus::from_code(error.exit_code());
        // Scripts look for these words of podman's.
        let words = match &error {
            runtime::Error::ProgramNotFound { .. } => {
                ": OCI runtime attempted to invoke a command that was not found"
            }
            runtime::Error::ProgramNotExecutable { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                ": OCI permission denied"
            }
            _ => "",
        };
        let mut error = Self::from_library(&error, error.kind()).with_status(status);
        error.message.push_str(words);
        error
    }
}

impl From<Failure> for CommandError {
    fn from(Failure { code, text, hints }: Failure) -> Self {
        let status = ExitStatus::from_code(u8::try_from(code).unwrap_or(125));
        Self { hints, ..Self::new(text).with_status(status) }
    }
}

impl CommandError {
    /// What a monitor tells the command that started it.
    #[must_use]
    pub fn describe_failure(reason: Reason) -> Failure {
        let error = match reason.downcast::<container::Error>() {
            Ok(error) => Self::from(*error),
            Err(reason) => match reason.downcast::<runtime::Error>() {
                Ok(error) => Self::from(*error),
                Err(reason) => Self::from_library(&*reason, ErrorKind::Internal),
            },
        };
        Failure { code: error.status.code().into(), text: error.message, hints: error.hints }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_is_joined_with_colons_and_errno_is_bare() {
        let error = kernel::Error::path("open", "/x", io::Error::from_raw_os_error(2));
        assert_eq!(CommandError::from(error).message(), "open /x: no such file or directory");
    }

    #[test]
    fn vanished_reader_is_quiet() {
        let error = CommandError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((error.message(), error.status()), ("", ExitStatus::SUCCESS));
    }
}
