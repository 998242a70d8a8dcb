//! `rbox network prune`.

use crate::cli::confirm;
use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Prune unused networks
///
/// Prune unused networks
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox network prune")]
pub struct Args {
    /// Provide filter values (e.g. 'label=<key>=<value>')
    #[arg(long, value_name = "stringArray")]
    filter: Vec<String>,
    /// do not prompt for confirmation
    #[arg(long, short)]
    force: bool,
}

/// Removes nothing: the default network always stays.
pub fn exec(ui: &mut Ui, _engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { filter, force } = args;
    // What they choose from is empty.
    drop(filter);
    if !force {
        confirm::ask(ui, "WARNING! This will remove all networks not used by at least one container.")?;
    }
    Ok(ExitStatus::SUCCESS)
}
