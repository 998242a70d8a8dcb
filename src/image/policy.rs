//! policy.json: which images may be brought here at all.
//!
//! Read: the first of `~/.config/containers/policy.json` and `/etc/containers/policy.json`; without one everything is
//! accepted. The requirements of the most specific scope count: an exact name, its repository, the parts of that up to
//! the registry, `*.DOMAIN`, the transport, the default. A requirement that cannot be checked refuses the image, and
//! so does a file that cannot be understood.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::reference::Reference;
use super::signature::{Signature, SignedBy, SigstoreSigned, Subject};
use crate::config::{ErrorKind, Paths};
use crate::kernel;
use crate::kernel::file::{read_given, read_limited};

const FILE_MAX: u64 = 4 << 20;

/// Why an image may not be brought.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("reading the signature policy")]
    Read(#[source] kernel::Error),
    /// The file is none.
    #[error("invalid policy in {}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The policy says no.
    #[error("Source image rejected: Running image {image} is rejected by policy ({})", path.display())]
    Rejected {
        /// The image with its transport.
        image: String,
        /// The file that says so.
        path: PathBuf,
    },
    /// A requirement that cannot be fulfilled as it stands.
    #[error("invalid policy in {}: {message}", path.display())]
    Requirement {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// No signature is good.
    #[error("Source image rejected: {reason}")]
    Unsigned {
        /// Why each is not.
        reason: String,
    },
}

impl PolicyError {
    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(_) | Self::Rejected { .. } | Self::Unsigned { .. } => ErrorKind::Denied,
            Self::Json { .. } | Self::Requirement { .. } => ErrorKind::InvalidInput,
        }
    }
}

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type")]
enum Requirement {
    #[serde(rename = "insecureAcceptAnything")]
    Accept {},
    #[serde(rename = "reject")]
    Reject {},
    #[serde(rename = "signedBy")]
    SignedBy(Box<SignedBy>),
    #[serde(rename = "sigstoreSigned")]
    SigstoreSigned(Box<SigstoreSigned>),
}

impl Requirement {
    fn problem(&self) -> Option<String> {
        match self {
            Self::Accept {} | Self::Reject {} => None,
            Self::SignedBy(requirement) => requirement.problem(),
            Self::SigstoreSigned(requirement) => requirement.problem(),
        }
    }
}

/// What is left to be proven about an image that may be brought.
#[derive(Debug)]
pub(crate) struct Demands(Vec<Requirement>);

impl Demands {
    /// Whether nothing is.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the signatures prove all of it.
    ///
    /// # Errors
    /// When they do not.
    pub(crate) fn check(&self, subject: Subject<'_>, signatures: &[Signature]) -> Result<(), PolicyError> {
        for requirement in &self.0 {
            let outcome = match requirement {
                Requirement::SignedBy(requirement) => requirement.check(&subject, signatures),
                Requirement::SigstoreSigned(requirement) => requirement.check(&subject, signatures),
                Requirement::Accept {} | Requirement::Reject {} => Ok(()),
            };
            outcome.map_err(|reason| PolicyError::Unsigned { reason })?;
        }
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

/// The policy that applies.
#[derive(Debug)]
pub struct Policy {
    file: Option<(File, PathBuf)>,
}

/// The files that may hold a policy, the first one counts.
#[must_use]
pub fn files(paths: &Paths) -> [PathBuf; 2] {
    [paths.config_home.join("containers/policy.json"), PathBuf::from("/etc/containers/policy.json")]
}

impl Policy {
    /// Reads it.
    ///
    /// # Errors
    /// When there is one that cannot be understood.
    pub fn load(paths: &Paths) -> Result<Self, PolicyError> {
        for path in files(paths) {
            match read_limited(&path, FILE_MAX) {
                Ok(bytes) => return Self::parse(&bytes, path),
                Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR)) => {}
                Err(error) => return Err(PolicyError::Read(error)),
            }
        }
        Ok(Self { file: None })
    }

    /// Reads the one that the command line names.
    ///
    /// # Errors
    /// When it is not there or cannot be understood.
    pub fn given(path: &Path) -> Result<Self, PolicyError> {
        Self::parse(&read_given(path, FILE_MAX).map_err(PolicyError::Read)?, path.to_owned())
    }

    /// Whether an image of the store may be sent away. No signatures are kept there: a policy that wants some refuses it.
    ///
    /// # Errors
    /// When it may not.
    pub fn check_stored(&self, image: &str) -> Result<(), PolicyError> {
        let image = format!("containers-storage:{image}");
        match self.decide("containers-storage", &[], &image)?.is_empty() {
            true => Ok(()),
            false => Err(PolicyError::Unsigned {
                reason: format!("A signature was required, but {image} has none in the store"),
            }),
        }
    }

    fn parse(bytes: &[u8], path: PathBuf) -> Result<Self, PolicyError> {
        let file: File = match serde_json::from_slice(bytes) {
            Ok(file) => file,
            Err(source) => return Err(PolicyError::Json { path, source }),
        };
        // What cannot be checked must not wait until somebody needs it.
        let scopes = file.transports.values().flat_map(BTreeMap::values);
        let problem = scopes.chain([&file.default]).flatten().find_map(Requirement::problem);
        match problem {
            Some(message) => Err(PolicyError::Requirement { path, message }),
            None => Ok(Self { file: Some((file, path)) }),
        }
    }

    /// Whether an image of a registry may be brought, and what its signatures must prove then.
    ///
    /// # Errors
    /// When it may not.
    pub(crate) fn check(&self, reference: &Reference) -> Result<Demands, PolicyError> {
        self.decide("docker", &scopes(reference), &format!("docker://{reference}"))
    }

    /// Whether an image of a file or folder may be brought, and what its signatures must prove then.
    ///
    /// # Errors
    /// When it may not.
    pub(crate) fn check_path(&self, transport: &str, path: &Path) -> Result<Demands, PolicyError> {
        let ancestors = path.ancestors().map(|path| path.display().to_string()).filter(|path| path != "/");
        self.decide(transport, &ancestors.collect::<Vec<_>>(), &format!("{transport}:{}", path.display()))
    }

    fn decide(&self, transport: &str, scopes: &[String], image: &str) -> Result<Demands, PolicyError> {
        let Some((file, path)) = &self.file else { return Ok(Demands(Vec::new())) };
        let of_transport = file.transports.get(transport);
        let scoped = of_transport.and_then(|table| {
            scopes.iter().map(String::as_str).chain([""]).find_map(|scope| table.get(scope))
        });
        let requirements = scoped.unwrap_or(&file.default);
        // An empty list accepts nothing, as everywhere in this format.
        if requirements.is_empty() || requirements.contains(&Requirement::Reject {}) {
            return Err(PolicyError::Rejected { image: image.to_owned(), path: path.clone() });
        }
        let left = requirements.iter().filter(|requirement| !matches!(requirement, Requirement::Accept {}));
        Ok(Demands(left.cloned().collect()))
    }
}

/// The scopes of a reference, the most specific first.
pub(crate) fn scopes(reference: &Reference) -> Vec<String> {
    let repository = reference.repository();
    let mut scopes = vec![reference.to_string(), repository.clone()];
    let mut rest = repository.as_str();
    while let Some((shorter, _)) = rest.rsplit_once('/') {
        scopes.push(shorter.to_owned());
        rest = shorter;
    }
    let mut host = reference.domain().split(':').next().unwrap_or_default();
    while let Some((_, parent)) = host.split_once('.') {
        scopes.push(format!("*.{parent}"));
        host = parent;
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(text: &str, name: &str) -> bool {
        let policy = Policy::parse(text.as_bytes(), "/p".into()).unwrap();
        policy.check(&Reference::parse(name).unwrap().with_default_tag()).is_ok()
    }

    #[test]
    fn signatures_are_asked_for() {
        let text = r#"{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":{
            "a.io":[{"type":"signedBy","keyType":"GPGKeys","keyData":"AA=="},{"type":"insecureAcceptAnything"}]}}}"#;
        let policy = Policy::parse(text.as_bytes(), "/p".into()).unwrap();
        let demands = |name: &str| policy.check(&Reference::parse(name).unwrap()).unwrap();
        assert!(demands("b.io/x:1").is_empty() && !demands("a.io/x:1").is_empty());
        assert!(demands("a.io/x:1").check(Subject { name: None, manifest: b"{}" }, &[]).is_err());
    }

    #[test]
    fn the_most_specific_scope_decides() {
        let text = r#"{"default":[{"type":"reject"}],"transports":{"docker":{
            "a.io":[{"type":"insecureAcceptAnything"}],
            "a.io/bad":[{"type":"reject"}],
            "a.io/bad/good:1":[{"type":"insecureAcceptAnything"}],
            "*.b.io":[{"type":"insecureAcceptAnything"}],
            "c.io":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}],
            "d.io":[]}}}"#;
        for (name, allowed) in [
            ("a.io/x", true),
            ("a.io/x:2", true),
            ("a.io/bad/x", false),
            ("a.io/bad/good", false),
            ("a.io/bad/good:1", true),
            ("x.b.io/y", true),
            ("x.y.b.io/y", true),
            ("b.io/y", false),
            ("c.io/y", true),
            ("d.io/y", false),
            ("other.io/y", false),
        ] {
            assert_eq!(allows(text, name), allowed, "{name}");
        }
        let transport = r#"{"default":[{"type":"reject"}],"transports":{"docker":{"":[{"type":"insecureAcceptAnything"}]},
            "dir":{"/ok":[{"type":"insecureAcceptAnything"}]}}}"#;
        assert!(allows(transport, "any.io/x"));
        let policy = Policy::parse(transport.as_bytes(), "/p".into()).unwrap();
        assert!(policy.check_path("dir", Path::new("/ok/below")).is_ok());
        assert!(policy.check_path("dir", Path::new("/okay")).is_err());
        assert!(policy.check_path("oci", Path::new("/ok")).is_err());
    }

    #[test]
    fn what_is_not_understood_refuses() {
        for text in [
            "",
            "{}",
            r#"{"default":[{"type":"x"}]}"#,
            r#"{"default":[],"more":1}"#,
            r#"{"default":[{}]}"#,
            r#"{"default":[{"type":"signedBy","keyType":"GPGKeys"}]}"#,
            r#"{"default":[{"type":"signedBy","keyType":"X509Certificates","keyPath":"/k"}]}"#,
            r#"{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k","keyData":"AA=="}]}"#,
            r#"{"default":[{"type":"sigstoreSigned","keyPath":"/k","keyPaths":["/l"]}]}"#,
            r#"{"default":[{"type":"sigstoreSigned","keyPath":"/k","other":1}]}"#,
            r#"{"default":[{"type":"sigstoreSigned","fulcio":{"caPath":"/c","oidcIssuer":"i","subjectEmail":"e"}}]}"#,
            r#"{"default":[{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"x"}}]}"#,
        ] {
            assert!(Policy::parse(text.as_bytes(), "/p".into()).is_err(), "{text}");
        }
    }
}
