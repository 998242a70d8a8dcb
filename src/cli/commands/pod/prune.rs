//! `rbox pod prune`.

use crate::cli::confirm;
use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Remove all stopped pods and their containers
///
/// Removes all exited pods and their containers from the host.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not prompt for confirmation.  The default is false
    #[arg(long, short)]
    force: bool,
}

/// Removes nothing: there are no pods.
pub fn exec(ui: &mut Ui, _engine: &Engine, Args { force }: Args) -> Result<ExitStatus> {
    if !force {
        confirm::ask(ui, "WARNING! This will remove all stopped/exited pods..")?;
    }
    Ok(ExitStatus::SUCCESS)
}
