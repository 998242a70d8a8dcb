//! Whether user namespaces are of any use here: made and used once, by a child.

use std::ffi::CStr;

use super::{Result, cause};
use crate::kernel::mount::FileSystemContext;
use crate::kernel::ns::{Namespace, NamespaceSet};
use crate::kernel::process::{self, CloneOptions, ExitStatus, Fork};

/// What a user namespace is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// Everything.
    Whole,
    /// Its root has no rights: that is how AppArmor restricts those of programs without a profile.
    Powerless,
    /// No /proc can be mounted: parts of the one around are covered, as in most containers
    /// (`mount_too_revealing` of the kernel).
    NoProc,
}

/// Exit codes of the child.
const WORTHS: [(i32, Worth); 3] = [(0, Worth::Whole), (1, Worth::Powerless), (2, Worth::NoProc)];

/// Makes a user namespace and does in it what every container needs.
///
/// # Errors
/// When none can be made.
pub fn try_out() -> Result<Worth> {
    let kinds = [Namespace::User, Namespace::Mount, Namespace::Pid];
    let namespaces = kinds.into_iter().fold(NamespaceSet::EMPTY, NamespaceSet::with);
    match process::clone3(CloneOptions { namespaces, ..CloneOptions::default() }) {
        Ok(Fork::Child) => process::exit_now(code(mount_all())),
        Ok(Fork::Parent { pidfd, .. }) => {
            let status = process::wait_pidfd(pidfd)?;
            let found = WORTHS.into_iter().find(|(code, _)| status == ExitStatus::Exited(*code));
            Ok(found.map_or(Worth::Powerless, |(_, worth)| worth))
        }
        Err(error) => Err(cause::of_unshare(error)),
    }
}

fn mount_all() -> Worth {
    let mounts = |kind: &CStr| FileSystemContext::open(kind).and_then(|context| context.mount(0)).is_ok();
    match () {
        () if !mounts(c"tmpfs") => Worth::Powerless,
        () if !mounts(c"proc") => Worth::NoProc,
        () => Worth::Whole,
    }
}

fn code(worth: Worth) -> i32 {
    WORTHS.into_iter().find(|(_, known)| *known == worth).map_or(i32::MAX, |(code, _)| code)
}
