//! Roots that are only looked at: images mounted like containers, and two trees side by side.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use super::files::{is_mount_point, unmount_at};
use super::reserve::make_dir;
use super::{Containers, Result, root};
use crate::kernel::path::RootDir;
use crate::kernel::{self, mount};
use crate::runtime;
use crate::store::{Change, Digest, ImageId, Store};

/// Changes between two trees, by path.
pub type Changes = BTreeMap<PathBuf, Change>;

/// The root of an image, read-only and for this process alone. The process has one thread and is in the user's
/// namespace; it gets a mount namespace of its own.
///
/// # Errors
/// When the root cannot be mounted.
pub fn image_root(store: &Store, layers: &[Digest]) -> Result<OwnedFd> {
    root::mount_alone(&root::of_image(store, layers)?)
}

impl Containers {
    fn image_mount(&self, id: &ImageId) -> PathBuf {
        self.run.join("images").join(id.as_str())
    }

    /// Mounts the root of an image in the mount namespace of this process, and returns where.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn mount_image(&self, store: &Store, id: &ImageId, layers: &[Digest]) -> Result<PathBuf> {
        let at = self.image_mount(id);
        make_dir(&at)?;
        if !is_mount_point(&at)? {
            let source = root::of_image(store, layers)?;
            // Mounting goes to another directory.
            let target = RootDir::open(&at)?;
            mount::attach(runtime::mount_root(&source)?, &target)?;
        }
        Ok(at)
    }

    /// Where [`Self::mount_image`] has mounted an image, in this process's mount namespace.
    ///
    /// # Errors
    /// When the directory cannot be looked at.
    pub fn mounted_image(&self, id: &ImageId) -> Result<Option<PathBuf>> {
        let at = self.image_mount(id);
        Ok(is_mount_point(&at)?.then_some(at))
    }

    /// Takes an image off again; whether it was mounted is returned.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unmount_image(&self, id: &ImageId) -> Result<bool> {
        let Some(at) = self.mounted_image(id)? else { return Ok(false) };
        unmount_at(&at)?;
        Ok(true)
    }
}

/// What is different in `new`, seen from `old`, but for the absolute paths in `hidden`. Contents are taken for the
/// same where size and time are.
///
/// # Errors
/// When a directory cannot be read.
pub fn compare(old: &RootDir, new: &RootDir, hidden: &[PathBuf]) -> Result<Changes> {
    let mut changes = Changes::new();
    let mut both = vec![PathBuf::new()];
    let mut added = Vec::new();
    while let Some(dir) = both.pop() {
        let mut before = entries(old, &dir)?;
        for (name, now) in entries(new, &dir)? {
            let path = dir.join(&name);
            match before.remove(&name) {
                None => {
                    changes.insert(path.clone(), Change::Added);
                    if is_dir(&now) {
                        added.push(path);
                    }
                }
                Some(then) => {
                    if is_dir(&now) {
                        if is_dir(&then) { &mut both } else { &mut added }.push(path.clone());
                    }
                    if differ(&then, &now) {
                        changes.insert(path, Change::Changed);
                    }
                }
            }
        }
        changes.extend(before.into_keys().map(|name| (dir.join(name), Change::Deleted)));
    }
    while let Some(dir) = added.pop() {
        for (name, now) in entries(new, &dir)? {
            let path = dir.join(name);
            if is_dir(&now) {
                added.push(path.clone());
            }
            changes.insert(path, Change::Added);
        }
    }
    let is_hidden =
        |path: &Path| hidden.iter().any(|other| other.strip_prefix("/").is_ok_and(|other| other == path));
    changes.retain(|path, _| !is_hidden(path));
    Ok(with_parents(changes))
}

/// A directory in which something has changed has changed itself. Paths become absolute.
fn with_parents(changes: Changes) -> Changes {
    let mut all = Changes::new();
    for (path, change) in changes {
        let path = Path::new("/").join(path);
        for parent in path.ancestors().skip(1).take_while(|parent| parent.parent().is_some()) {
            all.entry(parent.to_owned()).or_insert(Change::Changed);
        }
        all.insert(path, change);
    }
    all
}

fn entries(root: &RootDir, dir: &Path) -> Result<BTreeMap<OsString, Stat>> {
    let fd = root.open_dir(dir)?;
    let failed = |call, errno| kernel::Error::path(call, dir, errno);
    let mut found = BTreeMap::new();
    for entry in rustix::fs::Dir::read_from(&fd).map_err(|e| failed("getdents", e))? {
        let entry = entry.map_err(|e| failed("getdents", e))?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        let stat = rustix::fs::statat(&fd, name, flags).map_err(|e| failed("fstatat", e))?;
        found.insert(name.to_owned(), stat);
    }
    Ok(found)
}

fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn differ(a: &Stat, b: &Stat) -> bool {
    let attributes = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev);
    let content = |stat: &Stat| (stat.st_size, stat.st_mtime);
    // Archives may know whole seconds only.
    let whole = a.st_mtime_nsec == 0 || b.st_mtime_nsec == 0;
    let same_time = whole || a.st_mtime_nsec == b.st_mtime_nsec;
    attributes(a) != attributes(b) || !is_dir(a) && (content(a) != content(b) || !same_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn two_trees_are_compared() {
        let top = kernel::scratch::path("compare");
        let (old, new) = (top.join("old"), top.join("new"));
        for dir in ["same/deep", "gone/deep", "turns"] {
            fs::create_dir_all(old.join(dir)).unwrap();
        }
        for dir in ["same/deep", "fresh/deep"] {
            fs::create_dir_all(new.join(dir)).unwrap();
        }
        fs::File::create(old.join("file")).unwrap();
        fs::hard_link(old.join("file"), new.join("file")).unwrap();
        fs::File::create(old.join("same/deep/f")).unwrap().set_len(1).unwrap();
        fs::File::create(new.join("same/deep/f")).unwrap().set_len(2).unwrap();
        fs::File::create(new.join("turns")).unwrap();
        fs::File::create(new.join("hidden")).unwrap();
        let changes =
            compare(&RootDir::open(&old).unwrap(), &RootDir::open(&new).unwrap(), &["/hidden".into()])
                .unwrap();
        let lines: Vec<String> =
            changes.iter().map(|(path, change)| format!("{} {}", change.letter(), path.display())).collect();
        assert_eq!(
            lines,
            ["A /fresh", "A /fresh/deep", "D /gone", "C /same", "C /same/deep", "C /same/deep/f", "C /turns"]
        );
        fs::remove_dir_all(top).unwrap();
    }
}
