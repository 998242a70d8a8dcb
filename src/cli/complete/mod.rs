//! Shell completion: `rbox __complete WORDS… LAST` prints what may stand for LAST.
//!
//! The protocol is cobra's, which podman's completion scripts speak, so scripts
//! written for one work with the other: one suggestion a line with its description
//! after a tab, then `:N` with the sum of the [`Directive`]s, and the same in words
//! on stderr. `__completeNoDesc` leaves the descriptions out.
//!
//! What may stand somewhere follows from the definitions of the commands: flags
//! from their names, their values from [`values`], arguments from the names that
//! the usage line gives them (`CONTAINER`, `IMAGE`, `FILE`).

mod fields;
mod objects;
mod paths;
mod scripts;
mod values;
mod words;

use std::ffi::OsString;

pub use scripts::{Shell, script};

use super::error::Result;
use super::help;
use super::tree::{self, Node};
use super::ui::Ui;
use crate::engine::Engine;
use words::{Place, Position};

/// The word that asks for suggestions with descriptions.
pub const REQUEST: &str = "__complete";
/// The word that asks for suggestions only.
pub const REQUEST_BARE: &str = "__completeNoDesc";

/// What the shell does beyond offering the suggestions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Directive(u8);

impl Directive {
    /// Offer files if there are no suggestions.
    const DEFAULT: Self = Self(0);
    /// Add no space after the word.
    const NO_SPACE: Self = Self(2);
    /// Never offer files.
    const NO_FILES: Self = Self(4);
    /// Offer directories only.
    const DIRECTORIES: Self = Self(16);

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn names(self) -> String {
        let known = [(2, "NoSpace"), (4, "NoFileComp"), (16, "FilterDirs")];
        let names: Vec<String> = known
            .iter()
            .filter(|(bit, _)| self.0 & bit != 0)
            .map(|(_, name)| format!("ShellCompDirective{name}"))
            .collect();
        if names.is_empty() { "ShellCompDirectiveDefault".to_owned() } else { names.join(", ") }
    }
}

/// What may stand for a word.
#[derive(Debug)]
pub(super) struct Suggestions {
    /// Words and their descriptions.
    items: Vec<(String, String)>,
    directive: Directive,
}

impl Suggestions {
    /// Nothing, not even files.
    fn none() -> Self {
        Self { items: Vec::new(), directive: Directive::NO_FILES }
    }

    /// Whatever the shell offers by itself.
    fn files() -> Self {
        Self { items: Vec::new(), directive: Directive::DEFAULT }
    }

    fn directories() -> Self {
        Self { items: Vec::new(), directive: Directive::DIRECTORIES }
    }

    /// These words, of which those that fit are offered.
    fn words(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let items = words.into_iter().map(|word| (word.into(), String::new())).collect();
        Self { items, directive: Directive::NO_FILES }
    }

    fn described(items: Vec<(String, String)>) -> Self {
        Self { items, directive: Directive::NO_FILES }
    }

    fn no_space(self) -> Self {
        Self { directive: self.directive.and(Directive::NO_SPACE), ..self }
    }

    /// Adds those of `other`.
    fn with(mut self, other: Self) -> Self {
        self.items.extend(other.items);
        self
    }
}

/// Answers a request.
///
/// # Errors
/// Fails when stdout does; what cannot be found out is not suggested.
pub fn answer(ui: &mut Ui, words: &[OsString], describe: bool) -> Result<()> {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (last, before) =
        words.split_last().map_or(("", &[] as &[String]), |(last, before)| (last.as_str(), before));
    let place = words::read(before);
    let engine = Engine::new(place.options());
    let (suggestions, prefix) = suggest(&place, last, &engine);
    for (word, description) in suggestions.items.iter().filter(|(word, _)| word.starts_with(prefix)) {
        let description = description.lines().next().unwrap_or_default();
        if describe && !description.is_empty() {
            ui.data(format_args!("{word}\t{description}"))?;
        } else {
            ui.data(word)?;
        }
    }
    ui.data(format_args!(":{}", suggestions.directive.0))?;
    ui.flush()?;
    ui.status(format_args!("Completion ended with directive: {}", suggestions.directive.names()));
    Ok(())
}

/// The suggestions, and what they must begin with.
fn suggest<'a>(place: &Place, last: &'a str, engine: &Engine) -> (Suggestions, &'a str) {
    match &place.position {
        Position::Value(arg) => (values::of(place, arg, last, engine), last),
        Position::Lost => (Suggestions::none(), last),
        Position::Word { flags_allowed } => {
            if *flags_allowed && last.starts_with('-') {
                return match last.split_once('=') {
                    Some((flag, value)) => match place.find_flag(flag) {
                        Some(arg) => (values::of(place, &arg, value, engine), value),
                        None => (Suggestions::none(), value),
                    },
                    None => (flags(place, last), last),
                };
            }
            match place.node {
                Node::Command { .. } => (argument(place, last, engine), last),
                node => (commands(node), last),
            }
        }
    }
}

fn commands(node: Node) -> Suggestions {
    let node = if matches!(node, Node::Help) { Node::Root } else { node };
    let children = node.children().into_iter().filter(|child| !child.is_hidden());
    let described = children.map(|child| {
        (child.word().to_owned(), child.build().get_about().map(ToString::to_string).unwrap_or_default())
    });
    Suggestions::described(described.collect())
}

fn flags(place: &Place, last: &str) -> Suggestions {
    let command = place.node.build();
    let mut items = Vec::new();
    for arg in help::visible(&command) {
        let is_repeatable = matches!(arg.get_action(), clap::ArgAction::Append | clap::ArgAction::Count);
        if place.given.contains(arg.get_id().as_str()) && !is_repeatable {
            continue;
        }
        let text = arg.get_help().map(ToString::to_string).unwrap_or_default();
        if let Some(long) = arg.get_long() {
            items.push((format!("--{long}"), text.clone()));
        }
        if let Some(short) = arg.get_short()
            && !last.starts_with("--")
        {
            items.push((format!("-{short}"), text));
        }
    }
    if matches!(place.node, Node::Root) {
        items.push(("--version".to_owned(), "Print the version".to_owned()));
    }
    items.push(("--help".to_owned(), String::new()));
    items.sort();
    Suggestions::described(items)
}

/// The argument whose turn it is, by its name in the usage line.
fn argument(place: &Place, last: &str, engine: &Engine) -> Suggestions {
    match (place.node.word(), place.arguments.as_slice()) {
        ("run" | "create", [image, ..]) if !place.given.contains("rootfs") => {
            return paths::in_image(image, last, engine);
        }
        ("cp", _) if last.contains(':') => return paths::in_container(last, engine),
        _ => {}
    }
    let path = place.node.path("");
    let usage = help::usage(place.node, &place.node.build(), "");
    let names: Vec<&str> = usage
        .strip_prefix(&path)
        .unwrap_or(&usage)
        .split_whitespace()
        .filter(|word| *word != "[options]")
        .collect();
    let repeats = names.last().is_some_and(|last| last.contains("..."));
    let named: Vec<&str> = names.into_iter().filter(|name| *name != "[...]").collect();
    let name = match (named.get(place.arguments.len()), named.last()) {
        (Some(name), _) => *name,
        (None, Some(last)) if repeats => *last,
        _ => return Suggestions::none(),
    };
    objects::named(place, name, last, engine)
}

/// The options that are the program's.
fn global_options(words: &[OsString]) -> crate::engine::Options {
    use clap::FromArgMatches as _;
    let words = std::iter::once(OsString::from("")).chain(words.iter().cloned());
    let matches = tree::globals().try_get_matches_from_mut(words);
    matches
        .ok()
        .and_then(|matches| super::globals::GlobalArgs::from_arg_matches(&matches).ok())
        .map(super::globals::GlobalArgs::into_options)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
