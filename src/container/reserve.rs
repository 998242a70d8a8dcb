//! How a container comes into being, step by step, so that a crash at any of them leaves
//! nothing that is taken for a container.
//!
//! 1. The directory `containers/ID` is made and locked.
//! 2. `names/NAME` is linked to the id, if it is free.
//! 3. What there is so far reaches the disk, if the container is to survive a power cut.
//! 4. `request.json` and `spec.json` are written.
//! 5. `record.json` is written: from here on the container exists.
//!
//! A directory without a record, or a name whose container does not confirm it, belongs either to a process
//! that is at it (it holds the lock) or to a dead one (anybody may clear it away).

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use super::create::CreateRequest;
use super::id::check_name;
use super::lookup::{Containers, read_optional};
use super::{ContainerId, Error, Record, Result, names};
use crate::kernel::file::{self, Durability, Flock};
use crate::kernel::{self, remove};

/// A container that is being made: dropping it undoes everything.
#[derive(Debug)]
pub struct Reservation {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its directory.
    pub dir: PathBuf,
    containers: Containers,
    /// Taken out when the record is written.
    lock: Option<Flock>,
}

impl Containers {
    /// Reserves a new id, and `name` or a random one.
    ///
    /// # Errors
    /// [`Error::NameInUse`], [`Error::BadName`], or when files cannot be made.
    pub fn reserve(&self, name: Option<&str>) -> Result<Reservation> {
        if let Some(name) = name {
            check_name(name)?;
        }
        let place = self.new_dir()?;
        self.reserve_at(place, name)
    }

    /// Reserves `id`, which a container had that was written to an archive.
    ///
    /// # Errors
    /// As [`Self::reserve`], or when there is such a container.
    pub fn reserve_again(&self, id: &ContainerId, name: Option<&str>) -> Result<Reservation> {
        if let Some(name) = name {
            check_name(name)?;
        }
        let dir = self.dir(id);
        if let Some(table) = dir.parent() {
            make_dir(table)?;
        }
        match DirBuilder::new().mode(0o700).create(&dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::IdInUse { id: id.to_string() });
            }
            made => made.map_err(|e| kernel::Error::path("mkdir", &dir, e))?,
        }
        let lock = Flock::exclusive_existing(&dir)?;
        self.reserve_at((id.clone(), dir, lock), name)
    }

    fn reserve_at(
        &self,
        (id, dir, lock): (ContainerId, PathBuf, Flock),
        name: Option<&str>,
    ) -> Result<Reservation> {
        let mut reservation =
            Reservation { id, name: String::new(), dir, containers: self.clone(), lock: Some(lock) };
        match name {
            Some(name) => self.take_name(name, &reservation.id)?,
            None => {
                reservation.name = self.take_random_name(&reservation.id)?;
                return Ok(reservation);
            }
        }
        name.unwrap_or_default().clone_into(&mut reservation.name);
        Ok(reservation)
    }

    /// Makes a directory, and locks it.
    fn new_dir(&self) -> Result<(ContainerId, PathBuf, Flock)> {
        loop {
            let id = ContainerId::random()?;
            let dir = self.dir(&id);
            make_dir(&dir)?;
            match Flock::exclusive_existing(&dir) {
                Ok(lock) => return Ok((id, dir, lock)),
                // Until it is locked it looks like that of a dead process, and may be cleared away.
                Err(error) if error.io().kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take_random_name(&self, id: &ContainerId) -> Result<String> {
        let mut attempt = 0;
        loop {
            let name = names::random(attempt)?;
            match self.take_name(&name, id) {
                Ok(()) => return Ok(name),
                Err(Error::NameInUse { .. }) if attempt < 100 => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes `names/NAME` point to `id`.
    pub(super) fn take_name(&self, name: &str, id: &ContainerId) -> Result<()> {
        let names = self.data.join("names");
        let path = names.join(name);
        for _ in 0..100 {
            // The content must be there from the first moment: written aside, then linked in.
            match link_new(&names, &path, id.as_str()) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    make_dir(&names)?;
                    continue;
                }
                Err(e) => return Err(kernel::Error::path("link", path, e).into()),
            }
            self.clear_stale_name(name, &path)?;
        }
        Err(Error::NameInUse { name: name.to_owned(), id: "a container that is being made".to_owned() })
    }

    /// Removes `names/NAME` if nothing stands behind it any more.
    ///
    /// # Errors
    /// [`Error::NameInUse`] if something does.
    pub(super) fn clear_stale_name(&self, name: &str, path: &Path) -> Result<()> {
        let Some(text) = read_optional(path)? else { return Ok(()) };
        let owner = std::str::from_utf8(&text).ok().and_then(|text| ContainerId::parse(text.trim_end()));
        let in_use = |id: &str| Error::NameInUse { name: name.to_owned(), id: id.to_owned() };
        if let Some(owner) = owner {
            if self.record(&owner)?.is_some_and(|record| record.name == name) {
                return Err(in_use(owner.as_str()));
            }
            // No such record: somebody is just making or renaming it, unless the lock is free.
            match Flock::try_exclusive_existing(&self.dir(&owner)) {
                Ok(Some(_dead)) if self.record(&owner)?.is_some_and(|record| record.name == name) => {
                    return Err(in_use(owner.as_str()));
                }
                Ok(Some(_dead)) => return unlink_if(path, &text),
                Ok(None) => return Err(in_use(owner.as_str())),
                Err(e) if e.io().kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e.into()),
            }
        }
        unlink_if(path, &text)
    }

    /// Makes sure that a power cut takes a name no more.
    pub(super) fn sync_name(&self, name: &str) -> Result<()> {
        let names = self.data.join("names");
        sync_file(&names.join(name))?;
        Ok(file::sync_dir_path(&names)?)
    }

    /// Removes `names/NAME` if it points to `id`.
    pub(super) fn release_name(&self, name: &str, id: &ContainerId) -> Result<()> {
        if check_name(name).is_err() {
            return Ok(());
        }
        unlink_if(&self.data.join("names").join(name), id.as_str().as_bytes())
    }
}

impl Reservation {
    /// Writes the container's files, the record last. The lock stays with the caller, who may go on to
    /// start the container.
    ///
    /// # Errors
    /// When a file cannot be written; nothing is left then.
    pub fn commit(
        mut self,
        record: &Record,
        request: &CreateRequest,
        spec: &oci_spec::runtime::Spec,
        durability: Durability,
    ) -> Result<Flock> {
        let request = serde_json::to_vec(request).expect("a request has only strings as keys");
        let spec = serde_json::to_vec(spec).expect("a spec has only strings as keys");
        let record = serde_json::to_vec(record).expect("a record has only strings as keys");
        let mode = Mode::RUSR | Mode::WUSR;
        if durability == Durability::Sync {
            // Before the record: a power cut must not leave a container whose name is an empty file.
            self.sync_files()?;
            self.containers.sync_name(&self.name)?;
            file::sync_dir_path(&self.containers.data.join("containers"))?;
        }
        for (name, bytes) in [("request.json", request), ("spec.json", spec), ("record.json", record)] {
            file::write_atomic(&self.dir, OsStr::new(name), &bytes, mode, durability)?;
        }
        Ok(self.lock.take().expect("the lock is taken only here, where the value ends"))
    }
}

impl Reservation {
    /// Makes sure of the small files of the container, not all of which are written anew at each start.
    fn sync_files(&self) -> Result<()> {
        let etc = self.dir.join("etc");
        for entry in std::fs::read_dir(&etc).into_iter().flatten().flatten() {
            sync_file(&entry.path())?;
        }
        Ok(file::sync_dir_path(&etc)?)
    }
}

#[cfg(test)]
impl Reservation {
    /// Dropped without clean-up after this, as by SIGKILL.
    pub(super) fn forget(&mut self) {
        self.lock = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.lock.is_none() {
            return;
        }
        // What cannot be removed now is cleared away by the next one that stumbles over it.
        if !self.name.is_empty() {
            let _ = self.containers.release_name(&self.name, &self.id);
        }
        let _ = remove_dir(&self.dir);
    }
}

/// Removes a directory of ours with all that is in it.
pub(super) fn remove_dir(dir: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else { return Ok(()) };
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    match rustix::fs::open(parent, flags, Mode::empty()) {
        Ok(parent) => Ok(remove::remove_tree(std::os::fd::AsFd::as_fd(&parent), name, dir)?),
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(e) => Err(kernel::Error::path("open", parent, e).into()),
    }
}

/// Makes a directory, and its parents, for the user alone.
pub(super) fn make_dir(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| kernel::Error::path("mkdir", path, e).into())
}

/// Creates `path` with `text`, failing if it exists.
fn link_new(dir: &Path, path: &Path, text: &str) -> io::Result<()> {
    let aside = dir.join(format!("{}{}-{text}", file::TEMP_PREFIX, std::process::id()));
    let mut file =
        std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(text.as_bytes())?;
    let linked = rustix::fs::link(&aside, path).map_err(io::Error::from);
    let _ = std::fs::remove_file(&aside);
    linked
}

fn sync_file(path: &Path) -> Result<()> {
    let synced = std::fs::File::open(path).and_then(|file| file.sync_data());
    synced.map_err(|e| kernel::Error::path("fdatasync", path, e).into())
}

/// Unlinks `path` if it still has this content.
fn unlink_if(path: &Path, text: &[u8]) -> Result<()> {
    if read_optional(path)?.is_some_and(|now| now.trim_ascii_end() == text.trim_ascii_end()) {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(kernel::Error::path("unlink", path, e).into());
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(test: &str) -> Containers {
        let data = crate::kernel::scratch::path(&format!("reserve-{test}"));
        Containers { run: data.join("run"), data, events: crate::events::Sink::default() }
    }

    #[test]
    fn names_are_taken_once_and_come_back() {
        let containers = table("once");
        let first = containers.reserve(Some("web")).unwrap();
        assert!(matches!(containers.reserve(Some("web")), Err(Error::NameInUse { .. })));
        let dir = first.dir.clone();
        drop(first);
        assert!(!dir.exists());
        let again = containers.reserve(Some("web")).unwrap();
        assert_eq!(again.name, "web");
        drop(again);
        std::fs::remove_dir_all(&containers.data).unwrap();
    }

    /// A process that died between reserving the name and writing the record.
    #[test]
    fn f53_name_of_a_dead_creator_is_free_at_once() {
        let containers = table("f53");
        let mut dead = containers.reserve(Some("web")).unwrap();
        dead.forget();
        drop(dead);
        assert!(containers.data.join("names/web").exists());
        let next = containers.reserve(Some("web")).unwrap();
        drop(next);
        std::fs::remove_dir_all(&containers.data).unwrap();
    }
}
