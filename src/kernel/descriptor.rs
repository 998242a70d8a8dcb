//! Descriptors that the process did not open itself.

use std::os::fd::{OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::FdFlags;

use super::{Error, Result};

/// The descriptors above 2 that lack close-on-exec. rbox opens everything with that flag, so these
/// were left open by whoever started it.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn inherited() -> Result<Vec<RawFd>> {
    let path = "/proc/self/fd";
    let error = |e| Error::path("readdir", path, e);
    let dir = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(error)?;
    let mut buffer = Vec::with_capacity(2048);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut found = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(error)?;
        let Some(fd) = entry.file_name().to_str().ok().and_then(|name| name.parse::<RawFd>().ok()) else {
            continue;
        };
        if fd > 2 && !is_cloexec(fd) {
            found.push(fd);
        }
    }
    Ok(found)
}

/// Whether `fd` is closed by `execve`.
fn is_cloexec(fd: RawFd) -> bool {
    // SAFETY: the number was just listed as open; it is only asked for its flags.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_getfd(fd).is_ok_and(|flags| flags.contains(FdFlags::CLOEXEC))
}

/// A handle of our own on an inherited descriptor.
///
/// # Errors
/// When the number is not open.
pub fn duplicate(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: the number is only handed to the kernel, which refuses one that is not open.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_dupfd_cloexec(borrowed, 3).map_err(|e| Error::call("fcntl", format!("F_DUPFD {fd}"), e))
}

/// Closes an inherited descriptor, which nothing in this process owns.
///
/// # Errors
/// When the number is not open.
pub fn close(fd: RawFd) -> Result<()> {
    let number = fd.cast_unsigned();
    super::process::close_range(number, number)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn only_descriptors_without_the_flag_are_listed() {
        let (a, b) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        rustix::io::fcntl_setfd(&b, FdFlags::empty()).unwrap();
        let found = inherited().unwrap();
        assert!(found.contains(&b.as_raw_fd()) && !found.contains(&a.as_raw_fd()));
    }
}
