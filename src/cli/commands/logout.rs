//! `rbox logout`.

use std::path::PathBuf;

use super::login::options;
use crate::cli::args::registry::check_authfile;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::Error;
use crate::image::auth::{AuthStore, LoginKey, Secret};
use crate::image::registries::Registries;

/// Log out of a container registry
///
/// Remove the cached username and password for the registry.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "rbox logout quay.io\n  rbox logout --authfile dir/auth.json quay.io\n  rbox logout --all"
)]
pub struct Args {
    /// Remove the cached credentials for all registries in the auth file
    #[arg(long, short)]
    all: bool,
    /// path of the authentication file. Use REGISTRY_AUTH_FILE environment variable to override
    #[arg(long, value_name = "string")]
    authfile: Option<PathBuf>,
    /// path of a Docker-compatible config file to update instead
    #[arg(long, value_name = "string")]
    compat_auth_file: Option<PathBuf>,
    registry: Option<String>,
}

/// Forgets credentials.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    for path in args.authfile.iter().chain(&args.compat_auth_file) {
        check_authfile(path)?;
    }
    let options = options(args.authfile, args.compat_auth_file)?;
    let registries = Registries::load(engine.env(), engine.paths()?).map_err(Error::from)?;
    let auth = AuthStore::find(engine.env(), engine.paths()?, &options, &registries).map_err(Error::from)?;
    if args.all {
        if args.registry.is_some() {
            return Err(CommandError::new("--all takes no arguments"));
        }
        auth.log_out_all().map_err(Error::from)?;
        ui.data("Removed login credentials for all registries")?;
        return Ok(ExitStatus::SUCCESS);
    }
    let key = LoginKey::parse(args.registry.as_deref(), &registries).map_err(Error::from)?;
    if auth.log_out(&key).map_err(Error::from)? {
        ui.data(format_args!("Removed login credentials for {}", key.key))?;
        return Ok(ExitStatus::SUCCESS);
    }
    if matches!(auth.secret(&key.key).map_err(Error::from)?, Secret::Password(_)) {
        ui.data(format_args!(
            "Not logged into {} with current tool. Existing credentials were established via docker login. Please use docker logout instead.",
            key.key
        ))?;
        return Ok(ExitStatus::SUCCESS);
    }
    Err(CommandError::new(format!("not logged into {}", key.key)))
}
