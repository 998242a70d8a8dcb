//! Commands on images that are here.

pub mod exists;
pub mod history;
pub mod import;
pub mod inspect;
pub mod list;
pub mod load;
pub mod mount;
pub mod prune;
pub mod rm;
pub mod save;
pub mod scp;
pub mod sign;
pub mod tag;
pub mod tree;
pub mod trust;
pub mod untag;

use std::collections::BTreeMap;

use crate::cli::error::Result;
use crate::engine::Engine;
use crate::image::local::Users;

/// The containers of each image, by image id.
pub(in crate::cli) fn users(engine: &Engine) -> Result<Users> {
    let containers = engine.containers()?;
    let mut users: Users = BTreeMap::new();
    for id in containers.ids()? {
        // One that is being made or removed, or whose record is damaged, must not hide the others.
        if let Ok(Some(record)) = containers.record(&id) {
            users.entry(record.root.image_id).or_default().push(record.id.as_str().to_owned());
        }
    }
    Ok(users)
}
