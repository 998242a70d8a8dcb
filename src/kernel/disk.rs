//! What trees take on disk, counted as du counts: allocated blocks of every inode, directories included, each once.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// `st_blocks` counts in these, whatever the blocks of the file system are.
const BLOCK: u64 = 512;

/// A sum over trees: a file that has names in several of them counts once.
#[derive(Debug, Default)]
pub struct Usage {
    seen: HashSet<(u64, u64)>,
    bytes: u64,
    own_only: bool,
}

impl Usage {
    /// A sum that leaves out files with several names: their other names are counted elsewhere.
    #[must_use]
    pub fn of_own_files() -> Self {
        Self { own_only: true, ..Self::default() }
    }

    /// Adds a tree, without the paths of `skip` and all below them. What vanishes meanwhile or cannot be read
    /// counts nothing, and other mounts are not entered.
    pub fn add(&mut self, top: &Path, skip: &HashSet<PathBuf>) {
        let Ok(meta) = top.symlink_metadata() else { return };
        let device = meta.dev();
        self.count(&meta);
        let mut open = if meta.is_dir() { vec![top.to_owned()] } else { Vec::new() };
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                let Ok(meta) = entry.metadata() else { continue };
                let is_dir = meta.is_dir();
                if is_dir && (meta.dev() != device || skip.contains(&entry.path())) {
                    continue;
                }
                self.count(&meta);
                if is_dir {
                    open.push(entry.path());
                }
            }
        }
    }

    /// Adds a directory and what is directly in it, but no directories of it.
    pub fn add_flat(&mut self, dir: &Path) {
        let Ok(meta) = dir.symlink_metadata() else { return };
        self.count(&meta);
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if let Ok(meta) = entry.metadata()
                && !meta.is_dir()
            {
                self.count(&meta);
            }
        }
    }

    fn count(&mut self, meta: &Metadata) {
        let mut is_new = || !self.own_only && self.seen.insert((meta.dev(), meta.ino()));
        if meta.is_dir() || meta.nlink() == 1 || is_new() {
            self.bytes += allocated(meta);
        }
    }

    /// The bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What one inode takes.
#[must_use]
pub fn allocated(meta: &Metadata) -> u64 {
    meta.blocks() * BLOCK
}

/// What a tree takes.
#[must_use]
pub fn tree(top: &Path) -> u64 {
    let mut usage = Usage::default();
    usage.add(top, &HashSet::new());
    usage.bytes
}

/// Bytes that the user may still write to the file system of `path`.
pub fn free(path: &Path) -> super::Result<u64> {
    let space = rustix::fs::statvfs(path).map_err(|errno| super::Error::path("statvfs", path, errno))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// What a directory takes without the directories in it.
#[must_use]
pub fn flat(dir: &Path) -> u64 {
    let mut usage = Usage::default();
    usage.add_flat(dir);
    usage.bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;

    #[test]
    fn trees_count_as_du_counts_them() {
        let dir = crate::kernel::scratch::path("usage");
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::create_dir_all(dir.join("c")).unwrap();
        fs::File::create(dir.join("a/x")).unwrap().write_all(&vec![7; 70_000]).unwrap();
        fs::File::create(dir.join("c/one")).unwrap().write_all(b"1").unwrap();
        fs::hard_link(dir.join("a/x"), dir.join("a/b/y")).unwrap();
        fs::File::create(dir.join("sparse")).unwrap().set_len(1 << 30).unwrap();
        std::os::unix::fs::symlink("/etc", dir.join("link")).unwrap();
        let du = |args: &[&str]| -> u64 {
            let out = std::process::Command::new("du").arg("-s").arg("-B1").args(args).arg(&dir).output();
            let out = String::from_utf8(out.unwrap().stdout).unwrap();
            out.split_whitespace().next().unwrap().parse().unwrap()
        };
        assert_eq!(tree(&dir), du(&[]));
        assert!(tree(&dir) >= 70_000 && tree(&dir) < 200_000);
        let mut usage = Usage::default();
        usage.add(&dir, &HashSet::from([dir.join("a")]));
        assert_eq!(usage.bytes(), du(&["--exclude=a"]));
        usage.add(&dir.join("a"), &HashSet::new());
        assert_eq!(usage.bytes(), tree(&dir));
        assert_eq!(tree(&dir.join("missing")), 0);
        fs::remove_dir_all(dir).unwrap();
    }
}
