//! `rbox pod exists`.

use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Check if a pod exists in local storage
///
/// If the named pod exists in local storage, exists exits with 0, otherwise the exit code will be 1.
#[derive(Debug, clap::Args)]
pub struct Args {
    pod: String,
}

/// Exits with 1.
pub fn exec(_ui: &mut Ui, _engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { pod } = args;
    drop(pod);
    Ok(ExitStatus::NO)
}
