//! Durations as Go's `time` package reads and prints them.

use std::time::Duration;

use super::UnitError;

const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads `1h2m3.5s`. The sign is returned beside it: true is minus.
///
/// # Errors
/// Fails on what `time.ParseDuration` refuses.
pub fn parse_duration(text: &str) -> Result<(bool, Duration), UnitError> {
    let bad = || UnitError::Duration(text.to_owned());
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok((negative, Duration::ZERO));
    }
    if rest.is_empty() {
        return Err(bad());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let whole_len = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (whole, after) = rest.split_at(whole_len);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => {
                after.split_at(after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len())
            }
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(bad());
        }
        let unit_len = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        if unit.is_empty() {
            return Err(UnitError::MissingUnit(text.to_owned()));
        }
        let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        let factor =
            factor.ok_or_else(|| UnitError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() })?;
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
        // Eighteen digits are below a nanosecond of the largest unit.
        let fraction = &fraction[..fraction.len().min(18)];
        let part = match fraction.parse::<u128>() {
            Ok(digits) => digits * factor / 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(18)),
            Err(_) => 0,
        };
        total =
            whole.checked_mul(factor).and_then(|whole| total.checked_add(whole + part)).ok_or_else(bad)?;
        rest = next;
    }
    // Go's durations end at 2^63 nanoseconds.
    match u64::try_from(total) {
        Ok(nanos) if i64::try_from(nanos).is_ok() => Ok((negative, Duration::from_nanos(nanos))),
        _ => Err(bad()),
    }
}

/// `1h2m3.5s`, as `Duration.String` prints it.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let decimal = |unit: u128, digits: usize| {
        let text = format!("{}.{:0digits$}", nanos / unit, nanos % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(1_000, 3)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(1_000_000, 6)),
        _ => {
            let seconds = duration.as_secs();
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let text = format!("{}.{:09}", seconds % 60, duration.subsec_nanos());
            let rest = text.trim_end_matches('0').trim_end_matches('.');
            match (hours, minutes) {
                (0, 0) => format!("{rest}s"),
                (0, minutes) => format!("{minutes}m{rest}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
            }
        }
    }
}

/// `3 hours`, as go-units prints it.
#[must_use]
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., 2..48) => format!("{hours} hours"),
        (.., 48..336) => format!("{} days", hours / 24),
        (.., 336..1440) => format!("{} weeks", hours / 24 / 7),
        (.., 1440..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_go() {
        let cases = [
            ("0", Ok(0)),
            ("5s", Ok(5_000_000_000)),
            ("1h2m3.5s", Ok(3_723_500_000_000)),
            (".5m", Ok(30_000_000_000)),
            ("1.5ms", Ok(1_500_000)),
            ("10µs", Ok(10_000)),
            ("", Err("time: invalid duration \"\"")),
            ("3", Err("time: missing unit in duration \"3\"")),
            ("3x", Err("time: unknown unit \"x\" in duration \"3x\"")),
            (".s", Err("time: invalid duration \".s\"")),
            ("9223372036s", Ok(9_223_372_036_000_000_000)),
            ("9223372037s", Err("time: invalid duration \"9223372037s\"")),
        ];
        for (text, expected) in cases {
            let got = parse_duration(text).map(|(_, d)| d.as_nanos() as u64).map_err(|e| e.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{text}");
        }
        assert_eq!(parse_duration("-5s"), Ok((true, Duration::from_secs(5))));
    }

    #[test]
    fn prints_as_go() {
        let cases = [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (2_000_000, "2ms"),
            (1_000_000_000, "1s"),
            (90_500_000_000, "1m30.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ];
        for (nanos, expected) in cases {
            assert_eq!(format_duration(Duration::from_nanos(nanos)), expected);
        }
    }

    #[test]
    fn is_as_vague_as_go_units() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (3_599, "59 minutes"),
            (3_600, "About an hour"),
            (5_400, "2 hours"),
            (171_000, "2 days"),
            (1_209_600, "2 weeks"),
            (5_184_000, "2 months"),
            (63_072_000, "2 years"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human_duration(Duration::from_secs(seconds)), expected, "{seconds}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_is_read_back(nanos in 0..i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            proptest::prop_assert_eq!(parse_duration(&format_duration(duration)), Ok((false, duration)));
        }

        #[test]
        fn no_text_panics(text in "[0-9.a-zµ+-]{0,24}") {
            let _ = parse_duration(&text);
        }
    }
}
