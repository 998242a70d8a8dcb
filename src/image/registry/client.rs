//! One repository of one registry: scheme, authentication and retries around each request.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

use jiff::Timestamp;
use reqwest::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};

use super::body::Sent;
use super::challenge::{self, Challenge};
use super::error::{Answer, RegistryError, TransportCause, is_transient_status};
use super::retry::{RetryPolicy, parse_retry_after};
use super::tls::{self, TlsSettings};
use super::token::{self, TokenCache};
use super::transport::{Request, Transport};
use crate::config::Paths;
use crate::image::auth::Secret;
use crate::image::progress::{Event, Reporter};
use crate::image::reference::{DOCKER_HUB, Reference};

/// How a registry is reached.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Folder of certificates.
    pub certificates: Option<PathBuf>,
    /// Plain HTTP and any certificate are fine for this registry.
    pub insecure: bool,
    /// How often failures are tried again.
    pub retry: RetryPolicy,
}

impl Connection {
    /// The connection to `host`: `cert_dir` as given, else the host's folder of `certs.d`.
    #[must_use]
    pub fn to(
        host: &str,
        paths: &Paths,
        cert_dir: Option<PathBuf>,
        insecure: bool,
        retry: RetryPolicy,
    ) -> Self {
        Self { certificates: cert_dir.or_else(|| tls::folder_for(host, paths)), insecure, retry }
    }
}

/// A client for one repository.
#[derive(Debug)]
pub struct Client<'a> {
    /// The registry as the reference names it.
    host: String,
    /// The repository's path, also in its scope.
    path: String,
    access: Access,
    /// What the whole is for, as retries are told.
    purpose: Option<String>,
    base: RefCell<Url>,
    /// Plain HTTP may be tried, because HTTPS did not work and nothing was answered yet.
    may_fall_back: Cell<bool>,
    transport: Transport,
    secret: Secret,
    challenge: RefCell<Option<Challenge>>,
    tokens: RefCell<TokenCache>,
    /// One token request at a time: what it brings serves all that wait.
    token_turn: tokio::sync::Mutex<()>,
    retry: RetryPolicy,
    reporter: Reporter<'a>,
}

/// What a client may do in its repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Pull,
    /// Read and write.
    Push,
}

/// What to ask for, below `/v2/`.
#[derive(Debug, Clone)]
pub(super) struct Ask<'b> {
    pub(super) method: Method,
    /// Path below `/v2/`, or a whole URL.
    pub(super) path: String,
    pub(super) accept: Option<&'static str>,
    /// First byte wanted.
    pub(super) from: u64,
    /// Last byte wanted, if not all.
    pub(super) to: Option<u64>,
    pub(super) doing: String,
    /// What is sent.
    pub(super) body: Option<Sent<'b>>,
    /// What a token must allow besides the repository.
    pub(super) scope: Option<String>,
    /// The URL is the registry's own choice and may be on another server, which then gets no credentials.
    pub(super) may_leave: bool,
}

impl<'b> Ask<'b> {
    pub(super) fn new(method: Method, path: String, doing: String) -> Self {
        Self {
            method,
            path,
            accept: None,
            from: 0,
            to: None,
            doing,
            body: None,
            scope: None,
            may_leave: false,
        }
    }

    pub(super) fn get(path: String, doing: String) -> Self {
        Self::new(Method::GET, path, doing)
    }

    pub(super) fn with_body(self, body: Sent<'b>) -> Self {
        Self { body: Some(body), ..self }
    }
}

impl<'a> Client<'a> {
    /// A client for the repository of `reference` (none: only for logging in).
    pub fn new(
        host: &str,
        reference: Option<&Reference>,
        secret: Secret,
        connection: &Connection,
        reporter: Reporter<'a>,
    ) -> Self {
        let api_host = if host == DOCKER_HUB { "registry-1.docker.io" } else { host };
        let base = Url::parse(&format!("https://{api_host}/v2/")).expect("a parsed domain makes a URL");
        let tls = TlsSettings { folder: connection.certificates.clone(), insecure: connection.insecure };
        Self {
            host: host.to_owned(),
            path: reference.map(|r| r.path().to_owned()).unwrap_or_default(),
            access: Access::Pull,
            purpose: None,
            base: RefCell::new(base),
            may_fall_back: Cell::new(connection.insecure),
            transport: Transport::new(host.to_owned(), tls),
            secret,
            challenge: RefCell::new(None),
            tokens: RefCell::default(),
            token_turn: tokio::sync::Mutex::new(()),
            retry: connection.retry,
            reporter,
        }
    }

    /// The same client with other rights.
    #[must_use]
    pub fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// The same client; `purpose` stands before what goes wrong and is tried again.
    #[must_use]
    pub fn with_purpose(self, purpose: String) -> Self {
        Self { purpose: Some(purpose), ..self }
    }

    /// The registry's name.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Domain and path, as messages name the repository.
    pub(super) fn repository(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Whether the registry accepts the secret.
    pub(super) async fn check_login(&self) -> Result<(), RegistryError> {
        let doing = format!("logging into {:?}", self.host);
        let ask = Ask::get(String::new(), doing);
        self.request(&ask).await.map(drop)
    }

    /// Sends a request and returns the successful answer; identity, retries and the choice between HTTPS and HTTP
    /// happen here.
    pub(super) async fn request(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let mut attempt = 0;
        loop {
            let (error, wish) = match self.exchange(ask).await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(mut response) => {
                    let wish = retry_after(&response);
                    let answer = self.transport.answer(&mut response).await;
                    (RegistryError::Status { doing: ask.doing.clone(), answer }, wish)
                }
                Err(error) => (error, None),
            };
            self.pause_or_fail(error, wish, &mut attempt).await?;
        }
    }

    /// Sends a request once; retries are the caller's.
    pub(super) async fn exchange_once(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let mut response = self.exchange(ask).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let answer = self.transport.answer(&mut response).await;
        Err(RegistryError::Status { doing: ask.doing.clone(), answer })
    }

    /// How often a failure is tried again.
    pub(super) fn retries(&self) -> u32 {
        self.retry.retries
    }

    /// Waits before another attempt, or gives the error back when there is none.
    pub(super) async fn pause_or_fail(
        &self,
        error: RegistryError,
        wish: Option<std::time::Duration>,
        attempt: &mut u32,
    ) -> Result<(), RegistryError> {
        if !error.is_transient() || *attempt >= self.retry.retries {
            return Err(error);
        }
        *attempt += 1;
        let delay = self.retry.pause(*attempt, wish);
        self.reporter.report(Event::Retry {
            purpose: self.purpose.as_deref(),
            error: &error,
            delay,
            attempt: *attempt,
            retries: self.retry.retries,
        });
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// One attempt: with the identity that is known, and once more with a new one if it was refused.
    async fn exchange(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let scopes = self.scopes(ask);
        let known = self.challenge.borrow().clone();
        let authorization = match &known {
            Some(challenge) => self.authorize(challenge, &scopes).await?,
            None => None,
        };
        let response = self.send(ask, authorization.clone()).await?;
        let status = response.status();
        // Some registries hide what is private behind 403 or 404 until they know who asks.
        let may_hide = known.is_none()
            && self.secret != Secret::None
            && matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
        if status != StatusCode::UNAUTHORIZED && !may_hide {
            return Ok(response);
        }
        let offered = challenge::choose(
            response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok()),
        );
        let challenge = match offered {
            Some(challenge) => challenge,
            // gcr.io once sent its challenge with /v2/ only.
            None => match self.ping().await? {
                Some(challenge) => challenge,
                None => return Ok(response),
            },
        };
        let wanted = match &challenge {
            Challenge::Bearer(bearer) if bearer.error.as_deref() == Some("insufficient_scope") => {
                bearer.scopes.clone()
            }
            _ => scopes,
        };
        if authorization.is_some() {
            self.tokens.borrow_mut().forget(&wanted);
        }
        let fresh = self.authorize(&challenge, &wanted).await?;
        self.challenge.replace(Some(challenge));
        if fresh.is_none() || fresh == authorization {
            return Ok(response);
        }
        drop(response);
        self.send(ask, fresh).await
    }

    /// What a token must allow.
    fn scopes(&self, ask: &Ask<'_>) -> Vec<String> {
        if self.path.is_empty() {
            return ask.scope.iter().cloned().collect();
        }
        let actions = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let own = format!("repository:{}:{actions}", self.path);
        std::iter::once(own).chain(ask.scope.clone()).collect()
    }

    async fn authorize(
        &self,
        challenge: &Challenge,
        scopes: &[String],
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let bearer = match challenge {
            Challenge::Basic => return Ok(self.secret.basic()),
            Challenge::Bearer(bearer) => bearer,
        };
        let _turn = self.token_turn.lock().await;
        if let Some(token) = self.tokens.borrow().get(scopes) {
            return Ok(Some(token));
        }
        let registry = self.base.borrow().clone();
        let mut attempt = 0;
        loop {
            match token::fetch(&self.transport, &registry, bearer, scopes, &self.secret).await {
                Ok(reply) => {
                    return token::remember(&mut self.tokens.borrow_mut(), scopes, &bearer.realm, reply)
                        .map(Some);
                }
                Err(error) => self.pause_or_fail(error, None, &mut attempt).await?,
            }
        }
    }

    /// Asks `/v2/` for a challenge.
    async fn ping(&self) -> Result<Option<Challenge>, RegistryError> {
        let doing = format!("pinging container registry {}", self.host);
        let ask = Ask::get(String::new(), doing);
        let response = self.send(&ask, None).await?;
        let values = response.headers().get_all(WWW_AUTHENTICATE);
        Ok(challenge::choose(values.iter().filter_map(|value| value.to_str().ok())))
    }

    /// One request. The first one decides between HTTPS and, where that is allowed, plain HTTP.
    async fn send(
        &self,
        ask: &Ask<'_>,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let base = self.base.borrow().clone();
        let mut sent = self.transport.send(&self.build(ask, &base, authorization.clone())?).await;
        if let Err(RegistryError::Transport { cause, .. }) = &sent
            // Another request may have found out meanwhile.
            && (self.may_fall_back.get() || self.base.borrow().scheme() == "http")
            && base.scheme() == "https"
            && allows_plain(cause)
        {
            let mut plain = base.clone();
            plain.set_scheme("http").expect("https and http are alike");
            // Where neither works, the error of HTTPS says more.
            if let Ok(response) = self.transport.send(&self.build(ask, &plain, authorization)?).await {
                self.base.replace(plain);
                sent = Ok(response);
            }
        }
        match sent {
            Ok(response) => {
                self.may_fall_back.set(false);
                Ok(response)
            }
            // Where the registry itself cannot be reached, it does not matter what was asked for.
            Err(RegistryError::Transport { host, url, cause, .. }) if url.starts_with(base.as_str()) => {
                Err(RegistryError::Transport { host, method: "Get", url: base.into(), cause })
            }
            Err(error) => Err(error),
        }
    }

    fn build<'b>(
        &self,
        ask: &Ask<'b>,
        base: &Url,
        authorization: Option<HeaderValue>,
    ) -> Result<Request<'b>, RegistryError> {
        let broken = |problem| RegistryError::Protocol { doing: ask.doing.clone(), problem };
        let url = base.join(&ask.path).map_err(|_| broken("the address is no URL"))?;
        let is_foreign = url.origin() != base.origin();
        if is_foreign && !ask.may_leave {
            return Err(broken("the address leads to another server"));
        }
        if is_foreign && base.scheme() == "https" && url.scheme() != "https" {
            return Err(broken("the address leads from HTTPS to something else"));
        }
        Ok(Request {
            method: ask.method.clone(),
            url,
            accept: ask.accept,
            authorization: authorization.filter(|_| !is_foreign),
            from: ask.from,
            to: ask.to,
            form: None,
            body: ask.body,
            doing: ask.doing.clone(),
        })
    }
}

/// Whether a failure of HTTPS can mean that the server speaks plain HTTP.
fn allows_plain(cause: &TransportCause) -> bool {
    !matches!(cause, TransportCause::NoSuchHost(_))
}

fn retry_after(response: &Response) -> Option<std::time::Duration> {
    if !is_transient_status(response.status().as_u16()) {
        return None;
    }
    parse_retry_after(response.headers().get(RETRY_AFTER)?.to_str().ok()?, Timestamp::now())
}

/// The error of an answer whose content is not what was asked for.
pub(super) fn unexpected(doing: &str, status: StatusCode) -> RegistryError {
    RegistryError::Status { doing: doing.to_owned(), answer: Answer::parse(status, &[]) }
}
