//! Copying what the image holds at a mount's target into the mount: for a tmpfs
//! with `tmpcopyup`, and for a volume at its first use.
//!
//! Both sides are handles; names are single components, so nothing is resolved
//! through a link. A volume that holds anything is left alone (CVE-2020-1726).

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};

use crate::kernel::path::RootDir;
use crate::kernel::{self, selinux, xattr};

use super::super::error::{Error, Result};
use super::mounts::tree_root;

/// Deeper than any real image; each level holds two descriptors.
const MAX_DEPTH: usize = 200;

/// Copies the content of directory `from` to the empty directory `to`, and with `properties` its owner, mode
/// and times too.
pub(in crate::runtime) fn fill(from: BorrowedFd<'_>, to: BorrowedFd<'_>, properties: bool) -> Result<()> {
    let (from, to) = (tree_root(from)?, tree_root(to)?);
    if !entries(&to)?.is_empty() {
        return Ok(());
    }
    let stat = from.lstat("")?;
    copy_directory(&from, &to, 0)?;
    if properties { copy_properties(&to, Path::new(""), &stat) } else { Ok(()) }
}

/// Whether a directory holds nothing.
pub(super) fn is_empty(directory: BorrowedFd<'_>) -> Result<bool> {
    Ok(entries(&tree_root(directory)?)?.is_empty())
}

fn copy_directory(from: &RootDir, to: &RootDir, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::invalid("image", format!("directories deeper than {MAX_DEPTH} cannot be copied")));
    }
    for name in entries(from)? {
        let name = Path::new(&name);
        let stat = from.lstat(name)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                to.create_dir(name, Mode::from_raw_mode(0o700))?;
                copy_directory(&from.sub_root(name)?, &to.sub_root(name)?, depth + 1)?;
            }
            FileType::RegularFile => copy_file(from, to, name)?,
            FileType::Symlink => to.symlink(from.read_link(name)?, name)?,
            kind @ (FileType::Fifo | FileType::Socket) => {
                to.mknod(name, kind, Mode::from_raw_mode(0o600), 0)?;
            }
            // A device node could not be made here, and would not work.
            _ => continue,
        }
        copy_properties(to, name, &stat)?;
    }
    Ok(())
}

fn copy_file(from: &RootDir, to: &RootDir, name: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut source = from.open_file(name, flags, Mode::empty())?;
    let mut target = to.create_new(name, Mode::from_raw_mode(0o600))?;
    std::io::copy(&mut source, &mut target).map_err(|error| kernel::Error::path("copy", name, error))?;
    for attribute in xattr::list(&source).unwrap_or_default() {
        // The overlay's own attributes are about its layers, not about the file, and its SELinux label is the
        // container's: what is put into a volume is for those that come after it, and takes the volume's.
        if !attribute.starts_with(b"user.overlay.")
            && attribute != selinux::ATTRIBUTE.as_bytes()
            && let Ok(Some(value)) = xattr::get(&source, &attribute)
        {
            // What the target file system cannot keep (tmpfs and some namespaces of names) is left out.
            let _ = xattr::set(&target, &attribute, &value);
        }
    }
    Ok(())
}

/// Owner before mode, because a change of owner clears setuid; times last.
fn copy_properties(to: &RootDir, name: &Path, stat: &Stat) -> Result<()> {
    to.set_owner(name, stat.st_uid, stat.st_gid)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        to.set_mode(name, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    };
    if name.as_os_str().is_empty() {
        rustix::fs::utimensat(to, "", &times, AtFlags::EMPTY_PATH)
            .map_err(|errno| kernel::Error::call("utimensat", "", errno))?;
        return Ok(());
    }
    Ok(to.set_times(name, &times)?)
}

fn entries(directory: &RootDir) -> Result<Vec<std::ffi::OsString>> {
    use std::os::unix::ffi::OsStrExt as _;
    let error =
        |errno| Error::from(kernel::Error::path("readdir", directory.path(), std::io::Error::from(errno)));
    let stream = rustix::fs::Dir::new(directory.open_dir("")?).map_err(error)?;
    let mut names = Vec::new();
    for entry in stream {
        let entry = entry.map_err(error)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(std::ffi::OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}
