//! Image references: `[DOMAIN/]PATH[:TAG][@DIGEST]`, in the grammar that Docker and the distribution registry share.
//!
//! A [`Reference`] is always normalised: it has a domain, and an official Docker Hub image has the path
//! `library/NAME`. What a user typed without a domain is a *short name*; [`is_short_name`] tells them apart
//! before parsing, because registries.conf decides where short names lead.
//!
//! Invariants: the fields passed the grammar, so they are safe as URL path segments and contain no `..`
//! component; `parse` of the `Display` text gives an equal value.

use std::fmt;
use std::str::FromStr;

use crate::store::Digest;

/// The registry that names without a domain belong to.
pub const DOCKER_HUB: &str = "docker.io";
/// The domain of images that were named here and come from no registry.
pub const LOCALHOST: &str = "localhost";
/// The tag that a reference without tag and digest means.
pub const DEFAULT_TAG: &str = "latest";

const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// A normalised reference to an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no image reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The text does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// The path has upper-case letters.
    #[error("invalid reference format: repository name must be lowercase")]
    Uppercase,
    /// Nothing was given, or nothing before the tag.
    #[error("invalid reference format: repository name must have at least one component")]
    Empty,
    /// Domain and path together are too long.
    #[error("invalid reference format: repository name must not be more than {NAME_MAX} characters")]
    TooLong,
    /// The tag does not follow the grammar.
    #[error("invalid reference format: invalid tag format")]
    Tag,
    /// The part after `@` is no digest.
    #[error("invalid reference format: invalid digest format")]
    Digest,
    /// A text of 64 hexadecimal characters always means an image id.
    #[error("invalid repository name, cannot specify 64-byte hexadecimal strings")]
    HexIdentifier,
}

impl Reference {
    /// Parses `text` and normalises it by Docker's rules.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if is_identifier(text) {
            return Err(ReferenceError::HexIdentifier);
        }
        let (domain, rest) = split_domain(text);
        let (name, digest) = match rest.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse().map_err(|_| ReferenceError::Digest)?)),
            None => (rest, None),
        };
        let (path, tag) = match name.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (name, None),
        };
        check_path(path)?;
        check_domain(domain)?;
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        let path = if domain == DOCKER_HUB && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if domain.len() + 1 + path.len() > NAME_MAX {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self { domain: domain.to_owned(), path, tag: tag.map(ToOwned::to_owned), digest })
    }

    /// Parses a name that is given to an image here: without a domain it belongs to `localhost`.
    pub fn parse_local(text: &str) -> Result<Self, ReferenceError> {
        if is_short_name(text) && !is_identifier(text) {
            return Self::parse(&format!("{LOCALHOST}/{text}"));
        }
        Self::parse(text)
    }

    /// The registry's name: a host, with a port where one was given.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository below the registry, such as `library/alpine`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if the reference names one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the reference names one.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Domain and path: `docker.io/library/alpine`.
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The same reference, with `latest` where it has neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same repository at `tag`, without a digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        check_tag(tag)?;
        Ok(Self {
            domain: self.domain.clone(),
            path: self.path.clone(),
            tag: Some(tag.to_owned()),
            digest: None,
        })
    }

    /// The same repository at `digest`, without a tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { domain: self.domain.clone(), path: self.path.clone(), tag: None, digest: Some(digest) }
    }

    /// The same repository with tag and digest of `other`.
    #[must_use]
    pub fn with_version_of(&self, other: &Self) -> Self {
        Self {
            domain: self.domain.clone(),
            path: self.path.clone(),
            tag: other.tag.clone(),
            digest: other.digest.clone(),
        }
    }

    /// The repository alone, without tag and digest.
    #[must_use]
    pub fn without_version(&self) -> Self {
        Self { domain: self.domain.clone(), path: self.path.clone(), tag: None, digest: None }
    }

    /// The short form that Docker prints: no `docker.io`, no `library`.
    ///
    /// The domain stays where the rest alone would mean something else.
    #[must_use]
    pub fn familiar(&self) -> String {
        let short = match self.path.strip_prefix("library/") {
            Some(official) if !official.contains('/') => official,
            _ => &self.path,
        };
        let is_unambiguous = self.domain == DOCKER_HUB && is_short_name(short) && !is_identifier(short);
        let mut text = if is_unambiguous { short.to_owned() } else { self.repository() };
        self.push_version(&mut text);
        text
    }

    fn push_version(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.repository();
        self.push_version(&mut text);
        f.write_str(&text)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Whether `text` names no registry, so that registries.conf decides where it leads.
#[must_use]
pub fn is_short_name(text: &str) -> bool {
    match text.split_once('/') {
        None => true,
        Some((first, _)) => !(first.contains(['.', ':']) || first == LOCALHOST),
    }
}

/// Whether `text` can only be an image id: 64 lower-case hexadecimal characters.
#[must_use]
pub fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Splits off the domain by Docker's rule: the part before the first slash is one if it has a dot or a port, or is
/// `localhost`.
fn split_domain(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((domain, rest)) if !is_short_name(text) => {
            (if domain == "index.docker.io" { DOCKER_HUB } else { domain }, rest)
        }
        _ => (DOCKER_HUB, text),
    }
}

fn check_domain(domain: &str) -> Result<(), ReferenceError> {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let port_is_valid = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let host_is_valid = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        // Only the characters of an IPv6 address, as the distribution grammar: no zone, which could smuggle text.
        Some(address) => !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => host.split('.').all(|part| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }),
    };
    if port_is_valid && host_is_valid { Ok(()) } else { Err(ReferenceError::Format) }
}

fn check_path(path: &str) -> Result<(), ReferenceError> {
    if path.is_empty() {
        return Err(ReferenceError::Empty);
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ReferenceError::Uppercase);
    }
    if path.split('/').all(is_path_component) { Ok(()) } else { Err(ReferenceError::Format) }
}

/// Letters and digits, separated by one `.`, one or two `_`, or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends_are_words =
        bytes.first().is_some_and(|&b| is_word(b)) && bytes.last().is_some_and(|&b| is_word(b));
    ends_are_words
        && bytes.split(|&b| is_word(b)).all(|separator| {
            matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|&b| b == b'-')
        })
}

fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let starts_with_word = tag.bytes().next().is_some_and(is_word);
    if starts_with_word && tag.len() <= TAG_MAX && tag.bytes().all(|b| is_word(b) || b == b'.' || b == b'-') {
        Ok(())
    } else {
        Err(ReferenceError::Tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1";

    #[test]
    fn normalises_like_docker() {
        let digest = format!("sha256:{HEX}");
        for (text, full, familiar) in [
            ("alpine", "docker.io/library/alpine", "alpine"),
            ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
            ("docker.io/alpine", "docker.io/library/alpine", "alpine"),
            ("index.docker.io/alpine:1", "docker.io/library/alpine:1", "alpine:1"),
            ("docker.io/library/alpine", "docker.io/library/alpine", "alpine"),
            ("library/alpine", "docker.io/library/alpine", "alpine"),
            ("user/x__y.z--w:v_1", "docker.io/user/x__y.z--w:v_1", "user/x__y.z--w:v_1"),
            ("library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("localhost/x", "localhost/x", "localhost/x"),
            ("localhost:5000/x", "localhost:5000/x", "localhost:5000/x"),
            ("localhost:5000/x:T", "localhost:5000/x:T", "localhost:5000/x:T"),
            ("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"),
            ("[fd00::1]/x", "[fd00::1]/x", "[fd00::1]/x"),
            ("127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c"),
            ("quay.io/libpod/alpine", "quay.io/libpod/alpine", "quay.io/libpod/alpine"),
            ("Quay.IO/x", "Quay.IO/x", "Quay.IO/x"),
            ("sha256", "docker.io/library/sha256", "sha256"),
            (&HEX[..12], "docker.io/library/4bcff63911fc", "4bcff63911fc"),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), full, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
        }
        let both = Reference::parse(&format!("x/y:t@{digest}")).unwrap();
        assert_eq!(both.to_string(), format!("docker.io/x/y:t@{digest}"));
        assert_eq!(both.tag(), Some("t"));
        assert_eq!(both.digest().unwrap().to_string(), digest);
    }

    #[test]
    fn default_tag_only_without_version() {
        let tagged = |text: &str| Reference::parse(text).unwrap().with_default_tag().to_string();
        assert_eq!(tagged("a"), "docker.io/library/a:latest");
        assert_eq!(tagged("a:1"), "docker.io/library/a:1");
        assert_eq!(tagged(&format!("a@sha256:{HEX}")), format!("docker.io/library/a@sha256:{HEX}"));
    }

    #[test]
    fn refuses_what_docker_refuses() {
        use ReferenceError as E;
        for (text, error) in [
            ("", E::Empty),
            (":tag", E::Empty),
            ("Alpine", E::Uppercase),
            ("localhost:5000/Uppercase/lowercase", E::Uppercase),
            ("a//b", E::Format),
            ("a/", E::Format),
            ("/a", E::Format),
            ("a/../b", E::Format),
            ("../a", E::Format),
            ("..", E::Format),
            ("a..b", E::Format),
            ("a___b", E::Format),
            ("-a", E::Format),
            ("a-", E::Format),
            ("a b", E::Format),
            ("a\n", E::Format),
            ("a:", E::Tag),
            ("a:-x", E::Tag),
            ("a:.x", E::Tag),
            ("a:b:c", E::Tag),
            ("a:b/c", E::Format),
            ("a@sha256:abc", E::Digest),
            ("a@sha256:../../../etc/passwd", E::Format),
            ("a@", E::Digest),
            ("reg.io:x/a", E::Format),
            ("-reg.io/a", E::Format),
            ("re_g.io/a", E::Format),
            ("[fe80::1%25eth0]/a", E::Format),
            ("http://reg.io/a", E::Format),
            (HEX, E::HexIdentifier),
        ] {
            assert_eq!(Reference::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(Reference::parse(&"a/".repeat(127)), Err(E::Format));
        assert_eq!(Reference::parse(&format!("x.io/{}", "a".repeat(251))), Err(E::TooLong));
        assert!(Reference::parse(&format!("x.io/{}", "a".repeat(250))).is_ok());
        assert!(Reference::parse(&format!("a:{}", "t".repeat(128))).is_ok());
        assert_eq!(Reference::parse(&format!("a:{}", "t".repeat(129))), Err(E::Tag));
    }

    #[test]
    fn local_names_belong_to_localhost() {
        for (text, name) in [
            ("a", "localhost/a"),
            ("a/b:1", "localhost/a/b:1"),
            ("q.io/a", "q.io/a"),
            ("localhost/a", "localhost/a"),
        ] {
            assert_eq!(Reference::parse_local(text).unwrap().to_string(), name);
        }
        assert!(Reference::parse_local(HEX).is_err());
    }

    #[test]
    fn short_names_have_no_domain() {
        for (text, short) in [
            ("a", true),
            ("a/b", true),
            ("a:1", true),
            ("localhost/a", false),
            ("a.b/c", false),
            ("h:5/c", false),
        ] {
            assert_eq!(is_short_name(text), short, "{text}");
        }
    }

    proptest! {
        #[test]
        fn display_parses_back(
            text in r"((([a-z0-9]{1,5}\.)?[a-z0-9-]{1,8}(:[0-9]{1,5})?|localhost)/)?[a-z0-9._/-]{1,30}(:[A-Za-z0-9_.-]{1,20})?(@sha256:[0-9a-f]{64})?"
        ) {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(Reference::parse(&reference.to_string()), Ok(reference.clone()));
                prop_assert_eq!(Reference::parse(&reference.familiar()), Ok(reference));
            }
        }

        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = Reference::parse(&text);
        }
    }
}
