//! Makes the OCI runtime spec of a container: a pure function of request, image and host facts.

use std::path::Path;

use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{Process, Root, Spec};

use super::request::CreateRequest;

/// What the spec of a container is made from.
#[derive(Debug, Clone, Copy)]
pub struct SpecInput<'a> {
    /// The container's id: 64 hexadecimal digits.
    pub id: &'a str,
    /// The container's name.
    pub name: &'a str,
    /// The request with all defaults merged in.
    pub request: &'a CreateRequest,
    /// The image's configuration; `None` with `--rootfs`.
    pub image: Option<&'a ImageConfiguration>,
    /// Directory of the container's files: `DATA/containers/ID`.
    pub directory: &'a Path,
    /// Facts of the host and the caller.
    pub host: &'a HostFacts,
}

/// Facts of the host and the caller that the spec depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The caller's real user id.
    pub uid: u32,
    /// The caller's real group id.
    pub gid: u32,
    /// The caller's own oom_score_adj; only raising it is allowed.
    pub oom_score_adj: i32,
    /// The caller's hard limits by name without `RLIMIT_`, lower case.
    pub hard_limits: Vec<(String, u64)>,
}

/// Makes the runtime spec.
///
/// # Errors
/// When the request asks for something that cannot be.
pub fn generate(input: &SpecInput<'_>) -> Result<Spec, crate::container::Error> {
    let args = arguments(input)?;
    let mut process = Process::default();
    process.set_args(Some(args)).set_terminal(Some(input.request.terminal));
    let mut root = Root::default();
    root.set_path(input.directory.join("merged")).set_readonly(Some(input.request.read_only));
    let mut spec = Spec::default();
    spec.set_process(Some(process)).set_root(Some(root));
    Ok(spec)
}

/// The command line of the first process, by the rules of entry point and command.
fn arguments(input: &SpecInput<'_>) -> Result<Vec<String>, crate::container::Error> {
    let image = input.image.and_then(|image| image.config().as_ref());
    let request = input.request;
    let mut args = match &request.entrypoint {
        Some(entrypoint) => entrypoint.clone(),
        None => image.and_then(|c| c.entrypoint().clone()).unwrap_or_default(),
    };
    if !request.command.is_empty() {
        args.extend(request.command.iter().cloned());
    } else if request.entrypoint.is_none() {
        // An entry point given on the command line also hides the image's command.
        args.extend(image.and_then(|c| c.cmd().clone()).unwrap_or_default());
    }
    if args.is_empty() {
        return Err(super::super::Error::Invalid {
            what: "no command or entrypoint provided, and no CMD or ENTRYPOINT from image".to_owned(),
        });
    }
    Ok(args)
}
