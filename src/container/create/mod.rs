//! From what the user asked for to a container record and its OCI spec.
//!
//! The command line fills a [`CreateRequest`]; [`CreateRequest`] is typed and complete,
//! so that nothing below parses text again. [`spec::generate`] is pure: request, image
//! configuration and a few facts of the host in, runtime spec out.

pub mod caps;
pub mod env;
pub mod idmap;
pub mod limits;
pub mod namespace;
pub mod request;
pub mod security;
pub mod size;
pub mod spec;
pub mod userns;
mod words;

pub use request::{
    CreateRequest, EnvRequest, Identity, ImageVolumes, Init, IpcMode, LogRequest, NamespaceMode, PullPolicy,
    RestartPolicy, RootFs, SeccompChoice, Security, Systemd, Ulimit, UserNsMode, UserRequest,
};
