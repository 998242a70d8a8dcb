//! Stopping, killing and signalling containers.
//!
//! The `stop` file is written first: it tells the monitor not to start the container again, and readers that
//! it is "stopping" as long as the command that wrote it lives. No lock is held while a container takes its time.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::Mode;

use super::state::{Phase, ProcessRef, STOP, StopMark, Stored};
use super::{Containers, Error, Record, Result, State, Status, cgroup};
use crate::kernel::file::{self, Durability};
use crate::kernel::poll;
use crate::kernel::process;
use crate::kernel::signal;
use crate::network;

/// How to stop a container.
#[derive(Debug, Clone, Copy)]
pub struct StopRequest {
    /// Time between the stop signal and SIGKILL; the container's own if absent.
    pub timeout: Option<Duration>,
    /// A user asks: the restart policy does not apply.
    pub by_user: bool,
    /// It is going to be started again: `--rm` does not apply.
    pub keep: bool,
}

/// How a stop went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// It was not running.
    Already,
    /// It ended by itself.
    Gently,
    /// SIGKILL was needed; the signal that failed and the time it was given.
    Killed {
        /// Name of the stop signal.
        signal: String,
        /// What it was given to end.
        after: Duration,
    },
}

/// One run of a container, from a start to its end.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    init: ProcessRef,
}

impl Run {
    /// The run that a state tells of; none is that of no process.
    #[must_use]
    pub fn of(state: &State) -> Self {
        Self { init: state.stored.as_ref().map(|stored| stored.init).unwrap_or_default() }
    }
}

/// A stop that was asked for. Many containers take their time side by side if all are asked before the first is waited for.
#[derive(Debug)]
pub struct Asked {
    state: State,
    /// What runs, if anything.
    stored: Option<Stored>,
    grace: Duration,
    /// When its time is over.
    deadline: Instant,
    /// The stop signal was sent.
    signalled: bool,
}

/// How long a monitor may take to write down an exit before it is taken for stuck.
const MONITOR_PATIENCE: Duration = Duration::from_secs(5);

impl Containers {
    /// Stops a container, and returns once its exit is written down.
    ///
    /// # Errors
    /// When it cannot be signalled or does not end.
    pub fn stop(&self, record: &Record, request: StopRequest) -> Result<Stopped> {
        let asked = self.ask_to_stop(record, request)?;
        self.finish_stop(record, asked)
    }

    /// Asks a container to end; [`Self::finish_stop`] follows.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn ask_to_stop(&self, record: &Record, request: StopRequest) -> Result<Asked> {
        // One that cannot be read must not pass for one that is not running: its end would be waited for.
        let mut state = self.state(&record.id)?;
        if request.by_user && state.stored.is_some() {
            // Also when nothing runs right now: a restart may be pending.
            self.mark_stopped(record, request.keep)?;
            state = self.settle(record, state)?;
        }
        let lifecycle = &record.lifecycle;
        let grace = match state.status {
            // It has no program yet that could end in order.
            Status::Initialized => Duration::ZERO,
            _ => request.timeout.unwrap_or(Duration::from_secs(lifecycle.stop_timeout.into())),
        };
        let mut signalled = false;
        let opened = self.open_init(&state)?;
        if let Some((stored, pidfd)) = &opened {
            if grace.is_zero() {
                self.kill_all(stored, pidfd)?;
            } else {
                signalled = reaches(stored, send(pidfd, lifecycle.stop_signal))?;
                if signalled && state.status == Status::Paused {
                    // A frozen process cannot take the signal.
                    cgroup::freeze(&stored.cgroup, false)?;
                }
            }
        }
        // The descriptor is not kept: there may be more containers than a process may have files.
        let stored = opened.map(|(stored, _)| stored);
        Ok(Asked { state, stored, grace, deadline: Instant::now() + grace, signalled })
    }

    /// Kills a container that was asked to end, once its time is over, and returns when its exit is written down.
    ///
    /// # Errors
    /// When it cannot be signalled or does not end.
    pub fn finish_stop(&self, record: &Record, asked: Asked) -> Result<Stopped> {
        let Asked { state, stored, grace, deadline, signalled } = asked;
        let Some(stored) = stored else {
            self.await_exit(record, Some(Run::of(&state)))?;
            return Ok(Stopped::Already);
        };
        let stop_signal = record.lifecycle.stop_signal;
        let mut outcome = Stopped::Gently;
        if let Some(pidfd) = stored.init.open()? {
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = signalled && poll::readable(pidfd.as_fd(), Some(left))?;
            if !ended {
                if !grace.is_zero() && stop_signal != libc::SIGKILL {
                    outcome = Stopped::Killed { signal: signal::name(stop_signal), after: grace };
                }
                self.kill_all(&stored, &pidfd)?;
            }
        }
        // Where the container had ended before, its monitor tells the rest.
        let watched = stored.monitor.is_alive() || self.has_written_exit(record, &stored);
        self.await_exit(record, Some(Run::of(&state)))?;
        self.tell(record, "stop");
        if !watched {
            return Err(Error::MonitorGone { id: record.id.to_string() });
        }
        Ok(outcome)
    }

    /// Whether a run has ended in order, or the container is gone with it.
    fn has_written_exit(&self, record: &Record, run: &Stored) -> bool {
        match self.state(&record.id) {
            Ok(state) => state.stored.is_none_or(|now| {
                now.init != run.init || now.phase == Phase::Exited && now.exit_code.is_some()
            }),
            Err(_) => !self.dir(&record.id).exists(),
        }
    }

    /// Waits while the container is between two runs. Its monitor is told that there is a mark; one that had looked
    /// for it just before starts the container once more, which is then stopped as any other.
    fn settle(&self, record: &Record, mut state: State) -> Result<State> {
        let deadline = Instant::now() + MONITOR_PATIENCE;
        let between = |state: &State| {
            state.status == Status::Stopped
                && state.stored.as_ref().is_some_and(|stored| stored.phase == Phase::Restarting)
        };
        if between(&state) {
            self.nudge(&state)?;
        }
        while between(&state) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(500));
            state = self.state_or_unknown(&record.id);
        }
        Ok(state)
    }

    /// Tells the monitor that there is something new to read.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn nudge(&self, state: &State) -> Result<()> {
        if let Some(monitor) =
            state.stored.as_ref().map(|stored| stored.monitor.open()).transpose()?.flatten()
        {
            send(&monitor, libc::SIGUSR1)?;
        }
        Ok(())
    }

    /// Sends a signal to the first process. SIGKILL ends the container; [`Self::await_kill`] waits for that.
    ///
    /// # Errors
    /// When the container does not run.
    pub fn kill(&self, record: &Record, number: i32) -> Result<Option<Run>> {
        let state = self.state(&record.id)?;
        let opened = self.open_init(&state)?;
        let Some((stored, pidfd)) = opened.filter(|_| state.status != Status::Initialized) else {
            return Err(Error::WrongState {
                what: format!(
                    "can only kill running containers. {} is in state {}",
                    record.id,
                    state.status.as_str()
                ),
                status: state.status,
            });
        };
        // podman takes every signal for a request to end; one that means "reload" is none.
        let ends = [libc::SIGKILL, libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, record.lifecycle.stop_signal];
        if ends.contains(&number) {
            self.mark_stopped(record, false)?;
        }
        if number != libc::SIGKILL {
            send(&pidfd, number)?;
            self.tell(record, "kill");
            return Ok(None);
        }
        self.kill_all(&stored, &pidfd)?;
        self.tell(record, "kill");
        Ok(Some(Run::of(&state)))
    }

    /// Waits until the exit of a killed run is written down.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn await_kill(&self, record: &Record, run: Option<Run>) -> Result<()> {
        match run {
            Some(run) => self.await_exit(record, Some(run)).map(drop),
            None => Ok(()),
        }
    }

    /// Notes that a user asked for the end.
    pub(super) fn mark_stopped(&self, record: &Record, keep: bool) -> Result<()> {
        let mark = StopMark { by: ProcessRef::current()?, keep };
        let text = serde_json::to_vec(&mark).expect("numbers are always JSON");
        let mode = Mode::RUSR | Mode::WUSR;
        let written =
            file::write_atomic(&self.dir(&record.id), OsStr::new(STOP), &text, mode, Durability::None);
        match written {
            // Removed meanwhile: as stopped as can be.
            Err(e) if e.io().kind() == std::io::ErrorKind::NotFound => Ok(()),
            // A full disk must not keep a container running.
            Err(e) if matches!(e.errno(), Some(libc::ENOSPC | libc::EDQUOT)) => Ok(()),
            written => Ok(written?),
        }
    }

    /// Opens the first process, if there is one.
    fn open_init(&self, state: &State) -> Result<Option<(Stored, OwnedFd)>> {
        let Some(stored) = state.stored.clone().filter(|_| state.status.is_alive()) else { return Ok(None) };
        Ok(stored.init.open()?.map(|pidfd| (stored, pidfd)))
    }

    /// Kills the container with everything that belongs to it: the cgroup where there is one, and the first process,
    /// with which its pid namespace ends.
    fn kill_all(&self, stored: &Stored, pidfd: &OwnedFd) -> Result<()> {
        reaches(stored, send(pidfd, libc::SIGKILL))?;
        cgroup::kill(&stored.cgroup);
        Ok(())
    }

    /// Waits until the exit is written down, and returns the state then: that of `run`, or without one that of
    /// whatever run there is. Who ended a run does not wait for the end of the next one, which somebody else may start
    /// at any moment. A monitor that does not get to it within [`MONITOR_PATIENCE`] after the process of `run` has
    /// ended is ended as well: the container must not depend on it.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn await_exit(&self, record: &Record, run: Option<Run>) -> Result<Option<State>> {
        let mut deadline = None;
        loop {
            let state = match self.state(&record.id) {
                Ok(state) => state,
                Err(_) if !self.dir(&record.id).exists() => return Ok(None),
                Err(e) => return Err(e),
            };
            if !self.dir(&record.id).exists() {
                return Ok(None);
            }
            match (state.status, &state.stored) {
                (status, Some(stored)) if status.is_alive() => {
                    if run.is_some_and(|run| run.init != stored.init) {
                        return Ok(Some(state));
                    }
                    if let Some(pidfd) = stored.init.open()? {
                        poll::readable(pidfd.as_fd(), None)?;
                    }
                }
                (Status::Stopped, Some(stored)) if !state.restarts_later() => {
                    let now = Instant::now();
                    let deadline = *deadline.get_or_insert_with(|| run.map(|_| now + MONITOR_PATIENCE));
                    if deadline.is_some_and(|deadline| now >= deadline)
                        && let Some(monitor) = stored.monitor.open()?
                    {
                        send(&monitor, libc::SIGKILL)?;
                    }
                    // The monitor is at it: microseconds, unless somebody has stopped it.
                    std::thread::sleep(Duration::from_micros(500));
                }
                (Status::Created | Status::Exited, Some(stored)) if stored.phase != Phase::Exited => {
                    self.bury(record)?;
                }
                _ => return Ok(Some(state)),
            }
        }
    }

    /// Does what the monitor of a container that has ended should have done, unless that was done.
    ///
    /// # Errors
    /// When the container runs.
    pub fn clean_up(&self, record: &Record) -> Result<()> {
        let state = self.state(&record.id)?;
        if state.status.is_alive() || state.restarts_later() {
            return Err(Error::WrongState {
                what: format!("container {} is running or paused, refusing to clean up", record.id),
                status: state.status,
            });
        }
        self.await_exit(record, Some(Run::of(&state)))?;
        let _lock = self.lock(&record.id)?;
        if self.state(&record.id)?.status.is_alive() {
            // Started meanwhile: its own monitor takes care of it.
            return Ok(());
        }
        super::reserve::remove_dir(&self.run_dir(&record.id))
    }

    /// Writes the exit of a container whose monitor cannot any more.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn bury(&self, record: &Record) -> Result<()> {
        let _lock = match self.lock(&record.id) {
            Err(Error::NotFound { .. }) => return Ok(()),
            lock => lock?,
        };
        self.bury_locked(record)
    }

    /// The same under the container's lock.
    pub(super) fn bury_locked(&self, record: &Record) -> Result<()> {
        let state = self.state(&record.id)?;
        let ended = matches!(state.status, Status::Created | Status::Exited);
        let Some(mut stored) = state.stored.filter(|_| ended) else { return Ok(()) };
        if stored.phase == Phase::Exited {
            return Ok(());
        }
        let dir = self.dir(&record.id);
        stored.end_helpers(&dir)?;
        stored.oom_killed |= cgroup::was_out_of_memory(&stored.cgroup);
        cgroup::remove(&stored.cgroup);
        if state.status == Status::Created {
            // It was made and never started: nothing has happened.
            return super::start::remove_if_there(&dir.join("state.json"));
        }
        stored.phase = Phase::Exited;
        stored.finished.get_or_insert_with(super::Time::now);
        stored.write(&dir)
    }
}

impl Stored {
    /// Ends what stood beside a container whose monitor could not do it.
    ///
    /// # Errors
    /// When the kernel has no boot id.
    pub(super) fn end_helpers(&mut self, dir: &Path) -> Result<()> {
        let rebooted = self.boot_id != process::boot_id()?;
        if let Some(helper) = self.network.take().and_then(|network| network.helper)
            && !rebooted
        {
            network::driver::end_helper(helper);
        }
        let helpers = std::mem::take(&mut self.helpers);
        if !rebooted {
            super::fuse::end_all(&helpers, dir);
        }
        Ok(())
    }
}

impl State {
    /// Whether the monitor is waiting to start it again.
    #[must_use]
    pub fn restarts_later(&self) -> bool {
        self.status == Status::Stopped
            && !self.stopped_by_user()
            && self.stored.as_ref().is_some_and(|stored| stored.phase == Phase::Restarting)
    }
}

/// Whether a signal was sent. One from a checkpoint is not below the user's namespace, from which its processes of other
/// users take no signals; its cgroup has to do.
fn reaches(stored: &Stored, sent: Result<()>) -> Result<bool> {
    match sent {
        Err(Error::Kernel(e))
            if e.errno() == Some(libc::EPERM) && stored.restored.is_some() && !stored.cgroup.is_empty() =>
        {
            Ok(false)
        }
        sent => sent.map(|()| true),
    }
}

/// Sends a signal; to a process that has just ended that is no error.
fn send(pidfd: &OwnedFd, number: i32) -> Result<()> {
    match process::pidfd_send_signal(pidfd, number) {
        Err(e) if e.errno() == Some(libc::ESRCH) => Ok(()),
        result => Ok(result?),
    }
}
