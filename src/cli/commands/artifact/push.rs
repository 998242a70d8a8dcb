//! `rbox artifact push`.

use std::path::PathBuf;

use crate::cli::args::registry::RegistryArgs;
use crate::cli::commands::commit::write_file;
use crate::cli::commands::push::SigningArgs;
use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::progress::PullProgress;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::artifact::{PushRequest, push};

/// Push an OCI artifact
///
/// Push an OCI artifact from local storage to an image registry.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] ARTIFACT",
    after_help = "rbox artifact push quay.io/myimage/myartifact:latest"
)]
pub struct Args {
    /// Write the digest of the pushed image to the specified file
    #[arg(long, value_name = "string")]
    digestfile: Option<PathBuf>,
    /// Suppress output information when pushing images
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    signing: SigningArgs,
    artifact: String,
}

/// Pushes an artifact.
///
/// # Errors
/// When the registry refuses it.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let request = PushRequest {
        name: args.artifact.clone(),
        destination: args.artifact,
        signing: args.signing.into_signing()?,
        registry: args.registry.into_options(engine.config()?)?,
    };
    if args.quiet {
        ui.set_quiet(true);
    }
    let mut progress = PullProgress::new(ui);
    let digest = push(engine.images()?, &request, &mut progress)?;
    drop(progress);
    if let Some(path) = args.digestfile {
        write_file(&path, &digest.to_string())?;
    }
    Ok(ExitStatus::SUCCESS)
}
