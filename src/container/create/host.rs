//! Facts of the host and the caller that go into a spec.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::request::CreateRequest;
use super::spec::HostFacts;
use crate::config::{Config, subid};
use crate::container::{Error, Result};
use crate::kernel;
use crate::kernel::cap::CapabilitySet;
use crate::kernel::rlimit::{self, Resource};
use crate::runtime::files::TimeZone;
use crate::store::Store;
use crate::volume::Source;

/// Zone files are small; nothing larger is copied.
const MAX_ZONE: u64 = 1 << 20;

/// Collects the facts that this request needs.
pub(super) fn facts(store: &Store, request: &CreateRequest, config: &Config) -> Result<HostFacts> {
    let limits = ["nofile", "nproc", "core"].into_iter().map(str::to_owned);
    let asked = request.ulimits.iter().flatten().map(|limit| limit.name.clone());
    let hard_limit = |name: String| {
        let (_, hard) = rlimit::get(Resource::from_name(&name)?).ok()?;
        Some((name, hard))
    };
    let scored = request.oom_score_adj.or(config.containers.oom_score_adj).is_some()
        || request.security.profile.is_strict();
    let mut facts = HostFacts {
        has_message_queues: Path::new("/dev/mqueue").exists(),
        host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        hard_limits: limits.chain(asked).filter_map(hard_limit).collect(),
        capabilities: CapabilitySet::all_of_kernel(),
        oom_score_adj: if scored { own_oom_score() } else { 0 },
        masked: thermal_paths(),
        ..HostFacts::default()
    };
    if !matches!(request.userns, super::UserNsMode::Host) {
        facts.account = subid::passwd_entry(facts.uid);
        facts.group = subid::group_name(facts.gid);
    }
    if request.security.privileged {
        collect_devices(Path::new("/dev"), &mut facts.devices);
    }
    for mount in &request.mounts {
        if let Source::Image { reference, .. } = &mount.source {
            let found = store.find_image(reference)?;
            let mut layers = Vec::new();
            for id in found.record.mount_layers().iter().rev() {
                layers.extend(store.layer(id)?.map(|layer| layer.diff()));
            }
            facts.images.push((reference.clone(), layers));
        }
    }
    Ok(facts)
}

fn own_oom_score() -> i32 {
    std::fs::read_to_string("/proc/self/oom_score_adj")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// Throttling counters tell what other tenants of the processor do.
fn thermal_paths() -> Vec<String> {
    let path = |cpu: usize| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle");
    (0..).map(path).take_while(|path| Path::new(path).exists()).collect()
}

/// The device nodes of the host. Virtual consoles and terminals stay out: a container must not
/// take over what the user sits at.
fn collect_devices(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Some(name) = name.to_str() else { continue };
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if !matches!(name, "pts" | "shm" | "fd" | "mqueue" | ".lxc" | ".lxd-mounts") {
                collect_devices(&path, found);
            }
        } else if (kind.is_char_device() || kind.is_block_device()) && !is_terminal(name) {
            found.push(path);
        }
    }
    found.sort();
}

fn is_terminal(name: &str) -> bool {
    let console = name.strip_prefix("tty").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    console || matches!(name, "console" | "ptmx")
        // Every container has these of its own.
        || matches!(name, "null" | "zero" | "full" | "random" | "urandom")
}

/// Looks up the accounts of `--hostuser`.
pub(super) fn find_host_users(request: &mut CreateRequest) -> Result<()> {
    for name in &request.user.host_users {
        let account =
            subid::passwd_entry_of(name).ok_or_else(|| Error::UnknownHostUser { name: name.clone() })?;
        request.user.host_entries.push(account);
    }
    Ok(())
}

/// The zone of `--tz`.
pub(super) fn time_zone(request: &CreateRequest, config: &Config) -> Result<Option<TimeZone>> {
    let name = request.timezone.as_deref().unwrap_or(&config.containers.tz);
    if name.is_empty() {
        return Ok(None);
    }
    if name == "local" {
        // Without a file the host's time is UTC, like the container's.
        let data = kernel::file::read_limited(Path::new("/etc/localtime"), MAX_ZONE).ok();
        return Ok(data.map(|data| TimeZone { name: String::new(), data }));
    }
    let plain = !name.starts_with('/') && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let path = Path::new("/usr/share/zoneinfo").join(name);
    if !plain || name.contains('\0') {
        return Err(Error::Invalid {
            what: format!("finding timezone: {name:?} is not the name of a time zone"),
        });
    }
    let data = kernel::file::read_limited(&path, MAX_ZONE)?;
    Ok(Some(TimeZone { name: name.to_owned(), data }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consoles_are_told_from_other_devices() {
        for (name, expected) in [
            ("tty", true),
            ("tty1", true),
            ("tty63", true),
            ("ttyUSB0", false),
            ("ttyS0", false),
            ("ptmx", true),
            ("fuse", false),
        ] {
            assert_eq!(is_terminal(name), expected, "{name}");
        }
    }

    #[test]
    fn zone_names_are_no_paths() {
        let zone = |name: &str| {
            let request = CreateRequest { timezone: Some(name.to_owned()), ..CreateRequest::default() };
            time_zone(&request, &Config::default())
        };
        for name in ["/etc/passwd", "../../../etc/passwd", "a/../b", "No/Such"] {
            assert!(zone(name).is_err(), "{name}");
        }
        assert_eq!(zone("").unwrap(), None);
    }
}
