//! Removing containers, so that a crash leaves either the container or nothing that is taken for one.
//!
//! The directory is renamed out of the table in one step (from then on the container is gone and its name is
//! free), and emptied afterwards. What a dead process leaves in `tmp/` is removed by the next
//! writer of the store. The files belong to the container's ids: the caller is in the user's namespace.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use super::reserve::{make_dir, remove_dir};
use super::state::{StopMark, Stored};
use super::stop::{Asked, StopRequest};
use super::{ContainerId, Containers, Error, Record, Result, State, Status};
use crate::kernel::file::{self, Flock};
use crate::kernel::{self, socket};

/// How often a container that others start meanwhile is stopped.
const STOP_ATTEMPTS: u32 = 20;

/// How to remove a container.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Stop it first if it runs.
    pub force: bool,
    /// How long the stop may take; the container's own time if absent.
    pub timeout: Option<Duration>,
    /// Remove the volumes that were made for it alone.
    pub volumes: bool,
}

impl Containers {
    /// Removes a container.
    ///
    /// # Errors
    /// When it runs and `force` is not set, when others depend on it, or when files cannot be removed.
    pub fn remove(&self, record: &Record, options: RemoveOptions) -> Result<()> {
        self.remove_asked(record, options, None)
    }

    /// Asks a container to end that is going to be removed by force; [`Self::remove_asked`] follows.
    ///
    /// # Errors
    /// When it cannot be signalled, which its removal deals with.
    pub fn ask_to_end(&self, record: &Record, options: RemoveOptions) -> Result<Asked> {
        self.ask_to_stop(record, StopRequest { timeout: options.timeout, by_user: true, keep: false })
    }

    /// Removes a container that may have been asked to end already.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn remove_asked(&self, record: &Record, options: RemoveOptions, asked: Option<Asked>) -> Result<()> {
        let Some((_lock, state)) = self.lock_ended(record, options, asked)? else { return Ok(()) };
        self.take_away(record, &state, options.volumes || record.lifecycle.auto_remove)
    }

    /// Removes a container whose lock the caller holds, with the volumes that were made for it alone if that is wished.
    fn take_away(&self, record: &Record, state: &State, volumes: bool) -> Result<()> {
        let trash = self.detach_files(record)?;
        self.events.emit(&[record.removal_event(state)]);
        remove_dir(&trash)?;
        if volumes {
            self.remove_anonymous_volumes(record)?;
        }
        Ok(())
    }

    /// Whether a container was to be removed at its end and nobody is left who does it: its monitor was killed. One that
    /// a restart has stopped is to go on, and so may one with a checkpoint.
    #[must_use]
    pub fn is_abandoned(&self, record: &Record) -> bool {
        record.lifecycle.auto_remove
            && self.state(&record.id).is_ok_and(|state| {
                let is_unattended =
                    |stored: &Stored| stored.checkpointed.is_none() && !stored.monitor.is_alive();
                state.status == Status::Exited
                    && state.stored.as_ref().is_some_and(is_unattended)
                    // In another pid namespace the numbers of living processes say nothing.
                    && socket::connect(&self.socket(&record.id)).is_err()
                    && StopMark::read(&self.dir(&record.id)).is_none_or(|mark| !mark.keep)
            })
    }

    /// Does what the monitor of an abandoned container should have done; `false` where there is nothing to do, or where
    /// somebody else is at it, who holds the lock. The caller is in the user's namespace.
    ///
    /// # Errors
    /// When files cannot be removed.
    pub fn remove_abandoned(&self, record: &Record) -> Result<bool> {
        let lock = match Flock::try_exclusive_existing(&self.dir(&record.id)) {
            Err(error) if error.io().kind() == std::io::ErrorKind::NotFound => None,
            lock => lock?,
        };
        let Some(_lock) = lock else { return Ok(false) };
        let Some(record) = self.record(&record.id)?.filter(|record| self.is_abandoned(record)) else {
            return Ok(false);
        };
        self.bury_locked(&record)?;
        self.take_away(&record, &self.state(&record.id)?, true)?;
        if record.lifecycle.auto_remove_image {
            self.remove_image(&record)?;
        }
        Ok(true)
    }

    /// Makes sure that a power cut brings no container or volume back: once for all that a command has removed.
    ///
    /// # Errors
    /// When a directory cannot be written.
    pub fn sync_removals(&self) -> Result<()> {
        for table in [&self.data.join("containers"), self.volumes().dir()] {
            match file::sync_dir_path(table) {
                Err(e) if e.errno() == Some(libc::ENOENT) => {}
                synced => synced?,
            }
        }
        Ok(())
    }

    /// Locks a container that is not running, after stopping it if that is wished; nothing if it is gone.
    fn lock_ended(
        &self,
        record: &Record,
        options: RemoveOptions,
        mut asked: Option<Asked>,
    ) -> Result<Option<(Flock, State)>> {
        let mut attempts = if options.force { STOP_ATTEMPTS } else { 0 };
        loop {
            // One that is only made has nothing to lose.
            let made = match self.state(&record.id) {
                Ok(state) => state.status == Status::Initialized,
                Err(_) if options.force => {
                    self.kill_unseen(&record.id)?;
                    false
                }
                Err(_) if !self.dir(&record.id).exists() => return Ok(None),
                // It may run.
                Err(error) => {
                    return Err(Error::Broken { id: record.id.to_string(), source: Box::new(error) });
                }
            };
            if (options.force || made) && self.state(&record.id).is_ok() {
                let asked = asked.take().map_or_else(|| self.ask_to_end(record, options), Ok);
                match asked.and_then(|asked| self.finish_stop(record, asked)) {
                    // How it ended does not matter any more.
                    Err(Error::MonitorGone { .. }) => {}
                    stopped => drop(stopped?),
                }
            }
            let lock = match self.lock(&record.id) {
                // Somebody else was faster.
                Err(Error::NotFound { .. }) => return Ok(None),
                lock => lock?,
            };
            if self.record(&record.id)?.is_none() {
                return Ok(None);
            }
            let state = self.state_or_unknown(&record.id);
            let status = state.status;
            if !status.is_alive() && (status != Status::Stopped || options.force) {
                return Ok(Some((lock, state)));
            }
            if attempts > 0 {
                // It was just being started when the stop found nothing to stop.
                attempts -= 1;
                continue;
            }
            return Err(Error::WrongState {
                what: format!(
                    "cannot remove container {} as it is {} - running or paused containers cannot be \
                     removed without force",
                    record.id,
                    status.as_str()
                ),
                status,
            });
        }
    }

    /// The state, or "unknown" where its file is damaged: that must not keep anybody from removing it.
    #[must_use]
    pub fn state_or_unknown(&self, id: &ContainerId) -> State {
        self.state(id).unwrap_or_else(|_| State::unknown(self.dir(id)))
    }

    /// Takes the container out of the table; returns the directory that is left to be removed.
    pub(super) fn detach_files(&self, record: &Record) -> Result<PathBuf> {
        let tmp = self.data.join("tmp");
        make_dir(&tmp)?;
        let trash = tmp.join(record.id.as_str());
        let dir = self.dir(&record.id);
        rustix::fs::rename(&dir, &trash).map_err(|e| kernel::Error::path("rename", &dir, e))?;
        self.release_name(&record.name, &record.id)?;
        crate::store::record_use(&self.data, &record.root.image_id);
        remove_dir(&self.run_dir(&record.id))?;
        if let Some(path) = &record.lifecycle.cid_file {
            let ours =
                std::fs::read(path).is_ok_and(|text| text.trim_ascii() == record.id.as_str().as_bytes());
            if ours {
                super::start::remove_if_there(path)?;
            }
        }
        Ok(trash)
    }

    /// The containers that others depend on.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn needed(&self) -> Result<HashSet<ContainerId>> {
        let mut needed = HashSet::new();
        for id in self.ids()? {
            // A damaged record must not block the others.
            if let Ok(Some(record)) = self.record(&id) {
                needed.extend(record.dependencies);
            }
        }
        Ok(needed)
    }

    /// The containers that use namespaces or volumes of `id`.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn dependents(&self, id: &ContainerId) -> Result<Vec<Record>> {
        let mut found = Vec::new();
        for other in self.ids()? {
            // A damaged record must not block the others.
            if let Ok(Some(record)) = self.record(&other)
                && record.dependencies.contains(id)
            {
                found.push(record);
            }
        }
        Ok(found)
    }
}
