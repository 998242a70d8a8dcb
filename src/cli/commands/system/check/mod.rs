//! `rbox system check`.
//!
//! Each part of the store is a [`Part`] in a file of its own; a new one needs a line in [`PARTS`].

mod artifacts;
mod blobs;
mod containers;
mod images;
mod layers;
mod names;
mod volumes;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::progress::PullProgress;
use crate::cli::ui::Ui;
use crate::cli::units;
use crate::engine::Engine;
use crate::image::{Platform, check};
use crate::store::{ImageId, Partials};

/// Check storage consistency
///
/// Checks that what is stored is whole and names what is not. With --repair, what can be made right without losing anything is made right: layers from their archives, records from what they tell of, and what is gone is fetched again from the registry that it came from. With --force, damaged containers are removed too, with what runs of them, and images and artifacts that lack something.
///
/// Without --quick all blobs are read and all layers are unpacked once more, to be compared: that needs room for the largest of them.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox system check\n  rbox system check --repair --force")]
pub struct Args {
    /// Remove inconsistent images and containers
    #[arg(long, short)]
    force: bool,
    /// Maximum allowed age of unreferenced layers
    #[arg(long, short, value_name = "duration", default_value = "24h0m0s")]
    max: String,
    /// Skip time-consuming checks. The default is to include time-consuming checks
    #[arg(long, short)]
    quick: bool,
    /// Repair what can be repaired without losing anything
    #[arg(long, short)]
    repair: bool,
}

/// Something that is damaged.
#[derive(Debug)]
struct Finding {
    /// Its name or id.
    name: String,
    /// What is wrong.
    problems: Vec<String>,
    /// It can be made right without losing anything.
    can_be_mended: bool,
}

/// Fetches again what the store lacks of an image.
fn fetch(engine: &Engine, id: &ImageId, ui: &mut Ui) -> Result<bool> {
    let record = engine.store()?.image(id).ok().flatten();
    let platform = record
        .map(|record| Platform::normalised(&record.os, &record.architecture, record.variant.as_deref()));
    Ok(check::fetch(engine.images()?, id, platform, &mut PullProgress::new(ui))?)
}

/// What became of something damaged.
#[derive(Debug, PartialEq, Eq)]
enum Repair {
    Mended,
    Removed,
    /// Only --force, or nothing, helps.
    Left,
}

/// One part of the store.
trait Part: Sync {
    /// What its objects are called.
    fn kind(&self) -> &'static str;

    /// Finds what is damaged; with `quick` without reading what is large.
    fn check(&self, engine: &Engine, quick: bool) -> Result<Vec<Finding>>;

    /// Repairs it, with `force` also by removing it; what is fetched for that is shown.
    fn repair(&self, engine: &Engine, finding: &Finding, force: bool, ui: &mut Ui) -> Result<Repair>;
}

/// What is made of something comes after it: a layer may be put right before an image or container is lost for it.
static PARTS: &[&dyn Part] = &[
    &blobs::Blobs,
    &images::Records,
    &layers::Layers,
    &containers::Containers,
    &images::Images,
    &names::Names,
    &volumes::Volumes,
    &artifacts::Artifacts,
];

/// Checks, and repairs if asked to.
///
/// # Errors
/// When something is damaged, or still damaged after the repair.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    // Layers that nothing refers to go with the next collection, however old they are.
    let Args { force, max, quick, repair } = args;
    units::parse_duration(&max).map_err(|error| CommandError::new(error.to_string()))?;
    let mut damaged = false;
    for part in PARTS {
        for finding in part.check(engine, quick)? {
            damaged = true;
            ui.data(format_args!("Damaged {} {}:", part.kind(), finding.name))?;
            for problem in &finding.problems {
                ui.data(format_args!("\t* {problem}"))?;
            }
            if !repair && !force {
                continue;
            }
            match part.repair(engine, &finding, force, ui)? {
                Repair::Mended => ui.data(format_args!("Repaired {}: {}", part.kind(), finding.name))?,
                Repair::Removed => {
                    ui.data(format_args!("Deleted damaged {}: {}", part.kind(), finding.name))?;
                }
                Repair::Left => {}
            }
        }
    }
    if !damaged {
        return Ok(ExitStatus::SUCCESS);
    }
    if !repair && !force {
        return Err(CommandError::new("damage detected in local storage"));
    }
    // What only damaged images needed.
    engine.store()?.gc(Partials::Keep)?;
    for part in PARTS {
        if !part.check(engine, quick)?.is_empty() {
            let hint = match force {
                true => "what is left must be removed by hand",
                false => {
                    "`rbox pull` brings back what an image lacks; `rbox system check --repair --force` removes damaged containers and images"
                }
            };
            let text = "damage in local storage still present after repair attempt";
            return Err(CommandError::new(text).with_hint(hint));
        }
    }
    Ok(ExitStatus::SUCCESS)
}
