//! `rbox system reset`.

use std::path::Path;
use std::time::Duration;

use crate::cli::args::containers::report_earlier;
use crate::cli::confirm;
use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::container::remove::RemoveOptions;
use crate::engine::Engine;
use crate::kernel::path::RootDir;

/// Reset storage back to default state
///
/// Removes all containers, images, volumes and everything else below the data directory and the run directory.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not prompt for confirmation
    #[arg(long, short)]
    force: bool,
}

/// What rbox puts into its data directory. Only these are removed: the directory may be one that
/// `--root` names and that holds other things. The mark that it is a store stays.
const DATA: [&str; 14] = [
    "containers",
    "names",
    "images",
    "history",
    "tags",
    "layers",
    "blobs",
    "artifacts",
    "derived",
    "volumes",
    "tmp",
    "empty",
    "probe",
    "locks",
];
/// What rbox puts into its run directory; `userns` stays for those who are in that namespace.
const RUN: [&str; 4] = ["containers", "images", "locks", "pasta.json"];

/// Removes everything.
pub fn exec(ui: &mut Ui, engine: &Engine, Args { force }: Args) -> Result<ExitStatus> {
    let paths = engine.paths()?;
    let warning = format!(
        "WARNING! This will remove:\n        - all containers\n        - all images\n        - all volumes\n        \
         - the graphRoot directory: {:?}\n        - the runRoot directory: {:?}",
        paths.data.display().to_string(),
        paths.run.display().to_string()
    );
    if !force && !confirm::ask(ui, &warning)? {
        return Ok(ExitStatus::SUCCESS);
    }
    let mut last = None;
    let containers = engine.containers()?;
    let options = RemoveOptions { force: true, timeout: Some(Duration::ZERO), volumes: true };
    for listed in containers.list(&Default::default())?.into_iter().rev() {
        if let Err(error) = containers.remove(&listed.record, options) {
            report_earlier(ui, &mut last, error.into());
        }
    }
    for damaged in containers.damaged()? {
        if let Err(error) = containers.remove_damaged(&damaged.id, false) {
            report_earlier(ui, &mut last, error.into());
        }
    }
    for (dir, names) in [(&paths.data, DATA.as_slice()), (&paths.run, RUN.as_slice())] {
        if let Err(error) = remove(dir, names) {
            report_earlier(ui, &mut last, error);
        }
    }
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}

fn remove(dir: &Path, names: &[&str]) -> Result<()> {
    let root = match RootDir::open(dir) {
        Ok(root) => root,
        Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    names.iter().try_for_each(|name| root.remove_tree(name)).map_err(Into::into)
}
