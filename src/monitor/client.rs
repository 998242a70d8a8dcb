//! The client's side of an attached container: the caller's terminal, streams and signals.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;

use super::keys::DetachKeys;
use super::protocol::{Decoder, Frame, Hello, Malformed, STDIN_WINDOW, Stream, VERSION};
use super::{Failure, Handle};
use crate::kernel::poll::{self, Events};
use crate::kernel::signal::{self, SignalFd, SignalSet};
use crate::kernel::tty::{self, RawMode};
use crate::kernel::{Error, Result, socket};

/// The streams that a client takes part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Pass the caller's standard input on.
    pub stdin: bool,
    /// Show standard output.
    pub stdout: bool,
    /// Show standard error.
    pub stderr: bool,
}

impl Wanted {
    /// Nothing: only to learn whether the container started.
    pub const NOTHING: Self = Self { stdin: false, stdout: false, stderr: false };

    /// The first frame of a client that wants this.
    #[must_use]
    pub const fn hello(self) -> Hello {
        let Self { stdin, stdout, stderr } = self;
        Hello { version: VERSION, stdin, stdout, stderr, terminal: false }
    }
}

/// How to behave while attached.
#[derive(Debug, Clone)]
pub struct Options {
    /// Streams to take part in.
    pub wanted: Wanted,
    /// The container has a terminal.
    pub terminal: bool,
    /// Keys that detach, where the container has a terminal.
    pub detach_keys: DetachKeys,
    /// Signals are passed on instead of acting here.
    pub proxy_signals: bool,
}

/// How an attachment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The container ended with this code.
    Exited(i32),
    /// The user typed the detach keys.
    Detached,
    /// Nobody reads our output any more.
    ReaderGone,
    /// A signal that was not to be passed on; it should now act on this process.
    Signal(i32),
    /// The monitor is gone without a word.
    Lost,
}

/// What became of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The program runs and has this pid.
    Running(i32),
    /// It does not.
    Failed(Failure),
    /// The monitor ended without a word.
    Lost,
}

/// A connection to a monitor.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    decoder: Decoder,
}

impl From<Handle> for Connection {
    fn from(handle: Handle) -> Self {
        Self { socket: handle.socket, decoder: Decoder::default() }
    }
}

impl Connection {
    /// Connects to the monitor that serves `path`.
    ///
    /// # Errors
    /// When nobody serves it.
    pub fn open(path: &Path, wanted: Wanted) -> Result<Self> {
        let connection = Self { socket: socket::connect(path)?, decoder: Decoder::default() };
        connection.send(&Frame::Hello(wanted.hello()))?;
        Ok(connection)
    }

    fn send(&self, frame: &Frame) -> Result<()> {
        socket::send_with_fds(self.socket.as_fd(), &frame.to_bytes(), &[])
    }

    /// Asks for the start of a container that is only made. [`Self::wait_started`] tells what becomes of it.
    ///
    /// # Errors
    /// When the monitor is gone.
    pub fn start(&self) -> Result<()> {
        self.send(&Frame::Start)
    }

    /// Waits until the container's program runs, and returns its pid.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn wait_started(&mut self) -> Result<Start> {
        loop {
            while let Some(frame) = self.decoder.next_frame().map_err(malformed)? {
                match frame {
                    Frame::Started(pid) => return Ok(Start::Running(pid)),
                    Frame::Failed(failure) => return Ok(Start::Failed(failure)),
                    _ => {}
                }
            }
            if !self.receive()? {
                return Ok(Start::Lost);
            }
        }
    }

    /// Waits for more bytes; `false` at the end.
    fn receive(&mut self) -> Result<bool> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match rustix::io::read(&self.socket, &mut buffer) {
                Ok(0) | Err(Errno::CONNRESET) => return Ok(false),
                Ok(n) => {
                    self.decoder.push(&buffer[..n]);
                    return Ok(true);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::call("read", "attach socket", e)),
            }
        }
    }

    /// Stays attached until the container ends or the user detaches.
    ///
    /// # Errors
    /// When the terminal or the socket fails.
    pub fn attach(self, options: &Options) -> Result<Outcome> {
        // Blocked from here on, so that the terminal comes back whatever signal arrives.
        let mask = signal::block(&watched())?;
        let result = Attachment::new(self, options).and_then(Attachment::run);
        // A signal that came after the end acts now, on a restored terminal.
        signal::set_mask(&mask)?;
        result
    }
}

fn malformed(error: Malformed) -> Error {
    Error::call("read", "attach socket", io::Error::other(error))
}

/// The signals that are read instead of acting: all but those that a fault of our own raises, and
/// SIGCHLD and SIGPIPE, which concern rbox alone.
fn watched() -> SignalSet {
    let mut set = SignalSet::all();
    for signal in [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGSYS,
        libc::SIGCHLD,
        libc::SIGPIPE,
    ] {
        set.remove(signal);
    }
    set
}

/// The state of an attached client.
struct Attachment<'a> {
    connection: Connection,
    options: &'a Options,
    keys: DetachKeys,
    signals: SignalFd,
    raw: Option<RawMode>,
    /// How much standard input may be sent.
    credit: usize,
    input_open: bool,
    /// Output that is not written yet; while there is some, nothing more is received.
    output: VecDeque<(Stream, Vec<u8>)>,
    /// How much of the first of it is written.
    written: usize,
    /// What the attachment ends with, once the output is written.
    outcome: Option<Outcome>,
}

impl<'a> Attachment<'a> {
    fn new(connection: Connection, options: &'a Options) -> Result<Self> {
        let signals = SignalFd::new(&watched())?;
        let stdin = io::stdin();
        let on_terminal = options.terminal && tty::is_terminal(&stdin);
        let raw = if on_terminal { Some(RawMode::enter(stdin.as_fd())?) } else { None };
        let attachment = Self {
            connection,
            options,
            keys: options.detach_keys.clone(),
            signals,
            raw,
            credit: STDIN_WINDOW,
            input_open: options.wanted.stdin,
            output: VecDeque::new(),
            written: 0,
            outcome: None,
        };
        attachment.send_size();
        Ok(attachment)
    }

    fn run(mut self) -> Result<Outcome> {
        let mut ready = Vec::new();
        loop {
            self.take_frames()?;
            if self.output.is_empty()
                && let Some(outcome) = self.outcome.take()
            {
                return Ok(outcome);
            }
            let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
            let mut set: Vec<(BorrowedFd<'_>, Events)> = vec![(self.signals.as_fd(), Events::READ)];
            match self.output.front() {
                Some((Stream::Stdout, _)) => set.push((stdout.as_fd(), Events::WRITE)),
                Some((Stream::Stderr, _)) => set.push((stderr.as_fd(), Events::WRITE)),
                None => set.push((self.connection.socket.as_fd(), Events::READ)),
            }
            if self.input_open && self.credit > 0 {
                set.push((stdin.as_fd(), Events::READ));
            }
            poll::wait(&set, &mut ready, None)?;
            drop(set);
            if ready[0].any()
                && let Some(outcome) = self.take_signals()?
            {
                return Ok(outcome);
            }
            if ready.get(2).is_some_and(|stdin| stdin.any())
                && let Some(outcome) = self.take_input()?
            {
                return Ok(outcome);
            }
            if ready[1].any() {
                if self.output.is_empty() {
                    if !self.connection.receive()? {
                        self.outcome.get_or_insert(Outcome::Lost);
                    }
                } else if !self.write_output()? {
                    return Ok(Outcome::ReaderGone);
                }
            }
        }
    }

    /// Handles what has been received.
    fn take_frames(&mut self) -> Result<()> {
        while let Some(frame) = self.connection.decoder.next_frame().map_err(malformed)? {
            match frame {
                Frame::Output(stream, bytes) if !bytes.is_empty() => self.output.push_back((stream, bytes)),
                Frame::Taken(count) => self.credit += count as usize,
                Frame::Exit(code) => self.outcome = Some(Outcome::Exited(code)),
                Frame::Gap => {
                    let note = b"\n[some output was lost: the log was rotated before it was read]\n".to_vec();
                    self.output.push_back((Stream::Stderr, note));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes some of the output; `false` when nobody reads it.
    fn write_output(&mut self) -> Result<bool> {
        let Some((stream, bytes)) = self.output.front() else { return Ok(true) };
        // A pipe that is ready takes this much without waiting (PIPE_BUF), so signals stay served.
        let rest = &bytes[self.written..];
        let piece = &rest[..rest.len().min(4096)];
        let written = match stream {
            Stream::Stdout => rustix::io::write(io::stdout(), piece),
            Stream::Stderr => rustix::io::write(io::stderr(), piece),
        };
        match written {
            Ok(n) if n == rest.len() => {
                self.output.pop_front();
                self.written = 0;
            }
            Ok(n) => self.written += n,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(Errno::PIPE) => return Ok(false),
            Err(e) => return Err(Error::call("write", "output of the container", e)),
        }
        Ok(true)
    }

    /// Sends what the caller typed or piped in.
    fn take_input(&mut self) -> Result<Option<Outcome>> {
        let mut buffer = [0; 16 * 1024];
        let most = buffer.len().min(self.credit);
        let n = match rustix::io::read(io::stdin(), &mut buffer[..most]) {
            Ok(n) => n,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(None),
            // EIO: the terminal is gone.
            Err(_) => 0,
        };
        if n == 0 {
            self.input_open = false;
            self.say(&Frame::StdinEnd)?;
            return Ok(None);
        }
        let (typed, detach) = if self.options.terminal {
            self.keys.filter(&buffer[..n])
        } else {
            (buffer[..n].to_vec(), false)
        };
        if !typed.is_empty() {
            self.credit = self.credit.saturating_sub(typed.len());
            self.say(&Frame::Stdin(typed))?;
        }
        Ok(detach.then_some(Outcome::Detached))
    }

    /// Sends a frame. When the monitor is gone, its last words are still to be read.
    fn say(&mut self, frame: &Frame) -> Result<()> {
        match self.connection.send(frame) {
            Err(e) if matches!(e.errno(), Some(libc::EPIPE | libc::ECONNRESET)) => {
                self.input_open = false;
                Ok(())
            }
            result => result,
        }
    }

    fn take_signals(&mut self) -> Result<Option<Outcome>> {
        while let Some(received) = self.signals.read()? {
            match received.signal {
                libc::SIGWINCH if self.raw.is_some() => self.send_size(),
                // podman's list: Go uses SIGURG itself, but programs in containers may mean it.
                libc::SIGURG => {}
                libc::SIGCONT if self.raw.is_some() => {
                    if let Some(raw) = &self.raw {
                        raw.renew()?;
                    }
                    self.send_size();
                }
                signal if self.options.proxy_signals => self.say(&Frame::Signal(signal))?,
                libc::SIGWINCH | libc::SIGCONT => {}
                signal => return Ok(Some(Outcome::Signal(signal))),
            }
        }
        Ok(None)
    }

    /// Tells the container how large the caller's terminal is.
    fn send_size(&self) {
        if self.raw.is_some()
            && let Ok(size) = tty::window_size(io::stdin())
        {
            // A monitor that is gone is noticed by the next read.
            let _ = self.connection.send(&Frame::Resize(size));
        }
    }
}
