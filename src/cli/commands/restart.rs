//! `rbox restart`.

use std::path::PathBuf;

use super::stop::{seconds, warn_if_killed};
use crate::cli::args::containers::{Named, report_earlier};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::container::filter::Filters;
use crate::container::list::Selected;
use crate::container::stop::StopRequest;
use crate::container::{Error, Status};
use crate::engine::Engine;

/// Restart one or more containers
///
/// Restarts one or more running containers. The container ID or name can be used.
///
/// A timeout before forcibly stopping can be set, but defaults to 10 seconds.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [CONTAINER...]",
    after_help = "rbox restart ctrID\n  rbox restart ctrID1 ctrID2"
)]
pub struct Args {
    /// Restart all non-running containers
    #[arg(long, short)]
    all: bool,
    /// Read the container ID from the file
    #[arg(long, value_name = "stringArray")]
    cidfile: Vec<PathBuf>,
    /// Filter output based on conditions given
    #[arg(long, short, value_name = "stringArray")]
    filter: Vec<String>,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Restart only running containers
    #[arg(long)]
    running: bool,
    /// Seconds to wait for stop before killing the container
    #[arg(long, short, alias = "timeout", value_name = "int", allow_negative_numbers = true)]
    time: Option<i64>,
    containers: Vec<String>,
}

/// Stops containers as far as they run, and starts them.
///
/// # Errors
/// When one does not exist, cannot be stopped or not be started.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let containers = engine.containers()?;
    let named = Named {
        references: args.containers,
        all: args.all || args.running,
        latest: args.latest,
        id_files: args.cidfile,
        filters: args.filter,
        ..Named::default()
    };
    named.check()?;
    let selected = if args.running {
        let running = containers.list(&Filters::default())?.into_iter();
        running
            .filter(|listed| listed.state.status == Status::Running)
            .map(|listed| Selected { given: listed.record.id.to_string(), record: Some(listed.record) })
            .collect()
    } else {
        named.find(&containers)?
    };
    let timeout = args.time.map(seconds);
    let mut last = None;
    for Selected { given, record } in selected {
        let Some(record) = record else { continue };
        let result = match containers.stop(&record, StopRequest { timeout, by_user: true, keep: true }) {
            Ok(stopped) => {
                warn_if_killed(ui, &record.name, &stopped);
                Ok(())
            }
            // It has ended, and gets a new one now: nobody has asked for its exit code.
            Err(Error::MonitorGone { .. }) => Ok(()),
            Err(error) => Err(CommandError::from(error)),
        };
        let result = result.and_then(|()| {
            containers.tell(&record, "restart");
            super::start::start(ui, engine, &containers, &record)
        });
        match result {
            Ok(_) => ui.data(given)?,
            Err(error) => report_earlier(ui, &mut last, error),
        }
    }
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}
