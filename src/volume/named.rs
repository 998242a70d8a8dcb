//! Named volumes.
//!
//! # On disk
//!
//! ```text
//! DATA/volumes/NAME/volume.json   the record; a volume exists from the moment its directory has this name
//! DATA/volumes/NAME/_data/        what containers see
//! ```
//!
//! A volume is made aside and renamed into place, and removed by renaming it away, so it is
//! whole or absent. A lock on `volume.json` is not needed: only `filled` ever changes, and only to true.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, RenameFlags};
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::options::Backing;
use super::relabel::share_new;
use crate::kernel::file::{self, Durability, Flock};
use crate::kernel::{self, remove};

/// The version of `volume.json` that this rbox writes.
pub const VERSION: u32 = 1;
const MAX_RECORD: u64 = 1 << 20;

/// `volume.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Version of the format.
    pub version: u32,
    /// The volume's name.
    pub name: String,
    /// When it was made: RFC 3339.
    pub created: String,
    /// `--label`
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `--opt`
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Made for one container, without a name of the user's.
    #[serde(default)]
    pub anonymous: bool,
    /// Owner that was asked for, as an id of the user's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group that was asked for, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// It got content from an image, or from whoever used it first: images are not copied into it any more.
    #[serde(default)]
    pub filled: bool,
    /// `--opt o=timeout=`: kept for `inspect`, no driver asks for it.
    #[serde(default)]
    pub timeout: u32,
}

impl Volume {
    /// An empty record for `name`, made at `created` (RFC 3339).
    #[must_use]
    pub fn new(name: &str, created: String) -> Self {
        Self {
            version: VERSION,
            name: name.to_owned(),
            created,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            anonymous: false,
            uid: None,
            gid: None,
            filled: false,
            timeout: 0,
        }
    }

    /// Where its content comes from.
    #[must_use]
    pub fn backing(&self) -> Backing {
        Backing::of(&self.options)
    }
}

/// The table of volumes.
#[derive(Debug, Clone)]
pub struct Volumes {
    dir: PathBuf,
}

impl Volumes {
    /// The volumes below the data directory.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { dir: data.join("volumes") }
    }

    /// The directory of all volumes.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory that containers see.
    #[must_use]
    pub fn data(&self, name: &str) -> PathBuf {
        self.dir.join(name).join("_data")
    }

    /// The directory of the content: that of the volume, or the one that it binds.
    #[must_use]
    pub fn content(&self, volume: &Volume) -> PathBuf {
        match volume.backing() {
            Backing::Bind { device, .. } => device,
            Backing::Directory | Backing::Tmpfs { .. } => self.data(&volume.name),
        }
    }

    /// As long as the lock is held no volume is removed.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn keep(&self) -> Result<Flock> {
        make_dir(&self.dir, 0o700)?;
        Ok(Flock::shared_existing(&self.dir)?)
    }

    /// As long as the lock is held nobody begins to use a volume. `None` where there are none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn withhold(&self) -> Result<Option<Flock>> {
        match Flock::exclusive_existing(&self.dir) {
            Err(e) if e.io().kind() == io::ErrorKind::NotFound => Ok(None),
            lock => Ok(Some(lock?)),
        }
    }

    /// Finds a volume by its name.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<Volume>> {
        if !is_name(name) {
            return Ok(None);
        }
        let path = self.dir.join(name).join("volume.json");
        let bytes = match file::read_limited(&path, MAX_RECORD) {
            Ok(bytes) => bytes,
            Err(e) if e.io().kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let volume: Volume =
            serde_json::from_slice(&bytes).map_err(|source| Error::Damaged { path: path.clone(), source })?;
        if volume.version > VERSION {
            return Err(Error::Newer { path, found: volume.version, known: VERSION });
        }
        Ok(Some(volume))
    }

    /// Finds a volume by its name or the beginning of it, as podman does.
    ///
    /// # Errors
    /// When there is none, or more than one begins so.
    pub fn find(&self, reference: &str) -> Result<Volume> {
        if let Some(volume) = self.get(reference)? {
            return Ok(volume);
        }
        let mut fits = self.list()?.into_iter().filter(|volume| volume.name.starts_with(reference));
        let not_found = || Error::NotFound { name: reference.to_owned() };
        if reference.is_empty() {
            return Err(not_found());
        }
        let first = fits.next().ok_or_else(not_found)?;
        if fits.next().is_some() {
            return Err(Error::Ambiguous { name: reference.to_owned() });
        }
        Ok(first)
    }

    /// All volumes, sorted by name. One that cannot be read does not hide the others.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Volume>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(kernel::Error::path("open", &self.dir, e).into()),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut volumes: Vec<Volume> = names.filter_map(|name| self.get(&name).ok().flatten()).collect();
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// Makes a volume.
    ///
    /// # Errors
    /// When the name is taken or no name.
    pub fn create(&self, volume: &Volume) -> Result<()> {
        if !is_name(&volume.name) {
            return Err(Error::BadName { name: volume.name.clone() });
        }
        make_dir(&self.dir, 0o700)?;
        let aside = self.dir.join(format!("{}{}-{}", file::TEMP_PREFIX, std::process::id(), volume.name));
        let made = self.make_aside(&aside, volume);
        let placed = made.and_then(|()| {
            let target = self.dir.join(&volume.name);
            rustix::fs::renameat_with(CWD, &aside, CWD, &target, RenameFlags::NOREPLACE).map_err(|errno| {
                if errno == rustix::io::Errno::EXIST {
                    Error::Exists { name: volume.name.clone() }
                } else {
                    kernel::Error::path("rename", &target, errno).into()
                }
            })
        });
        if placed.is_err() {
            let _ = std::fs::remove_dir_all(&aside);
            return placed;
        }
        file::sync_dir_path(&self.dir)?;
        Ok(())
    }

    fn make_aside(&self, aside: &Path, volume: &Volume) -> Result<()> {
        make_dir(aside, 0o700)?;
        // The owner of the directory is root inside; everybody there may look into it.
        let data = aside.join("_data");
        make_dir(&data, 0o755)?;
        share_new(&data)?;
        write_record(aside, volume, Durability::Sync)
    }

    /// Gives the volume's directory to the owner that was asked for. The caller is in the user's namespace.
    ///
    /// # Errors
    /// When the namespace does not have the id.
    pub fn give(&self, volume: &Volume) -> Result<()> {
        if volume.uid.is_none() && volume.gid.is_none() || volume.backing() != Backing::Directory {
            return Ok(());
        }
        let data = self.data(&volume.name);
        std::os::unix::fs::lchown(&data, volume.uid, volume.gid)
            .map_err(|e| kernel::Error::path("lchown", data, e))?;
        Ok(())
    }

    /// Remembers that a volume was in use and has content now, so that no image is copied into it again.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn mark_filled(&self, volume: &Volume) -> Result<()> {
        let volume = Volume { filled: true, ..volume.clone() };
        write_record(&self.dir.join(&volume.name), &volume, Durability::None)
    }

    /// Makes the record and the directory of a volume that has lost one of them.
    ///
    /// # Errors
    /// When files cannot be written.
    pub fn restore(&self, volume: &Volume) -> Result<()> {
        if !is_name(&volume.name) {
            return Err(Error::BadName { name: volume.name.clone() });
        }
        let data = self.data(&volume.name);
        if !data.is_dir() {
            make_dir(&data, 0o755)?;
        }
        write_record(&self.dir.join(&volume.name), volume, Durability::Sync)
    }

    /// Whether the content of an image may go into the volume: it holds nothing and never did.
    #[must_use]
    pub fn is_fresh(&self, volume: &Volume) -> bool {
        let empty = || std::fs::read_dir(self.content(volume)).is_ok_and(|mut e| e.next().is_none());
        !volume.filled && empty()
    }

    /// Removes a volume with its content. The files may belong to any id of the user's
    /// namespace: the caller is inside of it.
    ///
    /// # Errors
    /// When there is no such volume, or a file cannot be removed.
    pub fn remove(&self, name: &str) -> Result<()> {
        if !is_name(name) {
            return Err(Error::NotFound { name: name.to_owned() });
        }
        let trash = format!("{}{}-{name}", file::TEMP_PREFIX, std::process::id());
        match rustix::fs::rename(self.dir.join(name), self.dir.join(&trash)) {
            Ok(()) => {}
            Err(rustix::io::Errno::NOENT) => return Err(Error::NotFound { name: name.to_owned() }),
            Err(errno) => return Err(kernel::Error::path("rename", self.dir.join(name), errno).into()),
        }
        let dir = kernel::path::RootDir::open(&self.dir)?;
        remove::remove_tree(std::os::fd::AsFd::as_fd(&dir), OsStr::new(&trash), &self.dir.join(&trash))?;
        Ok(())
    }
}

/// The grammar of names: what may become a file name, and nothing that hides.
fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && name.len() <= 200
}

fn write_record(dir: &Path, volume: &Volume, durability: Durability) -> Result<()> {
    let bytes = serde_json::to_vec(volume).expect("a volume has only strings as keys");
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(file::write_atomic(dir, OsStr::new("volume.json"), &bytes, mode, durability)?)
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|e| kernel::Error::path("mkdir", path, e))?;
    // The mode that was asked for, whatever the umask.
    let mode = Mode::from_raw_mode(mode);
    rustix::fs::chmod(path, mode).map_err(|e| kernel::Error::path("chmod", path, e))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str) -> Volume {
        Volume::new(name, "2026-01-01T00:00:00Z".to_owned())
    }

    #[test]
    fn volumes_come_and_go() {
        let data = crate::kernel::scratch::path("volumes");
        let volumes = Volumes::new(&data);
        assert!(volumes.list().unwrap().is_empty());
        volumes.create(&volume("b")).unwrap();
        volumes.create(&volume("abc")).unwrap();
        assert!(matches!(volumes.create(&volume("b")), Err(Error::Exists { .. })));
        assert!(volumes.is_fresh(&volume("b")));
        let file = volumes.data("b").join("file");
        std::fs::File::create(&file).unwrap();
        assert!(!volumes.is_fresh(&volume("b")));
        std::fs::remove_file(file).unwrap();
        volumes.mark_filled(&volume("b")).unwrap();
        // S41: emptied is not unused.
        assert!(!volumes.is_fresh(&volumes.get("b").unwrap().unwrap()));
        assert_eq!(volumes.find("ab").unwrap().name, "abc");
        let names: Vec<String> = volumes.list().unwrap().into_iter().map(|v| v.name).collect();
        assert_eq!(names, ["abc", "b"]);
        volumes.remove("b").unwrap();
        assert!(volumes.get("b").unwrap().is_none());
        assert!(matches!(volumes.remove("b"), Err(Error::NotFound { .. })));
        std::fs::remove_dir_all(&data).unwrap();
    }

    #[test]
    fn s93_names_are_no_paths() {
        let data = std::env::temp_dir().join("rbox-no-such-volumes");
        let volumes = Volumes::new(&data);
        let long = "a".repeat(4096);
        for name in ["", ".", "..", "../x", "a/b", "-x", "a\nb", "é", &long] {
            assert!(volumes.create(&volume(name)).is_err(), "{name}");
            assert!(volumes.get(name).unwrap().is_none());
            assert!(volumes.remove(name).is_err());
        }
        assert!(!data.exists());
    }
}
