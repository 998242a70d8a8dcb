//! The functions that templates can call: Go's own and podman's.

use std::cmp::Ordering;
use std::rc::Rc;

use super::json::{self, Layout};
use super::print;
use super::value::Value;

/// Go's functions that are not evaluated specially, then podman's. (`and` and
/// `or` are in the interpreter: they do not evaluate all of their arguments.)
const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print", "printf",
    "println", "slice", "urlquery", //
    "join", "json", "lower", "pad", "split", "title", "truncate", "upper",
];

/// Whether templates know the function.
#[must_use]
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// How many arguments a function takes: at least, at most.
fn arity(name: &str) -> (usize, usize) {
    match name {
        "html" | "js" | "print" | "println" | "urlquery" => (0, usize::MAX),
        "eq" | "index" | "printf" | "slice" => (1, usize::MAX),
        "json" | "len" | "lower" | "not" | "title" | "upper" => (1, 1),
        "pad" => (3, 3),
        _ => (2, 2),
    }
}

/// Calls a function.
///
/// # Errors
/// Fails with the text that follows `executing "…" at <…>: ` in Go.
pub(super) fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let (least, most) = arity(name);
    if args.len() < least || args.len() > most {
        let want = if most == usize::MAX { format!("at least {least}") } else { least.to_string() };
        return Err(format!("wrong number of args for {name}: want {want} got {}", args.len()));
    }
    apply(name, args).map_err(|error| format!("error calling {name}: {error}"))
}

fn apply(name: &str, args: &[Value]) -> Result<Value, String> {
    let text_of = |index: usize| args.get(index).map(print::text).unwrap_or_default();
    Ok(match name {
        "eq" => Value::Bool(equals(args)?),
        "ne" => Value::Bool(!equal(&args[0], &args[1])?),
        "lt" => Value::Bool(order(&args[0], &args[1])? == Ordering::Less),
        "le" => Value::Bool(order(&args[0], &args[1])? != Ordering::Greater),
        "gt" => Value::Bool(order(&args[0], &args[1])? == Ordering::Greater),
        "ge" => Value::Bool(order(&args[0], &args[1])? != Ordering::Less),
        "not" => Value::Bool(!args[0].is_true()),
        "len" => length(&args[0])?,
        "index" => args[1..].iter().try_fold(args[0].clone(), |item, key| index(&item, key))?,
        "slice" => slice(&args[0], &args[1..])?,
        "print" => Value::Text(print::print(args)),
        "println" => Value::Text(print::println(args)),
        "printf" => Value::Text(print::printf(&text_of(0), &args[1..])),
        "html" => Value::Text(html(&print::print(args))),
        "js" => Value::Text(js(&print::print(args))),
        "urlquery" => Value::Text(urlquery(&print::print(args))),
        "json" => Value::Text(json::to_string(&args[0], Layout::LINE)),
        "join" => Value::Text(join(&args[0], &text_of(1))?),
        "split" => split(&text_of(0), &text_of(1)),
        "lower" => Value::Text(text_of(0).to_lowercase()),
        "upper" => Value::Text(text_of(0).to_uppercase()),
        "title" => Value::Text(title(&text_of(0))),
        "pad" => Value::Text(pad(&text_of(0), count(&args[1])?, count(&args[2])?)),
        "truncate" => Value::Text(truncate(text_of(0), count(&args[1])?)),
        _ => return Err("no such function".to_owned()),
    })
}

/// Go compares the first with each of the others.
fn equals(args: &[Value]) -> Result<bool, String> {
    if args.len() < 2 {
        return Err("missing argument for comparison".to_owned());
    }
    for other in &args[1..] {
        if equal(&args[0], other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal(left: &Value, right: &Value) -> Result<bool, String> {
    Ok(match (left, right) {
        // A field that was left out because it is empty equals every empty value.
        (Value::Empty, other) | (other, Value::Empty) => !other.is_true(),
        (Value::Missing | Value::Nil, Value::Missing | Value::Nil) => true,
        (Value::Missing | Value::Nil, _) | (_, Value::Missing | Value::Nil) => false,
        (Value::Int(i), Value::Uint(u)) | (Value::Uint(u), Value::Int(i)) => {
            u64::try_from(*i).is_ok_and(|i| i == *u)
        }
        (Value::List(_) | Value::Map(_), _) | (_, Value::List(_) | Value::Map(_)) => {
            return Err("non-comparable types".to_owned());
        }
        (left, right) if std::mem::discriminant(left) == std::mem::discriminant(right) => left == right,
        (left, right) => return Err(incompatible(left, right)),
    })
}

fn incompatible(left: &Value, right: &Value) -> String {
    format!("incompatible types for comparison: {} and {}", left.type_name(), right.type_name())
}

fn order(left: &Value, right: &Value) -> Result<Ordering, String> {
    match (left, right) {
        (Value::Int(l), Value::Int(r)) => Ok(l.cmp(r)),
        (Value::Uint(l), Value::Uint(r)) => Ok(l.cmp(r)),
        (Value::Int(l), Value::Uint(r)) => Ok(u64::try_from(*l).map_or(Ordering::Less, |l| l.cmp(r))),
        (Value::Uint(l), Value::Int(r)) => Ok(u64::try_from(*r).map_or(Ordering::Greater, |r| l.cmp(&r))),
        (Value::Float(l), Value::Float(r)) => Ok(l.partial_cmp(r).unwrap_or(Ordering::Less)),
        (Value::Text(l), Value::Text(r)) => Ok(l.cmp(r)),
        (Value::Empty, Value::Int(r)) => Ok(0.cmp(r)),
        (Value::Int(l), Value::Empty) => Ok(l.cmp(&0)),
        (Value::Bool(_) | Value::List(_) | Value::Map(_) | Value::Struct(_), _) => {
            Err("invalid type for comparison".to_owned())
        }
        (left, right) => Err(incompatible(left, right)),
    }
}

fn length(value: &Value) -> Result<Value, String> {
    let len = match value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        Value::Empty => 0,
        Value::Missing | Value::Nil => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(len).unwrap_or(i64::MAX)))
}

fn index(item: &Value, key: &Value) -> Result<Value, String> {
    let at = |len: usize| match key {
        Value::Int(i) => {
            usize::try_from(*i).ok().filter(|i| *i < len).ok_or(format!("index out of range: {i}"))
        }
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    match (item, key) {
        (Value::List(list), _) => Ok(list[at(list.len())?].clone()),
        (Value::Text(text), _) => Ok(Value::Int(text.as_bytes()[at(text.len())?].into())),
        (Value::Map(map), Value::Text(key)) => {
            Ok(Value::entry(map, key).cloned().unwrap_or_else(|| zero_like(map)))
        }
        (Value::Map(map), Value::Int(key)) => {
            Ok(Value::entry(map, &key.to_string()).cloned().unwrap_or_else(|| zero_like(map)))
        }
        (Value::Map(_), other) => Err(format!("value has type {}; should be string", other.type_name())),
        (Value::Empty, Value::Text(_)) => Ok(Value::Empty),
        (Value::Empty, Value::Int(i)) => Err(format!("index out of range: {i}")),
        (Value::Missing | Value::Nil, _) => Err("index of untyped nil".to_owned()),
        (other, _) => Err(format!("can't index item of type {}", other.type_name())),
    }
}

/// The empty value of the type that a map holds, as far as its entries tell.
fn zero_like(map: &[(String, Value)]) -> Value {
    match map.first().map(|(_, value)| value) {
        Some(Value::Int(_) | Value::Uint(_) | Value::Duration(_)) => Value::Int(0),
        Some(Value::Bool(_)) => Value::Bool(false),
        Some(Value::Float(_)) => Value::Float(0.0),
        Some(Value::List(_)) => Value::list([]),
        Some(Value::Map(_)) => Value::Map(Rc::default()),
        Some(Value::Struct(_) | Value::Nil | Value::Missing | Value::Omitted) => Value::Nil,
        Some(Value::Text(_) | Value::Time(_) | Value::Empty) | None => Value::Text(String::new()),
    }
}

fn slice(item: &Value, bounds: &[Value]) -> Result<Value, String> {
    let len = match item {
        Value::Text(text) => text.len(),
        Value::List(list) => list.len(),
        Value::Empty => 0,
        Value::Missing | Value::Nil => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let bound = |index: usize, default: usize| match bounds.get(index) {
        None => Ok(default),
        Some(Value::Int(i)) => {
            usize::try_from(*i).ok().filter(|i| *i <= len).ok_or(format!("index out of range: {i}"))
        }
        Some(other) => Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    let (begin, end) = (bound(0, 0)?, bound(1, len)?);
    if begin > end {
        return Err(format!("invalid slice index: {begin} > {end}"));
    }
    Ok(match item {
        Value::Text(text) => Value::Text(String::from_utf8_lossy(&text.as_bytes()[begin..end]).into_owned()),
        Value::List(list) => Value::list(list[begin..end].iter().cloned()),
        _ => Value::Empty,
    })
}

fn join(list: &Value, separator: &str) -> Result<String, String> {
    match list {
        Value::List(list) => Ok(list.iter().map(print::text).collect::<Vec<_>>().join(separator)),
        Value::Empty | Value::Nil | Value::Missing => Ok(String::new()),
        other => Err(format!("wrong type for value; expected []string; got {}", other.type_name())),
    }
}

fn split(text: &str, separator: &str) -> Value {
    let part = |text: &str| Value::Text(text.to_owned());
    if separator.is_empty() {
        return Value::list(text.chars().map(|c| Value::Text(c.to_string())));
    }
    Value::list(text.split(separator).map(part))
}

/// Go's `strings.Title`: upper case wherever a letter follows a separator.
fn title(text: &str) -> String {
    let mut previous = ' ';
    text.chars()
        .flat_map(|c| {
            let begins = !(previous.is_alphanumeric() || previous == '_');
            previous = c;
            if begins { c.to_uppercase().collect::<Vec<_>>() } else { vec![c] }
        })
        .collect()
}

fn pad(text: &str, before: usize, after: usize) -> String {
    if text.is_empty() {
        return String::new();
    }
    format!("{}{text}{}", " ".repeat(before), " ".repeat(after))
}

fn truncate(text: String, len: usize) -> String {
    if text.len() < len {
        return text;
    }
    String::from_utf8_lossy(&text.as_bytes()[..len]).into_owned()
}

fn count(value: &Value) -> Result<usize, String> {
    match value {
        Value::Int(i) => usize::try_from(*i).map_err(|_| format!("negative count {i}")),
        other => Err(format!("wrong type for value; expected int; got {}", other.type_name())),
    }
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('\'', "&#39;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\0', "\u{fffd}")
}

fn js(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' => out.push_str("\\u003C"),
            '>' => out.push_str("\\u003E"),
            '&' => out.push_str("\\u0026"),
            '=' => out.push_str("\\u003D"),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
        out
    })
}

fn urlquery(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
        out
    })
}
