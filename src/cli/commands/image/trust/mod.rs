//! `rbox image trust show|set`: reading and changing policy.json.

pub mod set;
pub mod show;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::error::{CommandError, Result};
use crate::engine::Engine;
use crate::image::policy::files;
use crate::kernel::file::read_limited;

const FILE_MAX: u64 = 4 << 20;

/// The file that applies, with its text.
fn read(engine: &Engine, given: Option<&Path>) -> Result<(PathBuf, Vec<u8>)> {
    let candidates = match given {
        Some(path) => vec![path.to_owned()],
        None => files(engine.paths()?).to_vec(),
    };
    let path = candidates.iter().find(|path| path.exists()).unwrap_or(&candidates[0]);
    let bytes = read_limited(path, FILE_MAX)
        .map_err(|error| CommandError::from(error).context("unable to read policy file"))?;
    Ok((path.clone(), bytes))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| {
        CommandError::new(format!("could not parse trust policies from {}: {error}", path.display()))
    })
}
