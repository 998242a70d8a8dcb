//! Points in time as Go prints and reads them.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use serde::{Serialize, Serializer};

use super::{UnitError, human_duration, parse_duration};
use crate::config::zone;

/// A point in time that prints as Go's `time.Time` in the caller's time zone:
/// RFC 3339 with as many digits as needed in JSON, `2026-11-22 19:00:00.5 +0100
/// CET` in templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(Timestamp);

impl Time {
    /// Wraps a timestamp.
    #[must_use]
    pub fn new(timestamp: Timestamp) -> Self {
        Self(timestamp)
    }

    /// The timestamp.
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        self.0
    }

    /// Go's zero time, which stands for "never".
    #[must_use]
    pub fn zero() -> Self {
        Self("0001-01-01T00:00:00Z".parse().expect("a valid literal"))
    }

    fn is_zero(self) -> bool {
        self == Self::zero()
    }

    /// `2026-11-22T19:00:00.5+01:00`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let zoned = self.0.to_zoned(self.zone());
        let offset = zoned.offset();
        if offset.seconds() == 0 {
            return self.0.to_string();
        }
        self.0.display_with_offset(offset).to_string()
    }

    /// `2026-11-22 19:00:00.5 +0100 CET`, as `Time.String`.
    #[must_use]
    pub fn go_string(self) -> String {
        let zoned = self.0.to_zoned(self.zone());
        let fraction = match zoned.subsec_nanosecond() {
            0 => String::new(),
            nanos => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
        };
        format!("{}{fraction} {}", zoned.strftime("%Y-%m-%d %H:%M:%S"), zoned.strftime("%z %Z"))
    }

    /// Go's zero time is in UTC wherever it is printed.
    fn zone(self) -> TimeZone {
        if self.is_zero() { TimeZone::UTC } else { zone::local() }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The name is how `format::value` recognises a time.
        serializer.serialize_newtype_struct("GoTime", &self.rfc3339())
    }
}

/// Reads RFC 3339.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<Time> {
    text.parse().ok().map(Time)
}

/// `3 hours ago`.
#[must_use]
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    format!("{} ago", human_duration(Duration::try_from(now.duration_since(then)).unwrap_or_default()))
}

/// Reads the value of `--since` and `--until`: a time, a date, seconds since the
/// epoch, or a duration before (`--since`) or after (`--until`) now.
///
/// # Errors
/// Fails on anything else.
pub fn parse_input_time(text: &str, since: bool, now: Timestamp) -> Result<Timestamp, UnitError> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp);
    }
    // Without a zone a time is in UTC, as podman reads it.
    let in_utc = |time: civil::DateTime| time.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).ok();
    if text.contains('T')
        && let Some(timestamp) = text.parse::<civil::DateTime>().ok().and_then(in_utc)
    {
        return Ok(timestamp);
    }
    let (date, zone) = match text.char_indices().nth(10) {
        Some((at, _)) => text.split_at(at),
        None => (text, "Z"),
    };
    if date.len() == 10
        && let Ok(timestamp) = format!("{date}T00:00:00{zone}").parse::<Timestamp>()
    {
        return Ok(timestamp);
    }
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
    {
        let nanos = (seconds.fract() * 1e9).round() as i32;
        return Timestamp::new(seconds.trunc() as i64, nanos).map_err(|_| UnitError::Time);
    }
    let (negative, duration) = parse_duration(text).map_err(|_| UnitError::Time)?;
    let moved = if since == negative { now.checked_add(duration) } else { now.checked_sub(duration) };
    moved.map_err(|_| UnitError::Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a valid timestamp")
    }

    #[test]
    fn reads_since_and_until() {
        let now = at("2026-11-22T12:00:00Z");
        let cases = [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05.5+01:00", "2026-01-02T02:04:05.5Z"),
            ("2026-01-02T03:04:05", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05.25", "2026-01-02T03:04:05.25Z"),
            ("2026-01-02", "2026-01-02T00:00:00Z"),
            ("2026-01-02Z", "2026-01-02T00:00:00Z"),
            ("2026-01-02+02:00", "2026-01-01T22:00:00Z"),
            ("1700000000", "2023-11-14T22:13:20Z"),
            ("1700000000.5", "2023-11-14T22:13:20.5Z"),
            ("1h", "2026-11-22T11:00:00Z"),
            ("-1h", "2026-11-22T13:00:00Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_input_time(text, true, now), Ok(at(expected)), "{text}");
        }
        assert_eq!(parse_input_time("1h", false, now), Ok(at("2026-11-22T13:00:00Z")));
        for bad in ["", "yesterday", "10", "1x", "NaN"] {
            let got = parse_input_time(bad, true, now);
            assert_eq!(got.is_err(), bad != "10", "{bad}: {got:?}");
        }
    }

    #[test]
    fn zero_time_is_in_utc() {
        assert_eq!(Time::zero().rfc3339(), "0001-01-01T00:00:00Z");
        assert_eq!(Time::zero().go_string(), "0001-01-01 00:00:00 +0000 UTC");
    }

    #[test]
    fn ago_is_never_negative() {
        assert_eq!(ago(at("2026-11-22T12:00:00Z"), at("2026-11-22T09:00:00Z")), "Less than a second ago");
        assert_eq!(ago(at("2026-11-22T09:00:00Z"), at("2026-11-22T12:00:00Z")), "3 hours ago");
    }
}
