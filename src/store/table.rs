//! The tables: images and the names that lead to them.
//!
//! `images/ID.json` is an image; `tags/NAME` is one name. A name whose image is gone means nothing and
//! is swept away. All writers hold the exclusive table lock for the moments of the change; readers need
//! no lock, since records are replaced in one step.
//!
//! An image becomes visible last: layers and blobs are durable first, then the record, then its names.
//! It disappears first: names, then the record, then (by garbage collection) what only it needed. Killed
//! anywhere, what is visible is whole.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;

use super::error::{Error, Result};
use super::open::{MAX_RECORD, parse_record};
use super::record::VERSION;
use super::session::{Kind, TableLock};
use super::{Digest, ImageId, ImageRecord, Store, TagRecord, blob};
use crate::kernel;
use crate::kernel::file::{self, Durability, Flock};

/// Names up to this length are readable in `tags/`; longer ones are hashed.
const MAX_READABLE: usize = 200;

/// What [`Store::remove_image`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<String>,
    /// The image, if its last name went.
    pub deleted: Option<ImageId>,
}

/// Keeps an image from being removed, while a container that uses it is recorded.
#[derive(Debug)]
pub struct ImageGuard {
    lock: Flock,
}

impl ImageGuard {
    pub(super) fn lock(&self) -> &Flock {
        &self.lock
    }
}

impl Store {
    /// Makes an image visible. Its layers and blobs must be in the store already, brought by this process
    /// (so that garbage collection left them alone); `config` is its configuration. The size and the
    /// repairing layer are filled in. An image that is there already keeps the manifests that it had.
    pub fn put_image(&self, mut record: ImageRecord, config: &[u8]) -> Result<ImageRecord> {
        let id = ImageId::of(config);
        if record.id != id {
            return Err(blob::mismatch("image id", &record.id, &id));
        }
        record.version = VERSION;
        self.put_blob(config)?;
        record.attributes = self.ensure_attributes(&record)?;
        record.size = 0;
        for digest in record.mount_layers().into_iter().collect::<BTreeSet<_>>() {
            record.size += self.layer(&digest)?.ok_or_else(|| incomplete(&id, "layer", &digest))?.on_disk();
        }
        let (_holders, table) = self.lock_to_replace(&id)?;
        // A layer that was there already may have lost its blob a moment ago; only push needs it.
        for layer in &mut record.layers {
            layer.blob = layer.blob.take().filter(|digest| self.has(Kind::Blob, digest));
        }
        for (kind, digest) in references(&record) {
            if !self.has(kind, &digest) {
                return Err(incomplete(&id, if kind == Kind::Blob { "blob" } else { "layer" }, &digest));
            }
        }
        let old = match self.image(&id) {
            // This one takes its place.
            Err(Error::Record { .. }) => None,
            old => old?,
        };
        if let Some(old) = old {
            let known = old.manifest.into_iter().chain(old.manifests);
            let more: Vec<_> = known
                .filter(|digest| {
                    record.manifest.as_ref() != Some(digest) && !record.manifests.contains(digest)
                })
                .filter(|digest| self.has(Kind::Blob, digest))
                .collect();
            record.manifests.extend(more);
        }
        self.write_record(&table, "images", &format!("{id}.json"), &record)?;
        Ok(record)
    }

    /// The image with this id.
    pub fn image(&self, id: &ImageId) -> Result<Option<ImageRecord>> {
        read_record(&self.image_path(id))
    }

    /// All images, in no particular order. A damaged record is passed over here (using that image by id
    /// says what is wrong), so that one bad file never hides the others.
    pub fn images(&self) -> Result<Vec<ImageRecord>> {
        let names = self.list("images")?;
        let ids = names.iter().filter_map(|name| name.strip_suffix(".json")?.parse::<ImageId>().ok());
        Ok(ids.filter_map(|id| self.image(&id).ok().flatten()).collect())
    }

    /// Keeps the image from being removed until the guard is dropped.
    pub fn hold_image(&self, id: &ImageId) -> Result<ImageGuard> {
        match Flock::shared_existing(&self.image_path(id)) {
            Ok(lock) => Ok(ImageGuard { lock }),
            Err(e) if e.io().kind() == std::io::ErrorKind::NotFound => {
                Err(Error::NotFound { what: "image", text: id.to_string() })
            }
            Err(e) => Err(Error::kernel("lock the image")(e)),
        }
    }

    /// Makes `name` (a full name) lead to an image, taking it from another one if need be; returns that.
    /// `manifest` is what was pulled under the name.
    pub fn tag(&self, name: &str, image: &ImageId, manifest: Option<Digest>) -> Result<Option<ImageId>> {
        let table = self.table_exclusive()?;
        if self.image(image)?.is_none() {
            return Err(Error::NotFound { what: "image", text: image.to_string() });
        }
        let record = TagRecord { version: VERSION, name: name.to_owned(), image: image.clone(), manifest };
        let before = self.resolve(name)?;
        if before.as_ref() == Some(&record) {
            return Ok(None);
        }
        let before = before.map(|tag| tag.image).filter(|before| before != image);
        if let Some(before) = &before {
            self.remember_name(&table, before, name);
        }
        self.write_record(&table, "tags", &tag_file(name), &record)?;
        Ok(before)
    }

    /// Removes a name; false where there was none. The image stays, named or not.
    pub fn untag(&self, name: &str) -> Result<bool> {
        let table = self.table_exclusive()?;
        self.untag_locked(&table, name)
    }

    /// What a full name leads to.
    pub fn resolve(&self, name: &str) -> Result<Option<TagRecord>> {
        let tag: Option<TagRecord> = read_record(&self.data().join("tags").join(tag_file(name)))?;
        Ok(tag.filter(|tag| tag.name == name))
    }

    /// All names, sorted. Damaged records are passed over, as in [`Self::images`].
    pub fn tags(&self) -> Result<Vec<TagRecord>> {
        let dir = self.data().join("tags");
        let files = self.list("tags")?;
        let mut tags: Vec<TagRecord> =
            files.iter().filter_map(|name| read_record(&dir.join(name)).ok().flatten()).collect();
        tags.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tags)
    }

    /// The names of one image, sorted.
    pub fn names_of(&self, id: &ImageId) -> Result<Vec<TagRecord>> {
        Ok(self.tags()?.into_iter().filter(|tag| tag.image == *id).collect())
    }

    /// Removes `name`, and the image with it if that was its last name and no container uses it; without
    /// `name` the image with all its names. `users` lists the containers of an image; it is asked while
    /// nobody can start to use the image. What only this image needed is left to [`Self::gc`].
    pub fn remove_image(
        &self,
        id: &ImageId,
        name: Option<&str>,
        users: impl FnOnce(&ImageId) -> Vec<String>,
    ) -> Result<Removed> {
        if let Some(untagged) = self.untag_one_of_several(&self.table_exclusive()?, id, name)? {
            return Ok(untagged);
        }
        // The image before the tables: who holds an image may go on to change these, as a commit does.
        let path = self.image_path(id);
        let Some(_holders) = exclusive_if_there(&path)? else {
            return Err(Error::NotFound { what: "image", text: id.to_string() });
        };
        let table = self.table_exclusive()?;
        if let Some(untagged) = self.untag_one_of_several(&table, id, name)? {
            return Ok(untagged);
        }
        let users = users(id);
        if !users.is_empty() {
            return Err(Error::InUse { users });
        }
        let mut removed = Removed::default();
        for tag in self.newest_first(self.names_of(id)?) {
            self.unlink_record(&table, "tags", &tag_file(&tag.name))?;
            removed.untagged.push(tag.name);
        }
        self.forget_names(&table, id);
        self.unlink_record(&table, "images", &format!("{id}.json"))?;
        removed.deleted = Some(id.clone());
        Ok(removed)
    }

    /// Names in the order in which an image loses them: the newest goes first, as with podman.
    fn newest_first(&self, mut tags: Vec<TagRecord>) -> Vec<TagRecord> {
        let written = |tag: &TagRecord| {
            std::fs::metadata(self.data().join("tags").join(tag_file(&tag.name)))
                .and_then(|m| m.modified())
                .ok()
        };
        tags.sort_by_cached_key(|tag| std::cmp::Reverse(written(tag)));
        tags
    }

    /// Waits for runs that hold the record of an image (they lock the file, and it is about to be replaced), and locks
    /// the tables: in this order, as in [`Self::remove_image`].
    fn lock_to_replace(&self, id: &ImageId) -> Result<(Option<Flock>, TableLock)> {
        let path = self.image_path(id);
        loop {
            let holders = exclusive_if_there(&path)?;
            let table = self.table_exclusive()?;
            // It may have come, or gone and come again, before the tables were locked.
            if holders.is_some() == path.exists() {
                return Ok((holders, table));
            }
        }
    }

    /// Removes `name` where the image has others; nothing where it would go with its last one.
    fn untag_one_of_several(
        &self,
        table: &TableLock,
        id: &ImageId,
        name: Option<&str>,
    ) -> Result<Option<Removed>> {
        let Some(name) = name else { return Ok(None) };
        if self.names_of(id)?.iter().all(|tag| tag.name == name) {
            return Ok(None);
        }
        let untagged = if self.untag_locked(table, name)? { vec![name.to_owned()] } else { Vec::new() };
        Ok(Some(Removed { untagged, ..Removed::default() }))
    }

    pub(super) fn image_path(&self, id: &ImageId) -> PathBuf {
        self.data().join("images").join(format!("{id}.json"))
    }

    /// Whether an object is in the store.
    pub(super) fn has(&self, kind: Kind, digest: &Digest) -> bool {
        match kind {
            Kind::Blob => self.blob_path(digest).exists(),
            Kind::Layer => self.layer_path(digest).join("layer.json").exists(),
        }
    }

    /// The names in a directory of records, without unfinished ones.
    pub(super) fn list(&self, dir: &str) -> Result<Vec<String>> {
        let path = self.data().join(dir);
        let fail =
            |e| Error::Kernel { action: "list the store", source: kernel::Error::path("readdir", &path, e) };
        let mut names = Vec::new();
        let entries = match std::fs::read_dir(&path) {
            // A store of an earlier rbox may lack a directory.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(names),
            other => other.map_err(fail)?,
        };
        for entry in entries {
            let name = entry.map_err(fail)?.file_name();
            if !file::is_temporary(&name) {
                names.extend(name.into_string());
            }
        }
        Ok(names)
    }

    fn untag_locked(&self, table: &TableLock, name: &str) -> Result<bool> {
        let Some(tag) = self.resolve(name)? else { return Ok(false) };
        self.remember_name(table, &tag.image, name);
        self.unlink_record(table, "tags", &tag_file(name))
    }

    pub(super) fn write_record(
        &self,
        _table: &TableLock,
        dir: &str,
        name: &str,
        record: &impl serde::Serialize,
    ) -> Result<()> {
        let bytes = serde_json::to_vec(record).expect("records have text keys only");
        let mode = Mode::RUSR | Mode::WUSR;
        file::write_atomic(&self.data().join(dir), OsStr::new(name), &bytes, mode, Durability::Sync)
            .map_err(Error::kernel("write a record"))
    }

    pub(super) fn unlink_record(&self, _table: &TableLock, dir: &str, name: &str) -> Result<bool> {
        let path = self.data().join(dir).join(name);
        match rustix::fs::unlink(&path) {
            Ok(()) => blob::sync(self, dir).map(|()| true),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(Error::Kernel {
                action: "remove a record",
                source: kernel::Error::path("unlink", path, e),
            }),
        }
    }
}

/// Everything that an image needs in the store.
pub(super) fn references(record: &ImageRecord) -> Vec<(Kind, Digest)> {
    let layers = record.mount_layers().into_iter().map(|digest| (Kind::Layer, digest));
    let blobs = record.layers.iter().filter_map(|layer| layer.blob.clone());
    let blobs = blobs.chain(record.manifest.clone()).chain(record.manifests.iter().cloned());
    let config = (!record.list).then(|| (Kind::Blob, record.id.digest()));
    layers.chain(blobs.map(|digest| (Kind::Blob, digest))).chain(config).collect()
}

/// The file of a name: readable where it is short, hashed where it would not fit into a file name.
pub(super) fn tag_file(name: &str) -> String {
    let mut file = String::with_capacity(name.len() + 8);
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b':' | b'@' => {
                file.push(char::from(byte));
            }
            // A leading dot would look like an unfinished file, or be `..`.
            b'.' if !file.is_empty() => file.push('.'),
            _ => file.push_str(&format!("%{byte:02X}")),
        }
    }
    if file.len() <= MAX_READABLE { file } else { format!("%long-{}", Digest::of(name.as_bytes()).hex()) }
}

pub(super) fn read_record<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match file::read_limited(path, MAX_RECORD) {
        Ok(bytes) => parse_record(path, &bytes).map(Some),
        Err(e) if e.io().kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::kernel("read a record")(e)),
    }
}

pub(super) fn exclusive_if_there(path: &Path) -> Result<Option<Flock>> {
    match Flock::exclusive_existing(path) {
        Ok(lock) => Ok(Some(lock)),
        Err(e) if e.io().kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::kernel("lock the image")(e)),
    }
}

fn incomplete(image: &ImageId, what: &'static str, digest: &Digest) -> Error {
    Error::Incomplete { image: image.to_string(), what, digest: Box::new(digest.clone()) }
}
