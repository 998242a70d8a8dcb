//! From what a user types to an image: names, digests, ids and their beginnings.

use super::error::{Error, Result};
use super::{Digest, ImageId, ImageRecord, Store, TagRecord};

/// Candidates that an ambiguity lists.
const MAX_LISTED: usize = 5;

/// An image and how it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The image.
    pub record: ImageRecord,
    /// The full name that matched; none where an id or digest did.
    pub name: Option<String>,
}

impl Store {
    /// Finds the image that `text` means, as [`Self::find_any`] does; a list of images is none.
    ///
    /// # Errors
    /// When there is none, or several fit.
    pub fn find_image(&self, text: &str) -> Result<Found> {
        match self.find_any(text)? {
            found if found.record.list => Err(Error::List { text: text.to_owned() }),
            found => Ok(found),
        }
    }

    /// Finds the image or list of images that `text` means: an id, a full or short name (with the tag `latest` if it has
    /// none), `name@digest`, a digest, or the beginning of an id that fits one image only.
    pub fn find_any(&self, text: &str) -> Result<Found> {
        let not_found = || Error::NotFound { what: "image", text: text.to_owned() };
        if text.is_empty() {
            return Err(not_found());
        }
        if let Ok(id) = text.parse::<ImageId>()
            && let Some(record) = self.image(&id)?
        {
            return Ok(Found { record, name: None });
        }
        for name in candidates(text) {
            if let Some(tag) = self.resolve(&name)?
                && let Some(record) = self.image(&tag.image)?
            {
                return Ok(Found { record, name: Some(tag.name) });
            }
        }
        let tags = self.tags()?;
        if let Some(found) = self.by_suffix(text, &tags)? {
            return Ok(found);
        }
        if let Some(found) = self.by_digest(text, &tags)? {
            return Ok(found);
        }
        self.by_prefix(text)?.ok_or_else(not_found)
    }

    /// `team/app` also finds `registry.example/team/app:latest`, if that is the only one.
    fn by_suffix(&self, text: &str, tags: &[TagRecord]) -> Result<Option<Found>> {
        if text.contains('@') {
            return Ok(None);
        }
        let end = format!("/{}", with_tag(text));
        let fits: Vec<_> = tags.iter().filter(|tag| tag.name.ends_with(&end)).collect();
        let Some(first) = fits.first() else { return Ok(None) };
        if fits.iter().any(|tag| tag.image != first.image) {
            let candidates = fits.iter().take(MAX_LISTED).map(|tag| tag.name.clone()).collect();
            return Err(Error::Ambiguous { text: text.to_owned(), candidates });
        }
        let record = self.image(&first.image)?;
        Ok(record.map(|record| Found { record, name: Some(first.name.clone()) }))
    }

    /// `sha256:…` of a manifest, or `name@sha256:…` of a name whose image has that manifest.
    fn by_digest(&self, text: &str, tags: &[TagRecord]) -> Result<Option<Found>> {
        let (name, digest) = text.split_once('@').map_or((None, text), |(name, digest)| (Some(name), digest));
        let Ok(digest) = digest.parse::<Digest>() else { return Ok(None) };
        // With both a tag and a digest the digest decides, as everywhere in this field.
        let wanted = name.map(|name| repository(name).to_owned());
        for record in self.images()? {
            let mut names = tags.iter().filter(|tag| tag.image == record.id);
            let fits = match &wanted {
                None => {
                    has_manifest(&record, &digest) || names.any(|tag| tag.manifest.as_ref() == Some(&digest))
                }
                Some(wanted) => names.any(|tag| {
                    repository_fits(repository(&tag.name), wanted)
                        && (tag.manifest.as_ref() == Some(&digest) || has_manifest(&record, &digest))
                }),
            };
            if fits {
                return Ok(Some(Found { record, name: None }));
            }
        }
        Ok(None)
    }

    fn by_prefix(&self, text: &str) -> Result<Option<Found>> {
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let mut fits: Vec<_> =
            self.images()?.into_iter().filter(|record| record.id.as_str().starts_with(prefix)).collect();
        if fits.len() > 1 {
            let candidates =
                fits.iter().take(MAX_LISTED).map(|record| record.id.short().to_owned()).collect();
            return Err(Error::Ambiguous { text: text.to_owned(), candidates });
        }
        Ok(fits.pop().map(|record| Found { record, name: None }))
    }
}

/// The full names that `text` may stand for, the likeliest first.
fn candidates(text: &str) -> Vec<String> {
    let tagged = with_tag(text);
    let mut names = vec![text.to_owned(), tagged.clone(), format!("localhost/{tagged}")];
    // `app` alone means the library of Docker Hub, `team/app` its team; only a first part that looks
    // like a host (a dot, a port, or localhost) is one.
    let first = text.split('/').next().unwrap_or(text);
    if !text.contains('/') {
        names.push(format!("docker.io/library/{tagged}"));
    } else if !(first.contains('.') || first.contains(':') || first == "localhost") {
        names.push(format!("docker.io/{tagged}"));
    } else if let Some(rest) = tagged.strip_prefix("docker.io/").or(tagged.strip_prefix("index.docker.io/")) {
        names.push(format!("docker.io/{rest}"));
        if !rest.contains('/') {
            names.push(format!("docker.io/library/{rest}"));
        }
    }
    names
}

/// `text` with the tag `latest`, unless it has a tag or a digest.
fn with_tag(text: &str) -> String {
    let last = text.rsplit('/').next().unwrap_or(text);
    if last.contains(':') || text.contains('@') { text.to_owned() } else { format!("{text}:latest") }
}

/// A name without tag and digest.
fn repository(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    name[slash..].find(':').map_or(name, |colon| &name[..slash + colon])
}

fn repository_fits(full: &str, wanted: &str) -> bool {
    full == wanted || full.strip_suffix(wanted).is_some_and(|before| before.ends_with('/'))
}

fn has_manifest(record: &ImageRecord, digest: &Digest) -> bool {
    record.manifest.as_ref() == Some(digest) || record.manifests.contains(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_stand_for_full_ones() {
        for (text, name) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3", "docker.io/library/alpine:3"),
            ("team/app", "docker.io/team/app:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            ("app", "localhost/app:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("a.b/c@sha256:00", "a.b/c@sha256:00"),
        ] {
            assert!(candidates(text).iter().any(|c| c == name), "{text}: {:?}", candidates(text));
        }
    }

    #[test]
    fn a_repository_is_a_name_without_tag_and_digest() {
        for (name, expected) in [
            ("localhost:5000/x", "localhost:5000/x"),
            ("localhost:5000/x:1", "localhost:5000/x"),
            ("a/b:1@sha256:00", "a/b"),
            ("alpine", "alpine"),
        ] {
            assert_eq!(repository(name), expected);
        }
    }
}
