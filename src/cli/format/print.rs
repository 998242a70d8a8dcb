//! Values as text: Go's `%v`, and the functions `print` and `printf`.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use super::value::Value;
use crate::cli::units::format_duration;

/// A value as `{{.}}` prints it.
#[must_use]
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    push(&mut out, value);
    out
}

/// `fmt.Sprint`: a space between two operands of which none is a string.
#[must_use]
pub(super) fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (index, value) in values.iter().enumerate() {
        let both_plain = |other: &Value| !matches!(other, Value::Text(_)) && !matches!(value, Value::Text(_));
        if index > 0 && both_plain(&values[index - 1]) {
            out.push(' ');
        }
        push(&mut out, value);
    }
    out
}

/// `fmt.Sprintln`: a space between all, a newline at the end.
#[must_use]
pub(super) fn println(values: &[Value]) -> String {
    let mut out = values.iter().map(text).collect::<Vec<_>>().join(" ");
    out.push('\n');
    out
}

/// `Duration.String`.
fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    format!("{sign}{}", format_duration(std::time::Duration::from_nanos(nanoseconds.unsigned_abs())))
}

/// Appends a value as a template prints it.
pub(super) fn push(out: &mut String, value: &Value) {
    match value {
        Value::Missing => out.push_str("<no value>"),
        Value::Nil | Value::Omitted => out.push_str("<nil>"),
        Value::Empty => {}
        Value::Duration(nanoseconds) => out.push_str(&duration(*nanoseconds)),
        Value::Bool(b) => drop(write!(out, "{b}")),
        Value::Int(i) => drop(write!(out, "{i}")),
        Value::Uint(u) => drop(write!(out, "{u}")),
        Value::Float(f) => out.push_str(&general(*f, None)),
        Value::Text(text) => out.push_str(text),
        Value::Time(text) => out.push_str(&go_time(text)),
        Value::List(list) => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { " " });
                push(out, item);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (index, (key, item)) in map.iter().enumerate() {
                let _ = write!(out, "{}{key}:", if index == 0 { "" } else { " " });
                push(out, item);
            }
            out.push(']');
        }
        Value::Struct(data) => {
            out.push('{');
            for (index, (_, item)) in data.fields.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { " " });
                push(out, item);
            }
            out.push('}');
        }
    }
}

/// `2026-11-22T19:00:00.5Z` as Go's `Time.String` prints it.
fn go_time(rfc3339: &str) -> String {
    crate::cli::units::parse_rfc3339(rfc3339)
        .map_or_else(|| rfc3339.to_owned(), crate::cli::units::Time::go_string)
}

/// `%g`: an exponent below 1e-4 and from 1e6 on, or with a precision from as many digits on.
pub(in crate::cli) fn general(number: f64, precision: Option<usize>) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = match precision {
        Some(digits) => format!("{number:.*e}", digits.max(1) - 1),
        None => format!("{number:e}"),
    };
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let limit = precision.map_or(6, |digits| i32::try_from(digits.max(1)).unwrap_or(i32::MAX));
    if number != 0.0 && (exponent < -4 || exponent >= limit) {
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let digits =
            if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
        return with_go_exponent(&format!("{digits}e{exponent}"));
    }
    match precision {
        Some(digits) => {
            let decimals =
                usize::try_from(i32::try_from(digits.max(1)).unwrap_or(1) - 1 - exponent).unwrap_or(0);
            let fixed = format!("{number:.decimals$}");
            if fixed.contains('.') {
                fixed.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                fixed
            }
        }
        None => format!("{number}"),
    }
}

/// `1e21` as Go writes it: `1e+21`.
fn with_go_exponent(text: &str) -> String {
    let Some((digits, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, size) = exponent.strip_prefix('-').map_or(("+", exponent), |size| ("-", size));
    format!("{digits}e{sign}{size:0>2}")
}

/// The flags, width and precision of a verb.
#[derive(Debug, Default, Clone, Copy)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `fmt.Sprintf`.
#[must_use]
pub fn printf(format: &str, values: &[Value]) -> String {
    let mut printer = Printf { rest: format.chars().peekable(), values, next: 0, reordered: false };
    let mut out = String::new();
    while let Some(c) = printer.rest.next() {
        if c == '%' {
            out.push_str(&printer.verb());
        } else {
            out.push(c);
        }
    }
    if printer.next < values.len() && !printer.reordered {
        let extra: Vec<String> = values[printer.next..]
            .iter()
            .map(|value| format!("{}={}", value.type_name(), text(value)))
            .collect();
        let _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    out
}

struct Printf<'a> {
    rest: Peekable<Chars<'a>>,
    values: &'a [Value],
    next: usize,
    /// Whether `%[1]d` chose its value: then unused values are no mistake.
    reordered: bool,
}

impl Printf<'_> {
    /// Reads what follows `%` and prints the value.
    fn verb(&mut self) -> String {
        let mut spec = Spec::default();
        while let Some(flag) = self.rest.next_if(|c| "-+# 0".contains(*c)) {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                '0' => spec.zero = true,
                _ => spec.space = true,
            }
        }
        self.index();
        spec.width = self.number();
        if self.rest.next_if_eq(&'.').is_some() {
            self.index();
            spec.precision = self.number().or(Some(0));
        }
        self.index();
        match self.rest.next() {
            None => "%!(NOVERB)".to_owned(),
            Some('%') => "%".to_owned(),
            Some(verb) => match self.values.get(self.next) {
                Some(value) => {
                    self.next += 1;
                    verb_text(verb, value, spec)
                }
                None if self.reordered => format!("%!{verb}(BADINDEX)"),
                None => format!("%!{verb}(MISSING)"),
            },
        }
    }

    /// Reads `[2]`.
    fn index(&mut self) {
        if self.rest.next_if_eq(&'[').is_some() {
            self.reordered = true;
            let digits: String = std::iter::from_fn(|| self.rest.next_if(char::is_ascii_digit)).collect();
            self.rest.next_if_eq(&']');
            self.next = digits.parse::<usize>().ok().and_then(|n| n.checked_sub(1)).unwrap_or(usize::MAX);
        }
    }

    /// Reads a width or precision: digits, or `*` for the next value.
    fn number(&mut self) -> Option<usize> {
        if self.rest.next_if_eq(&'*').is_some() {
            let given = self.values.get(self.next);
            self.next = self.next.saturating_add(1);
            return match given {
                Some(Value::Int(width)) => usize::try_from(*width).ok().map(|width| width.min(MAX_WIDTH)),
                _ => None,
            };
        }
        let digits: String = std::iter::from_fn(|| self.rest.next_if(char::is_ascii_digit)).collect();
        digits.parse().ok().map(|width: usize| width.min(MAX_WIDTH))
    }
}

/// A width beyond all reason would only fill the memory.
const MAX_WIDTH: usize = 10_000;

fn verb_text(verb: char, value: &Value, spec: Spec) -> String {
    if let (Value::List(list), 's' | 'q' | 'd' | 'x' | 'X' | 'o' | 'f' | 'e' | 'g' | 't') = (value, verb) {
        let items: Vec<String> = list.iter().map(|item| verb_text(verb, item, spec)).collect();
        return format!("[{}]", items.join(" "));
    }
    let plain = match (verb, value) {
        ('v', value) if spec.sharp => go_syntax(value),
        ('v', Value::Text(value)) | ('s', Value::Text(value)) => cut(value, spec.precision),
        ('v', Value::Float(f)) => general(*f, spec.precision),
        ('v', value)
        | (
            's',
            value @ (Value::Time(_) | Value::Duration(_) | Value::Struct(_) | Value::Map(_) | Value::Empty),
        ) => text(value),
        ('T', value) => value.type_name().to_owned(),
        ('q', Value::Text(value)) => go_quote(&cut(value, spec.precision)),
        ('q', Value::Int(i)) => {
            format!("{:?}", u32::try_from(*i).ok().and_then(char::from_u32).unwrap_or('\u{fffd}'))
        }
        ('t', Value::Bool(b)) => b.to_string(),
        ('x' | 'X', Value::Text(value)) => hex(value, verb == 'X', spec),
        ('c', Value::Int(i)) => {
            u32::try_from(*i).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
        }
        ('U', Value::Int(i)) => format!("U+{i:04X}"),
        ('d' | 'b' | 'o' | 'O' | 'x' | 'X', Value::Int(i)) => {
            return pad(&integer(verb, i.unsigned_abs(), *i < 0, spec), spec, true);
        }
        ('d' | 'b' | 'o' | 'O' | 'x' | 'X', Value::Uint(u)) => {
            return pad(&integer(verb, *u, false, spec), spec, true);
        }
        ('f' | 'F' | 'e' | 'E' | 'g' | 'G', Value::Float(f)) => {
            // Only an integer's precision keeps zeros from filling the width.
            return pad(&floating(verb, *f, spec), Spec { precision: None, ..spec }, true);
        }
        (verb, Value::Missing | Value::Nil) => format!("%!{verb}(<nil>)"),
        (verb, value) => format!("%!{verb}({}={})", value.type_name(), text(value)),
    };
    pad(&plain, spec, matches!(value, Value::Int(_) | Value::Uint(_) | Value::Float(_)))
}

/// The bytes of a string: with `#` after 0x, with a space apart.
fn hex(value: &str, upper: bool, spec: Spec) -> String {
    let prefix = match (spec.sharp, upper) {
        (false, _) => "",
        (true, false) => "0x",
        (true, true) => "0X",
    };
    let byte = |byte: u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
    let bytes = value.bytes().map(byte);
    if spec.space {
        bytes.map(|byte| format!("{prefix}{byte}")).collect::<Vec<_>>().join(" ")
    } else {
        format!("{prefix}{}", bytes.collect::<String>())
    }
}

fn integer(verb: char, size: u64, negative: bool, spec: Spec) -> String {
    let digits = match verb {
        'b' => format!("{size:b}"),
        'o' | 'O' => format!("{size:o}"),
        'x' => format!("{size:x}"),
        'X' => format!("{size:X}"),
        _ => size.to_string(),
    };
    let digits = format!("{digits:0>width$}", width = spec.precision.unwrap_or(0));
    let prefix = match (verb, spec.sharp) {
        ('O', _) => "0o",
        ('b', true) => "0b",
        ('o', true) => "0",
        ('x', true) => "0x",
        ('X', true) => "0X",
        _ => "",
    };
    format!("{}{prefix}{digits}", sign(negative, spec))
}

fn floating(verb: char, number: f64, spec: Spec) -> String {
    let size = number.abs();
    let digits = match verb {
        'f' | 'F' => format!("{size:.*}", spec.precision.unwrap_or(6)),
        'e' | 'E' => with_go_exponent(&format!("{size:.*e}", spec.precision.unwrap_or(6))),
        _ => general(size, spec.precision),
    };
    let digits = if verb.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
    format!("{}{digits}", sign(number.is_sign_negative(), spec))
}

fn sign(negative: bool, spec: Spec) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    }
}

fn pad(plain: &str, spec: Spec, is_number: bool) -> String {
    let width = spec.width.unwrap_or(0);
    let missing = width.saturating_sub(plain.chars().count());
    if missing == 0 {
        return plain.to_owned();
    }
    if spec.minus {
        return format!("{plain}{}", " ".repeat(missing));
    }
    if spec.zero && is_number && spec.precision.is_none() {
        let digits = plain.trim_start_matches(['-', '+', ' ']);
        let sign = &plain[..plain.len() - digits.len()];
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    format!("{}{plain}", " ".repeat(missing))
}

fn cut(text: &str, precision: Option<usize>) -> String {
    precision.map_or_else(|| text.to_owned(), |len| text.chars().take(len).collect())
}

/// `strconv.Quote`.
#[must_use]
pub fn go_quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => drop(write!(quoted, "\\x{:02x}", u32::from(c))),
            c if c.is_control() => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// `%#v`, as far as types are known.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Time(text) => go_quote(text),
        Value::Missing | Value::Nil | Value::Empty | Value::Omitted => "<nil>".to_owned(),
        Value::List(list) => {
            let kind = if list.iter().all(|item| matches!(item, Value::Text(_))) {
                "string"
            } else {
                "interface {}"
            };
            format!("[]{kind}{{{}}}", list.iter().map(go_syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Map(map) => {
            let kind = if map.iter().all(|(_, item)| matches!(item, Value::Text(_))) {
                "string"
            } else {
                "interface {}"
            };
            let entries: Vec<String> =
                map.iter().map(|(key, item)| format!("{}:{}", go_quote(key), go_syntax(item))).collect();
            format!("map[string]{kind}{{{}}}", entries.join(", "))
        }
        Value::Struct(data) => {
            let fields: Vec<String> =
                data.fields.iter().map(|(name, item)| format!("{name}:{}", go_syntax(item))).collect();
            format!("{}{{{}}}", value.type_name(), fields.join(", "))
        }
        plain => text(plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn printf_is_gos() {
        let cases: &[(&str, serde_json::Value, &str)] = &[
            ("%s|%v|%d", json!(["a", "b", 3]), "a|b|3"),
            ("%5s|%-5s|%05d|%+d", json!(["a", "b", 42, 7]), "    a|b    |00042|+7"),
            ("%q %x %X", json!(["a\"b\n", "hi", 255]), "\"a\\\"b\\n\" 6869 FF"),
            ("%.2f %g %e %v", json!([3.14259, 1e6, 12.5, 0.00001]), "3.14 1e+06 1.250000e+01 1e-05"),
            ("%d %s", json!(["x", 5]), "%!d(string=x) %!s(int=5)"),
            ("%d%%", json!([5]), "5%"),
            ("%d", json!([]), "%!d(MISSING)"),
            ("x", json!([1, "b"]), "x%!(EXTRA int=1, string=b)"),
            ("%v %v", json!([["a", 1], {"b": 1, "a": [true]}]), "[a 1] map[a:[true] b:1]"),
            ("%s", json!([["a", "b"]]), "[a b]"),
            ("%t %v", json!([true, null]), "true <nil>"),
            ("%.3s|%*d", json!(["abcdef", 4, 7]), "abc|   7"),
            ("%T %T", json!(["a", 1]), "string int"),
            ("%#v", json!([["a"]]), "[]string{\"a\"}"),
            ("%#x %#o %b", json!([255, 8, 5]), "0xff 010 101"),
            (
                "%08.3f|% x|%#x|%[2]d %[1]d",
                json!([2.5, "hi", "hi"]),
                "0002.500|68 69|0x6869|%!d(string=hi) %!d(float64=2.5)",
            ),
            ("%", json!([]), "%!(NOVERB)"),
        ];
        for (format, values, expected) in cases {
            let Value::List(values) = Value::of(values) else { panic!("not a list") };
            assert_eq!(&printf(format, &values), expected, "{format}");
        }
    }

    #[test]
    fn print_puts_spaces_where_go_does() {
        let of = |values: serde_json::Value| match Value::of(&values) {
            Value::List(list) => print(&list),
            _ => String::new(),
        };
        assert_eq!(of(json!([1, 2, "a", "b", 3])), "1 2ab3");
        assert_eq!(of(json!([true, null])), "true <nil>");
    }
}
