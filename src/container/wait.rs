//! Waiting for a container to come into a state.

use std::os::fd::AsFd as _;
use std::time::Duration;

use super::{Containers, Record, Result, State, Status};
use crate::kernel::poll;

impl Containers {
    /// Waits until the container does not run and will not be started again by itself, and returns its exit code.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn wait(&self, record: &Record) -> Result<i32> {
        // A container that is removed by its monitor takes its exit code along: the last one seen counts.
        let state = self.await_exit(record, None)?;
        Ok(state.map_or(-1, |state| state.exit_code()))
    }

    /// Waits until the container is in one of `wanted`, looking every `interval`; returns its exit code, -1 if it has none.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn wait_for(&self, record: &Record, wanted: &[Status], interval: Duration) -> Result<i32> {
        let removed = wanted.contains(&Status::Removing);
        loop {
            if !self.dir(&record.id).exists() {
                return Ok(-1);
            }
            let state = self.state(&record.id)?;
            if wanted.contains(&settled(&state)) {
                let ended = matches!(state.status, Status::Exited | Status::Stopped);
                return Ok(if ended { state.exit_code() } else { -1 });
            }
            // The end of the first process is noticed at once; other changes are looked for.
            let pidfd = match &state.stored {
                Some(stored) if state.status.is_alive() && !removed => stored.init.open()?,
                _ => None,
            };
            match pidfd {
                Some(pidfd) => drop(poll::readable(pidfd.as_fd(), Some(interval))?),
                None => std::thread::sleep(interval.min(Duration::from_millis(20))),
            }
        }
    }
}

/// The state as conditions know it.
fn settled(state: &State) -> Status {
    if state.status == Status::Stopped { Status::Exited } else { state.status }
}
