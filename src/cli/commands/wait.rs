//! `rbox wait`.

use std::time::Duration;

use crate::cli::args::containers::{Named, report_earlier};
use crate::cli::error::CommandError;
use crate::cli::exit::ExitStatus;
use crate::cli::session;
use crate::cli::ui::Ui;
use crate::cli::units::parse_duration;
use crate::container::Status;
use crate::container::wait::Condition;
use crate::engine::Engine;

/// Block on one or more containers
///
/// Block until one or more containers stop and then print their exit codes.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [CONTAINER...]",
    after_help = "rbox wait --interval 5s ctrID\n  rbox wait ctrID1 ctrID2"
)]
pub struct Args {
    /// Condition to wait on
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    condition: Vec<String>,
    /// Wait for exit of first container which matches conditions, ignore other ones
    #[arg(long)]
    exit_first_match: bool,
    /// Ignore if a container does not exist
    #[arg(long)]
    ignore: bool,
    /// Time Interval to wait before polling for completion
    #[arg(long, short, value_name = "string", default_value = "250ms")]
    interval: String,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    containers: Vec<String>,
}

/// Waits for containers.
///
/// # Errors
/// When a container does not exist.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
    let interval = interval(&args.interval)?;
    let wanted = args.condition.iter().map(|text| condition(text)).collect::<Result<Vec<_>, _>>()?;
    if !args.latest && args.containers.is_empty() {
        let text = format!("\"{} wait\" requires a name, id, or the \"--latest\" flag", ui.program());
        return Err(CommandError::new(text));
    }
    let named =
        Named { references: args.containers, latest: args.latest, ignore: args.ignore, ..Named::default() };
    named.check()?;
    let containers = engine.containers()?;
    let selected = named.find(&containers)?;
    if args.exit_first_match {
        let records: Vec<_> = selected.into_iter().filter_map(|selected| selected.record).collect();
        if !records.is_empty() {
            let default = [Condition::Status(Status::Exited)];
            let wanted = if wanted.is_empty() { &default[..] } else { &wanted };
            ui.data(containers.wait_for(&records, wanted, interval)?)?;
        }
        return Ok(ExitStatus::SUCCESS);
    }
    let mut last = None;
    for selected in selected {
        let Some(record) = selected.record else {
            ui.data(-1)?;
            continue;
        };
        let code = if wanted.is_empty() {
            containers.wait(&record)
        } else {
            containers.wait_for(std::slice::from_ref(&record), &wanted, interval)
        };
        session::clear_abandoned(ui, engine, &containers, &record);
        match code {
            Ok(code) => ui.data(code)?,
            Err(error) => report_earlier(ui, &mut last, error.into()),
        }
    }
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}

/// A Go duration; a bare number counts milliseconds.
fn interval(text: &str) -> Result<Duration, CommandError> {
    parse_duration(text)
        .or_else(|error| parse_duration(&format!("{text}ms")).map_err(|_| error))
        .map(|(_, duration)| duration)
        .map_err(|error| CommandError::new(error.to_string()))
}

fn condition(text: &str) -> Result<Condition, CommandError> {
    Ok(Condition::Status(match text {
        "configured" | "created" => Status::Created,
        "initialized" => Status::Initialized,
        "running" => Status::Running,
        "paused" => Status::Paused,
        "stopping" => Status::Stopping,
        "stopped" | "exited" => Status::Exited,
        "removing" => Status::Removing,
        "healthy" => return Ok(Condition::Health("healthy")),
        "unhealthy" => return Ok(Condition::Health("unhealthy")),
        _ => return Err(CommandError::new(format!("invalid status {text:?}"))),
    }))
}
