//! Sizes as go-units prints and reads them.

use super::UnitError;
use crate::cli::format::general;

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// `1.24MB`: powers of 1000, four digits (`HumanSize`).
#[must_use]
pub fn decimal_size(bytes: u64) -> String {
    decimal_size_with_precision(bytes, 4)
}

/// `1.24MB` with so many digits (`HumanSizeWithPrecision`).
#[must_use]
pub fn decimal_size_with_precision(bytes: u64, digits: usize) -> String {
    let (number, unit) = scale(bytes, 1000.0, &DECIMAL);
    format!("{}{unit}", general(number, Some(digits)))
}

/// `12.7 MB`: as lists of images print it.
#[must_use]
pub fn image_size(bytes: u64) -> String {
    let (number, unit) = scale(bytes, 1000.0, &DECIMAL);
    format!("{} {unit}", general(number, Some(3)))
}

/// `1.18MiB`: powers of 1024, four digits (`BytesSize`).
#[must_use]
pub fn binary_size(bytes: u64) -> String {
    let (number, unit) = scale(bytes, 1024.0, &BINARY);
    format!("{}{unit}", general(number, Some(4)))
}

fn scale(bytes: u64, base: f64, units: &[&'static str; 9]) -> (f64, &'static str) {
    let mut number = bytes as f64;
    let mut power = 0;
    while number >= base && power + 1 < units.len() {
        number /= base;
        power += 1;
    }
    (number, units[power])
}

/// Reads `512`, `10m`, `1.5g`, `64 KiB` with powers of 1024 (`RAMInBytes`).
///
/// # Errors
/// Fails on a negative number, an unknown unit or no number.
pub fn parse_binary_size(text: &str) -> Result<u64, UnitError> {
    parse(text, 1024.0)
}

/// Reads the same with powers of 1000 (`FromHumanSize`).
///
/// # Errors
/// Fails on a negative number, an unknown unit or no number.
pub fn parse_decimal_size(text: &str) -> Result<u64, UnitError> {
    parse(text, 1000.0)
}

fn parse(text: &str, base: f64) -> Result<u64, UnitError> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.' || c == ' ';
    let last = text.rfind(is_number).ok_or_else(|| UnitError::Size(text.to_owned()))?;
    let suffix = text[last + 1..].to_lowercase();
    let number = &text[..=last];
    let number = number.strip_suffix(' ').unwrap_or(number);
    let is_decimal =
        number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
    let value: f64 = match number.parse() {
        Ok(value) if is_decimal => value,
        _ => return Err(UnitError::Number(number.to_owned())),
    };
    if value < 0.0 {
        return Err(UnitError::Size(text.to_owned()));
    }
    let bad = || UnitError::Suffix(suffix.clone());
    let mut letters = suffix.chars();
    let factor = match letters.next() {
        None => 1.0,
        Some('b') if suffix.len() == 1 => 1.0,
        Some(letter) => {
            let power = "kmgtp".find(letter).ok_or_else(bad)? + 1;
            if !matches!(letters.as_str(), "" | "b" | "ib") {
                return Err(bad());
            }
            base.powi(i32::try_from(power).unwrap_or(1))
        }
    };
    Ok((value * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_go_units() {
        let cases = [
            (0, "0B", "0 B", "0B"),
            (999, "999B", "999 B", "999B"),
            (1000, "1kB", "1 kB", "1000B"),
            (1024, "1.024kB", "1.02 kB", "1KiB"),
            (12_660_000, "12.66MB", "12.7 MB", "12.07MiB"),
            (1_240_000, "1.24MB", "1.24 MB", "1.183MiB"),
            (3_420_000_000, "3.42GB", "3.42 GB", "3.185GiB"),
            (1_000_000_000_000, "1TB", "1 TB", "931.3GiB"),
            (999_999, "1000kB", "1e+03 kB", "976.6KiB"),
        ];
        for (bytes, decimal, image, binary) in cases {
            assert_eq!(
                (decimal_size(bytes), image_size(bytes), binary_size(bytes)),
                (decimal.into(), image.into(), binary.into())
            );
        }
    }

    #[test]
    fn reads_as_go_units() {
        let cases = [
            ("32", Ok(32)),
            ("32b", Ok(32)),
            ("32kb", Ok(32 * 1024)),
            ("32KiB", Ok(32 * 1024)),
            ("32.5 kB", Ok(33280)),
            ("1.5g", Ok(1_610_612_736)),
            ("", Err("invalid size: ''")),
            ("hello", Err("invalid size: 'hello'")),
            ("-32", Err("invalid size: '-32'")),
            ("32x", Err("invalid suffix: 'x'")),
            ("32bb", Err("invalid suffix: 'bb'")),
            ("32 mx", Err("invalid suffix: 'mx'")),
            ("3 2m", Err("strconv.ParseFloat: parsing \"3 2\": invalid syntax")),
        ];
        for (text, expected) in cases {
            assert_eq!(
                parse_binary_size(text).map_err(|e| e.to_string()),
                expected.map_err(str::to_owned),
                "{text}"
            );
        }
        assert_eq!(parse_decimal_size("10mb"), Ok(10_000_000));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[0-9. a-zA-Z+é-]{0,24}", bytes in proptest::num::u64::ANY) {
            let _ = parse_binary_size(&text);
            let _ = (decimal_size(bytes), image_size(bytes), binary_size(bytes));
        }
    }
}
