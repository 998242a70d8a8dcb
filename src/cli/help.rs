//! `--help` in podman's form: `Usage:`, `Aliases:`, `Examples:`, `Available
//! Commands:`, `Options:`. Scripts and completion generators read it.

use std::any::TypeId;
use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use super::error::{CommandError, Result};
use super::flags;
use super::tree::Node;
use super::ui::Ui;
use crate::config::Config;
use crate::engine::{Engine, Options};

/// Prints the help of a node to stdout.
///
/// # Errors
/// Fails when stdout does.
pub fn print(ui: &mut Ui, node: &Node) -> Result<()> {
    let text = render(*node, ui.program());
    let engine = Engine::new(Options::default());
    // Help is printed also where containers.conf is wrong.
    let text = engine.config().map_or_else(|_| text.clone(), |config| with_retries(&text, config));
    ui.text(&text)
}

/// The text with what containers.conf says about retries.
fn with_retries(text: &str, config: &Config) -> String {
    let line = |line: &str| {
        let default = match line.split_whitespace().next() {
            Some("--retry") => format!(" (default {})", config.engine.retry),
            Some("--retry-delay") if !config.engine.retry_delay.is_empty() => {
                format!(" (default {:?})", config.engine.retry_delay)
            }
            _ => String::new(),
        };
        let line = if default.is_empty() { line } else { line.trim_end_matches(" (default 3)") };
        format!("{line}{default}\n")
    };
    text.lines().map(line).collect()
}

/// Commands of podman's that may be missing here, by their group: asking for one is no typing error.
const OF_PODMAN: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "auto-update",
            "build",
            "buildx",
            "compose",
            "farm",
            "generate",
            "kube",
            "machine",
            "play",
            "quadlet",
            "secret",
        ],
    ),
    ("image", &["build"]),
    ("network", &["connect", "disconnect", "prune", "reload", "update"]),
    ("pod", &["clone", "create", "inspect", "kill", "logs", "restart", "start", "stats", "stop", "top"]),
    ("connection", &["add", "default", "remove", "rename"]),
    ("system", &["dial-stdio", "service"]),
];

/// The error for a word that is no command, with what may have been meant.
#[must_use]
pub fn unrecognized(node: Node, word: &str, program: &str) -> CommandError {
    let path = node.path(program);
    if OF_PODMAN.iter().any(|(group, words)| *group == node.word() && words.contains(&word)) {
        return CommandError::new(format!("not supported yet: `{path} {word}`"));
    }
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
    let command = node.build();
    let mut text = String::new();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(text, "{about}");
    if !matches!(node, Node::Root) {
        let _ = writeln!(text, "\nDescription:");
        description(&mut text, &command, &about);
    }
    let _ = writeln!(text, "\nUsage:\n  {}", usage(node, &command, program));
    let aliases = node.aliases();
    if !aliases.is_empty() {
        let _ = writeln!(text, "\nAliases:\n  {}, {}", node.word(), aliases.join(", "));
    }
    if let Some(examples) = command.get_after_help() {
        let examples = examples.to_string();
        let _ = writeln!(text, "\nExamples:");
        for line in examples.lines() {
            let line = line.trim();
            // Examples are written with the program's own name.
            let line = line
                .strip_prefix("rbox ")
                .map_or_else(|| line.to_owned(), |rest| format!("{program} {rest}"));
            let _ = writeln!(text, "  {line}");
        }
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
    let options = options(node, &command);
    if !options.is_empty() {
        let _ = write!(text, "\nOptions:\n{options}");
    }
    if !matches!(node, Node::Root) {
        text.push('\n');
    }
    text
}

/// What stands below the first line of the doc comment, or that line.
fn description(text: &mut String, command: &Command, about: &str) {
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let rest = long.strip_prefix(about).unwrap_or(&long).trim_matches(['.', '\n', ' ']);
    for line in if rest.is_empty() { about } else { rest }.lines() {
        let _ = writeln!(text, "{}", format!("  {line}").trim_end());
    }
}

/// The line below `Usage:`.
#[must_use]
pub fn usage(node: Node, command: &Command, program: &str) -> String {
    let path = node.path(program);
    match node {
        Node::Root => format!("{path} [options] [command]"),
        Node::Group(_) | Node::Help => format!("{path} [command]"),
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

/// The flags that `--help` shows.
pub fn visible(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set())
}

/// The lines below `Options:`, aligned as pflag aligns them.
fn options(node: Node, command: &Command) -> String {
    let mut args: Vec<&Arg> = visible(command).collect();
    args.sort_by_key(|arg| arg.get_long());
    let mut lines: Vec<(String, String)> = args
        .into_iter()
        .map(|arg| {
            let name = flags::display_name(arg);
            let indent = if arg.get_short().is_some() { 2 } else { 6 };
            let mut left = format!("{:indent$}{name}", "");
            if arg.get_action().takes_values() {
                let _ = write!(left, " {}", value_kind(arg));
            }
            let mut text = option_text(arg);
            if node.word() == "push" {
                // Flags that pulls have too.
                text = text
                    .replace("performing pull", "performing push")
                    .replace("pull failures", "push failures");
            }
            (left.trim_end().to_owned(), text)
        })
        .collect();
    if matches!(node, Node::Root) {
        lines.push(("      --help".to_owned(), "Help for this program".to_owned()));
        lines.push(("  -v, --version".to_owned(), "Print the version".to_owned()));
        lines.sort_by_key(|(left, _)| left.split("--").nth(1).map(str::to_owned));
    }
    let width = lines.iter().map(|(left, _)| left.len()).max().unwrap_or_default();
    let gap = format!("\n{:1$}", "", width + 3);
    lines.iter().fold(String::new(), |mut text, (left, help)| {
        let _ = writeln!(text, "{}", format!("{left:width$}   {}", help.replace('\n', &gap)).trim_end());
        text
    })
}

fn option_text(arg: &Arg) -> String {
    let text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut text = match quoted(&text) {
        Some(name) if arg.get_action().takes_values() => text.replacen(&format!("`{name}`"), name, 1),
        _ => text.clone(),
    };
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if arg.get_action().takes_values() && defaults.iter().any(|value| !value.is_empty() && value != "false") {
        let quote = if value_kind(arg) == "string" { "\"" } else { "" };
        let _ = write!(text, " (default {quote}{}{quote})", defaults.join(","));
    }
    text
}

/// The first word of a text in back quotes: as in pflag, it names the value.
fn quoted(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('`')?;
    rest.split_once('`').map(|(name, _)| name)
}

/// What stands for the value in `--flag string`: the word quoted in the text, the stated name, or
/// podman's name of the type.
fn value_kind(arg: &Arg) -> String {
    let text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    if let Some(name) = quoted(&text) {
        return name.to_owned();
    }
    let stated = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    let is_derived = |name: &String| name == &arg.get_id().as_str().to_uppercase();
    match stated {
        Some(name) if !is_derived(&name) => name,
        _ if arg.get_num_args().is_some_and(|range| range.min_values() == 0) => String::new(),
        _ if matches!(arg.get_action(), ArgAction::Append) => "stringArray".to_owned(),
        _ => match arg.get_value_parser().type_id() {
            id if [TypeId::of::<i32>(), TypeId::of::<i64>()].into_iter().any(|known| id == known) => {
                "int".to_owned()
            }
            id if [TypeId::of::<u16>(), TypeId::of::<u32>(), TypeId::of::<u64>(), TypeId::of::<usize>()]
                .into_iter()
                .any(|known| id == known) =>
            {
                "uint".to_owned()
            }
            id if id == TypeId::of::<f64>() => "float".to_owned(),
            _ => "string".to_owned(),
        },
    }
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
