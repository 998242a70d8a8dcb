//! From what the user asked for to a container record and its OCI spec.
//!
//! The command line fills a [`CreateRequest`]; [`CreateRequest`] is typed and complete,
//! so that nothing below parses text again. [`spec::generate`] is pure: request, image
//! configuration and a few facts of the host in, runtime spec out.

use super::{Error, Result};

mod build;
pub mod caps;
pub mod cgroup;
mod default_mounts;
pub mod env;
pub mod extras;
mod hooks;
mod host;
pub mod idmap;
mod joins;
mod labels;
pub mod limits;
pub mod namespace;
pub mod profile;
mod record;
pub mod request;
pub mod resources;
pub mod runtime;
pub mod security;
pub mod size;
pub mod spec;
pub mod userns;
mod volumes;
mod words;

pub use build::{Blueprint, Created, create};
pub use extras::Extras;
pub(in crate::container) use hooks::add_at as add_hook_at;
pub use profile::SecurityProfile;
pub use request::{
    CgroupMode, CreateRequest, EnvRequest, Identity, ImageVolumes, Init, IpcMode, LogRequest, NamespaceMode,
    RestartPolicy, RootFs, SeccompChoice, Security, Systemd, Ulimit, UserNsMode, UserRequest,
};
pub use resources::Resources;

/// Reads a file mode creation mask: up to four octal digits.
///
/// # Errors
/// When it is none.
pub fn parse_umask(text: &str) -> Result<u32> {
    let octal = (1..=4).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|umask| octal && *umask <= 0o7777)
        .ok_or_else(|| Error::Invalid { what: format!("invalid umask string {text}: invalid argument") })
}
