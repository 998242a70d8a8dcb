//! `rbox login`.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::cli::values::go_bool;
use crate::engine::Engine;
use crate::image::auth::{AuthStore, LoginKey, Secret};
use crate::image::registries::Registries;
use crate::image::registry::{Connection, RegistryError, RetryPolicy, check_login};
use crate::image::{Credentials, Error, RegistryOptions};
use crate::kernel::tty;

/// Log in to a container registry
///
/// Log in to a container registry on a specified server.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox login quay.io\n  rbox login --username ... --password ... quay.io\n  \
                  rbox login --authfile dir/auth.json quay.io")]
pub struct Args {
    /// path of the authentication file. Use REGISTRY_AUTH_FILE environment variable to override
    #[arg(long, value_name = "string")]
    authfile: Option<PathBuf>,
    /// use certificates at the specified path to access the registry
    #[arg(long, value_name = "string")]
    cert_dir: Option<PathBuf>,
    /// path of a Docker-compatible config file to update instead
    #[arg(long, value_name = "string")]
    compat_auth_file: Option<PathBuf>,
    /// return the current login user for the registry
    #[arg(long)]
    get_login: bool,
    /// password for registry
    #[arg(long, short, value_name = "string")]
    password: Option<String>,
    /// take the password from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Retrieve password from a secret
    #[arg(long, value_name = "string")]
    secret: Option<String>,
    /// Require HTTPS and verify certificates when contacting registries
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    tls_verify: Option<bool>,
    /// username for registry
    #[arg(long, short, value_name = "string")]
    username: Option<String>,
    /// write more detailed information to stdout
    #[arg(long, short)]
    verbose: bool,
    registry: Option<String>,
}

/// Checks credentials with the registry and keeps them.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.secret.is_some() {
        return Err(CommandError::new("not supported yet: --secret"));
    }
    let registries = Registries::load(engine.env(), engine.paths()?).map_err(Error::from)?;
    let options = options(args.authfile.clone(), args.compat_auth_file.clone())?;
    let auth = AuthStore::find(engine.env(), engine.paths()?, &options, &registries).map_err(Error::from)?;
    let key = LoginKey::parse(args.registry.as_deref(), &registries).map_err(Error::from)?;
    let stored = auth
        .secret(&key.key)
        .map_err(|error| CommandError::from(Error::from(error)).context("get credentials"))?;
    if args.get_login {
        let name = stored.username().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| CommandError::new(format!("not logged into {}", key.key)))?;
        ui.data(name)?;
        return Ok(ExitStatus::SUCCESS);
    }
    if matches!(stored, Secret::IdentityToken(_)) {
        return Err(CommandError::new("currently logged in, auth file contains an Identity token"));
    }
    let insecure = args.tls_verify.map_or_else(|| registries.is_insecure(&key.host), |verify| !verify);
    let retry = RetryPolicy { retries: 0, delay: None };
    let connection = Connection::to(&key.host, engine.paths()?, args.cert_dir.clone(), insecure, retry);
    let password = given_password(&args)?;
    if let (None, None, Secret::Password(credentials)) = (&args.username, &password, &stored) {
        ui.data(format_args!("Authenticating with existing credentials for {}", key.key))?;
        if check_login(&key.host, credentials.clone(), &connection).is_ok() {
            ui.data(format_args!("Existing credentials are valid. Already logged in to {}", key.host))?;
            return Ok(ExitStatus::SUCCESS);
        }
        ui.data("Existing credentials are invalid, please enter valid username and password")?;
    }
    let credentials = ask(ui, args.username, password, stored.username())?;
    check_login(&key.host, credentials.clone(), &connection).map_err(|error| refused(&key, error))?;
    let place = auth.log_in(&key, &credentials).map_err(Error::from)?;
    if args.verbose {
        ui.data(format_args!("Used:  {place}"))?;
    }
    ui.data("Login Succeeded!")?;
    Ok(ExitStatus::SUCCESS)
}

/// Which file of credentials; shared with logout.
pub(super) fn options(authfile: Option<PathBuf>, compat: Option<PathBuf>) -> Result<RegistryOptions> {
    if authfile.is_some() && compat.is_some() {
        return Err(CommandError::new(
            "options for paths to the credential file and to the Docker-compatible credential file can not be set simultaneously",
        ));
    }
    Ok(RegistryOptions { authfile, compat_authfile: compat, ..RegistryOptions::default() })
}

fn given_password(args: &Args) -> Result<Option<String>> {
    if !args.password_stdin {
        return Ok(args.password.clone().filter(|password| !password.is_empty()));
    }
    if args.password.is_some() {
        return Err(CommandError::new("can't specify both --password-stdin and --password"));
    }
    if args.username.as_deref().unwrap_or_default().is_empty() {
        return Err(CommandError::new("must provide --username with --password-stdin"));
    }
    let mut password = String::new();
    for line in std::io::stdin().lock().lines() {
        password.push_str(&line?);
    }
    Ok(Some(password))
}

/// Asks for what was not given. Only a terminal is asked for a password, and it shows none.
fn ask(
    ui: &mut Ui,
    username: Option<String>,
    password: Option<String>,
    known: Option<&str>,
) -> Result<Credentials> {
    let failed = |error: CommandError| error.context("getting username and password");
    let username = match username {
        Some(username) => username,
        None => {
            let prompt =
                known.map_or_else(|| "Username: ".to_owned(), |known| format!("Username ({known}): "));
            ui.data_bytes(prompt.as_bytes())?;
            ui.flush()?;
            let mut line = String::new();
            if std::io::stdin().lock().read_line(&mut line)? == 0 {
                return Err(failed(CommandError::new("reading username: EOF")));
            }
            match line.trim() {
                "" => known.unwrap_or_default().to_owned(),
                name => name.to_owned(),
            }
        }
    };
    let password = match password {
        Some(password) => password,
        None => {
            if !std::io::stdin().is_terminal() {
                let error = CommandError::new("reading password: inappropriate ioctl for device");
                return Err(failed(error).with_hint("`--password-stdin` reads the password from a pipe"));
            }
            ui.data_bytes(b"Password: ")?;
            ui.flush()?;
            let password = tty::read_hidden_line(std::io::stdin())?;
            ui.data("")?;
            password
        }
    };
    let _ = std::io::stdout().flush();
    Ok(Credentials { username: username.trim().to_owned(), password })
}

fn refused(key: &LoginKey, error: RegistryError) -> CommandError {
    let is_refusal = match &error {
        RegistryError::Status { answer, .. } | RegistryError::Token { answer, .. } => answer.status == 401,
        _ => false,
    };
    if is_refusal {
        return CommandError::new(format!("logging into {:?}: invalid username/password", key.key));
    }
    CommandError::from(Error::from(error)).context(format!("authenticating creds for {:?}", key.key))
}
