//! Garbage collection by reachability.
//!
//! Roots are the image records and the pins of living processes. Under the exclusive table lock, which
//! keeps new pins and records out, everything else is moved to `tmp/` (one rename an object:
//! milliseconds), where nobody holds it; it is deleted after the lock is free. Killed at any point, what was
//! moved is reclaimed like any staging of the dead, and what was not is found by the next collection.
//!
//! A full disk is when this is needed most, so it makes no file and no directory, and where even a rename
//! finds no room, it deletes in place.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::derive::DerivedRecord;
use super::error::{Error, Result};
use super::open::MAX_RECORD;
use super::session::{self, Kind};
use super::table::{references, tag_file};
use super::{Digest, Store};
use crate::kernel;
use crate::kernel::disk;
use crate::kernel::file::{self, Flock};

/// What to do with downloads that were interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partials {
    /// They stay, to be continued.
    Keep,
    /// They go too, unless somebody writes them at this moment.
    Remove,
}

/// What a collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs.
    pub blobs: u64,
    /// Layers.
    pub layers: u64,
    /// What they took on disk, with the trees derived from them.
    pub bytes: u64,
}

impl Store {
    /// Removes what no image and no living process refers to. A damaged image record stops the collection
    /// (what it refers to is unknown) without an error: deleting must work beside a bad record.
    pub fn gc(&self, partials: Partials) -> Result<Collected> {
        let mut collected = Collected::default();
        let left = session::abandoned_staging(self.data());
        collected.bytes += left.iter().map(|path| disk::tree(path)).sum::<u64>();
        self.reclaim_staging();
        let mut trash = Vec::new();
        {
            let table = self.table_exclusive()?;
            let Some(needed) = self.needed()? else { return Ok(collected) };
            self.sweep_tags(&table)?;
            self.sweep_names(&table)?;
            for (kind, dir) in
                [(Kind::Layer, "layers"), (Kind::Blob, "blobs/sha256"), (Kind::Blob, "blobs/sha512")]
            {
                for name in self.list(dir)? {
                    let digest = digest_of(dir, &name);
                    if digest.as_ref().is_some_and(|digest| needed.contains(&(kind, digest.clone()))) {
                        continue;
                    }
                    let path = self.data().join(dir).join(&name);
                    self.count(&mut collected, kind, digest.as_ref(), &path);
                    trash.extend(self.discard(&path, "layer.json")?);
                }
            }
        }
        collected.bytes += self.sweep_derived(&mut trash)?;
        if partials == Partials::Remove {
            collected.bytes += self.sweep_partials()?;
        }
        self.sweep_locks()?;
        for path in trash {
            session::remove(&path);
        }
        Ok(collected)
    }

    /// Everything that must stay, or nothing where that cannot be known.
    fn needed(&self) -> Result<Option<HashSet<(Kind, Digest)>>> {
        let mut needed = self.pinned();
        for name in self.list("images")? {
            let Some(id) = name.strip_suffix(".json").and_then(|id| id.parse().ok()) else { continue };
            match self.image(&id) {
                Ok(Some(record)) => needed.extend(references(&record)),
                Ok(None) => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(needed))
    }

    /// Removes names whose image is gone: a removal was killed, or the record was deleted by hand.
    fn sweep_tags(&self, table: &session::TableLock) -> Result<()> {
        for tag in self.tags()? {
            if !self.image_path(&tag.image).exists() {
                self.unlink_record(table, "tags", &tag_file(&tag.name))?;
            }
        }
        Ok(())
    }

    /// Moves derived trees away whose layers are gone. It runs after these were moved: then nobody can want
    /// the tree.
    fn sweep_derived(&self, trash: &mut Vec<PathBuf>) -> Result<u64> {
        let mut bytes = 0;
        for name in self.list("derived")? {
            let path = self.data().join("derived").join(&name);
            let record = file::read_limited(&path.join("derived.json"), MAX_RECORD);
            let record: Option<DerivedRecord> =
                record.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            if record.as_ref().is_some_and(|record| record.sources.iter().all(|id| self.has(Kind::Layer, id)))
            {
                continue;
            }
            let recorded = record.and_then(|record| record.disk);
            bytes += recorded.map_or_else(|| disk::tree(&path), |bytes| bytes + disk::flat(&path));
            trash.extend(self.discard(&path, "derived.json")?);
        }
        Ok(bytes)
    }

    /// Moves an object out of the way and says where to, or, without room for that, deletes it in place:
    /// first the record that makes a directory an object.
    fn discard(&self, path: &Path, record: &str) -> Result<Option<PathBuf>> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let to = self.data().join(format!("tmp/trash-{}-{count}", std::process::id()));
            match rustix::fs::renameat_with(CWD, path, CWD, &to, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(Some(to)),
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::NOSPC | Errno::DQUOT) => {
                    match rustix::fs::unlink(path.join(record)) {
                        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
                        Err(e) => return Err(failed("unlink", path, e)),
                    }
                    session::remove(path);
                    return Ok(None);
                }
                Err(e) => return Err(failed("rename", path, e)),
            }
        }
    }

    /// Removes lock files that nobody holds. A waiter notices that its file is gone and takes the new one.
    fn sweep_locks(&self) -> Result<()> {
        for name in self.list("locks")?.iter().filter(|name| *name != "table") {
            let path = self.data().join("locks").join(name);
            if let Ok(Some(_idle)) = Flock::try_exclusive_existing(&path) {
                match rustix::fs::unlink(&path) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(e) => return Err(failed("unlink", &path, e)),
                }
            }
        }
        Ok(())
    }

    fn sweep_partials(&self) -> Result<u64> {
        let mut bytes = 0;
        for name in self.list("blobs/partial")? {
            let path = self.data().join("blobs/partial").join(name);
            if let Ok(Some(_idle)) = Flock::try_exclusive_existing(&path) {
                let size = path.symlink_metadata().map_or(0, |meta| disk::allocated(&meta));
                match rustix::fs::unlink(&path) {
                    Ok(()) => bytes += size,
                    Err(Errno::NOENT) => {}
                    Err(e) => return Err(failed("unlink", &path, e)),
                }
            }
        }
        Ok(bytes)
    }

    fn count(&self, collected: &mut Collected, kind: Kind, digest: Option<&Digest>, path: &Path) {
        match kind {
            Kind::Blob => {
                collected.blobs += 1;
                collected.bytes += path.symlink_metadata().map_or(0, |meta| disk::allocated(&meta));
            }
            Kind::Layer => {
                collected.layers += 1;
                let layer = digest.and_then(|digest| self.layer(digest).ok().flatten());
                collected.bytes += layer.map_or_else(|| disk::tree(path), |layer| layer.on_disk());
            }
        }
    }
}

/// The digest that a file of the store is named for; nothing for a stray file, which nobody needs.
pub(super) fn digest_of(dir: &str, name: &str) -> Option<Digest> {
    let algorithm = match dir.strip_prefix("blobs/") {
        Some(algorithm) => algorithm,
        None if name.len() == 128 => "sha512",
        None => "sha256",
    };
    format!("{algorithm}:{name}").parse().ok()
}

fn failed(call: &'static str, path: &Path, errno: Errno) -> Error {
    Error::Kernel { action: "collect garbage", source: kernel::Error::path(call, path, errno) }
}
