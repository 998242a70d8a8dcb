//! `rbox kill`.

use std::collections::VecDeque;
use std::path::PathBuf;

use crate::cli::args::containers::{Named, for_each};
use crate::cli::error::CommandError;
use crate::cli::exit::ExitStatus;
use crate::cli::session;
use crate::cli::ui::Ui;
use crate::container::{Error, Record};
use crate::engine::Engine;
use crate::kernel::signal;

/// Kill one or more running containers with a specific signal
///
/// The main process inside each container specified will be sent SIGKILL, or any signal specified with option --signal.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [CONTAINER...]",
    after_help = "rbox kill mywebserver\n  rbox kill 860a4b23\n  rbox kill --signal TERM ctrID"
)]
pub struct Args {
    /// Signal all running containers
    #[arg(long, short)]
    all: bool,
    /// Read the container ID from the file
    #[arg(long, value_name = "stringArray")]
    cidfile: Vec<PathBuf>,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Signal to send to the container
    #[arg(long, short, value_name = "string", default_value = "KILL", allow_hyphen_values = true)]
    signal: String,
    containers: Vec<String>,
}

/// Sends a signal to containers.
///
/// # Errors
/// When the signal is none, or a container does not run.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
    let number = parse_signal(&args.signal)?;
    let named = Named {
        references: args.containers,
        all: args.all,
        latest: args.latest,
        id_files: args.cidfile,
        ..Named::default()
    };
    named.check()?;
    let containers = engine.containers()?;
    let selected = named.find(&containers)?;
    // All of them first, so that they end side by side.
    let send = |record: &Record| containers.kill(record, number);
    let mut sent: VecDeque<_> = selected.iter().filter_map(|each| each.record.as_ref().map(send)).collect();
    for_each(ui, selected, |ui, record| {
        let sent = sent.pop_front().unwrap_or_else(|| send(record));
        let ended = match sent {
            Err(Error::WrongState { .. }) if args.all => Ok(false),
            result => containers.await_kill(record, result?).map(|()| true),
        };
        session::clear_abandoned(ui, engine, &containers, record);
        ended
    })
}

/// Reads a signal in podman's forms, with its messages.
///
/// # Errors
/// When there is no such signal.
pub fn parse_signal(text: &str) -> Result<i32, CommandError> {
    let text = text.strip_prefix('-').unwrap_or(text);
    match (signal::parse(text), text.parse::<i64>()) {
        (Some(number), _) => Ok(number),
        (None, Ok(number)) if number != 0 => Err(CommandError::new("valid signals are 1 through 64")),
        (None, _) => Err(CommandError::new(format!("invalid signal: {text}"))),
    }
}
