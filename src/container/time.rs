//! Points in time as records store them: RFC 3339 with nanoseconds, UTC.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(pub Timestamp);

impl Time {
    /// The current time of the wall clock.
    #[must_use]
    pub fn now() -> Self {
        Self(Timestamp::now())
    }

    /// The time as Go prints it in JSON: local zone, fraction without trailing zeros, `Z` for UTC.
    #[must_use]
    pub fn to_go_json(self) -> String {
        let zoned = self.0.to_zoned(TimeZone::system());
        let base = zoned.strftime("%Y-%m-%dT%H:%M:%S%.f");
        let offset = zoned.offset();
        if offset.seconds() == 0 {
            return format!("{base}Z");
        }
        format!("{base}{}", zoned.strftime("%:z"))
    }

    /// The time as Go's `time.Time` prints itself: `2026-11-22 19:00:00.123 +0000 UTC`.
    #[must_use]
    pub fn to_go_string(self) -> String {
        self.0.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.f %z %Z").to_string()
    }
}

/// What Go prints for a time that never was.
pub const ZERO_JSON: &str = "0001-01-01T00:00:00Z";

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.9}", self.0)
    }
}

impl TryFrom<String> for Time {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, jiff::Error> {
        Timestamp::from_str(&text).map(Self)
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_form_has_nine_digits_and_reads_back() {
        let time = Time(Timestamp::new(1_700_000_000, 120_000_000).unwrap());
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.120000000Z");
        assert_eq!(Time::try_from(time.to_string()).unwrap(), time);
    }
}
