//! `rbox volume reload`.

use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Reload all volumes from volume plugins
///
/// There are no volume plugins, so there is nothing to reload.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox volume reload")]
pub struct Args {}

/// Finds nothing new.
pub fn exec(_ui: &mut Ui, _engine: &Engine, _args: Args) -> Result<ExitStatus> {
    Ok(ExitStatus::SUCCESS)
}
