//! The `process` section: what runs, as whom, with which rights.

use std::collections::HashSet;
use std::path::Path;

use oci_spec::runtime::{Capability as SpecCapability, LinuxCapabilities, Process as SpecProcess};

use crate::kernel::cap::{Capability, CapabilitySet};
use crate::kernel::rlimit::Resource;
use crate::kernel::selinux::{self, Context};

use super::super::cgroup::numbers;
use super::super::error::{Error, Result};
use super::super::plan::{Capabilities, Process, Processors};
use super::{inner_path, no_nul, schedule};

pub(super) fn process(spec: &SpecProcess) -> Result<Process> {
    refuse_unsupported(spec)?;
    let arguments = spec.args().clone().unwrap_or_default();
    if arguments.is_empty() {
        return Err(Error::invalid("process.args", "there is no program to run"));
    }
    let environment = spec.env().clone().unwrap_or_default();
    for (what, texts) in [("process.args", &arguments), ("process.env", &environment)] {
        texts.iter().try_for_each(|text| no_nul(what, Path::new(text)))?;
    }
    let user = spec.user();
    Ok(Process {
        arguments,
        environment: variables(environment),
        cwd: inner_path("process.cwd", spec.cwd())?,
        create_cwd: true,
        lookup: None,
        terminal: spec.terminal().unwrap_or(false),
        plain_line_ends: false,
        console_size: spec.console_size().and_then(console_size),
        uid: id("process.user.uid", user.uid())?,
        gid: id("process.user.gid", user.gid())?,
        groups: user
            .additional_gids()
            .iter()
            .flatten()
            .map(|gid| id("process.user.additionalGids", *gid))
            .collect::<Result<_>>()?,
        keep_groups: false,
        umask: user.umask(),
        capabilities: capabilities(spec.capabilities().as_ref()),
        limits: limits(spec)?,
        no_new_privileges: spec.no_new_privileges().unwrap_or(false),
        apparmor_profile: apparmor_profile(spec)?,
        selinux_label: spec.selinux_label().as_deref().map(selinux_label).transpose()?.flatten(),
        enclosure: None,
        oom_score_adjustment: spec.oom_score_adj(),
        processors: Processors::Callers,
        scheduling: spec.scheduler().as_ref().map(schedule::scheduling).transpose()?,
        io_priority: spec.io_priority().as_ref().map(schedule::io_priority).transpose()?,
        seccomp: None,
        personality: None,
        memory_policy: None,
    })
}

/// The processors of a further process in a container: those of its spec, or all that the container has.
///
/// # Errors
/// When a list is none.
pub fn exec_processors(spec: &SpecProcess) -> Result<Processors> {
    let Some(affinity) = spec.exec_cpu_affinity() else { return Ok(Processors::All) };
    let list = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        numbers(text).ok_or_else(|| {
            let why = format!("`{}` is not a list of processors", text.escape_debug());
            Error::invalid("process.execCPUAffinity", why)
        })
    };
    Ok(Processors::Given { first: list(affinity.initial())?, inside: list(affinity.cpu_affinity_final())? })
}

/// Each variable once, with the value that comes last: of two entries programs take one or the other. An entry without '='
/// is no variable; programs and libraries disagree on what it means.
fn variables(entries: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut kept: Vec<String> = entries
        .into_iter()
        .rev()
        .filter(|entry| entry.split_once('=').is_some_and(|(name, _)| seen.insert(name.to_owned())))
        .collect();
    kept.reverse();
    kept
}

fn refuse_unsupported(spec: &SpecProcess) -> Result<()> {
    let table = [("process.commandLine", spec.command_line().is_some())];
    match table.into_iter().find(|(_, asked)| *asked) {
        Some((what, _)) => Err(Error::unsupported(what)),
        None => Ok(()),
    }
}

fn apparmor_profile(spec: &SpecProcess) -> Result<Option<String>> {
    let Some(name) = spec.apparmor_profile().as_deref().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    // The kernel reads it up to a line's end, or to a NUL.
    if name.chars().any(char::is_control) {
        let why = format!("`{}` is not the name of a profile", name.escape_debug());
        return Err(Error::invalid("process.apparmorProfile", why));
    }
    Ok(Some(name.to_owned()))
}

/// An empty one is none, and so is one that this kernel would not know: a container outlives the day on which its host
/// stops to run SELinux.
pub(super) fn selinux_label(text: &str) -> Result<Option<String>> {
    let parsed = (!text.is_empty()).then(|| text.parse::<Context>()).transpose();
    let context = parsed.map_err(|error| Error::invalid("SELinux label", error.to_string()))?;
    Ok(context.filter(|_| selinux::is_enabled()).map(|context| context.to_string()))
}

/// Width, height; a size of zero means unknown.
fn console_size(size: oci_spec::runtime::Box) -> Option<(u16, u16)> {
    let width = u16::try_from(size.width()).ok().filter(|width| *width > 0)?;
    let height = u16::try_from(size.height()).ok().filter(|height| *height > 0)?;
    Some((width, height))
}

/// The id -1 means "unchanged" to the kernel: taken for an id it would keep the caller's.
fn id(what: &'static str, id: u32) -> Result<u32> {
    if id == u32::MAX {
        return Err(Error::invalid(what, format!("{id} is not an id")));
    }
    Ok(id)
}

fn capabilities(spec: Option<&LinuxCapabilities>) -> Capabilities {
    let Some(spec) = spec else { return Capabilities::default() };
    Capabilities {
        bounding: capability_set(spec.bounding().as_ref()),
        effective: capability_set(spec.effective().as_ref()),
        permitted: capability_set(spec.permitted().as_ref()),
        inheritable: capability_set(spec.inheritable().as_ref()),
        ambient: capability_set(spec.ambient().as_ref()),
    }
}

fn capability_set(spec: Option<&HashSet<SpecCapability>>) -> CapabilitySet {
    spec.into_iter()
        .flatten()
        .filter_map(|capability| Capability::from_name(&capability.to_string()))
        .collect()
}

fn limits(spec: &SpecProcess) -> Result<Vec<(Resource, u64, u64)>> {
    let mut limits: Vec<(Resource, u64, u64)> = Vec::new();
    for limit in spec.rlimits().iter().flatten() {
        let name = limit.typ().to_string();
        let resource = Resource::from_name(&name)
            .ok_or_else(|| Error::invalid("process.rlimits", format!("`{name}` is not a limit")))?;
        if limits.iter().any(|(known, ..)| *known == resource) {
            return Err(Error::invalid("process.rlimits", format!("`{name}` occurs twice")));
        }
        if limit.soft() > limit.hard() {
            return Err(Error::invalid("process.rlimits", format!("soft {name} is above the hard one")));
        }
        limits.push((resource, limit.soft(), limit.hard()));
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_one_value() {
        let entries = ["A=1", "B=x", "none", "A=", "C==", "A=2=3"].map(str::to_owned).to_vec();
        assert_eq!(variables(entries), ["B=x", "C==", "A=2=3"]);
    }
}
