//! What another container has mounted, as a detached copy.
//!
//! A mount can be copied only from inside of its mount namespace, and a process does not come back from
//! there: so a fork goes and sends the copy.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use crate::kernel::ns::{self, Namespace};
use crate::kernel::path::RootDir;
use crate::kernel::process::{self, Fork};
use crate::kernel::{self, mount, socket};

use super::super::error::{Error, Result};

/// Copies the mount at `path`, and those below, of the mount namespace behind the file `namespace`.
/// `None` where nothing is at `path`.
pub(super) fn borrow(namespace: &Path, path: &Path) -> Result<Option<OwnedFd>> {
    let file = ns::open_path(namespace)?;
    let (ours, theirs) = socket::pair()?;
    match process::fork()? {
        Fork::Child => {
            drop(ours);
            let (number, tree) = match take(&file, path) {
                Ok(tree) => (0, tree),
                Err(error) => (error.errno().unwrap_or(libc::EIO), None),
            };
            let fds: Vec<_> = tree.iter().map(OwnedFd::as_fd).collect();
            // Without an answer the parent knows as much as it can.
            let _ = socket::send_with_fds(theirs.as_fd(), &number.to_le_bytes(), &fds);
            process::exit_now(0)
        }
        Fork::Parent { pidfd, .. } => {
            drop(theirs);
            let mut bytes = [0; 4];
            let received = socket::recv_with_fds(ours.as_fd(), &mut bytes);
            process::wait_pidfd(&pidfd)?;
            let (length, mut fds) = received?;
            match (length, i32::from_le_bytes(bytes)) {
                (4, 0) => Ok(fds.pop()),
                (_, number) => Err(Error::Step {
                    doing: format!("cannot share `{}` of the other container", path.display()),
                    source: std::io::Error::from_raw_os_error(if length == 4 { number } else { libc::EIO }),
                }),
            }
        }
    }
}

/// In the fork. The root directory is that of the namespace then, and no path leaves it; what the other
/// container put at the path is its own in any case.
fn take(namespace: &OwnedFd, path: &Path) -> kernel::Result<Option<OwnedFd>> {
    ns::enter(namespace, Namespace::Mount)?;
    let source = match RootDir::open(Path::new("/"))?.open_path(path) {
        Ok(source) => source,
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(None),
        Err(error) => return Err(error),
    };
    mount::clone_tree(source, c"", true).map(Some)
}
