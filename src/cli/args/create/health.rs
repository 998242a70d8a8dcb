//! Flags of health checks, for new containers and for `update`.

use std::path::Path;

use super::super::go;
use crate::cli::error::{CommandError, Result};
use crate::cli::units::parse_duration;
use crate::container::health::{Health, OnFailure, Startup};
use crate::image::config::Healthcheck;

/// Flags of health checks.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct HealthArgs {
    /// Set a healthcheck command for the container ('none' disables the existing healthcheck)
    #[arg(long, alias = "healthcheck-command", value_name = "string")]
    pub health_cmd: Option<String>,
    /// Set an interval for the healthcheck. (a value of disable results in no automatic timer setup)
    #[arg(long, alias = "healthcheck-interval", value_name = "string")]
    pub health_interval: Option<String>,
    /// Set the destination of the HealthCheck log
    #[arg(long, value_name = "string")]
    pub health_log_destination: Option<String>,
    /// Set maximum number of attempts in the HealthCheck log file
    #[arg(long, value_name = "uint", value_parser = go::parse_u32)]
    pub health_max_log_count: Option<u32>,
    /// Set maximum length in characters of stored HealthCheck log
    #[arg(long, value_name = "uint", value_parser = go::parse_u32)]
    pub health_max_log_size: Option<u32>,
    /// Action to take once the container turns unhealthy
    #[arg(long, value_name = "string")]
    pub health_on_failure: Option<String>,
    /// The number of retries allowed before a healthcheck is considered to be unhealthy
    #[arg(long, alias = "healthcheck-retries", value_name = "uint", value_parser = go::parse_u32)]
    pub health_retries: Option<u32>,
    /// The initialization time needed for a container to bootstrap
    #[arg(long, alias = "healthcheck-start-period", value_name = "string")]
    pub health_start_period: Option<String>,
    /// Set a startup healthcheck command for the container
    #[arg(long, value_name = "string")]
    pub health_startup_cmd: Option<String>,
    /// Set an interval for the startup healthcheck
    #[arg(long, value_name = "string")]
    pub health_startup_interval: Option<String>,
    /// Set the maximum number of retries before the startup healthcheck will restart the container
    #[arg(long, value_name = "uint", value_parser = go::parse_u32)]
    pub health_startup_retries: Option<u32>,
    /// Set the number of consecutive successes before the startup healthcheck is marked as successful
    #[arg(long, value_name = "uint", value_parser = go::parse_u32)]
    pub health_startup_success: Option<u32>,
    /// Set the maximum amount of time that the startup healthcheck may take before it is considered failed
    #[arg(long, value_name = "string")]
    pub health_startup_timeout: Option<String>,
    /// The maximum time allowed to complete the healthcheck before an interval is considered failed
    #[arg(long, alias = "healthcheck-timeout", value_name = "string")]
    pub health_timeout: Option<String>,
    /// Disable healthchecks on container
    #[arg(long)]
    pub no_healthcheck: bool,
}

impl HealthArgs {
    /// What they ask for of a new container; nothing where none of them is given.
    ///
    /// # Errors
    /// In podman's words for values that make no sense.
    pub fn request(&self) -> Result<Option<Health>> {
        let fail = |text: &str| Err(CommandError::new(text));
        let has_command = self.health_cmd.as_deref().is_some_and(|command| !command.is_empty());
        if self.no_healthcheck && has_command {
            return fail("cannot specify both --no-healthcheck and --health-cmd");
        }
        if self.no_healthcheck
            && self.health_startup_cmd.as_deref().is_some_and(|command| !command.is_empty())
        {
            return fail("cannot specify both --no-healthcheck and --health-startup-cmd");
        }
        let mut health = Health::default();
        self.change_settings(&mut health)?;
        let timed = self.health_interval.is_some()
            || self.health_timeout.is_some()
            || self.health_start_period.is_some()
            || self.health_retries.is_some();
        if self.no_healthcheck {
            health.check = Some(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() });
        } else if has_command {
            let mut check = defaults();
            self.change_check(&mut check)?;
            health.check = Some(check);
        } else if timed {
            // Over what the image says.
            let mut check = Healthcheck::default();
            self.change_check(&mut check)?;
            if check.interval == 0 && self.health_interval.is_some() {
                check.interval = -1;
            }
            health.check = Some(check);
        }
        if self.health_startup_cmd.as_deref().is_some_and(|command| !command.is_empty()) {
            let mut startup = Startup { check: Healthcheck { retries: 0, ..defaults() }, successes: 0 };
            self.change_startup(&mut startup)?;
            health.startup = Some(startup);
        }
        Ok(Some(health).filter(|health| *health != Health::default()))
    }

    /// Changes the settings of an existing container.
    ///
    /// # Errors
    /// When a value makes no sense, or is for a check that there is not.
    pub fn update(&self, health: &mut Health) -> Result<()> {
        let no_command = || CommandError::new("healthcheck command is not set");
        self.change_settings(health)?;
        if self.no_healthcheck {
            if self.health_cmd.is_some() || self.health_startup_cmd.is_some() {
                return Err(CommandError::new(
                    "cannot specify both --no-healthcheck and other HealthCheck flags",
                ));
            }
            health.check = Some(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() });
            health.startup = None;
            return Ok(());
        }
        let timed = self.health_interval.is_some()
            || self.health_timeout.is_some()
            || self.health_start_period.is_some()
            || self.health_retries.is_some();
        if self.health_cmd.is_some() || timed {
            if health.check.is_none() && self.health_cmd.is_none() {
                return Err(no_command());
            }
            self.change_check(health.check.get_or_insert_with(defaults))?;
        }
        let timed = self.health_startup_interval.is_some()
            || self.health_startup_retries.is_some()
            || self.health_startup_success.is_some()
            || self.health_startup_timeout.is_some();
        if self.health_startup_cmd.is_some() || timed {
            if health.startup.is_none() && self.health_startup_cmd.is_none() {
                return Err(no_command());
            }
            let fresh = || Startup { check: Healthcheck { retries: 0, ..defaults() }, successes: 0 };
            self.change_startup(health.startup.get_or_insert_with(fresh))?;
        }
        Ok(())
    }

    /// Whether any of the flags is given.
    #[must_use]
    pub fn is_given(&self) -> bool {
        let texts = [
            &self.health_cmd,
            &self.health_interval,
            &self.health_log_destination,
            &self.health_on_failure,
            &self.health_start_period,
            &self.health_startup_cmd,
            &self.health_startup_interval,
            &self.health_startup_timeout,
            &self.health_timeout,
        ];
        let numbers = [
            self.health_max_log_count,
            self.health_max_log_size,
            self.health_retries,
            self.health_startup_retries,
            self.health_startup_success,
        ];
        self.no_healthcheck || texts.iter().any(|text| text.is_some()) || numbers.iter().any(Option::is_some)
    }

    fn change_settings(&self, health: &mut Health) -> Result<()> {
        if let Some(text) = &self.health_on_failure {
            health.on_failure = OnFailure::parse(text).ok_or_else(|| {
                CommandError::new(format!(
                    "invalid on-failure action {text:?} for health check: supported actions are none,kill,restart,stop"
                ))
            })?;
        }
        if let Some(destination) = &self.health_log_destination {
            health.log_destination = log_destination(destination)?;
        }
        health.max_log_count = self.health_max_log_count.unwrap_or(health.max_log_count);
        health.max_log_size = self.health_max_log_size.unwrap_or(health.max_log_size);
        Ok(())
    }

    fn change_check(&self, check: &mut Healthcheck) -> Result<()> {
        if let Some(command) = self.health_cmd.as_deref().filter(|command| !command.is_empty()) {
            check.test = test(command)?;
        }
        if let Some(text) = &self.health_interval {
            check.interval = interval(text)?;
        }
        if let Some(text) = &self.health_timeout {
            check.timeout = timeout(text)?;
        }
        if let Some(text) = &self.health_start_period {
            check.start_period = nanoseconds("start-period", text)?;
            if check.start_period < 0 {
                return Err(CommandError::new("healthcheck-start-period must be 0 seconds or greater"));
            }
        }
        if let Some(retries) = self.health_retries {
            if retries == 0 {
                return Err(CommandError::new("healthcheck-retries must be greater than 0"));
            }
            check.retries = retries.into();
        }
        Ok(())
    }

    fn change_startup(&self, startup: &mut Startup) -> Result<()> {
        if let Some(command) = self.health_startup_cmd.as_deref().filter(|command| !command.is_empty()) {
            startup.check.test = test(command)?;
        }
        if let Some(text) = &self.health_startup_interval {
            startup.check.interval = interval(text)?;
        }
        if let Some(text) = &self.health_startup_timeout {
            startup.check.timeout = timeout(text)?;
        }
        if let Some(retries) = self.health_startup_retries {
            startup.check.retries = retries.into();
        }
        startup.successes = self.health_startup_success.unwrap_or(startup.successes);
        Ok(())
    }
}

fn defaults() -> Healthcheck {
    let seconds = 1_000_000_000;
    Healthcheck { interval: 30 * seconds, timeout: 30 * seconds, retries: 3, ..Healthcheck::default() }
}

/// A command line, or a list in JSON; the first word may say which.
fn test(text: &str) -> Result<Vec<String>> {
    let list = serde_json::from_str::<Vec<String>>(text).ok();
    let words = list.clone().unwrap_or_else(|| text.splitn(2, ' ').map(str::to_owned).collect());
    let Some(first) = words.first() else {
        return Err(CommandError::new("must define a healthcheck command for all healthchecks"));
    };
    Ok(match (first.to_uppercase().as_str(), list) {
        ("NONE", _) => vec!["NONE".to_owned()],
        ("CMD", None) => text.split_whitespace().map(str::to_owned).collect(),
        ("CMD" | "CMD-SHELL", _) => words,
        (_, Some(list)) if list.len() > 1 => std::iter::once("CMD".to_owned()).chain(list).collect(),
        (_, Some(list)) => vec!["CMD-SHELL".to_owned(), list.concat()],
        (_, None) => vec!["CMD-SHELL".to_owned(), text.to_owned()],
    })
}

fn nanoseconds(name: &str, text: &str) -> Result<i64> {
    let (negative, duration) = parse_duration(text)
        .map_err(|error| CommandError::new(format!("invalid healthcheck-{name}: {error}")))?;
    let nanoseconds = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    Ok(if negative { -nanoseconds } else { nanoseconds })
}

fn interval(text: &str) -> Result<i64> {
    nanoseconds("interval", if text == "disable" { "0" } else { text })
}

fn timeout(text: &str) -> Result<i64> {
    let timeout = nanoseconds("timeout", text)?;
    if timeout < 1 {
        return Err(CommandError::new("healthcheck-timeout must be at least 1 second"));
    }
    Ok(timeout)
}

fn log_destination(text: &str) -> Result<String> {
    if matches!(text, "local" | "events_logger") {
        return Ok(text.to_owned());
    }
    let failed = |why: &str| CommandError::new(format!("HealthCheck Log '{text}' destination {why}"));
    let metadata = std::fs::metadata(text)
        .map_err(|error| failed(&format!("error: stat {text}: {}", CommandError::from(error).message())))?;
    if !metadata.is_dir() {
        return Err(failed("must be directory"));
    }
    let path = std::path::absolute(Path::new(text)).map_err(CommandError::from)?;
    Ok(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_podman_reads_them() {
        let table: [(&str, &[&str]); 9] = [
            ("curl -f http://x", &["CMD-SHELL", "curl -f http://x"]),
            ("/bin/check", &["CMD-SHELL", "/bin/check"]),
            ("[\"/bin/check\"]", &["CMD-SHELL", "/bin/check"]),
            ("[\"a\", \"b c\"]", &["CMD", "a", "b c"]),
            ("[\"CMD\", \"b c\"]", &["CMD", "b c"]),
            ("[\"CMD-SHELL\", \"b c\"]", &["CMD-SHELL", "b c"]),
            ("CMD a b", &["CMD", "a", "b"]),
            ("CMD-SHELL a b", &["CMD-SHELL", "a b"]),
            ("none", &["NONE"]),
        ];
        for (text, words) in table {
            assert_eq!(test(text).unwrap(), words, "{text}");
        }
        assert!(test("[]").is_err());
    }

    #[test]
    fn values_are_checked() {
        let args = |change: fn(&mut HealthArgs)| {
            let mut args = HealthArgs { health_cmd: Some("x".to_owned()), ..HealthArgs::default() };
            change(&mut args);
            args.request()
        };
        assert_eq!(args(|_| {}).unwrap().unwrap().check.unwrap().interval, 30_000_000_000);
        let disabled = args(|args| args.health_interval = Some("disable".to_owned()));
        assert_eq!(disabled.unwrap().unwrap().check.unwrap().interval, 0);
        for change in [
            (|args| args.no_healthcheck = true) as fn(&mut HealthArgs),
            |args| args.health_retries = Some(0),
            |args| args.health_timeout = Some("0s".to_owned()),
            |args| args.health_interval = Some("often".to_owned()),
            |args| args.health_start_period = Some("-1s".to_owned()),
            |args| args.health_on_failure = Some("panic".to_owned()),
            |args| args.health_log_destination = Some("/dev/null".to_owned()),
        ] {
            assert!(args(change).is_err());
        }
        assert_eq!(HealthArgs::default().request().unwrap(), None);
    }
}
