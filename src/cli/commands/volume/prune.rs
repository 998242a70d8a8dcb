//! `rbox volume prune`.

use crate::cli::args::containers::report_earlier;
use crate::cli::confirm;
use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Remove all unused volumes
///
/// Volumes that are not currently owned by a container will be removed.
///
/// The command prompts for confirmation which can be overridden with the --force flag.
/// Note all data will be destroyed.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox volume prune --force\n  rbox volume prune --filter label=stage=test")]
pub struct Args {
    /// Provide filter values (e.g. 'label=<key>=<value>')
    #[arg(long, value_name = "stringArray")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(long, short)]
    force: bool,
}

const WARNING: &str = "WARNING! This will remove all volumes not used by at least one container. The following volumes will be removed:";

/// Removes volumes that no container has, and prints their names.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let containers = engine.containers()?;
    let used = super::used(&containers)?;
    let mut unused = super::filtered(&containers, &args.filter)?;
    unused.retain(|volume| !used.contains(&volume.name));
    if !args.force {
        if unused.is_empty() {
            ui.data(WARNING)?;
            ui.data("No dangling volumes found")?;
            return Ok(ExitStatus::SUCCESS);
        }
        let names: Vec<&str> = unused.iter().map(|volume| volume.name.as_str()).collect();
        if !confirm::ask(ui, &format!("{WARNING}\n{}", names.join("\n")))? {
            return Ok(ExitStatus::SUCCESS);
        }
    }
    if !unused.is_empty() {
        crate::cli::enter_user_namespace(ui, engine)?;
    }
    let mut last = None;
    for volume in unused {
        // Asked again: a container may have taken it meanwhile.
        match containers.remove_volume(&volume.name, false, None) {
            Ok(()) => ui.data(volume.name)?,
            Err(error) => report_earlier(ui, &mut last, error.into()),
        }
    }
    containers.sync_removals()?;
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}
