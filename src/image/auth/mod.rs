//! Credentials of registries: where they are found, and how login and logout change them.
//!
//! Files, in the order they are asked: the one of `--authfile` or `$REGISTRY_AUTH_FILE` alone; else
//! `$XDG_RUNTIME_DIR/containers/auth.json`, `~/.config/containers/auth.json`, `$DOCKER_CONFIG/config.json` or
//! `~/.docker/config.json`, `~/.dockercfg`. Login writes the named one, else `~/.config/containers/auth.json`, which a reboot does not
//! take away; mode 0600 (S74). What it writes or removes there goes from the file in the runtime directory, which is asked first.
//! `credential-helpers` of registries.conf may put programs in front of, or in place of, the files.

mod file;
mod helper;
mod login;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::HeaderValue;

pub use login::{KeyError, LoginKey};

use super::registries::Registries;
use super::request::{Credentials, RegistryOptions};
use crate::config::{Env, ErrorKind, Paths, env::name};
use crate::kernel;

/// The value in `credential-helpers` that means the files.
const FILES: &str = "containers-auth.json";

/// What proves who we are.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Secret {
    /// Nothing: anonymous.
    #[default]
    None,
    /// User name and password.
    Password(Credentials),
    /// A token that buys other tokens.
    IdentityToken(String),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password(_) => "Password",
            Self::IdentityToken(_) => "IdentityToken",
        })
    }
}

impl Secret {
    /// The value of an `Authorization: Basic` header.
    #[must_use]
    pub fn basic(&self) -> Option<HeaderValue> {
        let Self::Password(Credentials { username, password }) = self else { return None };
        let encoded = BASE64.encode(format!("{username}:{password}"));
        let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).expect("base64 is ASCII");
        value.set_sensitive(true);
        Some(value)
    }

    /// The user's name, where the secret has one.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        match self {
            Self::Password(credentials) => Some(&credentials.username),
            Self::None | Self::IdentityToken(_) => None,
        }
    }
}

/// Why credentials cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file cannot be read.
    #[error("reading credentials from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: kernel::Error,
    },
    /// A file is not what Docker and podman write.
    #[error("reading JSON file {}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file cannot be written.
    #[error("writing credentials to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: kernel::Error,
    },
    /// `--authfile` names no file.
    #[error("credential file is not accessible: stat {}: no such file or directory", .0.display())]
    NoAuthfile(PathBuf),
    /// A credential helper is missing, cannot run or fails.
    #[error("credential helper {helper}: {problem}")]
    Helper {
        /// The program.
        helper: String,
        /// What is wrong.
        problem: String,
    },
    /// Login and logout where nothing holds credentials.
    #[error("no file or helper to keep credentials in")]
    Nowhere,
}

impl AuthError {
    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } | Self::Write { .. } => ErrorKind::Denied,
            Self::Json { .. } => ErrorKind::InvalidInput,
            Self::NoAuthfile(_) => ErrorKind::NotFound,
            Self::Helper { .. } | Self::Nowhere => ErrorKind::Unsupported,
        }
    }
}

/// Where this user's credentials are.
#[derive(Debug, Clone)]
pub struct AuthStore {
    files: Vec<AuthFile>,
    /// Which of them login writes.
    written: usize,
    helpers: Vec<String>,
    env: Env,
}

/// One file that may hold credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AuthFile {
    path: PathBuf,
    format: Format,
}

/// Who else reads the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// containers-auth.json(5).
    Containers,
    /// Docker's config.json.
    Docker,
    /// The file before that: only the inner table.
    Legacy,
}

impl AuthStore {
    /// Finds the files and helpers that apply.
    pub fn find(
        env: &Env,
        paths: &Paths,
        options: &RegistryOptions,
        registries: &Registries,
    ) -> Result<Self, AuthError> {
        let helpers = match registries.credential_helpers() {
            [] => vec![FILES.to_owned()],
            list => list.to_vec(),
        };
        let containers = |path: PathBuf| AuthFile { path, format: Format::Containers };
        let docker = |path: PathBuf| AuthFile { path, format: Format::Docker };
        let files = if let Some(path) = &options.authfile {
            vec![containers(path.clone())]
        } else if let Some(path) = &options.compat_authfile {
            vec![docker(path.clone())]
        } else if let Some(path) = env.path(name::REGISTRY_AUTH_FILE) {
            vec![containers(path.to_owned())]
        } else if let Some(dir) = env.path(name::DOCKER_CONFIG) {
            // Podman's rule: an explicit Docker configuration hides the other files.
            vec![docker(dir.join("config.json"))]
        } else {
            vec![
                containers(runtime_file(env)),
                containers(paths.config_home.join("containers/auth.json")),
                docker(paths.home.join(".docker/config.json")),
                AuthFile { path: paths.home.join(".dockercfg"), format: Format::Legacy },
            ]
        };
        // Of the usual ones the second.
        let written = usize::from(files.len() > 1);
        Ok(Self { files, written, helpers, env: env.clone() })
    }

    /// The secret for `key`, which is `HOST[/NAMESPACE[/REPOSITORY]]`; the most specific entry wins.
    pub fn secret(&self, key: &str) -> Result<Secret, AuthError> {
        let host = key.split('/').next().unwrap_or(key);
        for helper in &self.helpers {
            let secret = if helper == FILES {
                self.secret_in_files(key, host)?
            } else {
                helper::get(&self.env, helper, host)?
            };
            if secret != Secret::None {
                return Ok(secret);
            }
        }
        Ok(Secret::None)
    }

    fn secret_in_files(&self, key: &str, host: &str) -> Result<Secret, AuthError> {
        for file in &self.files {
            let Some(content) = file::read(file)? else { continue };
            let secret = match content.lookup(key, host) {
                file::Lookup::Secret(secret) => secret,
                file::Lookup::Helper(helper) => helper::get(&self.env, &helper, host)?,
                file::Lookup::Nothing => continue,
            };
            if secret != Secret::None {
                return Ok(secret);
            }
        }
        Ok(Secret::None)
    }

    /// The file that login writes.
    fn target(&self) -> Option<&AuthFile> {
        self.files.get(self.written)
    }

    /// The files that would hide what is in that one.
    fn hiding(&self) -> &[AuthFile] {
        &self.files[..self.written.min(self.files.len())]
    }
}

/// `$XDG_RUNTIME_DIR/containers/auth.json`, or podman's fallback.
fn runtime_file(env: &Env) -> PathBuf {
    match env.absolute(name::XDG_RUNTIME_DIR) {
        Some(dir) => dir.join("containers/auth.json"),
        None => {
            let uid = crate::config::subid::login_uid(env);
            Path::new("/run/containers").join(uid.to_string()).join("auth.json")
        }
    }
}
