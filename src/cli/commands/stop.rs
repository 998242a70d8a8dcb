//! `rbox stop`.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::args::containers::{Named, for_each};
use crate::cli::error::CommandError;
use crate::cli::exit::ExitStatus;
use crate::cli::session;
use crate::cli::ui::Ui;
use crate::container::Record;
use crate::container::stop::{StopRequest, Stopped};
use crate::engine::Engine;

/// Stop one or more containers
///
/// Stops one or more running containers. The container name or ID can be used.
///
/// A timeout to forcibly stop the container can also be set but defaults to 10 seconds otherwise.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [CONTAINER...]",
    after_help = "rbox stop ctrID\n  rbox stop --time 2 mywebserver 6e534f14da9d"
)]
pub struct Args {
    /// Stop all running containers
    #[arg(long, short)]
    all: bool,
    /// Read the container ID from the file
    #[arg(long, value_name = "stringArray")]
    cidfile: Vec<PathBuf>,
    /// Filter output based on conditions given
    #[arg(long, short, value_name = "stringArray")]
    filter: Vec<String>,
    /// Ignore errors when a specified container is missing
    #[arg(long, short)]
    ignore: bool,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Seconds to wait for stop before killing the container
    #[arg(long, short, alias = "timeout", value_name = "int", allow_negative_numbers = true)]
    time: Option<i64>,
    containers: Vec<String>,
}

/// Stops containers.
///
/// # Errors
/// When a container does not exist or cannot be stopped.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
    let named = Named {
        references: args.containers,
        all: args.all,
        latest: args.latest,
        ignore: args.ignore,
        id_files: args.cidfile,
        filters: args.filter,
        ..Named::default()
    };
    named.check()?;
    let containers = engine.containers()?;
    let request = StopRequest { timeout: args.time.map(seconds), by_user: true, keep: false };
    let selected = named.find(&containers)?;
    // All of them first, so that they take their time side by side.
    let ask = |record: &Record| containers.ask_to_stop(record, request);
    let mut asked: VecDeque<_> = selected.iter().filter_map(|each| each.record.as_ref().map(ask)).collect();
    for_each(ui, selected, |ui, record| {
        let stopped = match asked.pop_front() {
            Some(asked) => asked.and_then(|asked| containers.finish_stop(record, asked)),
            None => containers.stop(record, request),
        };
        session::clear_abandoned(ui, engine, &containers, record);
        let stopped = stopped?;
        warn_if_killed(ui, &record.name, &stopped);
        Ok(!args.all || stopped != Stopped::Already)
    })
}

/// A number of seconds as podman reads it: below zero means for ever.
pub(super) fn seconds(number: i64) -> Duration {
    u64::try_from(number).map_or(Duration::from_secs(u32::MAX.into()), Duration::from_secs)
}

/// Says that a container had to be killed.
pub(super) fn warn_if_killed(ui: &mut Ui, name: &str, stopped: &Stopped) {
    if let Stopped::Killed { signal, after } = stopped {
        ui.warn(format_args!(
            "StopSignal {signal} failed to stop container {name} in {} seconds, resorting to SIGKILL",
            after.as_secs()
        ));
    }
}
