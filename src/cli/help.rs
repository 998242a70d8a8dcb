//! `--help` in podman's form: `Usage:`, `Aliases:`, `Examples:`, `Available
//! Commands:`, `Options:`. Scripts and completion generators read it.

use std::fmt::Write as _;

use clap::{Arg, Command};

use super::error::{CommandError, Result};
use super::flags;
use super::tree::Node;
use super::ui::Ui;

/// Prints the help of a node to stdout.
///
/// # Errors
/// Fails when stdout does.
pub fn print(ui: &mut Ui, node: &Node) -> Result<()> {
    let text = render(*node, ui.program());
    ui.text(&text)
}

/// The error for a word that is no command, with what may have been meant.
#[must_use]
pub fn unrecognized(node: Node, word: &str, program: &str) -> CommandError {
    let path = node.path(program);
    let mut text = format!("unrecognized command `{path} {word}`\n");
    let similar: Vec<&str> = node
        .children()
        .into_iter()
        .filter(|child| !child.is_hidden())
        .map(Node::word)
        .filter(|known| is_similar(known, word))
        .collect();
    if !similar.is_empty() {
        let _ = write!(text, "\nDid you mean this?\n\t{}\n\n", similar.join("\n\t"));
    }
    let _ = write!(text, "Try '{path} --help' for more information");
    CommandError::new(text)
}

/// The help of a node.
#[must_use]
pub fn render(node: Node, program: &str) -> String {
    let mut command = node.build();
    let mut text = String::new();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(text, "{about}");
    if !matches!(node, Node::Root) {
        let long = command.get_long_about().map_or(about, ToString::to_string);
        let _ = write!(text, "\nDescription:\n  {}\n", long.trim_end().replace('\n', "\n  "));
    }
    let _ = writeln!(text, "\nUsage:\n  {}", usage(node, &mut command, program));
    let aliases = node.aliases();
    if !aliases.is_empty() {
        let _ = writeln!(text, "\nAliases:\n  {}, {}", node.word(), aliases.join(", "));
    }
    if let Some(examples) = command.get_after_help() {
        let _ = writeln!(text, "\nExamples:\n  {examples}");
    }
    let children: Vec<Node> = node.children().into_iter().filter(|child| !child.is_hidden()).collect();
    if !children.is_empty() {
        let width = children.iter().map(|child| child.word().len()).max().unwrap_or_default().max(11);
        text.push_str("\nAvailable Commands:\n");
        for child in children {
            let about = child.build().get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {:width$} {about}", child.word());
        }
    }
    let options = options(&command);
    if !options.is_empty() {
        let _ = write!(text, "\nOptions:\n{options}");
    }
    text
}

/// The line below `Usage:`.
fn usage(node: Node, command: &mut Command, program: &str) -> String {
    let path = node.path(program);
    match node {
        Node::Root => format!("{path} [options] [command]"),
        Node::Group(_) => format!("{path} [command]"),
        Node::Command { .. } => {
            let mut words = vec![path];
            if let Some(stated) = command.get_overridden_usage() {
                words.push(stated.to_string());
            } else {
                if visible(command).next().is_some() {
                    words.push("[options]".to_owned());
                }
                words.extend(command.get_positionals().map(argument));
            }
            words.join(" ")
        }
    }
}

fn argument(arg: &Arg) -> String {
    let name = arg
        .get_value_names()
        .and_then(|names| names.first())
        .map_or_else(|| arg.get_id().as_str().to_uppercase(), |name| name.to_uppercase());
    let many = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
    match (arg.is_required_set(), many) {
        (true, false) => name,
        (true, true) => format!("{name} [{name}...]"),
        (false, false) => format!("[{name}]"),
        (false, true) => format!("[{name}...]"),
    }
}

fn visible(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set())
}

/// The lines below `Options:`, aligned as pflag aligns them.
fn options(command: &Command) -> String {
    let mut args: Vec<&Arg> = visible(command).collect();
    args.sort_by_key(|arg| arg.get_long());
    let lines: Vec<(String, String)> = args
        .into_iter()
        .map(|arg| {
            let name = flags::display_name(arg);
            let mut left =
                if arg.get_short().is_some() { format!("  {name}") } else { format!("      {name}") };
            if arg.get_action().takes_values()
                && let Some(kind) = arg.get_value_names().and_then(|names| names.first())
            {
                let _ = write!(left, " {kind}");
            }
            (left, arg.get_help().map(ToString::to_string).unwrap_or_default())
        })
        .collect();
    let width = lines.iter().map(|(left, _)| left.len()).max().unwrap_or_default();
    lines.iter().fold(String::new(), |mut text, (left, help)| {
        let _ = writeln!(text, "{left:width$}   {help}");
        text
    })
}

/// cobra's rule: two edits apart, or the beginning of the name.
fn is_similar(known: &str, word: &str) -> bool {
    known.starts_with(&word.to_lowercase()) || edit_distance(known, word) <= 2
}

/// Levenshtein distance, without regard to case.
#[must_use]
pub fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &r) in right.iter().enumerate() {
            let cost = if l == r { diagonal } else { 1 + diagonal.min(row[j]).min(row[j + 1]) };
            diagonal = row[j + 1];
            row[j + 1] = cost;
        }
    }
    row[right.len()]
}
