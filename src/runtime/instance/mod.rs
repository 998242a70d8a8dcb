//! Containers run by the OCI command line, which other engines drive: their
//! records, states and the verbs on them.
//!
//! ```text
//! ROOT/                     0700, RUN/oci or --root
//!   ID/state.json           the record; written when the container is created
//!   ID/config.json          the spec, for later processes
//!   ID/start.sock           exists until the program is started
//! ```
//!
//! The directory of an id is made by `mkdir`, which reserves the id. A record
//! names its process by pid, start time and boot: it is checked against the
//! kernel each time and never trusted alone.

pub mod error;
mod record;
mod update;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::Mode;

pub use error::{Error, Result};
pub use record::{Record, Status};

use crate::kernel::file::{self, Durability};
use crate::kernel::process::{self, Pid};
use crate::kernel::socket;

use super::Cgroup;
use super::launch;

const RECORD: &str = "state.json";
const SPEC: &str = "config.json";
const START: &str = "start.sock";

/// A limit for records and specs; S18 wants 4 MiB of arguments to pass.
const MAX_FILE: u64 = 64 << 20;

/// All containers below one root directory.
#[derive(Debug, Clone)]
pub struct Instances {
    root: PathBuf,
}

/// The reserved directory of a container that is being created. Dropping it
/// gives the id back.
#[derive(Debug)]
pub struct Reservation {
    directory: PathBuf,
    kept: bool,
}

impl Instances {
    /// Opens the directory `root`, making it where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(root: &Path) -> Result<Self> {
        make_private(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// Reserves `id`.
    ///
    /// # Errors
    /// When it is no id, or in use.
    pub fn reserve(&self, id: &str) -> Result<Reservation> {
        check_id(id)?;
        let directory = self.root.join(id);
        match rustix::fs::mkdir(&directory, Mode::RWXU) {
            Ok(()) => Ok(Reservation { directory, kept: false }),
            Err(rustix::io::Errno::EXIST) => Err(Error::Exists { id: id.to_owned() }),
            Err(errno) => Err(crate::kernel::Error::path("mkdir", directory, errno).into()),
        }
    }

    /// Loads the record of `id`.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn load(&self, id: &str) -> Result<Record> {
        check_id(id)?;
        let path = self.root.join(id).join(RECORD);
        let bytes = match file::read_limited(&path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(error) if error.io().kind() == io::ErrorKind::NotFound => {
                return Err(Error::NotFound { id: id.to_owned() });
            }
            Err(error) => return Err(error.into()),
        };
        Record::parse(&bytes).map_err(|why| Error::Record { path, why })
    }

    /// All containers by id. One broken record does not hide the others.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<(String, Result<Record>)>> {
        let fail = |source| crate::kernel::Error::path("readdir", &self.root, source);
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(fail)? {
            if let Ok(id) = entry.map_err(fail)?.file_name().into_string() {
                ids.push(id);
            }
        }
        ids.sort();
        Ok(ids.into_iter().map(|id| (id.clone(), self.load(&id))).collect())
    }

    /// The spec with which `id` was created.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn spec(&self, id: &str) -> Result<Spec> {
        let path = self.root.join(id).join(SPEC);
        let bytes = file::read_limited(&path, MAX_FILE)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Record { path, why: error.to_string() })
    }

    /// What state a container is in.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn status(&self, record: &Record) -> Result<Status> {
        if !record.is_alive()? {
            return Ok(Status::Stopped);
        }
        if self.start_socket(&record.id).exists() {
            return Ok(Status::Created);
        }
        match &record.cgroup {
            Some(path) if Cgroup::open(path).and_then(|cgroup| cgroup.is_frozen()).unwrap_or(false) => {
                Ok(Status::Paused)
            }
            _ => Ok(Status::Running),
        }
    }

    fn start_socket(&self, id: &str) -> PathBuf {
        self.root.join(id).join(START)
    }

    /// Starts the program of a created container.
    ///
    /// # Errors
    /// When it is in another state, or the program cannot be run.
    pub fn start(&self, id: &str) -> Result<()> {
        let record = self.load(id)?;
        self.expect(&record, "start", |status| status == Status::Created)?;
        let path = self.start_socket(id);
        let connection = socket::connect(&path)?;
        // Only one start: whoever comes now finds no socket.
        rustix::fs::unlink(&path).map_err(|errno| crate::kernel::Error::path("unlink", &path, errno))?;
        let init = record.pid.unsigned_abs();
        launch::start_at(connection.as_fd(), init, &record.identity(), record.agent.as_ref())?;
        record.run_post_start().map_err(|error| {
            // As the specification has it: the container is stopped, and its life goes on with its deletion.
            let _ = self.delete(id, true);
            error.into()
        })
    }

    /// Sends `signal` to the first process, or to all.
    ///
    /// # Errors
    /// When the container has stopped.
    pub fn kill(&self, id: &str, signal: i32, all: bool) -> Result<()> {
        let record = self.load(id)?;
        // With a pid namespace of its own all die with the first process; else nothing would end the others.
        let others_stay = signal == libc::SIGKILL && !record.own_pid_namespace && record.cgroup.is_some();
        if all || others_stay {
            return kill_all(&record, signal);
        }
        let pidfd = record.open()?.ok_or_else(|| Error::Stopped { id: id.to_owned() })?;
        Ok(process::pidfd_send_signal(pidfd, signal)?)
    }

    /// Removes what is left of a container; a living one only with `force`. Returns what went wrong afterwards.
    ///
    /// # Errors
    /// When it is alive.
    pub fn delete(&self, id: &str, force: bool) -> Result<Vec<String>> {
        let record = match self.load(id) {
            Ok(record) => record,
            // Without a record it never came into being; its directory may be a leftover.
            Err(Error::NotFound { .. } | Error::Record { .. }) if force => {
                self.remove_directory(id)?;
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        if !force {
            self.expect(&record, "delete", |status| matches!(status, Status::Stopped | Status::Created))?;
        }
        end(&record)?;
        if let Some(path) = &record.cgroup {
            remove_cgroup(path)?;
        }
        self.remove_directory(id)?;
        Ok(record.run_post_stop())
    }

    fn remove_directory(&self, id: &str) -> Result<()> {
        let directory = self.root.join(id);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(crate::kernel::Error::path("rmdir", directory, error).into())
            }
            _ => Ok(()),
        }
    }

    /// Stops or continues all processes of a container.
    ///
    /// # Errors
    /// When it has no cgroup of its own.
    pub fn freeze(&self, id: &str, frozen: bool) -> Result<()> {
        let record = self.load(id)?;
        let (verb, wanted) = if frozen { ("pause", Status::Running) } else { ("resume", Status::Paused) };
        self.expect(&record, verb, |status| status == wanted)?;
        let path = record.cgroup.as_ref().ok_or_else(|| Error::NoCgroup { id: id.to_owned() })?;
        Ok(Cgroup::open(path)?.freeze(frozen)?)
    }

    fn expect(&self, record: &Record, verb: &'static str, fits: impl Fn(Status) -> bool) -> Result<()> {
        let status = self.status(record)?;
        if fits(status) {
            return Ok(());
        }
        Err(Error::State { id: record.id.clone(), verb, status })
    }
}

impl Reservation {
    /// The socket on which the created container waits.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn listen(&self) -> Result<OwnedFd> {
        Ok(socket::listen(&self.directory.join(START))?)
    }

    /// Writes the record of a container that now exists, and keeps the id.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn commit(mut self, record: &Record, spec: &[u8]) -> Result<()> {
        self.write(SPEC, spec)?;
        self.write(RECORD, &record.to_json())?;
        self.kept = true;
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        // A reboot ends the container, so nothing needs to survive one.
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(file::write_atomic(&self.directory, name.as_ref(), bytes, mode, Durability::None)?)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Ids become names of directories and cgroups.
fn check_id(id: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
    let why = match (id.chars().next(), id.chars().find(|c| !fine(*c))) {
        (None, _) => "it is empty".to_owned(),
        (_, Some(c)) => format!("invalid character `{}`", c.escape_debug()),
        (Some(first), _) if !first.is_ascii_alphanumeric() => {
            format!("invalid character `{first}` at the start")
        }
        _ if id.len() > 255 => "it is longer than 255 characters".to_owned(),
        _ => return Ok(()),
    };
    Err(Error::BadId { id: id.to_owned(), why })
}

fn make_private(root: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .map_err(|source| crate::kernel::Error::path("mkdir", root, source).into())
}

/// Kills the first process, with which the kernel ends all of a pid namespace, and waits for it.
fn end(record: &Record) -> Result<()> {
    let Some(pidfd) = record.open()? else { return Ok(()) };
    match process::pidfd_send_signal(&pidfd, libc::SIGKILL) {
        Err(error) if error.errno() == Some(libc::ESRCH) => return Ok(()),
        result => result?,
    }
    crate::kernel::poll::readable(pidfd.as_fd(), Some(std::time::Duration::from_secs(10)))?;
    Ok(())
}

fn kill_all(record: &Record, signal: i32) -> Result<()> {
    let Some(path) = &record.cgroup else {
        // Processes die with the first one of their pid namespace; other signals need a list of them.
        if signal == libc::SIGKILL && record.own_pid_namespace {
            return end(record);
        }
        return Err(Error::NoCgroup { id: record.id.clone() });
    };
    let cgroup = Cgroup::open(path)?;
    if signal == libc::SIGKILL && cgroup.kill().is_ok() {
        return Ok(());
    }
    for pid in cgroup.processes()?.into_iter().filter_map(Pid::from_raw) {
        // It may have ended meanwhile.
        let _ = process::pidfd_open(pid).and_then(|pidfd| process::pidfd_send_signal(pidfd, signal));
    }
    Ok(())
}

/// A cgroup becomes removable a moment after its last process was reaped.
fn remove_cgroup(path: &Path) -> Result<()> {
    let Ok(cgroup) = Cgroup::open(path) else { return Ok(()) };
    let _ = cgroup.kill();
    for _ in 0..100 {
        match cgroup.remove() {
            Ok(()) => return Ok(()),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    }
    Ok(cgroup.remove()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names() {
        for id in ["a", "web-1", "A.b_c+d", &"x".repeat(255)] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "-a", "a/b", "a b", "ä", "a\n", &"x".repeat(256)] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }
}
