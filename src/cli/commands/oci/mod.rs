//! `rbox oci`: the command line of runc and crun, so that other engines (by
//! conmon, containerd's shim) and test suites can drive rbox as their runtime.
//!
//! It has a parser of its own: `--root`, `--log` and `--debug` mean other things
//! here than for rbox, and its exit code is 1 for every failure of its own (255 for those of `exec`, as runc and crun
//! have it: another code is that of the program).
//! Options stand before or after the id. Called as `rbox-oci`, the word `oci`
//! is left out, for engines that take only the path of a runtime.

mod bundle;
mod create;
mod exec;
mod info;
mod inspect;
mod lifecycle;
mod log;
mod relay;
mod update;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::config::{Env, PathOptions, Paths};
use crate::runtime::instance::Instances;

/// Run containers from OCI bundles
#[derive(Debug, Parser)]
#[command(
    name = "rbox oci",
    disable_help_subcommand = true,
    arg_required_else_help = true,
    args_override_self = true
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The options before the command.
#[derive(Debug, clap::Args)]
struct Globals {
    /// Directory of the containers' state
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// File to write errors to, besides stderr
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Form of the lines in that file
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
    /// Which messages are written: errors are always
    #[arg(long, value_name = "LEVEL", hide = true)]
    log_level: Option<String>,
    /// Write debug messages, of which there are none
    #[arg(long, hide = true)]
    debug: bool,
    /// Make cgroups by asking systemd
    #[arg(long)]
    systemd_cgroup: bool,
    /// Who makes cgroups: cgroupfs, systemd or disabled
    #[arg(long, value_name = "MANAGER", value_parser = ["cgroupfs", "disabled", "systemd"])]
    cgroup_manager: Option<String>,
    /// Ignored: rbox is always ready to run without root
    #[arg(long, value_name = "BOOL", hide = true)]
    rootless: Option<String>,
    /// Show the version
    #[arg(long, short)]
    version: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a container, and leave its program waiting for `start`
    Create(create::CreateArgs),
    /// Start the program of a created container
    Start(lifecycle::IdArgs),
    /// Create a container, run its program, and delete the container
    Run(create::RunArgs),
    /// Run a further program in a running container
    Exec(exec::ExecArgs),
    /// Send a signal to a container
    Kill(lifecycle::KillArgs),
    /// Delete a container
    Delete(lifecycle::DeleteArgs),
    /// Freeze a container
    Pause(lifecycle::IdArgs),
    /// Continue a frozen container
    Resume(lifecycle::IdArgs),
    /// Print the state of a container as JSON
    State(lifecycle::IdArgs),
    /// List containers
    List(inspect::ListArgs),
    /// List the processes of a container
    Ps(inspect::PsArgs),
    /// Change the limits of a container
    Update(update::UpdateArgs),
    /// Write a spec to start from
    Spec(info::SpecArgs),
    /// Print what this runtime can do as JSON
    Features(info::FeaturesArgs),
}

/// Who makes the cgroup of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cgroups {
    /// Nobody.
    None,
    /// rbox.
    Own,
    /// The user's service manager.
    Systemd,
}

/// The exit code of an `exec` that ran nothing.
const EXEC_FAILED: u8 = 255;

/// What every command works with.
struct Context {
    ui: Ui,
    instances: Option<Instances>,
    root: Option<PathBuf>,
}

impl Context {
    fn instances(&mut self) -> Result<Instances> {
        if self.instances.is_none() {
            let root = match &self.root {
                Some(root) => root.clone(),
                None => Paths::find(&Env::capture(), &PathOptions::default())?.run.join("oci"),
            };
            self.instances = Some(Instances::open(&root)?);
        }
        Ok(self.instances.clone().expect("opened above"))
    }
}

/// The words of this command line behind `oci`, if it is one.
#[must_use]
pub fn words(program: &OsStr, words: &[OsString]) -> Option<Vec<OsString>> {
    let name = std::path::Path::new(program).file_name().unwrap_or(program);
    if name == "rbox-oci" {
        return Some(words.to_vec());
    }
    match words.split_first() {
        Some((first, rest)) if first == "oci" => Some(rest.to_vec()),
        Some((first, [topic, rest @ ..])) if first == "help" && topic == "oci" => {
            Some(rest.iter().cloned().chain(["--help".into()]).collect())
        }
        _ => None,
    }
}

/// Runs the command line `words`.
#[must_use]
pub fn main(words: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(std::iter::once("rbox oci".into()).chain(words)) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let mut context =
        Context { ui: Ui::new("rbox".to_owned()), instances: None, root: cli.globals.root.clone() };
    let mut log = match log::open(&cli.globals) {
        Ok(log) => log,
        Err(error) => {
            context.ui.error(&error);
            return ExitCode::from(1);
        }
    };
    let result = run(&mut context, &cli).and_then(|status| context.ui.flush().map(|()| status));
    match result {
        Ok(status) => status.into(),
        Err(error) => {
            log::write(&cli.globals, log.as_mut(), &error);
            context.ui.error(&error);
            let of_exec = matches!(cli.command, Some(Command::Exec(_)));
            ExitCode::from(if of_exec { EXEC_FAILED } else { 1 })
        }
    }
}

fn run(context: &mut Context, cli: &Cli) -> Result<ExitStatus> {
    if cli.globals.version {
        return info::version(&mut context.ui).map(|()| ExitStatus::SUCCESS);
    }
    let cgroups = match cli.globals.cgroup_manager.as_deref() {
        Some("disabled") => Cgroups::None,
        Some("systemd") => Cgroups::Systemd,
        None if cli.globals.systemd_cgroup => Cgroups::Systemd,
        _ => Cgroups::Own,
    };
    let Some(command) = &cli.command else {
        return Err(CommandError::new("no command: see `rbox oci --help`"));
    };
    match command {
        Command::Create(args) => create::create(context, args, cgroups),
        Command::Run(args) => create::run(context, args, cgroups),
        Command::Exec(args) => exec::exec(context, args),
        Command::Start(args) => lifecycle::start(context, args),
        Command::Kill(args) => lifecycle::kill(context, args),
        Command::Delete(args) => lifecycle::delete(context, args),
        Command::Pause(args) => lifecycle::freeze(context, args, true),
        Command::Resume(args) => lifecycle::freeze(context, args, false),
        Command::State(args) => inspect::state(context, args),
        Command::List(args) => inspect::list(context, args),
        Command::Ps(args) => inspect::ps(context, args),
        Command::Update(args) => update::update(context, args),
        Command::Spec(args) => info::spec(args),
        Command::Features(args) => info::features(context, args),
    }
}
