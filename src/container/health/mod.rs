//! Health checks: what a container has of them, and what they came to.
//!
//! The settings are in the record. The results are in `containers/ID/health.json`, or in
//! `DIR/ID-healthcheck.log` with `--health-log-destination=DIR`, in podman's form:
//!
//! ```text
//! {"Status":"healthy","FailingStreak":0,"Log":[{"Start":"…","End":"…","ExitCode":0,"Output":"…"}]}
//! ```
//!
//! They are written under the container's lock, and begun again with each start of the container.
//!
//! | file | owns |
//! |---|---|
//! | `run` | one check: the process, its output, what follows |
//! | `timer` | when the monitor makes the next one |

mod run;
mod timer;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use super::brief::Brief;
use super::{ContainerId, Containers, Error, Record, Result};
use crate::image::config::Healthcheck;
use crate::kernel::file::{self, Durability};

pub use run::Verdict;
pub(super) use timer::Timer;

/// The settings of a container's health checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// The check; `["NONE"]` switches that of the image off.
    pub check: Option<Healthcheck>,
    /// The check until the container has come up.
    pub startup: Option<Startup>,
    /// What follows once the container is unhealthy.
    pub on_failure: OnFailure,
    /// `local`, `events_logger`, or a directory.
    pub log_destination: String,
    /// How many results are kept; 0 for all.
    pub max_log_count: u32,
    /// How many bytes of output are kept; 0 for all.
    pub max_log_size: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            check: None,
            startup: None,
            on_failure: OnFailure::None,
            log_destination: "local".to_owned(),
            max_log_count: 5,
            max_log_size: 500,
        }
    }
}

/// A check until the container has come up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Startup {
    /// The check.
    #[serde(flatten)]
    pub check: Healthcheck,
    /// So many successes in a row are needed; 0 means one.
    #[serde(rename = "Successes")]
    pub successes: u32,
}

/// What follows once a container is unhealthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Nothing.
    #[default]
    None,
    /// It is killed.
    Kill,
    /// It is stopped and started again.
    Restart,
    /// It is stopped.
    Stop,
}

impl OnFailure {
    /// Reads the word of the command line.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" | "none" => Self::None,
            "kill" => Self::Kill,
            "restart" => Self::Restart,
            "stop" => Self::Stop,
            _ => return None,
        })
    }

    /// The word of the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Stop => "stop",
        }
    }
}

/// What a check is if nothing is said.
const DEFAULT_TIME: i64 = 30_000_000_000;

/// How many failures in a row make a container unhealthy if nothing is said.
const DEFAULT_RETRIES: i64 = 3;

impl Health {
    /// The settings of a new container: what flags say over what the image says. `None` where neither
    /// says anything.
    ///
    /// # Errors
    /// On an action or a check at the start without a check.
    pub fn of_new(asked: Option<Self>, image: Option<&Healthcheck>) -> Result<Option<Self>> {
        let mut health = match (asked, image) {
            (None, None) => return Ok(None),
            (asked, _) => asked.unwrap_or_default(),
        };
        let given = health.check.take();
        health.check = match (given, image) {
            (Some(given), Some(image)) if given.test.is_empty() => Some(merged(given, image)),
            (Some(given), _) if given.test.is_empty() => None,
            (Some(given), _) => Some(given),
            (None, image) => image.cloned().map(|check| merged(Healthcheck::default(), &check)),
        };
        if health.check.as_ref().is_some_and(|check| check.test.is_empty()) {
            health.check = None;
        }
        health.validate()?;
        Ok(Some(health).filter(|health| *health != Self::default()))
    }

    /// Checks that the parts fit each other.
    ///
    /// # Errors
    /// On an action or a check at the start without a check.
    pub fn validate(&self) -> Result<()> {
        let invalid = |what: String| Err(Error::Invalid { what });
        if self.check.is_none() && self.on_failure != OnFailure::None {
            let action = self.on_failure.as_str();
            return invalid(format!("cannot set on-failure action to {action} without a health check"));
        }
        if self.check.is_none() && self.startup.is_some() {
            return invalid(
                "cannot set a startup healthcheck when there is no regular healthcheck: invalid argument"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// The check, unless it is switched off.
    #[must_use]
    pub fn active(&self) -> Option<&Healthcheck> {
        self.check
            .as_ref()
            .filter(|check| !check.test.first().is_none_or(|word| word.is_empty() || word == "NONE"))
    }
}

/// What flags leave open is as in the image.
fn merged(given: Healthcheck, image: &Healthcheck) -> Healthcheck {
    let or = |given: i64, image: i64, default: i64| match (given, image) {
        // Below zero is "disable".
        (..0, _) => 0,
        (0, ..=0) => default,
        (0, image) => image,
        (given, _) => given,
    };
    Healthcheck {
        test: image.test.clone(),
        interval: or(given.interval, image.interval, DEFAULT_TIME),
        timeout: or(given.timeout, image.timeout, DEFAULT_TIME),
        start_period: or(given.start_period, image.start_period, 0),
        start_interval: or(given.start_interval, image.start_interval, 0),
        retries: or(given.retries, image.retries, DEFAULT_RETRIES),
    }
}

/// A number of nanoseconds as a time; below zero is none.
fn time(nanoseconds: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}

/// What the checks of a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Results {
    /// `starting`, `healthy`, `unhealthy`, `stopped` or `reset`.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The latest checks.
    #[serde(deserialize_with = "list_or_null")]
    pub log: Vec<LogEntry>,
    /// The check at the start is over.
    #[serde(skip_serializing_if = "is_false")]
    pub startup_passed: bool,
    /// How often in a row it has passed.
    #[serde(skip_serializing_if = "is_zero")]
    pub startup_successes: u32,
    /// How often it has failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub startup_failures: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn list_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<LogEntry>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What one check came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogEntry {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// 0, 1, or -1 after too long a time.
    pub exit_code: i32,
    /// What it wrote.
    pub output: String,
}

impl Containers {
    /// Where the results are.
    fn health_file(&self, id: &ContainerId, health: Option<&Health>) -> PathBuf {
        match health.map(|health| health.log_destination.as_str()) {
            None | Some("" | "local" | "events_logger") => self.dir(id).join("health.json"),
            Some(dir) => PathBuf::from(dir).join(format!("{id}-healthcheck.log")),
        }
    }

    /// What the checks of a container came to; nothing for one that has none, or has never run.
    #[must_use]
    pub fn health_results(&self, record: &Record) -> Option<Results> {
        self.results_of(&record.id, record.health.as_ref())
    }

    fn results_of(&self, id: &ContainerId, health: Option<&Health>) -> Option<Results> {
        health.and_then(Health::active)?;
        let text = std::fs::read(self.health_file(id, health)).ok();
        // A damaged file says as much as none.
        Some(text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default())
    }

    /// The word for the container's health; empty for one that has no checks.
    #[must_use]
    pub fn health_status(&self, record: &Record) -> String {
        self.health_results(record).map(|results| results.status).unwrap_or_default()
    }

    /// As [`Self::health_status`].
    #[must_use]
    pub fn health_status_in_brief(&self, brief: &Brief) -> String {
        self.results_of(&brief.id, brief.health.as_ref()).map(|results| results.status).unwrap_or_default()
    }

    fn write_health(&self, record: &Record, results: &Results) -> Result<()> {
        let path = self.health_file(&record.id, record.health.as_ref());
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        let bytes = serde_json::to_vec(results).expect("results have only strings as keys");
        let name: &OsStr = name;
        Ok(file::write_atomic(dir, name, &bytes, Mode::RUSR | Mode::WUSR, Durability::None)?)
    }

    /// Forgets earlier results at the start of a run.
    pub(super) fn begin_health(&self, record: &Record) -> Result<()> {
        if record.health.as_ref().and_then(Health::active).is_none() {
            return Ok(());
        }
        self.write_health(record, &Results { status: "starting".to_owned(), ..Results::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(test: &[&str], interval: i64, retries: i64) -> Healthcheck {
        let test = test.iter().map(|&word| word.to_owned()).collect();
        Healthcheck { test, interval, retries, ..Healthcheck::default() }
    }

    #[test]
    fn flags_go_over_the_image() {
        let image = check(&["CMD", "true"], 7, 0);
        assert_eq!(Health::of_new(None, None).unwrap(), None);
        let of_image = Health::of_new(None, Some(&image)).unwrap().unwrap().check.unwrap();
        assert_eq!((of_image.interval, of_image.retries, of_image.timeout), (7, 3, DEFAULT_TIME));
        let asked = |check: Healthcheck| Some(Health { check: Some(check), ..Health::default() });
        let changed = Health::of_new(asked(check(&[], -1, 5)), Some(&image)).unwrap().unwrap().check.unwrap();
        assert_eq!((&changed.test, changed.interval, changed.retries), (&image.test, 0, 5));
        let own = Health::of_new(asked(check(&["CMD", "x"], 1, 1)), Some(&image)).unwrap().unwrap();
        assert_eq!(own.check.unwrap().test, ["CMD", "x"]);
        let off = Health::of_new(asked(check(&["NONE"], 0, 0)), Some(&image)).unwrap().unwrap();
        assert!(off.active().is_none() && off.check.is_some());
        // An interval for a check that is not there.
        assert_eq!(Health::of_new(asked(check(&[], 1, 0)), None).unwrap(), None);
    }

    #[test]
    fn parts_must_fit() {
        let kill = Health { on_failure: OnFailure::Kill, ..Health::default() };
        let text = Health::of_new(Some(kill), None).unwrap_err().to_string();
        assert_eq!(text, "cannot set on-failure action to kill without a health check");
        let startup = Health { startup: Some(Startup::default()), ..Health::default() };
        assert!(Health::of_new(Some(startup), None).is_err());
    }

    #[test]
    fn files_of_podman_are_read() {
        let text = r#"{"Status":"starting","FailingStreak":0,"Log":null}"#;
        assert_eq!(serde_json::from_str::<Results>(text).unwrap().status, "starting");
    }
}
