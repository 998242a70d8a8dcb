//! From the OCI runtime spec to a [`Plan`]: every default is applied and every
//! value checked here, before anything is made.
//!
//! What a spec leaves out is absent, never inherited: no capabilities means
//! none (youki once took it for "all"), no rlimit means the caller's.

mod hooks;
mod linux;
mod memory_policy;
mod mounts;
mod process;
mod resources;
mod schedule;
mod sysctl;

pub use linux::id_mappings;
pub use process::exec_processors;
pub use resources::settings as cgroup_settings;
pub use sysctl::IPC_PARAMETERS;

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Linux, Spec};

use super::error::{Error, Result};
use super::plan::{Identity, LabelOption, MountLabel, Plan, Process, RootSource};
use super::seccomp;

/// The newest version of the runtime spec that rbox follows.
pub const SPEC_VERSION: &str = "1.3.0";

/// The annotation, crun's, by which a process keeps the caller's supplementary groups instead of getting those
/// of its user: files of the host that the caller may open by such a group stay open to it.
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// The annotation, crun's, by which names of system calls that rbox does not know are errors.
const FAIL_UNKNOWN_CALL: &str = "run.oci.seccomp_fail_unknown_syscall";

/// The annotation, crun's, that names the mount option for `linux.mountLabel`.
pub const MOUNT_CONTEXT_TYPE: &str = "run.oci.mount_context_type";

/// Whether the annotations ask for the caller's groups.
#[must_use]
pub fn keeps_groups<'a>(annotations: impl IntoIterator<Item = (&'a String, &'a String)>) -> bool {
    annotations.into_iter().any(|(key, value)| key == KEEP_GROUPS && value != "0")
}

impl Plan {
    /// Makes the plan of `spec`, whose relative paths are relative to `bundle`.
    /// `root` replaces the spec's own root directory, if given.
    ///
    /// # Errors
    /// When the spec is wrong, or asks for what rbox cannot do.
    pub fn from_spec(spec: &Spec, bundle: &Path, root: Option<RootSource>) -> Result<Self> {
        check_version(spec.version())?;
        let linux =
            spec.linux().as_ref().ok_or_else(|| Error::invalid("spec", "it has no `linux` section"))?;
        linux::refuse_unsupported(linux)?;
        let namespaces = linux::namespaces(linux)?;
        let mut process = match spec.process() {
            Some(process) => process::process(process)?,
            // The specification needs one at the start only.
            None => Process { cwd: PathBuf::from("/"), ..Process::default() },
        };
        complete_process(&mut process, spec)?;
        let own_uts = namespaces.uts != super::plan::Membership::Host;
        let mut sysctls = sysctl::sysctls(linux, &namespaces, spec)?;
        // The files in /proc/sys belong to the host's root.
        let mut named = |name: &str| {
            let at = sysctls.iter().position(|(known, _)| known == name)?;
            Some(sysctls.swap_remove(at).1)
        };
        let (host, domain) = (named("kernel.hostname"), named("kernel.domainname"));
        let host = spec.hostname().clone().filter(|name| !name.is_empty()).or(host);
        let domain = spec.domainname().clone().filter(|name| !name.is_empty()).or(domain);
        Ok(Self {
            root: root_source(spec, bundle, root)?,
            root_read_only: spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly).unwrap_or(false),
            root_propagation: linux::root_propagation(linux)?,
            host_name: host_name("hostname", &host, own_uts)?,
            domain_name: host_name("domainname", &domain, own_uts)?,
            mounts: mounts::mounts(spec.mounts().as_deref().unwrap_or_default(), bundle)?,
            devices: linux::devices(linux)?,
            network_devices: linux::network_devices(linux, &namespaces)?,
            masked_paths: inner_paths("maskedPaths", linux.masked_paths())?,
            read_only_paths: inner_paths("readonlyPaths", linux.readonly_paths())?,
            sysctls,
            files: super::files::RootFiles::default(),
            process,
            hooks: spec.hooks().as_ref().map(hooks::hooks).transpose()?.unwrap_or_default(),
            cgroup: resources::cgroup_plan(linux)?,
            mount_label: mount_label(spec, linux)?,
            new_keyring: true,
            init: false,
            identity: Identity {
                id: String::new(),
                bundle: bundle.to_owned(),
                annotations: spec
                    .annotations()
                    .iter()
                    .flatten()
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
            },
            namespaces,
        })
    }
}

/// Makes the plan of one more process from its spec, as `exec --process` takes it.
///
/// # Errors
/// When the spec is wrong.
pub fn process_from_spec(process: &oci_spec::runtime::Process) -> Result<Process> {
    process::process(process)
}

/// Sets what the rest of a container's spec says about each of its processes.
///
/// # Errors
/// When the spec is wrong.
pub fn complete_process(process: &mut Process, spec: &Spec) -> Result<()> {
    let says =
        |name: &str| spec.annotations().iter().flatten().any(|(key, value)| key == name && value != "0");
    let compile = if says(FAIL_UNKNOWN_CALL) { seccomp::compile_strictly } else { seccomp::compile_spec };
    process.keep_groups = says(KEEP_GROUPS);
    let Some(linux) = spec.linux() else { return Ok(()) };
    process.seccomp = linux.seccomp().as_ref().map(compile).transpose()?;
    process.personality = linux::personality(linux);
    process.memory_policy = linux.memory_policy().as_ref().map(memory_policy::memory_policy).transpose()?;
    Ok(())
}

/// The label of file systems, and what of them has it.
fn mount_label(spec: &Spec, linux: &Linux) -> Result<Option<MountLabel>> {
    let label = linux.mount_label().as_deref().map(process::selinux_label).transpose()?.flatten();
    let Some(context) = label else { return Ok(None) };
    let asked = spec.annotations().iter().flatten().find(|(key, _)| *key == MOUNT_CONTEXT_TYPE);
    let name = asked.map_or("context", |(_, name)| name);
    let option = LabelOption::parse(name).ok_or_else(|| {
        Error::invalid(MOUNT_CONTEXT_TYPE, format!("`{name}` is no mount option for labels"))
    })?;
    Ok(Some(MountLabel { option, context }))
}

/// A spec of another major version may mean other things by the same words.
fn check_version(version: &str) -> Result<()> {
    match version.split('.').next() {
        Some("1") => Ok(()),
        _ => Err(Error::invalid("ociVersion", format!("`{version}` is not 1.x"))),
    }
}

fn root_source(spec: &Spec, bundle: &Path, root: Option<RootSource>) -> Result<RootSource> {
    if let Some(root) = root {
        return Ok(root);
    }
    let root = spec.root().as_ref().ok_or_else(|| Error::invalid("spec", "it has no `root` section"))?;
    no_nul("root.path", root.path())?;
    Ok(RootSource::Bind(bundle.join(root.path())))
}

/// Host and domain names go to the kernel as they are: 64 bytes, no more.
fn host_name(what: &'static str, name: &Option<String>, own_namespace: bool) -> Result<Option<String>> {
    let Some(name) = name.as_ref().filter(|name| !name.is_empty()) else { return Ok(None) };
    if !own_namespace {
        return Err(Error::invalid(what, "it needs a UTS namespace of the container's own"));
    }
    if name.len() > 64 || name.bytes().any(|byte| byte == 0 || byte == b'\n') {
        return Err(Error::invalid(what, format!("`{}` is not a host name", name.escape_debug())));
    }
    Ok(Some(name.clone()))
}

fn inner_paths(what: &'static str, paths: &Option<Vec<String>>) -> Result<Vec<PathBuf>> {
    paths.iter().flatten().map(|path| inner_path(what, Path::new(path))).collect()
}

/// A path inside the container: absolute, without `..`, so that its text says where it leads
/// (symbolic links are resolved in the root later).
fn inner_path(what: &str, path: &Path) -> Result<PathBuf> {
    no_nul(what, path)?;
    if !path.is_absolute() {
        return Err(Error::invalid(what, format!("`{}` is not an absolute path", path.display())));
    }
    if path.components().any(|component| component == Component::ParentDir) {
        return Err(Error::invalid(what, format!("`{}` has a `..`", path.display())));
    }
    Ok(path.components().collect())
}

fn no_nul(what: &str, text: impl AsRef<Path>) -> Result<()> {
    let text = text.as_ref().as_os_str().as_encoded_bytes();
    if text.contains(&0) {
        return Err(Error::invalid(what, "it has a NUL byte"));
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
