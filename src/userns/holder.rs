//! Records of processes that hold H open, so that others join it instead of making their own.
//!
//! A namespace lives as long as a process is in it; joining one costs about 50 us, making one
//! about 3 ms (two setuid helpers). `RUN/userns/PID` is one JSON object:
//!
//! ```json
//! {"version":1,"pid":4711,"start_time":123456,"boot_id":"…","maps":{"uid":[…],"gid":[…]}}
//! ```
//!
//! The directory is private to the user. A record is believed only while the kernel shows that
//! very process: same boot, same pid, same start time. Records of dead processes are removed.
//! A holder must be dumpable, or the kernel keeps the user herself from joining it. One holder at a time has the
//! directory's lock. Who joins sets the record's time of modification.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use super::{Result, UserMaps};
use crate::config::Paths;
use crate::kernel;
use crate::kernel::file::{self, Durability, Flock};
use crate::kernel::idmap::IdMaps;
use crate::kernel::process::{self, Pid};

/// The version that this code writes and reads.
const VERSION: u32 = 1;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    version: u32,
    pid: u32,
    start_time: u64,
    boot_id: String,
    maps: IdMaps,
}

/// The record by which other processes find this one; dropping it removes the record.
#[derive(Debug)]
pub(super) struct HolderRecord {
    path: PathBuf,
    _only: Flock,
}

impl HolderRecord {
    /// When a process last joined; `None` if the record is gone.
    pub(super) fn last_use(&self) -> Option<SystemTime> {
        fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok()
    }
}

impl Drop for HolderRecord {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Announces this process, which is inside of H, as one that others can join; `None` where another one holds a
/// namespace already.
pub(super) fn register(paths: &Paths, maps: &UserMaps) -> Result<Option<HolderRecord>> {
    let pid = std::process::id();
    let record = Record {
        version: VERSION,
        pid,
        start_time: process::start_time(rustix::process::getpid())?,
        boot_id: process::boot_id()?,
        maps: maps.maps.clone(),
    };
    let dir = directory(paths);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(|source| kernel::Error::path("mkdir", &dir, source))?;
    let Some(only) = Flock::try_exclusive_existing(&dir)? else { return Ok(None) };
    let name = OsString::from(pid.to_string());
    write(&dir, &record, &name)?;
    Ok(Some(HolderRecord { path: dir.join(name), _only: only }))
}

fn write(dir: &Path, record: &Record, name: &OsStr) -> Result<()> {
    let text = serde_json::to_vec(record).expect("a record of numbers and text is always JSON");
    Ok(file::write_atomic(dir, name, &text, Mode::RUSR | Mode::WUSR, Durability::None)?)
}

fn directory(paths: &Paths) -> PathBuf {
    paths.run.join("userns")
}

/// Removes records that processes which are dead by now have not finished writing. Best effort.
pub fn reclaim_records(run: &Path) {
    for entry in fs::read_dir(run.join("userns")).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let writer = name.to_str().and_then(|name| name.strip_prefix(file::TEMP_PREFIX)?.split('-').next());
        if writer.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Finds living holders of a namespace with these maps, as pidfds. Each one found counts as used.
pub(super) fn living<'a>(
    paths: &Paths,
    maps: &'a UserMaps,
) -> impl Iterator<Item = (u32, OwnedFd)> + use<'a> {
    let entries = fs::read_dir(directory(paths)).into_iter().flatten().flatten();
    let mut boot_id = None;
    entries.filter_map(move |entry| {
        // Temporary files and what does not belong here are no numbers.
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        let mut file = File::open(entry.path()).ok()?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).ok()?;
        let record: Record = serde_json::from_slice(&text).ok()?;
        if record.version != VERSION {
            return None;
        }
        let boot_id = boot_id.get_or_insert_with(|| process::boot_id().unwrap_or_default());
        let Some(pidfd) = open_verified(&record, boot_id) else {
            let _ = fs::remove_file(entry.path());
            return None;
        };
        if record.maps != maps.maps {
            return None;
        }
        // At worst the holder ends too early.
        let _ = file.set_modified(SystemTime::now());
        Some((record.pid, pidfd))
    })
}

/// Ends all holders, of whatever maps: who needs a namespace makes a new one. Processes inside go on in the old one.
pub fn end_holders(paths: &Paths) {
    let boot_id = process::boot_id().unwrap_or_default();
    for entry in fs::read_dir(directory(paths)).into_iter().flatten().flatten() {
        let record = fs::read(entry.path()).ok();
        let record = record.and_then(|text| serde_json::from_slice::<Record>(&text).ok());
        if let Some(holder) = record.and_then(|record| open_verified(&record, &boot_id))
            // One that has just ended is what was wanted.
            && process::pidfd_send_signal(&holder, libc::SIGKILL).is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Opens the process of a record. The pidfd comes first: from then on the pid cannot be reused
/// unnoticed, so the start time that is read afterwards is that of the process behind the pidfd.
fn open_verified(record: &Record, boot_id: &str) -> Option<OwnedFd> {
    if record.boot_id != boot_id {
        return None;
    }
    let pid = Pid::from_raw(i32::try_from(record.pid).ok()?)?;
    let pidfd = process::pidfd_open(pid).ok()?;
    (process::start_time(pid).ok()? == record.start_time).then_some(pidfd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::idmap::IdRange;
    use crate::userns::{MapKind, SingleReason};

    fn fixture(test: &str) -> (Paths, UserMaps) {
        let run = crate::kernel::scratch::path(&format!("holder-{test}"));
        let line = vec![IdRange { inside: 0, outside: 7, count: 1 }];
        let maps = UserMaps {
            maps: IdMaps { uid: line.clone(), gid: line },
            kind: MapKind::Single { why: SingleReason::Nested },
        };
        let paths = Paths {
            data: run.clone(),
            run,
            config_home: "/".into(),
            home: "/".into(),
            mount_program: None,
            additional_stores: Vec::new(),
        };
        (paths, maps)
    }

    #[test]
    fn a_registered_process_is_found_until_the_guard_goes() {
        let (paths, maps) = fixture("found");
        let guard = register(&paths, &maps).unwrap().unwrap();
        let found: Vec<u32> = living(&paths, &maps).map(|(pid, _)| pid).collect();
        assert_eq!(found, [std::process::id()]);
        let mut other = maps.clone();
        other.maps.uid[0].outside = 8;
        assert_eq!(living(&paths, &other).count(), 0);
        drop(guard);
        assert_eq!(living(&paths, &maps).count(), 0);
        fs::remove_dir_all(&paths.run).unwrap();
    }

    #[test]
    fn unfinished_records_of_the_dead_go() {
        let (paths, maps) = fixture("unfinished");
        let guard = register(&paths, &maps).unwrap().unwrap();
        let dir = directory(&paths);
        // No pid is that high: the kernel's limit is 4194304.
        let (dead, living) = (dir.join(".tmp-4194305-0"), dir.join(format!(".tmp-{}-0", std::process::id())));
        for path in [&dead, &living] {
            fs::File::create(path).unwrap();
        }
        reclaim_records(&paths.run);
        assert!(!dead.exists() && living.exists() && guard.path.exists());
        drop(guard);
        fs::remove_dir_all(&paths.run).unwrap();
    }

    #[test]
    fn records_of_other_processes_boots_and_versions_are_not_believed() {
        let (paths, maps) = fixture("stale");
        let _guard = register(&paths, &maps).unwrap().unwrap();
        let dir = directory(&paths);
        let path = dir.join(std::process::id().to_string());
        let good: Record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let variants = [
            Record {
                start_time: good.start_time + 1,
                boot_id: good.boot_id.clone(),
                maps: maps.maps.clone(),
                ..good
            },
            Record { boot_id: "other".to_owned(), maps: maps.maps.clone(), ..good },
            Record { pid: u32::MAX, boot_id: good.boot_id.clone(), maps: maps.maps.clone(), ..good },
        ];
        for record in variants {
            write(&dir, &record, path.file_name().unwrap()).unwrap();
            assert_eq!(living(&paths, &maps).count(), 0, "{record:?}");
            assert!(!path.exists(), "{record:?}");
        }
        let newer = Record { version: 2, ..good };
        write(&dir, &newer, path.file_name().unwrap()).unwrap();
        assert_eq!(living(&paths, &maps).count(), 0);
        assert!(path.exists(), "a newer rbox may know what to do with it");
        fs::remove_dir_all(&paths.run).unwrap();
    }
}
