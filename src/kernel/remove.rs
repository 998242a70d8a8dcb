//! Removal of whole trees by directory handles.
//!
//! Nothing is followed: neither symbolic links nor mount points (`RESOLVE_NO_XDEV` also sees a bind mount
//! of the same file system), so a mount that someone left behind is an error and not a loss of its content.
//! Depth is bounded: what lies deeper than [`MAX_DEPTH`] is first moved up to the top of the tree, so a
//! hostile tree exhausts neither descriptors nor the stack.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Error, Result};

/// Directories held open at once.
const MAX_DEPTH: usize = 48;
/// How often a directory is read again when entries appear while it is emptied.
const MAX_PASSES: usize = 16;

/// Removes the entry `name` of `dir` with everything below it; that it is missing is no error.
/// `label` names it in messages.
pub fn remove_tree(dir: BorrowedFd<'_>, name: &OsStr, label: &Path) -> Result<()> {
    let fail = |call, errno| Error::path(call, label, errno);
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // EPERM: POSIX's answer for a directory; Linux says EISDIR.
        Err(Errno::ISDIR | Errno::PERM | Errno::ACCESS) => {}
        Err(e) => return Err(fail("unlinkat", e)),
    }
    let top = match open_dir(dir, name) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR) => {
            // Not a directory after all: report why it cannot be unlinked.
            return rustix::fs::unlinkat(dir, name, AtFlags::empty()).map_err(|e| fail("unlinkat", e));
        }
        Err(e) => return Err(fail("openat2", e)),
    };
    let mut removal = Removal { top: top.as_fd(), moved: 0 };
    // Each pass may have moved deep parts up to the top, so empty it until nothing is left.
    removal.empty(top.as_fd(), 0).map_err(|e| fail("remove", e))?;
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(fail("rmdir", e)),
    }
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    moved: usize,
}

impl Removal<'_> {
    /// Removes every entry of `dir`. Entries that turn up meanwhile are removed by another pass.
    fn empty(&mut self, dir: BorrowedFd<'_>, depth: usize) -> rustix::io::Result<()> {
        let mut passes = 0;
        loop {
            let mut entries = 0_usize;
            let moved = self.moved;
            for entry in Dir::read_from(dir)? {
                let entry = entry?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                entries += 1;
                self.remove(dir, name, entry.file_type(), depth)?;
            }
            if entries == 0 {
                return Ok(());
            }
            // What was moved up needs another pass and is not the work of a racing writer.
            passes = if self.moved == moved { passes + 1 } else { 0 };
            if passes > MAX_PASSES {
                return Err(Errno::NOTEMPTY);
            }
        }
    }

    fn remove(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &std::ffi::CStr,
        kind: FileType,
        depth: usize,
    ) -> rustix::io::Result<()> {
        if kind != FileType::Directory {
            match with_write_access(dir, || rustix::fs::unlinkat(dir, name, AtFlags::empty())) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                // A file system without d_type reports every kind as unknown.
                Err(Errno::ISDIR) => {}
                Err(e) => return Err(e),
            }
        }
        match with_write_access(dir, || rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => {}
            Err(e) => return Err(e),
        }
        if depth >= MAX_DEPTH {
            return self.move_up(dir, name);
        }
        let child: OwnedFd = match open_dir(dir, OsStr::from_bytes(name.to_bytes())) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(e),
        };
        self.empty(child.as_fd(), depth + 1)?;
        drop(child);
        match with_write_access(dir, || rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Moves a directory that lies too deep to the top of the tree, where the next pass finds it.
    fn move_up(&mut self, dir: BorrowedFd<'_>, name: &std::ffi::CStr) -> rustix::io::Result<()> {
        loop {
            self.moved += 1;
            let up = CString::new(format!(".remove-{}-{}", std::process::id(), self.moved))
                .expect("a formatted number has no NUL");
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            let rename = || rustix::fs::renameat_with(dir, name, self.top, &up, flags);
            match with_write_access(dir, rename) {
                Err(Errno::EXIST) => {}
                // Moving a directory rewrites its `..`, which needs write access to the directory itself.
                Err(Errno::ACCESS) => {
                    drop(open_dir(dir, OsStr::from_bytes(name.to_bytes()))?);
                    return rename();
                }
                other => return other,
            }
        }
    }
}

/// Opens a directory for reading; one of our own that forbids it gets mode 0700 first.
fn open_dir(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve) {
        Err(Errno::ACCESS) => {
            let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let handle = rustix::fs::openat2(dir, name, path, Mode::empty(), resolve)?;
            super::path::set_mode_fd(handle.as_fd(), Mode::RWXU)?;
            rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve)
        }
        other => other,
    }
}

/// Tries `call`; on EACCES makes `dir`, which is one of ours, writable and tries once more.
fn with_write_access(
    dir: BorrowedFd<'_>,
    call: impl Fn() -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    match call() {
        Err(Errno::ACCESS) if rustix::fs::fchmod(dir, Mode::RWXU).is_ok() => call(),
        other => other,
    }
}
