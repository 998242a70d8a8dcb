//! A scope: a cgroup that systemd makes for processes that were started by somebody else, and removes with the last
//! of them. It is the user's own, with all controllers that she has.
//!
//! ```text
//! …/user@1000.service/user.slice/libpod-ID.scope     delegated; empty itself, so that it can have controllers
//!   supervisor/                                      the monitor and its helpers: no limit of the container's holds
//!   container/                                       the container; made and removed with each run
//! ```
//!
//! The scope is made around the process that asks, which so leaves the login session that it was started in: the
//! container outlives it. Names are podman's, because people look for them.

use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use super::manager::{Address, Request};
use super::{Cgroup, below_mount, own_cgroup};
use crate::kernel;
use crate::runtime::error::{Error, Result};

/// The slice in which podman puts containers of users.
pub const SLICE: &str = "user.slice";
/// The one in which other runtimes put containers of the host's root.
pub const SYSTEM_SLICE: &str = "system.slice";

const SUPERVISOR: &str = "supervisor";
const CONTAINER: &str = "container";

/// A scope that this process is in.
#[derive(Debug)]
pub struct Scope {
    /// From the root of the hierarchy.
    path: PathBuf,
}

/// A scope that systemd was asked for.
#[derive(Debug)]
pub struct Asked {
    request: Request,
    address: Address,
    name: String,
    slice: String,
    description: String,
}

impl Scope {
    /// Asks for the scope `NAME.scope` of the container `id` in `slice`, and does not wait for it.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn ask(address: &Address, name: &str, slice: &str, id: &str) -> Result<Asked> {
        let description = format!("rbox container {id}");
        let request = Request::scope(address, &format!("{name}.scope"), slice, &description)?;
        let (name, slice) = (name.to_owned(), slice.to_owned());
        Ok(Asked { request, address: address.clone(), name, slice, description })
    }

    /// The same for the cgroup path of a spec, in systemd's form `SLICE:PREFIX:NAME`; `usual` is the slice
    /// where it names none.
    ///
    /// # Errors
    /// Also when it has another form.
    pub fn ask_by_path(address: &Address, path: Option<&Path>, usual: &str, id: &str) -> Result<Asked> {
        let Some(path) = path else { return Self::ask(address, &format!("rbox-{id}"), usual, id) };
        let text = path.to_string_lossy();
        let parts: Vec<&str> = text.split(':').collect();
        let [slice, prefix, name] = parts[..] else {
            let why =
                format!("`{text}` is not of the form `slice:prefix:name`, which --systemd-cgroup needs");
            return Err(Error::invalid("linux.cgroupsPath", why));
        };
        let name = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}-{name}") };
        Self::ask(address, &name, if slice.is_empty() { usual } else { slice }, id)
    }

    /// Where the container goes: from the root of the hierarchy.
    #[must_use]
    pub fn container(&self) -> PathBuf {
        self.path.join(CONTAINER)
    }
}

impl Asked {
    /// Waits until this process is in the scope.
    ///
    /// # Errors
    /// When systemd refuses, or does not answer.
    pub fn wait(self) -> Result<Scope> {
        let unit = match self.request.done() {
            Ok(()) => format!("{}.scope", self.name),
            // An earlier run whose last process has just ended, or has left somebody behind.
            Err(Error::Manager { name, .. }) if name == "org.freedesktop.systemd1.UnitExists" => {
                let unit = format!("{}-{}.scope", self.name, std::process::id());
                Request::scope(&self.address, &unit, &self.slice, &self.description)?.done()?;
                unit
            }
            Err(error) => return Err(error),
        };
        let path = own_cgroup()?;
        if path.file_name() != Some(unit.as_ref()) {
            let what = format!("the process was not moved to {unit}: it is in {}", path.display());
            return Err(Error::Manager { name: String::new(), what });
        }
        leave(&path)?;
        Ok(Scope { path })
    }
}

/// Moves this process to a leaf: a cgroup with processes cannot hand out controllers.
fn leave(scope: &Path) -> Result<()> {
    let supervisor = below_mount(scope)?.join(SUPERVISOR);
    match rustix::fs::mkdir(&supervisor, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(kernel::Error::path("mkdir", &supervisor, errno).into()),
    }
    Cgroup::open(&supervisor)?.write("cgroup.procs", "0")
}

/// Moves this process beside the container whose cgroup is `target`, when that is in a scope: from elsewhere, such as a
/// login session, nobody but systemd may. Whether it is there now is returned.
pub(super) fn enter_beside(target: &Path) -> Result<bool> {
    let Some(scope) = target.parent().filter(|_| target.ends_with(CONTAINER)) else { return Ok(false) };
    let own = own_cgroup()?;
    if own.starts_with(scope) {
        return Ok(true);
    }
    let (Some(address), Some(unit)) = (Address::of_cgroup(target), scope.file_name()) else {
        return Ok(false);
    };
    let below = format!("/{SUPERVISOR}");
    Request::attach(&address, &unit.to_string_lossy(), &below)?.answered()?;
    Ok(own_cgroup()?.starts_with(scope))
}

/// The cgroup whose files say what belongs to the container in `directory`: systemd's, or its own.
#[must_use]
pub fn unit_of(directory: &Path) -> &Path {
    match directory.parent() {
        Some(parent)
            if directory.ends_with(CONTAINER) && parent.extension().is_some_and(|e| e == "scope") =>
        {
            parent
        }
        _ => directory,
    }
}
