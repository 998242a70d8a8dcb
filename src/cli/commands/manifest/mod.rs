//! `rbox manifest …`: lists of images.

pub mod edit;
pub mod inspect;
pub mod push;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cli::args::registry::check_authfile;
use crate::cli::error::{CommandError, Result};
use crate::cli::values::go_bool;
use crate::engine::Engine;
use crate::image::{Error, RegistryOptions};
use crate::store::{self, ImageRecord};

/// How a registry is asked about an image.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AskArgs {
    /// path of the authentication file. Use REGISTRY_AUTH_FILE environment variable to override
    #[arg(long, value_name = "string")]
    authfile: Option<PathBuf>,
    /// use certificates at the specified path to access the registry
    #[arg(long, value_name = "string")]
    cert_dir: Option<PathBuf>,
    /// neither require HTTPS nor verify certificates when accessing the registry
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    insecure: Option<bool>,
    /// require HTTPS and verify certificates when accessing the registry
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    tls_verify: Option<bool>,
}

impl AskArgs {
    fn into_options(self) -> Result<RegistryOptions> {
        if self.insecure.is_some() && self.tls_verify.is_some() {
            return Err(CommandError::new("--insecure may not be used with --tls-verify"));
        }
        if let Some(path) = &self.authfile {
            check_authfile(path)?;
        }
        Ok(RegistryOptions {
            authfile: self.authfile,
            cert_dir: self.cert_dir,
            tls_verify: self.tls_verify.or(self.insecure.map(|insecure| !insecure)),
            ..RegistryOptions::default()
        })
    }
}

/// The list of a name or id.
pub(super) fn find(engine: &Engine, name: &str) -> Result<ImageRecord> {
    match engine.store()?.find_any(name) {
        Ok(found) if found.record.list => Ok(found.record),
        Ok(_) => Err(CommandError::new(format!("{name}: image is not a manifest list"))),
        Err(store::Error::NotFound { text, .. }) => Err(Error::NotKnown(text).into()),
        Err(error) => Err(error.into()),
    }
}

/// `KEY=VALUE` of each.
fn annotations(texts: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(CommandError::new(format!("expected --annotation {text:?} to be in key=value format"))),
    };
    texts.iter().map(pair).collect()
}
