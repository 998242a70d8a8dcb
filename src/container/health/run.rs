//! One health check: a process in the container, what it came to, and what follows.

use std::time::Duration;

use jiff::Timestamp;

use super::{Health, LogEntry, OnFailure, Results, time};
use crate::container::exec::ExecRequest;
use crate::container::notify::SdNotify;
use crate::container::stop::StopRequest;
use crate::container::{Containers, Error, Record, Result, Status, Time};
use crate::events::Event;
use crate::image::config::Healthcheck;
use crate::kernel::poll;
use crate::kernel::process::ExitStatus;
use crate::monitor::beside::{self, Captured};
use std::os::fd::AsFd as _;

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passed.
    Healthy,
    /// It failed, and the container is still coming up.
    Starting,
    /// The container ended while it ran.
    Stopped,
    /// It failed.
    Unhealthy,
    /// It took longer than it may.
    TimedOut(Duration),
}

/// How much output of one check is held in memory where nothing limits what is kept.
const MOST_OUTPUT: usize = 1 << 20;

impl Containers {
    /// Runs the check of a running container once, and does what its settings say if that makes it unhealthy.
    ///
    /// # Errors
    /// When the container does not run or has no check.
    pub fn check_health(&self, record: &Record) -> Result<Verdict> {
        let state = self.state(&record.id)?;
        if state.status != Status::Running {
            return Err(Error::WrongState {
                what: format!("container {} is not running", record.id),
                status: state.status,
            });
        }
        let none = || Error::Invalid { what: format!("container {} has no defined healthcheck", record.id) };
        let health = record.health.as_ref().ok_or_else(none)?;
        let regular = health.active().ok_or_else(none)?;
        let before = self.health_results(record).unwrap_or_default();
        let startup = health.startup.as_ref().filter(|_| !before.startup_passed);
        let check = startup.map_or(regular, |startup| &startup.check);
        let begin = Timestamp::now();
        let most = match health.max_log_size {
            0 => MOST_OUTPUT,
            size => size as usize,
        };
        let Some(command) = command(check) else { return Err(none()) };
        let limit = time(check.timeout);
        let attempt = self.attempt(record, command, limit, most)?;
        let started = state.stored.as_ref().and_then(|stored| stored.started);
        let in_start_period = startup.is_some() || in_start_period(regular, started, begin);
        let stopped = attempt.exit_code != 0 && self.has_ended(record, &attempt);
        let entry = LogEntry {
            start: begin.to_string(),
            end: Timestamp::now().to_string(),
            exit_code: attempt.exit_code,
            output: attempt.output,
        };
        let outcome = Outcome { entry, stopped, in_start_period, startup: startup.is_some() };
        let verdict = outcome.verdict(attempt.timed_out.then_some(limit));
        let Some(results) = self.note(record, health, &outcome)? else { return Ok(Verdict::Stopped) };
        self.act(record, health, &results, outcome.startup)?;
        Ok(verdict)
    }

    /// Runs the process of a check.
    fn attempt(
        &self,
        record: &Record,
        command: Vec<String>,
        limit: Duration,
        most: usize,
    ) -> Result<Attempt> {
        let request = ExecRequest { command, ..ExecRequest::default() };
        let plan = self.plan_exec(record, request)?;
        // What cannot be executed is a check that failed, and says why.
        let captured = match beside::exec_captured(&plan) {
            Ok(process) => process.collect(Some(limit).filter(|limit| !limit.is_zero()), most)?,
            Err(error) => {
                let output = error.to_string();
                return Ok(Attempt { exit_code: 1, output, timed_out: false, killed: false });
            }
        };
        let Captured { status, output } = captured;
        let exit_code = match status {
            Some(status) if status.code() == 0 => 0,
            Some(_) => 1,
            None => -1,
        };
        let output = String::from_utf8_lossy(&output).into_owned();
        let killed = matches!(status, Some(ExitStatus::Signaled { .. }));
        Ok(Attempt { exit_code, output, timed_out: status.is_none(), killed })
    }

    /// Whether the container ended under the check.
    fn has_ended(&self, record: &Record, attempt: &Attempt) -> bool {
        let ended = || self.state(&record.id).map_or(true, |state| state.status != Status::Running);
        if !attempt.killed || ended() {
            return ended();
        }
        // A pid namespace ends with its last process before its first one is gone.
        if let Ok(state) = self.state(&record.id)
            && let Some(Ok(Some(init))) = state.stored.map(|stored| stored.init.open())
        {
            let _ = poll::readable(init.as_fd(), Some(Duration::from_millis(200)));
        }
        ended()
    }

    /// Writes down what a check came to and tells it; `None` when the container is gone.
    fn note(&self, record: &Record, health: &Health, outcome: &Outcome) -> Result<Option<Results>> {
        let _lock = match self.lock(&record.id) {
            Err(Error::NotFound { .. }) => return Ok(None),
            lock => lock?,
        };
        let Some(mut results) = self.health_results(record) else { return Ok(None) };
        outcome.apply(health, &mut results);
        self.write_health(record, &results)?;
        let mut event: Event = record.event("health_status");
        event.health_status.clone_from(&results.status);
        event.health_failing_streak = results.failing_streak;
        if health.log_destination == "events_logger" {
            event.health_log = serde_json::to_string(&outcome.entry).unwrap_or_default();
        }
        if self.events.wants_health() {
            self.events.emit(&[event]);
        }
        if record.lifecycle.sd_notify == SdNotify::Healthy {
            // The monitor tells systemd.
            self.nudge(&self.state(&record.id)?)?;
        }
        Ok(Some(results))
    }

    /// Does what the settings say about a container that turned out unhealthy.
    fn act(&self, record: &Record, health: &Health, results: &Results, startup: bool) -> Result<()> {
        let again = StopRequest { timeout: None, by_user: false, keep: true };
        if startup {
            let most = health.startup.as_ref().map_or(0, |startup| startup.check.retries);
            if most > 0 && i64::from(results.startup_failures) >= most {
                // The monitor sees the count, and starts it again.
                self.stop(record, again)?;
            }
            return Ok(());
        }
        if results.status != "unhealthy" {
            return Ok(());
        }
        match health.on_failure {
            OnFailure::None => Ok(()),
            OnFailure::Kill => {
                match self.kill(record, libc::SIGKILL).and_then(|run| self.await_kill(record, run)) {
                    // Ended by itself.
                    Err(Error::WrongState { .. }) => Ok(()),
                    killed => killed,
                }
            }
            OnFailure::Restart => self.stop(record, again).map(drop),
            OnFailure::Stop => {
                self.stop(record, StopRequest { by_user: true, keep: false, ..again }).map(drop)
            }
        }
    }

    /// Whether the checks ask for a new start of a container that has just ended.
    pub(in crate::container) fn health_asks_for_restart(&self, record: &Record) -> bool {
        let (Some(health), Some(results)) = (&record.health, self.health_results(record)) else {
            return false;
        };
        let startup = health.startup.as_ref().map_or(0, |startup| startup.check.retries);
        let never_came_up =
            startup > 0 && !results.startup_passed && i64::from(results.startup_failures) >= startup;
        never_came_up || (health.on_failure == OnFailure::Restart && results.status == "unhealthy")
    }
}

/// How the process of a check ended.
struct Attempt {
    exit_code: i32,
    output: String,
    timed_out: bool,
    /// By a signal.
    killed: bool,
}

/// A check that is over.
struct Outcome {
    entry: LogEntry,
    stopped: bool,
    in_start_period: bool,
    startup: bool,
}

impl Outcome {
    fn verdict(&self, timed_out: Option<Duration>) -> Verdict {
        match (self.entry.exit_code, timed_out) {
            (0, _) => Verdict::Healthy,
            _ if self.stopped => Verdict::Stopped,
            (_, Some(limit)) => Verdict::TimedOut(limit),
            _ if self.startup => Verdict::Starting,
            _ => Verdict::Unhealthy,
        }
    }

    /// What the results are after this check.
    fn apply(&self, health: &Health, results: &mut Results) {
        let passed = self.entry.exit_code == 0;
        if self.startup && !results.startup_passed {
            if passed {
                results.startup_successes += 1;
                let needed = health.startup.as_ref().map_or(0, |startup| startup.successes);
                results.startup_passed = results.startup_successes >= needed.max(1);
            } else {
                results.startup_successes = 0;
                results.startup_failures += 1;
            }
        }
        if passed {
            "healthy".clone_into(&mut results.status);
            results.failing_streak = 0;
        } else {
            if results.status.is_empty() {
                "healthy".clone_into(&mut results.status);
            }
            if self.stopped {
                "stopped".clone_into(&mut results.status);
            } else if !self.in_start_period {
                results.failing_streak += 1;
                let most = health.check.as_ref().map_or(0, |check| check.retries);
                if i64::from(results.failing_streak) >= most {
                    "unhealthy".clone_into(&mut results.status);
                }
            }
        }
        results.log.push(self.entry.clone());
        let keep = health.max_log_count as usize;
        if keep > 0 && results.log.len() > keep {
            results.log.drain(..results.log.len() - keep);
        }
    }
}

fn in_start_period(check: &Healthcheck, started: Option<Time>, now: Timestamp) -> bool {
    let period = time(check.start_period);
    started.is_some_and(|started| now.duration_since(started.0).unsigned_abs() < period)
}

/// What is executed for a check.
fn command(check: &Healthcheck) -> Option<Vec<String>> {
    let (first, rest) = check.test.split_first()?;
    let command = match first.as_str() {
        "" | "NONE" => return None,
        "CMD" => rest.to_vec(),
        "CMD-SHELL" => vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.join(" ")],
        _ => check.test.clone(),
    };
    Some(command).filter(|command| command.first().is_some_and(|program| !program.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::super::Startup;
    use super::*;

    fn health(retries: i64) -> Health {
        let check = Healthcheck { retries, ..Healthcheck::default() };
        Health { check: Some(check), max_log_count: 3, ..Health::default() }
    }

    fn outcome(exit_code: i32) -> Outcome {
        let entry = LogEntry { exit_code, ..LogEntry::default() };
        Outcome { entry, stopped: false, in_start_period: false, startup: false }
    }

    #[test]
    fn failures_in_a_row_make_unhealthy() {
        let health = health(2);
        let mut results = Results { status: "starting".to_owned(), ..Results::default() };
        let table = [
            (1, "starting", 1),
            (0, "healthy", 0),
            (1, "healthy", 1),
            (-1, "unhealthy", 2),
            (0, "healthy", 0),
        ];
        for (code, status, streak) in table {
            outcome(code).apply(&health, &mut results);
            assert_eq!((results.status.as_str(), results.failing_streak), (status, streak));
        }
        assert_eq!(results.log.iter().map(|entry| entry.exit_code).collect::<Vec<_>>(), [1, -1, 0]);
        let late = Outcome { in_start_period: true, ..outcome(1) };
        late.apply(&health, &mut results);
        assert_eq!((results.status.as_str(), results.failing_streak), ("healthy", 0));
        Outcome { stopped: true, ..outcome(1) }.apply(&health, &mut results);
        assert_eq!((results.status.as_str(), results.failing_streak), ("stopped", 0));
    }

    #[test]
    fn a_container_comes_up_after_enough_successes() {
        let startup = Some(Startup { successes: 2, ..Startup::default() });
        let health = Health { startup, ..health(1) };
        let mut results = Results::default();
        for (code, passed, failures) in [(0, false, 0), (1, false, 1), (0, false, 1), (0, true, 1)] {
            let check = Outcome { startup: true, in_start_period: true, ..outcome(code) };
            check.apply(&health, &mut results);
            assert_eq!((results.startup_passed, results.startup_failures), (passed, failures));
        }
    }

    #[test]
    fn commands_are_those_of_docker() {
        let of = |words: &[&str]| {
            let test = words.iter().map(|&word| word.to_owned()).collect();
            command(&Healthcheck { test, ..Healthcheck::default() })
        };
        assert_eq!(of(&["CMD", "a", "b"]).unwrap(), ["a", "b"]);
        assert_eq!(of(&["CMD-SHELL", "a b"]).unwrap(), ["/bin/sh", "-c", "a b"]);
        assert_eq!(of(&["a", "b"]).unwrap(), ["a", "b"]);
        for none in [&["NONE"][..], &[], &["CMD"], &["CMD", ""]] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
