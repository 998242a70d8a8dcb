//! `--filter`: which containers are meant.
//!
//! Values of the same key are alternatives (labels must all match); different keys must all match.

use std::collections::BTreeMap;

use jiff::Timestamp;
use regex::Regex;

use super::create::RestartPolicy;
use super::{Containers, Error, Record, Result, State, Status};

/// Parsed filters.
#[derive(Debug, Default)]
pub struct Filters {
    list: Vec<Filter>,
}

/// All values of one key.
#[derive(Debug)]
enum Filter {
    Id(Vec<Pattern>),
    Name(Vec<Regex>),
    Label {
        wanted: Vec<(String, Option<String>)>,
        negated: bool,
    },
    Exited(Vec<i32>),
    Status(Vec<Status>),
    Ancestor(Vec<Pattern>),
    Before(Timestamp),
    Since(Timestamp),
    Until(Timestamp),
    Volume(Vec<(String, Option<String>)>),
    Network(Vec<String>),
    RestartPolicy(Vec<String>),
    Command(Vec<Regex>),
    StartOnBoot(bool),
    Health(Containers, Vec<String>),
    /// Of something that no container has.
    Nothing,
}

/// Digits that begin an id, or a regular expression.
#[derive(Debug)]
enum Pattern {
    Prefix(String),
    Regex(Regex),
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Prefix(prefix) => text.starts_with(prefix),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

fn invalid(what: impl Into<String>) -> Error {
    Error::Invalid { what: what.into() }
}

/// Reads a point in time as the command line gives it.
pub type ParseTime = fn(&str) -> Option<Timestamp>;

impl Filters {
    /// Parses `KEY=VALUE` texts.
    ///
    /// # Errors
    /// On an unknown key or a value that is none.
    pub fn parse(texts: &[String], containers: &Containers, parse_time: ParseTime) -> Result<Self> {
        let mut by_key: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for text in texts {
            let (key, value) = split(text)?;
            by_key.entry(key).or_default().push(value);
        }
        let list = by_key.into_iter().map(|(key, values)| one(key, &values, containers, parse_time));
        Ok(Self { list: list.collect::<Result<_>>()? })
    }

    /// Whether nothing is filtered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether states are asked for: then all containers are looked at, not only the running ones.
    #[must_use]
    pub fn names_status(&self) -> bool {
        self.list.iter().any(|filter| matches!(filter, Filter::Status(_)))
    }

    /// Whether the container passes all filters.
    #[must_use]
    pub fn matches(&self, record: &Record, state: &State) -> bool {
        self.list.iter().all(|filter| filter.matches(record, state))
    }
}

/// Splits `KEY=VALUE`; `label!=x` has the key `label!`.
fn split(text: &str) -> Result<(&str, &str)> {
    text.split_once('=').ok_or_else(|| invalid(format!("invalid filter {text:?}")))
}

fn one(key: &str, values: &[&str], containers: &Containers, parse_time: ParseTime) -> Result<Filter> {
    let regexes = |values: &[&str]| {
        let compile = |value: &&str| {
            Regex::new(value).map_err(|e| invalid(format!("invalid filter {key}={value}: {e}")))
        };
        values.iter().map(compile).collect::<Result<Vec<_>>>()
    };
    let owned = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>();
    let created = |values: &[&str]| -> Result<Vec<Timestamp>> {
        values.iter().map(|value| containers.lookup(value).map(|record| record.created.0)).collect()
    };
    Ok(match key {
        "id" => Filter::Id(values.iter().map(|value| id_pattern(value)).collect::<Result<_>>()?),
        "name" => {
            // Docker's names begin with a slash.
            let plain: Vec<String> = values.iter().map(|value| value.replace('/', "")).collect();
            Filter::Name(regexes(&plain.iter().map(String::as_str).collect::<Vec<_>>())?)
        }
        "label" | "label!" => Filter::Label {
            wanted: values.iter().map(|value| key_and_value(value, '=')).collect(),
            negated: key == "label!",
        },
        "exited" => {
            let code = |value: &&str| {
                value
                    .parse()
                    .map_err(|_| invalid(format!("exited code out of range {value:?}: invalid syntax")))
            };
            Filter::Exited(values.iter().map(code).collect::<Result<_>>()?)
        }
        "status" => Filter::Status(values.iter().map(|value| parse_status(value)).collect::<Result<_>>()?),
        "ancestor" => {
            let pattern = |value: &&str| Regex::new(value).map(Pattern::Regex);
            let patterns = values.iter().map(pattern).collect::<std::result::Result<_, _>>();
            Filter::Ancestor(patterns.map_err(|e| invalid(format!("invalid filter {key}: {e}")))?)
        }
        "before" => created(values)?.into_iter().min().map_or(Filter::Nothing, Filter::Before),
        "since" => created(values)?.into_iter().min().map_or(Filter::Nothing, Filter::Since),
        "until" => match values {
            [value] => Filter::Until(
                parse_time(value).ok_or_else(|| invalid(format!("invalid filter until={value}")))?,
            ),
            _ => return Err(invalid("specify exactly one timestamp for until")),
        },
        "volume" => Filter::Volume(values.iter().map(|value| key_and_value(value, ':')).collect()),
        "network" => Filter::Network(network_modes(values, containers)),
        "restart-policy" => {
            let known = ["none", "", "no", "on-failure", "always", "unless-stopped"];
            let unknown: Vec<&str> = values.iter().copied().filter(|value| !known.contains(value)).collect();
            if !unknown.is_empty() {
                let noun = if unknown.len() > 1 { "policies" } else { "policy" };
                return Err(invalid(format!("{} invalid restart {noun}", unknown.join(", "))));
            }
            Filter::RestartPolicy(owned(values))
        }
        "command" => Filter::Command(regexes(values)?),
        "should-start-on-boot" => {
            let value = values.last().copied().unwrap_or_default();
            let wanted = matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True");
            if !wanted && !matches!(value, "0" | "f" | "F" | "false" | "FALSE" | "False") {
                return Err(invalid(format!("strconv.ParseBool: parsing {value:?}: invalid syntax")));
            }
            Filter::StartOnBoot(wanted)
        }
        "health" => Filter::Health(containers.clone(), owned(values)),
        // No container has one yet.
        "pod" => Filter::Nothing,
        _ => return Err(invalid(format!("{key} is an invalid filter"))),
    })
}

fn id_pattern(value: &str) -> Result<Pattern> {
    let bare = value.strip_prefix('^').unwrap_or(value);
    if !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(Pattern::Prefix(bare.to_ascii_lowercase()));
    }
    Regex::new(value).map(Pattern::Regex).map_err(|e| invalid(format!("invalid filter id={value}: {e}")))
}

fn key_and_value(text: &str, separator: char) -> (String, Option<String>) {
    match text.split_once(separator) {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

fn parse_status(value: &str) -> Result<Status> {
    Ok(match value {
        "created" | "configured" => Status::Created,
        "initialized" => Status::Initialized,
        "running" => Status::Running,
        "paused" => Status::Paused,
        "stopping" => Status::Stopping,
        "stopped" | "exited" => Status::Exited,
        "removing" => Status::Removing,
        "unknown" | "bad" => Status::Unknown,
        _ => return Err(invalid(format!("unknown container state: {value}: invalid argument"))),
    })
}

/// `container:NAME` is written with the id in records.
fn network_modes(values: &[&str], containers: &Containers) -> Vec<String> {
    let resolve = |value: &&str| match value.strip_prefix("container:") {
        Some(reference) => containers.lookup(reference).ok().map(|record| format!("container:{}", record.id)),
        None => Some((*value).to_owned()),
    };
    values.iter().filter_map(resolve).collect()
}

impl Filter {
    fn matches(&self, record: &Record, state: &State) -> bool {
        match self {
            Self::Id(patterns) => patterns.iter().any(|pattern| pattern.matches(record.id.as_str())),
            Self::Name(names) => names.iter().any(|name| name.is_match(&record.name)),
            Self::Label { wanted, negated } => has_labels(record, wanted) != *negated,
            Self::Exited(codes) => state.status == Status::Exited && codes.contains(&state.exit_code()),
            Self::Status(wanted) => {
                let status = if state.status == Status::Stopped { Status::Exited } else { state.status };
                wanted.contains(&status)
            }
            Self::Ancestor(patterns) => patterns.iter().any(|pattern| is_ancestor(record, pattern)),
            Self::Before(time) | Self::Until(time) => record.created.0 < *time,
            Self::Since(time) => record.created.0 > *time,
            Self::Volume(wanted) => {
                wanted.iter().any(|(source, target)| has_volume(record, source, target.as_deref()))
            }
            Self::Network(modes) => modes.contains(&record.network.mode),
            Self::RestartPolicy(names) => names.iter().any(|name| {
                policy_name(record.lifecycle.restart)
                    == if name == "none" || name.is_empty() { "no" } else { name }
            }),
            Self::Command(patterns) => {
                let program = record.process.args.first().map_or("", String::as_str);
                patterns.iter().any(|pattern| pattern.is_match(program))
            }
            Self::StartOnBoot(wanted) => starts_on_boot(record, state) == *wanted,
            Self::Health(containers, words) => {
                let status = containers.health_status(record);
                words.iter().any(|word| *word == status || (word == "none" && status.is_empty()))
            }
            Self::Nothing => false,
        }
    }
}

fn has_labels(record: &Record, wanted: &[(String, Option<String>)]) -> bool {
    wanted.iter().all(|(key, value)| match value {
        Some(value) => record.labels.get(key) == Some(value),
        None => record.labels.contains_key(key),
    })
}

fn is_ancestor(record: &Record, pattern: &Pattern) -> bool {
    let Pattern::Regex(regex) = pattern else { return false };
    let root = &record.root;
    if root.image_id.contains(regex.as_str()) || regex.is_match(&root.image_name) {
        return !root.image_name.is_empty() || !root.image_id.is_empty();
    }
    // A name without a tag means the latest one.
    root.image_name.strip_suffix(":latest").is_some_and(|bare| regex.is_match(bare))
}

fn has_volume(record: &Record, source: &str, target: Option<&str>) -> bool {
    record.mounts.iter().any(|mount| {
        let from = mount.source == source || (!mount.name.is_empty() && mount.name == source);
        match target {
            Some(target) => from && mount.destination == target,
            None => mount.destination == source || (!mount.name.is_empty() && mount.name == source),
        }
    })
}

/// Whether the policy starts it after a reboot.
fn starts_on_boot(record: &Record, state: &State) -> bool {
    match record.lifecycle.restart {
        RestartPolicy::Always => true,
        RestartPolicy::UnlessStopped => !state.stopped_by_user(),
        RestartPolicy::No | RestartPolicy::OnFailure(_) => false,
    }
}

/// The name of a policy.
#[must_use]
pub fn policy_name(policy: RestartPolicy) -> &'static str {
    match policy {
        RestartPolicy::No => "no",
        RestartPolicy::OnFailure(_) => "on-failure",
        RestartPolicy::Always => "always",
        RestartPolicy::UnlessStopped => "unless-stopped",
    }
}
