//! A cgroup in two halves, for a service manager that has given this process one of its own: the process that
//! stands beside the container goes into `supervisor`, the container into `libpod-payload-ID`. Limits of the
//! whole hold for both, and no process is left in the whole itself, which the kernel's rule of "no internal
//! processes" wants before controllers can be enabled in it. The names are podman's.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use super::{Cgroup, below_mount, is_version_2, own_cgroup};
use crate::kernel;
use crate::runtime::error::{Error, Result};

/// The halves, with this process in the first. Dropping it brings the process back.
#[derive(Debug)]
pub struct Split {
    whole: PathBuf,
    supervisor: PathBuf,
    payload: PathBuf,
}

impl Split {
    /// Splits the cgroup of this process for the container `id`.
    ///
    /// # Errors
    /// When there is no cgroup that the user may split.
    pub fn enter(id: &str) -> Result<Self> {
        if !is_version_2() {
            return Err(Error::unsupported("a split cgroup: this host does not use cgroup v2 alone"));
        }
        let own = own_cgroup()?;
        let whole = below_mount(&own)?;
        let supervisor = whole.join("supervisor");
        match rustix::fs::mkdir(&supervisor, Mode::from_raw_mode(0o755)) {
            // Two containers may be started from one cgroup.
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(kernel::Error::path("mkdir", &supervisor, errno).into()),
        }
        let split = Self { whole, supervisor, payload: own.join(format!("libpod-payload-{id}")) };
        // Dropped on failure.
        Cgroup::open(&split.supervisor)?.write("cgroup.procs", "0")?;
        Ok(split)
    }

    /// Where the container goes: from the root of the hierarchy.
    #[must_use]
    pub fn payload(&self) -> &Path {
        &self.payload
    }
}

impl Drop for Split {
    fn drop(&mut self) {
        // Refused where controllers were enabled meanwhile: then the service manager clears up behind us.
        let _ = Cgroup::open(&self.whole).and_then(|whole| whole.write("cgroup.procs", "0"));
        let _ = fs::remove_dir(&self.supervisor);
    }
}
