//! Images: their records, and that all they consist of is there.

use super::{Finding, Part, Repair, fetch};
use crate::cli::commands::image;
use crate::cli::error::{CommandError, Result};
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::check;
use crate::store::{Error, ImageId};

/// Records of images.
#[derive(Debug)]
pub(super) struct Records;

impl Part for Records {
    fn kind(&self) -> &'static str {
        "image record"
    }

    fn check(&self, engine: &Engine, _quick: bool) -> Result<Vec<Finding>> {
        let store = engine.store()?;
        let mut findings = Vec::new();
        for id in store.image_ids()? {
            if let Err(error) = store.image(&id) {
                // A record of a newer version is not damaged for those that wrote it.
                let can_be_mended = !matches!(error, Error::Newer { .. });
                let problems = vec![CommandError::describe(&error)];
                findings.push(Finding { name: id.to_string(), problems, can_be_mended });
            }
        }
        Ok(findings)
    }

    fn repair(&self, engine: &Engine, finding: &Finding, force: bool, ui: &mut Ui) -> Result<Repair> {
        let Ok(id) = finding.name.parse() else { return Ok(Repair::Left) };
        if !finding.can_be_mended {
            return Ok(Repair::Left);
        }
        if check::rebuild_record(engine.store()?, &id)? || fetch(engine, &id, ui)? {
            return Ok(Repair::Mended);
        }
        if force { remove(engine, &id) } else { Ok(Repair::Left) }
    }
}

/// What images consist of.
#[derive(Debug)]
pub(super) struct Images;

impl Part for Images {
    fn kind(&self) -> &'static str {
        "image"
    }

    fn check(&self, engine: &Engine, _quick: bool) -> Result<Vec<Finding>> {
        let store = engine.store()?;
        let mut findings = Vec::new();
        for record in store.images()? {
            let missing = store.missing_parts(&record.id)?;
            let problems: Vec<String> =
                missing.into_iter().map(|(what, digest)| format!("its {what} {digest} is missing")).collect();
            if !problems.is_empty() {
                findings.push(Finding { name: record.id.to_string(), problems, can_be_mended: false });
            }
        }
        Ok(findings)
    }

    fn repair(&self, engine: &Engine, finding: &Finding, force: bool, ui: &mut Ui) -> Result<Repair> {
        let Ok(id) = finding.name.parse() else { return Ok(Repair::Left) };
        if fetch(engine, &id, ui)? && engine.store()?.missing_parts(&id)?.is_empty() {
            return Ok(Repair::Mended);
        }
        if force { remove(engine, &id) } else { Ok(Repair::Left) }
    }
}

/// Removes an image with its names, unless a container that is whole uses it.
fn remove(engine: &Engine, id: &ImageId) -> Result<Repair> {
    let users = |id: &ImageId| {
        // Without knowing the users nothing may be removed.
        image::users(engine).map_or_else(
            |_| vec!["containers that cannot be listed".to_owned()],
            |users| users.get(id.as_str()).cloned().unwrap_or_default(),
        )
    };
    match engine.store()?.remove_image(id, None, users) {
        Ok(_) => Ok(Repair::Removed),
        Err(Error::InUse { .. }) => Ok(Repair::Left),
        Err(error) => Err(error.into()),
    }
}
