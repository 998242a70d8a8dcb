//! `rbox system df`.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use serde::Serialize;

use super::{is_used, links, volumes};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List, Value};
use crate::cli::ui::Ui;
use crate::cli::units::decimal_size;
use crate::container::list::Listed;
use crate::container::{Record, Status};
use crate::engine::Engine;
use crate::image::artifact::Artifacts;
use crate::kernel::disk;
use crate::store::{ImageRecord, Object, Store};

/// Show disk usage
///
/// Shows what the store takes on disk, as du counts it: unpacked images, containers with their logs, volumes, the archives of images as they were pulled, and the rest. Reclaimable is what system prune with all of its flags would free.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pretty-print images using a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show detailed information on disk usage
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    r#type: &'static str,
    total: usize,
    active: usize,
    raw_size: u64,
    raw_reclaimable: u64,
    total_count: usize,
    size: String,
    reclaimable: String,
}

/// What templates can name, for completion.
pub(in crate::cli) fn fields() -> Value {
    Value::of(&Summary::new("", 0, 0, 0, 0))
}

impl Summary {
    fn new(kind: &'static str, total: usize, active: usize, raw_size: u64, raw_reclaimable: u64) -> Self {
        let percent = match raw_size {
            0 => 0.0,
            size => (raw_reclaimable as f64 / size as f64 * 100.0).round(),
        };
        Self {
            r#type: kind,
            total,
            active,
            raw_size,
            raw_reclaimable,
            total_count: total,
            size: decimal_size(raw_size),
            reclaimable: format!("{} ({percent}%)", decimal_size(raw_reclaimable)),
        }
    }
}

/// Prints what images, containers and volumes take.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { format, verbose } = args;
    if verbose && format.is_some() {
        return Err(CommandError::new("cannot combine --format and --verbose flags"));
    }
    let containers = engine.containers()?;
    let listed = containers.list(&Default::default())?;
    if verbose {
        super::verbose::print(ui, engine, &listed)?;
        return Ok(ExitStatus::SUCCESS);
    }
    let summaries = summaries(engine, &listed)?;
    let list = List::new("df", "{{.Type}}\t{{.Total}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}")
        .format(format.as_deref());
    if list.is_json() {
        list.json(ui, &summaries, Layout::marshal(4))?;
    } else {
        list.print(ui, &summaries)?;
    }
    Ok(ExitStatus::SUCCESS)
}

/// One row for each kind of thing. Together they are what du says of the store.
fn summaries(engine: &Engine, listed: &[Listed]) -> Result<Vec<Summary>> {
    let store = engine.store()?;
    let usage = store.usage()?;
    let records: Vec<Record> = listed.iter().map(|listed| listed.record.clone()).collect();
    let images = store.images()?;
    let needed = needed(&images, listed);
    let active = images.iter().filter(|image| is_used(image, &records)).count();
    let reclaimable = |all: u64, part: fn(&Object) -> bool| {
        let kept: BTreeSet<Object> = needed.iter().filter(|object| part(object)).cloned().collect();
        all.saturating_sub(usage.of(&kept))
    };
    let layers = reclaimable(usage.layers(), |object| matches!(object, Object::Layer(_)));
    let blobs = reclaimable(usage.blobs() - usage.folders, |object| matches!(object, Object::Blob(_)));
    let count = usage.objects.keys().filter(|object| matches!(object, Object::Blob(_))).count();
    let active_blobs = needed.iter().filter(|object| matches!(object, Object::Blob(_))).count();
    let (artifacts, artifacts_dir) = Artifacts::of(engine.paths()?).usage();
    let mut skips = usage_skips(engine, listed)?;
    skips.insert(artifacts_dir.clone());
    let other = other(engine, &skips)?;
    Ok(vec![
        Summary::new("Images", images.len(), active, usage.layers(), layers),
        container_summary(engine, listed)?,
        volume_summary(engine, &records)?,
        Summary::new("Image Archives", count, active_blobs, usage.blobs(), blobs),
        Summary::new("Artifacts", artifacts, artifacts, disk::tree(&artifacts_dir), 0),
        Summary::new("Other", other.0, 0, other.1, other.2),
    ])
}

/// What images need that containers run of. Those that have ended keep nothing: `system prune` removes them first.
fn needed(images: &[ImageRecord], listed: &[Listed]) -> BTreeSet<Object> {
    let runs = |image: &ImageRecord| {
        let own = listed.iter().filter(|one| one.record.root.image_id == image.id.as_str());
        own.into_iter().any(|one| !super::is_over(&one.state))
    };
    images.iter().filter(|image| runs(image)).flat_map(Store::objects_of).collect()
}

fn container_summary(engine: &Engine, listed: &[Listed]) -> Result<Summary> {
    let containers = engine.containers()?;
    let (mut all, mut active, mut reclaimable) = (0, 0, 0);
    for listed in listed {
        let size = disk::tree(&containers.dir(&listed.record.id));
        all += size;
        active += usize::from(listed.state.status == Status::Running);
        if super::is_over(&listed.state) {
            reclaimable += size;
        }
    }
    Ok(Summary::new("Containers", listed.len(), active, all, reclaimable))
}

fn volume_summary(engine: &Engine, records: &[Record]) -> Result<Summary> {
    let table = volumes(engine)?;
    let all = table.list()?;
    let (mut active, mut size, mut reclaimable) = (0, 0, 0);
    for volume in &all {
        let bytes = disk::tree(&table.data(&volume.name));
        let links = links(volume, records);
        active += links;
        size += bytes;
        if links == 0 {
            reclaimable += bytes;
        }
    }
    Ok(Summary::new("Local Volumes", all.len(), active, size, reclaimable))
}

/// What the other rows count.
fn usage_skips(engine: &Engine, listed: &[Listed]) -> Result<HashSet<PathBuf>> {
    let (containers, table) = (engine.containers()?, volumes(engine)?);
    let mut skip = engine.store()?.usage_paths()?;
    skip.extend(listed.iter().map(|one| containers.dir(&one.record.id)));
    skip.extend(table.list()?.iter().map(|volume| table.data(&volume.name)));
    Ok(skip)
}

/// Records, the log of events, and what is being written at this moment: how many, how much, and what of it a dead
/// process has left.
fn other(engine: &Engine, skip: &HashSet<PathBuf>) -> Result<(usize, u64, u64)> {
    let data = &engine.paths()?.data;
    let mut usage = disk::Usage::default();
    usage.add(data, skip);
    let left = crate::store::abandoned_staging(data);
    let reclaimable = left.iter().map(|path| disk::tree(path)).sum();
    Ok((left.len(), usage.bytes(), reclaimable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_and_nothing_is_divided_by_zero() {
        assert_eq!(Summary::new("x", 0, 0, 0, 0).reclaimable, "0B (0%)");
        assert_eq!(Summary::new("x", 2, 1, 3000, 1000).reclaimable, "1kB (33%)");
    }
}
