//! Manifests, indexes, configs and tag lists: documents of bounded size, checked against their digests.

use reqwest::header::{CONTENT_TYPE, HeaderMap, LINK};
use reqwest::{Method, Response, Url};
use serde::Deserialize;

use super::client::{Ask, Client};
use super::error::RegistryError;
use crate::image::manifest::{DOCUMENT_MAX, Descriptor};
use crate::image::reference::Reference;
use crate::store::{Digest, Hasher};

/// All kinds that rbox understands, and schema 1 so that a registry says what it has instead of 404.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                      application/vnd.docker.distribution.manifest.v2+json, \
                      application/vnd.docker.distribution.manifest.list.v2+json, \
                      application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.1";

/// Pages of a tag list that are read, each of at most [`DOCUMENT_MAX`] bytes.
const PAGES_MAX: usize = 200;

/// What a registry says about a manifest without sending it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// `Docker-Content-Digest`, which not every registry sends.
    pub digest: Option<Digest>,
}

/// A document as it was served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
    /// `Content-Type`.
    pub media_type: Option<String>,
}

impl Client<'_> {
    /// Asks what the reference leads to.
    pub async fn head_manifest(&self, reference: &Reference) -> Result<Head, RegistryError> {
        let ask = self.manifest_ask(reference, Method::HEAD);
        let response = self.request(&ask).await?;
        Ok(Head { digest: content_digest(response.headers()) })
    }

    /// Fetches the manifest or index that the reference leads to.
    pub async fn manifest(&self, reference: &Reference) -> Result<Served, RegistryError> {
        let ask = self.manifest_ask(reference, Method::GET);
        let (response, bytes) = self.fetch(&ask, DOCUMENT_MAX).await?;
        let stated = content_digest(response.headers());
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|v| Some(v.to_str().ok()?.to_owned()));
        let expected = reference.digest().or(stated.as_ref());
        let digest = match expected {
            Some(expected) => check(&ask.doing, &bytes, expected)?,
            None => Digest::of(&bytes),
        };
        Ok(Served { bytes, digest, media_type })
    }

    /// Fetches a small blob, such as a config, whole.
    pub async fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        let doing = format!("reading blob {} in {}", descriptor.digest, self.repository());
        if descriptor.size > DOCUMENT_MAX {
            return Err(RegistryError::TooLarge { doing, limit: DOCUMENT_MAX });
        }
        let path = format!("{}/blobs/{}", self.path(), descriptor.digest);
        let ask = Ask::get(path, doing);
        let (_, bytes) = self.fetch(&ask, descriptor.size).await?;
        check(&ask.doing, &bytes, &descriptor.digest)?;
        Ok(bytes)
    }

    /// All tags of the repository.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct List {
            tags: Option<Vec<String>>,
        }
        let doing = format!("reading tags of {}", self.repository());
        let broken = |problem| RegistryError::Protocol { doing: doing.clone(), problem };
        let mut tags: Vec<String> = Vec::new();
        let mut path = format!("{}/tags/list", self.path());
        for _ in 0..PAGES_MAX {
            let ask = Ask::get(path.clone(), doing.clone());
            let (response, bytes) = self.fetch(&ask, DOCUMENT_MAX).await?;
            let next = next_page(response.url(), response.headers());
            let list: List =
                serde_json::from_slice(&bytes).map_err(|_| broken("the tag list is not JSON"))?;
            let count = tags.len();
            tags.extend(list.tags.unwrap_or_default());
            match next {
                // An empty page that leads on is a loop.
                Some(next) if tags.len() > count => path = next,
                _ => return Ok(tags),
            }
        }
        Err(broken("the tag list has too many pages"))
    }

    /// Fetches a whole document; one that breaks off is fetched again.
    pub(super) async fn fetch(
        &self,
        ask: &Ask<'_>,
        limit: u64,
    ) -> Result<(Response, Vec<u8>), RegistryError> {
        let mut attempt = 0;
        loop {
            let mut response = self.request(ask).await?;
            match self.transport().read(&mut response, limit, &ask.doing).await {
                Ok(bytes) => return Ok((response, bytes)),
                Err(error) => self.pause_or_fail(error, None, &mut attempt).await?,
            }
        }
    }

    fn manifest_ask(&self, reference: &Reference, method: Method) -> Ask<'static> {
        let version = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or(crate::image::reference::DEFAULT_TAG).to_owned(),
        };
        let doing = format!("reading manifest {version} in {}", self.repository());
        let path = format!("{}/manifests/{version}", self.path());
        Ask { accept: Some(ACCEPT), ..Ask::new(method, path, doing) }
    }
}

fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.parse().ok()
}

fn check(doing: &str, bytes: &[u8], expected: &Digest) -> Result<Digest, RegistryError> {
    let mut hasher = Hasher::like(expected);
    hasher.update(bytes);
    let actual = hasher.finish();
    if actual == *expected {
        return Ok(actual);
    }
    Err(RegistryError::Mismatch {
        doing: doing.to_owned(),
        expected: Box::new(expected.clone()),
        actual: Box::new(actual),
    })
}

/// The address in `Link: <…>; rel="next"`, if it stays on this server.
pub(super) fn next_page(current: &Url, headers: &HeaderMap) -> Option<String> {
    let value = headers.get(LINK)?.to_str().ok()?;
    let (target, parameters) = value.trim().strip_prefix('<')?.split_once('>')?;
    if !parameters.replace(' ', "").to_ascii_lowercase().contains("rel=\"next\"") {
        return None;
    }
    let next = current.join(target).ok()?;
    (next.origin() == current.origin()).then(|| next.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_on_the_server() {
        let current: Url = "https://a.io/v2/x/tags/list".parse().unwrap();
        let next = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, value.parse().unwrap());
            next_page(&current, &headers)
        };
        assert_eq!(
            next(r#"</v2/x/tags/list?last=b>; rel="next""#).unwrap(),
            "https://a.io/v2/x/tags/list?last=b"
        );
        assert_eq!(next(r#"<https://evil.io/v2/x>; rel="next""#), None);
        assert_eq!(next(r#"</v2/x>; rel="prev""#), None);
        assert_eq!(next("nonsense"), None);
    }
}
