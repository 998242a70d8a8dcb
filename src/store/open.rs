//! Opening the store: its directory tree, version and owner.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::probe::{Driver, DriverOptions};
use super::record::VERSION;
use super::session::Session;
use crate::config::Paths;
use crate::kernel;
use crate::kernel::file::{self, Durability, Flock};

/// Directories of the store that it makes itself.
pub(super) const DIRS: [&str; 13] = [
    "tmp",
    "blobs",
    "blobs/sha256",
    "blobs/sha512",
    "blobs/partial",
    "layers",
    "images",
    "history",
    "tags",
    "locks",
    "probe",
    "derived",
    "empty",
];
/// Other directories below the same root; their owners make them.
const NEIGHBOURS: [&str; 3] = ["names", "containers", "volumes"];
/// The longest record that is read.
pub(super) const MAX_RECORD: u64 = 64 << 20;

/// The store. Cheap to open; nothing is locked until something is written.
#[derive(Debug)]
pub struct Store {
    data: PathBuf,
    root: OwnedFd,
    session: OnceLock<Session>,
    pub(super) driver_options: DriverOptions,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct StoreRecord {
    version: u32,
}

impl Store {
    /// Opens the store of `paths`, making it if there is none.
    pub fn open(paths: &Paths) -> Result<Self> {
        let wished = paths.mount_program.as_ref().map(|_| Driver::FuseOverlay);
        let options = DriverOptions { driver: wished, fuse_program: paths.mount_program.clone() };
        Ok(Self::open_at(&paths.data)?.with_driver(options))
    }

    /// Opens or makes the store in the directory `data`.
    pub fn open_at(data: &Path) -> Result<Self> {
        let unusable = |problem: String| Error::Unusable { path: data.to_owned(), problem };
        let root = match open_dir(data) {
            Err(e) if e.io().kind() == std::io::ErrorKind::NotFound => create_root(data)?,
            other => other.map_err(|e| unusable(e.io().to_string()))?,
        };
        check_owner(data, &root)?;
        let store = Self {
            data: data.to_owned(),
            root,
            session: OnceLock::new(),
            driver_options: DriverOptions::default(),
        };
        match file::read_limited(&data.join("store.json"), MAX_RECORD) {
            Ok(bytes) => check_version(&data.join("store.json"), &bytes)?,
            Err(e) if e.io().kind() == std::io::ErrorKind::NotFound => store.initialise()?,
            Err(e) => return Err(unusable(e.io().to_string())),
        }
        Ok(store)
    }

    /// The store's directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// This process's staging directory and pins, made on the first write.
    pub(super) fn session(&self) -> Result<&Session> {
        if let Some(session) = self.session.get() {
            return Ok(session);
        }
        let session = Session::start(self)?;
        Ok(self.session.get_or_init(|| session))
    }

    /// Makes the directories, then `store.json`: a store without it was never used.
    fn initialise(&self) -> Result<()> {
        let unusable = |problem: String| Error::Unusable { path: self.data.clone(), problem };
        for entry in std::fs::read_dir(&self.data).map_err(|e| unusable(e.to_string()))? {
            let name = entry.map_err(|e| unusable(e.to_string()))?.file_name();
            let known = DIRS.iter().chain(&NEIGHBOURS).any(|dir| name == **dir) || file::is_temporary(&name);
            if !known {
                return Err(unusable(format!("it is not empty and not a store (it holds {name:?})")));
            }
        }
        for dir in DIRS {
            match rustix::fs::mkdirat(&self.root, dir, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(unusable(format!("cannot make {dir}: {e}"))),
            }
        }
        // Made now, so that removing things later needs no room for it on a full disk.
        Flock::shared(&self.data.join("locks/table")).map_err(Error::kernel("make the store"))?;
        let bytes = serde_json::to_vec(&StoreRecord { version: VERSION }).expect("a number serialises");
        file::write_at(
            self.root.as_fd(),
            &self.data,
            "store.json".as_ref(),
            &bytes,
            Mode::RUSR | Mode::WUSR,
            Durability::Sync,
        )
        .map_err(|e| unusable(e.io().to_string()))
    }
}

/// Reads the version of a record before anything else of it, so that a later format gets a clear error.
pub(super) fn check_version(path: &Path, bytes: &[u8]) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u64,
    }
    let record: Versioned = serde_json::from_slice(bytes)
        .map_err(|e| Error::Record { path: path.to_owned(), problem: e.to_string() })?;
    if record.version > u64::from(VERSION) {
        return Err(Error::Newer { path: path.to_owned(), found: record.version, known: VERSION });
    }
    Ok(())
}

/// Parses a record of this or an earlier version.
pub(super) fn parse_record<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    check_version(path, bytes)?;
    serde_json::from_slice(bytes).map_err(|e| Error::Record { path: path.to_owned(), problem: e.to_string() })
}

fn open_dir(path: &Path) -> kernel::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|e| kernel::Error::path("open", path, e))
}

/// Makes the store's directory; parents get the usual mode, the directory itself 0700.
fn create_root(data: &Path) -> Result<OwnedFd> {
    let unusable = |problem: String| Error::Unusable { path: data.to_owned(), problem };
    if let Some(parent) = data.parent() {
        std::fs::create_dir_all(parent).map_err(|e| unusable(format!("cannot create it: {e}")))?;
    }
    match rustix::fs::mkdir(data, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => open_dir(data).map_err(|e| unusable(e.io().to_string())),
        Err(e) => Err(unusable(format!("cannot create it: {e}"))),
    }
}

/// The store holds setuid programs of strangers: others must not reach into it (CVE-2021-41091), and
/// records of another user must not be believed.
fn check_owner(data: &Path, root: &OwnedFd) -> Result<()> {
    let unusable = |problem: String| Error::Unusable { path: data.to_owned(), problem };
    let copy = root.try_clone().map_err(|e| unusable(e.to_string()))?;
    let meta = File::from(copy).metadata().map_err(|e| unusable(e.to_string()))?;
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me {
        return Err(unusable(format!("it belongs to uid {}, not to uid {me}", meta.uid())));
    }
    if meta.mode() & 0o077 != 0 {
        rustix::fs::fchmod(root, Mode::RWXU)
            .map_err(|e| unusable(format!("others may enter it (mode {:o}): {e}", meta.mode() & 0o7777)))?;
    }
    Ok(())
}
