//! `rbox mount` and `unmount`: a container's root on a path of the host, for the commands of one `rbox unshare`.

use serde::Serialize;

use crate::cli::args::containers::{Named, report_earlier};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, is_json, print_json};
use crate::cli::ui::Ui;
use crate::container::Record;
use crate::engine::Engine;
use crate::userns;

/// Mount a working container's root filesystem
///
/// Mounts the root file system of containers and prints where, or lists what is mounted. A user's mounts are seen in the session of `rbox unshare` that made them only. The files of a container that runs are shown read-only.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] [CONTAINER...]",
    after_help = "rbox unshare sh -c 'ls $(rbox mount ctrID)'\n  rbox mount --all"
)]
pub struct Args {
    /// Mount all containers
    #[arg(long, short)]
    all: bool,
    /// Print the mounted containers in specified format (json)
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Do not truncate output
    #[arg(long, alias = "notruncate")]
    no_trunc: bool,
    containers: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Mounted {
    id: String,
    #[serde(rename = "Names")]
    names: Vec<String>,
    mountpoint: String,
}

/// Mounts, or lists mounts.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { all, format, latest, no_trunc, containers: references } = args;
    let chosen = all || latest || !references.is_empty();
    let named = Named { references, all, latest, ..Named::default() };
    if chosen {
        named.check()?;
    }
    require_unshare("mount")?;
    let containers = engine.containers()?;
    if chosen {
        let mut last = None;
        for record in selected(engine, named)? {
            match containers.mount(engine.store()?, &record) {
                Ok(path) => ui.data(path.display())?,
                Err(error) => report_earlier(ui, &mut last, error.into()),
            }
        }
        return last.map_or(Ok(ExitStatus::SUCCESS), Err);
    }
    let mut found = Vec::new();
    for id in containers.ids()? {
        if let (Some(path), Ok(Some(record))) = (containers.mounted(&id)?, containers.record(&id)) {
            found.push(Mounted {
                id: id.to_string(),
                names: vec![record.name],
                mountpoint: path.to_string_lossy().into_owned(),
            });
        }
    }
    match format.as_deref() {
        None | Some("") => {
            for Mounted { id, mountpoint, .. } in found {
                let digits = if no_trunc { id.len() } else { 12 };
                ui.data(format_args!("{}  {mountpoint}", &id[..digits]))?;
            }
        }
        Some(format) if is_json(format) => print_json(ui, &found, Layout::marshal(1))?,
        Some(format) => return Err(CommandError::new(format!("unknown --format argument: {format:?}"))),
    }
    Ok(ExitStatus::SUCCESS)
}

/// What a user mounts outside of a mount namespace of her own nobody would see.
pub(super) fn require_unshare(command: &str) -> Result<()> {
    if userns::inside() {
        return Ok(());
    }
    Err(CommandError::new(format!(
        "cannot run command \"podman {command}\" in rootless mode, must execute `podman unshare` first"
    )))
}

fn selected(engine: &Engine, named: Named) -> Result<Vec<Record>> {
    let found = named.find(&engine.containers()?)?;
    Ok(found.into_iter().filter_map(|selected| selected.record).collect())
}

/// The other way round.
pub mod unmount {
    use super::{
        CommandError, Engine, ExitStatus, Named, Result, Ui, report_earlier, require_unshare, selected,
    };

    /// Unmount working container's root filesystem
    ///
    /// Takes off what `rbox mount` mounted in the same session of `rbox unshare`.
    #[derive(Debug, clap::Args)]
    #[command(
        override_usage = "[options] CONTAINER [CONTAINER...]",
        after_help = "rbox unmount ctrID\n  rbox unmount --all"
    )]
    pub struct Args {
        /// Unmount all of the currently mounted containers
        #[arg(long, short)]
        all: bool,
        /// Force the complete unmount of the specified mounted containers
        #[arg(long, short)]
        force: bool,
        /// Act on the latest container podman is aware of
        #[arg(long, short)]
        latest: bool,
        containers: Vec<String>,
    }

    /// Unmounts, and prints the ids.
    ///
    /// # Errors
    /// When one is not mounted.
    pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
        // One mount is made at most, and taken off as a whole: there is nothing to force.
        let Args { all, force: _, latest, containers: references } = args;
        let named = Named { references, all, latest, ..Named::default() };
        named.check()?;
        require_unshare("unmount")?;
        let containers = engine.containers()?;
        let mut last = None;
        for record in selected(engine, named)? {
            match containers.unmount(&record.id) {
                Ok(true) => ui.data(&record.id)?,
                Ok(false) if all => {}
                Ok(false) => {
                    let text = format!("container {} is not mounted", record.id);
                    report_earlier(ui, &mut last, CommandError::new(text));
                }
                Err(error) => report_earlier(ui, &mut last, error.into()),
            }
        }
        last.map_or(Ok(ExitStatus::SUCCESS), Err)
    }
}
