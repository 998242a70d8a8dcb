//! When a monitor makes the next check. The check itself runs in a process of its own, forked off the
//! monitor, so that the monitor goes on serving output, clients and signals meanwhile.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use super::{Health, time};
use crate::container::{Containers, Record};
use crate::kernel::poll;
use crate::kernel::process::{self, Fork};

/// The times of one run of a container.
#[derive(Debug, Default)]
pub(in crate::container) struct Timer {
    due: Option<Instant>,
    /// A check that runs.
    running: Option<OwnedFd>,
}

impl Timer {
    /// Begins a run: the first check is made at once.
    pub(in crate::container) fn begin(&mut self, record: &Record) {
        *self = Self::default();
        if interval(record, false).is_some() {
            self.due = Some(Instant::now());
        }
    }

    /// The settings have changed: what is due is counted anew.
    pub(in crate::container) fn renew(&mut self, containers: &Containers, record: &Record) {
        if self.running.is_none() {
            self.due = next(containers, record);
        }
    }

    /// When something is to be done. A check that runs is noticed when it ends, because the monitor is its parent.
    pub(in crate::container) fn due(&mut self, containers: &Containers, record: &Record) -> Option<Instant> {
        if let Some(running) = &self.running {
            if !poll::readable(running.as_fd(), Some(Duration::ZERO)).unwrap_or(true) {
                return None;
            }
            self.running = None;
            self.due = next(containers, record);
        }
        self.due
    }

    /// Makes a check, if it is time.
    pub(in crate::container) fn tick(&mut self, containers: &Containers, record: &Record) {
        if self.running.is_some() || self.due.is_none_or(|due| due > Instant::now()) {
            return;
        }
        self.due = None;
        let forked = match process::fork() {
            Ok(Fork::Parent { pid, .. }) => process::pidfd_open(pid),
            Ok(Fork::Child) => {
                let check = std::panic::AssertUnwindSafe(|| containers.check_health(record));
                // What it came to is in the results; there is nobody else to tell.
                let _ = std::panic::catch_unwind(check);
                process::exit_now(0)
            }
            Err(error) => Err(error),
        };
        match forked {
            Ok(pidfd) => self.running = Some(pidfd),
            // No process to be had now: the next turn may have one.
            Err(_) => self.due = next(containers, record),
        }
    }
}

fn next(containers: &Containers, record: &Record) -> Option<Instant> {
    let passed = containers.health_results(record).is_some_and(|results| results.startup_passed);
    interval(record, passed).map(|interval| Instant::now() + interval)
}

/// The time between two checks; none where nothing is to be checked.
fn interval(record: &Record, passed: bool) -> Option<Duration> {
    let health = record.health.as_ref()?;
    let regular = Health::active(health)?;
    let check = health.startup.as_ref().filter(|_| !passed).map_or(regular, |startup| &startup.check);
    Some(time(check.interval)).filter(|interval| !interval.is_zero())
}
