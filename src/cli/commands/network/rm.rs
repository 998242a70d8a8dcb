//! `rbox network rm`.

use crate::cli::args::containers::report_earlier;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Remove networks
///
/// Remove networks
#[derive(Debug, clap::Args)]
#[command(override_usage = "[options] NETWORK [NETWORK...]", after_help = "rbox network rm podman")]
pub struct Args {
    /// Remove any containers using network
    #[arg(long, short)]
    force: bool,
    /// Seconds to wait for running containers to stop before killing the container
    #[arg(long, short, value_name = "int", allow_negative_numbers = true)]
    time: Option<i64>,
    #[arg(required = true)]
    networks: Vec<String>,
}

/// Refuses for the default network, and does not find others.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { force, time, networks } = args;
    if time.is_some() && !force {
        return Err(CommandError::new("--force option must be specified to use the --time option"));
    }
    let mut last = None;
    let mut status = ExitStatus::ERROR;
    for name in &networks {
        match super::find(engine, name) {
            Ok(network) => {
                let text = format!("default network {} cannot be removed", network.name);
                report_earlier(ui, &mut last, CommandError::new(text));
            }
            Err(error) if force && error.status() == ExitStatus::NO => {}
            Err(error) => {
                status = error.status();
                report_earlier(ui, &mut last, error);
            }
        }
    }
    last.map_or(Ok(ExitStatus::SUCCESS), |error| Err(error.with_status(status)))
}
