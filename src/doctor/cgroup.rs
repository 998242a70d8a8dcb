//! Control groups: the version, who hands parts of them to the user, and the controllers in them.

use std::path::Path;

use super::{Finding, id};
use crate::engine::Engine;
use crate::runtime::cgroup;

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
    systemd: bool,
    /// What the manager has that systemd runs for the user, if it does.
    controllers: Option<Vec<String>>,
}

pub(super) fn check(engine: &Engine) -> Finding {
    judge(&Facts {
        unified: cgroup::is_version_2(),
        systemd: Path::new("/run/systemd/system").is_dir(),
        controllers: cgroup::of_user_manager(engine.env().uid()),
    })
}

fn judge(facts: &Facts) -> Finding {
    let warning = |found: String| Finding::warning(id::CGROUP, found, LIMITS);
    if !facts.unified {
        return warning("/sys/fs/cgroup is not the unified hierarchy (version 2)".to_owned())
            .fix("add systemd.unified_cgroup_hierarchy=1 to the kernel's command line, and reboot");
    }
    let Some(controllers) = &facts.controllers else {
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
    };
    let missing: Vec<_> =
        WANTED.iter().filter(|(name, _)| !controllers.iter().any(|known| known == name)).collect();
    if missing.is_empty() {
        return Finding::ok(id::CGROUP, format!("version 2, with {}", controllers.join(", ")));
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
            systemd: true,
            controllers: Some(["cpuset", "cpu", "io", "memory", "pids"].map(str::to_owned).to_vec()),
        };
        assert_eq!(judge(&all()).status, Status::Ok);
        let few =
            judge(&Facts { controllers: Some(["memory", "pids"].map(str::to_owned).to_vec()), ..all() });
        assert_eq!(few.breaks, "--cpus, --cpuset-cpus, --device-read-bps");
        assert!(few.fix.contains("Delegate=cpu cpuset io memory pids"), "{few:?}");
        assert!(judge(&Facts { unified: false, ..all() }).found.contains("version 2"));
        assert!(judge(&Facts { controllers: None, systemd: false, ..all() }).fix.is_empty());
        assert!(judge(&Facts { controllers: None, ..all() }).fix.contains("enable-linger"));
    }
}
