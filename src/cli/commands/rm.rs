//! `rbox rm`.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use super::stop::seconds;
use crate::cli::args::containers::{Named, report_earlier};
use crate::cli::error::CommandError;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::container::list::Selected;
use crate::container::remove::RemoveOptions;
use crate::container::stop::Asked;
use crate::container::{ContainerId, Containers, Error, Record};
use crate::engine::Engine;

/// Remove one or more containers
///
/// Removes one or more containers from the host. The container name or ID can be used.
///
/// Command does not remove images. Running or unusable containers will not be removed without the -f option.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [CONTAINER...]",
    after_help = "rbox rm ctrID\n  rbox rm mywebserver myflaskserver 860a4b23\n  rbox rm --force --all\n  rbox rm -f c684f0d469f2"
)]
pub struct Args {
    /// Remove all containers
    #[arg(long, short)]
    all: bool,
    /// Read the container ID from the file
    #[arg(long, value_name = "stringArray")]
    cidfile: Vec<PathBuf>,
    /// Remove container and all containers that depend on the selected container
    #[arg(long)]
    depend: bool,
    /// Filter output based on conditions given
    #[arg(long, value_name = "stringArray")]
    filter: Vec<String>,
    /// Force removal of a running or unusable container
    #[arg(long, short)]
    force: bool,
    /// Ignore errors when a specified container is missing
    #[arg(long, short)]
    ignore: bool,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Seconds to wait for stop before killing the container
    #[arg(long, short, alias = "timeout", value_name = "int", allow_negative_numbers = true)]
    time: Option<i64>,
    /// Remove anonymous volumes associated with the container
    #[arg(long, short)]
    volumes: bool,
    containers: Vec<String>,
}

/// Removes containers.
///
/// # Errors
/// When a container does not exist (exit code 1), or runs (2).
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
    let named = Named {
        references: args.containers,
        all: args.all,
        latest: args.latest,
        ignore: args.ignore || args.force,
        id_files: args.cidfile,
        filters: args.filter,
        ..Named::default()
    };
    named.check()?;
    if args.time.is_some() && !args.force {
        return Err(CommandError::new("--force option must be specified to use the --time option"));
    }
    let containers = engine.containers()?;
    let mut named = named;
    let damaged = if args.force { damaged(&containers, &mut named)? } else { Vec::new() };
    let selected = named.find(&containers).map_err(|error| no_such(error, &named.references))?;
    let mut removal = Removal {
        containers: &containers,
        options: RemoveOptions { force: args.force, timeout: args.time.map(seconds), volumes: args.volumes },
        depend: args.depend || args.all,
        done: Vec::new(),
        asked: HashMap::new(),
    };
    removal.ask(&selected)?;
    let mut last = None;
    let mut status = ExitStatus::SUCCESS;
    let mut any = !damaged.is_empty();
    for (id, given) in damaged {
        match containers.remove_damaged(&id, args.volumes) {
            Ok(()) => ui.data(given)?,
            Err(error) => report_earlier(ui, &mut last, error.into()),
        }
    }
    for selected in selected {
        let Some(record) = selected.record else { continue };
        match removal.remove(&record, &selected.given) {
            Ok(()) => {}
            Err(error) => {
                // The code for "no such container" is not covered up by that of a running one.
                let code = exit_status(&error);
                status = if status == ExitStatus::NO || code == ExitStatus::ERROR { status } else { code };
                report_earlier(ui, &mut last, error.into());
            }
        }
        for given in removal.done.drain(..) {
            any = true;
            ui.data(given)?;
        }
    }
    if any {
        containers.sync_removals()?;
    }
    containers.reclaim();
    match last {
        None => Ok(ExitStatus::SUCCESS),
        Some(error) if status == ExitStatus::SUCCESS => Err(error),
        Some(error) => Err(error.with_status(status)),
    }
}

/// Takes those out of the list whose record cannot be read: id, and how it was referred to.
fn damaged(containers: &Containers, named: &mut Named) -> Result<Vec<(ContainerId, String)>, CommandError> {
    if named.all {
        let found = containers.damaged()?.into_iter();
        return Ok(found.map(|damaged| (damaged.id.clone(), damaged.id.to_string())).collect());
    }
    let mut found = Vec::new();
    let whole = named.references.is_empty();
    named.references.retain(|given| match containers.lookup(given.strip_prefix('/').unwrap_or(given)) {
        Err(Error::Broken { id, .. }) => {
            found.extend(ContainerId::parse(&id).map(|id| (id, given.clone())));
            false
        }
        _ => true,
    });
    // Nothing else was named: the rest is none, not all that the filters let through.
    named.nothing = !whole && named.references.is_empty();
    Ok(found)
}

/// podman looks for the container in the image store next, and says so in other words.
fn no_such(error: CommandError, references: &[String]) -> CommandError {
    let missing = references.iter().find(|reference| {
        error.message().starts_with(&format!("no container with name or ID {reference:?} found"))
    });
    match missing {
        Some(reference) => {
            CommandError::new(format!("no container with ID or name {reference:?} found: no such container"))
                .with_status(ExitStatus::NO)
        }
        None => error,
    }
}

fn exit_status(error: &Error) -> ExitStatus {
    match error {
        Error::NotFound { .. } => ExitStatus::NO,
        Error::WrongState { .. } => ExitStatus::IN_USE,
        _ => ExitStatus::ERROR,
    }
}

/// One call of `rm`.
struct Removal<'a> {
    containers: &'a Containers,
    options: RemoveOptions,
    depend: bool,
    done: Vec<String>,
    /// Those that were asked to end.
    asked: HashMap<ContainerId, Asked>,
}

impl Removal<'_> {
    /// Asks all that are going to be removed to end, so that they take their time side by side.
    fn ask(&mut self, selected: &[Selected]) -> Result<(), Error> {
        let records: Vec<&Record> = selected.iter().filter_map(|each| each.record.as_ref()).collect();
        if !self.options.force || records.len() < 2 {
            return Ok(());
        }
        // What others depend on may stay.
        let needed = if self.depend { HashSet::new() } else { self.containers.needed()? };
        for record in records.into_iter().filter(|record| !needed.contains(&record.id)) {
            // What cannot be asked is dealt with when its turn comes.
            if let Ok(asked) = self.containers.ask_to_end(record, self.options) {
                self.asked.insert(record.id.clone(), asked);
            }
        }
        Ok(())
    }

    /// Removes a container; with `--depend` those first that depend on it.
    fn remove(&mut self, record: &Record, given: &str) -> Result<(), Error> {
        let dependents = self.containers.dependents(&record.id)?;
        if !self.depend && !dependents.is_empty() {
            let others = dependents.into_iter().map(|record| record.id.to_string()).collect();
            return Err(Error::HasDependents { id: record.id.to_string(), others });
        }
        for dependent in dependents {
            self.remove(&dependent, dependent.id.as_str())?;
        }
        if self.containers.record(&record.id)?.is_none() {
            // It depended on another one of the list.
            return Ok(());
        }
        let asked = self.asked.remove(&record.id);
        self.containers.remove_asked(record, self.options, asked)?;
        self.done.push(given.to_owned());
        Ok(())
    }
}
