//! CANARY: a tree that no container, image or archive may read or change.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A private tree with a secret token in it, and how it looked at first.
#[derive(Debug)]
pub struct Canary {
    dir: PathBuf,
    token: String,
    before: BTreeMap<PathBuf, String>,
}

impl Canary {
    /// Plants the tree as `dir`.
    pub fn plant(dir: &Path) -> Self {
        let token = format!("CANARY-{}-{}", std::process::id(), dir.display().to_string().len() * 7919);
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        for file in ["secret", "sub/secret", "passwd"] {
            std::fs::write(dir.join(file), &token).unwrap();
        }
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).unwrap();
        let before = listing(dir);
        Self { dir: dir.to_owned(), token, before }
    }

    /// The planted folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The secret that may appear in no output, layer or log.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Fails if the tree changed in listing, content, mode, owner or modification time.
    #[track_caller]
    pub fn assert_untouched(&self) {
        assert_eq!(self.before, listing(&self.dir), "the canary tree was changed");
    }

    /// Fails if the secret is in `text`.
    #[track_caller]
    pub fn assert_unseen(&self, text: &str) {
        assert!(!text.contains(&self.token), "the canary's secret leaked:\n{text}");
    }
}

fn listing(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() { std::fs::read_to_string(&path).unwrap() } else { String::new() };
        found.insert(
            path.clone(),
            format!(
                "{:o} {}:{} {}.{} {content}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.mtime_nsec()
            ),
        );
        if meta.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
    found
}
