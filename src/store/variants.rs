//! `layers/ID/variants.json`: compressed forms of a layer that were made here once.
//!
//! Compressing is by far the slowest part of a push. The same layer compressed in the same way gives the same digest, so
//! what is remembered saves that work whenever a registry has the blob already. It is a hint: without it nothing is wrong.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::open::MAX_RECORD;
use super::record::VERSION;
use super::{Digest, Store};
use crate::kernel::file::{self, Durability};

const NAME: &str = "variants.json";
/// Repositories that are remembered.
const REPOSITORIES_MAX: usize = 8;

/// A compressed form of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// How it was made; whoever writes it knows the words.
    pub method: String,
    /// The blob's digest.
    pub digest: Digest,
    /// Its size.
    pub size: u64,
    /// What its descriptor says besides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Repositories that it was pushed to, the latest first: from there a registry can take it for others.
    #[serde(default)]
    pub repositories: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
struct Record {
    version: u32,
    variants: Vec<Variant>,
}

impl Store {
    /// The form of a layer that `method` made.
    #[must_use]
    pub fn variant(&self, layer: &Digest, method: &str) -> Option<Variant> {
        self.variants(layer).variants.into_iter().find(|variant| variant.method == method)
    }

    /// Remembers a form of a layer.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_variant(&self, layer: &Digest, variant: Variant) -> Result<()> {
        let mut record = self.variants(layer);
        record.version = VERSION;
        record.variants.retain(|other| other.method != variant.method);
        record.variants.push(Variant {
            repositories: variant.repositories.into_iter().take(REPOSITORIES_MAX).collect(),
            ..variant
        });
        let bytes = serde_json::to_vec(&record).expect("records have text keys only");
        let mode = Mode::RUSR | Mode::WUSR;
        let dir = self.layer_path(layer);
        file::write_atomic(&dir, OsStr::new(NAME), &bytes, mode, Durability::None)
            .map_err(Error::kernel("remember a form of a layer"))
    }

    fn variants(&self, layer: &Digest) -> Record {
        let bytes = file::read_limited(&self.layer_path(layer).join(NAME), MAX_RECORD).unwrap_or_default();
        serde_json::from_slice::<Record>(&bytes)
            .ok()
            .filter(|record| record.version == VERSION)
            .unwrap_or_default()
    }
}
