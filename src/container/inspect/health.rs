//! What `inspect` says about health checks.

use serde::Serialize;

use crate::container::health::{Health, LogEntry};
use crate::container::{Containers, Record};
use crate::image::config::Healthcheck;

/// A Go pointer: JSON leaves it out when it is nil, templates say `<nil>`. The name is what they know it by.
#[derive(Debug, Serialize)]
pub(super) struct GoPointer<T>(pub(super) Option<T>);

/// A Go duration, in nanoseconds.
#[derive(Debug, Serialize)]
struct GoDuration(i64);

/// `State.Health`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase", rename = "define.HealthCheckResults")]
pub(super) struct HealthView {
    status: String,
    failing_streak: u32,
    log: Option<Vec<LogEntry>>,
}

/// `Config.Healthcheck` and `Config.StartupHealthCheck`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase", rename = "manifest.Schema2HealthConfig")]
pub(super) struct CheckView {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    test: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    start_period: GoDuration,
    #[serde(skip_serializing_if = "is_zero")]
    interval: GoDuration,
    #[serde(skip_serializing_if = "is_zero")]
    timeout: GoDuration,
    #[serde(skip_serializing_if = "is_none")]
    retries: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    successes: Option<u32>,
}

fn is_zero(value: &GoDuration) -> bool {
    value.0 == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_none(value: &i64) -> bool {
    *value == 0
}

impl CheckView {
    fn of(check: &Healthcheck, successes: Option<u32>) -> Self {
        Self {
            test: check.test.clone(),
            start_period: GoDuration(check.start_period),
            interval: GoDuration(check.interval),
            timeout: GoDuration(check.timeout),
            retries: check.retries,
            successes,
        }
    }

    /// The check of a container.
    pub(super) fn regular(health: Option<&Health>) -> GoPointer<Self> {
        GoPointer(health.and_then(|health| health.check.as_ref()).map(|check| Self::of(check, None)))
    }

    /// Its check at the start.
    pub(super) fn startup(health: Option<&Health>) -> GoPointer<Self> {
        let startup = health.and_then(|health| health.startup.as_ref());
        GoPointer(startup.map(|startup| Self::of(&startup.check, Some(startup.successes))))
    }
}

impl Containers {
    pub(super) fn health_view(&self, record: &Record) -> Option<HealthView> {
        let results = self.health_results(record)?;
        let log = (!results.log.is_empty()).then_some(results.log);
        Some(HealthView { status: results.status, failing_streak: results.failing_streak, log })
    }
}
