//! Extended attributes, by descriptor and by name in a directory.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::path::proc_fd_path;

/// The kernel's `XATTR_SIZE_MAX`, which also bounds a list of names.
const MAX_SIZE: usize = 65536;

/// Sets an attribute of an open file; an `O_PATH` handle will not do.
pub fn set(fd: impl AsFd, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
    rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty())
}

/// An attribute of an open file, or nothing where it has none of that name.
pub fn get(fd: impl AsFd, name: &[u8]) -> rustix::io::Result<Option<Vec<u8>>> {
    read(|buffer| rustix::fs::fgetxattr(&fd, name, buffer))
}

/// Removes an attribute of an open file; that there is none is no error.
pub fn remove(fd: impl AsFd, name: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::fremovexattr(fd, name) {
        Err(Errno::NODATA) => Ok(()),
        other => other,
    }
}

/// The names of all attributes of an open file.
pub fn list(fd: impl AsFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    Ok(split_names(&read(|buffer| rustix::fs::flistxattr(&fd, buffer))?.unwrap_or_default()))
}

/// Sets an attribute of the entry `name` of `dir` itself, also of a symbolic link or device.
pub fn set_at(dir: BorrowedFd<'_>, entry: &OsStr, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
    rustix::fs::lsetxattr(entry_path(dir, entry), name, value, XattrFlags::empty())
}

/// An attribute of the entry `name` of `dir` itself.
pub fn get_at(dir: BorrowedFd<'_>, entry: &OsStr, name: &[u8]) -> rustix::io::Result<Option<Vec<u8>>> {
    let path = entry_path(dir, entry);
    read(|buffer| rustix::fs::lgetxattr(path.as_slice(), name, buffer))
}

/// The names of all attributes of the entry `name` of `dir` itself.
pub fn list_at(dir: BorrowedFd<'_>, entry: &OsStr) -> rustix::io::Result<Vec<Vec<u8>>> {
    let path = entry_path(dir, entry);
    let names = read(|buffer| rustix::fs::llistxattr(path.as_slice(), buffer))?;
    Ok(split_names(&names.unwrap_or_default()))
}

/// The xattr calls know no directory descriptor before Linux 6.13; the link in /proc leads to it.
fn entry_path(dir: BorrowedFd<'_>, entry: &OsStr) -> Vec<u8> {
    let mut path = proc_fd_path(dir).into_bytes();
    path.push(b'/');
    path.extend_from_slice(entry.as_bytes());
    path
}

fn read(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Option<Vec<u8>>> {
    let mut small = [0_u8; 256];
    match call(&mut small) {
        Ok(len) => return Ok(Some(small[..len].to_vec())),
        Err(Errno::RANGE) => {}
        // A file system without attributes has none.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
        Err(e) => return Err(e),
    }
    let mut large = vec![0_u8; MAX_SIZE];
    match call(&mut large) {
        Ok(len) => {
            large.truncate(len);
            Ok(Some(large))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(e) => Err(e),
    }
}

fn split_names(list: &[u8]) -> Vec<Vec<u8>> {
    list.split(|b| *b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect()
}
