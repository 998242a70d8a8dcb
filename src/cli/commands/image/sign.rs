//! `rbox image sign`.

use std::path::PathBuf;

use crate::cli::args::registry::check_authfile;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::RegistryOptions;
use crate::image::signature::{SignRequest, sign};

/// Sign an image
///
/// Create a signature for an image that can be used later to verify it.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] IMAGE [IMAGE...]",
    after_help = "rbox image sign --sign-by mykey docker://quay.io/me/image:1\n  rbox image sign --sign-by mykey --directory ./mykeydir docker://quay.io/me/image:1"
)]
pub struct Args {
    /// Sign all the manifests of the multi-architecture image
    #[arg(long, short)]
    all: bool,
    /// Path of the authentication file. Use REGISTRY_AUTH_FILE environment variable to override
    #[arg(long, value_name = "string")]
    authfile: Option<PathBuf>,
    /// Pathname of a directory containing TLS certificates and keys
    #[arg(long, value_name = "Pathname")]
    cert_dir: Option<PathBuf>,
    /// Define an alternate directory to store signatures
    #[arg(long, short, value_name = "string")]
    directory: Option<PathBuf>,
    /// Name of the signing key
    #[arg(long, value_name = "string")]
    sign_by: Option<String>,
    /// The images, with their transports
    #[arg(required = true)]
    image: Vec<String>,
}

/// Signs each image.
///
/// # Errors
/// When one cannot be signed.
pub fn exec(_: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if let Some(path) = &args.authfile {
        check_authfile(path)?;
    }
    let key = args.sign_by.filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| CommandError::new("no identity provided"))?;
    if let Some(path) = args.directory.as_ref().filter(|path| !path.is_dir()) {
        return Err(CommandError::new(format!("{}: no such directory", path.display())));
    }
    for name in args.image {
        let registry = RegistryOptions {
            authfile: args.authfile.clone(),
            cert_dir: args.cert_dir.clone(),
            ..RegistryOptions::default()
        };
        let (key, directory, all) = (key.clone(), args.directory.clone(), args.all);
        sign(engine.images()?, &SignRequest { name, key, directory, all, registry })?;
    }
    Ok(ExitStatus::SUCCESS)
}
