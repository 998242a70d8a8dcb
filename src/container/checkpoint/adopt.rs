//! A container that was just made gets the files of a checkpoint that came in an archive.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::archive::{DELETED, DIFFERENCE, Import, LOG};
use super::{FIRST_PART, WHOLE};
use crate::container::files::refuse_fuse;
use crate::container::state::Stored;
use crate::container::{Containers, Error, Record, Result, root};
use crate::kernel::idmap::{IdMaps, to_outside};
use crate::kernel::path::RootDir;
use crate::kernel::{self, file};
use crate::store::place::{Owner, Place, PlaceOptions};
use crate::store::tar::{Archive, Limits};
use crate::store::{self, Store};
use crate::volume;

/// The longest list of deleted files that is read.
const MAX_LIST: u64 = 256 << 20;

/// What is taken from an archive besides the processes.
#[derive(Debug, Clone, Copy)]
pub struct Adoption {
    /// Changes of the root file system.
    pub root: bool,
    /// Content of volumes.
    pub volumes: bool,
}

impl Containers {
    /// Gives the container CRIU's files and the log. It looks from then on like one that was checkpointed here.
    ///
    /// # Errors
    /// When they cannot be moved.
    pub fn adopt_checkpoint(&self, record: &Record, import: &Import) -> Result<()> {
        let dir = self.dir(&record.id);
        for name in [WHOLE, FIRST_PART, LOG] {
            let (from, to) = (import.dir().join(name), dir.join(name));
            match std::fs::rename(&from, &to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(kernel::Error::path("rename", to, error).into());
                }
                _ => {}
            }
        }
        Stored::adopted()?.write(&dir)
    }

    /// Writes the container's files: its root file system and its volumes. The caller has one thread and is in the
    /// user's namespace, whose ids are `ids`; it gets a mount namespace of its own.
    ///
    /// # Errors
    /// When an archive cannot be read or a file not be written.
    pub fn adopt_files(
        &self,
        store: &Store,
        record: &Record,
        import: &Import,
        what: Adoption,
        ids: &IdMaps,
    ) -> Result<()> {
        self.give_volumes(record)?;
        self.give_own_files(record)?;
        if what.volumes {
            self.fill_volumes(record, import, ids)?;
        }
        let dir = self.dir(&record.id);
        if record.root.directory.is_none() && record.root.unowned {
            store.make_upper(
                &root::layers(&record.root)?,
                &record.root.maps,
                &dir.join("upper"),
                &dir.join("work"),
            )?;
        }
        let (difference, deleted) = (import.dir().join(DIFFERENCE), import.dir().join(DELETED));
        if !what.root || (!difference.exists() && !deleted.exists()) {
            return Ok(());
        }
        refuse_fuse(store, record)?;
        let mut source = root::source(store, &dir, &record.root)?;
        if let crate::runtime::RootSource::Overlay(overlay) = &mut source {
            overlay.volatile = false;
        }
        let tree = RootDir::from_fd(root::mount_alone(&source)?, "/");
        if difference.exists() {
            let owner = Owner::Mapped(record.root.maps.clone());
            place(&difference, tree.open_dir("")?, "/", owner)?;
        }
        if deleted.exists() {
            remove(&tree, &deleted)?;
        }
        Ok(())
    }

    /// Files that are mounted over those of the image belong to the container's root.
    fn give_own_files(&self, record: &Record) -> Result<()> {
        let maps = &record.root.maps;
        let owner = (to_outside(&maps.uid, 0), to_outside(&maps.gid, 0));
        let (Some(uid), Some(gid)) = owner else { return Ok(()) };
        if record.root.shares_ids() {
            return Ok(());
        }
        for name in ["hosts", "resolv.conf", "hostname", "containerenv"] {
            let path = self.dir(&record.id).join("etc").join(name);
            match std::os::unix::fs::lchown(&path, Some(uid), Some(gid)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(kernel::Error::path("lchown", path, e).into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn fill_volumes(&self, record: &Record, import: &Import, ids: &IdMaps) -> Result<()> {
        let table = self.volumes();
        for mount in record.mounts.iter().filter(|mount| !mount.name.is_empty()) {
            let Some(archive) = import.volume_at(&mount.destination) else { continue };
            let found = table.find(&mount.name)?;
            if found.backing() != volume::Backing::Directory {
                continue;
            }
            let content = table.content(&found);
            let dir = RootDir::open(&content)?;
            place(&archive, dir.open_dir("")?, &found.name, Owner::Mapped(ids.clone()))?;
            table.mark_filled(&found)?;
        }
        Ok(())
    }
}

/// Writes the files of an archive into a directory.
fn place(archive: &Path, dir: std::os::fd::OwnedFd, label: &str, owner: Owner) -> Result<()> {
    let file = File::open(archive).map_err(|e| kernel::Error::path("open", archive, e))?;
    let mut entries = Archive::without_digest(io::BufReader::with_capacity(256 << 10, file), Limits::NONE);
    let mut place = Place::new(dir, PlaceOptions { owner, replace: true, label: label.into() });
    place.take_archive(&mut entries).and_then(|()| place.finish())?;
    entries.finish().map_err(store::Error::from)?;
    Ok(())
}

/// Removes what a list names from a root file system. Paths are resolved inside of it.
fn remove(tree: &RootDir, list: &Path) -> Result<()> {
    let bytes = file::read_limited(list, MAX_LIST)?;
    let paths: Vec<PathBuf> =
        serde_json::from_slice(&bytes).map_err(|source| Error::Damaged { path: DELETED.into(), source })?;
    for path in paths {
        let inside = path.strip_prefix("/").unwrap_or(&path);
        let up = |part| matches!(part, std::path::Component::ParentDir);
        if inside.as_os_str().is_empty() || inside.components().any(up) {
            let what =
                format!("{DELETED} of the checkpoint names {:?}, which leads elsewhere", path.display());
            return Err(Error::Invalid { what });
        }
        match tree.remove_tree(inside) {
            Err(error) if error.io().kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
