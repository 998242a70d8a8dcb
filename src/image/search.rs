//! Search: repositories of registries, and the tags of one.

use std::cell::RefCell;

use super::auth::{AuthStore, Secret};
use super::error::{Error, Result};
use super::place::own_place;
use super::progress::{Progress, Reporter, Silent};
use super::pull::Context;
use super::reference::{DOCKER_HUB, Reference};
use super::registries::Registries;
use super::registry::{Client, Connection, Hit, RetryPolicy, block_on};
use super::request::RegistryOptions;

/// A repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The registry.
    pub registry: String,
    /// Its full name.
    pub name: String,
    /// What the registry says.
    pub hit: Hit,
}

/// Searches `term`, which may begin with a registry; else those of `unqualified-search-registries` are asked.
///
/// # Errors
/// When no registry could be asked.
pub fn search(
    context: Context<'_>,
    term: &str,
    limit: usize,
    options: &RegistryOptions,
) -> Result<Vec<Match>> {
    let registries = Registries::load(context.env, context.paths)?;
    let (hosts, term) = match term.split_once('/') {
        Some((host, term)) => (vec![host.to_owned()], term),
        None => match registries.search_registries() {
            [] => (vec![DOCKER_HUB.to_owned()], term),
            hosts => (hosts.to_vec(), term),
        },
    };
    let auth = AuthStore::find(context.env, context.paths, options, &registries)?;
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for host in hosts {
        // The name becomes a part of an address.
        Reference::parse(&format!("check.{host}/x"))
            .map_err(|source| Error::Reference { text: host.clone(), source })?;
        let insecure = options.tls_verify.map_or_else(|| registries.is_insecure(&host), |verify| !verify);
        let retry = RetryPolicy { retries: 0, delay: None };
        let connection = Connection::to(&host, context.paths, options.cert_dir.clone(), insecure, retry);
        let secret = match &options.credentials {
            Some(credentials) => Secret::Password(credentials.clone()),
            None => auth.secret(&host)?,
        };
        // Docker Hub's own API does not list repositories, but the old one does.
        let (asked, term) = match host.as_str() {
            DOCKER_HUB => ("index.docker.io", term.strip_prefix("library/").unwrap_or(term)),
            host => (host, term),
        };
        let mut silent = Silent;
        let silent: RefCell<&mut dyn Progress> = RefCell::new(&mut silent);
        let client = Client::new(asked, None, secret, &connection, Reporter::new(&silent));
        match block_on(client.search(term, limit))? {
            Ok(hits) => found.extend(hits.into_iter().take(limit).map(|hit| named(&host, hit))),
            Err(error) => errors.push(Error::from(error)),
        }
    }
    match errors.len() {
        _ if !found.is_empty() => Ok(found),
        0 => Ok(found),
        1 => Err(errors.remove(0)),
        _ => Err(Error::Several(errors)),
    }
}

fn named(host: &str, hit: Hit) -> Match {
    let name = match host {
        DOCKER_HUB if !hit.name.contains('/') => format!("{host}/library/{}", hit.name),
        host => format!("{host}/{}", hit.name),
    };
    Match { registry: host.to_owned(), name, hit }
}

/// All tags of the repository `term`, with its full name.
///
/// # Errors
/// When there is no such repository, or it cannot be asked.
pub fn tags(context: Context<'_>, term: &str, options: &RegistryOptions) -> Result<(Reference, Vec<String>)> {
    let registries = Registries::load(context.env, context.paths)?;
    let name = term.strip_prefix("docker://").unwrap_or(term);
    let candidates = registries.candidates(name)?;
    let reference = candidates.references[0].without_version();
    let place = own_place(context, &registries, options, &reference)?;
    let mut silent = Silent;
    let silent: RefCell<&mut dyn Progress> = RefCell::new(&mut silent);
    let client = place.client(Reporter::new(&silent));
    let tags = block_on(client.tags())?.map_err(|source| Error::Source {
        reference: Box::new(reference.clone()),
        source: Box::new(source),
    })?;
    Ok((reference, tags))
}
