//! `rbox volume inspect`.

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::volume::Error;

/// Display detailed information on one or more volumes
///
/// Display detailed information on one or more volumes.
///
/// Use a Go template to change the format from JSON.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] VOLUME [VOLUME...]",
    after_help = "rbox volume inspect myvol\n  rbox volume inspect --all\n  rbox volume inspect --format \"{{.Driver}} {{.Scope}}\" myvol"
)]
pub struct Args {
    /// Inspect all volumes
    #[arg(long, short)]
    all: bool,
    /// Format volume output using Go template
    #[arg(long, short, value_name = "string", default_value = "json")]
    format: String,
    volumes: Vec<String>,
}

/// Prints the volumes that there are, and fails for the others.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { all, format, volumes } = args;
    if all != volumes.is_empty() {
        return Err(CommandError::new("provide one or more volume names or use --all"));
    }
    let table = engine.containers()?.volumes();
    let mut found = if all { table.list()? } else { Vec::new() };
    let mut errors = Vec::new();
    for name in &volumes {
        match table.find(name) {
            Ok(volume) => found.push(volume),
            Err(Error::NotFound { .. }) => errors.push(CommandError::new(format!("no such volume {name}"))),
            Err(error) => {
                return Err(CommandError::from(error).context(format_args!("inspecting volume {name}")));
            }
        }
    }
    format::objects(ui, "inspect", &super::views(engine, found)?, Some(&format))?;
    let mut errors = errors.into_iter();
    let Some(first) = errors.next() else { return Ok(ExitStatus::SUCCESS) };
    for error in errors {
        ui.status(error.message());
    }
    Err(first)
}
