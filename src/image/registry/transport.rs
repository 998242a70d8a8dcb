//! One HTTP exchange: time limits, size limits, redirects.
//!
//! Redirects are followed here and not by the HTTP library, because the rules are ours (S64): credentials stay with
//! the origin they are for, HTTPS never leads to plain HTTP, at most ten hops. Bodies are never decoded, so a
//! compressed answer cannot grow (S69).

use std::cell::OnceCell;
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderValue, LOCATION, RANGE};
use reqwest::{Client, Method, Response, Url};

use super::body::Sent;
use super::error::{Answer, RegistryError, TransportCause};
use super::tls::{self, TlsSettings};

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// How long a server may stay silent.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// How long a document (manifest, token, error) may take in all.
const DOCUMENT_LIMIT: Duration = Duration::from_secs(40);
/// The most of an error's or a token's body that is read (S69).
pub(super) const SMALL_MAX: u64 = 1 << 20;
const REDIRECTS_MAX: usize = 10;

/// One request, before redirects.
#[derive(Debug, Clone)]
pub(super) struct Request<'b> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) accept: Option<&'static str>,
    pub(super) authorization: Option<HeaderValue>,
    /// First byte wanted.
    pub(super) from: u64,
    /// Last byte wanted, if not all.
    pub(super) to: Option<u64>,
    /// A form to post.
    pub(super) form: Option<String>,
    /// What is uploaded.
    pub(super) body: Option<Sent<'b>>,
    /// What is being done, for errors.
    pub(super) doing: String,
}

/// The HTTP clients of one registry.
#[derive(Debug)]
pub(super) struct Transport {
    /// The registry's name, for errors.
    host: String,
    tls: TlsSettings,
    /// For the registry itself; the boolean is whether TLS is set up.
    plain: OnceCell<Client>,
    own: OnceCell<Client>,
    /// For token servers and redirect targets: without the client certificate.
    foreign: OnceCell<Client>,
    /// The same three for uploads, during which a server may be silent for as long as the body takes.
    uploads: [OnceCell<Client>; 3],
}

impl Transport {
    pub(super) fn new(host: String, tls: TlsSettings) -> Self {
        Self {
            host,
            tls,
            plain: OnceCell::new(),
            own: OnceCell::new(),
            foreign: OnceCell::new(),
            uploads: Default::default(),
        }
    }

    /// Sends a request and follows its redirects. The answer may have any status.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Response, RegistryError> {
        let mut url = request.url.clone();
        let mut authorization = request.authorization.clone();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.send_once(request, &url, authorization.as_ref()).await?;
            let Some(target) = redirect_target(&response) else {
                return Ok(response);
            };
            let next =
                url.join(&target).map_err(|_| self.redirect_error(request, &target, "it is no URL"))?;
            check_redirect(&url, &next)
                .map_err(|problem| self.redirect_error(request, next.as_str(), problem))?;
            if next.origin() != url.origin() {
                authorization = None;
            }
            url = next;
        }
        Err(self.redirect_error(request, url.as_str(), "too many redirects"))
    }

    #[expect(clippy::unused_self, reason = "reads as the transport's own error")]
    fn redirect_error(&self, request: &Request<'_>, target: &str, problem: &'static str) -> RegistryError {
        // A redirect's query often is a signature: a secret.
        let target = target.split(['?', '#']).next().unwrap_or_default().chars().take(300).collect();
        RegistryError::Redirect { doing: request.doing.clone(), target, problem }
    }

    async fn send_once(
        &self,
        request: &Request<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let is_own = url.origin() == request.url.origin();
        let client = self.client(url.scheme() == "https", is_own, request.body.is_some())?;
        let mut builder = client
            .request(request.method.clone(), url.clone())
            .header(ACCEPT_ENCODING, "identity")
            .header("Docker-Distribution-API-Version", "registry/2.0");
        if let Some(accept) = request.accept {
            builder = builder.header(ACCEPT, accept);
        }
        if let Some(value) = authorization {
            builder = builder.header(AUTHORIZATION, value.clone());
        }
        match request.to {
            Some(to) => builder = builder.header(RANGE, format!("bytes={}-{to}", request.from)),
            None if request.from > 0 => builder = builder.header(RANGE, format!("bytes={}-", request.from)),
            None => {}
        }
        if let Some(form) = &request.form {
            builder = builder.header("Content-Type", "application/x-www-form-urlencoded").body(form.clone());
        }
        if let Some(sent) = request.body {
            let sending = sent
                .attach(builder)
                .map_err(|error| RegistryError::Content { doing: request.doing.clone(), source: error })?;
            return match sent.watch(sending).await {
                Ok(response) => Ok(response),
                Err(cause) => Err(self.transport_error(&request.method, url, cause)),
            };
        }
        // The headers must come within the limit; the body has its own.
        match tokio::time::timeout(DOCUMENT_LIMIT, builder.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.transport_error(&request.method, url, TransportCause::of(&error))),
            Err(_) => Err(self.transport_error(&request.method, url, TransportCause::Timeout)),
        }
    }

    pub(super) fn transport_error(&self, method: &Method, url: &Url, cause: TransportCause) -> RegistryError {
        let mut shown = url.clone();
        shown.set_query(None);
        let _ = shown.set_password(None);
        let _ = shown.set_username("");
        let method = match method.as_str() {
            "HEAD" => "Head",
            "POST" => "Post",
            "PATCH" => "Patch",
            "PUT" => "Put",
            _ => "Get",
        };
        RegistryError::Transport { host: self.host.clone(), method, url: shown.into(), cause }
    }

    fn client(&self, encrypted: bool, own: bool, uploads: bool) -> Result<&Client, RegistryError> {
        let cell = match (encrypted, own, uploads) {
            (false, _, false) => &self.plain,
            (true, true, false) => &self.own,
            (true, false, false) => &self.foreign,
            (false, _, true) => &self.uploads[0],
            (true, true, true) => &self.uploads[1],
            (true, false, true) => &self.uploads[2],
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let tls = if encrypted { tls::configuration(&self.tls, own)? } else { tls::unused_configuration()? };
        let mut builder = Client::builder();
        if !uploads {
            builder = builder.read_timeout(SILENCE_LIMIT);
        }
        let client = builder
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("rbox/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_LIMIT)
            .http1_only()
            .build()
            .map_err(|error| RegistryError::Setup(error.into()))?;
        Ok(cell.get_or_init(|| client))
    }

    /// Reads a whole body of at most `limit` bytes within the time limit of documents.
    pub(super) async fn read(
        &self,
        response: &mut Response,
        limit: u64,
        doing: &str,
    ) -> Result<Vec<u8>, RegistryError> {
        let too_large = || RegistryError::TooLarge { doing: doing.to_owned(), limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let start = Instant::now();
        let mut body = Vec::new();
        loop {
            let left = DOCUMENT_LIMIT.saturating_sub(start.elapsed());
            let slow = || RegistryError::Slow {
                doing: doing.to_owned(),
                received: body.len() as u64,
                after: start.elapsed(),
            };
            match tokio::time::timeout(left, response.chunk()).await {
                Err(_) => return Err(slow()),
                Ok(Err(error)) if error.is_timeout() => return Err(slow()),
                Ok(Err(error)) => {
                    return Err(self.transport_error(
                        &Method::GET,
                        response.url(),
                        TransportCause::of(&error),
                    ));
                }
                Ok(Ok(None)) => return Ok(body),
                Ok(Ok(Some(chunk))) => {
                    if body.len() as u64 + chunk.len() as u64 > limit {
                        return Err(too_large());
                    }
                    body.extend_from_slice(&chunk);
                }
            }
        }
    }

    /// The error of an answer that is no success. An error body that is too large or does not come is no reason to
    /// hide the status.
    pub(super) async fn answer(&self, response: &mut Response) -> Answer {
        let status = response.status();
        let body = self.read(response, SMALL_MAX, "reading an error").await.unwrap_or_default();
        Answer::parse(status, &body)
    }
}

fn redirect_target(response: &Response) -> Option<String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    Some(response.headers().get(LOCATION)?.to_str().ok()?.to_owned())
}

fn check_redirect(from: &Url, to: &Url) -> Result<(), &'static str> {
    match (from.scheme(), to.scheme()) {
        ("https", "http") => Err("it leads from HTTPS to plain HTTP"),
        (_, "http" | "https") if to.host_str().is_some_and(|host| !host.is_empty()) => Ok(()),
        _ => Err("it leads to something that is not HTTP"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s64_redirects_never_leave_https() {
        let check =
            |from: &str, to: &str| check_redirect(&from.parse().unwrap(), &to.parse().unwrap()).is_ok();
        assert!(check("https://a/", "https://b/"));
        assert!(check("http://a/", "https://b/"));
        assert!(check("http://a/", "http://b/"));
        assert!(!check("https://a/", "http://a/"));
        assert!(!check("https://a/", "file:///etc/passwd"));
        assert!(!check("http://a/", "ftp://b/"));
    }
}
