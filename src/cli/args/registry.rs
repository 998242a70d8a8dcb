//! Arguments of commands that talk to registries.

use std::path::PathBuf;

use super::go;
use crate::cli::error::{CommandError, Result};
use crate::cli::units;
use crate::cli::values::go_bool;
use crate::config::Config;
use crate::image::encryption::DecryptionKeys;
use crate::image::{Credentials, Error, Platform, RegistryOptions};

/// How registries are reached.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RegistryArgs {
    /// Path of the authentication file. Use REGISTRY_AUTH_FILE environment variable to override
    #[arg(long, value_name = "string")]
    authfile: Option<PathBuf>,
    /// Pathname of a directory containing TLS certificates and keys
    #[arg(long, value_name = "Pathname")]
    cert_dir: Option<PathBuf>,
    /// Credentials (USERNAME:PASSWORD) to use for authenticating to a registry
    #[arg(long, value_name = "Credentials")]
    creds: Option<String>,
    /// number of times to retry in case of failure when performing pull (default 3)
    #[arg(long, value_name = "uint", value_parser = go::parse_u32)]
    retry: Option<u32>,
    /// delay between retries in case of pull failures
    #[arg(long, value_name = "string")]
    retry_delay: Option<String>,
    /// Require HTTPS and verify certificates when contacting registries
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    tls_verify: Option<bool>,
}

impl RegistryArgs {
    /// Adds credentials that came by another way.
    pub fn take_credentials(&mut self, text: Option<String>) {
        self.creds = text.or(self.creds.take());
    }

    /// The options of the image layer, with containers.conf behind them.
    ///
    /// # Errors
    /// On values that are none, and on a credential file that does not exist.
    pub fn into_options(self, config: &Config) -> Result<RegistryOptions> {
        let delay = match self.retry_delay.as_deref().unwrap_or(&config.engine.retry_delay) {
            "" => None,
            text => {
                Some(units::parse_duration(text).map_err(|error| CommandError::new(error.to_string()))?.1)
            }
        };
        if let Some(path) = &self.authfile {
            check_authfile(path)?;
        }
        Ok(RegistryOptions {
            authfile: self.authfile,
            compat_authfile: None,
            credentials: self.creds.as_deref().map(credentials).transpose()?,
            cert_dir: self.cert_dir,
            tls_verify: self.tls_verify,
            retry: Some(self.retry.unwrap_or(config.engine.retry)),
            retry_delay: delay,
        })
    }
}

/// Fails with podman's words if a credential file that was named does not exist.
///
/// # Errors
/// When it does not exist.
pub fn check_authfile(path: &std::path::Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let path = path.display();
    Err(CommandError::new(format!(
        "credential file is not accessible: faccessat {path}: no such file or directory"
    )))
}

/// `--decryption-key`, each with its passphrase.
///
/// # Errors
/// On files that have no key.
pub fn decryption_keys(texts: &[String]) -> Result<DecryptionKeys> {
    let keys = DecryptionKeys::read(texts).map_err(Error::from);
    keys.map_err(|error| CommandError::from(error).context("unable to obtain decryption config"))
}

/// `USERNAME:PASSWORD`.
///
/// # Errors
/// When it is something else; it is not in the message.
pub fn credentials(text: &str) -> Result<Credentials> {
    match text.split_once(':') {
        _ if text.is_empty() => Err(CommandError::new("no credentials provided")),
        Some(("", _)) => Err(CommandError::new("user name is empty")),
        Some((username, password)) => {
            Ok(Credentials { username: username.to_owned(), password: password.to_owned() })
        }
        None => Err(CommandError::new("credentials must be USERNAME:PASSWORD").with_hint(
            "`login` keeps a password in a file that only you can read; on the command line others see it",
        )),
    }
}

/// Which image of an index.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PlatformArgs {
    /// Use ARCH instead of the architecture of the machine for choosing images
    #[arg(long, alias = "override-arch", value_name = "ARCH")]
    arch: Option<String>,
    /// Use OS instead of the running OS for choosing images
    #[arg(long, alias = "override-os", value_name = "OS")]
    os: Option<String>,
    /// Specify the platform for selecting the image. (Conflicts with --arch and --os)
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Use VARIANT instead of the running architecture variant for choosing images
    #[arg(long, alias = "override-variant", value_name = "VARIANT")]
    variant: Option<String>,
}

impl PlatformArgs {
    /// The platform, if one was asked for.
    ///
    /// # Errors
    /// On a platform that is none, or stated twice.
    pub fn into_platform(self) -> Result<Option<Platform>> {
        let host = Platform::host();
        match (self.platform.filter(|text| !text.is_empty()), self.arch, self.os) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                Err(CommandError::new("--platform option can not be specified with --arch or --os"))
            }
            (Some(text), None, None) => {
                Platform::parse(&text).map(Some).map_err(|error| CommandError::new(error.to_string()))
            }
            (None, None, None) if self.variant.is_none() => Ok(None),
            (None, architecture, os) => Ok(Some(Platform::normalised(
                os.as_deref().unwrap_or(&host.os),
                architecture.as_deref().unwrap_or(&host.architecture),
                self.variant.as_deref(),
            ))),
        }
    }
}
