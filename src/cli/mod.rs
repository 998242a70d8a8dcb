//! The command line.
//!
//! # A command
//!
//! One file in `commands/`, for example `commands/port.rs`:
//!
//! ```text
//! //! `rbox port`.
//!
//! /// List port mappings for the container            <- one line: the list of commands
//! ///
//! /// Prints the published ports of CONTAINER, …      <- "Description:" of --help
//! #[derive(Debug, clap::Args)]
//! #[command(after_help = "rbox port web\n  rbox port web 80/tcp")]   <- "Examples:"
//! pub struct Args {
//!     /// Display port information for all containers
//!     #[arg(long, short)]
//!     all: bool,
//!     /// (arguments need no text)
//!     container: Option<String>,
//! }
//!
//! pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> { … }
//! ```
//!
//! and two lines in `commands/mod.rs`: `pub mod port;` and a row of the table,
//! `port: "port", "container port" => Caller;`. That is all: `--help`, man
//! page, completion and `help port` follow.
//!
//! - The first name is the canonical one. Aliases follow it after `|`:
//!   `"image list|ls"`. Where two names need different arguments, use a module
//!   inside the file: `inspect::container: "container inspect" => Caller;`.
//! - `=> User` enters the user's namespace before `exec`; see [`commands::Where`].
//! - Arguments are counted before `exec`, with podman's messages. `String` is a
//!   required one, `Option<String>` an optional one, `Vec<String>` any number,
//!   `#[arg(required = true)] Vec<String>` at least one. Where a flag such as
//!   `--all` may replace them, take `Vec<String>`, check in `exec`, and state the
//!   usage: `#[command(override_usage = "[options] CONTAINER [CONTAINER...]")]`.
//! - `#[arg(trailing_var_arg = true)] command: Vec<String>` as the last one ends
//!   the flags at the first argument, as `run IMAGE [COMMAND...]` needs it.
//! - A flag that takes a value shows `value_name = "string"` (podman's type
//!   names: string, stringArray, int, uint) in `--help`. Flags are read as Go
//!   reads them (see [`flags`]): `--rm=false`, `-it`, the last one counts.
//!   A boolean whose default is true:
//!   `#[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true",
//!   action = clap::ArgAction::Set, value_parser = values::go_bool)]`.
//! - Errors: `?` on your module's error after one line in `error.rs`
//!   (`library_errors!`); [`error::CommandError::new`] for the command's own;
//!   `.with_status(ExitStatus::NO)` for another code than 125, and
//!   `.with_status_of(ExitStatus::of_removal)` for the codes of `rm` and `rmi`.
//! - Output only by [`ui::Ui`]: `ui.data(line)?` for stdout, `ui.status`, `ui.warn`.

pub mod apart;
pub mod args;
pub mod commands;
pub mod compat;
pub mod complete;
pub mod confirm;
pub mod ensure;
pub mod error;
pub mod exit;
pub mod flags;
pub mod format;
pub mod globals;
pub mod help;
pub mod hints;
pub mod invocation;
pub mod manual;
pub mod progress;
pub mod sanitize;
pub mod secrets;
pub mod session;
pub mod tree;
pub mod ui;
pub mod units;
pub mod values;

use std::ffi::OsString;
use std::process::ExitCode;

pub use error::CommandError;
pub use exit::ExitStatus;
pub use ui::{Level, Ui};

use crate::engine::Engine;
use crate::userns;
use invocation::Invocation;

/// Runs the command line of this process and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    secrets::hide_own(&words);
    let program = if words.is_empty() { OsString::new() } else { words.remove(0) };
    if let Some(words) = commands::oci::words(&program, &words) {
        return commands::oci::main(words);
    }
    let mut ui = Ui::new(invocation::program_name(&program));
    let result = run(&mut ui, &words).and_then(|status| ui.flush().map(|()| status));
    let status = result.unwrap_or_else(|error| {
        ui.error(&error);
        error.status()
    });
    status.into()
}

fn run(ui: &mut Ui, words: &[OsString]) -> error::Result<ExitStatus> {
    match invocation::resolve(ui, words)? {
        Invocation::Help(path) => help::print(ui, &path).map(|()| ExitStatus::SUCCESS),
        Invocation::Version => {
            let line = format!("{} version {}", ui.program(), env!("CARGO_PKG_VERSION"));
            ui.data(line).map(|()| ExitStatus::SUCCESS)
        }
        Invocation::Complete(words, describe) => {
            complete::answer(ui, &words, describe).map(|()| ExitStatus::SUCCESS)
        }
        Invocation::Command { spec, mut matches, globals } => {
            globals.apply(ui)?;
            log_start(ui, words);
            let engine = Engine::new(globals.into_options());
            let result = enter(ui, &engine, spec.place).and_then(|()| (spec.exec)(ui, &engine, &mut matches));
            ui.log(Level::Debug, "Shutting down engines");
            result
        }
    }
}

fn log_start(ui: &mut Ui, words: &[OsString]) {
    if !ui.shows(Level::Info) {
        return;
    }
    let program = ui.program().to_owned();
    ui.log(Level::Info, format_args!("{program} filtering at log level {}", ui.level().name()));
    let words = secrets::hide(words.iter().map(|word| word.to_string_lossy().into_owned()));
    ui.log(Level::Debug, format_args!("Called {program} {}", words.join(" ")));
    ui.log(Level::Trace, format_args!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")));
}

fn enter(ui: &mut Ui, engine: &Engine, place: commands::Where) -> error::Result<()> {
    match place {
        commands::Where::User => enter_user_namespace(ui, engine),
        commands::Where::Caller => Ok(()),
    }
}

/// Moves this process into the user's namespace, and says so once if it has a single id only.
///
/// # Errors
/// Fails when the kernel or the helpers refuse.
pub fn enter_user_namespace(ui: &mut Ui, engine: &Engine) -> error::Result<()> {
    let maps = engine.user_maps();
    userns::enter(engine.paths()?, maps, engine.env().linger()?)?;
    if let userns::MapKind::Single { why } = &maps.kind {
        let fix = why.fix().map_or_else(String::new, |fix| format!("; to get a range of ids: {fix}"));
        ui.warn(format_args!(
            "only one user id is available: {why}, so files of all owners become yours{fix} (`rbox doctor subids` says more)"
        ));
    }
    Ok(())
}
