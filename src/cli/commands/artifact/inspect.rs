//! `rbox artifact inspect`.

use serde::Serialize;

use super::artifacts;
use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::format::{self, Layout};
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::Error;
use crate::image::artifact::ArtifactManifest;

/// Inspect an OCI artifact
///
/// Provide details on an OCI artifact.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox artifact inspect quay.io/myimage/myartifact:latest")]
pub struct Args {
    /// Format the output using JSON or a Go template
    #[arg(long, short, value_name = "string", default_value = "json")]
    format: String,
    artifact: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase", rename = "entities.ArtifactInspectReport")]
struct Report {
    manifest: ArtifactManifest,
    name: String,
    digest: String,
}

/// Prints what is known of an artifact.
///
/// # Errors
/// When there is none.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let found = artifacts(engine)?.find(&args.artifact).map_err(Error::from)?;
    let report = Report { manifest: found.manifest, name: found.name, digest: found.digest.to_string() };
    if args.format.is_empty() || format::is_json(&args.format) {
        format::print_json(ui, &report, Layout::marshal(5))?;
    } else {
        format::single(ui, "inspect", &report, &args.format)?;
    }
    Ok(ExitStatus::SUCCESS)
}
