//! JSON as Go's `encoding/json` prints it.
//!
//! Struct fields keep their order, keys of maps are sorted, empty lists and maps
//! stay on one line, U+2028 and U+2029 are escaped, and `<`, `>`, `&` too unless
//! told otherwise.

use std::fmt::Write as _;

use super::value::Value;

/// How JSON is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Spaces for each level, or everything on one line.
    pub indent: Option<usize>,
    /// Whether `<`, `>` and `&` are written as `\u003c` and so on.
    pub escape_html: bool,
}

impl Layout {
    /// The functions `json` of templates: one line, nothing escaped for HTML.
    pub const LINE: Self = Self { indent: None, escape_html: false };
    /// `json.Marshal`: one line.
    pub const COMPACT: Self = Self { indent: None, escape_html: true };
    /// `inspect`: five spaces, nothing escaped for HTML.
    pub const INSPECT: Self = Self { indent: Some(5), escape_html: false };

    /// `json.MarshalIndent` with as many spaces.
    #[must_use]
    pub const fn marshal(indent: usize) -> Self {
        Self { indent: Some(indent), escape_html: true }
    }
}

/// A value as JSON, without a newline at the end.
#[must_use]
pub fn to_string(value: &Value, layout: Layout) -> String {
    let mut printer = Printer { text: String::new(), layout, depth: 0 };
    printer.value(value);
    printer.text
}

struct Printer {
    text: String,
    layout: Layout,
    depth: usize,
}

impl Printer {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Missing | Value::Nil | Value::Empty | Value::Omitted => self.text.push_str("null"),
            Value::Bool(b) => self.text.push_str(if *b { "true" } else { "false" }),
            Value::Int(i) | Value::Duration(i) => drop(write!(self.text, "{i}")),
            Value::Uint(u) => drop(write!(self.text, "{u}")),
            Value::Float(f) => self.text.push_str(&float(*f)),
            Value::Text(text) | Value::Time(text) => self.string(text),
            Value::List(list) => self.block('[', ']', list.iter(), Self::value),
            Value::Map(map) => self.block('{', '}', map.iter(), Self::entry),
            Value::Struct(data) => {
                let given =
                    data.fields.iter().filter(|(_, value)| !matches!(value, Value::Empty | Value::Omitted));
                self.block('{', '}', given, Self::entry);
            }
        }
    }

    fn entry<K: AsRef<str>>(&mut self, (key, value): &(K, Value)) {
        self.string(key.as_ref());
        self.text.push_str(if self.layout.indent.is_some() { ": " } else { ":" });
        self.value(value);
    }

    fn block<T>(
        &mut self,
        open: char,
        close: char,
        items: impl Iterator<Item = T>,
        print: impl Fn(&mut Self, T),
    ) {
        self.text.push(open);
        self.depth += 1;
        let mut first = true;
        for item in items {
            if !first {
                self.text.push(',');
            }
            first = false;
            self.newline();
            print(self, item);
        }
        self.depth -= 1;
        if !first {
            self.newline();
        }
        self.text.push(close);
    }

    fn newline(&mut self) {
        if let Some(indent) = self.layout.indent {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(' ', indent * self.depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                '<' | '>' | '&' if self.layout.escape_html => self.escape(c),
                '\u{2028}' | '\u{2029}' => self.escape(c),
                c if c < ' ' => self.escape(c),
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }

    fn escape(&mut self, c: char) {
        let _ = write!(self.text, "\\u{:04x}", u32::from(c));
    }
}

/// Go's number form: the shortest, with an exponent for the very small and large.
fn float(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        // Go writes e-07 as e-7 in JSON, and e+21 with a sign.
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
            _ => text,
        }
    } else {
        format!("{number}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn prints_as_go() {
        let value = Value::of(
            &json!({"b": [], "a": {"x": "<&>\u{2028}\u{1}\"é"}, "c": [1, 2.5, 1e21, 1e-7, null], "d": {}}),
        );
        assert_eq!(
            to_string(&value, Layout::LINE),
            "{\"a\":{\"x\":\"<&>\\u2028\\u0001\\\"é\"},\"b\":[],\"c\":[1,2.5,1e+21,1e-7,null],\"d\":{}}"
        );
        assert_eq!(
            to_string(&value, Layout::marshal(1)),
            "{\n \"a\": {\n  \"x\": \"\\u003c\\u0026\\u003e\\u2028\\u0001\\\"é\"\n },\n \"b\": [],\n \"c\": [\n  1,\n  2.5,\n  1e+21,\n  1e-7,\n  null\n ],\n \"d\": {}\n}"
        );
    }
}
