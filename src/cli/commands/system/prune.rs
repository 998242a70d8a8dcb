//! `rbox system prune`.

use super::plan::{Item, Plan, Wanted, What, plan};
use crate::cli::args::containers::report_earlier;
use crate::cli::confirm;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::cli::units::{decimal_size, parse_decimal_size};
use crate::config::ErrorKind;
use crate::container::remove::RemoveOptions;
use crate::engine::Engine;
use crate::events::Event;
use crate::kernel::disk;
use crate::store::Partials;

/// Remove unused data
///
/// Removes stopped containers, unused networks and dangling images; with --all all images that no container uses, and downloads that were interrupted. With --keep-storage what was not used for the longest time goes first, until the store takes no more than that.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "rbox system prune\n  rbox system prune --all --keep-storage 20GB --dry-run\n  rbox system prune --all --force --filter unused-for=720h"
)]
pub struct Args {
    /// Remove all unused data
    #[arg(long, short)]
    all: bool,
    /// Remove build containers
    #[arg(long)]
    build: bool,
    /// Say what would be removed and how much that is, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove what processes that were killed have left behind
    #[arg(long)]
    external: bool,
    /// Provide filter values (e.g. 'label=<key>=<value>')
    #[arg(long, value_name = "stringArray")]
    filter: Vec<String>,
    /// Do not prompt for confirmation.  The default is false
    #[arg(long, short)]
    force: bool,
    /// Remove only until the store takes no more than this (e.g. 20GB), the least recently used first
    #[arg(long, value_name = "size")]
    keep_storage: Option<String>,
    /// Prune volumes
    #[arg(long)]
    volumes: bool,
}

/// Removes what nothing uses, and says how much that was.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.external {
        return external(ui, engine, &args);
    }
    let keep = args.keep_storage.as_deref().map(|text| {
        parse_decimal_size(text)
            .map_err(|error| CommandError::new(format!("invalid --keep-storage: {error}")))
    });
    let wanted = Wanted {
        all: args.all,
        volumes: args.volumes,
        filters: args.filter.clone(),
        keep: keep.transpose()?,
    };
    if args.dry_run {
        let plan = plan(engine, &wanted)?;
        return announce(ui, engine, &plan, &wanted);
    }
    if !args.force && !confirm::ask(ui, &warning(&args))? {
        return Ok(ExitStatus::SUCCESS);
    }
    let Plan { items, left, .. } = plan(engine, &wanted)?;
    // Whoever writes first reclaims it, so it is counted before.
    let left_behind = crate::store::abandoned_staging(&engine.paths()?.data);
    let staging = left_behind.iter().map(|path| disk::tree(path)).sum();
    let mut pruning = Pruning { ui, engine, last: None, bytes: staging, removed: Default::default() };
    for item in items {
        pruning.remove(item);
    }
    let store = engine.store()?;
    pruning.engine.containers()?.sync_removals()?;
    pruning.engine.containers()?.reclaim();
    let partials = if args.all && wanted.keep.is_none() { Partials::Remove } else { Partials::Keep };
    pruning.bytes += store.gc(partials)?.bytes;
    let Pruning { ui, bytes, last, removed, .. } = pruning;
    print(ui, "Deleted", &removed)?;
    ui.data(format_args!("Total reclaimed space: {}", decimal_size(bytes)))?;
    warn_of_size(ui, left, wanted.keep);
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}

/// Nothing in the store is anybody else's; what is left of processes that were killed has no owner any more.
fn external(ui: &mut Ui, engine: &Engine, args: &Args) -> Result<ExitStatus> {
    if args.all || args.volumes || args.build || !args.filter.is_empty() || args.keep_storage.is_some() {
        return Err(CommandError::new("system prune --external cannot be combined with other options"));
    }
    let data = &engine.paths()?.data;
    let left = crate::store::abandoned_staging(data);
    let bytes: u64 = left.iter().map(|path| disk::tree(path)).sum();
    let verb = if args.dry_run { "reclaimable" } else { "reclaimed" };
    if !args.dry_run {
        engine.containers()?.reclaim();
        crate::store::reclaim_staging(data);
    }
    if args.dry_run || bytes > 0 {
        ui.data(format_args!("Total {verb} space: {}", decimal_size(bytes)))?;
    }
    Ok(ExitStatus::SUCCESS)
}

/// `--dry-run`
fn announce(ui: &mut Ui, engine: &Engine, plan: &Plan, wanted: &Wanted) -> Result<ExitStatus> {
    let mut names: [Vec<String>; 3] = Default::default();
    for item in &plan.items {
        let (kind, name) = label(&item.what);
        names[kind].push(name);
    }
    print(ui, "Would delete", &names)?;
    let partial = if wanted.all && wanted.keep.is_none() { engine.store()?.usage()?.partial } else { 0 };
    ui.data(format_args!("Total reclaimable space: {}", decimal_size(plan.bytes + partial)))?;
    warn_of_size(ui, plan.left, wanted.keep);
    Ok(ExitStatus::SUCCESS)
}

/// Headings, by the kind of thing.
const HEADINGS: [&str; 3] = ["Containers", "Volumes", "Images"];

fn label(what: &What) -> (usize, String) {
    match what {
        What::Container(record) => (0, record.id.to_string()),
        What::Volume(name) => (1, name.clone()),
        What::Image(record) => (2, record.id.to_string()),
    }
}

fn print(ui: &mut Ui, verb: &str, names: &[Vec<String>; 3]) -> Result<()> {
    for (heading, names) in HEADINGS.iter().zip(names) {
        if !names.is_empty() {
            ui.data(format_args!("{verb} {heading}"))?;
            names.iter().try_for_each(|line| ui.data(line))?;
        }
    }
    Ok(())
}

fn warn_of_size(ui: &mut Ui, left: Option<u64>, keep: Option<u64>) {
    if let (Some(left), Some(keep)) = (left, keep)
        && left > keep
    {
        ui.warn(format_args!(
            "the store still takes {}: the rest is in use, or was not asked for",
            decimal_size(left)
        ));
    }
}

fn warning(args: &Args) -> String {
    let mut lines = vec![
        "WARNING! This command removes:",
        "\t- all stopped containers",
        "\t- all networks not used by at least one container",
    ];
    if args.volumes {
        lines.push("\t- all volumes not used by at least one container");
    }
    if args.build {
        lines.push("\t- all build containers");
    }
    lines.push(match args.all {
        true => "\t- all images without at least one container associated with them\n\t- all build cache\n",
        false => "\t- all dangling images\n\t- all dangling build cache\n",
    });
    lines.join("\n")
}

/// One run of the command.
struct Pruning<'a> {
    ui: &'a mut Ui,
    engine: &'a Engine,
    /// The last thing that could not be removed.
    last: Option<CommandError>,
    bytes: u64,
    removed: [Vec<String>; 3],
}

impl Pruning<'_> {
    /// Removes one thing, if still nobody uses it.
    fn remove(&mut self, item: Item) {
        let (kind, name) = label(&item.what);
        match self.try_remove(item.what) {
            Ok(true) => {
                self.bytes += item.bytes;
                self.removed[kind].push(name);
            }
            Ok(false) => {}
            Err(error) => report_earlier(self.ui, &mut self.last, error),
        }
    }

    fn try_remove(&self, what: What) -> Result<bool> {
        let containers = self.engine.containers()?;
        match what {
            What::Container(record) => containers.remove(&record, RemoveOptions::default())?,
            What::Volume(name) => match containers.remove_volume(&name, false, None) {
                Err(crate::container::Error::Volume(crate::volume::Error::InUse { .. })) => return Ok(false),
                done => done?,
            },
            What::Image(record) => {
                // Asked again while nobody can begin to use it; without an answer nothing is removed.
                let users = |id: &crate::store::ImageId| {
                    let users = crate::cli::commands::image::users(self.engine);
                    users.map_or_else(
                        |_| vec!["?".to_owned()],
                        |mut users| users.remove(id.as_str()).unwrap_or_default(),
                    )
                };
                match self.engine.store()?.remove_image(&record.id, None, users) {
                    // Somebody was faster: he uses it, or has removed it.
                    Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {
                        return Ok(false);
                    }
                    done => drop(done?),
                }
                let id = record.id.to_string();
                self.engine.events()?.emit(&[Event::image("remove", &id, &id)]);
            }
        }
        Ok(true)
    }
}
