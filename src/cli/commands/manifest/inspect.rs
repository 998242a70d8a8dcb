//! `rbox manifest inspect|exists`.

use serde_json::Value;

use super::AskArgs;
use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::format::{self, Layout};
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::list::remote;
use crate::image::manifest::DOCUMENT_MAX;
use crate::image::registries::Registries;
use crate::image::{Error, Reference};

/// Display the contents of a manifest list or image index
///
/// Display the contents of a manifest list or image index, one that is here or one of a registry.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox manifest inspect localhost/list")]
pub struct Args {
    #[command(flatten)]
    ask: AskArgs,
    /// Added for Docker compatibility
    #[arg(long, short, hide = true)]
    verbose: bool,
    list: String,
}

/// Prints the document.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let options = args.ask.into_options()?;
    let context = engine.images()?;
    let local = context.store.find_any(&args.list).ok().filter(|found| found.record.list);
    let bytes = if let Some(digest) = local.and_then(|found| found.record.manifest) {
        context.store.read_blob(&digest, DOCUMENT_MAX)?
    } else {
        let name = args.list.strip_prefix("docker://").unwrap_or(&args.list);
        let registries = Registries::load(context.env, context.paths).map_err(Error::from)?;
        let candidates = registries.candidates(name).map_err(Error::from)?;
        let reference: &Reference = candidates.references.first().expect("a name has a meaning");
        remote(context, reference, &options)?.bytes
    };
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
        let problem = crate::image::ManifestError::Json(error).into();
        Error::Refused { image: args.list.clone(), problem }
    })?;
    format::print_json(ui, &value, Layout::marshal(4))?;
    Ok(ExitStatus::SUCCESS)
}

/// `rbox manifest exists`.
pub mod exists {
    use super::*;
    use crate::store;

    /// Check if a manifest list exists in local storage
    ///
    /// If the manifest list exists in local storage, rbox manifest exists exits with 0, otherwise the exit code will be 1.
    #[derive(Debug, clap::Args)]
    #[command(after_help = "rbox manifest exists mylist")]
    pub struct Args {
        manifest: String,
    }

    /// Answers by the exit code.
    pub fn exec(_ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
        match engine.store()?.find_any(&args.manifest) {
            Ok(found) if found.record.list => Ok(ExitStatus::SUCCESS),
            Ok(_) | Err(store::Error::NotFound { .. }) => Ok(ExitStatus::NO),
            Err(error) => Err(error.into()),
        }
    }
}
