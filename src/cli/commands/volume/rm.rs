//! `rbox volume rm`.

use crate::cli::args::containers::report_earlier;
use crate::cli::commands::stop::seconds;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::volume::Error;

/// Remove one or more volumes
///
/// Remove one or more existing volumes.
///
/// By default only volumes that are not being used by any containers will be removed. To remove the volumes anyways, use the --force flag.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] VOLUME [VOLUME...]",
    after_help = "rbox volume rm myvol1 myvol2\n  rbox volume rm --all\n  rbox volume rm --force myvol"
)]
pub struct Args {
    /// Remove all volumes
    #[arg(long, short)]
    all: bool,
    /// Remove a volume by force, even if it is being used by a container
    #[arg(long, short)]
    force: bool,
    /// Seconds to wait for running containers to stop before killing the container
    #[arg(long, short, alias = "timeout", value_name = "int", allow_negative_numbers = true)]
    time: Option<i64>,
    volumes: Vec<String>,
}

/// Removes volumes and prints their names.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { all, force, time, volumes } = args;
    if all != volumes.is_empty() {
        return Err(CommandError::new("choose either one or more volumes or all"));
    }
    if time.is_some() && !force {
        return Err(CommandError::new("--force option must be specified to use the --time option"));
    }
    let containers = engine.containers()?;
    let table = containers.volumes();
    let mut last = None;
    let mut names = Vec::new();
    for name in &volumes {
        match table.find(name) {
            Ok(volume) => names.push(volume.name),
            Err(Error::NotFound { .. }) if force => {}
            Err(error) => report(ui, &mut last, error.into()),
        }
    }
    if all {
        names.extend(table.list()?.into_iter().map(|volume| volume.name));
    }
    if !names.is_empty() {
        // Files of a volume can belong to anybody in a container.
        crate::cli::enter_user_namespace(ui, engine)?;
    }
    for name in names {
        match containers.remove_volume(&name, force, time.map(seconds)) {
            Ok(()) => ui.data(name)?,
            Err(crate::container::Error::Volume(Error::NotFound { .. })) if force => {}
            Err(error) => report(ui, &mut last, error.into()),
        }
    }
    containers.sync_removals()?;
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}

fn report(ui: &mut Ui, last: &mut Option<CommandError>, error: CommandError) {
    report_earlier(ui, last, error.with_status_of(ExitStatus::of_removal));
}
