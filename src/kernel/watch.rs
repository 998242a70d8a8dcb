//! Being told when something changes in a directory.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

use super::{Error, Result};

/// A descriptor that is readable after something changed in one of its directories.
#[derive(Debug)]
pub struct DirectoryWatch(OwnedFd);

impl DirectoryWatch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// When the user has used up her instances (`fs.inotify.max_user_instances`, often 128).
    pub fn new() -> Result<Self> {
        inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map(Self)
            .map_err(|e| Error::call("inotify_init1", "", e))
    }

    /// Watches the directory at `path` for files that are written, made or renamed.
    ///
    /// # Errors
    /// When there is none.
    pub fn add(&self, path: &Path) -> Result<()> {
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE_SELF;
        inotify::add_watch(&self.0, path, flags | WatchFlags::MOVE_SELF)
            .map(drop)
            .map_err(|e| Error::path("inotify_add_watch", path, e))
    }

    /// Forgets what has happened so far.
    pub fn clear(&self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.0, &mut buffer);
        while reader.next().is_ok() {}
    }
}

impl AsFd for DirectoryWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kernel::poll;

    #[test]
    fn changes_are_noticed_once() {
        let dir = crate::kernel::scratch::path("watch");
        std::fs::create_dir_all(&dir).unwrap();
        let watch = DirectoryWatch::new().unwrap();
        watch.add(&dir).unwrap();
        let ready = |watch: &DirectoryWatch| poll::readable(watch.as_fd(), Some(Duration::ZERO)).unwrap();
        assert!(!ready(&watch));
        std::fs::File::create(dir.join("f")).unwrap();
        assert!(ready(&watch));
        watch.clear();
        assert!(!ready(&watch));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
