//! `rbox version`.

use crate::cli::error::CommandError;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Display version information
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints the version of this program.
///
/// # Errors
/// Fails when stdout does.
pub fn exec(ui: &mut Ui, _engine: &Engine, _args: Args) -> Result<ExitStatus, CommandError> {
    ui.data(format_args!("Version:      {}", env!("CARGO_PKG_VERSION")))?;
    Ok(ExitStatus::SUCCESS)
}
