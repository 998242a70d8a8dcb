//! From what the user asked for to a container record and its OCI spec.
//!
//! The command line fills a [`CreateRequest`]; [`CreateRequest`] is typed and complete,
//! so that nothing below parses text again. [`spec::generate`] is pure: request, image
//! configuration and a few facts of the host in, runtime spec out.

pub mod request;
pub mod spec;

pub use request::{
    CreateRequest, EnvRequest, Identity, ImageVolumes, Init, IpcMode, LogRequest, NamespaceMode, PullPolicy,
    RestartPolicy, RootFs, SeccompChoice, Security, Systemd, Ulimit, UserNsMode, UserRequest,
};

/// Why a container cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither the image nor the user named a command.
    #[error("no command or entrypoint provided, and no CMD or ENTRYPOINT from image")]
    NoCommand,
    /// A feature of a later version.
    #[error("not supported yet: {what}")]
    Unsupported {
        /// The flag or its value.
        what: String,
    },
    /// A value that does not parse.
    #[error("invalid value {value:?} of {what}: {why}")]
    Invalid {
        /// The flag or the field.
        what: &'static str,
        /// The value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
}
