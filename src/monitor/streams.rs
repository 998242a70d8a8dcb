//! The monitor's ends of the container's standard streams.
//!
//! Pipes, or the master of a terminal. Of a terminal the monitor also holds the other side open:
//! otherwise a container that closes and opens its terminal would make reads
//! fail with EIO in between, and the loop would spin.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::protocol::Stream;
use crate::kernel::tty::WindowSize;
use crate::kernel::{Error, Result, tty};
use crate::runtime::Streams;

/// The most that one read takes.
pub(super) const CHUNK: usize = 64 * 1024;

/// One stream that the container writes.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) stream: Stream,
    fd: OwnedFd,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got {
    Bytes(usize),
    Nothing,
    End,
}

/// The monitor's ends.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) outputs: Vec<Output>,
    pub(super) input: Input,
    /// The terminal's other side, held open.
    _slave: Option<OwnedFd>,
}

/// The container's ends of pipes.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl From<Pipes> for Streams {
    fn from(Pipes { stdin, stdout, stderr }: Pipes) -> Self {
        Self::Given { stdin, stdout, stderr }
    }
}

/// Makes pipes: the container's ends, and the monitor's.
pub(super) fn pipes(interactive: bool) -> Result<(Pipes, Ends)> {
    let make = || pipe_with(PipeFlags::CLOEXEC).map_err(|e| Error::call("pipe", "", e));
    let (stdin, write_end) = if interactive {
        let (read_end, write_end) = make()?;
        (read_end, Some(write_end))
    } else {
        (null()?, None)
    };
    let (out, stdout) = make()?;
    let (err, stderr) = make()?;
    for fd in [Some(&out), Some(&err), write_end.as_ref()].into_iter().flatten() {
        set_nonblocking(fd.as_fd())?;
    }
    let ends = Ends {
        outputs: vec![Output { stream: Stream::Stdout, fd: out }, Output { stream: Stream::Stderr, fd: err }],
        input: Input::new(write_end, false),
        _slave: None,
    };
    Ok((Pipes { stdin, stdout, stderr }, ends))
}

/// Makes a pipe: the monitor's end, and the other one.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|e| Error::call("pipe", "", e))
}

/// Takes the master of a terminal that was made inside the container.
pub(super) fn terminal(master: OwnedFd) -> Result<Ends> {
    set_nonblocking(master.as_fd())?;
    let slave = tty::open_peer(master.as_fd())?;
    let input = master.try_clone().map_err(|e| Error::call("dup", "", e))?;
    Ok(Ends {
        outputs: vec![Output { stream: Stream::Stdout, fd: master }],
        input: Input::new(Some(input), true),
        _slave: Some(slave),
    })
}

impl Ends {
    /// For a container that writes to descriptors of its own.
    pub(super) fn none() -> Self {
        Self { outputs: Vec::new(), input: Input::new(None, false), _slave: None }
    }
}

impl Output {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Reads what is there, without waiting.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Got {
        loop {
            match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(0) => return Got::End,
                Ok(n) => return Got::Bytes(n),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Got::Nothing,
                // EIO: the last process has closed the terminal.
                Err(_) => return Got::End,
            }
        }
    }
}

/// The container's standard input: what clients sent and it has not read yet.
#[derive(Debug)]
pub(super) struct Input {
    fd: Option<OwnedFd>,
    terminal: bool,
    queue: VecDeque<(u64, Vec<u8>)>,
    /// Close after the queue.
    end: bool,
}

impl Input {
    fn new(fd: Option<OwnedFd>, terminal: bool) -> Self {
        Self { fd, terminal, queue: VecDeque::new(), end: false }
    }

    /// For a process that has no input of ours.
    pub(super) fn none() -> Self {
        Self::new(None, false)
    }

    /// Whether anybody may still read it.
    pub(super) fn is_open(&self) -> bool {
        self.fd.is_some() && !self.end
    }

    /// What to wait for: room, while there is something to write.
    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().filter(|_| !self.queue.is_empty()).map(AsFd::as_fd)
    }

    pub(super) fn push(&mut self, client: u64, bytes: Vec<u8>) {
        if !self.end && !bytes.is_empty() {
            self.queue.push_back((client, bytes));
        }
    }

    /// No more input comes. A terminal has no such thing: programs there wait for Ctrl-D.
    pub(super) fn push_end(&mut self) {
        self.end = !self.terminal;
    }

    /// Writes what can be written; returns how much of whose input was taken.
    pub(super) fn write(&mut self) -> Vec<(u64, usize)> {
        let mut taken = Vec::new();
        while let Some((client, bytes)) = self.queue.front_mut() {
            // Without anybody to read it the input is swallowed, as a closed pipe would do.
            let result = self.fd.as_ref().map_or(Ok(bytes.len()), |fd| rustix::io::write(fd, bytes));
            match result {
                Ok(n) => {
                    taken.push((*client, n));
                    bytes.drain(..n);
                    if bytes.is_empty() {
                        self.queue.pop_front();
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return taken,
                Err(_) => self.fd = None,
            }
        }
        self.queue.shrink_to(0);
        if self.end {
            self.fd = None;
        }
        taken
    }

    /// Gives the terminal another size.
    pub(super) fn resize(&self, size: WindowSize) {
        if let Some(fd) = self.fd.as_ref().filter(|_| self.terminal) {
            // A terminal that is gone has no size.
            let _ = tty::set_window_size(fd, size);
        }
    }
}

/// A descriptor of /dev/null.
pub(super) fn null() -> Result<OwnedFd> {
    let path = "/dev/null";
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|e| Error::path("open", path, e))
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<()> {
    fcntl_getfl(fd)
        .and_then(|flags| fcntl_setfl(fd, flags | OFlags::NONBLOCK))
        .map_err(|e| Error::call("fcntl", "O_NONBLOCK", e))
}
