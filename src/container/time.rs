//! Points in time as records store them: RFC 3339 with nanoseconds, UTC.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::config::zone;

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

    /// The time as Go's JSON has it: RFC 3339 in the local zone, without trailing zeros.
    #[must_use]
    pub fn to_go(self) -> GoTime {
        let offset = self.0.to_zoned(zone::local()).offset();
        let utc = offset.seconds() == 0;
        GoTime(if utc { self.0.to_string() } else { self.0.display_with_offset(offset).to_string() })
    }
}

/// A time for `inspect`. The name is what template engines know a time by.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GoTime(String);

impl GoTime {
    /// What Go has for a time that never was.
    #[must_use]
    pub fn never() -> Self {
        Self("0001-01-01T00:00:00Z".to_owned())
    }

    /// The time, or "never".
    #[must_use]
    pub fn of(time: Option<Time>) -> Self {
        time.map_or_else(Self::never, Time::to_go)
    }
}

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
