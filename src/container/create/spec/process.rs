//! The first process: command line, environment, user, rights, limits.

use std::collections::HashSet;
use std::path::Path;

use oci_spec::runtime::{
    Capability as SpecCapability, LinuxCapabilities, PosixRlimit, PosixRlimitBuilder, PosixRlimitType,
    Process, User,
};

use super::super::profile::OOM_SCORE;
use super::super::request::{SeccompChoice, UserNsMode};
use super::super::{caps, env, limits};
use super::{Generated, SpecInput};
use crate::container::{Error, Result};
use crate::kernel::cap::CapabilitySet;
use crate::runtime::UserLookup;
use crate::runtime::user::NewEntry;

/// The command line and its two parts.
pub(super) struct CommandLine {
    pub(super) entrypoint: Vec<String>,
    pub(super) command: Vec<String>,
    pub(super) arguments: Vec<String>,
}

/// Where an init program of the host is mounted.
pub(super) const INIT_PATH: &str = "/run/podman-init";

/// Puts entry point and command together.
///
/// An entry point on the command line hides the image's command; an empty one stands for none.
pub(super) fn command_line(input: &SpecInput<'_>) -> CommandLine {
    let request = input.request;
    let of_image = |part: fn(&crate::image::config::RunConfig) -> &Vec<String>| {
        input.image.map(part).cloned().unwrap_or_default()
    };
    let entrypoint = request.entrypoint.clone().unwrap_or_else(|| of_image(|image| &image.entrypoint));
    let own_entrypoint = request.entrypoint.as_ref().is_some_and(|entrypoint| !entrypoint.is_empty());
    let command = if request.command.is_empty() && !own_entrypoint {
        of_image(|image| &image.cmd)
    } else {
        request.command.clone()
    };
    let entrypoint = if entrypoint == [""] { Vec::new() } else { entrypoint };
    let mut arguments = entrypoint.clone();
    arguments.extend(command.iter().cloned());
    if arguments.is_empty() {
        // The start fails, as with a program that does not exist.
        arguments.push(String::new());
    }
    if request.init.as_ref().is_some_and(|init| init.path.is_some()) {
        arguments.splice(0..0, [INIT_PATH.to_owned(), "--".to_owned()]);
    }
    CommandLine { entrypoint, command, arguments }
}

/// The user as text: of the command line, of the image, of the mode of the user namespace.
pub(super) fn user(input: &SpecInput<'_>) -> String {
    let request = input.request;
    if let Some(user) = request.user.user.as_ref().filter(|user| !user.is_empty()) {
        return user.clone();
    }
    if let Some(user) = input.image.map(|image| &image.user).filter(|user| !user.is_empty()) {
        return user.clone();
    }
    match &request.userns {
        UserNsMode::KeepId { uid, gid, .. } => {
            let (own_uid, own_gid) = caller(input);
            format!("{}:{}", uid.unwrap_or(own_uid), gid.unwrap_or(own_gid))
        }
        _ => String::new(),
    }
}

fn caller(input: &SpecInput<'_>) -> (u32, u32) {
    (input.host.uid, input.host.gid)
}

pub(super) fn working_dir(input: &SpecInput<'_>) -> Result<String> {
    let text = match &input.request.workdir {
        Some(dir) => dir.to_string_lossy().into_owned(),
        None => input.image.map(|image| image.working_dir.clone()).unwrap_or_default(),
    };
    if text.is_empty() {
        return Ok("/".to_owned());
    }
    if !text.starts_with('/') || text.contains('\0') {
        return Err(Error::Invalid {
            what: format!("invalid working directory {text:?}, it needs to be an absolute path"),
        });
    }
    Ok(crate::volume::clean_path(Path::new(&text)).to_string_lossy().into_owned())
}

pub(super) fn seccomp(input: &SpecInput<'_>) -> SeccompChoice {
    let security = &input.request.security;
    match &security.seccomp {
        SeccompChoice::Default if security.privileged => SeccompChoice::Unconfined,
        SeccompChoice::Default if !input.config.seccomp_profile.is_empty() => {
            SeccompChoice::File(input.config.seccomp_profile.clone().into())
        }
        choice => choice.clone(),
    }
}

/// Who the process runs as, and the entries that the container's files get for it.
pub(super) fn lookup(input: &SpecInput<'_>, generated: &Generated) -> UserLookup {
    let request = input.request;
    let mut lookup = UserLookup {
        user: generated.user.clone(),
        groups: request.user.groups.clone(),
        ..UserLookup::default()
    };
    if !request.user.passwd {
        return lookup;
    }
    let covered = |file: &str| {
        request
            .mounts
            .iter()
            .any(|mount| mount.destination == Path::new(file) || mount.destination == Path::new("/etc"))
    };
    if !covered("/etc/passwd") {
        lookup.passwd_entries = passwd_entries(input, generated);
    }
    if !covered("/etc/group") {
        lookup.group_entries = group_entries(input, generated);
    }
    lookup
}

/// Whether the caller herself gets an entry: she is inside under her own id.
fn adds_caller(input: &SpecInput<'_>) -> bool {
    matches!(input.request.userns, UserNsMode::KeepId { uid: None, gid: None, .. }) && caller(input).0 != 0
}

fn passwd_entries(input: &SpecInput<'_>, generated: &Generated) -> Vec<NewEntry> {
    let request = input.request;
    let entry = |name: &str, uid: u32, gid: u32, gecos: &str, home: &str| NewEntry {
        name: name.to_owned(),
        id: uid,
        line: match &request.user.passwd_entry {
            Some(template) => template
                .replace("$USERNAME", name)
                .replace("$UID", &uid.to_string())
                .replace("$GID", &gid.to_string())
                .replace("$NAME", gecos)
                .replace("$HOME", home),
            None => format!("{name}:*:{uid}:{gid}:{gecos}:{home}:/bin/sh"),
        },
    };
    let mut entries = Vec::new();
    let mut of_host = request.user.host_entries.clone();
    if adds_caller(input) {
        of_host.extend(input.host.account.clone());
    }
    for account in of_host {
        let home = home_inside(input, &account.home, &generated.working_dir);
        entries.push(entry(&account.name, account.uid, account.gid, "", &home));
    }
    let (user, group) = generated.user.split_once(':').unwrap_or((&generated.user, ""));
    if let Ok(uid) = user.parse::<u32>() {
        let gid = group.parse().unwrap_or(0);
        // Not the name that the host has for this number: it is none of the container's business.
        entries.push(entry(&uid.to_string(), uid, gid, "container user", &generated.working_dir));
    }
    entries
}

/// A home directory of the host is one inside only when it or a parent of it is mounted.
fn home_inside(input: &SpecInput<'_>, home: &Path, working_dir: &str) -> String {
    let mounted = |dir: &Path| input.request.mounts.iter().any(|mount| mount.destination == dir);
    if home.ancestors().filter(|dir| *dir != Path::new("/")).any(mounted) {
        return home.to_string_lossy().into_owned();
    }
    working_dir.to_owned()
}

fn group_entries(input: &SpecInput<'_>, generated: &Generated) -> Vec<NewEntry> {
    let request = input.request;
    let mut entries = Vec::new();
    if adds_caller(input)
        && let Some((name, member)) = input.host.group.clone().zip(input.host.account.as_ref())
    {
        let gid = input.host.gid;
        entries.push(NewEntry { line: format!("{name}:x:{gid}:{}", member.name), name, id: gid });
    }
    if generated.user.is_empty() && request.user.group_entry.is_none() {
        return entries;
    }
    let (user, group) = generated.user.split_once(':').unwrap_or((&generated.user, "0"));
    if let Ok(gid) = group.parse::<u32>() {
        let line = match &request.user.group_entry {
            Some(template) => {
                template.replace("$GROUPNAME", "").replace("$GID", &gid.to_string()).replace("$USERLIST", "")
            }
            None => format!("{gid}:x:{gid}:{user}"),
        };
        let name = line.split(':').next().unwrap_or_default().to_owned();
        entries.push(NewEntry { name, id: gid, line });
    }
    entries
}

pub(super) fn process(input: &SpecInput<'_>, generated: &mut Generated) -> Result<Process> {
    let request = input.request;
    let mut user = User::default();
    user.set_umask(Some(request.umask.map_or_else(|| configured_umask(input), Ok)?));
    let mut process = Process::default();
    process
        .set_args(Some(generated.arguments.clone()))
        .set_env(Some(environment(input, generated)?))
        .set_cwd(generated.working_dir.clone().into())
        .set_terminal(Some(request.terminal))
        .set_user(user)
        .set_capabilities(Some(capabilities(input, &generated.user)?))
        .set_rlimits(rlimits(input))
        .set_no_new_privileges(Some(request.security.refuses_new_privileges()))
        .set_oom_score_adj(oom_score_adj(input, &mut generated.warnings));
    if let Some(profile) = &request.security.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    let labels = &input.host.labels;
    let label = if generated.systemd { &labels.init_process } else { &labels.process };
    process.set_selinux_label(label.clone());
    Ok(process)
}

fn configured_umask(input: &SpecInput<'_>) -> Result<u32> {
    super::super::parse_umask(&input.config.umask)
}

fn environment(input: &SpecInput<'_>, generated: &Generated) -> Result<Vec<String>> {
    let empty = Vec::new();
    let sources = env::Sources {
        config: &input.config.env,
        image: input.image.map_or(&empty, |image| &image.env),
        caller: input.env,
        terminal: input.request.terminal,
    };
    let mut all = env::assemble(&input.request.env, sources)?;
    all.insert("HOSTNAME".to_owned(), generated.host_name.clone());
    if generated.systemd {
        all.entry("container_uuid".to_owned()).or_insert_with(|| input.id.as_str()[..32].to_owned());
    }
    Ok(all.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}

fn capabilities(input: &SpecInput<'_>, user: &str) -> Result<LinuxCapabilities> {
    let security = &input.request.security;
    let all = input.host.capabilities;
    let bounding = if security.privileged {
        all
    } else {
        let base = security.base_capabilities(&input.config.default_capabilities);
        caps::merge(&base, &security.cap_add, &security.cap_drop, all)?
    };
    // Who is not root has no capabilities; what a name means is known when the process starts.
    let numeric = user.split(':').next().and_then(|user| user.parse::<u32>().ok());
    let held = if numeric.is_some_and(|uid| uid != 0) { CapabilitySet::EMPTY } else { bounding };
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(spec_set(bounding)))
        .set_effective(Some(spec_set(held)))
        .set_permitted(Some(spec_set(held)))
        // Inheritable capabilities would come back to life by an exec (CVE-2022-24769).
        .set_inheritable(Some(HashSet::new()))
        .set_ambient(Some(HashSet::new()));
    Ok(sets)
}

fn spec_set(set: CapabilitySet) -> HashSet<SpecCapability> {
    set.iter().filter_map(|capability| capability.name().strip_prefix("CAP_")?.parse().ok()).collect()
}

fn rlimits(input: &SpecInput<'_>) -> Option<Vec<PosixRlimit>> {
    let asked = input.request.ulimits.as_ref()?;
    let caller =
        |name: &str| input.host.hard_limits.iter().find(|(known, _)| known == name).map(|(_, limit)| *limit);
    let usual = input.request.security.limits();
    let asked: Vec<_> = usual.iter().chain(asked).cloned().collect();
    let limits = limits::effective(&asked, caller);
    let convert = |limit: &super::super::Ulimit| -> Option<PosixRlimit> {
        let kind: PosixRlimitType = format!("RLIMIT_{}", limit.name.to_ascii_uppercase()).parse().ok()?;
        PosixRlimitBuilder::default().typ(kind).soft(limit.soft).hard(limit.hard).build().ok()
    };
    Some(limits.iter().filter_map(convert).collect())
}

/// Only root may lower its score.
fn oom_score_adj(input: &SpecInput<'_>, warnings: &mut Vec<String>) -> Option<i32> {
    let own = input.host.oom_score_adj;
    let strict = input.request.security.profile.is_strict().then(|| own.saturating_add(OOM_SCORE).min(1000));
    let asked = input.request.oom_score_adj.or(input.config.oom_score_adj).or(strict)?;
    if asked < own {
        warnings.push(format!(
            "Requested oom_score_adj={asked} is lower than the current one, changing to {own}"
        ));
    }
    Some(asked.max(own))
}
