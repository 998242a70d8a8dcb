//! `rbox system prune`.

use super::{is_used, links, tree_size, volumes};
use crate::cli::args::containers::{parse_filters, report_earlier};
use crate::cli::confirm;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::cli::units::decimal_size;
use crate::container::remove::RemoveOptions;
use crate::container::{Record, Status};
use crate::engine::Engine;
use crate::store::Partials;

/// Remove unused data
///
/// Removes stopped containers, unused networks and dangling images; with --all all images that no container uses.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox system prune")]
pub struct Args {
    /// Remove all unused data
    #[arg(long, short)]
    all: bool,
    /// Remove build containers
    #[arg(long)]
    build: bool,
    /// Remove container data in storage not controlled by rbox
    #[arg(long)]
    external: bool,
    /// Provide filter values (e.g. 'label=<key>=<value>')
    #[arg(long, value_name = "stringArray")]
    filter: Vec<String>,
    /// Do not prompt for confirmation.  The default is false
    #[arg(long, short)]
    force: bool,
    /// Prune volumes
    #[arg(long)]
    volumes: bool,
}

/// Removes what nothing uses, and says how much that was.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.external && (args.all || args.volumes || !args.filter.is_empty()) {
        return Err(CommandError::new("external cannot be combined with other options"));
    }
    if args.external {
        // Nothing in the store is anybody else's.
        return Ok(ExitStatus::SUCCESS);
    }
    if !args.force && !confirm::ask(ui, &warning(&args))? {
        return Ok(ExitStatus::SUCCESS);
    }
    let Args { all, filter, volumes, .. } = args;
    let mut pruning = Pruning { ui, engine, last: None, bytes: 0 };
    pruning.containers(&filter)?;
    if volumes {
        pruning.volumes()?;
    }
    // Filters name labels and times of containers; images have others.
    if filter.is_empty() {
        pruning.images(all)?;
    }
    let Pruning { ui, bytes, last, .. } = pruning;
    ui.data(format_args!("Total reclaimed space: {}", decimal_size(bytes)))?;
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
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
}

impl Pruning<'_> {
    fn containers(&mut self, filter: &[String]) -> Result<()> {
        let containers = self.engine.containers()?;
        let mut removed = Vec::new();
        for listed in containers.list(&parse_filters(filter, &containers)?)? {
            let stopped = matches!(listed.state.status, Status::Created | Status::Exited | Status::Stopped);
            if !stopped
                || listed.state.restarts_later()
                || !containers.dependents(&listed.record.id)?.is_empty()
            {
                continue;
            }
            let size = tree_size(&containers.dir(&listed.record.id).join("upper"));
            match containers.remove(&listed.record, RemoveOptions::default()) {
                Ok(()) => {
                    self.bytes += size;
                    removed.push(listed.record.id.to_string());
                }
                Err(error) => report_earlier(self.ui, &mut self.last, error.into()),
            }
        }
        containers.reclaim();
        self.print("Deleted Containers", &removed)
    }

    fn volumes(&mut self) -> Result<()> {
        let records = self.records()?;
        let table = volumes(self.engine)?;
        let containers = self.engine.containers()?;
        let mut removed = Vec::new();
        for volume in table.list()?.into_iter().filter(|volume| links(volume, &records) == 0) {
            let size = tree_size(&table.data(&volume.name));
            match containers.remove_volume(&volume.name, false, None) {
                Err(crate::container::Error::Volume(crate::volume::Error::InUse { .. })) => {}
                Ok(()) => {
                    self.bytes += size;
                    removed.push(volume.name);
                }
                Err(error) => report_earlier(self.ui, &mut self.last, error.into()),
            }
        }
        self.print("Deleted Volumes", &removed)
    }

    /// Images without a name, or all that no container uses.
    fn images(&mut self, all: bool) -> Result<()> {
        let store = self.engine.store()?;
        let containers = self.engine.containers()?;
        let records = self.records()?;
        let mut removed = Vec::new();
        for image in store.images()? {
            if is_used(&image, &records) || !(all || store.names_of(&image.id)?.is_empty()) {
                continue;
            }
            // Asked again while nobody can begin to use it.
            let users = |_: &_| {
                let listed = containers.list(&Default::default()).unwrap_or_default();
                let used =
                    listed.into_iter().filter(|listed| listed.record.root.image_id == image.id.as_str());
                used.map(|listed| listed.record.id.to_string()).collect()
            };
            match store.remove_image(&image.id, None, users) {
                Ok(_) => removed.push(image.id.to_string()),
                Err(error) => report_earlier(self.ui, &mut self.last, error.into()),
            }
        }
        if !removed.is_empty() {
            self.bytes += store.gc(Partials::Keep)?.bytes;
        }
        self.print("Deleted Images", &removed)
    }

    fn records(&self) -> Result<Vec<Record>> {
        let listed = self.engine.containers()?.list(&Default::default())?;
        Ok(listed.into_iter().map(|listed| listed.record).collect())
    }

    fn print(&mut self, heading: &str, removed: &[String]) -> Result<()> {
        if removed.is_empty() {
            return Ok(());
        }
        self.ui.data(heading)?;
        removed.iter().try_for_each(|line| self.ui.data(line))
    }
}
