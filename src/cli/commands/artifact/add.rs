//! `rbox artifact add`.

use std::path::PathBuf;

use super::artifacts;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::Error;
use crate::image::artifact::AddRequest;

/// Add an OCI artifact to the local store
///
/// Add an OCI artifact to the local store from the local filesystem.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] ARTIFACT PATH [...PATH]",
    after_help = "rbox artifact add quay.io/myimage/myartifact:latest /tmp/foobar.txt\n  \
                  rbox artifact add --file-type text/yaml quay.io/myimage/myartifact:latest /tmp/foobar.yaml\n  \
                  rbox artifact add --append quay.io/myimage/myartifact:latest /tmp/foobar.tar.gz"
)]
pub struct Args {
    /// set an annotation for the specified files of artifact
    #[arg(long, value_name = "annotation")]
    annotation: Vec<String>,
    /// Append files to an existing artifact
    #[arg(long, short)]
    append: bool,
    /// Set file type to use for the artifact (layer)
    #[arg(long, value_name = "string", default_value = "")]
    file_type: String,
    /// Replace an existing artifact
    #[arg(long)]
    replace: bool,
    /// Use type to describe an artifact
    #[arg(long, value_name = "string", default_value = "")]
    r#type: String,
    artifact: String,
    #[arg(required = true)]
    path: Vec<PathBuf>,
}

/// Makes or extends an artifact and prints its digest.
///
/// # Errors
/// When it cannot be made.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.append && args.replace {
        return Err(CommandError::new("--append and --replace options cannot be used together"));
    }
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(CommandError::new(format!("no value given for annotation {text:?}"))),
    };
    let request = AddRequest {
        name: args.artifact,
        files: args.path,
        annotations: args.annotation.iter().map(pair).collect::<Result<_>>()?,
        artifact_type: args.r#type,
        file_type: args.file_type,
        append: args.append,
        replace: args.replace,
    };
    let digest = artifacts(engine)?.add(&request).map_err(Error::from)?;
    ui.data(digest.hex())?;
    Ok(ExitStatus::SUCCESS)
}
