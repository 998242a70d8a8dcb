//! `rbox artifact rm`.

use super::artifacts;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::Error;
use crate::image::artifact::ArtifactError;

/// Remove one or more OCI artifacts
///
/// Remove one or more OCI artifacts from local storage.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] ARTIFACT [...ARTIFACT]",
    after_help = "rbox artifact rm quay.io/myimage/myartifact:latest\n  rbox artifact rm -a\n  \
                  rbox artifact rm c4dfb1609ee2 93fd78260bd1 c0ed59d05ff7\n  rbox artifact rm -i c4dfb1609ee2"
)]
pub struct Args {
    /// Remove all artifacts
    #[arg(long, short)]
    all: bool,
    /// Ignore error if artifact does not exist
    #[arg(long, short)]
    ignore: bool,
    artifact: Vec<String>,
}

/// Removes artifacts and prints their digests.
///
/// # Errors
/// When there is none of a name.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    match (args.all, args.artifact.is_empty()) {
        (true, false) => {
            return Err(CommandError::new(
                "when using the --all switch, you may not pass any artifact names or digests",
            ));
        }
        (false, true) => {
            return Err(CommandError::new("at least one artifact name or digest must be specified"));
        }
        _ => {}
    }
    let artifacts = artifacts(engine)?;
    let mut names = args.artifact;
    if args.all {
        names = artifacts.list().map_err(Error::from)?.into_iter().map(|artifact| artifact.name).collect();
    }
    let mut removed = Vec::new();
    for name in names {
        match artifacts.remove(&name) {
            Ok(digest) => removed.push(digest),
            Err(ArtifactError::NotFound(_)) if args.ignore => {}
            Err(error) => return Err(Error::from(error).into()),
        }
    }
    removed.iter().try_for_each(|digest| ui.data(digest.hex()))?;
    Ok(ExitStatus::SUCCESS)
}
