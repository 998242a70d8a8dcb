//! A foreground container: its terminal and signals passed on until it ends.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;

use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::kernel::poll::{self, Events};
use crate::kernel::process::{self, ExitStatus as Ended};
use crate::kernel::signal::{self, SignalFd, SignalSet};
use crate::kernel::tty::{self, RawMode};

/// Signals, blocked from before the container exists so that none is lost.
pub(super) struct Relay {
    signals: SignalFd,
}

impl Relay {
    pub(super) fn begin() -> Result<Self> {
        let mut set = SignalSet::all();
        // What job control and faults need stays with this process.
        for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE]
        {
            set.remove(signal);
        }
        signal::block(&set)?;
        Ok(Self { signals: SignalFd::new(&set)? })
    }

    /// Passes signals, and what goes to and comes from `terminal`, until the process ends.
    pub(super) fn until_end(
        &self,
        process: BorrowedFd<'_>,
        terminal: Option<BorrowedFd<'_>>,
    ) -> Result<Ended> {
        let stdin = rustix::stdio::stdin();
        let raw = match terminal {
            Some(_) if tty::is_terminal(stdin) => Some(RawMode::enter(stdin)?),
            _ => None,
        };
        let mut input = terminal.is_some();
        let mut pending = VecDeque::new();
        let mut ready = Vec::new();
        loop {
            let mut watched = vec![(process, Events::READ), (self.signals.as_fd(), Events::READ)];
            if let Some(master) = terminal {
                watched.push((master, Events { writable: !pending.is_empty(), ..Events::READ }));
            }
            if input && pending.is_empty() {
                watched.push((stdin, Events::READ));
            }
            poll::wait(&watched, &mut ready, None)?;
            self.pass_signals(process, terminal);
            if let Some(master) = terminal {
                if ready[2].readable {
                    copy_output(master);
                }
                if ready.get(3).is_some_and(|stdin| stdin.any()) {
                    input = read_input(stdin, &mut pending);
                }
                if ready[2].writable {
                    write_input(master, &mut pending);
                }
            }
            if let Some(status) = process::try_wait_pidfd(process)? {
                if let Some(master) = terminal {
                    while poll::readable(master, Some(Duration::ZERO))? && copy_output(master) {}
                }
                drop(raw);
                return Ok(status);
            }
        }
    }

    fn pass_signals(&self, process: BorrowedFd<'_>, terminal: Option<BorrowedFd<'_>>) {
        while let Ok(Some(received)) = self.signals.read() {
            match (received.signal, terminal) {
                (libc::SIGCHLD, _) => {}
                (libc::SIGWINCH, Some(master)) => {
                    if let Ok(size) = tty::window_size(rustix::stdio::stdin()) {
                        let _ = tty::set_window_size(master, size);
                    }
                }
                // It may have ended meanwhile.
                (number, _) => drop(process::pidfd_send_signal(process, number)),
            }
        }
    }
}

/// Passes on what the container wrote; `false` at the end.
fn copy_output(master: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 16 << 10];
    // EIO: nobody has the terminal open any more.
    let Ok(length @ 1..) = rustix::io::read(master, &mut buffer) else { return false };
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return false,
        }
    }
    true
}

/// `false` at the end of the input.
fn read_input(stdin: BorrowedFd<'_>, pending: &mut VecDeque<u8>) -> bool {
    let mut buffer = [0; 4 << 10];
    match rustix::io::read(stdin, &mut buffer) {
        Ok(0) => false,
        Ok(length) => {
            pending.extend(&buffer[..length]);
            true
        }
        Err(Errno::INTR | Errno::AGAIN) => true,
        Err(_) => false,
    }
}

fn write_input(master: BorrowedFd<'_>, pending: &mut VecDeque<u8>) {
    let (front, _) = pending.as_slices();
    match rustix::io::write(master, front) {
        Ok(written) => drop(pending.drain(..written)),
        Err(Errno::INTR | Errno::AGAIN) => {}
        // Nobody reads it any more.
        Err(_) => pending.clear(),
    }
}

/// Whether what a terminal of the container says is passed on to something that is none. Who takes the terminal by a
/// socket decides that alone.
pub(super) fn is_plain(has_socket: bool) -> bool {
    !has_socket && !tty::is_terminal(rustix::stdio::stdin())
}

/// The size of the caller's terminal.
pub(super) fn terminal_size() -> Option<(u16, u16)> {
    let size = tty::window_size(rustix::stdio::stdin()).ok()?;
    (size.columns > 0 && size.rows > 0).then_some((size.columns, size.rows))
}

/// The exit code of a container's program.
pub(super) fn exit_status(ended: Ended) -> ExitStatus {
    ExitStatus::from_code(u8::try_from(ended.code()).unwrap_or(255))
}
