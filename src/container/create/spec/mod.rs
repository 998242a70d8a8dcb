//! Makes the OCI runtime spec of a container: a pure function of request, image and host facts.
//!
//! | file | owns |
//! |---|---|
//! | `process` | command line, environment, user, rights, limits |
//! | `mounts` | the mounts that every container has, and those of the request |
//! | `linux` | namespaces, hidden paths, kernel parameters |

mod linux;
mod mounts;
mod process;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Root, Spec};

use super::labels::Labels;
use super::request::{CreateRequest, Systemd};
use super::{Extras, NamespaceMode};
use crate::config::{Env, containers::Containers, subid::PasswdEntry};
use crate::container::{ContainerId, Result};
use crate::image::config::RunConfig;
use crate::kernel::cap::CapabilitySet;
use crate::kernel::idmap::IdMaps;
use crate::runtime::SPEC_VERSION;
use crate::volume::Backing;

pub use mounts::Shown;

/// What the spec of a container is made from.
#[derive(Debug, Clone, Copy)]
pub struct SpecInput<'a> {
    /// The container's id.
    pub id: &'a ContainerId,
    /// The container's name.
    pub name: &'a str,
    /// The request.
    pub request: &'a CreateRequest,
    /// How the image wants to be run; `None` with `--rootfs`.
    pub image: Option<&'a RunConfig>,
    /// `[containers]` of containers.conf.
    pub config: &'a Containers,
    /// The caller's environment.
    pub env: &'a Env,
    /// The id maps; `None` where the user namespace is somebody else's.
    pub maps: Option<&'a IdMaps>,
    /// Directory of the container's files: `DATA/containers/ID`.
    pub directory: &'a Path,
    /// Facts of the host and the caller.
    pub host: &'a HostFacts,
}

/// Facts of the host, the caller and the store that the spec depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The host's name.
    pub host_name: String,
    /// The caller's user id.
    pub uid: u32,
    /// The caller's group id.
    pub gid: u32,
    /// The caller's account.
    pub account: Option<PasswdEntry>,
    /// The name of the caller's group.
    pub group: Option<String>,
    /// The caller's own oom_score_adj; only raising it is allowed.
    pub oom_score_adj: i32,
    /// The caller's hard limits by name without `RLIMIT_`, lower case.
    pub hard_limits: Vec<(String, u64)>,
    /// Every capability that the kernel has.
    pub capabilities: CapabilitySet,
    /// Limits, with the numbers of the devices that they are about.
    pub resources: Option<LinuxResources>,
    /// Further paths to hide that differ from machine to machine.
    pub masked: Vec<String>,
    /// The host has mounted its message queues on `/dev/mqueue`.
    pub has_message_queues: bool,
    /// Device nodes of the host, for `--privileged`.
    pub devices: Vec<PathBuf>,
    /// Directory of named volumes.
    pub volumes: PathBuf,
    /// The layer directories of images that are mounted, topmost first, by their name.
    pub images: Vec<(String, Vec<PathBuf>)>,
    /// Volumes that were never used and are filled from the image.
    pub fresh_volumes: Vec<String>,
    /// Volumes that show something else than a directory of their own.
    pub volume_backings: Vec<(String, Backing)>,
    /// Host names of containers whose UTS namespace is joined.
    pub joined_host_name: Option<String>,
    /// The pid namespace that is joined is the host's.
    pub joined_host_pid: bool,
    /// The network namespace that is joined is the host's.
    pub joined_host_network: bool,
    /// SELinux contexts.
    pub labels: Labels,
}

/// The spec and what belongs to it.
#[derive(Debug)]
pub struct Generated {
    /// The spec.
    pub spec: Spec,
    /// What a start needs beside it.
    pub extras: Extras,
    /// The user's mounts, for `inspect`.
    pub mounts: Vec<Shown>,
    /// What is executed.
    pub arguments: Vec<String>,
    /// Entry point and command as they came out.
    pub entrypoint: Vec<String>,
    /// The command as it came out.
    pub command: Vec<String>,
    /// The user as it came out; empty for root.
    pub user: String,
    /// The working directory as it came out.
    pub working_dir: String,
    /// The host name inside.
    pub host_name: String,
    /// Whether the first process is a systemd.
    pub systemd: bool,
    /// Directories that the container needs for overlay mounts, below its own.
    pub overlays: Vec<PathBuf>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// The limit of processes of a container that asks for none.
fn default_pids(input: &SpecInput<'_>) -> Option<i64> {
    let configured = input.config.pids_limit;
    (input.request.resources.pids.is_none() && configured > 0).then_some(configured)
}

/// Makes the runtime spec.
///
/// # Errors
/// When the request asks for something that cannot be.
pub fn generate(input: &SpecInput<'_>) -> Result<Generated> {
    let request = input.request;
    let command = process::command_line(input);
    let systemd = is_systemd(request.systemd, &command.arguments);
    let host_name = host_name(input);
    let mut generated = Generated {
        spec: Spec::default(),
        extras: request.extras.clone(),
        mounts: Vec::new(),
        arguments: command.arguments,
        entrypoint: command.entrypoint,
        command: command.command,
        user: process::user(input),
        working_dir: process::working_dir(input)?,
        host_name,
        systemd,
        overlays: Vec::new(),
        warnings: Vec::new(),
    };
    generated.extras.seccomp = process::seccomp(input);
    generated.extras.create_cwd = request.workdir.is_none();
    generated.extras.init = request.init.as_ref().is_some_and(|init| init.path.is_none());
    generated.extras.enclosed = request.security.encloses();
    generated.extras.files.mtab = true;
    generated.extras.cdi_devices.clone_from(&request.cdi_devices);
    generated.extras.pids = default_pids(input);
    generated.extras.lookup = process::lookup(input, &generated);

    let process = process::process(input, &mut generated)?;
    let mounts = mounts::mounts(input, &mut generated)?;
    let linux = linux::linux(input)?;
    let mut root = Root::default();
    root.set_path(input.directory.join("merged")).set_readonly(Some(request.read_only));
    let hostname = (request.uts == NamespaceMode::Private).then(|| generated.host_name.clone());
    generated
        .spec
        .set_version(SPEC_VERSION.to_owned())
        .set_root(Some(root))
        .set_process(Some(process))
        .set_mounts(Some(mounts))
        .set_hostname(hostname)
        .set_annotations(Some(annotations(input)).filter(|all| !all.is_empty()))
        .set_linux(Some(linux));
    Ok(generated)
}

/// Programs that mean "this container is a system" when they are the command.
const INIT_PROGRAMS: [&str; 3] = ["/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init"];

fn is_systemd(choice: Systemd, arguments: &[String]) -> bool {
    match choice {
        Systemd::Always => true,
        Systemd::Never => false,
        Systemd::Auto => {
            let wrapped = arguments.len() > 2 && arguments[0] == "/bin/sh" && arguments[1] == "-c";
            let program = arguments.get(if wrapped { 2 } else { 0 }).map_or("", String::as_str);
            INIT_PROGRAMS.contains(&program) || program.rsplit('/').next() == Some("systemd")
        }
    }
}

/// The name inside: as asked for, else the container's name or the beginning of its id.
fn host_name(input: &SpecInput<'_>) -> String {
    match (&input.request.hostname, &input.request.uts) {
        (_, NamespaceMode::Host) => input.host.host_name.clone(),
        (_, NamespaceMode::Container(_)) => input.host.joined_host_name.clone().unwrap_or_default(),
        (Some(name), _) => name.clone(),
        (None, _) if input.request.network.mode == crate::network::Mode::Host => input.host.host_name.clone(),
        (None, _) if input.config.container_name_as_hostname => input.name.replace('_', "-"),
        (None, _) => input.id.short().to_owned(),
    }
}

/// Annotations of containers.conf and of the request; those of the image are content, not policy.
fn annotations(input: &SpecInput<'_>) -> std::collections::HashMap<String, String> {
    let configured = input.config.annotations.iter().map(|entry| {
        let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
        (key.to_owned(), value.to_owned())
    });
    let keep = (crate::runtime::KEEP_GROUPS.to_owned(), "1".to_owned());
    let kept = input.request.user.keep_groups.then_some(keep);
    let nested = input.request.security.nests_labels() && input.host.labels.mount.is_some();
    // New files take the label of their directory, and may be given others.
    let labels = nested.then(|| (crate::runtime::MOUNT_CONTEXT_TYPE.to_owned(), "rootcontext".to_owned()));
    configured.chain(kept).chain(labels).chain(input.request.annotations.clone()).collect()
}
