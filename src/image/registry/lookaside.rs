//! Signatures that lie on a web server beside the registry.

use reqwest::{Method, Url};

use super::client::{Client, unexpected};
use super::error::RegistryError;
use super::transport::Request;

impl Client<'_> {
    /// Fetches a small file from any server, without credentials; nothing where it has none.
    pub(crate) async fn lookaside(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>, RegistryError> {
        let doing = format!("reading signature from {}", url.split('?').next().unwrap_or(url));
        let broken = |problem| RegistryError::Protocol { doing: doing.clone(), problem };
        let address = Url::parse(url).map_err(|_| broken("the address is no URL"))?;
        let mut attempt = 0;
        loop {
            let request = Request {
                method: Method::GET,
                url: address.clone(),
                accept: None,
                authorization: None,
                from: 0,
                to: None,
                form: None,
                body: None,
                doing: doing.clone(),
            };
            let outcome = match self.transport().send(&request).await {
                Ok(response) if response.status().as_u16() == 404 => return Ok(None),
                Ok(response) if !response.status().is_success() => Err(unexpected(&doing, response.status())),
                Ok(mut response) => self.transport().read(&mut response, limit, &doing).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) => self.pause_or_fail(error, None, &mut attempt).await?,
            }
        }
    }
}
