//! Waiting for several descriptors at once.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Error, Result};

/// What is awaited of a descriptor, and what happened to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Events {
    /// Something can be read, or the other end is gone.
    pub readable: bool,
    /// Something can be written.
    pub writable: bool,
    /// The other end is gone (reported without asking).
    pub hangup: bool,
}

impl Events {
    /// Waits for input.
    pub const READ: Self = Self { readable: true, writable: false, hangup: false };
    /// Waits for room to write.
    pub const WRITE: Self = Self { readable: false, writable: true, hangup: false };
    /// Waits for nothing: only the end of the other side is reported.
    pub const NONE: Self = Self { readable: false, writable: false, hangup: false };

    /// Whether anything happened.
    #[must_use]
    pub const fn any(self) -> bool {
        self.readable || self.writable || self.hangup
    }
}

/// Whether something can be read at this moment, or the other end is gone.
#[must_use]
pub fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut ready = Vec::new();
    wait(&[(fd, Events::READ)], &mut ready, Some(Duration::ZERO)).is_ok()
        && ready.first().is_some_and(|events| events.readable || events.hangup)
}

/// Waits until one of `sources` is ready or `timeout` has passed (`None`: without end), and
/// writes what happened to `ready`, in the same order. An interrupted wait returns nothing ready.
///
/// # Errors
/// When the kernel refuses, for want of memory.
pub fn wait(
    sources: &[(BorrowedFd<'_>, Events)],
    ready: &mut Vec<Events>,
    timeout: Option<Duration>,
) -> Result<()> {
    ready.clear();
    let mut fds: Vec<PollFd<'_>> = sources
        .iter()
        .map(|(fd, events)| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, events.readable);
            flags.set(PollFlags::OUT, events.writable);
            PollFd::from_borrowed_fd(*fd, flags)
        })
        .collect();
    let timeout = timeout.map(|t| Timespec {
        tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: t.subsec_nanos().into(),
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => {
            ready.resize(sources.len(), Events::NONE);
            return Ok(());
        }
        Err(e) => return Err(Error::call("poll", "", e)),
    }
    ready.extend(fds.iter().map(|fd| {
        let flags = fd.revents();
        let gone = flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        Events {
            readable: flags.contains(PollFlags::IN),
            writable: flags.contains(PollFlags::OUT),
            hangup: gone,
        }
    }));
    Ok(())
}

/// Waits for one descriptor to become readable; `false` when `timeout` passed first.
///
/// # Errors
/// As [`wait`].
pub fn readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<bool> {
    let mut ready = Vec::with_capacity(1);
    let deadline = timeout.map(|t| std::time::Instant::now() + t);
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(std::time::Instant::now()));
        wait(&[(fd, Events::READ)], &mut ready, left)?;
        if ready.first().is_some_and(|r| r.any()) {
            return Ok(true);
        }
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn pipe_becomes_readable_and_hangs_up() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let short = Some(Duration::from_millis(1));
        assert!(!readable(reader.as_fd(), short).unwrap());
        rustix::io::write(&writer, b"x").unwrap();
        assert!(readable(reader.as_fd(), short).unwrap());
        drop(writer);
        let mut ready = Vec::new();
        wait(&[(reader.as_fd(), Events::NONE)], &mut ready, short).unwrap();
        assert_eq!(ready, [Events { hangup: true, ..Events::NONE }]);
    }
}
