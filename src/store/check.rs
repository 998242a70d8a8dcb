//! Whether what is stored is what its name says, and putting a layer right: for `system check`.
//!
//! A blob is checked by its digest. Of a layer nobody has a list of its files, so its archive is unpacked once more to
//! staging and both trees are packed and compared entry by entry: whatever unpacking does to names, owners and
//! whiteouts, it does to both.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::error::{Error, Result};
use super::pack::{self, PackOptions, Sink};
use super::record::TagRecord;
use super::session::{self, Kind};
use super::table::{exclusive_if_there, references, tag_file};
use super::tar::{Header, Kind as EntryKind};
use super::{Digest, Hasher, ImageId, ImageRecord, LayerLock, Store, UnpackOptions};
use crate::kernel;
use crate::kernel::idmap::{IdMaps, IdRange};

/// So many differences of a layer are named.
const NAMED: usize = 3;

/// What is wrong with a file of `tags/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagProblem {
    /// It cannot be understood.
    Unreadable(String),
    /// It names an image that is not there.
    Dangling(String, ImageId),
    /// It says another name than its own.
    Misplaced(String),
}

impl Store {
    /// The digests of all blobs.
    pub fn blobs(&self) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            let names = self.list(&format!("blobs/{algorithm}"))?;
            found.extend(names.iter().filter_map(|name| format!("{algorithm}:{name}").parse().ok()));
        }
        Ok(found)
    }

    /// The ids of all layers, whole or not.
    pub fn layer_ids(&self) -> Result<Vec<Digest>> {
        Ok(self.list("layers")?.iter().filter_map(|name| id_of(name)).collect())
    }

    /// The ids of all images, with records that can be read or not.
    pub fn image_ids(&self) -> Result<Vec<ImageId>> {
        let names = self.list("images")?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect())
    }

    /// What an image needs and the store does not have: kind and digest. Nothing for an image that is gone.
    pub fn missing_parts(&self, id: &ImageId) -> Result<Vec<(&'static str, Digest)>> {
        // Nothing is removed meanwhile.
        let _table = self.table_shared()?;
        let Some(record) = self.image(id)? else { return Ok(Vec::new()) };
        let missing = references(&record).into_iter().filter(|(kind, digest)| !self.has(*kind, digest));
        let named = missing.map(|(kind, digest)| (if kind == Kind::Blob { "blob" } else { "layer" }, digest));
        Ok(named.collect())
    }

    /// Layers that an image needs and the store does not have.
    pub fn missing_layers(&self) -> Result<BTreeSet<Digest>> {
        let _table = self.table_shared()?;
        let needed = self.images()?.into_iter().flat_map(|record| record.mount_layers());
        Ok(needed.filter(|id| !self.layer_path(id).exists()).collect())
    }

    /// The digest that a blob really has, if that is another one. Nothing for one that is gone.
    pub fn wrong_digest(&self, digest: &Digest) -> Result<Option<Digest>> {
        let Some(mut file) = self.blob(digest)? else { return Ok(None) };
        let fail = |e| Error::Kernel {
            action: "read a blob",
            source: kernel::Error::path("read", self.blob_path(digest), e),
        };
        let (mut hasher, mut buffer) = (Hasher::like(digest), vec![0; 256 << 10]);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(&buffer[..count]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(fail(e)),
            }
        }
        let actual = hasher.finish();
        Ok((actual != *digest).then_some(actual))
    }

    /// Removes a blob that is not what its name says. Whoever reads it goes on to do so.
    pub fn drop_blob(&self, digest: &Digest) -> Result<()> {
        let _table = self.table_exclusive()?;
        let path = self.blob_path(digest);
        match rustix::fs::unlink(&path) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(e) => {
                Err(Error::Kernel { action: "remove a blob", source: kernel::Error::path("unlink", path, e) })
            }
        }
    }

    /// Why a layer cannot be used at all; nothing for one that can, or that is not there.
    #[must_use]
    pub fn layer_problem(&self, id: &Digest) -> Option<String> {
        match self.layer(id) {
            Ok(Some(layer)) if layer.record().id != *id => {
                Some(format!("its record is that of the layer {}", layer.record().id))
            }
            Ok(Some(layer)) => {
                let diff = layer.diff();
                (!diff.is_dir()).then(|| format!("{} is missing", diff.display()))
            }
            Ok(None) => {
                let path = self.layer_path(id);
                path.exists().then(|| format!("{} is missing", path.join("layer.json").display()))
            }
            Err(error) => Some(error.to_string()),
        }
    }

    /// What differs between a layer and its archive `input`, some of it by name; nothing for a layer that is whole.
    /// The caller is root of the user's namespace.
    ///
    /// # Errors
    /// When the archive is not that of the layer, cannot be unpacked, or one of both cannot be read.
    pub fn layer_differences(
        &self,
        id: &Digest,
        input: impl Read,
        options: &UnpackOptions,
    ) -> Result<Vec<String>> {
        let Some(layer) = self.layer(id)? else { return Ok(Vec::new()) };
        let inode = || std::fs::metadata(layer.diff()).map(|meta| meta.ino()).ok();
        let before = inode();
        let (stage, _, _) = self.stage_layer(id, input, options)?;
        let wanted = list(&stage.path.join("diff"))?;
        let found = list(&layer.diff());
        // Without a lock, which would also keep it from being collected: one that is gone or another is passed over.
        if before.is_none() || inode() != before {
            return Ok(Vec::new());
        }
        let found = found?;
        let missing = wanted.keys().filter(|path| !found.contains_key(*path)).map(|path| ("missing", path));
        let extra = found.keys().filter(|path| !wanted.contains_key(*path)).map(|path| ("not from it", path));
        let differs = |path: &&Vec<u8>| wanted.get(*path).is_some_and(|wanted| found[*path] != *wanted);
        let changed = found.keys().filter(differs).map(|path| ("changed", path));
        let all: Vec<_> = missing.chain(changed).chain(extra).collect();
        let named = all.iter().take(NAMED);
        let mut named: Vec<String> =
            named.map(|(how, path)| format!("/{}: {how}", String::from_utf8_lossy(path))).collect();
        if all.len() > NAMED {
            named.push(format!("and {} more differences", all.len() - NAMED));
        }
        Ok(named)
    }

    /// Unpacks the locked layer anew, whether it is there or not, and puts it in the place of what is there.
    ///
    /// # Errors
    /// As [`Store::unpack_layer`].
    pub fn renew_layer(&self, lock: &LayerLock, input: impl Read, options: &UnpackOptions) -> Result<()> {
        let (stage, diff, record) = self.stage_layer(lock.id(), input, options)?;
        self.publish(&stage, diff, record).map(drop)
    }

    /// Takes the locked layer out of the store.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn drop_layer(&self, lock: &LayerLock) -> Result<()> {
        let (path, trash) = (self.layer_path(lock.id()), self.session()?.trash());
        match rustix::fs::rename(&path, &trash) {
            Ok(()) => session::remove(&trash),
            Err(rustix::io::Errno::NOENT) => {}
            Err(e) => {
                let source = kernel::Error::path("rename", path, e);
                return Err(Error::Kernel { action: "remove a layer", source });
            }
        }
        Ok(())
    }

    /// Makes the repairing layer of an image anew ([`super::attributes`]); its own layers are there.
    ///
    /// # Errors
    /// When one of them is not, or the layer cannot be made.
    pub fn renew_attributes(&self, record: &ImageRecord) -> Result<()> {
        let made = self.ensure_attributes(record)?;
        if made == record.attributes {
            return Ok(());
        }
        let _holders = exclusive_if_there(&self.image_path(&record.id))?;
        let record = ImageRecord { attributes: made, ..record.clone() };
        self.write_record(&self.table_exclusive()?, "images", &format!("{}.json", record.id), &record)
    }

    /// Files of `tags/` that do not lead to an image.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn bad_tags(&self) -> Result<Vec<(String, TagProblem)>> {
        let mut found = Vec::new();
        for file in self.list("tags")? {
            let path = self.data().join("tags").join(&file);
            let problem = match super::table::read_record::<TagRecord>(&path) {
                // Removed meanwhile.
                Ok(None) => continue,
                Ok(Some(tag)) if tag_file(&tag.name) != file => TagProblem::Misplaced(tag.name),
                Ok(Some(tag)) if !self.image_path(&tag.image).exists() => {
                    TagProblem::Dangling(tag.name, tag.image)
                }
                Ok(Some(_)) => continue,
                Err(error) => TagProblem::Unreadable(error.to_string()),
            };
            found.push((file, problem));
        }
        Ok(found)
    }

    /// Removes a file of `tags/`.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn drop_tag(&self, file: &str) -> Result<()> {
        self.unlink_record(&self.table_exclusive()?, "tags", file).map(drop)
    }
}

fn id_of(name: &str) -> Option<Digest> {
    let algorithm = if name.len() == 128 { "sha512" } else { "sha256" };
    format!("{algorithm}:{name}").parse().ok()
}

/// All entries of a layer by path, each as the digest of what it is.
fn list(diff: &Path) -> Result<BTreeMap<Vec<u8>, Digest>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root: OwnedFd = rustix::fs::open(diff, flags, Mode::empty()).map_err(|e| Error::Kernel {
        action: "read a layer",
        source: kernel::Error::path("open", diff, e),
    })?;
    let mut listing = Listing::default();
    // As the ids are on disk.
    let all = vec![IdRange { inside: 0, outside: 0, count: u32::MAX }];
    let maps = IdMaps { uid: all.clone(), gid: all };
    pack::pack(&root, &PackOptions { maps, overlay: true, ..PackOptions::default() }, &mut listing)?;
    Ok(listing.0)
}

#[derive(Default)]
struct Listing(BTreeMap<Vec<u8>, Digest>);

impl Sink for Listing {
    fn entry(&mut self, header: &Header, content: Option<&mut dyn Read>) -> Result<()> {
        let mut hasher = Hasher::sha256();
        // The times of directories change with what is put into them.
        let mtime = if header.kind == EntryKind::Directory { 0 } else { header.mtime.0 };
        let Header { kind, link, mode, uid, gid, size, xattrs, .. } = header;
        hasher
            .update(format!("{kind:?} {link:?} {mode:o} {uid} {gid} {size} {mtime} {xattrs:?}\n").as_bytes());
        if let Some(content) = content {
            let mut buffer = vec![0; 64 << 10];
            loop {
                let count = content.read(&mut buffer).map_err(|e| pack::failed("read", &header.path, e))?;
                if count == 0 {
                    break;
                }
                hasher.update(&buffer[..count]);
            }
        }
        self.0.insert(header.path.clone(), hasher.finish());
        Ok(())
    }
}
