//! `rbox artifact pull`.

use crate::cli::args::registry::{RegistryArgs, decryption_keys};
use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::progress::PullProgress;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::artifact::pull;

/// Pull an OCI artifact
///
/// Pulls an artifact from a registry and stores it locally.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox artifact pull quay.io/myimage/myartifact:latest")]
pub struct Args {
    /// Key needed to decrypt the image (e.g. /path/to/key.pem)
    #[arg(long, value_name = "stringArray")]
    decryption_key: Vec<String>,
    /// Suppress output information when pulling images
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    artifact: String,
}

/// Pulls an artifact.
///
/// # Errors
/// When it cannot be had.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let keys = decryption_keys(&args.decryption_key)?;
    let options = args.registry.into_options(engine.config()?)?;
    if args.quiet {
        ui.set_quiet(true);
    }
    let mut progress = PullProgress::new(ui);
    pull(engine.images()?, &args.artifact, (&options, &keys), &mut progress)?;
    Ok(ExitStatus::SUCCESS)
}
