//! The fields that `--format` templates can name, for completion.
//!
//! They are taken from a value as the command prints it: a command that has
//! `--format` offers one as `fields()` and is named here.

use super::words::Place;
use crate::cli::commands::{artifact, image, info, inspect, network, ps, search, system, version, volume};
use crate::cli::format::Value;
use crate::engine::Engine;

/// What the command prints by a template, by its first name.
fn row_of(place: &Place, engine: &Engine) -> Option<Value> {
    match place.node.canonical_path("").trim_start() {
        "container inspect" | "inspect" => {
            inspect::fields(engine, place.arguments.first().map(String::as_str))
        }
        "artifact ls" => Some(artifact::list::fields()),
        "history" => Some(image::history::fields()),
        "image inspect" => image::inspect::fields(engine),
        "images" => Some(image::list::fields()),
        "search" => Some(search::fields()),
        "info" => info::fields(engine),
        "network inspect" => network::inspect::fields(engine),
        "network ls" => network::list::fields(engine),
        "ps" => Some(ps::fields()),
        "system df" => Some(system::df::fields()),
        "version" => Some(version::fields()),
        "volume inspect" | "volume ls" => Some(volume::fields()),
        _ => None,
    }
}

/// The names below `.A.B.`, as they complete: `Name}}`, or `State.` where more follows.
pub(super) fn below(place: &Place, parents: &[&str], engine: &Engine) -> Vec<String> {
    let Some(mut value) = row_of(place, engine) else { return Vec::new() };
    for parent in parents {
        let Value::Struct(data) = &value else { return Vec::new() };
        let Some(inner) = data.field(parent) else { return Vec::new() };
        value = inner.clone();
    }
    let Value::Struct(data) = value else { return Vec::new() };
    data.fields
        .iter()
        .map(|(name, value)| {
            // Names in Go begin with a capital; templates find them in any case.
            let mut letters = name.chars();
            let first = letters.next().map(|c| c.to_ascii_uppercase()).unwrap_or_default();
            let end = if matches!(value, Value::Struct(_) | Value::Map(_)) { "." } else { "}}" };
            format!("{first}{}{end}", letters.as_str())
        })
        .collect()
}
