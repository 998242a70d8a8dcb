//! The fields that `--format` templates can name, for completion.
//!
//! They are taken from the value that a command prints: each command that has
//! `--format` names the type of its rows here.

use super::words::Place;
use crate::cli::format::Value;

/// What a command prints by a template.
struct Row {
    /// The command, such as `container inspect`.
    command: &'static str,
    /// An empty value.
    empty: fn() -> Value,
}

/// Add your command: `Row { command: "ps", empty: || Value::of(&ps::Row::default()) }`.
const ROWS: &[Row] = &[];

/// A row of the command, empty, for its fields.
fn row_of(place: &Place) -> Option<Value> {
    let path = place.node.path("");
    ROWS.iter().find(|row| row.command == path.trim_start()).map(|row| (row.empty)())
}

/// The names below `.A.B.`, as they complete: `Name}}`, or `State.` where more follows.
pub(super) fn below(place: &Place, parents: &[&str]) -> Vec<String> {
    let Some(mut value) = row_of(place) else { return Vec::new() };
    for parent in parents {
        let Value::Struct(data) = &value else { return Vec::new() };
        let Some(inner) = data.field(parent) else { return Vec::new() };
        value = inner.clone();
    }
    let Value::Struct(data) = value else { return Vec::new() };
    data.fields
        .iter()
        .map(|(name, value)| match value {
            Value::Struct(_) | Value::Map(_) => format!("{name}."),
            _ => format!("{name}}}}}"),
        })
        .collect()
}
