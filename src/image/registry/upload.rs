//! Uploads: blobs that are not there yet, manifests.
//!
//! A blob is asked for first (HEAD), then mounted from another repository of the same registry where one has it, and only
//! then sent: small ones in one request after the opening one, large ones as a stream. A stream that breaks off goes on
//! from where the registry says it is; only when the registry has forgotten the upload does it begin again.

use bytes::Bytes;
use reqwest::header::{HeaderMap, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::body::{Payload, Sent};
use super::client::{Ask, Client, unexpected};
use super::error::RegistryError;
use crate::image::reference::Reference;
use crate::store::Digest;

const BLOB_TYPE: &str = "application/octet-stream";
/// Blobs up to this size leave with the request that ends their upload.
const SMALL: u64 = 1 << 20;
/// Bytes after which an interrupted upload has its retries back.
const EARNED: u64 = 1 << 20;

/// An upload that the registry has opened.
#[derive(Debug, Clone)]
struct Session {
    /// Where to send to next.
    location: String,
}

/// How a blob can be brought.
enum Opened {
    /// It is there now.
    Mounted,
    /// It is to be sent.
    Session(Session),
}

impl Client<'_> {
    /// Whether the repository has a blob.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let doing = format!(
            "trying to reuse blob {digest} at destination: checking whether a blob {digest} exists in {}",
            self.repository()
        );
        let path = format!("{}/blobs/{digest}", self.path());
        match self.request(&Ask::new(Method::HEAD, path, doing)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            // An answer to HEAD has no body that could say so.
            Err(RegistryError::Status { doing, answer }) if answer.status == 401 => {
                Err(RegistryError::Unauthorized { doing })
            }
            Err(error) => Err(error),
        }
    }

    /// Has the registry take a blob from another of its repositories; false where it does not.
    pub async fn mount_blob(&self, digest: &Digest, from: &str) -> Result<bool, RegistryError> {
        match self.open_upload(Some((digest, from))).await {
            Ok(Opened::Mounted) => Ok(true),
            Ok(Opened::Session(session)) => {
                // Nobody will send to it. A registry that does not take it back forgets it by itself.
                let doing = "cancelling an upload".to_owned();
                let ask = Ask { may_leave: true, ..Ask::new(Method::DELETE, session.location, doing) };
                let _ = self.exchange_once(&ask).await;
                Ok(false)
            }
            // It may not be read, or mounting is not offered: then the blob is sent.
            Err(RegistryError::Status { .. } | RegistryError::Token { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a blob; returns its digest and size.
    pub async fn upload(&self, payload: &dyn Payload) -> Result<(Digest, u64), RegistryError> {
        let (mut attempt, mut restarts) = (0, 0);
        loop {
            match self.upload_once(payload, &mut attempt).await {
                Ok(sent) => return Ok(sent),
                // The registry has forgotten the upload, or counted other bytes than we did. Docker's registry
                // (version 2) forgets every one that was cut off.
                Err(error) if is_lost(&error) && restarts < self.retries() => restarts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// One upload from its opening to its end.
    async fn upload_once(
        &self,
        payload: &dyn Payload,
        attempt: &mut u32,
    ) -> Result<(Digest, u64), RegistryError> {
        let mut session = match self.open_upload(None).await? {
            Opened::Session(session) => session,
            Opened::Mounted => return Err(self.broken("the registry mounted what was not asked for")),
        };
        let (size, known) = (payload.size(), payload.digest());
        if let (Some(size), Some((digest, _))) = (size, known)
            && size <= SMALL
        {
            let sent = Sent { payload, offset: 0, media_type: BLOB_TYPE };
            self.close_upload(&session, &digest, Some(sent)).await?;
            return Ok((digest, size));
        }
        let mut offset = 0;
        while size != Some(offset) {
            match self.send_from(&session, payload, offset).await {
                Ok(next) => {
                    session = next;
                    break;
                }
                Err(error) => {
                    self.pause_or_fail(error, None, attempt).await?;
                    let (next, reached) = self.upload_status(&session).await?;
                    if reached >= offset + EARNED {
                        *attempt = 0;
                    }
                    (session, offset) = (next, reached);
                }
            }
        }
        let (digest, size) =
            payload.digest().ok_or_else(|| self.broken("the content ended before its digest was known"))?;
        match self.close_upload(&session, &digest, None).await {
            // An answer that was lost on the way may have been a good one.
            Err(_) if self.has_blob(&digest).await.unwrap_or(false) => Ok((digest, size)),
            other => other.map(|()| (digest, size)),
        }
    }

    async fn open_upload(&self, mount: Option<(&Digest, &str)>) -> Result<Opened, RegistryError> {
        let doing =
            format!("initiating layer upload to /v2/{}/blobs/uploads/ in {}", self.path(), self.host());
        let path = match mount {
            None => format!("{}/blobs/uploads/", self.path()),
            Some((digest, from)) => {
                let from = from.replace('/', "%2F");
                format!("{}/blobs/uploads/?mount={digest}&from={from}", self.path())
            }
        };
        let scope = mount.map(|(_, from)| format!("repository:{from}:pull"));
        let ask = Ask { scope, ..Ask::new(Method::POST, path, doing) };
        let response = self.request(&ask).await?;
        match response.status() {
            StatusCode::CREATED if mount.is_some() => Ok(Opened::Mounted),
            StatusCode::ACCEPTED | StatusCode::CREATED => self.session(&response).map(Opened::Session),
            status => Err(unexpected(&ask.doing, status)),
        }
    }

    async fn send_from(
        &self,
        session: &Session,
        payload: &dyn Payload,
        offset: u64,
    ) -> Result<Session, RegistryError> {
        let ask = self.session_ask(Method::PATCH, session.location.clone()).with_body(Sent {
            payload,
            offset,
            media_type: BLOB_TYPE,
        });
        let response = self.exchange_once(&ask).await?;
        self.session(&response)
    }

    /// Asks how much of an upload has arrived.
    async fn upload_status(&self, session: &Session) -> Result<(Session, u64), RegistryError> {
        let response = self.request(&self.session_ask(Method::GET, session.location.clone())).await?;
        let reached = received(response.headers());
        // Without a new address the old one stays.
        let next = self.session(&response).unwrap_or_else(|_| session.clone());
        Ok((next, reached))
    }

    async fn close_upload(
        &self,
        session: &Session,
        digest: &Digest,
        body: Option<Sent<'_>>,
    ) -> Result<(), RegistryError> {
        let mut url =
            Url::parse(&session.location).map_err(|_| self.broken("the upload's address is no URL"))?;
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        // A server may insist on a length.
        let nothing = Bytes::new();
        let body = body.unwrap_or(Sent { payload: &nothing, offset: 0, media_type: BLOB_TYPE });
        let ask = self.session_ask(Method::PUT, url.into()).with_body(body);
        let response = self.request(&ask).await?;
        match response.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => Ok(()),
            status => Err(unexpected(&ask.doing, status)),
        }
    }

    /// Stores a manifest under the tag or digest of `reference`.
    pub async fn put_manifest(
        &self,
        reference: &Reference,
        bytes: Bytes,
        media_type: &str,
    ) -> Result<(), RegistryError> {
        let version = match (reference.tag(), reference.digest()) {
            (Some(tag), _) => tag.to_owned(),
            (None, Some(digest)) => digest.to_string(),
            (None, None) => crate::image::reference::DEFAULT_TAG.to_owned(),
        };
        let doing = format!("writing manifest: uploading manifest {version} to {}", self.repository());
        let path = format!("{}/manifests/{version}", self.path());
        let ask =
            Ask::new(Method::PUT, path, doing).with_body(Sent { payload: &bytes, offset: 0, media_type });
        self.request(&ask).await.map(drop)
    }

    fn session_ask<'b>(&self, method: Method, location: String) -> Ask<'b> {
        let doing = format!("writing blob: uploading layer to {}", self.repository());
        Ask { may_leave: true, ..Ask::new(method, location, doing) }
    }

    /// Where an answer says that the upload goes on.
    fn session(&self, response: &Response) -> Result<Session, RegistryError> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| self.broken("the answer has no Location"))?;
        let url = response.url().join(location).map_err(|_| self.broken("the Location is no URL"))?;
        Ok(Session { location: url.into() })
    }

    fn broken(&self, problem: &'static str) -> RegistryError {
        RegistryError::Protocol {
            doing: format!("writing blob: uploading to {}", self.repository()),
            problem,
        }
    }
}

/// How many bytes `Range: 0-LAST` tells; some registries write `bytes=`.
fn received(headers: &HeaderMap) -> u64 {
    let last = || {
        let text = headers.get(RANGE)?.to_str().ok()?;
        let (_, last) = text.strip_prefix("bytes=").unwrap_or(text).split_once('-')?;
        last.trim().parse::<u64>().ok()
    };
    // An empty upload is `0-0` too. Where it really was one byte, the digest comes out wrong and the upload begins again.
    last().map_or(0, |last| if last == 0 { 0 } else { last + 1 })
}

fn is_lost(error: &RegistryError) -> bool {
    let RegistryError::Status { answer, .. } = error else { return false };
    answer.status == 416
        || matches!(answer.code.as_str(), "BLOB_UPLOAD_UNKNOWN" | "BLOB_UPLOAD_INVALID" | "DIGEST_INVALID")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_uploads() {
        for (text, expected) in
            [("0-0", 0), ("0-99", 100), ("bytes=0-99", 100), ("", 0), ("x", 0), ("0-x", 0)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, text.parse().unwrap());
            assert_eq!(received(&headers), expected, "{text}");
        }
        assert_eq!(received(&HeaderMap::new()), 0);
    }
}
