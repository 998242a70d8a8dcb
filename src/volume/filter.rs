//! `--filter`: which volumes are meant. Values of one key are alternatives (labels must all match), keys add up.

use std::collections::BTreeMap;

use jiff::Timestamp;
use regex::Regex;

use super::error::{Error, Result};
use super::named::{Volume, Volumes};

/// Parsed filters.
#[derive(Debug, Default)]
pub struct Filters {
    list: Vec<Filter>,
}

#[derive(Debug)]
enum Filter {
    Name(Vec<Regex>),
    Driver(Vec<String>),
    Scope(Vec<String>),
    Label { wanted: Vec<(String, Option<String>)>, negated: bool },
    Option(Vec<(String, Option<String>)>),
    Since(Timestamp),
    Until(Timestamp),
    Dangling(Vec<bool>),
    Anonymous(Vec<bool>),
}

impl Filters {
    /// Parses `KEY=VALUE` texts; `time` reads points in time as the command line gives them.
    ///
    /// # Errors
    /// On an unknown key or a value that is none.
    pub fn parse(
        texts: &[String],
        table: &Volumes,
        time: impl Fn(&str) -> Option<Timestamp>,
    ) -> Result<Self> {
        let mut by_key: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for text in texts {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                Error::Filter(format!("{text:?} is an invalid filter: filters have the form key=value"))
            })?;
            by_key.entry(key).or_default().push(value);
        }
        let parse = |(key, values): (&str, Vec<&str>)| one(key, &values, table, &time);
        Ok(Self { list: by_key.into_iter().map(parse).collect::<Result<_>>()? })
    }

    /// Whether the volume passes all filters. `is_used` says whether a container has it.
    #[must_use]
    pub fn matches(&self, volume: &Volume, is_used: impl Fn(&Volume) -> bool) -> bool {
        self.list.iter().all(|filter| filter.matches(volume, &is_used))
    }
}

fn one(
    key: &str,
    values: &[&str],
    table: &Volumes,
    time: impl Fn(&str) -> Option<Timestamp>,
) -> Result<Filter> {
    let owned = || values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>();
    let pairs = || {
        let pair = |value: &&str| match value.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => ((*value).to_owned(), None),
        };
        values.iter().map(pair).collect::<Vec<_>>()
    };
    Ok(match key {
        "name" => {
            let compile = |value: &&str| {
                Regex::new(value).map_err(|e| Error::Filter(format!("invalid filter name={value}: {e}")))
            };
            Filter::Name(values.iter().map(compile).collect::<Result<_>>()?)
        }
        "driver" => Filter::Driver(owned()),
        "scope" => Filter::Scope(owned()),
        "label" | "label!" => Filter::Label { wanted: pairs(), negated: key == "label!" },
        "opt" => Filter::Option(pairs()),
        "since" | "after" => {
            let times = values.iter().map(|value| table.find(value).map(|volume| made(&volume)));
            let times = times.collect::<Result<Vec<_>>>()?;
            Filter::Since(times.into_iter().min().unwrap_or(Timestamp::MIN))
        }
        "until" => match values {
            [value] => Filter::Until(
                time(value).ok_or_else(|| Error::Filter(format!("invalid filter until={value}")))?,
            ),
            _ => return Err(Error::Filter("specify exactly one timestamp for until".to_owned())),
        },
        "dangling" => Filter::Dangling(booleans(key, values)?),
        "anonymous" => Filter::Anonymous(booleans(key, values)?),
        _ => return Err(Error::Filter(format!("{key:?} is an invalid volume filter"))),
    })
}

fn booleans(key: &str, values: &[&str]) -> Result<Vec<bool>> {
    let parse = |value: &&str| match value.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::Filter(format!(
            "{value:?} is not a valid value for the {key:?} filter - must be true or false"
        ))),
    };
    values.iter().map(parse).collect()
}

/// When the volume was made; a record without a readable time counts as the oldest.
fn made(volume: &Volume) -> Timestamp {
    volume.created.parse().unwrap_or(Timestamp::MIN)
}

impl Filter {
    fn matches(&self, volume: &Volume, is_used: impl Fn(&Volume) -> bool) -> bool {
        let has = |map: &BTreeMap<String, String>, key: &str, value: &Option<String>| {
            map.get(key).is_some_and(|actual| value.as_ref().is_none_or(|value| value == actual))
        };
        match self {
            Self::Name(names) => names.iter().any(|name| name.is_match(&volume.name)),
            Self::Driver(names) | Self::Scope(names) => names.iter().any(|name| name == "local"),
            Self::Label { wanted, negated } => {
                wanted.iter().all(|(key, value)| has(&volume.labels, key, value)) != *negated
            }
            Self::Option(wanted) => wanted.iter().any(|(key, value)| {
                has(&volume.options, key, &value.clone().filter(|value| !value.is_empty()))
            }),
            Self::Since(time) => made(volume) > *time,
            Self::Until(time) => made(volume) < *time,
            Self::Dangling(wanted) => wanted.contains(&!is_used(volume)),
            Self::Anonymous(wanted) => wanted.contains(&volume.anonymous),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_choose() {
        let mut volume = Volume::new("vol_1_x", "2026-01-01T00:00:00Z".to_owned());
        volume.labels.insert("a".to_owned(), "b".to_owned());
        volume.options.insert("type".to_owned(), "tmpfs".to_owned());
        let table = Volumes::new(std::path::Path::new("/no/such"));
        let time = |text: &str| text.parse().ok();
        for (texts, expected) in [
            (&[][..], true),
            (&["name=vol_1.+"], true),
            (&["name=^x"], false),
            (&["name=^x", "name=vol"], true),
            (&["name=vol", "driver=nfs"], false),
            (&["label=a"], true),
            (&["label=a=c"], false),
            (&["label=a", "label=c"], false),
            (&["label!=a"], false),
            (&["opt=type"], true),
            (&["opt=type=bind"], false),
            (&["dangling=true"], false),
            (&["dangling=0"], true),
            (&["anonymous=false"], true),
            (&["until=2026-01-02T00:00:00Z"], true),
            (&["until=2025-01-02T00:00:00Z"], false),
        ] {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            let filters = Filters::parse(&texts, &table, time).unwrap();
            assert_eq!(filters.matches(&volume, |_| true), expected, "{texts:?}");
        }
        for text in ["x=y", "dangling=maybe", "name", "name=(", "since=nothing", "until=x"] {
            assert!(Filters::parse(&[text.to_owned()], &table, time).is_err(), "{text}");
        }
    }
}
