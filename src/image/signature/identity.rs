//! `signedIdentity`: which names in a signature are good for an image.

use serde::Deserialize;

use crate::image::reference::Reference;

/// A rule of policy.json.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub(crate) enum SignedIdentity {
    /// The same name with the same tag.
    #[serde(rename = "matchExact")]
    Exact {},
    /// The same name with the same tag; for an image by digest the same repository with any tag.
    #[default]
    #[serde(rename = "matchRepoDigestOrExact")]
    RepositoryDigestOrExact,
    /// The same repository.
    #[serde(rename = "matchRepository")]
    Repository {},
    /// This name, whatever the image's is.
    #[serde(rename = "exactReference")]
    ExactReference {
        /// It.
        #[serde(rename = "dockerReference")]
        reference: String,
    },
    /// This repository, whatever the image's is.
    #[serde(rename = "exactRepository")]
    ExactRepository {
        /// It.
        #[serde(rename = "dockerRepository")]
        repository: String,
    },
    /// As the default, with another prefix in place of one.
    #[serde(rename = "remapIdentity")]
    Remap {
        /// Of the image.
        prefix: String,
        /// Of the signature.
        #[serde(rename = "signedPrefix")]
        signed_prefix: String,
    },
}

impl SignedIdentity {
    /// What is wrong with the rule.
    pub(crate) fn problem(&self) -> Option<String> {
        let text = match self {
            Self::ExactReference { reference } => {
                return match Reference::parse(reference) {
                    Ok(parsed) if parsed.tag().is_some() || parsed.digest().is_some() => None,
                    _ => Some(format!("dockerReference {reference:?} is no name with tag or digest")),
                };
            }
            Self::ExactRepository { repository } => repository,
            Self::Remap { prefix, signed_prefix } => {
                let is_bad = |text: &&String| {
                    // A host alone is a prefix too.
                    Reference::parse(&format!("{text}/x")).is_err() || text.contains('@')
                };
                let found = [prefix, signed_prefix].into_iter().find(is_bad);
                return found.map(|text| format!("prefix {text:?} is no registry or repository"));
            }
            Self::Exact {} | Self::RepositoryDigestOrExact | Self::Repository {} => return None,
        };
        Reference::parse(text).is_err().then(|| format!("dockerRepository {text:?} is no name"))
    }

    /// Whether a signature for `signed` is good for `image`; an image in a folder has no name.
    pub(crate) fn accepts(&self, image: Option<&Reference>, signed: &str) -> bool {
        let Ok(signed) = Reference::parse(signed) else { return false };
        match self {
            Self::Exact {} => image.is_some_and(|image| exact(image, &signed)),
            Self::RepositoryDigestOrExact => {
                image.is_some_and(|image| repository_digest_or_exact(image, &signed))
            }
            Self::Repository {} => image.is_some_and(|image| image.repository() == signed.repository()),
            Self::ExactReference { reference } => {
                Reference::parse(reference).is_ok_and(|wanted| exact(&wanted, &signed))
            }
            Self::ExactRepository { repository } => {
                Reference::parse(repository).is_ok_and(|wanted| wanted.repository() == signed.repository())
            }
            Self::Remap { prefix, signed_prefix } => image.is_some_and(|image| {
                remap(image, prefix, signed_prefix)
                    .is_some_and(|image| repository_digest_or_exact(&image, &signed))
            }),
        }
    }
}

fn is_versioned(reference: &Reference) -> bool {
    reference.tag().is_some() || reference.digest().is_some()
}

fn exact(image: &Reference, signed: &Reference) -> bool {
    is_versioned(image) && is_versioned(signed) && image.to_string() == signed.to_string()
}

fn repository_digest_or_exact(image: &Reference, signed: &Reference) -> bool {
    if image.tag().is_none() && image.digest().is_some() {
        // The digest itself is compared with the manifest's.
        return is_versioned(signed) && image.repository() == signed.repository();
    }
    exact(image, signed)
}

fn remap(image: &Reference, prefix: &str, signed_prefix: &str) -> Option<Reference> {
    let (name, repository) = (image.to_string(), image.repository());
    match repository.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            Reference::parse(&format!("{signed_prefix}{}", &name[prefix.len()..])).ok()
        }
        _ => Some(image.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_good() {
        let digest = format!("@sha256:{}", "a".repeat(64));
        let by_digest = format!("q.io/a/b{digest}");
        let rule = |text: &str| serde_json::from_str::<SignedIdentity>(text).unwrap();
        let exact = rule(r#"{"type":"matchExact"}"#);
        let usual = SignedIdentity::default();
        let repository = rule(r#"{"type":"matchRepository"}"#);
        let named = rule(r#"{"type":"exactReference","dockerReference":"o.io/x:1"}"#);
        let named_repository = rule(r#"{"type":"exactRepository","dockerRepository":"o.io/x"}"#);
        let remapped = rule(r#"{"type":"remapIdentity","prefix":"q.io/a","signedPrefix":"o.io"}"#);
        for (rule, image, signed, good) in [
            (&exact, "q.io/a/b:1", "q.io/a/b:1", true),
            (&exact, "q.io/a/b:1", "q.io/a/b:2", false),
            (&exact, "q.io/a/b:1", "q.io/a/b", false),
            (&exact, &by_digest, "q.io/a/b:1", false),
            (&exact, "docker.io/library/a:1", "a:1", true),
            (&usual, "q.io/a/b:1", "q.io/a/b:1", true),
            (&usual, "q.io/a/b:1", "q.io/a/c:1", false),
            (&usual, &by_digest, "q.io/a/b:7", true),
            (&usual, &by_digest, "q.io/a/b", false),
            (&usual, &by_digest, "q.io/a/c:7", false),
            (&repository, "q.io/a/b:1", "q.io/a/b:2", true),
            (&repository, "q.io/a/b:1", "q.io/a/b", true),
            (&repository, "q.io/a/b:1", "q.io/a:1", false),
            (&named, "q.io/a/b:1", "o.io/x:1", true),
            (&named, "q.io/a/b:1", "o.io/x:2", false),
            (&named, "q.io/a/b:1", "q.io/a/b:1", false),
            (&named_repository, "q.io/a/b:1", "o.io/x:2", true),
            (&named_repository, "q.io/a/b:1", "o.io/y:2", false),
            (&remapped, "q.io/a/b:1", "o.io/b:1", true),
            (&remapped, "q.io/a/b:1", "q.io/a/b:1", false),
            (&remapped, "q.io/ab/b:1", "q.io/ab/b:1", true),
            (&remapped, "q.io/ab/b:1", "o.iob/b:1", false),
        ] {
            let image = Reference::parse(image).unwrap();
            assert_eq!(rule.accepts(Some(&image), signed), good, "{rule:?}: {image} by {signed}");
        }
        assert!(named.accepts(None, "o.io/x:1") && !usual.accepts(None, "o.io/x:1"));
    }

    #[test]
    fn rules_are_checked() {
        for text in [
            r#"{"type":"matchExact","x":1}"#,
            r#"{"type":"other"}"#,
            r#"{"type":"exactReference"}"#,
            r#"{"type":"remapIdentity","prefix":"a.io"}"#,
        ] {
            assert!(serde_json::from_str::<SignedIdentity>(text).is_err(), "{text}");
        }
        for (text, good) in [
            (r#"{"type":"exactReference","dockerReference":"a.io/b"}"#, false),
            (r#"{"type":"exactReference","dockerReference":"a.io/b:1"}"#, true),
            (r#"{"type":"exactRepository","dockerRepository":"A"}"#, false),
            (r#"{"type":"remapIdentity","prefix":"a.io","signedPrefix":"b.io/c"}"#, true),
            (r#"{"type":"remapIdentity","prefix":"a b","signedPrefix":"b.io/c"}"#, false),
        ] {
            let rule: SignedIdentity = serde_json::from_str(text).unwrap();
            assert_eq!(rule.problem().is_none(), good, "{text}: {:?}", rule.problem());
        }
    }
}
