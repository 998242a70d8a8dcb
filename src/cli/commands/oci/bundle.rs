//! What a bundle's spec means on this machine and for this caller, before it becomes a plan.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use oci_spec::runtime::{Capability, LinuxNamespace, LinuxNamespaceType, Process as SpecProcess, Spec};
use rustix::process::geteuid;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Context;
use crate::cli::error::{CommandError, Result};
use crate::config::Env;
use crate::kernel::{file, selinux};
use crate::runtime::{self, plan};
use crate::userns;

/// The largest spec that is read.
const MAX_SPEC: u64 = 64 << 20;

/// Reads a spec; also as it is written.
pub(super) fn read(context: &mut Context, config: &Path) -> Result<(Spec, Vec<u8>)> {
    let bytes = file::read_given(config, MAX_SPEC)?;
    let (mut spec, bytes): (Spec, _) = match serde_json::from_slice(&bytes) {
        Ok(spec) => (spec, bytes),
        Err(error) => reread(context, &bytes, |document| document.get_mut("process"))
            .ok_or_else(|| CommandError::new(format!("{}: {error}", config.display())))?,
    };
    if let Some(process) = spec.process_mut() {
        drop_absent_labels(context, process);
        warn_of_lost_capabilities(context, process);
    }
    if let Some(linux) = spec.linux_mut()
        && !selinux::is_enabled()
        && linux.mount_label().as_deref().is_some_and(|label| !label.is_empty())
    {
        context.ui.warn("this machine has no SELinux: linux.mountLabel has no effect");
        linux.set_mount_label(None);
    }
    add_maps(&mut spec);
    Ok((spec, bytes))
}

/// Reads the document of a process, as `exec --process` has it.
pub(super) fn read_process(context: &mut Context, path: &Path) -> Result<SpecProcess> {
    read_part(path, |bytes| reread(context, bytes, |document| Some(document)).map(|(process, _)| process))
}

/// Reads a part of a spec from a file, or from stdin for `-`. Where it cannot be understood, `otherwise` may.
pub(super) fn read_part<T: DeserializeOwned>(
    path: &Path,
    otherwise: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T> {
    let bytes = file::read_given_or_stdin(path, MAX_SPEC)?;
    let name = if path == Path::new("-") { Path::new("stdin") } else { path };
    serde_json::from_slice(&bytes)
        .or_else(|error| otherwise(&bytes).ok_or(error))
        .map_err(|error| CommandError::new(format!("{}: {error}", name.display())))
}

/// Once more without the capabilities that rbox does not know, if there are any: the specification lets a container
/// have fewer than it asks for, with a warning. And with root as the user where none is named. `None` when that was not what is wrong.
fn reread<T: DeserializeOwned>(
    context: &mut Context,
    bytes: &[u8],
    process: impl FnOnce(&mut Value) -> Option<&mut Value>,
) -> Option<(T, Vec<u8>)> {
    let mut document: Value = serde_json::from_slice(bytes).ok()?;
    let process = process(&mut document)?.as_object_mut()?;
    // Required by the specification, and by no other runtime.
    process.entry("user").or_insert_with(|| serde_json::json!({"uid": 0, "gid": 0}));
    let mut unknown = BTreeSet::new();
    let sets = process.get_mut("capabilities").and_then(Value::as_object_mut);
    for set in sets.into_iter().flat_map(|sets| sets.values_mut()).filter_map(Value::as_array_mut) {
        set.retain(|name| {
            let known = serde_json::from_value::<Capability>(name.clone()).is_ok();
            if let (false, Some(name)) = (known, name.as_str()) {
                unknown.insert(name.to_owned());
            }
            known
        });
    }
    let bytes = serde_json::to_vec(&document).ok()?;
    let read = serde_json::from_value(document).ok()?;
    for name in unknown {
        context.ui.warn(format_args!("ignoring unknown capability `{}`", name.escape_debug()));
    }
    Some((read, bytes))
}

/// The kernel lets nothing be ambient that is not inheritable and permitted.
fn warn_of_lost_capabilities(context: &mut Context, process: &SpecProcess) {
    let Some(sets) = process.capabilities() else { return };
    let has = |set: &Option<HashSet<Capability>>, one: &Capability| {
        set.as_ref().is_some_and(|set| set.contains(one))
    };
    let lost = |one: &&Capability| !(has(sets.inheritable(), one) && has(sets.permitted(), one));
    let lost: BTreeSet<String> =
        sets.ambient().iter().flatten().filter(lost).map(Capability::to_string).collect();
    for name in lost {
        let name = name.trim_start_matches("CAP_");
        context.ui.warn(format_args!(
            "can't raise ambient capability CAP_{name}: it is not both inheritable and permitted"
        ));
    }
}

/// Labels of security modules that this kernel does not run confine nothing, whoever sets them: engines write them by
/// default, so they are no error.
pub(super) fn drop_absent_labels(context: &mut Context, process: &mut SpecProcess) {
    let asked = |label: &Option<String>| label.as_deref().is_some_and(|label| !label.is_empty());
    if asked(process.apparmor_profile()) && !runtime::has_apparmor() {
        if process.apparmor_profile().as_deref() != Some("unconfined") {
            context.ui.warn("this machine has no AppArmor: process.apparmorProfile has no effect");
        }
        process.set_apparmor_profile(None);
    }
    if asked(process.selinux_label()) && !selinux::is_enabled() {
        context.ui.warn("this machine has no SELinux: process.selinuxLabel has no effect");
        process.set_selinux_label(None);
    }
}

/// A user namespace without maps gets the user's own.
fn add_maps(spec: &mut Spec) {
    let is_new = |namespace: &LinuxNamespace| {
        namespace.typ() == LinuxNamespaceType::User
            && namespace.path().as_ref().is_none_or(|path| path.as_os_str().is_empty())
    };
    if let Some(linux) = spec.linux_mut()
        && linux.namespaces().iter().flatten().any(is_new)
        && linux.uid_mappings().as_ref().is_none_or(Vec::is_empty)
        && linux.gid_mappings().as_ref().is_none_or(Vec::is_empty)
        && !geteuid().is_root()
    {
        let maps = userns::user_maps(&Env::capture()).maps;
        linux
            .set_uid_mappings(Some(runtime::id_mappings(&maps.uid)))
            .set_gid_mappings(Some(runtime::id_mappings(&maps.gid)));
    }
}

/// Passes on sockets that systemd opened: the program is told of them as it is used to, as process 1. Returns how many
/// there are.
pub(super) fn activation(process: &mut plan::Process) -> Result<u32> {
    let env = Env::capture();
    let Some(text) = env.text("LISTEN_FDS").filter(|text| !text.is_empty()) else { return Ok(0) };
    let bad = |_| CommandError::new(format!("LISTEN_FDS is `{}` and no number", text.escape_debug()));
    let count: u32 = text.parse().map_err(bad)?;
    let names = env.text("LISTEN_FDNAMES").map(|names| ("LISTEN_FDNAMES", names));
    for (name, value) in [("LISTEN_FDS", text), ("LISTEN_PID", "1")].into_iter().chain(names) {
        if process.variable(name).is_none() {
            process.environment.push(format!("{name}={value}"));
        }
    }
    Ok(count)
}
