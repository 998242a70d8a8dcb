//! `rbox network create`.

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Network create
///
/// Create networks for containers and pods
#[derive(Debug, clap::Args)]
pub struct Args {
    name: Option<String>,
}

/// Refuses.
pub fn exec(_ui: &mut Ui, _engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { name } = args;
    drop(name);
    Err(CommandError::new("not supported yet: user-defined networks"))
}
