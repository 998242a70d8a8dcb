//! From words to the command that runs: which one, its arguments, the options
//! of the program.

use std::cell::LazyCell;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command, FromArgMatches as _};

use super::commands::Spec;
use super::complete;
use super::error::{CommandError, Result};
use super::flags::{self, FlagError, Globals, Until};
use super::globals::GlobalArgs;
use super::tree::{self, Node};
use super::ui::Ui;

/// What the words ask for.
#[derive(Debug)]
pub enum Invocation {
    /// The help of a node.
    Help(Node),
    /// `--version`.
    Version,
    /// `__complete`: the words so far, and whether suggestions are described.
    Complete(Vec<OsString>, bool),
    /// A command.
    Command {
        /// Its row.
        spec: &'static Spec,
        /// Its arguments.
        matches: ArgMatches,
        /// The options of the program.
        globals: Box<GlobalArgs>,
    },
}

/// The last part of `argv[0]`: what podman also calls itself by.
#[must_use]
pub fn program_name(argv0: &OsStr) -> String {
    let name = Path::new(argv0).file_name().map(OsStr::to_string_lossy).unwrap_or_default();
    if name.is_empty() || name == "exe" { "rbox".to_owned() } else { name.into_owned() }
}

/// Finds the command and reads all flags.
///
/// # Errors
/// Fails where podman's parser does, with its texts.
pub fn resolve(ui: &mut Ui, words: &[OsString]) -> Result<Invocation> {
    if let [word] = words
        && (word == "--version" || word == "-v")
    {
        return Ok(Invocation::Version);
    }
    if let [request, words @ ..] = words
        && (request == complete::REQUEST || request == complete::REQUEST_BARE)
    {
        return Ok(Invocation::Complete(words.to_vec(), request == complete::REQUEST));
    }
    let program = ui.program().to_owned();
    let global: Globals = LazyCell::new(tree::globals);
    let mut node = Node::Root;
    let mut global_words = Vec::new();
    let mut words = words.to_vec();
    loop {
        if let Node::Command { spec, .. } = node {
            return command(node, spec, &global, global_words, &words, &program);
        }
        let fail = |node: Node, error: FlagError| match error {
            FlagError::Help => Ok(Invocation::Help(node)),
            error => Err(CommandError::usage(error, &node.path(&program))),
        };
        let read = match flags::read(None, &global, &words, Until::FirstArgument) {
            Ok(read) => read,
            Err(error) => return fail(node, error),
        };
        global_words.extend(read.global);
        let Some((word, rest)) = read.arguments.split_first() else {
            super::help::print(ui, &node)?;
            return Err(CommandError::new(format!("missing command '{} COMMAND'", node.path(&program))));
        };
        match node.child(&word.to_string_lossy()) {
            Some(Node::Help) => return help_topic(&global, rest, &program),
            Some(child) => node = child,
            None => {
                // As cobra: flags are complained about before the name is.
                return match flags::read(None, &global, rest, Until::End) {
                    Err(error) => fail(node, error),
                    Ok(_) => Err(super::help::unrecognized(node, &word.to_string_lossy(), &program)),
                };
            }
        }
        words = rest.to_vec();
    }
}

/// `help [command]`; `help --help` is about itself.
fn help_topic(global: &Globals, words: &[OsString], program: &str) -> Result<Invocation> {
    let words = match flags::read(None, global, words, Until::End) {
        Ok(read) => read.arguments,
        Err(FlagError::Help) => return Ok(Invocation::Help(Node::Help)),
        Err(error) => return Err(CommandError::usage(error, &Node::Help.path(program))),
    };
    let mut node = Node::Root;
    for word in words {
        let word = word.to_string_lossy();
        node = node.child(&word).ok_or_else(|| CommandError::new(format!("unknown help topic `{word}`")))?;
    }
    Ok(Invocation::Help(node))
}

fn command(
    node: Node,
    spec: &'static Spec,
    global: &Globals,
    mut global_words: Vec<OsString>,
    words: &[OsString],
    program: &str,
) -> Result<Invocation> {
    let path = node.path(program);
    let mut local = node.build();
    let until = if local.get_positionals().any(clap::Arg::is_trailing_var_arg_set) {
        Until::FirstArgument
    } else {
        Until::End
    };
    let read = match flags::read(Some(&local), global, words, until) {
        Ok(read) => read,
        Err(FlagError::Help) => return Ok(Invocation::Help(node)),
        Err(error) => return Err(CommandError::usage(error, &path)),
    };
    global_words.extend(read.global);
    let globals = if global_words.is_empty() {
        GlobalArgs::none_given()
    } else {
        let matches = convert(&mut Command::clone(global), global_words, Vec::new(), &path)?;
        GlobalArgs::from_arg_matches(&matches).map_err(|error| CommandError::new(error.to_string()))?
    };
    count_arguments(&local, read.arguments.len(), &path)?;
    let matches = convert(&mut local, read.local, read.arguments, &path)?;
    Ok(Invocation::Command { spec, matches, globals: Box::new(globals) })
}

/// Lets clap convert and check values that are in its form already.
fn convert(
    command: &mut Command,
    flags: Vec<OsString>,
    arguments: Vec<OsString>,
    path: &str,
) -> Result<ArgMatches> {
    let words =
        std::iter::once(OsString::from(path)).chain(flags).chain([OsString::from("--")]).chain(arguments);
    command.try_get_matches_from_mut(words).map_err(|error| refused(command, &error, path))
}

/// clap's errors in podman's words.
fn refused(command: &Command, error: &clap::Error, path: &str) -> CommandError {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let id = text(ContextKind::InvalidArg);
    let long = id.trim_start_matches('-').split([' ', '=']).next().unwrap_or_default().to_owned();
    let named = command.get_arguments().find(|arg| arg.get_long() == Some(&long));
    let flag = named.map_or_else(|| id.clone(), flags::display_name);
    match error.kind() {
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let value = text(ContextKind::InvalidValue);
            let valid = text(ContextKind::ValidValue);
            let why = match std::error::Error::source(error) {
                Some(why) => why.to_string(),
                None if valid.is_empty() => "must not be empty".to_owned(),
                None => format!("choose from: {valid}"),
            };
            CommandError::usage(format_args!("invalid argument {value:?} for {flag:?} flag: {why}"), path)
        }
        ErrorKind::ArgumentConflict => {
            let other = text(ContextKind::PriorArg);
            let other = other.split([' ', '=']).next().unwrap_or_default().to_owned();
            CommandError::new(format!("--{long} and {other} cannot be set together"))
        }
        ErrorKind::MissingRequiredArgument => CommandError::new(format!("required flag(s) {id} not set")),
        _ => CommandError::usage(error.to_string().trim_start_matches("error: ").trim_end(), path),
    }
}

/// How many arguments a command takes: at least, at most.
#[must_use]
pub fn argument_range(command: &Command) -> (usize, usize) {
    command.get_positionals().fold((0, 0), |(least, most), arg| {
        let range = arg.get_num_args().unwrap_or_else(|| 1.into());
        let needed = if arg.is_required_set() { range.min_values().max(1) } else { 0 };
        (least + needed, range.max_values().saturating_add(most))
    })
}

/// Checks the number of arguments, in cobra's words.
fn count_arguments(command: &Command, given: usize, path: &str) -> Result<()> {
    let (least, most) = argument_range(command);
    if (least..=most).contains(&given) {
        return Ok(());
    }
    Err(CommandError::new(match (least, most) {
        (_, 0) => format!("`{path}` takes no arguments"),
        _ if least == most => format!("accepts {least} arg(s), received {given}"),
        (_, usize::MAX) => format!("requires at least {least} arg(s), only received {given}"),
        (0, _) => format!("accepts at most {most} arg(s), received {given}"),
        _ => format!("accepts between {least} and {most} arg(s), received {given}"),
    }))
}
