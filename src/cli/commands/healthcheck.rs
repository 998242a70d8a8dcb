//! `rbox healthcheck run`.

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::cli::units::format_duration;
use crate::container::health::Verdict;
use crate::engine::Engine;

/// Run the health check of a container
///
/// Run the health check of a container
#[derive(Debug, clap::Args)]
#[command(override_usage = "[options] CONTAINER", after_help = "rbox healthcheck run mywebapp")]
pub struct Args {
    /// Exit with code 0 whatever the check comes to
    #[arg(long)]
    ignore_result: bool,
    container: String,
}

/// Runs the check; exits with 0 if it passed, 1 if not.
///
/// # Errors
/// When the container does not run, has no check, or the check takes too long.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let containers = engine.containers()?;
    let record = containers.lookup(args.container.strip_prefix('/').unwrap_or(&args.container))?;
    let word = match containers.check_health(&record)? {
        Verdict::Healthy => return Ok(ExitStatus::SUCCESS),
        Verdict::Starting => "starting",
        Verdict::Stopped => "stopped",
        Verdict::Unhealthy => "unhealthy",
        Verdict::TimedOut(limit) if !args.ignore_result => {
            let limit = format_duration(limit);
            return Err(CommandError::new(format!("healthcheck command exceeded timeout of {limit}")));
        }
        Verdict::TimedOut(_) => "unhealthy",
    };
    ui.data(word)?;
    Ok(if args.ignore_result { ExitStatus::SUCCESS } else { ExitStatus::NO })
}
