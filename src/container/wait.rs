//! Waiting for a container to come into a state.

use std::os::fd::AsFd as _;
use std::time::Duration;

use super::health::Health;
use super::{Containers, Error, Record, Result, State, Status};
use crate::kernel::poll::{self, Events};

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

    /// Waits until one of `conditions` holds for one of `records`, looking every `interval`; returns its exit
    /// code, -1 if it has none.
    ///
    /// # Errors
    /// When files cannot be read, or a container that has no health checks is to become healthy.
    pub fn wait_for(&self, records: &[Record], conditions: &[Condition], interval: Duration) -> Result<i32> {
        for (record, condition) in records.iter().flat_map(|r| conditions.iter().map(move |c| (r, c))) {
            if let Condition::Health(word) = condition
                && record.health.as_ref().and_then(Health::active).is_none()
            {
                return Err(Error::Invalid {
                    what: format!(
                        "cannot use condition {word:?}: container {} has no healthcheck",
                        record.id
                    ),
                });
            }
        }
        let mut ended = vec![false; records.len()];
        loop {
            let mut processes = Vec::new();
            for (record, ended) in records.iter().zip(&mut ended) {
                if !self.dir(&record.id).exists() {
                    return Ok(-1);
                }
                let state = self.state(&record.id)?;
                if let Some(code) = self.met(record, &state, conditions) {
                    return Ok(code);
                }
                let only_health =
                    conditions.iter().all(|condition| matches!(condition, Condition::Health(_)));
                let is_over =
                    matches!(state.status, Status::Exited | Status::Stopped) && !state.restarts_later();
                // A last result may still be on its way.
                if only_health && is_over && std::mem::replace(ended, true) {
                    return Err(Error::WrongState {
                        what: format!("container {} is stopped", record.id),
                        status: state.status,
                    });
                }
                if let Some(stored) = state.stored.as_ref().filter(|_| state.status.is_alive()) {
                    processes.extend(stored.init.open()?);
                }
            }
            // The end of a first process is noticed at once; other changes are looked for.
            let looks = conditions.iter().any(|condition| *condition != Condition::Status(Status::Exited));
            let interval = if looks || processes.len() < records.len() {
                interval.min(Duration::from_millis(20))
            } else {
                interval
            };
            let set: Vec<_> = processes.iter().map(|process| (process.as_fd(), Events::READ)).collect();
            poll::wait(&set, &mut Vec::new(), Some(interval))?;
        }
    }

    /// The code to return, if one of the conditions holds.
    fn met(&self, record: &Record, state: &State, conditions: &[Condition]) -> Option<i32> {
        let met = conditions.iter().any(|condition| match condition {
            // While the monitor is at it, output is on its way to the log still, and the exit code is not known.
            Condition::Status(Status::Exited) => state.status == Status::Exited || state.restarts_later(),
            Condition::Status(status) => *status == state.status,
            Condition::Health(word) => self.health_status(record) == *word,
        });
        let ended = matches!(state.status, Status::Exited | Status::Stopped);
        met.then(|| if ended { state.exit_code() } else { -1 })
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The container is in this state.
    Status(Status),
    /// Its health checks came to this.
    Health(&'static str),
}
