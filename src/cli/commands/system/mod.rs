//! `rbox system …`: what concerns everything at once.

pub mod check;
pub mod connection;
pub mod df;
pub mod migrate;
mod plan;
pub mod prune;
pub mod reset;
mod verbose;

use crate::cli::error::Result;
use crate::container::{Record, State, Status};
use crate::engine::Engine;
use crate::store::ImageRecord;
use crate::volume::named::{Volume, Volumes};

/// Whether a container of `records` is made of `image`.
fn is_used(image: &ImageRecord, records: &[Record]) -> bool {
    records.iter().any(|record| record.root.image_id == image.id.as_str())
}

/// How many containers use a volume.
fn links(volume: &Volume, records: &[Record]) -> usize {
    let uses = |record: &&Record| record.mounts.iter().any(|mount| mount.name == volume.name);
    records.iter().filter(uses).count()
}

/// The table of volumes.
fn volumes(engine: &Engine) -> Result<Volumes> {
    Ok(Volumes::new(&engine.paths()?.data))
}

/// Whether a container has nothing to do any more, or nothing yet.
fn is_over(state: &State) -> bool {
    matches!(state.status, Status::Created | Status::Exited | Status::Stopped) && !state.restarts_later()
}
