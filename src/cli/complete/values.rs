//! Suggestions for the values of flags.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Arg;

use super::words::Place;
use super::{Suggestions, fields, objects};
use crate::engine::Engine;
use crate::kernel::cap::Capability;

const SIGNALS: [&str; 31] = [
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGKILL",
    "SIGPIPE",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

/// What can be given to a flag.
pub(super) fn of(place: &Place, arg: &Arg, last: &str, engine: &Engine) -> Suggestions {
    let stated: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| value.get_name().to_owned())
        .collect();
    if !stated.is_empty() {
        return Suggestions::words(stated);
    }
    let words = |words: &[&str]| Suggestions::words(words.iter().copied());
    match arg.get_long().unwrap_or_default() {
        "format" => format(place, last, engine),
        "network" => Suggestions::words(network_modes()).with(objects::networks(engine)).with(prefixed(
            "container:",
            place,
            last,
            engine,
        )),
        "ipc" => words(&["host", "private", "shareable", "none", "ns:"]).with(prefixed(
            "container:",
            place,
            last,
            engine,
        )),
        "pid" | "cgroupns" => {
            words(&["host", "private", "ns:"]).with(prefixed("container:", place, last, engine))
        }
        "uts" => words(&["host", "private", "ns:"]),
        "userns" => words(&["auto", "host", "keep-id", "nomap", "ns:"]).with(prefixed(
            "container:",
            place,
            last,
            engine,
        )),
        "volumes-from" | "requires" => objects::containers(place, last, engine),
        "pull" | "policy" => words(&["always", "missing", "never", "newer"]),
        "log-level" => words(&["trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"]),
        "log-driver" => {
            words(&["k8s-file", "json-file", "journald", "none", "passthrough", "passthrough-tty"])
        }
        "cgroup-manager" => words(&["cgroupfs", "systemd"]),
        "events-backend" => words(&["file", "journald", "none"]),
        "storage-driver" => words(&["overlay", "vfs"]),
        "signal" | "stop-signal" => Suggestions::words(SIGNALS),
        "restart" => words(&["always", "no", "never", "on-failure", "unless-stopped"]),
        "security-opt" => {
            words(&["apparmor=", "label=", "mask=", "no-new-privileges", "proc-opts=", "seccomp=", "unmask="])
                .no_space()
        }
        "sysctl" => Suggestions::words(sysctls(last)),
        "interface-name" => Suggestions::words(names_in(Path::new("/sys/class/net"))),
        "cap-add" | "cap-drop" => Suggestions::words(
            std::iter::once("all".to_owned()).chain(Capability::all().map(Capability::name)),
        ),
        "type" => words(&["all", "container", "image", "network", "pod", "volume"]),
        "image-volume" => words(&["bind", "tmpfs", "ignore"]),
        "cgroups" => words(&["enabled", "disabled", "no-conmon", "split"]),
        "mount" => {
            words(&["type=artifact,", "type=bind,", "type=image,", "type=tmpfs,", "type=volume,"]).no_space()
        }
        name if name.ends_with("dir") || name == "root" || name == "runroot" => Suggestions::directories(),
        name if is_path(name) => Suggestions::files(),
        _ => Suggestions::none(),
    }
}

fn is_path(name: &str) -> bool {
    ["file", "path", "volume", "input", "output", "tmpfs", "device", "module", "runtime", "out", "bundle"]
        .iter()
        .any(|word| name.contains(word))
}

fn network_modes() -> [&'static str; 5] {
    ["bridge", "host", "none", "pasta", "private"]
}

/// `container:NAME` for every container.
fn prefixed(prefix: &str, place: &Place, last: &str, engine: &Engine) -> Suggestions {
    let rest = last.strip_prefix(prefix).unwrap_or_default();
    let mut suggestions = objects::containers(place, rest, engine);
    for (word, _) in &mut suggestions.items {
        word.insert_str(0, prefix);
    }
    suggestions
}

/// `json`, or the fields that can follow the last dot of a template.
fn format(place: &Place, last: &str, engine: &Engine) -> Suggestions {
    if "json".starts_with(last) {
        return Suggestions::words(["json"]);
    }
    let Some((_, action)) = last.rsplit_once("{{") else { return Suggestions::none() };
    let word = action.rsplit(' ').next().unwrap_or_default();
    let Some((parents, partial)) = word.rsplit_once('.') else { return Suggestions::none() };
    let parents: Vec<&str> = parents.split('.').filter(|name| !name.is_empty()).collect();
    let begin = &last[..last.len() - partial.len()];
    let names = fields::below(place, &parents, engine);
    Suggestions::words(names.into_iter().map(|name| format!("{begin}{name}"))).no_space()
}

/// The sysctls whose names begin so, from /proc/sys.
fn sysctls(last: &str) -> BTreeSet<String> {
    let (parent, _) = last.rsplit_once('.').unwrap_or(("", last));
    let dir = Path::new("/proc/sys").join(parent.replace('.', "/"));
    let prefix = if parent.is_empty() { String::new() } else { format!("{parent}.") };
    names_in(&dir)
        .into_iter()
        .map(|name| {
            let dot = if dir.join(&name).is_dir() { "." } else { "=" };
            format!("{prefix}{name}{dot}")
        })
        .collect()
}

fn names_in(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
