//! `rbox artifact extract`.

use std::path::PathBuf;

use super::artifacts;
use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::Error;
use crate::image::artifact::Selection;

/// Extract an OCI artifact to a local path
///
/// Extract the blobs of an OCI artifact to a local file or directory.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] ARTIFACT PATH",
    after_help = "rbox artifact extract quay.io/myimage/myartifact:latest /tmp/foobar.txt\n  \
                  rbox artifact extract quay.io/myimage/myartifact:latest /home/paul/mydir"
)]
pub struct Args {
    /// Only extract blob with the given digest
    #[arg(long, value_name = "string")]
    digest: Option<String>,
    /// Only extract blob with the given title
    #[arg(long, value_name = "string")]
    title: Option<String>,
    artifact: String,
    path: PathBuf,
}

/// Copies files out of an artifact.
///
/// # Errors
/// When there is no such file, or it cannot be written.
pub fn exec(_: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let selection = Selection { digest: given(args.digest), title: given(args.title) };
    artifacts(engine)?.extract(&args.artifact, &args.path, &selection).map_err(Error::from)?;
    Ok(ExitStatus::SUCCESS)
}
