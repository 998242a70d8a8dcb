//! Files from the web, for `load --input URL` and `import URL`.
//!
//! No credentials are sent. HTTPS never leads to plain HTTP, and the body goes into a file without a name, so nothing is
//! left of one that was cut off.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Url};
use rustls::{ClientConfig, RootCertStore};

use super::archive::{copy_folder, nameless};
use super::error::{Error, Result};
use super::pull::Context;
use super::registry::{TransportCause, block_on};
use crate::config::ErrorKind;

/// How long a connection may take, and how long a server may stay silent.
const LIMIT: Duration = Duration::from_secs(30);
const REDIRECTS_MAX: usize = 10;

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Not a URL.
    #[error("it is no URL")]
    Url,
    /// No HTTP client.
    #[error("no HTTP client: {0}")]
    Setup(String),
    /// The server could not be asked.
    #[error("{0}")]
    Transport(TransportCause),
    /// It has no such file, or does not give it.
    #[error("the server answered {0}")]
    Status(u16),
    /// It sent less than it announced.
    #[error("{expected} bytes were announced, {actual} came")]
    Short {
        /// By the server.
        expected: u64,
        /// Before the end.
        actual: u64,
    },
    /// No room for it.
    #[error("writing the temporary file in {}", .folder.display())]
    Write {
        /// Where.
        folder: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl DownloadError {
    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Url => ErrorKind::InvalidInput,
            Self::Status(404 | 410) => ErrorKind::NotFound,
            Self::Status(401 | 403) => ErrorKind::Denied,
            _ => ErrorKind::Internal,
        }
    }
}

/// Whether a text names a file of the web.
#[must_use]
pub fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Fetches a file; it has no name, and its place is at the beginning.
///
/// # Errors
/// When it cannot be had whole.
pub fn download(context: Context<'_>, url: &str) -> Result<File> {
    let fail = |source| Error::Download { url: shown(url), source: Box::new(source) };
    let target = Url::parse(url).map_err(|_| fail(DownloadError::Url))?;
    let folder = copy_folder(context);
    let file = nameless(&folder).map_err(|error| Error::Archive { path: None, source: Box::new(error) })?;
    let write = |mut file: &File, piece: &[u8]| {
        file.write_all(piece).map_err(|source| DownloadError::Write { folder: folder.clone(), source })
    };
    block_on(fetch(target, |piece| write(&file, piece)))?.map_err(fail)?;
    (&file).rewind().map_err(|source| fail(DownloadError::Write { folder: folder.clone(), source }))?;
    Ok(file)
}

async fn fetch(
    url: Url,
    mut take: impl FnMut(&[u8]) -> Result<(), DownloadError>,
) -> Result<(), DownloadError> {
    let failed = |error: reqwest::Error| DownloadError::Transport(TransportCause::of(&error));
    let client = client()?;
    let mut response = client.get(url).header("Accept-Encoding", "identity").send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(DownloadError::Status(response.status().as_u16()));
    }
    let (expected, mut actual) = (response.content_length(), 0);
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        take(&piece)?;
        actual += piece.len() as u64;
    }
    match expected {
        Some(expected) if expected != actual => Err(DownloadError::Short { expected, actual }),
        _ => Ok(()),
    }
}

fn client() -> Result<Client, DownloadError> {
    let setup = |error: &dyn std::error::Error| DownloadError::Setup(super::error::chain(error));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("rbox/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::custom(redirect))
        .referer(false)
        .connect_timeout(LIMIT)
        .read_timeout(LIMIT)
        .http1_only()
        .build()
        .map_err(|error| setup(&error))
}

fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let was_encrypted = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > REDIRECTS_MAX || (was_encrypted && attempt.url().scheme() != "https") {
        // The answer that redirects is then what its status says: no file.
        return attempt.stop();
    }
    attempt.follow()
}

/// Without what may be a secret.
fn shown(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return url.to_owned() };
    url.set_query(None);
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_no_secrets() {
        assert_eq!(shown("https://u:p@h/a?token=x#f"), "https://h/a#f");
        assert_eq!(shown("no url"), "no url");
        assert!(is_url("http://h/x") && is_url("https://h/x") && !is_url("oci:x") && !is_url("/http://"));
    }
}
