//! Starting a container: from its record to a monitor that stands beside it.
//!
//! The command checks and locks, and forks the monitor. Everything else happens in the monitor, through
//! [`Keeper`]: entering the user's namespace, planning, writing the state. The lock is held by both until the
//! state says "running", so there is no moment in which a second command could start it again.

mod keeper;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::keeper::Keeper;
use super::checkpoint::RestoreRequest;
use super::create::Blueprint;
use super::network::Settings;
use super::record::LogDriver;
use super::reserve::make_dir;
use super::state::STOP;
use super::{ContainerId, Containers, Error, Record, Result, Status};
use crate::config::Paths;
use crate::kernel;
use crate::kernel::file::Flock;
use crate::monitor::client::{Connection, Wanted};
use crate::monitor::{self, Failure, Reason, Request, StreamsRequest};
use crate::runtime::Passed;
use crate::userns::{self, UserMaps};

/// How a container is started.
#[derive(Debug)]
pub struct StartOptions {
    /// What the starting command is attached to.
    pub wanted: Wanted,
    /// Columns and rows of the caller's terminal.
    pub size: Option<(u16, u16)>,
    /// Further descriptors for the container.
    pub extra: Vec<Passed>,
    /// It is only made, and waits for [`Connection::start`].
    pub hold: bool,
    /// What the network is made from.
    pub settings: Settings,
    /// Where devices are described.
    pub cdi_directories: Vec<PathBuf>,
    /// What the container was just made from, where the caller made it.
    pub blueprint: Option<Blueprint>,
    /// The user's namespace, where it was begun to be made already.
    pub entering: Option<userns::Entering>,
    /// It goes on from its checkpoint.
    pub restore: Option<RestoreRequest>,
    /// Puts the reason of a failure into words.
    pub describe: fn(Reason) -> Failure,
}

impl Containers {
    /// Takes the lock under which the container's state may be changed.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the container has been removed meanwhile.
    pub fn lock(&self, id: &ContainerId) -> Result<Flock> {
        Flock::exclusive_existing(&self.dir(id)).map_err(|e| match e.io().kind() {
            std::io::ErrorKind::NotFound => Error::NotFound { reference: id.to_string() },
            _ => e.into(),
        })
    }

    /// Starts the container of `record`, whose lock the caller holds. `Ok` says that the monitor
    /// was forked: whether the program runs is told by the connection.
    ///
    /// # Errors
    /// When the state does not allow it, or no process can be made.
    pub fn start(
        &self,
        paths: &Paths,
        maps: &UserMaps,
        record: &Record,
        lock: Flock,
        mut options: StartOptions,
    ) -> Result<Connection> {
        let dir = self.dir(&record.id);
        let previous = self.state(&record.id)?;
        if previous.stored.is_none() && self.runs_unseen(&record.id) {
            return Err(Error::Missing { path: dir.join("state.json") });
        }
        if !matches!(previous.status, Status::Created | Status::Exited) {
            return Err(Error::WrongState {
                what: format!("container {} is {}", record.id, previous.status.as_str()),
                status: previous.status,
            });
        }
        remove_if_there(&dir.join(STOP))?;
        make_dir(&self.run_dir(&record.id))?;
        let lifecycle = &record.lifecycle;
        let streams = match (record.log.driver, record.process.terminal) {
            (LogDriver::Passthrough, _) => StreamsRequest::Inherit,
            (_, true) => StreamsRequest::Terminal { size: options.size },
            (_, false) => StreamsRequest::Pipes { interactive: record.process.interactive },
        };
        let request = Request {
            streams,
            extra: std::mem::take(&mut options.extra),
            log: self.log_target(record),
            socket: self.socket(&record.id),
            first: options.wanted.hello(),
            stop_signal: lifecycle.stop_signal,
            stop_timeout: Duration::from_secs(lifecycle.stop_timeout.into()),
            describe: options.describe,
            timeout: (lifecycle.timeout > 0).then(|| Duration::from_secs(lifecycle.timeout.into())),
            hold: options.hold,
        };
        let keeper = Keeper::new(self, (paths, maps), record, (lock, previous.stored), options);
        Ok(monitor::start(Box::new(keeper), request)?.into())
    }

    /// Where the monitor of `id` serves clients.
    #[must_use]
    pub fn socket(&self, id: &ContainerId) -> PathBuf {
        self.run_dir(id).join("attach.sock")
    }
}

/// Removes a file; that there is none is fine.
pub(super) fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(kernel::Error::path("unlink", path, e).into())
        }
        _ => Ok(()),
    }
}
