//! Layers: that they are there, and have the files of their archives.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Part, Repair, fetch};
use crate::cli::error::{CommandError, Result};
use crate::cli::ui::Ui;
use crate::container::filter::Filters;
use crate::engine::Engine;
use crate::image::check;
use crate::store::{Digest, LayerLock, Store};

#[derive(Debug)]
pub(super) struct Layers;

impl Part for Layers {
    fn kind(&self) -> &'static str {
        "layer"
    }

    fn check(&self, engine: &Engine, quick: bool) -> Result<Vec<Finding>> {
        let store = engine.store()?;
        let missing = store.missing_layers()?;
        let missing = missing.into_iter().map(|id| (id, vec!["it is missing".to_owned()]));
        let mut found: BTreeMap<Digest, Vec<String>> = missing.collect();
        for id in store.layer_ids()? {
            let problems = match store.layer_problem(&id) {
                Some(problem) => vec![problem],
                None if quick => Vec::new(),
                None => differences(engine, &id)?,
            };
            if !problems.is_empty() {
                found.insert(id, problems);
            }
        }
        let finding =
            |(id, problems): (Digest, _)| Finding { name: id.to_string(), problems, can_be_mended: true };
        Ok(found.into_iter().map(finding).collect())
    }

    fn repair(&self, engine: &Engine, finding: &Finding, force: bool, ui: &mut Ui) -> Result<Repair> {
        let Ok(id) = finding.name.parse::<Digest>() else { return Ok(Repair::Left) };
        let store = engine.store()?;
        // Its files are open in there.
        if is_mounted(engine, &id)? {
            return Ok(Repair::Left);
        }
        for record in store.images()? {
            // A layer that the store made of others needs no archive.
            if record.attributes.as_ref() == Some(&id) {
                store.drop_layer(&store.lock_layer(&id)?)?;
                store.renew_attributes(&record)?;
                return Ok(Repair::Mended);
            }
        }
        let renew = |lock: &LayerLock| {
            check::renew_layer(store, lock, engine.unpack())
                .map_err(|error| CommandError::new(CommandError::describe(&error)))
        };
        if renew(&store.lock_layer(&id)?)? {
            return Ok(Repair::Mended);
        }
        // Its archive is fetched without the lock, which that takes itself.
        for record in store.images()?.iter().filter(|record| record.mount_layers().contains(&id)) {
            if fetch(engine, &record.id, ui)? {
                break;
            }
        }
        let lock = store.lock_layer(&id)?;
        match renew(&lock) {
            Ok(true) => Ok(Repair::Mended),
            Ok(false) if force || !needed(store)?.contains(&id) => {
                store.drop_layer(&lock)?;
                Ok(Repair::Removed)
            }
            Ok(false) => Ok(Repair::Left),
            Err(error) => Err(error),
        }
    }
}

/// The layers of all images.
fn needed(store: &Store) -> Result<BTreeSet<Digest>> {
    Ok(store.images()?.iter().flat_map(crate::store::ImageRecord::mount_layers).collect())
}

fn differences(engine: &Engine, id: &Digest) -> Result<Vec<String>> {
    Ok(match check::layer_differences(engine.store()?, id, engine.unpack()) {
        Ok(found) => found.unwrap_or_default(),
        Err(error) => vec![format!("it cannot be compared: {}", CommandError::describe(&error))],
    })
}

/// Whether a container has the layer mounted.
fn is_mounted(engine: &Engine, id: &Digest) -> Result<bool> {
    let id = id.to_string();
    let listed = engine.containers()?.list(&Filters::default())?;
    Ok(listed.iter().any(|one| one.state.status.is_alive() && one.record.root.layers.contains(&id)))
}
