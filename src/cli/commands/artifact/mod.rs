//! `rbox artifact …`: files in registries.

pub mod add;
pub mod extract;
pub mod inspect;
pub mod list;
pub mod pull;
pub mod push;
pub mod rm;

use crate::cli::error::Result;
use crate::engine::Engine;
use crate::image::artifact::Artifacts;

/// The user's artifacts. They lie in the directory of the store, which it makes and checks.
fn artifacts(engine: &Engine) -> Result<Artifacts> {
    engine.store()?;
    Ok(Artifacts::of(engine.paths()?))
}
