//! Searching a registry: the old search of Docker Hub where there is one, else the list of repositories.

use reqwest::{Method, Url};
use serde::Deserialize;

use super::client::{Ask, Client};
use super::error::RegistryError;
use super::manifest::next_page;
use crate::image::manifest::DOCUMENT_MAX;

/// Pages of the list of repositories that are read.
const PAGES_MAX: usize = 200;

/// A repository that fits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Hit {
    /// Its path.
    pub name: String,
    /// What its owner says about it.
    #[serde(default)]
    pub description: String,
    /// How many people like it.
    #[serde(default)]
    pub star_count: u64,
    /// Built by the registry.
    #[serde(default)]
    pub is_automated: bool,
    /// Of the registry itself.
    #[serde(default)]
    pub is_official: bool,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    results: Option<Vec<Hit>>,
}

#[derive(Deserialize)]
struct Catalog {
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

impl Client<'_> {
    /// Repositories whose names have `term` in them, at most `limit`.
    pub async fn search(&self, term: &str, limit: usize) -> Result<Vec<Hit>, RegistryError> {
        if !term.is_empty()
            && let Ok(hits) = self.search_v1(term, limit).await
        {
            return Ok(hits);
        }
        self.search_catalog(term, limit).await
    }

    async fn search_v1(&self, term: &str, limit: usize) -> Result<Vec<Hit>, RegistryError> {
        let doing = format!("searching {}", self.host());
        let mut query = Url::parse("query:?").expect("a constant URL");
        query.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.to_string());
        let path = format!("/v1/search?{}", query.query().unwrap_or_default());
        let mut response = self.exchange_once(&Ask::new(Method::GET, path, doing.clone())).await?;
        let bytes = self.transport().read(&mut response, DOCUMENT_MAX, &doing).await?;
        let results: Results = serde_json::from_slice(&bytes)
            .map_err(|_| RegistryError::Protocol { doing, problem: "the answer is not JSON" })?;
        Ok(results.results.unwrap_or_default())
    }

    async fn search_catalog(&self, term: &str, limit: usize) -> Result<Vec<Hit>, RegistryError> {
        let doing = format!("couldn't search registry {:?}", self.host());
        let mut path = "_catalog".to_owned();
        let mut hits: Vec<Hit> = Vec::new();
        for _ in 0..PAGES_MAX {
            let scope = Some("registry:catalog:*".to_owned());
            let ask = Ask { scope, ..Ask::get(path.clone(), doing.clone()) };
            let (response, bytes) = self.fetch(&ask, DOCUMENT_MAX).await?;
            let next = next_page(response.url(), response.headers());
            let catalog: Catalog = serde_json::from_slice(&bytes).map_err(|_| RegistryError::Protocol {
                doing: doing.clone(),
                problem: "the list of repositories is not JSON",
            })?;
            let names = catalog.repositories.unwrap_or_default();
            let is_empty = names.is_empty();
            for name in names.into_iter().filter(|name| name.contains(term)) {
                // What was asked for by its whole name comes first.
                let at = if name == term { 0 } else { hits.len() };
                hits.insert(at, Hit { name, ..Hit::default() });
            }
            match next {
                // An empty page that leads on is a loop.
                Some(next) if hits.len() < limit && !is_empty => path = next,
                _ => break,
            }
        }
        hits.truncate(limit);
        Ok(hits)
    }
}
