//! `rbox rename`.

use crate::cli::error::CommandError;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Rename an existing container
///
/// The rename command allows you to rename an existing container.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox rename containerA newName")]
pub struct Args {
    container: String,
    name: String,
}

/// Renames a container.
///
/// # Errors
/// When it does not exist, or the name is taken.
pub fn exec(_ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
    let Args { container, name } = args;
    let bare = |text: &str| text.strip_prefix('/').unwrap_or(text).to_owned();
    let containers = engine.containers()?;
    let record = containers.lookup(&bare(&container))?;
    containers.rename(&record, &bare(&name))?;
    Ok(ExitStatus::SUCCESS)
}
