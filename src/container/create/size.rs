//! Sizes as docker's units package reads them: `64m`, `1.5g`, `65536k`.

/// Reads a size with binary units; the number of bytes.
///
/// # Errors
/// Docker's text for what is no size.
pub fn binary(text: &str) -> Result<u64, String> {
    parse(text, 1024)
}

/// Reads a size with decimal units; the number of bytes.
///
/// # Errors
/// Docker's text for what is no size.
pub fn decimal(text: &str) -> Result<u64, String> {
    parse(text, 1000)
}

fn parse(text: &str, base: u64) -> Result<u64, String> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.').map_or(0, |at| at + 1);
    let (number, suffix) = text.split_at(end);
    let value: f64 = number
        .parse()
        .ok()
        .filter(|value: &f64| {
            value.is_finite() && number.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        })
        .ok_or_else(|| format!("invalid size: '{text}'"))?;
    let unit = suffix.strip_prefix(' ').unwrap_or(suffix).to_ascii_lowercase();
    let power = power(&unit).ok_or_else(|| format!("invalid suffix: '{suffix}'"))?;
    let bytes = value * base.pow(power) as f64;
    // A float above 2^64 saturates here; nothing has that size.
    if bytes >= u64::MAX as f64 { Err(format!("invalid size: '{text}'")) } else { Ok(bytes as u64) }
}

/// `k` is 1, `m` is 2, …; each may be followed by `b` or `ib`.
fn power(unit: &str) -> Option<u32> {
    let mut chars = unit.chars();
    let power = match chars.next() {
        None => return Some(0),
        Some('b') => return chars.next().is_none().then_some(0),
        Some(letter) => "kmgtp".find(letter)? as u32 + 1,
    };
    matches!(chars.as_str(), "" | "b" | "ib").then_some(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_by_docker() {
        for (text, bytes) in [
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("65536k", 64 << 20),
            ("64m", 64 << 20),
            ("64MB", 64 << 20),
            ("64MiB", 64 << 20),
            ("1.5g", 3 << 29),
            ("1 kb", 1024),
        ] {
            assert_eq!(binary(text), Ok(bytes), "{text}");
        }
        assert_eq!(decimal("7.123m"), Ok(7_123_000));
        for text in ["", "m", "-1", "1x", "1kk", "k1", "1 2", "nan", "inf", "9e99", "99999999999p"] {
            assert!(binary(text).is_err(), "{text}: {:?}", binary(text));
        }
    }
}
