//! How often and how fast a failed request is tried again.

use std::time::Duration;

use jiff::Timestamp;

/// The longest pause that a server can make us take.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Retry settings of one command.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts after the first one.
    pub retries: u32,
    /// Pause before each retry; exponential from one second where it is not set.
    pub delay: Option<Duration>,
}

impl RetryPolicy {
    /// The pause before attempt `attempt` (the first retry is 1), by the server's wish if it has one.
    pub(super) fn pause(&self, attempt: u32, wish: Option<Duration>) -> Duration {
        let own = self.delay.unwrap_or_else(|| Duration::from_secs(1 << attempt.saturating_sub(1).min(6)));
        wish.unwrap_or(own).min(PAUSE_MAX)
    }
}

/// The pause that `Retry-After` asks for: seconds or an HTTP date.
pub(super) fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Duration::try_from(date.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let policy = RetryPolicy { retries: 3, delay: None };
        let seconds = |attempt, wish| policy.pause(attempt, wish).as_secs();
        assert_eq!([1, 2, 3, 4].map(|a| seconds(a, None)), [1, 2, 4, 8]);
        assert_eq!(seconds(100, None), 60);
        assert_eq!(seconds(1, Some(Duration::from_secs(7))), 7);
        assert_eq!(seconds(1, Some(Duration::from_secs(100_000))), 60);
        let fixed = RetryPolicy { retries: 3, delay: Some(Duration::from_millis(5)) };
        assert_eq!(fixed.pause(3, None), Duration::from_millis(5));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(parse_retry_after(" 12 ", now), Some(Duration::from_secs(12)));
        assert_eq!(parse_retry_after("Fri, 02 Jan 2026 03:04:15 GMT", now), Some(Duration::from_secs(10)));
        for text in ["Fri, 02 Jan 2026 03:04:00 GMT", "-1", "soon", ""] {
            assert_eq!(parse_retry_after(text, now), None, "{text}");
        }
    }
}
