//! What parent and child of a container say to each other before the program runs.
//!
//! One stream socket. The parent sends single bytes ([`Command`]), the child
//! sends reports of exactly [`REPORT_SIZE`] bytes:
//!
//! | bytes | meaning |
//! |---|---|
//! | 0 | [`Kind`] |
//! | 1 | class of the error |
//! | 2..4 | length of the text |
//! | 4..8 | errno |
//! | 8..12 | one number, by class |
//! | 12.. | text; its parts are separated by NUL |
//!
//! The child's end is close-on-exec: when the parent reads the end of the
//! stream, the program runs. When the child reads it, the parent is gone and the
//! child ends.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::kernel::{poll, socket};

use super::error::{Error, Result};
use super::steps::Step;

pub(super) const REPORT_SIZE: usize = 1024;
const HEADER: usize = 12;

/// What the parent tells the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Command {
    /// The id maps are written.
    MapsWritten = b'm',
    /// The surroundings are ready: enter the root file system.
    Enter = b'e',
    /// Run the program.
    Start = b's',
}

/// What the child tells the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A sibling was cloned: its pid in the number, its pidfd attached.
    Sibling = 1,
    /// Everything is mounted.
    Mounted = 2,
    /// All but the start is done.
    Ready = 3,
    /// A step failed.
    Failed = 4,
    /// The master of the program's terminal is attached.
    Terminal = 5,
    /// The descriptor is attached on which calls wait for an answer.
    Calls = 6,
}

/// A message of the child.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) kind: Kind,
    pub(super) number: u32,
    pub(super) error: Option<Error>,
    pub(super) fds: Vec<OwnedFd>,
}

/// Sends a command.
pub(super) fn send_command(socket: BorrowedFd<'_>, command: Command) -> Result<()> {
    Ok(socket::send_with_fds(socket, &[command as u8], &[])?)
}

/// What the child has already said about its failure, without waiting for more.
pub(super) fn pending_failure(socket: BorrowedFd<'_>) -> Option<Error> {
    while poll::is_readable(socket) {
        if let Some(error) = receive(socket).ok()??.error {
            return Some(error);
        }
    }
    None
}

/// Waits for `command`; anything else means that the other side is gone.
pub(super) fn wait_command(socket: BorrowedFd<'_>, command: Command) -> Result<()> {
    let mut byte = [0];
    let (length, _) = socket::recv_with_fds(socket, &mut byte)?;
    if length == 1 && byte[0] == command as u8 {
        return Ok(());
    }
    Err(Error::ChildDied { how: "the process that made the container is gone".to_owned() })
}

/// Sends a report without an error.
pub(super) fn send(socket: BorrowedFd<'_>, kind: Kind, number: u32, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut bytes = [0; REPORT_SIZE];
    bytes[0] = kind as u8;
    bytes[8..12].copy_from_slice(&number.to_le_bytes());
    Ok(socket::send_with_fds(socket, &bytes, fds)?)
}

/// Sends the error of a step. That nobody reads it any more is no further error.
pub(super) fn send_failure(socket: BorrowedFd<'_>, step: Step, error: &Error) {
    let bytes = encode(step, error);
    let _ = socket::send_with_fds(socket, &bytes, &[]);
}

/// Receives a report; `None` when the other end was closed.
pub(super) fn receive(socket: BorrowedFd<'_>) -> Result<Option<Report>> {
    let mut bytes = [0; REPORT_SIZE];
    let mut filled = 0;
    let mut fds = Vec::new();
    while filled < REPORT_SIZE {
        let (length, more) = socket::recv_with_fds(socket, &mut bytes[filled..])?;
        fds.extend(more);
        if length == 0 {
            return Ok(None);
        }
        filled += length;
    }
    Ok(decode(&bytes).map(|report| Report { fds, ..report }))
}

/// Error classes on the wire.
mod class {
    pub(super) const STEP: u8 = 0;
    pub(super) const NOT_FOUND: u8 = 1;
    pub(super) const NOT_EXECUTABLE: u8 = 2;
    pub(super) const UNKNOWN_USER: u8 = 3;
    pub(super) const UNKNOWN_GROUP: u8 = 4;
    pub(super) const ID_RANGE: u8 = 5;
    pub(super) const UNMAPPED_UID: u8 = 6;
    pub(super) const UNMAPPED_GID: u8 = 7;
    pub(super) const INVALID: u8 = 8;
    pub(super) const UNSUPPORTED: u8 = 9;
    pub(super) const HOOK: u8 = 10;
    pub(super) const DIED: u8 = 11;
    pub(super) const LABEL: u8 = 12;
}

fn encode(step: Step, error: &Error) -> [u8; REPORT_SIZE] {
    let errno = |source: &io::Error| source.raw_os_error().unwrap_or(0);
    let (class, number, errno, text) = match error {
        Error::ProgramNotFound { program, searched } => {
            (class::NOT_FOUND, u32::from(*searched), 0, program.clone())
        }
        Error::ProgramNotExecutable { program, source } => {
            (class::NOT_EXECUTABLE, 0, errno(source), program.clone())
        }
        Error::SelinuxLabel { label, source } => (class::LABEL, 0, errno(source), label.clone()),
        Error::UnknownUser { user } => (class::UNKNOWN_USER, 0, 0, user.clone()),
        Error::UnknownGroup { group } => (class::UNKNOWN_GROUP, 0, 0, group.clone()),
        Error::IdRange { text } => (class::ID_RANGE, 0, 0, text.clone()),
        Error::UnmappedId { what: "uid", id } => (class::UNMAPPED_UID, *id, 0, String::new()),
        Error::UnmappedId { id, .. } => (class::UNMAPPED_GID, *id, 0, String::new()),
        Error::Invalid { what, why } => (class::INVALID, 0, 0, format!("{what}\0{why}")),
        Error::Unsupported { what } => (class::UNSUPPORTED, 0, 0, what.clone()),
        Error::Hook { which, path, why } => {
            (class::HOOK, 0, 0, format!("{which}\0{}\0{why}", path.display()))
        }
        Error::ChildDied { how } => (class::DIED, 0, 0, how.clone()),
        Error::Step { doing, source } => (class::STEP, 0, errno(source), doing.clone()),
        Error::Kernel(error) => (class::STEP, 0, errno(error.io()), format!("{}: {error}", step.doing())),
        Error::Host(error) => (class::STEP, 0, 0, error.to_string()),
        Error::Foreign { what, .. } | Error::Manager { what, .. } => (class::STEP, 0, 0, what.clone()),
        // A child makes no cgroup.
        Error::NoController { .. } => (class::STEP, 0, 0, error.to_string()),
    };
    let mut bytes = [0; REPORT_SIZE];
    let text = &text.as_bytes()[..text.len().min(REPORT_SIZE - HEADER)];
    bytes[0] = Kind::Failed as u8;
    bytes[1] = class;
    bytes[2..4].copy_from_slice(&(text.len() as u16).to_le_bytes());
    bytes[4..8].copy_from_slice(&errno.to_le_bytes());
    bytes[8..12].copy_from_slice(&number.to_le_bytes());
    bytes[HEADER..HEADER + text.len()].copy_from_slice(text);
    bytes
}

fn decode(bytes: &[u8; REPORT_SIZE]) -> Option<Report> {
    let kind = match bytes[0] {
        1 => Kind::Sibling,
        2 => Kind::Mounted,
        3 => Kind::Ready,
        4 => Kind::Failed,
        5 => Kind::Terminal,
        6 => Kind::Calls,
        _ => return None,
    };
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let number = word(8);
    let error = (kind == Kind::Failed).then(|| decode_error(bytes, word(4) as i32, number));
    Some(Report { kind, number, error, fds: Vec::new() })
}

fn decode_error(bytes: &[u8; REPORT_SIZE], errno: i32, number: u32) -> Error {
    let length = usize::from(u16::from_le_bytes([bytes[2], bytes[3]])).min(REPORT_SIZE - HEADER);
    let text = String::from_utf8_lossy(&bytes[HEADER..HEADER + length]).into_owned();
    let source = io::Error::from_raw_os_error(errno);
    let (first, second) = match text.split_once('\0') {
        Some((first, second)) => (first.to_owned(), second.to_owned()),
        None => (text.clone(), String::new()),
    };
    match bytes[1] {
        class::NOT_FOUND => Error::ProgramNotFound { program: text, searched: number == 1 },
        class::NOT_EXECUTABLE => Error::ProgramNotExecutable { program: text, source },
        class::LABEL => Error::SelinuxLabel { label: text, source },
        class::UNKNOWN_USER => Error::UnknownUser { user: text },
        class::UNKNOWN_GROUP => Error::UnknownGroup { group: text },
        class::ID_RANGE => Error::IdRange { text },
        class::UNMAPPED_UID => Error::UnmappedId { what: "uid", id: number },
        class::UNMAPPED_GID => Error::UnmappedId { what: "gid", id: number },
        class::INVALID => Error::Invalid { what: first, why: second },
        class::UNSUPPORTED => Error::Unsupported { what: text },
        class::HOOK => {
            let (path, why) = second.split_once('\0').unwrap_or((&second, ""));
            Error::Hook { which: first, path: PathBuf::from(path), why: why.to_owned() }
        }
        class::DIED => Error::ChildDied { how: text },
        _ if errno == 0 => Error::ChildDied { how: text },
        _ => Error::Step { doing: text, source },
    }
}

/// Reads one report and turns a failure into its error.
pub(super) fn expect(socket: impl AsFd, kind: Kind) -> Result<Report> {
    match receive(socket.as_fd())? {
        Some(Report { error: Some(error), .. }) => Err(error),
        Some(report) if report.kind == kind => Ok(report),
        _ => Err(Error::ChildDied { how: "it ended without a word".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_survive_the_way_to_the_parent() {
        let errors = [
            Error::ProgramNotFound { program: "nosuch".into(), searched: true },
            Error::ProgramNotExecutable { program: "/x".into(), source: io::Error::from_raw_os_error(13) },
            Error::UnknownUser { user: "bob".into() },
            Error::SelinuxLabel { label: "u:r:t:s0".into(), source: io::Error::from_raw_os_error(22) },
            Error::UnmappedId { what: "gid", id: 7 },
            Error::invalid("mount at `/proc`", "it is no ordinary directory"),
            Error::unsupported("x"),
            Error::Step { doing: "mounting".into(), source: io::Error::from_raw_os_error(1) },
            Error::Hook { which: "prestart hook #0".into(), path: "/h".into(), why: "exit status 1".into() },
        ];
        for error in errors {
            let report = decode(&encode(Step::MountAll, &error)).unwrap();
            let arrived = report.error.unwrap();
            assert_eq!(arrived.to_string(), error.to_string());
            assert_eq!(arrived.exit_code(), error.exit_code());
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let error = Error::unsupported("é".repeat(2000));
        assert!(decode(&encode(Step::MountAll, &error)).unwrap().error.is_some());
    }
}
