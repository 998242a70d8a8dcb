//! `rbox system df`.

use std::collections::HashMap;

use serde::Serialize;

use super::{is_used, links, tree_size, volumes};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List, Value};
use crate::cli::ui::Ui;
use crate::cli::units::decimal_size;
use crate::container::{Record, Status};
use crate::engine::Engine;
use crate::store::Store;

/// Show disk usage
///
/// Show disk usage
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
        super::usage::print(ui, engine, &listed)?;
        return Ok(ExitStatus::SUCCESS);
    }
    let records: Vec<Record> = listed.iter().map(|listed| listed.record.clone()).collect();
    let mut all = 0;
    let mut active = 0;
    let mut reclaimable = 0;
    for listed in &listed {
        let size = tree_size(&containers.dir(&listed.record.id).join("upper"));
        all += size;
        if listed.state.status == Status::Running {
            active += 1;
        } else {
            reclaimable += size;
        }
    }
    let summaries = [
        images(engine.store()?, &records)?,
        Summary::new("Containers", listed.len(), active, all, reclaimable),
        volume_summary(engine, &records)?,
    ];
    let list = List::new("df", "{{.Type}}\t{{.Total}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}")
        .format(format.as_deref());
    if list.is_json() {
        list.json(ui, &summaries, Layout::marshal(4))?;
    } else {
        list.print(ui, &summaries)?;
    }
    Ok(ExitStatus::SUCCESS)
}

/// Layers that several images share count once; what an image in use needs is not reclaimable.
fn images(store: &Store, records: &[Record]) -> Result<Summary> {
    let images = store.images()?;
    let mut layers = HashMap::new();
    let mut active = 0;
    for image in &images {
        let used = is_used(image, records);
        active += usize::from(used);
        for layer in image.mount_layers() {
            *layers.entry(layer).or_insert(false) |= used;
        }
    }
    let (mut size, mut reclaimable) = (0, 0);
    for (layer, used) in layers {
        let bytes = store.layer(&layer)?.map_or(0, |layer| layer.record().size);
        size += bytes;
        if !used {
            reclaimable += bytes;
        }
    }
    Ok(Summary::new("Images", images.len(), active, size, reclaimable))
}

fn volume_summary(engine: &Engine, records: &[Record]) -> Result<Summary> {
    let table = volumes(engine)?;
    let all = table.list()?;
    let (mut active, mut size, mut reclaimable) = (0, 0, 0);
    for volume in &all {
        let bytes = tree_size(&table.data(&volume.name));
        let links = links(volume, records);
        active += links;
        size += bytes;
        if links == 0 {
            reclaimable += bytes;
        }
    }
    Ok(Summary::new("Local Volumes", all.len(), active, size, reclaimable))
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
