//! Control groups: the version, who hands parts of them to the user, and the controllers in them.

use std::path::Path;

use super::{Finding, id, read};
use crate::engine::Engine;

/// What limits need, and the flags that need it.
const WANTED: [(&str, &str); 5] = [
    ("memory", "--memory"),
    ("pids", "--pids-limit"),
    ("cpu", "--cpus"),
    ("cpuset", "--cpuset-cpus"),
    ("io", "--device-read-bps"),
];

const LIMITS: &str = "limits of memory, processors and processes";

/// What hands all controllers to the managers of users.
const DELEGATE: &str = "sudo mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io \
                        memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl \
                        daemon-reload (and log in again)";

#[derive(Debug, Default)]
struct Facts {
    /// /sys/fs/cgroup is the unified hierarchy.
    unified: bool,
    /// systemd runs a manager for the user.
    has_manager: bool,
    systemd: bool,
    controllers: Vec<String>,
}

pub(super) fn check(engine: &Engine) -> Finding {
    let uid = engine.env().uid();
    let manager = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service");
    let has_manager = Path::new(&manager).is_dir();
    let own = read("/proc/self/cgroup");
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let place = if has_manager { manager } else { format!("/sys/fs/cgroup{own}") };
    let controllers = read(&format!("{place}/cgroup.controllers"));
    judge(&Facts {
        unified: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
        has_manager,
        systemd: Path::new("/run/systemd/system").is_dir(),
        controllers: controllers.split_whitespace().map(str::to_owned).collect(),
    })
}

fn judge(facts: &Facts) -> Finding {
    let warning = |found: String| Finding::warning(id::CGROUP, found, LIMITS);
    if !facts.unified {
        return warning("/sys/fs/cgroup is not the unified hierarchy (version 2)".to_owned())
            .fix("add systemd.unified_cgroup_hierarchy=1 to the kernel's command line, and reboot");
    }
    if !facts.has_manager {
        let found = match facts.systemd {
            true => "systemd runs no manager for you, so no part of the control groups is yours",
            false => "there is no systemd that could hand you a part of the control groups",
        };
        let finding = warning(found.to_owned());
        return if facts.systemd {
            finding.fix("log in through systemd (ssh, not su), or sudo loginctl enable-linger $USER")
        } else {
            finding
        };
    }
    let missing: Vec<_> =
        WANTED.iter().filter(|(name, _)| !facts.controllers.iter().any(|known| known == name)).collect();
    if missing.is_empty() {
        return Finding::ok(id::CGROUP, format!("version 2, with {}", facts.controllers.join(", ")));
    }
    let list = |part: fn(&(&'static str, &'static str)) -> &'static str| {
        missing.iter().map(|entry| part(entry)).collect::<Vec<_>>().join(", ")
    };
    let found =
        format!("version 2, but these controllers are not delegated to you: {}", list(|(name, _)| name));
    Finding::warning(id::CGROUP, found, &list(|(_, flag)| flag)).fix(DELEGATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn what_limits_lack_is_named() {
        let all = || Facts {
            unified: true,
            has_manager: true,
            systemd: true,
            controllers: ["cpuset", "cpu", "io", "memory", "pids"].map(str::to_owned).to_vec(),
        };
        assert_eq!(judge(&all()).status, Status::Ok);
        let few = judge(&Facts { controllers: ["memory", "pids"].map(str::to_owned).to_vec(), ..all() });
        assert_eq!(few.breaks, "--cpus, --cpuset-cpus, --device-read-bps");
        assert!(few.fix.contains("Delegate=cpu cpuset io memory pids"), "{few:?}");
        assert!(judge(&Facts { unified: false, ..all() }).found.contains("version 2"));
        assert!(judge(&Facts { has_manager: false, systemd: false, ..all() }).fix.is_empty());
        assert!(judge(&Facts { has_manager: false, ..all() }).fix.contains("enable-linger"));
    }
}
