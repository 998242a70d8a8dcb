//! Where a reference leads, with what is needed to ask there: address, certificates, credentials.

use super::auth::{AuthStore, Secret};
use super::error::Result;
use super::progress::Reporter;
use super::pull::Context;
use super::reference::Reference;
use super::registries::Registries;
use super::registry::{Client, Connection, RetryPolicy};
use super::request::RegistryOptions;

/// A place to ask.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The reference under its name there.
    pub(crate) remote: Reference,
    /// How it is reached.
    pub(crate) connection: Connection,
    /// Who asks.
    pub(crate) secret: Secret,
}

impl Place {
    /// A client for the place.
    pub(crate) fn client<'r>(&self, reporter: Reporter<'r>) -> Client<'r> {
        Client::new(self.remote.domain(), Some(&self.remote), self.secret.clone(), &self.connection, reporter)
    }
}

/// Where to ask for a reference: its mirrors, and its own place last.
pub(crate) fn places(
    context: Context<'_>,
    registries: &Registries,
    options: &RegistryOptions,
    reference: &Reference,
) -> Result<Vec<Place>> {
    let retries = options.retry.unwrap_or(context.config.engine.retry);
    let retry = RetryPolicy { retries, delay: options.retry_delay };
    let auth = AuthStore::find(context.env, context.paths, options, registries)?;
    let mut places = Vec::new();
    for endpoint in registries.endpoints(reference)? {
        let host = endpoint.reference.domain();
        let insecure = options.tls_verify.map_or(endpoint.insecure, |verify| !verify);
        let connection = Connection::to(host, context.paths, options.cert_dir.clone(), insecure, retry);
        // Credentials of the command line are for the registry that was named there, not for a mirror.
        let is_own = endpoint.reference.domain() == reference.domain();
        let secret = match &options.credentials {
            Some(credentials) if is_own => Secret::Password(credentials.clone()),
            _ => auth.secret(&endpoint.reference.repository())?,
        };
        places.push(Place { remote: endpoint.reference, connection, secret });
    }
    Ok(places)
}

/// The place of the reference itself: what is written goes to no mirror.
pub(crate) fn own_place(
    context: Context<'_>,
    registries: &Registries,
    options: &RegistryOptions,
    reference: &Reference,
) -> Result<Place> {
    let mut places = places(context, registries, options, reference)?;
    Ok(places.pop().expect("a reference has a place of its own"))
}
