//! Blobs: that their content has the digest that they are named for.

use super::{Finding, Part, Repair, fetch};
use crate::cli::error::Result;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::store::{Digest, ImageId, Object, Store};

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
                let mut problems = vec![format!("its content has the digest {actual}")];
                problems.extend(users(engine, &digest)?.iter().map(|id| {
                    let names = store.names_of(id).unwrap_or_default();
                    let names: Vec<String> = names.into_iter().map(|tag| tag.name).collect();
                    format!("the image {} needs it ({})", id.short(), names.join(", "))
                }));
                findings.push(Finding { name: digest.to_string(), problems, can_be_mended: true });
            }
        }
        Ok(findings)
    }

    /// What it should be is lost here, and nobody may take it for that: it goes, and is fetched again where that can be.
    fn repair(&self, engine: &Engine, finding: &Finding, _force: bool, ui: &mut Ui) -> Result<Repair> {
        let Ok(digest) = finding.name.parse::<Digest>() else { return Ok(Repair::Left) };
        let users = users(engine, &digest)?;
        engine.store()?.drop_blob(&digest)?;
        for id in users {
            if fetch(engine, &id, ui)? && engine.store()?.blob_path(&digest).exists() {
                return Ok(Repair::Mended);
            }
        }
        Ok(Repair::Removed)
    }
}

/// The images that need a blob.
fn users(engine: &Engine, digest: &Digest) -> Result<Vec<ImageId>> {
    let blob = Object::Blob(digest.clone());
    let images = engine.store()?.images()?;
    Ok(images
        .iter()
        .filter(|image| Store::objects_of(image).contains(&blob))
        .map(|image| image.id.clone())
        .collect())
}
