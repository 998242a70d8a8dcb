//! Bearer tokens: the two token protocols of the distribution registry, and a cache that honours their lifetime.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use reqwest::{Method, Url};
use serde::Deserialize;

use super::challenge::Bearer;
use super::error::RegistryError;
use super::transport::{Request, SMALL_MAX, Transport};
use crate::image::auth::Secret;

/// What the specification says a token lives at least.
const LIFETIME_MIN: Duration = Duration::from_secs(60);
/// A token this close to its end is not sent any more.
const MARGIN: Duration = Duration::from_secs(5);

/// Tokens by what they allow.
#[derive(Debug, Default)]
pub(super) struct TokenCache {
    tokens: HashMap<Vec<String>, Token>,
}

struct Token {
    header: HeaderValue,
    until: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("until", &self.until).finish_non_exhaustive()
    }
}

impl TokenCache {
    /// The header value for `scopes`, while it is valid.
    pub(super) fn get(&self, scopes: &[String]) -> Option<HeaderValue> {
        let token = self.tokens.get(scopes)?;
        (token.until > Instant::now() + MARGIN).then(|| token.header.clone())
    }

    /// Forgets the token for `scopes`, because the registry refused it.
    pub(super) fn forget(&mut self, scopes: &[String]) {
        self.tokens.remove(scopes);
    }

    fn put(&mut self, scopes: Vec<String>, token: Token) -> HeaderValue {
        let header = token.header.clone();
        self.tokens.insert(scopes, token);
        header
    }
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// Asks the token server of `challenge` for `scopes`.
pub(super) async fn fetch(
    transport: &Transport,
    registry: &Url,
    challenge: &Bearer,
    scopes: &[String],
    secret: &Secret,
) -> Result<(Vec<u8>, Instant), RegistryError> {
    let unusable = |problem| RegistryError::TokenServer { realm: challenge.realm.clone(), problem };
    let mut url = Url::parse(&challenge.realm).map_err(|_| unusable("the realm is no URL"))?;
    match (registry.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err(unusable("refusing to send credentials over plain HTTP")),
        _ => return Err(unusable("the realm is not an HTTP URL")),
    }
    let mut fields: Vec<(&str, &str)> = Vec::new();
    if let Secret::Password(credentials) = secret {
        fields.push(("account", &credentials.username));
    }
    fields.extend(challenge.service.as_deref().map(|service| ("service", service)));
    fields.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    let mut request = Request {
        method: Method::GET,
        url: url.clone(),
        accept: Some("application/json"),
        authorization: None,
        from: 0,
        to: None,
        form: None,
        body: None,
        doing: "requesting a bearer token".to_owned(),
    };
    match secret {
        Secret::IdentityToken(refresh_token) => {
            let mut form = Url::parse("form:?").expect("a constant URL");
            form.query_pairs_mut()
                .extend_pairs(&fields)
                .append_pair("grant_type", "refresh_token")
                .append_pair("refresh_token", refresh_token)
                .append_pair("client_id", "rbox");
            request.method = Method::POST;
            request.form = form.query().map(ToOwned::to_owned);
        }
        Secret::Password(_) | Secret::None => {
            url.query_pairs_mut().extend_pairs(&fields);
            request.url = url;
            request.authorization = secret.basic();
        }
    }
    let mut response = transport.send(&request).await?;
    if !response.status().is_success() {
        let answer = transport.answer(&mut response).await;
        return Err(RegistryError::Token {
            with_credentials: !matches!(secret, Secret::None) && answer.status == 401,
            answer,
        });
    }
    let body = transport.read(&mut response, SMALL_MAX, &request.doing).await?;
    Ok((body, Instant::now()))
}

/// Reads the token server's reply and keeps the token for `scopes`.
pub(super) fn remember(
    cache: &mut TokenCache,
    scopes: &[String],
    realm: &str,
    (body, received): (Vec<u8>, Instant),
) -> Result<HeaderValue, RegistryError> {
    let unusable = |problem| RegistryError::TokenServer { realm: realm.to_owned(), problem };
    let reply: Reply = serde_json::from_slice(&body).map_err(|_| unusable("the answer is not a token"))?;
    let text = if reply.token.is_empty() { reply.access_token } else { reply.token };
    if text.is_empty() {
        return Err(unusable("the answer has no token"));
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {text}"))
        .map_err(|_| unusable("the token has characters that cannot be sent"))?;
    header.set_sensitive(true);
    // A day is longer than any pull, and a hostile value must not overflow the clock.
    let lifetime = Duration::from_secs(reply.expires_in.unwrap_or(0).min(86_400)).max(LIFETIME_MIN);
    Ok(cache.put(scopes.to_vec(), Token { header, until: received + lifetime }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_live_as_long_as_the_server_says() {
        let mut cache = TokenCache::default();
        let scopes = vec!["repository:a:pull".to_owned()];
        let mut take =
            |json: &str, at: Instant| remember(&mut cache, &scopes, "r", (json.into(), at)).is_ok();
        let now = Instant::now();
        assert!(take(r#"{"token":"a","expires_in":300}"#, now));
        assert!(take(r#"{"access_token":"b"}"#, now));
        assert!(!take(r#"{"expires_in":300}"#, now));
        assert!(!take(r#"{"token":"a\nb"}"#, now));
        assert!(!take("<html>", now));
        assert!(take(r#"{"token":"a","expires_in":18446744073709551615}"#, now));
        let old = now.checked_sub(Duration::from_secs(120)).unwrap();
        remember(&mut cache, &scopes, "r", (br#"{"token":"x","expires_in":1}"#.to_vec(), old)).unwrap();
        assert!(cache.get(&scopes).is_none());
        remember(&mut cache, &scopes, "r", (br#"{"token":"y","expires_in":300}"#.to_vec(), old)).unwrap();
        assert_eq!(cache.get(&scopes).unwrap().to_str().unwrap(), "Bearer y");
        assert!(!format!("{cache:?}").contains("Bearer y"));
        cache.forget(&scopes);
        assert!(cache.get(&scopes).is_none());
    }
}
