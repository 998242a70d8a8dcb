//! Facts about the host. What cannot be read is shown as empty: `info` is what people run when
//! something is wrong.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::container::record::CgroupManager;
use crate::runtime::cgroup;

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Where this program is.
pub(super) fn own_executable() -> String {
    fs::read_link("/proc/self/exe").map(|path| path.display().to_string()).unwrap_or_default()
}

/// The host's name.
pub(super) fn host_name() -> String {
    read("/proc/sys/kernel/hostname").trim().to_owned()
}

/// As `uname -r`.
pub(super) fn kernel_release() -> String {
    read("/proc/sys/kernel/osrelease").trim().to_owned()
}

/// Bytes of /proc/meminfo.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) free: u64,
    pub(super) total: u64,
    pub(super) swap_free: u64,
    pub(super) swap_total: u64,
}

impl Memory {
    pub(super) fn read() -> Self {
        Self::parse(&read("/proc/meminfo"))
    }

    fn parse(text: &str) -> Self {
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kibibytes.unwrap_or(0) * 1024
        };
        Self {
            free: bytes("MemFree"),
            total: bytes("MemTotal"),
            swap_free: bytes("SwapFree"),
            swap_total: bytes("SwapTotal"),
        }
    }
}

/// How the processors spent their time since boot, in percent of three kinds.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CpuUtilization {
    user_percent: f64,
    system_percent: f64,
    idle_percent: f64,
}

impl CpuUtilization {
    pub(super) fn read() -> Self {
        Self::parse(&read("/proc/stat"))
    }

    fn parse(text: &str) -> Self {
        let line = text.lines().next().unwrap_or_default();
        let field =
            |index| line.split_whitespace().nth(index).and_then(|field| field.parse().ok()).unwrap_or(0.0);
        let (user, system, idle): (f64, f64, f64) = (field(1), field(3), field(4));
        let total = user + system + idle;
        let percent = |part: f64| if total > 0.0 { (part / total * 10_000.0).round() / 100.0 } else { 0.0 };
        Self { user_percent: percent(user), system_percent: percent(system), idle_percent: percent(idle) }
    }
}

/// What /etc/os-release says.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Distribution {
    distribution: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    variant: String,
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    codename: String,
}

impl Distribution {
    pub(super) fn read() -> Self {
        Self::parse(&read("/etc/os-release"))
    }

    fn parse(text: &str) -> Self {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        let unknown = || "unknown".to_owned();
        Self {
            distribution: value("ID").unwrap_or_else(unknown),
            variant: value("VARIANT_ID").unwrap_or_default(),
            version: value("VERSION_ID").unwrap_or_else(unknown),
            codename: value("VERSION_CODENAME").unwrap_or_default(),
        }
    }
}

/// `1h 2m 3.00s (Approximately 0.04 days)`.
pub(super) fn uptime() -> String {
    let text = read("/proc/uptime");
    let seconds = text.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    uptime_text(seconds)
}

fn uptime_text(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let text = format!("{hours}h {minutes}m {rest}.00s");
    if hours == 0 { text } else { format!("{text} (Approximately {:.2} days)", hours as f64 / 24.0) }
}

/// The controllers that containers may have: those of the user's service manager, or of the caller's cgroup.
pub(super) fn controllers(manager: CgroupManager) -> Vec<String> {
    let uid = rustix::process::geteuid().as_raw();
    if manager == CgroupManager::Systemd
        && let Some(controllers) = cgroup::of_user_manager(uid)
    {
        return controllers;
    }
    let text = read("/proc/self/cgroup");
    let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let file = Path::new("/sys/fs/cgroup").join(own.trim_start_matches('/')).join("cgroup.controllers");
    let text = fs::read_to_string(file).unwrap_or_else(|_| read("/sys/fs/cgroup/cgroup.controllers"));
    text.split_whitespace().map(str::to_owned).collect()
}

pub(super) fn seccomp_enabled() -> bool {
    read("/proc/self/status").lines().any(|line| line.starts_with("Seccomp:"))
}

/// Room on a file system.
#[derive(Debug, Default)]
pub(super) struct Space {
    pub(super) total: u64,
    pub(super) used: u64,
    pub(super) file_system: String,
}

impl Space {
    pub(super) fn of(path: &Path) -> Self {
        let Ok(space) = rustix::fs::statfs(path) else { return Self::default() };
        let block = space.f_bsize as u64;
        Self {
            total: block * space.f_blocks,
            used: block * (space.f_blocks - space.f_bfree),
            file_system: file_system_name(space.f_type as u64),
        }
    }
}

/// The names of the magic numbers of statfs(2) that stores are found on.
fn file_system_name(magic: u64) -> String {
    let known = [
        (0xef53, "extfs"),
        (0x0102_1994, "tmpfs"),
        (0x5846_5342, "xfs"),
        (0x9123_683e, "btrfs"),
        (0x794c_7630, "overlayfs"),
        (0x2fc1_2fc1, "zfs"),
        (0x6969, "nfs"),
        (0xf2f5_2010, "f2fs"),
        (0x6573_5546, "fuse"),
        (0xca45_1a4e, "bcachefs"),
    ];
    let name = known.iter().find(|(number, _)| *number == magic);
    name.map_or_else(|| format!("<unknown> ({magic:#x})"), |(_, name)| (*name).to_owned())
}

/// What `PROGRAM --version` prints, or nothing.
pub(super) fn program_version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").env_clear().stdin(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim_end().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        let memory = Memory::parse("MemTotal:       100 kB\nMemFree:  50 kB\nSwapTotal: 3 kB\n");
        assert_eq!(memory, Memory { total: 102_400, free: 51_200, swap_total: 3072, swap_free: 0 });
        let cpu = CpuUtilization::parse("cpu  1 0 1 2 0 0\ncpu0 9 9 9 9\n");
        assert_eq!(cpu, CpuUtilization { user_percent: 25.0, system_percent: 25.0, idle_percent: 50.0 });
        assert_eq!(CpuUtilization::parse(""), CpuUtilization::default());
    }

    #[test]
    fn os_release_is_read() {
        let text = "PRETTY_NAME=\"x\"\nID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
        let distribution = Distribution::parse(text);
        assert_eq!((distribution.distribution.as_str(), distribution.version.as_str()), ("debian", "12"));
        assert_eq!(Distribution::parse("").version, "unknown");
    }

    #[test]
    fn uptime_as_podman_writes_it() {
        assert_eq!(uptime_text(59), "0h 0m 59.00s");
        assert_eq!(uptime_text(4245), "1h 10m 45.00s (Approximately 0.04 days)");
    }
}
