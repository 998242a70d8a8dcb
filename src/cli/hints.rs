//! errno and cause to hint, in one place.
//!
//! A hint names a command or a setting that works. It is found by walking the
//! chain of an error down to what the kernel said about which call.

use std::error::Error as StdError;

use crate::{image, kernel, network, userns};

/// What the user can do about `error`, if anything is known.
#[must_use]
pub fn for_error(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut link = Some(error);
    while let Some(cause) = link {
        if let Some(hint) = cause.downcast_ref::<image::Error>().and_then(image::Error::hint) {
            return vec![hint];
        }
        let named = cause
            .downcast_ref::<userns::Error>()
            .and_then(userns::Error::hint)
            .or_else(|| cause.downcast_ref::<network::Error>().and_then(network::Error::hint));
        if let Some(hint) = named {
            return vec![hint.to_owned()];
        }
        if let Some(failed) = cause.downcast_ref::<kernel::Error>() {
            return for_call(failed).into_iter().map(str::to_owned).collect();
        }
        link = cause.source();
    }
    Vec::new()
}

/// What the kernel means by refusing a call.
fn for_call(failed: &kernel::Error) -> Option<&'static str> {
    let (kernel::Error::Path { call, .. } | kernel::Error::Call { call, .. }) = failed;
    match (*call, failed.errno()?) {
        ("unshare" | "clone3" | "clone", libc::EPERM) => Some(
            "user namespaces are refused: see `sysctl kernel.unprivileged_userns_clone \
             kernel.apparmor_restrict_unprivileged_userns`; the first must be 1, the second 0",
        ),
        ("unshare" | "clone3" | "clone", libc::ENOSPC | libc::EUSERS) => Some(
            "no more user namespaces: see `sysctl user.max_user_namespaces`, or namespaces are nested too deep",
        ),
        (_, libc::ENOSPC) => Some("the disk is full: `rbox system prune` frees what nothing uses"),
        (_, libc::EDQUOT) => Some("the disk quota of this user is used up"),
        (_, libc::EMFILE | libc::ENFILE) => Some("too many open files: see `ulimit -n`"),
        (_, libc::EROFS) => Some("the file system is read-only: `--root DIR` puts the store elsewhere"),
        _ => None,
    }
}
