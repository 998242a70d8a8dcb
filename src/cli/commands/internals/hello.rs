//! `rbox internals hello`: the entry point of the image `builtin:hello`.
//!
//! It runs inside of the container and says what the container got, read from
//! /proc and /sys as any program there could.

use std::fmt::Write as _;
use std::path::Path;

use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::kernel::{cap, file};

/// Print what this container got
#[derive(Debug, clap::Args)]
pub struct Args {}

/// More than any of the files read here has.
const MAX_FILE: u64 = 1 << 20;

/// Prints the greeting and the facts.
pub fn exec(ui: &mut Ui, _engine: &Engine, _args: Args) -> Result<ExitStatus> {
    let status = read("/proc/self/status");
    let rows = [
        ("process", process(&status)),
        (
            "id map",
            format!("{}; {}", own_id(&read("/proc/self/uid_map")), ids("group", &read("/proc/self/gid_map"))),
        ),
        ("storage", storage(&read("/proc/self/mountinfo"))),
        ("network", network()),
        ("cgroup", cgroup()),
        ("seccomp", seccomp(&status)),
        (
            "new privileges",
            if field(&status, "NoNewPrivs") == "1" { "refused" } else { "allowed" }.to_owned(),
        ),
        ("capabilities", capabilities()),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
    ];
    ui.data(format_args!("Hello from rbox {}: containers work here.\n", env!("CARGO_PKG_VERSION")))?;
    for (name, value) in rows {
        ui.data(format_args!("  {name:15} {value}"))?;
    }
    Ok(ExitStatus::SUCCESS)
}

/// A file as text; what a container does not have is empty.
fn read(path: &str) -> String {
    file::read_limited(Path::new(path), MAX_FILE)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// A field of /proc/self/status.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}

fn process(status: &str) -> String {
    let first = |name| field(status, name).split_whitespace().next().unwrap_or("?").to_owned();
    let host = read("/proc/sys/kernel/hostname");
    format!("pid {}, uid {}, gid {}, host name {}", first("Pid"), first("Uid"), first("Gid"), host.trim())
}

/// `65537 user ids (0-65536)`, from the lines of an id map.
fn ids(kind: &str, map: &str) -> String {
    let mut total: u64 = 0;
    let mut ranges = Vec::new();
    for line in map.lines() {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [inside, _, count] = numbers[..] else { continue };
        total += count;
        ranges.push(match count {
            0 | 1 => inside.to_string(),
            _ => format!("{inside}-{}", inside + count - 1),
        });
    }
    let plural = if total == 1 { "" } else { "s" };
    format!("{total} {kind} id{plural} ({})", ranges.join(", "))
}

/// The user ids, and which of them is the user's own: 0 of the namespace around this one.
fn own_id(map: &str) -> String {
    let own = map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (inside, outside) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        (outside == 0).then_some(inside)
    });
    let own = own.map_or_else(|| "none of them is yours".to_owned(), |id| format!("{id} is yours"));
    format!("{}, {own}", ids("user", map))
}

/// What the root directory is mounted from.
fn storage(mountinfo: &str) -> String {
    // ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS] - TYPE SOURCE SUPEROPTIONS
    let root = mountinfo.lines().rev().find(|line| line.split(' ').nth(4) == Some("/"));
    let Some((mount, file_system)) = root.and_then(|line| line.split_once(" - ")) else {
        return "unknown".to_owned();
    };
    let mut words = file_system.split(' ');
    let (kind, options) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
    let access = mount.split(' ').nth(5).and_then(|options| options.split(',').next()).unwrap_or_default();
    let access = if access == "ro" { "read-only" } else { "writable" };
    match kind {
        "overlay" => {
            let option = |name| options.split(',').find_map(|option: &str| option.strip_prefix(name));
            // Old kernels join the layers with colons, new ones list each.
            let layers = match option("lowerdir+=") {
                Some(_) => options.split(',').filter(|option| option.starts_with("lowerdir+=")).count(),
                None => option("lowerdir=").map_or(0, |lower| lower.split(':').count()),
            };
            let plural = if layers == 1 { "" } else { "s" };
            format!("overlay of the kernel, {layers} layer{plural}, {access}")
        }
        "fuse.fuse-overlayfs" => format!("fuse-overlayfs, {access}"),
        kind => format!("a directory on {kind}, {access}"),
    }
}

/// Interfaces and addresses, and what kind of network that is.
fn network() -> String {
    let devices = read("/proc/net/dev");
    let names: Vec<&str> = devices
        .lines()
        .skip(2)
        .filter_map(|line| Some(line.split_once(':')?.0.trim()))
        .filter(|name| *name != "lo")
        .collect();
    if names.is_empty() {
        return "none (only the loopback interface)".to_owned();
    }
    let is_tap = |name: &&str| Path::new("/sys/class/net").join(name).join("tun_flags").exists();
    let kind = if names.iter().all(is_tap) { "its own, through pasta" } else { "interfaces" };
    let addresses = addresses(&read("/proc/net/fib_trie"));
    let mut text = format!("{kind}: {}", names.join(", "));
    if !addresses.is_empty() {
        let _ = write!(text, " ({})", addresses.join(", "));
    }
    text
}

/// The IPv4 addresses of this network namespace, without loopback.
fn addresses(fib_trie: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut previous = "";
    for line in fib_trie.lines() {
        if line.contains("/32 host LOCAL")
            && let Some(address) = previous.split_whitespace().last()
            && !address.starts_with("127.")
            && !found.iter().any(|known| known == address)
        {
            found.push(address.to_owned());
        }
        previous = line;
    }
    found
}

fn cgroup() -> String {
    let own = read("/proc/self/cgroup");
    let path = own.lines().find_map(|line| line.strip_prefix("0::"));
    let Some(path) = path else { return "not version 2".to_owned() };
    let controllers = read("/sys/fs/cgroup/cgroup.controllers");
    match controllers.trim() {
        "" => format!("version 2, {path}, no controllers"),
        names => format!("version 2, {path}, controllers {}", names.replace(' ', ", ")),
    }
}

fn seccomp(status: &str) -> String {
    match (field(status, "Seccomp"), field(status, "Seccomp_filters")) {
        ("0", _) => "off".to_owned(),
        ("1", _) => "strict".to_owned(),
        ("2", "" | "1") => "filtering system calls".to_owned(),
        ("2", filters) => format!("filtering system calls, {filters} filters"),
        _ => "unknown".to_owned(),
    }
}

fn capabilities() -> String {
    let Ok((effective, _)) = cap::current() else { return "unknown".to_owned() };
    let names: Vec<String> = effective
        .iter()
        .map(|capability| capability.name().trim_start_matches("CAP_").to_lowercase())
        .collect();
    match names.len() {
        0 => "none".to_owned(),
        count => format!("{count}: {}", names.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_maps_are_summed_up() {
        assert_eq!(
            ids("user", "         0       1001          1\n         1     100000      65536\n"),
            "65537 user ids (0, 1-65536)"
        );
        assert_eq!(ids("group", "0 0 1\n"), "1 group id (0)");
        assert_eq!(own_id("0 0 65537\n"), "65537 user ids (0-65536), 0 is yours");
        assert_eq!(own_id("0 1 65536\n"), "65536 user ids (0-65535), none of them is yours");
    }

    #[test]
    fn root_file_systems_are_named() {
        let cases = [
            (
                "1 2 0:50 / / rw,relatime - overlay overlay rw,lowerdir=a:b:c,upperdir=u,workdir=w,userxattr",
                "overlay of the kernel, 3 layers, writable",
            ),
            (
                "1 2 0:50 / / ro - overlay overlay rw,lowerdir+=a,lowerdir+=b,userxattr",
                "overlay of the kernel, 2 layers, read-only",
            ),
            ("1 2 8:1 /x / rw shared:1 - ext4 /dev/sda1 rw", "a directory on ext4, writable"),
            ("1 2 8:1 /x /tmp rw - ext4 /dev/sda1 rw", "unknown"),
        ];
        for (line, expected) in cases {
            assert_eq!(storage(line), expected);
        }
    }

    #[test]
    fn addresses_are_found_in_the_routing_trie() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.0.2.10\n        /32 host LOCAL\nLocal:\n     |-- 192.0.2.10\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n";
        assert_eq!(addresses(trie), ["192.0.2.10"]);
    }
}
