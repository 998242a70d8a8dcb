//! `--format`: Go templates, tables and JSON for every list and inspect command.
//!
//! A list command states its default as a template and hands its rows over:
//!
//! ```text
//! let list = List::new("ps", "{{.ID}}\t{{.Image}}\t{{.Names}}")
//!     .headers(&[("ID", "CONTAINER ID")])          // where not FIELD NAME
//!     .format(args.format.as_deref())
//!     .no_heading(args.noheading);
//! if list.is_json() { return list.json(ui, &records, Layout::marshal(2)); }
//! list.print(ui, &rows)?;                            // rows: impl Serialize, podman's field names
//! ```
//!
//! What templates can name are the serialised fields of a row, in any case
//! (`.ID` finds `Id`). A method of podman's that takes an argument (`.Label "x"`)
//! is a field that holds a map. A field of type [`crate::cli::units::Time`] prints
//! as Go prints times. An inspect command uses [`objects`], `info` and `version`
//! use [`single`].
//!
//! The engine is the grammar of Go's `text/template` with podman's functions:
//! [`lex`], [`parse`] and [`execute`] each follow the part of Go of that name.

mod execute;
mod functions;
pub mod json;
mod lex;
mod parse;
mod print;
pub mod table;
mod unquote;
pub mod value;

use std::rc::Rc;

use serde::Serialize;

pub use json::Layout;
pub use print::{go_quote, printf};
pub use value::Value;

pub(in crate::cli) use print::general;

use super::error::{CommandError, Result};
use super::help::edit_distance;
use super::ui::Ui;

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    tree: parse::Tree,
}

impl Template {
    /// Parses `text`; `name` is what errors call it.
    ///
    /// # Errors
    /// Fails with Go's text.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        parse::parse(name, text, functions::exists).map(|tree| Self { tree }).map_err(CommandError::new)
    }

    /// Parses a user's text, in which `\n` and `\t` may stand for the characters
    /// they are in Go strings. Where that makes it invalid (`{{"\n"}}`), it is
    /// taken as it is, as podman does.
    fn parse_user(name: &str, normalised: &str, original: &str) -> Result<Self> {
        Self::parse(name, normalised).or_else(|_| Self::parse(name, original))
    }

    /// Executes it.
    ///
    /// # Errors
    /// Fails with Go's text, and a hint at the fields there are.
    pub fn execute(&self, data: &Value) -> Result<String> {
        let mut text = String::new();
        self.execute_into(data, &mut text).map(|()| text)
    }

    /// The same, behind what is in `text` already.
    fn execute_into(&self, data: &Value, text: &mut String) -> Result<()> {
        execute::execute(&self.tree, data, text).map_err(|error| {
            let wanted =
                error.message.rsplit_once("evaluate field ").and_then(|(_, rest)| rest.split(' ').next());
            let hint = wanted.and_then(|wanted| fields_hint(wanted, &error.candidates));
            let failed = CommandError::new(error.message);
            match hint {
                Some(hint) => failed.with_hint(hint),
                None => failed,
            }
        })
    }
}

fn fields_hint(wanted: &str, fields: &[String]) -> Option<String> {
    let similar: Vec<&str> = fields
        .iter()
        .map(String::as_str)
        .filter(|field| edit_distance(field, wanted) <= wanted.len() / 3)
        .collect();
    match (fields.is_empty(), similar.is_empty()) {
        (true, _) => None,
        (false, false) => Some(format!("did you mean `.{}`?", similar.join("` or `."))),
        (false, true) => Some(format!("the fields are .{}", fields.join(" ."))),
    }
}

/// Whether a format asks for JSON: `json`, `{{json}}`, `{{json.}}`; but
/// `{{json .}}` is a template.
#[must_use]
pub fn is_json(format: &str) -> bool {
    let format = format.trim();
    if format == "json" {
        return true;
    }
    let inner = format.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).map(str::trim);
    matches!(inner, Some("json" | "json."))
}

/// Whether a format asks for a table.
#[must_use]
pub fn is_table(format: &str) -> bool {
    format.starts_with("table ")
}

fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn with_newline(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Puts `{{range .}}` around a row, unless the text has a range over everything itself.
fn enforce_range(text: &str) -> String {
    if ranges_over_dot(text) { text.to_owned() } else { format!("{{{{range .}}}}{text}{{{{end -}}}}") }
}

fn ranges_over_dot(text: &str) -> bool {
    let Some(at) = text.match_indices("{{").map(|(at, _)| at + 2).find(|at| {
        let rest = text[*at..].trim_start();
        rest.strip_prefix("range")
            .map(str::trim_start)
            .and_then(|rest| rest.strip_prefix('.'))
            .is_some_and(|rest| rest.trim_start().starts_with("}}"))
    }) else {
        return false;
    };
    text[at..].match_indices("{{").any(|(at_end, _)| {
        let rest = text[at + at_end + 2..].trim_start();
        rest.strip_prefix("end")
            .map(str::trim_start)
            .map(|rest| rest.strip_prefix('-').unwrap_or(rest).trim_start())
            .is_some_and(|rest| rest.starts_with("}}"))
    })
}

/// The output of a list command.
#[derive(Debug, Clone, Copy)]
pub struct List<'a> {
    name: &'a str,
    row: &'a str,
    headers: &'a [(&'a str, &'a str)],
    format: Option<&'a str>,
    no_heading: bool,
}

impl<'a> List<'a> {
    /// The list of command `name`, whose rows look like the template `row` by
    /// default: cells divided by tabs.
    #[must_use]
    pub fn new(name: &'a str, row: &'a str) -> Self {
        Self { name, row, headers: &[], format: None, no_heading: false }
    }

    /// Column headers that are not the field name in capitals with spaces.
    #[must_use]
    pub fn headers(self, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self { headers, ..self }
    }

    /// What the user gave as `--format`.
    #[must_use]
    pub fn format(self, format: Option<&'a str>) -> Self {
        Self { format, ..self }
    }

    /// `--noheading`.
    #[must_use]
    pub fn no_heading(self, no_heading: bool) -> Self {
        Self { no_heading, ..self }
    }

    /// Whether JSON is asked for.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.format.is_some_and(is_json)
    }

    /// Prints records as JSON.
    ///
    /// # Errors
    /// Fails when stdout does.
    pub fn json(&self, ui: &mut Ui, records: &(impl Serialize + ?Sized), layout: Layout) -> Result<()> {
        print_json(ui, records, layout)
    }

    /// Prints rows as the default table, as a table of the user's, or by the
    /// user's template.
    ///
    /// # Errors
    /// Fails on a template that is not valid or names an unknown field.
    pub fn print<T: Serialize>(&self, ui: &mut Ui, rows: &[T]) -> Result<()> {
        self.print_each(ui, rows)
    }

    /// The same for rows that are made while they are printed: of a thousand, only one is there at a time.
    ///
    /// # Errors
    /// Fails on a template that is not valid or names an unknown field.
    pub fn print_each<T: Serialize>(&self, ui: &mut Ui, rows: impl IntoIterator<Item = T>) -> Result<()> {
        let text = self.format.map_or(self.row, |format| format.strip_prefix("table ").unwrap_or(format));
        let text = match only_fields(text) {
            Some(names) => {
                let rows = rows.into_iter().map(|row| Value::list([Value::of_named(&row, &names)]));
                self.render_parts(rows)?
            }
            None => self.render(&Value::list(rows.into_iter().map(|row| Value::of(&row))))?,
        };
        ui.text(&text)
    }

    /// The text that [`Self::print`] prints.
    ///
    /// # Errors
    /// Fails on a template that is not valid or names an unknown field.
    pub fn render(&self, rows: &Value) -> Result<String> {
        self.render_parts([rows.clone()])
    }

    /// The same for several lists of rows, one after the other.
    fn render_parts(&self, parts: impl IntoIterator<Item = Value>) -> Result<String> {
        let (template, is_table) = self.template()?;
        let mut parts = parts.into_iter().peekable();
        let mut text = String::new();
        if is_table && !self.no_heading {
            let heading = self.heading(parts.peek().unwrap_or(&Value::Nil));
            template.execute_into(&Value::list([heading]), &mut text)?;
        }
        for rows in parts {
            template.execute_into(&rows, &mut text)?;
        }
        Ok(if is_table { table::align(&text) } else { text })
    }

    /// The template, and whether its cells are aligned.
    fn template(&self) -> Result<(Template, bool)> {
        Ok(match self.format {
            None => {
                (Template::parse(self.name, &format!("{{{{range .}}}}{}\n{{{{end -}}}}", self.row))?, true)
            }
            Some(format) if is_table(format) => {
                let row = &format["table ".len()..];
                let normalised = format!("{{{{range .}}}}{}{{{{end -}}}}", with_newline(table_cells(row)));
                let original = format!("{{{{range .}}}}{row}{{{{end -}}}}");
                (Template::parse_user(self.name, &normalised, &original)?, true)
            }
            Some(format) => {
                let normalised = enforce_range(&with_newline(unescape(format)));
                (Template::parse_user(self.name, &normalised, &enforce_range(format))?, false)
            }
        })
    }

    /// A row that holds the headers. Fields that no row shows are known from the
    /// default row and from `headers`.
    fn heading(&self, rows: &Value) -> Value {
        let mut fields: Vec<(String, Value)> = Vec::new();
        let mut add = |name: &str, title: String| {
            if Value::entry(&fields, name).is_none() {
                fields.push((name.to_owned(), Value::Text(title)));
            }
        };
        for (name, title) in self.headers {
            add(name, title.to_uppercase());
        }
        for name in named_fields(self.row).chain(self.format.into_iter().flat_map(named_fields)) {
            add(name, header_of(name));
        }
        if let Value::List(list) = rows
            && let Some(Value::Struct(first)) = list.first()
        {
            for (name, _) in &first.fields {
                add(name, header_of(name));
            }
        }
        Value::Map(Rc::new(fields))
    }
}

/// In a table a space divides cells as a tab does.
fn table_cells(row: &str) -> String {
    unescape(row).replace(' ', "\t")
}

/// The first names of all fields in a template.
fn named_fields(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).flat_map(|(action, _)| {
        action.split([' ', '(', ')', '|']).filter_map(|word| word.strip_prefix('.')).filter_map(|names| {
            names.split(['.', '}']).next().filter(|name| name.chars().next().is_some_and(char::is_alphabetic))
        })
    })
}

/// The fields that a template names, if it does nothing but print fields.
fn only_fields(text: &str) -> Option<Vec<&str>> {
    text.split("{{").skip(1).map(|rest| first_field(rest.split_once("}}")?.0.trim())).collect()
}

fn first_field(action: &str) -> Option<&str> {
    let names = action.strip_prefix('.')?;
    let is_plain = names.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    names.split('.').next().filter(|name| is_plain && !name.is_empty())
}

/// `CreatedAt` is `CREATED AT`, `ID` is `ID`, `IDFile` is `ID FILE`.
fn header_of(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut header = String::new();
    for (index, c) in chars.iter().enumerate() {
        let previous = index.checked_sub(1).map(|i| chars[i]);
        let begins = match previous {
            None => false,
            Some(previous) if c.is_uppercase() => {
                !previous.is_uppercase() || chars.get(index + 1).is_some_and(|next| next.is_lowercase())
            }
            Some(previous) => c.is_ascii_digit() != previous.is_ascii_digit(),
        };
        if begins {
            header.push(' ');
        }
        header.extend(c.to_uppercase());
    }
    header
}

/// Prints what `inspect` found: a JSON array, or a template for each object.
///
/// # Errors
/// Fails on a template that is not valid or names an unknown field.
pub fn objects<T: Serialize>(ui: &mut Ui, name: &str, objects: &[T], format: Option<&str>) -> Result<()> {
    match format {
        None | Some("") => print_json(ui, objects, Layout::INSPECT),
        Some(format) if is_json(format) => print_json(ui, objects, Layout::INSPECT),
        Some(format) => {
            let format = inspect_aliases(format);
            List::new(name, "").format(Some(&format)).no_heading(true).print(ui, objects)
        }
    }
}

/// Docker's names of fields that podman calls differently.
fn inspect_aliases(format: &str) -> String {
    format
        .replace(".Src", ".Source")
        .replace(".Dst", ".Destination")
        .replace(".ImageID", ".Image")
        .replace(".State.Healthcheck", ".State.Health")
        .replace(".HealthMaxLog", ".HealthcheckMaxLog")
}

/// Prints one object by a template (`info`, `version`).
///
/// # Errors
/// Fails on a template that is not valid or names an unknown field.
pub fn single(ui: &mut Ui, name: &str, object: &(impl Serialize + ?Sized), format: &str) -> Result<()> {
    single_value(ui, name, &Value::of(object), format)
}

/// The same for a value that was converted already.
///
/// # Errors
/// As [`single`].
pub fn single_value(ui: &mut Ui, name: &str, object: &Value, format: &str) -> Result<()> {
    let normalised = with_newline(unescape(format.strip_prefix("table ").unwrap_or(format)));
    let template = Template::parse_user(name, &normalised, format)?;
    let text = template.execute(object)?;
    ui.text(&text)
}

/// Prints JSON and a newline.
///
/// # Errors
/// Fails when stdout does.
pub fn print_json(ui: &mut Ui, data: &(impl Serialize + ?Sized), layout: Layout) -> Result<()> {
    ui.data(json::to_string(&Value::of(data), layout))
}

#[cfg(test)]
mod tests;
