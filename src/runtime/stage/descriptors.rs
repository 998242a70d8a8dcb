//! Descriptors of the child: which the program gets, and that it gets no other.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::fs::{FileType, OFlags};

use crate::kernel::{self, process, socket};

use super::super::error::Result;
use super::super::streams::{Passed, Streams};
use super::{Stage, StartSignal};

impl Stage<'_> {
    /// Puts the streams on 0 to 2 and the extra descriptors on their numbers.
    ///
    /// Sources and targets may overlap in any way: everything that is still
    /// needed moves above all targets first.
    pub(super) fn arrange_descriptors(&mut self) -> Result<()> {
        let first_free = self.kept.last().map_or(3, |last| last + 1);
        move_up(&mut self.channel, first_free)?;
        if let StartSignal::Listener(listener) = &mut self.start {
            move_up(listener, first_free)?;
        }
        if let Streams::Given { stdin, stdout, stderr } = &mut self.streams {
            for stream in [stdin, stdout, stderr] {
                move_up(stream, first_free)?;
            }
        }
        for tree in self.trees.descriptors() {
            move_up(tree, first_free)?;
        }
        if let Some(procfs) = &mut self.procfs {
            move_up(procfs, first_free)?;
        }
        for passed in &mut self.extra {
            move_up(&mut passed.descriptor, first_free)?;
        }
        if let Streams::Given { stdin, stdout, stderr } = &self.streams {
            for (target, stream) in [stdin, stdout, stderr].into_iter().enumerate() {
                place(stream, target as RawFd)?;
            }
        }
        for passed in &self.extra {
            place(&passed.descriptor, passed.number)?;
        }
        // What is left of the parent's, such as a log file, must not pass the exec, nor reach a hook.
        self.close_descriptors()
    }

    /// Marks everything but the program's own descriptors close-on-exec.
    pub(super) fn close_descriptors(&self) -> Result<()> {
        let mut first = 3;
        for kept in self.kept.iter().map(|number| number.cast_unsigned()) {
            if first < kept {
                process::close_range_cloexec(first, kept - 1)?;
            }
            first = kept + 1;
        }
        Ok(process::close_range_cloexec(first, u32::MAX)?)
    }

    /// Gives pipes and sockets on 0 to 2 to the program's user, so that it can
    /// open /dev/stdout. Files and terminals of the caller are left alone.
    pub(super) fn own_streams(&self) -> Result<()> {
        let uid = rustix::fs::Uid::from_raw(self.process.uid);
        for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
            let Ok(stat) = rustix::fs::fstat(stream) else { continue };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if matches!(kind, FileType::Fifo | FileType::Socket) && stat.st_uid != self.process.uid {
                // A pipe of somebody who is not mapped here cannot be given away; it works as it is.
                let _ = rustix::fs::fchown(stream, Some(uid), None);
            }
        }
        Ok(())
    }
}

/// The numbers that the program's descriptors get, sorted.
pub(super) fn numbers(extra: &[Passed]) -> Vec<RawFd> {
    let mut numbers: Vec<RawFd> = extra.iter().map(|passed| passed.number).collect();
    numbers.sort_unstable();
    numbers
}

/// Moves a descriptor to a number that is at least `least`.
fn move_up(descriptor: &mut OwnedFd, least: RawFd) -> Result<()> {
    if descriptor.as_raw_fd() < least {
        *descriptor = rustix::io::fcntl_dupfd_cloexec(&*descriptor, least)
            .map_err(|errno| kernel::Error::call("fcntl(F_DUPFD)", "", errno))?;
    }
    Ok(())
}

/// Makes `target` another name of `source`, one that survives the exec.
fn place(source: &OwnedFd, target: RawFd) -> Result<()> {
    kernel::process::duplicate_to(source, target)?;
    Ok(())
}

/// Waits for a connection.
pub(super) fn accept(listener: OwnedFd) -> Result<OwnedFd> {
    loop {
        kernel::poll::readable(listener.as_fd(), None)?;
        if let Some(connection) = socket::accept(listener.as_fd())? {
            // Accepted connections do not wait; this one is read as the channel is.
            rustix::fs::fcntl_setfl(&connection, OFlags::empty())
                .map_err(|errno| kernel::Error::call("fcntl(F_SETFL)", "", errno))?;
            return Ok(connection);
        }
    }
}
