//! The table of containers: one directory each, found by id, unique id prefix, or name.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::id::is_id_prefix;
use super::{ContainerId, Error, Record, Result, State, record, state};
use crate::events::Sink;
use crate::kernel;

/// The two files of a container, and the latest version of each that this program knows.
pub(super) const RECORD: (&str, u32) = ("record.json", record::VERSION);
pub(super) const STATE: (&str, u32) = ("state.json", state::VERSION);

/// The user's containers.
#[derive(Debug, Clone)]
pub struct Containers {
    /// `DATA`.
    pub data: PathBuf,
    /// `RUN`.
    pub run: PathBuf,
    /// Where is written down what happens to them.
    pub events: Sink,
}

impl Containers {
    /// The directory of container `id`.
    #[must_use]
    pub fn dir(&self, id: &ContainerId) -> PathBuf {
        self.data.join("containers").join(id.as_str())
    }

    /// The run directory of container `id`.
    #[must_use]
    pub fn run_dir(&self, id: &ContainerId) -> PathBuf {
        self.run.join("containers").join(id.as_str())
    }

    /// The ids of all containers, in no order.
    ///
    /// # Errors
    /// When the directory cannot be read; a missing one has no containers.
    pub fn ids(&self) -> Result<Vec<ContainerId>> {
        let path = self.data.join("containers");
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(kernel::Error::path("open", path, e).into()),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| kernel::Error::path("getdents", &path, e))?;
            ids.extend(entry.file_name().to_str().and_then(ContainerId::parse));
        }
        Ok(ids)
    }

    /// Finds the container that `reference` means: whole id, name, or unique id prefix.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Ambiguous`], or when files cannot be read.
    pub fn lookup(&self, reference: &str) -> Result<Record> {
        let not_found = || Error::NotFound { reference: reference.to_owned() };
        if let Some(record) = self.by_name(reference)? {
            return Ok(record);
        }
        if !is_id_prefix(reference) {
            return Err(not_found());
        }
        if let Some(id) = ContainerId::parse(reference) {
            return self.known(&id)?.ok_or_else(not_found);
        }
        let mut found = None;
        for id in self.ids()?.into_iter().filter(|id| id.as_str().starts_with(reference)) {
            let Some(record) = self.known(&id)? else { continue };
            if found.replace(record).is_some() {
                return Err(Error::Ambiguous { reference: reference.to_owned() });
            }
        }
        found.ok_or_else(not_found)
    }

    /// Finds the container named `name`.
    ///
    /// # Errors
    /// When files cannot be read.
    pub fn by_name(&self, name: &str) -> Result<Option<Record>> {
        if super::id::check_name(name).is_err() {
            return Ok(None);
        }
        let Some(text) = read_optional(&self.data.join("names").join(name))? else { return Ok(None) };
        let id = std::str::from_utf8(&text).ok().and_then(|text| ContainerId::parse(text.trim_end()));
        let Some(id) = id else { return Ok(None) };
        // A crash between the steps of `create` or `rename` leaves a name file that no record confirms.
        Ok(self.known(&id)?.filter(|record| record.name == name))
    }

    /// Reads the record of `id`, `None` if there is no such container.
    ///
    /// # Errors
    /// When the record cannot be read or understood.
    pub fn record(&self, id: &ContainerId) -> Result<Option<Record>> {
        read_json(&self.dir(id).join(RECORD.0), RECORD.1)
    }

    /// Why a file of a container is not there: the container was removed just now, or it is damaged.
    pub(super) fn missing(&self, id: &ContainerId, name: &str) -> Error {
        let dir = self.dir(id);
        if dir.exists() {
            Error::Invalid { what: format!("{} is missing", dir.join(name).display()) }
        } else {
            Error::NotFound { reference: id.to_string() }
        }
    }

    /// Reads the state of `id` and judges it against the kernel.
    ///
    /// # Errors
    /// When the state cannot be read or understood.
    pub fn state(&self, id: &ContainerId) -> Result<State> {
        let stored = read_json(&self.dir(id).join(STATE.0), STATE.1)?;
        self.judge(id, stored)
    }

    pub(super) fn judge(&self, id: &ContainerId, stored: Option<state::Stored>) -> Result<State> {
        let dir = self.dir(id);
        if stored.is_none() && self.has_lost_state(id) {
            return Err(Error::Missing { path: dir.join(STATE.0) });
        }
        state::judge(dir, stored)
    }
}

/// Reads the file at `path`, `None` if there is none.
pub(super) fn read_optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match kernel::file::read_small(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if matches!(e.errno(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Reads a record of at most version `known`. A file without a byte in it, or with zeros only, counts as missing:
/// that is what a power cut leaves of one that was never synced.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path, known: u32) -> Result<Option<T>> {
    let Some(bytes) = read_optional(path)? else { return Ok(None) };
    parse_json(&bytes, known, || path.to_owned())
}

pub(super) fn parse_json<T: DeserializeOwned>(
    bytes: &[u8],
    known: u32,
    path: impl Fn() -> PathBuf,
) -> Result<Option<T>> {
    #[derive(Deserialize)]
    struct Version {
        version: Option<u32>,
    }
    if bytes.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    // Before the rest: a later version may look the same and mean something else. What this version wrote says so in
    // its first bytes.
    let version = if says_version(bytes, known) {
        None
    } else {
        serde_json::from_slice::<Version>(bytes).ok().and_then(|found| found.version)
    };
    if let Some(found) = version.filter(|&found| found > known) {
        return Err(Error::Newer { path: path(), found, known });
    }
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(Some(value)),
        Err(source) => Err(Error::Damaged { path: path(), source }),
    }
}

/// Whether a record begins with its version, and that is `known`.
fn says_version(bytes: &[u8], known: u32) -> bool {
    let Some(rest) = bytes.strip_prefix(b"{\"version\":") else { return false };
    let digits = rest.iter().position(|&byte| byte == b',').map_or(&[][..], |end| &rest[..end]);
    std::str::from_utf8(digits).is_ok_and(|digits| digits.parse() == Ok(known))
}
