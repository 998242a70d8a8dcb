//! Blobs: that their content has the digest that they are named for.

use super::{Finding, Part, Repair};
use crate::cli::error::Result;
use crate::engine::Engine;
use crate::store::Digest;

#[derive(Debug)]
pub(super) struct Blobs;

impl Part for Blobs {
    fn kind(&self) -> &'static str {
        "blob"
    }

    fn check(&self, engine: &Engine, quick: bool) -> Result<Vec<Finding>> {
        if quick {
            return Ok(Vec::new());
        }
        let store = engine.store()?;
        let mut findings = Vec::new();
        for digest in store.blobs()? {
            if let Some(actual) = store.wrong_digest(&digest)? {
                let problems = vec![format!("its content has the digest {actual}")];
                findings.push(Finding { name: digest.to_string(), problems, can_be_mended: true });
            }
        }
        Ok(findings)
    }

    /// What it should be is lost, and nobody may take it for that: a pull brings it back.
    fn repair(&self, engine: &Engine, finding: &Finding, _force: bool) -> Result<Repair> {
        let Ok(digest) = finding.name.parse::<Digest>() else { return Ok(Repair::Left) };
        engine.store()?.drop_blob(&digest)?;
        Ok(Repair::Removed)
    }
}
