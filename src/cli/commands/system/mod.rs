//! `rbox system …`: what concerns everything at once.

pub mod check;
pub mod connection;
pub mod df;
pub mod prune;
pub mod reset;
mod usage;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::cli::error::Result;
use crate::container::Record;
use crate::engine::Engine;
use crate::store::ImageRecord;
use crate::volume::named::{Volume, Volumes};

/// Whether a container of `records` is made of `image`.
fn is_used(image: &ImageRecord, records: &[Record]) -> bool {
    records.iter().any(|record| record.root.image_id == image.id.as_str())
}

/// How many containers use a volume.
fn links(volume: &Volume, records: &[Record]) -> usize {
    let uses = |record: &&Record| record.mounts.iter().any(|mount| mount.name == volume.name);
    records.iter().filter(uses).count()
}

/// The table of volumes.
fn volumes(engine: &Engine) -> Result<Volumes> {
    Ok(Volumes::new(&engine.paths()?.data))
}

/// Bytes of all regular files below `dir`, those with several names once. What vanishes meanwhile
/// or cannot be read counts nothing. Mounts below are not entered.
fn tree_size(dir: &Path) -> u64 {
    let Ok(top) = dir.symlink_metadata() else { return 0 };
    let mut seen = HashSet::new();
    let mut dirs = vec![dir.to_owned()];
    let mut size = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() && meta.dev() == top.dev() {
                dirs.push(entry.path());
            } else if meta.is_file() && (meta.nlink() == 1 || seen.insert(meta.ino())) {
                size += meta.len();
            }
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn hard_links_count_once() {
        let dir = crate::kernel::scratch::path("size");
        fs::create_dir_all(dir.join("a")).unwrap();
        fs::File::create(dir.join("a/x")).unwrap().write_all(b"12345").unwrap();
        fs::hard_link(dir.join("a/x"), dir.join("y")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.join("link")).unwrap();
        assert_eq!(tree_size(&dir), 5);
        assert_eq!(tree_size(&dir.join("missing")), 0);
        fs::remove_dir_all(dir).unwrap();
    }
}
