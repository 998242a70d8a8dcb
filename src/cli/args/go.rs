//! Numbers as Go's `strconv` reads them, with its error texts.

/// Reads an unsigned 32-bit number as pflag's `Uint` does: `0x`, `0o`, `0b` and a leading zero choose the base.
///
/// # Errors
/// Go's text for what is no number or too large.
pub fn parse_u32(text: &str) -> Result<u32, String> {
    let fail = |why| format!("strconv.ParseUint: parsing {text:?}: {why}");
    let value = magnitude(text).map_err(fail)?;
    u32::try_from(value).map_err(|_| fail(OUT_OF_RANGE))
}

/// Reads a signed 32-bit number as pflag's `Int` does.
///
/// # Errors
/// Go's text for what is no number or too large.
pub fn parse_i32(text: &str) -> Result<i32, String> {
    let fail = |why| format!("strconv.ParseInt: parsing {text:?}: {why}");
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let value = i64::try_from(magnitude(digits).map_err(fail)?).map_err(|_| fail(OUT_OF_RANGE))?;
    i32::try_from(if negative { -value } else { value }).map_err(|_| fail(OUT_OF_RANGE))
}

/// Reads an unsigned 64-bit number as pflag's `Uint64` does.
///
/// # Errors
/// Go's text for what is no number or too large.
pub fn parse_u64(text: &str) -> Result<u64, String> {
    magnitude(text).map_err(|why| format!("strconv.ParseUint: parsing {text:?}: {why}"))
}

/// Reads a signed 64-bit number as pflag's `Int64` does.
///
/// # Errors
/// Go's text for what is no number or too large.
pub fn parse_i64(text: &str) -> Result<i64, String> {
    let fail = |why| format!("strconv.ParseInt: parsing {text:?}: {why}");
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let value = i128::from(magnitude(digits).map_err(fail)?);
    i64::try_from(if negative { -value } else { value }).map_err(|_| fail(OUT_OF_RANGE))
}

/// Reads a number as pflag's `Float64` does.
///
/// # Errors
/// Go's text for what is no number.
pub fn parse_f64(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("strconv.ParseFloat: parsing {text:?}: {SYNTAX}"))
}

const SYNTAX: &str = "invalid syntax";
const OUT_OF_RANGE: &str = "value out of range";

fn magnitude(text: &str) -> Result<u64, &'static str> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (&lower[..], 10),
    };
    // from_str_radix would also take a sign.
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(SYNTAX);
    }
    u64::from_str_radix(digits, radix).map_err(|_| OUT_OF_RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_by_go() {
        for (text, value) in
            [("0", 0), ("10", 10), ("0x10", 16), ("010", 8), ("0b11", 3), ("4294967295", u32::MAX)]
        {
            assert_eq!(parse_u32(text), Ok(value), "{text}");
        }
        for text in ["", "-1", "+1", "a", "1.5", "4294967296", "0x", " 1", "09"] {
            assert!(parse_u32(text).is_err(), "{text}");
        }
        for (text, value) in [("-1000", -1000), ("+5", 5), ("-0x10", -16)] {
            assert_eq!(parse_i32(text), Ok(value), "{text}");
        }
        for text in ["", "-", "--1", "2147483648"] {
            assert!(parse_i32(text).is_err(), "{text}");
        }
        assert_eq!(parse_u64("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse_i64("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(parse_f64("1.5"), Ok(1.5));
        assert!(parse_u64("-1").is_err() && parse_u64("18446744073709551616").is_err());
        assert!(parse_i64("9223372036854775808").is_err() && parse_i64("1.0").is_err());
        assert!(parse_f64("").is_err() && parse_f64("1,5").is_err());
    }
}
