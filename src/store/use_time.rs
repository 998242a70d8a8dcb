//! When images were used last, and the names that they had.
//!
//! The time of the last use is the modification time of `images/ID.json`: recording it costs a run one `fstat`, and a
//! change of the inode at most once a minute. A record that is written counts as a use, as a pull should.
//!
//! `history/ID.json` has names that an image had and lost, the latest first. It is told for information only: it is written
//! without waiting for the disk, and a damaged one is no error.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Mode, Stat, Timespec, Timestamps, UTIME_NOW};
use serde::{Deserialize, Serialize};

use super::record::VERSION;
use super::session::TableLock;
use super::{ImageGuard, ImageId, Store};
use crate::kernel::file::{self, Durability};

/// Uses that follow each other faster are one.
const GRAIN: Duration = Duration::from_secs(60);
/// Names that are remembered.
const NAMES_MAX: usize = 100;
const DIR: &str = "history";

#[derive(Debug, Default, Serialize, Deserialize)]
struct PastNames {
    version: u32,
    names: Vec<String>,
}

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };

impl ImageGuard {
    /// Records that the image is used now. It is a hint for cleaning up, so a store that cannot be written is no error.
    pub fn record_use(&self) {
        if rustix::fs::fstat(self.lock()).is_ok_and(|stat| is_past(&stat)) {
            let times = Timestamps { last_access: NOW, last_modification: NOW };
            let _ = rustix::fs::futimens(self.lock(), &times);
        }
    }
}

/// Records the use of an image in the store at `data` by its id, if it is there: a container of it has ended.
pub fn record_use(data: &Path, id: &str) {
    let path = data.join("images").join(format!("{id}.json"));
    if rustix::fs::stat(&path).is_ok_and(|stat| is_past(&stat)) {
        let times = Timestamps { last_access: NOW, last_modification: NOW };
        let _ = rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty());
    }
}

/// Whether the last use is long enough ago to be worth another record. A time in the future is corrected, too.
fn is_past(stat: &Stat) -> bool {
    let last = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
    let age =
        SystemTime::UNIX_EPOCH.checked_add(last).and_then(|last| SystemTime::now().duration_since(last).ok());
    age.is_none_or(|age| age >= GRAIN)
}

impl Store {
    /// Records that an image is used now, if it is here.
    pub fn record_use(&self, id: &ImageId) {
        record_use(self.data(), id.as_str());
    }

    /// When an image was used last; nothing if it is not here.
    #[must_use]
    pub fn last_use(&self, id: &ImageId) -> Option<SystemTime> {
        self.image_path(id).symlink_metadata().ok()?.modified().ok()
    }

    /// Names that the image had and lost, the latest first.
    #[must_use]
    pub fn past_names(&self, id: &ImageId) -> Vec<String> {
        let path = self.data().join(DIR).join(format!("{id}.json"));
        let bytes = file::read_limited(&path, super::open::MAX_RECORD).unwrap_or_default();
        let past: PastNames = serde_json::from_slice(&bytes).unwrap_or_default();
        if past.version == VERSION { past.names } else { Vec::new() }
    }

    /// Remembers a name that the image is about to lose. Best effort: losing the memory must not keep the name.
    pub(super) fn remember_name(&self, _table: &TableLock, id: &ImageId, name: &str) {
        let mut names = self.past_names(id);
        names.retain(|other| other != name);
        names.insert(0, name.to_owned());
        names.truncate(NAMES_MAX);
        let bytes = serde_json::to_vec(&PastNames { version: VERSION, names }).expect("names are text");
        let dir = self.data().join(DIR);
        let _ = rustix::fs::mkdir(&dir, Mode::RWXU);
        let (name, mode) = (format!("{id}.json"), Mode::RUSR | Mode::WUSR);
        let _ = file::write_atomic(&dir, OsStr::new(&name), &bytes, mode, Durability::None);
    }

    /// Forgets the names of an image that is gone.
    pub(super) fn forget_names(&self, _table: &TableLock, id: &ImageId) {
        let _ = rustix::fs::unlink(self.data().join(DIR).join(format!("{id}.json")));
    }

    /// Forgets the names of all images that are gone: a removal was killed.
    pub(super) fn sweep_names(&self, _table: &TableLock) -> super::Result<()> {
        for name in self.list(DIR)? {
            let id = name.strip_suffix(".json").and_then(|id| id.parse::<ImageId>().ok());
            if id.as_ref().is_none_or(|id| !self.image_path(id).exists()) {
                let _ = rustix::fs::unlink(self.data().join(DIR).join(&name));
            }
        }
        Ok(())
    }
}
