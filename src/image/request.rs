//! What a caller asks of pull: plain data, made from flags and containers.conf in one place.

use std::path::PathBuf;
use std::time::Duration;

use super::encryption::DecryptionKeys;
use super::platform::Platform;

/// When a registry is asked at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Always; an unreachable registry is an error.
    Always,
    /// Only when the image is not here.
    #[default]
    Missing,
    /// Never.
    Never,
    /// When the registry has another image; an unreachable registry is no error while there is one here.
    Newer,
}

/// Not one of the pull policies.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unsupported pull policy \"{0}\"")]
pub struct PullPolicyError(pub String);

impl std::str::FromStr for PullPolicy {
    type Err = PullPolicyError;

    /// Takes podman's words, with Docker's booleans.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "always" | "true" | "1" => Ok(Self::Always),
            "missing" | "ifmissing" | "ifnotpresent" | "false" | "0" | "" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            "newer" | "ifnewer" => Ok(Self::Newer),
            _ => Err(PullPolicyError(text.to_owned())),
        }
    }
}

impl std::fmt::Display for PullPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::Missing => "missing",
            Self::Never => "never",
            Self::Newer => "newer",
        })
    }
}

/// A user's name and password; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// How registries are talked to, as the command line says.
#[derive(Debug, Clone, Default)]
pub struct RegistryOptions {
    /// `--authfile`.
    pub authfile: Option<PathBuf>,
    /// `--compat-auth-file`: Docker's format.
    pub compat_authfile: Option<PathBuf>,
    /// `--creds`.
    pub credentials: Option<Credentials>,
    /// `--cert-dir`.
    pub cert_dir: Option<PathBuf>,
    /// `--tls-verify`; registries.conf decides where it is not given.
    pub tls_verify: Option<bool>,
    /// `--retry`; containers.conf decides where it is not given.
    pub retry: Option<u32>,
    /// `--retry-delay`; exponential where it is not given.
    pub retry_delay: Option<Duration>,
}

/// A request to pull images.
#[derive(Debug, Clone, Default)]
pub struct PullRequest {
    /// What the user typed: a name, or a name with a transport such as `oci-archive:FILE`.
    pub name: String,
    /// When the registry is asked.
    pub policy: PullPolicy,
    /// The platform, where it is not this machine's.
    pub platform: Option<Platform>,
    /// Every tag of the repository.
    pub all_tags: bool,
    /// Keys for layers that are encrypted.
    pub decryption: DecryptionKeys,
    /// How registries are talked to.
    pub registry: RegistryOptions,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_parse_and_print() {
        for (text, policy) in [
            ("always", PullPolicy::Always),
            ("true", PullPolicy::Always),
            ("missing", PullPolicy::Missing),
            ("false", PullPolicy::Missing),
            ("Never", PullPolicy::Never),
            ("newer", PullPolicy::Newer),
        ] {
            assert_eq!(text.parse(), Ok(policy));
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!(
            "bogus".parse::<PullPolicy>().unwrap_err().to_string(),
            "unsupported pull policy \"bogus\""
        );
    }

    #[test]
    fn s74_debug_shows_no_password() {
        let credentials = Credentials { username: "u".into(), password: "hush".into() };
        assert!(!format!("{credentials:?}").contains("hush"));
    }
}
