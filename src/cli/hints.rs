//! errno and cause to hint, in one place.
//!
//! A hint names a command or a setting that works. It is found by walking the
//! chain of an error down to what the kernel said about which call.

use std::error::Error as StdError;
use std::path::Path;

use crate::doctor::id;
use crate::{container, image, kernel, network, runtime, userns};

/// What the user can do about `error`, if anything is known.
#[must_use]
pub fn for_error(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut link = Some(error);
    while let Some(cause) = link {
        if let Some(hint) = cause.downcast_ref::<image::Error>().and_then(image::Error::hint) {
            return vec![hint];
        }
        if let Some(hint) = cause.downcast_ref::<container::Error>().and_then(container::Error::hint) {
            return vec![hint];
        }
        if let Some(hint) = cause.downcast_ref::<userns::Error>().and_then(userns::Error::hint) {
            return vec![with_check(hint, id::USERNS)];
        }
        if let Some(error) = cause.downcast_ref::<network::Error>()
            && let Some(hint) = error.hint()
        {
            let check = if matches!(error, network::Error::Bind { .. }) { id::PORTS } else { id::PASTA };
            return vec![with_check(hint, check)];
        }
        if let Some(hint) = cause.downcast_ref::<runtime::Error>().and_then(runtime::Error::hint) {
            return vec![hint];
        }
        if let Some(runtime::Error::UnmappedId { .. }) = cause.downcast_ref() {
            let text = "a container has no ids but yours of /etc/subuid and /etc/subgid, and what its options leave of \
                        them: see `rbox unshare cat /proc/self/uid_map`";
            return vec![text.to_owned()];
        }
        if let Some(failed) = cause.downcast_ref::<kernel::Error>() {
            return for_call(failed).into_iter().collect();
        }
        link = cause.source();
    }
    Vec::new()
}

/// A hint that names the check of `rbox doctor` which looks closer.
fn with_check(hint: &str, check: &str) -> String {
    format!("{hint} (`rbox doctor {check}` says more)")
}

/// What the kernel means by refusing a call.
fn for_call(failed: &kernel::Error) -> Option<String> {
    let errno = failed.errno()?;
    match failed {
        kernel::Error::Call { call: call @ ("unshare" | "clone3" | "clone"), .. } => {
            for_plain_call(call, errno).map(|hint| with_check(hint, id::USERNS))
        }
        kernel::Error::Call { call, .. } => for_plain_call(call, errno).map(str::to_owned),
        kernel::Error::Path { call, path, .. } => for_path(call, path, errno),
    }
}

fn for_plain_call(call: &str, errno: i32) -> Option<&'static str> {
    match (call, errno) {
        ("unshare" | "clone3" | "clone", libc::EPERM) => Some(
            "user namespaces are refused: see `sysctl kernel.unprivileged_userns_clone \
             kernel.apparmor_restrict_unprivileged_userns`; the first must be 1, the second 0",
        ),
        ("unshare" | "clone3" | "clone", libc::ENOSPC | libc::EUSERS) => Some(
            "no more user namespaces: see `sysctl user.max_user_namespaces`, or namespaces are nested too deep",
        ),
        ("unshare" | "clone3" | "clone", libc::EAGAIN) => Some("too many processes: see `ulimit -u`"),
        ("fsopen" | "fsconfig" | "fsmount", libc::ENODEV) => {
            Some("the kernel has no such file system: `cat /proc/filesystems` lists those it has")
        }
        (_, libc::EMFILE) => Some("too many open files: see `ulimit -n`"),
        (_, libc::ENFILE) => Some("too many open files on this machine: see `sysctl fs.file-max`"),
        _ => None,
    }
}

fn for_path(call: &str, path: &Path, errno: i32) -> Option<String> {
    let place = path.display();
    match errno {
        // The size limit of a process answers so too.
        libc::EFBIG => Some("the file is larger than `ulimit -f` allows".to_owned()),
        // A name inside of an archive is no place that could be looked at.
        libc::ENOSPC if path.is_relative() => {
            Some("the file system is full: see `df -h` and `df -i`".to_owned())
        }
        libc::ENOSPC => Some(format!("the file system is full: see `df -h {place}` and `df -i {place}`")),
        libc::EDQUOT => Some("the disk quota of this user is used up: see `quota`".to_owned()),
        libc::EROFS => Some("the file system is read-only: `--root DIR` puts the store elsewhere".to_owned()),
        libc::EACCES | libc::EPERM if path.starts_with("/sys/fs/cgroup") => Some(with_check(
            "this cgroup is not delegated to you: log in through systemd, or run under `systemd-run --user --scope`",
            id::CGROUP,
        )),
        libc::ENOENT | libc::EACCES if path == Path::new("/dev/net/tun") => Some(
            "the network of a container needs /dev/net/tun: `sudo modprobe tun`, and mode 0666".to_owned(),
        ),
        libc::ENOENT | libc::EACCES if path == Path::new("/dev/fuse") => {
            Some("fuse-overlayfs needs /dev/fuse: `sudo modprobe fuse`, and mode 0666".to_owned())
        }
        libc::EMFILE | libc::ENFILE => for_plain_call(call, errno).map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_lead_to_hints() {
        let path =
            |path: &str, errno| kernel::Error::path("open", path, std::io::Error::from_raw_os_error(errno));
        let call = |call, errno| kernel::Error::call(call, "", std::io::Error::from_raw_os_error(errno));
        let cases = [
            (
                path("/data/x", libc::ENOSPC),
                Some("the file system is full: see `df -h /data/x` and `df -i /data/x`"),
            ),
            (path("/data/x", libc::ENOENT), None),
            (path("/sys/fs/cgroup/x", libc::EACCES), Some("this cgroup is not delegated to you")),
            (call("clone3", libc::ENOSPC), Some("no more user namespaces")),
            (call("clone3", libc::EPERM), Some("user namespaces are refused")),
            (call("socket", libc::EMFILE), Some("too many open files: see `ulimit -n`")),
            (call("keyctl", libc::EDQUOT), None),
        ];
        for (error, expected) in cases {
            let hints = for_error(&error);
            match expected {
                Some(begin) => {
                    assert!(hints.first().is_some_and(|hint| hint.starts_with(begin)), "{error}: {hints:?}");
                }
                None => assert!(hints.is_empty(), "{error}: {hints:?}"),
            }
        }
    }
}
