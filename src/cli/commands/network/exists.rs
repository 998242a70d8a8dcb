//! `rbox network exists`.

use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Check if network exists
///
/// If the named network exists, exists exits with 0, otherwise the exit code will be 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox network exists net1")]
pub struct Args {
    network: String,
}

/// Exits with 0 or 1.
pub fn exec(_ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { network } = args;
    match super::find(engine, &network) {
        Ok(_) => Ok(ExitStatus::SUCCESS),
        Err(error) if error.status() == ExitStatus::NO => Ok(ExitStatus::NO),
        Err(error) => Err(error),
    }
}
