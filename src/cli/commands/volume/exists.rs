//! `rbox volume exists`.

use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::volume::Error;

/// Check if volume exists
///
/// If the given volume exists, rbox volume exists exits with 0, otherwise the exit code will be 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox volume exists myvol")]
pub struct Args {
    volume: String,
}

/// Answers by the exit code.
pub fn exec(_ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    match engine.containers()?.volumes().find(&args.volume) {
        Ok(_) => Ok(ExitStatus::SUCCESS),
        Err(Error::NotFound { .. }) => Ok(ExitStatus::NO),
        Err(error) => Err(error.into()),
    }
}
