//! Landlock: the wall behind a strict container's root.

use super::{Finding, id, read};
use crate::kernel::landlock;

/// The oldest version that is used: before it a file could never be moved between directories.
const OLDEST: i32 = 2;

/// What a version of the interface brought that strict containers use.
const BROUGHT: [(i32, &str); 3] = [
    (3, "truncating a file outside of its root"),
    (5, "ioctl on a device outside of its root"),
    (6, "signals and abstract sockets to the host where it shares those namespaces"),
];

pub(super) fn check() -> Finding {
    judge(landlock::version(), read("/sys/kernel/security/lsm").trim())
}

fn judge(version: Option<i32>, modules: &str) -> Finding {
    let breaks =
        "the wall behind the root of containers with --security-profile=strict; --security-opt landlock=true";
    match version {
        Some(version) if version >= OLDEST => {
            let missing: Vec<&str> =
                BROUGHT.iter().filter(|(since, _)| *since > version).map(|(_, what)| *what).collect();
            let mut found = format!("the kernel has Landlock {version}");
            if !missing.is_empty() {
                found += &format!(", which does not keep a strict container from {}", missing.join("; "));
            }
            Finding::ok(id::LANDLOCK, found)
        }
        Some(version) => Finding::warning(
            id::LANDLOCK,
            format!("the kernel has Landlock {version}; rbox needs {OLDEST}"),
            breaks,
        )
        .fix("install a newer kernel of your distribution, and reboot"),
        None if modules.is_empty() || modules.split(',').any(|name| name == "landlock") => {
            Finding::warning(id::LANDLOCK, "the kernel has no Landlock", breaks)
                .fix("install a kernel that was built with CONFIG_SECURITY_LANDLOCK, and reboot")
        }
        None => {
            let found = format!("the kernel has no Landlock, or it is not switched on (it has {modules})");
            Finding::warning(id::LANDLOCK, found, breaks)
                .fix(format!("add lsm=landlock,{modules} to the kernel's command line, and reboot"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn what_an_older_version_lacks_is_told() {
        for (version, modules, status, words, fix) in [
            (Some(7), "lockdown,landlock", Status::Ok, "Landlock 7", ""),
            (Some(2), "", Status::Ok, "from truncating", ""),
            (Some(5), "", Status::Ok, "from signals", ""),
            (Some(1), "", Status::Warning, "needs 2", "newer kernel"),
            (None, "", Status::Warning, "no Landlock", "CONFIG_SECURITY_LANDLOCK"),
            (
                None,
                "capability,yama",
                Status::Warning,
                "it has capability,yama",
                "lsm=landlock,capability,yama",
            ),
        ] {
            let finding = judge(version, modules);
            assert_eq!(finding.status, status, "{finding:?}");
            assert!(finding.found.contains(words) && finding.fix.contains(fix), "{finding:?}");
        }
        assert!(!judge(Some(6), "").found.contains("does not"));
    }
}
