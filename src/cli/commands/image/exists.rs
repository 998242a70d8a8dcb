//! `rbox image exists`.

use crate::cli::error::CommandError;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::store;

/// Check if an image exists in local storage
///
/// If the named image exists in local storage, rbox image exists exits with 0, otherwise the exit code will be 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox image exists ID\n  rbox image exists IMAGE && rbox pull IMAGE")]
pub struct Args {
    image: String,
}

/// Answers by the exit code.
pub fn exec(_ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
    match engine.store()?.find_any(&args.image) {
        Ok(_) => Ok(ExitStatus::SUCCESS),
        Err(store::Error::NotFound { .. }) => Ok(ExitStatus::NO),
        Err(error) => Err(error.into()),
    }
}
