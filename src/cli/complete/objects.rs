//! Suggestions for arguments: containers, images and whatever else has a name.

use super::super::error::Result;
use super::words::Place;
use super::{Directive, Suggestions};
use crate::cli::tree::Node;
use crate::container::{Containers, Status};
use crate::engine::Engine;
use crate::events::Sink;
use crate::network::named::default_network;
use crate::store::Store;
use crate::volume::named::Volumes;

/// Letters after which ids are offered beside names.
const ID_LETTERS: usize = 2;

/// What an argument of this name in the usage line can be.
pub(super) fn named(place: &Place, name: &str, last: &str, engine: &Engine) -> Suggestions {
    let mut found: Option<Suggestions> = None;
    let mut add = |more: Suggestions| {
        found = Some(match found.take() {
            Some(known) => known.with(more),
            None => more,
        });
    };
    if name.contains("CONTAINER") {
        add(containers(place, last, engine));
    }
    if name.contains("IMAGE") {
        add(images(last, engine));
    }
    if name.contains("NETWORK") {
        add(networks(engine));
    }
    if name.contains("VOLUME") {
        add(volumes(engine));
    }
    if let Some(words) = choices(name) {
        add(Suggestions::words(words));
    }
    match found {
        Some(found) => found,
        None if ["PATH", "CONTEXT", "FILE", "COMMAND", "ARG", "URI", "DIR"]
            .iter()
            .any(|word| name.contains(word)) =>
        {
            Suggestions::files()
        }
        None => Suggestions::none(),
    }
}

/// `{bash|zsh}` in a usage line.
fn choices(name: &str) -> Option<Vec<&str>> {
    let inner = name.strip_prefix('{')?.strip_suffix('}')?;
    inner.chars().all(|c| c.is_lowercase() || c == '|').then(|| inner.split('|').collect())
}

/// Containers that the command can do something with.
pub(super) fn containers(place: &Place, last: &str, engine: &Engine) -> Suggestions {
    let wanted: fn(Status) -> bool = match place.node {
        Node::Command { .. } => match place.node.word() {
            "attach" | "exec" | "kill" | "stop" | "pause" | "top" | "stats" => {
                |status| status == Status::Running
            }
            "unpause" => |status| status == Status::Paused,
            "init" => |status| status == Status::Created,
            "start" => |status| matches!(status, Status::Created | Status::Exited | Status::Stopped),
            _ => |_| true,
        },
        _ => |_| true,
    };
    let suffix = if place.node.word() == "cp" { ":" } else { "" };
    let mut suggestions = Suggestions::described(all_containers(last, wanted, engine).unwrap_or_default());
    if !suffix.is_empty() {
        for (word, _) in &mut suggestions.items {
            word.push_str(suffix);
        }
        suggestions.directive = Directive::NO_SPACE;
    }
    suggestions
}

fn all_containers(last: &str, wanted: fn(Status) -> bool, engine: &Engine) -> Option<Vec<(String, String)>> {
    let paths = engine.paths().ok()?;
    let containers = Containers { data: paths.data.clone(), run: paths.run.clone(), events: Sink::default() };
    let mut found = Vec::new();
    for id in containers.ids().ok()? {
        let Ok(Some(record)) = containers.record(&id) else { continue };
        if !containers.state(&id).is_ok_and(|state| wanted(state.status)) {
            continue;
        }
        if last.len() >= ID_LETTERS {
            found.push((id.short().to_owned(), record.name.clone()));
        }
        found.push((record.name, record.root.image_given));
    }
    found.sort();
    Some(found)
}

/// Networks by name.
pub(super) fn networks(engine: &Engine) -> Suggestions {
    Suggestions::words(engine.config().ok().map(|config| default_network(config).name))
}

/// Volumes by name.
pub(super) fn volumes(engine: &Engine) -> Suggestions {
    let all = engine.paths().ok().and_then(|paths| Volumes::new(&paths.data).list().ok());
    Suggestions::words(all.into_iter().flatten().map(|volume| volume.name))
}

/// Images by the names that fit.
pub(super) fn images(last: &str, engine: &Engine) -> Suggestions {
    Suggestions::words(all_images(last, engine).unwrap_or_default())
}

fn all_images(last: &str, engine: &Engine) -> Result<Vec<String>> {
    let store = Store::open(engine.paths()?)?;
    let mut found = Vec::new();
    for tag in store.tags()? {
        if last.is_empty() {
            found.push(tag.name);
            continue;
        }
        // `docker.io/library/alpine:latest` is also `library/alpine:latest` and `alpine:latest`.
        let begins = std::iter::once(0).chain(tag.name.match_indices('/').map(|(at, _)| at + 1));
        found.extend(begins.map(|at| tag.name[at..].to_owned()));
    }
    if last.len() >= ID_LETTERS {
        found.extend(store.images()?.iter().map(|image| image.id.short().to_owned()));
    }
    found.sort();
    found.dedup();
    Ok(found)
}
