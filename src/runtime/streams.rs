//! The descriptors that a process in a container gets.

use std::os::fd::{OwnedFd, RawFd};

use rustix::fs::{FileType, Mode};

use crate::kernel::idmap::{IdMaps, to_inside};
use crate::kernel::{cred, selinux};

use super::plan::Process;

/// Standard streams of a process in a container.
#[derive(Debug)]
pub enum Streams {
    /// The caller's own.
    Inherit,
    /// These three.
    Given {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A terminal made inside the container; its master comes back in
    /// `Created::terminal`.
    Terminal {
        /// Columns and rows at the start.
        size: Option<(u16, u16)>,
    },
}

/// Descriptors of a process in a container.
#[derive(Debug)]
pub struct Io {
    /// Descriptors 0 to 2.
    pub streams: Streams,
    /// Further descriptors. Nothing else is passed on.
    pub extra: Vec<Passed>,
}

/// A descriptor that a program gets beside its standard streams.
#[derive(Debug)]
pub struct Passed {
    /// The number under which the program finds it, from 3 on and used once.
    pub number: RawFd,
    /// What it is.
    pub descriptor: OwnedFd,
}

/// Lets a container use its pipes. One that does not know its caller could not open them again (/dev/stdout): it cannot make
/// them its own, and who reaches a pipe has it already, or may look into a process that has. And where SELinux lets
/// `process` not write to pipes of its caller, they become the container's, whose files have the label `files`.
pub(super) fn open(streams: &Streams, maps: Option<&IdMaps>, process: &Process, files: Option<&str>) {
    let Streams::Given { stdin, stdout, stderr } = streams else { return };
    let is_stranger = maps.is_some_and(|maps| to_inside(&maps.uid, cred::effective_uid()).is_none());
    let label = files.filter(|_| process.selinux_label.as_deref().is_some_and(needs_labelled_pipes));
    if !is_stranger && label.is_none() {
        return;
    }
    for stream in [stdin, stdout, stderr] {
        let kind = rustix::fs::fstat(stream).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if !matches!(kind, Ok(FileType::Fifo)) {
            continue;
        }
        // One of somebody else works as it is.
        if is_stranger {
            let _ = rustix::fs::fchmod(stream, Mode::from_raw_mode(0o666));
        }
        if let Some(label) = label {
            let _ = selinux::set_file_context(stream, label);
        }
    }
}

/// The policy is asked beforehand: what is tried and denied stands in the audit log.
fn needs_labelled_pipes(process: &str) -> bool {
    let Some(own) = selinux::current().map(|own| own.to_string()) else { return false };
    selinux::allows(process, &own, "fifo_file", "write") == Some(false)
        && selinux::allows(&own, &own, "fifo_file", "relabelfrom") == Some(true)
}
