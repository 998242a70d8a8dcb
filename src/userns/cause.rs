//! Why the kernel refused a user namespace: the same errno has several causes, and the one that
//! applies can be read from a few sysctls.

use std::fs;

use super::Error;
use crate::kernel;

/// The limits and switches that decide about unprivileged user namespaces.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    /// Debian's and Arch's switch; absent elsewhere.
    unprivileged_clone: Option<u64>,
    /// Ubuntu's restriction to programs with an AppArmor profile.
    apparmor_restricts: Option<u64>,
    /// How many user namespaces a user may have.
    max_user_namespaces: Option<u64>,
}

/// Explains a failed `unshare(CLONE_NEWUSER)`.
pub(super) fn of_unshare(source: kernel::Error) -> Error {
    let facts = Facts {
        unprivileged_clone: sysctl("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restricts: sysctl("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        max_user_namespaces: sysctl("/proc/sys/user/max_user_namespaces"),
    };
    let (cause, fix) = explain(source.errno().unwrap_or(0), facts);
    Error::Create { cause, fix: fix.map(str::to_owned), source }
}

fn sysctl(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn explain(errno: i32, facts: Facts) -> (&'static str, Option<&'static str>) {
    const RAISE_LIMIT: &str = "sudo sysctl -w user.max_user_namespaces=28633";
    match errno {
        libc::EPERM | libc::EACCES if facts.unprivileged_clone == Some(0) => (
            "this system allows user namespaces to root only",
            Some("sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        ),
        libc::EPERM | libc::EACCES if facts.apparmor_restricts.is_some_and(|value| value != 0) => (
            "AppArmor allows user namespaces only to programs with a profile for it",
            Some("sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
        ),
        libc::EPERM | libc::EACCES => (
            "something around this process forbids it: a seccomp filter (as in most containers), a chroot, or a security module",
            None,
        ),
        libc::ENOSPC | libc::EUSERS if facts.max_user_namespaces == Some(0) => {
            ("user namespaces are switched off", Some(RAISE_LIMIT))
        }
        libc::ENOSPC | libc::EUSERS => (
            "the limit of user namespaces is reached, or they are nested too deeply (32 levels)",
            Some(RAISE_LIMIT),
        ),
        libc::EINVAL | libc::ENOSYS => {
            ("the kernel has no user namespaces, or this process has threads", None)
        }
        _ => ("the kernel refused", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_name_the_switch_that_applies() {
        let facts = Facts::default();
        let cases = [
            (libc::EPERM, Facts { unprivileged_clone: Some(0), ..facts }, "unprivileged_userns_clone=1"),
            (
                libc::EACCES,
                Facts { apparmor_restricts: Some(1), ..facts },
                "apparmor_restrict_unprivileged_userns=0",
            ),
            (libc::ENOSPC, Facts { max_user_namespaces: Some(0), ..facts }, "max_user_namespaces"),
            (libc::ENOSPC, Facts { max_user_namespaces: Some(9), ..facts }, "max_user_namespaces"),
        ];
        for (errno, facts, fix) in cases {
            assert!(explain(errno, facts).1.unwrap().contains(fix), "{errno} {facts:?}");
        }
        assert_eq!(explain(libc::EPERM, Facts { unprivileged_clone: Some(1), ..facts }).1, None);
        assert!(explain(libc::EINVAL, facts).0.contains("no user namespaces"));
    }
}
