//! The kernel: its version, and what can be left out when it is built.

use super::{Finding, id, read};

/// The oldest kernel with everything that rbox calls: overlay for users (5.11), `mount_setattr` (5.12).
const OLDEST: (u32, u32) = (5, 12);

#[derive(Debug, Default)]
struct Facts {
    release: String,
    seccomp_filters: bool,
    namespaces: Vec<&'static str>,
    overlay: bool,
}

/// The kinds of namespaces that a container has by default.
const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

pub(super) fn check() -> Finding {
    let exists = |path: &str| std::path::Path::new(path).exists();
    let release = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let missing = |kind: &&str| !exists(&format!("/proc/self/ns/{kind}"));
    judge(&Facts {
        seccomp_filters: exists("/proc/sys/kernel/seccomp/actions_avail"),
        namespaces: NAMESPACES.into_iter().filter(missing).collect(),
        // A module is loaded by the first mount of it.
        overlay: read("/proc/filesystems").contains("overlay")
            || exists(&format!("/lib/modules/{release}/kernel/fs/overlayfs")),
        release,
    })
}

fn judge(facts: &Facts) -> Finding {
    let Facts { release, seccomp_filters, namespaces, overlay } = facts;
    let problem = |found: String, breaks| Finding::problem(id::KERNEL, found, breaks);
    if version(release).is_some_and(|version| version < OLDEST) {
        let found = format!("Linux {release}; rbox needs {}.{}", OLDEST.0, OLDEST.1);
        return problem(found, "every container")
            .fix("install a newer kernel of your distribution, and reboot");
    }
    if !namespaces.is_empty() {
        let found =
            format!("Linux {release} was built without namespaces of the kind {}", namespaces.join(", "));
        return problem(found, "every container");
    }
    if !seccomp_filters {
        let found = format!("Linux {release} was built without seccomp filters");
        return problem(found, "every container, except with --security-opt seccomp=unconfined");
    }
    if !overlay {
        let found = format!("Linux {release} has no overlay file system");
        return Finding::warning(
            id::KERNEL,
            found,
            "fast containers: fuse-overlayfs is used where it is installed",
        )
        .fix("sudo modprobe overlay");
    }
    Finding::ok(id::KERNEL, format!("Linux {release}"))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn old_and_stripped_kernels_are_named() {
        let good = || Facts {
            release: "6.1.0-13-amd64".to_owned(),
            seccomp_filters: true,
            overlay: true,
            ..Facts::default()
        };
        let cases = [
            (good(), Status::Ok, "6.1.0"),
            (Facts { release: "5.10.0-26".to_owned(), ..good() }, Status::Problem, "needs 5.12"),
            (Facts { release: "5.12-rc1".to_owned(), ..good() }, Status::Ok, ""),
            (Facts { namespaces: vec!["user"], ..good() }, Status::Problem, "of the kind user"),
            (Facts { seccomp_filters: false, ..good() }, Status::Problem, "seccomp"),
            (Facts { overlay: false, ..good() }, Status::Warning, "overlay"),
        ];
        for (facts, status, words) in cases {
            let finding = judge(&facts);
            assert_eq!(finding.status, status, "{facts:?}");
            assert!(finding.found.contains(words), "{finding:?}");
        }
    }
}
