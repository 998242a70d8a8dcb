//! What can go wrong between rbox and a registry, with the words that scripts look for.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use crate::config::ErrorKind;
use crate::image::manifest::ManifestError;
use crate::store::Digest;

/// A failed exchange with a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No usable answer: connection, TLS or HTTP failed.
    #[error("pinging container registry {host}: {method} \"{url}\": {cause}")]
    Transport {
        /// The registry.
        host: String,
        /// As Go prints it: `Get`, `Head`.
        method: &'static str,
        /// What was asked for, without secrets.
        url: String,
        /// What happened, classified.
        cause: TransportCause,
    },
    /// The registry answered with an error.
    #[error("{doing}: {answer}")]
    Status {
        /// What was being done: `reading manifest latest in localhost/x`.
        doing: String,
        /// The answer.
        answer: Answer,
    },
    /// The registry wants to know who asks, or does not believe it.
    #[error("{doing}: authentication required")]
    Unauthorized {
        /// What was being done.
        doing: String,
    },
    /// The token server refused.
    #[error("unable to retrieve auth token: {}{answer}", if *.with_credentials { "invalid username/password: " } else { "" })]
    Token {
        /// Whether it was asked with credentials.
        with_credentials: bool,
        /// The answer.
        answer: Answer,
    },
    /// The token server's address or answer is unusable.
    #[error("unable to retrieve auth token: {realm:?}: {problem}")]
    TokenServer {
        /// As the registry named it.
        realm: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// An answer is larger than anything of its kind.
    #[error("{doing}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// What was being done.
        doing: String,
        /// The limit.
        limit: u64,
    },
    /// The server sends nothing, or next to nothing.
    #[error("{doing}: the server is too slow: {received} bytes in {} s", after.as_secs())]
    Slow {
        /// What was being done.
        doing: String,
        /// Bytes in the last interval.
        received: u64,
        /// Length of the interval.
        after: Duration,
    },
    /// The server ended a body early.
    #[error("{doing}: unexpected EOF: got {received} of {expected} bytes")]
    Truncated {
        /// What was being done.
        doing: String,
        /// Bytes that came.
        received: u64,
        /// Bytes that were announced.
        expected: u64,
    },
    /// A redirect that is not followed.
    #[error("{doing}: refusing the redirect to {target:?}: {problem}")]
    Redirect {
        /// What was being done.
        doing: String,
        /// Where it leads, without query.
        target: String,
        /// Why not.
        problem: &'static str,
    },
    /// The answer breaks the protocol.
    #[error("{doing}: {problem}")]
    Protocol {
        /// What was being done.
        doing: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Content is not what its digest says.
    #[error("{doing}: digest mismatch: expected {expected}, got {actual}")]
    Mismatch {
        /// What was being done.
        doing: String,
        /// What was asked for.
        expected: Box<Digest>,
        /// What came.
        actual: Box<Digest>,
    },
    /// A manifest that cannot be used.
    #[error("{doing}")]
    Manifest {
        /// What was being done.
        doing: String,
        /// Why not.
        source: ManifestError,
    },
    /// What is to be uploaded cannot be read.
    #[error("{doing}")]
    Content {
        /// What was being done.
        doing: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A certificate or key file cannot be used.
    #[error("cannot use {}: {problem}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// No HTTP client, no runtime: the host has a problem.
    #[error("cannot set up the HTTP client")]
    Setup(#[source] Box<dyn StdError + Send + Sync>),
}

/// An HTTP error with what its body says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Codes of the distribution specification, upper case; empty where the body has none.
    pub code: String,
    /// The body's message, or a sample of the body.
    pub message: String,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = StatusCode::from_u16(self.status).ok();
        let reason = status.and_then(|s| s.canonical_reason()).unwrap_or_default();
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") if self.status == 401 => f.write_str("unauthorized: authentication required"),
            ("", "") if (400..500).contains(&self.status) && self.status != 429 => {
                write!(f, "StatusCode: {} {reason}", self.status)
            }
            ("", _) if self.status == 429 => f.write_str("too many requests to registry (StatusCode: 429)"),
            ("", message) if (400..500).contains(&self.status) => {
                write!(f, "StatusCode: {}, {message:?}", self.status)
            }
            ("", _) => write!(f, "received unexpected HTTP status: {} {reason}", self.status),
            (code, message) => {
                let default = default_message(code);
                match (message, default) {
                    // Go prints `code: message`, and the message alone where it is the code's usual one.
                    (message, Some(default)) if message.is_empty() || message == default => {
                        f.write_str(default)
                    }
                    (message, _) => write!(f, "{}: {message}", code.to_ascii_lowercase().replace('_', " ")),
                }
            }
        }
    }
}

/// The message that the distribution registry sends with a code.
fn default_message(code: &str) -> Option<&'static str> {
    Some(match code {
        "MANIFEST_UNKNOWN" => "manifest unknown",
        "NAME_UNKNOWN" => "repository name not known to registry",
        "NAME_INVALID" => "invalid repository name",
        "BLOB_UNKNOWN" => "blob unknown to registry",
        "DENIED" => "requested access to the resource is denied",
        "UNAUTHORIZED" => "unauthorized: authentication required",
        "TOOMANYREQUESTS" => "too many requests",
        "UNAVAILABLE" => "service unavailable",
        "UNSUPPORTED" => "The operation is unsupported.",
        "TAG_INVALID" => "manifest tag did not match URI",
        _ => return None,
    })
}

impl Answer {
    /// Reads the body of an error response.
    pub(super) fn parse(status: StatusCode, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            errors: Vec<Item>,
            #[serde(default)]
            details: String,
        }
        #[derive(Deserialize)]
        struct Item {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let status = status.as_u16();
        let bounded = |text: &str| text.chars().filter(|c| !c.is_control()).take(500).collect::<String>();
        if let Ok(body) = serde_json::from_slice::<Body>(body) {
            if let Some(item) = body.errors.first() {
                let code = bounded(&item.code).to_ascii_uppercase();
                return Self { status, code, message: bounded(&item.message) };
            }
            if !body.details.is_empty() {
                return Self { status, code: String::new(), message: bounded(&body.details) };
            }
        }
        let mut sample: String = bounded(&String::from_utf8_lossy(body)).chars().take(50).collect();
        if status == 401 {
            sample.clear();
        }
        Self { status, code: String::new(), message: sample }
    }
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransportCause {
    /// The host name does not resolve.
    NoSuchHost(String),
    /// An errno of connecting, reading or writing.
    Os(i32),
    /// The server spoke plain HTTP on a TLS port.
    PlainHttp,
    /// The certificate is not trusted.
    UntrustedCertificate(String),
    /// TLS failed otherwise.
    Tls(String),
    /// No connection or no answer within the time limit.
    Timeout,
    /// The connection was closed before an answer.
    Closed,
    /// The answer is not HTTP, or anything else.
    Http(String),
}

impl std::fmt::Display for TransportCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSuchHost(host) => write!(f, "dial tcp: lookup {host}: no such host"),
            Self::Os(errno) => write!(f, "dial tcp: connect: {}", crate::kernel::errno::describe(*errno)),
            Self::PlainHttp => f.write_str("http: server gave HTTP response to HTTPS client"),
            Self::UntrustedCertificate(why) => write!(f, "tls: failed to verify certificate: x509: {why}"),
            Self::Tls(why) => write!(f, "tls: {why}"),
            Self::Timeout => f.write_str("i/o timeout"),
            Self::Closed => f.write_str("unexpected EOF"),
            Self::Http(why) => f.write_str(why),
        }
    }
}

impl TransportCause {
    /// Finds the cause in the chain of an HTTP client's error.
    pub(in crate::image) fn of(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        let mut text = String::new();
        let mut next: Option<&(dyn StdError + 'static)> = error.source();
        while let Some(cause) = next {
            if let Some(tls) = find_tls(cause) {
                return Self::of_tls(tls);
            }
            if let Some(errno) = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error)
            {
                return Self::Os(errno);
            }
            let message = cause.to_string();
            if message == "dns error" || message.contains("failed to lookup address") {
                let host = error.url().and_then(|u| u.host_str()).unwrap_or_default();
                return Self::NoSuchHost(host.to_owned());
            }
            let is_end = ["connection closed before message", "end of file before", "unexpected end of file"];
            if is_end.iter().any(|part| message.contains(part)) {
                return Self::Closed;
            }
            if text.is_empty() || !text.contains(&message) {
                let _ = write!(text, "{}{message}", if text.is_empty() { "" } else { ": " });
            }
            next = cause.source();
        }
        Self::Http(if text.is_empty() { error.to_string() } else { text })
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use rustls::{CertificateError as C, Error as E};
        match error {
            // The first bytes of "HTTP/1.1 400" are no TLS record.
            E::InvalidMessage(_) => Self::PlainHttp,
            E::InvalidCertificate(problem) => Self::UntrustedCertificate(match problem {
                C::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
                C::Expired | C::ExpiredContext { .. } => {
                    "certificate has expired or is not yet valid: it has expired".to_owned()
                }
                C::NotValidYet | C::NotValidYetContext { .. } => {
                    "certificate has expired or is not yet valid: it is not yet valid".to_owned()
                }
                C::NotValidForName | C::NotValidForNameContext { .. } => {
                    format!("certificate is not valid for the name of the server: {problem}")
                }
                other => other.to_string(),
            }),
            other => Self::Tls(other.to_string()),
        }
    }

    /// Whether another attempt may succeed.
    fn is_transient(&self) -> bool {
        match self {
            Self::Timeout | Self::Closed => true,
            Self::Os(errno) => [
                libc::ECONNREFUSED,
                libc::ECONNRESET,
                libc::ECONNABORTED,
                libc::ENETDOWN,
                libc::ENETUNREACH,
                libc::ENETRESET,
                libc::EHOSTDOWN,
                libc::EHOSTUNREACH,
                libc::ETIMEDOUT,
                libc::EPIPE,
                libc::EAGAIN,
                libc::EINTR,
            ]
            .contains(errno),
            Self::Http(why) => why.contains("incomplete message"),
            Self::NoSuchHost(_) | Self::PlainHttp | Self::UntrustedCertificate(_) | Self::Tls(_) => false,
        }
    }
}

/// A TLS error, also inside of the I/O errors that carry it.
fn find_tls<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e rustls::Error> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    // `source` of an I/O error leaves out the error that it holds, so that one must be asked for.
    find_tls(error.downcast_ref::<std::io::Error>()?.get_ref()?)
}

impl RegistryError {
    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Status { answer, .. } if answer.status == 404 => ErrorKind::NotFound,
            Self::Status { answer, .. } if matches!(answer.status, 401 | 403) => ErrorKind::Denied,
            Self::Status { answer, .. } if answer.status == 429 => ErrorKind::Busy,
            Self::Token { .. }
            | Self::TokenServer { .. }
            | Self::Redirect { .. }
            | Self::Unauthorized { .. } => ErrorKind::Denied,
            Self::Manifest { source: ManifestError::Schema1 | ManifestError::MediaType(_), .. } => {
                ErrorKind::Unsupported
            }
            Self::Certificate { .. } => ErrorKind::InvalidInput,
            Self::Transport { .. } | Self::Slow { .. } | Self::Truncated { .. } => ErrorKind::Busy,
            _ => ErrorKind::Internal,
        }
    }

    /// Whether another attempt may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Transport { cause, .. } => cause.is_transient(),
            Self::Status { answer, .. } | Self::Token { answer, .. } => is_transient_status(answer.status),
            Self::Truncated { .. } => true,
            _ => false,
        }
    }

    /// A setting or command that helps with `host`.
    #[must_use]
    pub fn hint(&self, host: &str) -> Option<String> {
        match self {
            Self::Transport { cause: TransportCause::PlainHttp, .. } => Some(format!(
                "the registry speaks plain HTTP: use `--tls-verify=false`, or `insecure = true` for {host} in registries.conf"
            )),
            Self::Transport { cause: TransportCause::UntrustedCertificate(_), .. } => Some(format!(
                "put the registry's CA into ~/.config/containers/certs.d/{host}/ca.crt, or use `--tls-verify=false`"
            )),
            Self::Status { answer, .. } if answer.status == 429 || answer.code == "TOOMANYREQUESTS" => {
                Some(format!("`login {host}` gives a higher limit"))
            }
            Self::Status { answer, .. } if matches!(answer.status, 401 | 403) => {
                Some(format!("the image may be private: `login {host}`, or check the name"))
            }
            Self::Unauthorized { .. } => Some(format!("`login {host}`, or check the password")),
            Self::Token { with_credentials: true, .. } => {
                Some(format!("the stored password may be out of date: `login {host}`"))
            }
            _ => None,
        }
    }

    /// Whether the registry says that there is no such manifest or repository.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { answer, .. } if answer.status == 404)
    }
}

/// Statuses that mean "later": too many requests, and a proxy or a server that is not ready.
pub(super) fn is_transient_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_podmans_words() {
        for (status, body, text) in [
            (
                404,
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#,
                "manifest unknown",
            ),
            (
                404,
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such tag x"}]}"#,
                "manifest unknown: no such tag x",
            ),
            (
                404,
                r#"{"errors":[{"code":"NAME_UNKNOWN","message":""}]}"#,
                "repository name not known to registry",
            ),
            (
                401,
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
                "unauthorized: authentication required",
            ),
            (401, "", "unauthorized: authentication required"),
            (401, "<html>", "unauthorized: authentication required"),
            (
                403,
                r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#,
                "requested access to the resource is denied",
            ),
            (403, r#"{"details":"go away"}"#, "StatusCode: 403, \"go away\""),
            (404, "", "StatusCode: 404 Not Found"),
            (429, "", "too many requests to registry (StatusCode: 429)"),
            (
                429,
                r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit"}]}"#,
                "toomanyrequests: You have reached your pull rate limit",
            ),
            (503, "<html>", "received unexpected HTTP status: 503 Service Unavailable"),
            (418, "\u{1b}[31mred", "StatusCode: 418, \"[31mred\""),
        ] {
            let answer = Answer::parse(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(answer.to_string(), text, "{status} {body}");
        }
    }
}
