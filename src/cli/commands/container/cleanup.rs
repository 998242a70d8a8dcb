//! `rbox container cleanup`.
//!
//! A monitor clears up behind its container by itself. What is left here is what a killed one could not do.

use crate::cli::args::containers::{Named, for_each, report_earlier};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::container::remove::RemoveOptions;
use crate::container::{Containers, Error, Record};
use crate::engine::Engine;

/// Clean up network and mountpoints of one or more containers
///
/// Cleans up what is left of containers that have ended: their network, mounts and sockets. There is something left only where a container's monitor was killed.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [CONTAINER...]",
    after_help = "rbox container cleanup --latest\n  rbox container cleanup ctrID1 ctrID2 ctrID3\n  rbox container cleanup --all"
)]
pub struct Args {
    /// Cleans up all containers
    #[arg(long, short)]
    all: bool,
    /// Clean up the given exec session instead of the container
    #[arg(long, value_name = "string")]
    exec: Option<String>,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// After cleanup, remove the container entirely
    #[arg(long)]
    rm: bool,
    /// After cleanup, remove the image entirely
    #[arg(long)]
    rmi: bool,
    containers: Vec<String>,
}

/// Cleans up, and prints the ids.
///
/// # Errors
/// When a container runs.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { all, exec, latest, rm, rmi, containers: references } = args;
    if exec.is_some() {
        let refused = match () {
            () if all => "exec and all options conflict",
            () if references.len() > 1 => "cannot use exec option when more than one container is given",
            () if rmi => "exec and rmi options conflict",
            () => "",
        };
        if !refused.is_empty() {
            return Err(CommandError::new(refused));
        }
    }
    let named = Named { references, all, latest, ..Named::default() };
    named.check()?;
    let containers = engine.containers()?;
    let selected = named.find(&containers)?;
    if let Some(session) = exec {
        return for_each(ui, selected, |_, record| clean_exec(&containers, record, &session));
    }
    let mut last = None;
    for record in selected.into_iter().filter_map(|selected| selected.record) {
        let done = match containers.clean_up(&record) {
            Ok(()) => remove(ui, &containers, &record, rm, rmi),
            // All means all that can be cleaned up.
            Err(Error::WrongState { .. }) if all => continue,
            Err(error) => Err(error.into()),
        };
        match done {
            Ok(()) => ui.data(&record.id)?,
            Err(error) => report_earlier(ui, &mut last, error),
        }
    }
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}

fn remove(ui: &mut Ui, containers: &Containers, record: &Record, rm: bool, rmi: bool) -> Result<()> {
    if rm {
        containers.remove(record, RemoveOptions::default())?;
    }
    if rmi && let Err(error) = containers.remove_image(record) {
        ui.warn(format_args!("the image of container {} stays: {error}", record.id));
    }
    Ok(())
}

/// The entry of a session ends with its process, so one that is there is one that runs.
fn clean_exec(containers: &Containers, record: &Record, session: &str) -> Result<bool, Error> {
    if containers.exec_ids(&record.id).iter().any(|id| id.as_str() == session) {
        return Err(Error::Invalid {
            what: format!("exec session {session} of container {} is running", record.id),
        });
    }
    Ok(true)
}
