//! The spec that another runtime gets: the one that the plan was made from, with what the start decided.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use oci_spec::runtime::{
    BoxBuilder, Linux, LinuxNamespace, LinuxNamespaceType, LinuxPids, LinuxSeccomp, LinuxSeccompAction,
    LinuxSyscall, Root, Spec, User,
};

use crate::runtime::error::{Error, Result};
use crate::runtime::plan::{Filter, Membership, MountSource, Plan, Process, UserNamespace};
use crate::runtime::spec::id_mappings;

use super::Foreign;

/// Nothing in the specs is newer, and runtimes refuse versions that they do not know.
const VERSION: &str = "1.0.2";

/// The annotation by which crun takes a compiled filter instead of the spec's rules: the same that rbox's own
/// runtime loads.
const CRUN_FILTER: &str = "run.oci.seccomp_bpf_data";

/// Puts everything together. `process` is the plan's, with its user found; without a `cgroup` none is asked for.
pub(super) fn complete(
    foreign: &Foreign,
    plan: &Plan,
    process: &Process,
    root: &Path,
    cgroup: Option<&Path>,
) -> Result<Spec> {
    let mut spec = foreign.spec.clone();
    let mut at = Root::default();
    at.set_path(root.to_owned()).set_readonly(Some(plan.root_read_only));
    spec.set_root(Some(at)).set_version(VERSION.to_owned());
    set_process(&mut spec, process);
    set_mounts(&mut spec, plan, cgroup.is_some());
    if let (true, Some(filter)) = (foreign.is("crun"), &plan.process.seccomp)
        // With an agent it is to compile the section itself, and to find the agent.
        && filter.notify.is_none()
    {
        let mut annotations = spec.annotations().clone().unwrap_or_default();
        annotations.insert(CRUN_FILTER.to_owned(), base64::prelude::BASE64_STANDARD.encode(program(filter)));
        spec.set_annotations(Some(annotations));
    }
    let seccomp = foreign.seccomp.clone();
    let seccomp = if foreign.is_own() { seccomp } else { seccomp.map(for_libseccomp) };
    let missing = || Error::invalid("spec", "it has no `linux` section");
    let linux = spec.linux_mut().as_mut().ok_or_else(missing)?;
    if let UserNamespace::New(maps) = &plan.namespaces.user {
        linux.set_uid_mappings(Some(id_mappings(&maps.uid))).set_gid_mappings(Some(id_mappings(&maps.gid)));
    }
    if cgroup.is_some() {
        limit_processes(linux, plan);
    }
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    set_namespaces(&mut namespaces, plan);
    linux.set_namespaces(Some(namespaces)).set_seccomp(seccomp).set_cgroups_path(cgroup.map(Path::to_owned));
    Ok(spec)
}

/// The usual limit of processes, which a spec has no word for: that it need not hold.
fn limit_processes(linux: &mut Linux, plan: &Plan) {
    let limit = plan.cgroup.optional.iter().find(|(file, _)| file == "pids.max");
    let Some(limit) = limit.and_then(|(_, value)| value.parse().ok()) else { return };
    let mut pids = LinuxPids::default();
    pids.set_limit(limit);
    let mut resources = linux.resources().clone().unwrap_or_default();
    resources.set_pids(Some(pids));
    linux.set_resources(Some(resources));
}

fn set_process(spec: &mut Spec, process: &Process) {
    let Some(own) = spec.process_mut() else { return };
    let mut user = User::default();
    user.set_uid(process.uid).set_gid(process.gid).set_umask(process.umask);
    user.set_additional_gids(Some(process.groups.clone()));
    own.set_user(user).set_env(Some(process.environment.clone()));
    own.set_console_size(process.console_size.map(|(columns, rows)| {
        BoxBuilder::default().width(columns).height(rows).build().expect("both fields are set")
    }));
    if process.uid != 0
        && let Some(mut capabilities) = own.capabilities().clone()
    {
        // They go with root; other users hold those that were made ambient for them.
        let ambient = Some(capabilities.ambient().clone().unwrap_or_default());
        capabilities.set_effective(ambient.clone()).set_permitted(ambient);
        own.set_capabilities(Some(capabilities));
    }
}

/// Mounts whose source the start has changed: overlays that a program mounts, and the cgroup of a container that
/// has none of its own, for which runtimes would look at the host's hierarchies.
fn set_mounts(spec: &mut Spec, plan: &Plan, has_cgroup: bool) {
    let mounts = spec.mounts_mut().iter_mut().flatten();
    for (mount, planned) in mounts.zip(&plan.mounts) {
        if mount.typ().as_deref() == Some("cgroup") && !has_cgroup {
            let options = ["rbind", "rslave", "ro", "nosuid", "nodev", "noexec"].map(str::to_owned);
            mount.set_typ(Some("bind".to_owned())).set_source(Some("/sys/fs/cgroup".into()));
            mount.set_options(Some(options.to_vec()));
            continue;
        }
        if let MountSource::Bind { path, recursive, .. } = &planned.source
            && mount.typ().as_deref() == Some("overlay")
        {
            let kept = |option: &&String| matches!(option.as_str(), "ro" | "nosuid" | "nodev" | "noexec");
            let mut options: Vec<String> = mount.options().iter().flatten().filter(kept).cloned().collect();
            options.push(if *recursive { "rbind" } else { "bind" }.to_owned());
            mount.set_typ(Some("bind".to_owned())).set_source(Some(path.clone())).set_options(Some(options));
        }
    }
}

fn set_namespaces(namespaces: &mut [LinuxNamespace], plan: &Plan) {
    let joined = |membership: &Membership| match membership {
        Membership::Join(path) => Some(path.clone()),
        Membership::New | Membership::Host => None,
    };
    let planned = &plan.namespaces;
    for namespace in namespaces {
        let path: Option<PathBuf> = match namespace.typ() {
            LinuxNamespaceType::Pid => joined(&planned.pid),
            LinuxNamespaceType::Network => joined(&planned.network),
            LinuxNamespaceType::Uts => joined(&planned.uts),
            LinuxNamespaceType::Ipc => joined(&planned.ipc),
            LinuxNamespaceType::Cgroup => joined(&planned.cgroup),
            LinuxNamespaceType::Time => joined(&planned.time),
            LinuxNamespaceType::User => match &planned.user {
                UserNamespace::Join(path) => Some(path.clone()),
                UserNamespace::New(_) | UserNamespace::Host => None,
            },
            LinuxNamespaceType::Mount => None,
        };
        if path.is_some() {
            namespace.set_path(path);
        }
    }
}

/// A filter as the kernel takes it: `struct sock_filter` after `struct sock_filter`.
fn program(filter: &Filter) -> Vec<u8> {
    let bytes = filter.program.iter().flat_map(|instruction| {
        let [low, high] = instruction.code.to_ne_bytes();
        let [a, b, c, d] = instruction.operand.to_ne_bytes();
        [low, high, instruction.jump_true, instruction.jump_false, a, b, c, d]
    });
    bytes.collect()
}

/// The filter as libseccomp can have it. There a rule without conditions beats all others of its call, whereas
/// here the first that fits counts; a rule may not be repeated, nor narrow another one. So a refusal behind
/// conditions gives way to the default action, which refuses as well, with its own errno; and a refusal in
/// front of a wider permission is lost: of the default profile those are two old ioctls of terminals and one
/// kind of netlink socket.
fn for_libseccomp(mut seccomp: LinuxSeccomp) -> LinuxSeccomp {
    let rules = seccomp.syscalls().clone().unwrap_or_default();
    let is_plain = |rule: &LinuxSyscall| rule.args().as_ref().is_none_or(Vec::is_empty);
    let allows = |action| action == LinuxSeccompAction::ScmpActAllow;
    let refused_by_default = !allows(seccomp.default_action());
    let has_conditions =
        |name: &String| rules.iter().any(|rule| !is_plain(rule) && rule.names().contains(name));
    let mut kept: Vec<LinuxSyscall> = Vec::new();
    for rule in &rules {
        let gives_way = |name: &String| {
            refused_by_default && is_plain(rule) && !allows(rule.action()) && has_conditions(name)
        };
        let known = |name: &String| {
            kept.iter()
                .any(|other| other.names().contains(name) && (is_plain(other) || other.args() == rule.args()))
        };
        let is_narrowed = |name: &String| {
            !allows(rule.action())
                && rules.iter().any(|other| {
                    allows(other.action()) && other.names().contains(name) && is_wider(other, rule)
                })
        };
        let names: BTreeSet<&String> = rule
            .names()
            .iter()
            .filter(|name| !gives_way(name) && !known(name) && !is_narrowed(name))
            .collect();
        if !names.is_empty() {
            let mut rule = rule.clone();
            rule.set_names(names.into_iter().cloned().collect());
            kept.push(rule);
        }
    }
    seccomp.set_syscalls(Some(kept));
    seccomp
}

/// Whether everything that `rule` is about is covered by `other`, which asks for less.
fn is_wider(other: &LinuxSyscall, rule: &LinuxSyscall) -> bool {
    let args = |rule: &LinuxSyscall| rule.args().clone().unwrap_or_default();
    let (wide, narrow) = (args(other), args(rule));
    wide.len() < narrow.len() && wide.iter().all(|arg| narrow.contains(arg))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::cap::CapabilitySet;
    use crate::runtime::seccomp;

    #[test]
    fn no_rule_is_repeated_and_no_refusal_beats_a_condition() {
        let given = seccomp::default_profile().resolve(CapabilitySet::EMPTY);
        let made = for_libseccomp(given.clone());
        let rules = made.syscalls().clone().unwrap();
        let of = |name: &str| -> Vec<_> {
            rules.iter().filter(|rule| rule.names().iter().any(|known| known == name)).collect()
        };
        let clone = of("clone");
        assert!(clone.len() == 1 && clone[0].args().is_some(), "{clone:?}");
        assert!(of("socket").iter().all(|rule| rule.args().is_some()));
        assert_eq!(of("mount")[0].action(), LinuxSeccompAction::ScmpActErrno);
        assert_eq!(of("read").len(), 1);
        assert!(of("ioctl").iter().all(|rule| rule.args().is_none()));
        for (at, rule) in rules.iter().enumerate() {
            for name in rule.names() {
                let again = rules[..at].iter().any(|r| r.names().contains(name) && r.args() == rule.args());
                assert!(!again, "{name}");
            }
        }
    }
}
