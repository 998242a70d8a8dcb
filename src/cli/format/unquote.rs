//! Literals in templates: Go's strings, characters and numbers.

use std::str::Chars;

use super::parse::Number;

/// The value of a quoted (`"…"`) or raw (`` `…` ``) string.
#[must_use]
pub(super) fn string(source: &str) -> Option<String> {
    if let Some(raw) = source.strip_prefix('`') {
        return Some(raw.strip_suffix('`')?.replace('\r', ""));
    }
    unescape(source.strip_prefix('"')?.strip_suffix('"')?)
}

/// The value of a number or of a character constant.
#[must_use]
pub(super) fn number(source: &str) -> Option<Number> {
    if let Some(quoted) = source.strip_prefix('\'') {
        let text = unescape(quoted.strip_suffix('\'')?)?;
        let mut chars = text.chars();
        return match (chars.next(), chars.next()) {
            (Some(c), None) => Some(Number::Int(u32::from(c).into())),
            _ => None,
        };
    }
    let (sign, digits) = match source.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, source.strip_prefix('+').unwrap_or(source)),
    };
    let digits = digits.replace('_', "");
    let lower = digits.to_lowercase();
    let integer = if let Some(hex) = lower.strip_prefix("0x") {
        i64::from_str_radix(hex, 16).ok()
    } else if let Some(binary) = lower.strip_prefix("0b") {
        i64::from_str_radix(binary, 2).ok()
    } else if let Some(octal) = lower.strip_prefix("0o") {
        i64::from_str_radix(octal, 8).ok()
    } else if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit()) {
        i64::from_str_radix(&lower, 8).ok()
    } else {
        lower.parse().ok()
    };
    integer
        .map(|value| Number::Int(sign * value))
        .or_else(|| lower.parse::<f64>().ok().map(|value| Number::Float(value * sign as f64)))
}

fn unescape(text: &str) -> Option<String> {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            value.push(c);
            continue;
        }
        match chars.next()? {
            'a' => value.push('\u{7}'),
            'b' => value.push('\u{8}'),
            'f' => value.push('\u{c}'),
            'n' => value.push('\n'),
            'r' => value.push('\r'),
            't' => value.push('\t'),
            'v' => value.push('\u{b}'),
            'x' => value.push(code(&mut chars, 2, 16)?),
            'u' => value.push(code(&mut chars, 4, 16)?),
            'U' => value.push(code(&mut chars, 8, 16)?),
            digit @ '0'..='7' => {
                let rest: String = chars.by_ref().take(2).collect();
                value.push(char::from_u32(u32::from_str_radix(&format!("{digit}{rest}"), 8).ok()?)?);
            }
            other @ ('\\' | '"' | '\'') => value.push(other),
            _ => return None,
        }
    }
    Some(value)
}

fn code(chars: &mut Chars<'_>, digits: usize, radix: u32) -> Option<char> {
    let text: String = chars.by_ref().take(digits).collect();
    if text.len() != digits {
        return None;
    }
    char::from_u32(u32::from_str_radix(&text, radix).ok()?)
}
