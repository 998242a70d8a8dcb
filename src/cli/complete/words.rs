//! Reads the words before the one to complete: which command they lead to, what was
//! given, and what comes next. Unlike the parser it forgives: half a command line is
//! not valid yet.

use std::collections::HashSet;
use std::ffi::OsString;

use clap::{Arg, Command};

use crate::cli::flags;
use crate::cli::tree::{self, Node};
use crate::engine::Options;

/// Where the word to complete stands.
#[derive(Debug)]
pub(super) struct Place {
    /// The command so far.
    pub(super) node: Node,
    /// Its arguments so far.
    pub(super) arguments: Vec<String>,
    /// The ids of its flags so far.
    pub(super) given: HashSet<String>,
    /// What comes next.
    pub(super) position: Position,
    global_words: Vec<OsString>,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Position {
    /// A command, an argument, or a flag.
    Word {
        /// Whether flags are still read.
        flags_allowed: bool,
    },
    /// The value of a flag.
    Value(Box<Arg>),
    /// Nothing sensible: an unknown command stands before.
    Lost,
}

impl Place {
    /// The options of the program that were given.
    pub(super) fn options(&self) -> Options {
        super::global_options(&self.global_words)
    }

    /// The flag that is written so, such as `--name`.
    pub(super) fn find_flag(&self, written: &str) -> Option<Arg> {
        let local = self.node.build();
        let global = tree::globals();
        let found = match written.strip_prefix("--") {
            Some(long) => find(&local, &global, |arg| flags::has_long(arg, long)),
            None => {
                let letter = written.chars().nth(1)?;
                find(&local, &global, |arg| flags::has_short(arg, letter))
            }
        };
        found.map(|(arg, _)| arg.clone())
    }
}

fn find<'a>(
    local: &'a Command,
    global: &'a Command,
    matches: impl Fn(&Arg) -> bool,
) -> Option<(&'a Arg, bool)> {
    let named =
        |command: &'a Command| command.get_arguments().find(|arg| !arg.is_positional() && matches(arg));
    named(local).map(|arg| (arg, false)).or_else(|| named(global).map(|arg| (arg, true)))
}

/// Reads the words.
pub(super) fn read(words: &[String]) -> Place {
    let mut place = Place {
        node: Node::Root,
        arguments: Vec::new(),
        given: HashSet::new(),
        position: Position::Word { flags_allowed: true },
        global_words: Vec::new(),
    };
    let global = tree::globals();
    let mut local = global.clone();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let flags_allowed = matches!(place.position, Position::Word { flags_allowed: true });
        if flags_allowed && word == "--" {
            place.position = Position::Word { flags_allowed: false };
        } else if flags_allowed && word.len() > 1 && word.starts_with('-') {
            let Some((arg, is_global, value)) = flag(&local, &global, word) else { continue };
            place.given.insert(arg.get_id().to_string());
            let value = match value {
                Some(value) => Some(value),
                None if flags::value_is_optional(arg) => None,
                None => match words.next() {
                    Some(value) => Some(value.clone()),
                    None => {
                        place.position = Position::Value(Box::new(arg.clone()));
                        return place;
                    }
                },
            };
            if let (true, Some(long)) = (is_global, arg.get_long()) {
                let value = value.map_or_else(String::new, |value| format!("={value}"));
                place.global_words.push(format!("--{long}{value}").into());
            }
        } else if matches!(place.node, Node::Command { .. }) {
            place.arguments.push(word.clone());
            if local.get_positionals().any(Arg::is_trailing_var_arg_set) {
                place.position = Position::Word { flags_allowed: false };
            }
        } else {
            let from = if matches!(place.node, Node::Help) { Node::Root } else { place.node };
            let Some(child) = from.child(word) else {
                place.position = Position::Lost;
                return place;
            };
            place.node = child;
            local = child.build();
        }
    }
    place
}

/// The last flag of a word, whether it is the program's, and its value if that is in the word.
fn flag<'a>(local: &'a Command, global: &'a Command, word: &str) -> Option<(&'a Arg, bool, Option<String>)> {
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) =
            long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value.to_owned())));
        let (arg, is_global) = find(local, global, |arg| flags::has_long(arg, name))?;
        return Some((arg, is_global, value));
    }
    let mut cluster = word.strip_prefix('-')?;
    loop {
        let letter = cluster.chars().next()?;
        let rest = &cluster[letter.len_utf8()..];
        let (arg, is_global) = find(local, global, |arg| flags::has_short(arg, letter))?;
        if rest.is_empty() {
            return Some((arg, is_global, None));
        }
        if !flags::value_is_optional(arg) {
            let value = rest.strip_prefix('=').unwrap_or(rest);
            return Some((arg, is_global, Some(value.to_owned())));
        }
        cluster = rest;
    }
}
