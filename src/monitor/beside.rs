//! Standing beside a process of `exec`, without a monitor: the command itself is its parent.
//!
//! Pipes of the caller are given to the process as they are, so nothing is copied. Everything else is not: through a
//! descriptor of a file, directory or terminal of the host, the container could reach what it was not given
//! (it may open it anew by `/proc/self/fd`, with its own mode). That goes through pipes of our own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::client::{Options, Outcome, Wanted};
use super::keys::DetachKeys;
use super::protocol::Stream;
use super::streams::{self, Ends, Got, Input};
use crate::kernel::poll::{self, Events};
use crate::kernel::process::{self, ExitStatus};
use crate::kernel::signal::{self, SignalFd, SignalSet};
use crate::kernel::tty::{self, RawMode};
use crate::kernel::{Error, Result};
use crate::runtime::{self, ExecPlan, Io, Passed, Running, Streams};

/// A process that was started in a container.
#[derive(Debug)]
pub struct Beside {
    /// The process.
    pub running: Running,
    ends: Ends,
}

/// Runs the process of `plan`, with the caller's streams.
///
/// # Errors
/// When it cannot be run.
pub fn exec(plan: &ExecPlan, wanted: Wanted, extra: Vec<Passed>) -> runtime::Result<Beside> {
    let (streams, ends) = if plan.process.terminal {
        let size = tty::window_size(io::stdin()).ok().map(|size| (size.columns, size.rows));
        (Streams::Terminal { size: size.filter(|size| *size != (0, 0)) }, None)
    } else {
        let (streams, ends) = own_or_given(wanted)?;
        (streams, Some(ends))
    };
    let mut running = runtime::exec(plan, Io { streams, extra })?;
    let ends = match (ends, running.terminal.take()) {
        (Some(ends), _) => ends,
        (None, Some(master)) => streams::terminal(master)?,
        (None, None) => Ends::none(),
    };
    Ok(Beside { running, ends })
}

/// Runs the process of `plan` with no streams at all.
///
/// # Errors
/// When it cannot be run.
pub fn exec_detached(plan: &ExecPlan, extra: Vec<Passed>) -> runtime::Result<Running> {
    let streams = if plan.process.terminal {
        Streams::Terminal { size: None }
    } else {
        Streams::Given { stdin: streams::null()?, stdout: streams::null()?, stderr: streams::null()? }
    };
    runtime::exec(plan, Io { streams, extra })
}

/// A process whose output is collected.
#[derive(Debug)]
pub struct Process {
    running: Running,
    output: OwnedFd,
}

/// What a process came to.
#[derive(Debug)]
pub struct Captured {
    /// How it ended; `None` when it was killed after too long a time.
    pub status: Option<ExitStatus>,
    /// The beginning of what it wrote, to both streams.
    pub output: Vec<u8>,
}

/// Runs the process of `plan` without input; what it writes is kept.
///
/// # Errors
/// When it cannot be run.
pub fn exec_captured(plan: &ExecPlan) -> runtime::Result<Process> {
    let (output, stdout) = streams::pipe()?;
    let stderr = stdout.try_clone().map_err(|e| Error::call("dup", "", e))?;
    let streams = Streams::Given { stdin: streams::null()?, stdout, stderr };
    let running = runtime::exec(plan, Io { streams, extra: Vec::new() })?;
    Ok(Process { running, output })
}

impl Process {
    /// Waits for its end, at most for `limit`, and keeps `most` bytes of its output.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn collect(self, limit: Option<Duration>, most: usize) -> Result<Captured> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let (mut captured, mut ready) = (Captured { status: None, output: Vec::new() }, Vec::new());
        let mut open = true;
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let mut set = vec![(self.running.pidfd.as_fd(), Events::READ)];
            if open {
                set.push((self.output.as_fd(), Events::READ));
            }
            poll::wait(&set, &mut ready, left)?;
            if ready.get(1).is_some_and(|output| output.any()) {
                open = self.read(&mut captured.output, most);
            }
            if ready.first().is_some_and(|end| end.any()) {
                captured.status = Some(process::wait_pidfd(&self.running.pidfd)?);
                // Whoever still holds the pipe is not waited for.
                while open && poll::readable(self.output.as_fd(), Some(Duration::ZERO))? {
                    open = self.read(&mut captured.output, most);
                }
                return Ok(captured);
            }
            if left.is_some_and(|left| left.is_zero()) {
                process::pidfd_send_signal(&self.running.pidfd, libc::SIGKILL)?;
                process::wait_pidfd(&self.running.pidfd)?;
                return Ok(captured);
            }
        }
    }

    /// Reads once; `false` at the end.
    fn read(&self, kept: &mut Vec<u8>, most: usize) -> bool {
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.output, &mut buffer) {
            Ok(0) => false,
            Ok(n) => {
                let room = most.saturating_sub(kept.len());
                kept.extend_from_slice(&buffer[..n.min(room)]);
                true
            }
            Err(Errno::INTR | Errno::AGAIN) => true,
            Err(_) => false,
        }
    }
}

/// For each stream the caller's own pipe, or a new one to be served.
fn own_or_given(wanted: Wanted) -> Result<(Streams, Ends)> {
    let (mut pipes, mut ends) = streams::pipes(wanted.stdin)?;
    let streams::Pipes { stdin, stdout, stderr } = &mut pipes;
    if wanted.stdin
        && let Some(own) = passable(io::stdin().as_fd())
    {
        *stdin = own;
        ends.input = Input::none();
    }
    for (stream, fd, slot) in
        [(Stream::Stdout, io::stdout().as_fd(), stdout), (Stream::Stderr, io::stderr().as_fd(), stderr)]
    {
        if let Some(own) = passable(fd) {
            *slot = own;
            ends.outputs.retain(|output| output.stream != stream);
        }
    }
    Ok((pipes.into(), ends))
}

/// A copy of a descriptor that may go into a container: a pipe, or /dev/null.
fn passable(fd: BorrowedFd<'_>) -> Option<OwnedFd> {
    let stat = rustix::fs::fstat(fd).ok()?;
    let is_null = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) == (1, 3);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => {}
        FileType::CharacterDevice if is_null => {}
        _ => return None,
    }
    rustix::io::fcntl_dupfd_cloexec(fd, 3).ok()
}

impl Beside {
    /// Passes streams on until the process has ended; what it left in the pipes is still passed on, whoever
    /// else holds them.
    ///
    /// # Errors
    /// When a terminal or stream fails.
    pub fn follow(self, options: &Options) -> Result<Outcome> {
        let mut watched = SignalSet::of(&[libc::SIGWINCH, libc::SIGCONT]);
        if options.terminal {
            // They must not leave the terminal raw.
            for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGTSTP] {
                watched.add(signal);
            }
        }
        let mask = signal::block(&watched)?;
        let result = Pump::new(self, options, &watched).and_then(Pump::run);
        signal::set_mask(&mask)?;
        result
    }
}

/// The state of a process that is attended to.
struct Pump {
    beside: Beside,
    keys: DetachKeys,
    signals: SignalFd,
    raw: Option<RawMode>,
    terminal: bool,
    input_open: bool,
    buffer: Vec<u8>,
}

impl Pump {
    fn new(beside: Beside, options: &Options, watched: &SignalSet) -> Result<Self> {
        let stdin = io::stdin();
        let on_terminal = options.terminal && tty::is_terminal(&stdin);
        let raw = if on_terminal { Some(RawMode::enter(stdin.as_fd())?) } else { None };
        let input_open = options.wanted.stdin && beside.ends.input.is_open();
        let keys = options.detach_keys.clone();
        let signals = SignalFd::new(watched)?;
        let terminal = options.terminal;
        let pump = Self { beside, keys, signals, raw, terminal, input_open, buffer: vec![0; streams::CHUNK] };
        pump.resize();
        Ok(pump)
    }

    fn run(mut self) -> Result<Outcome> {
        let mut ready = Vec::new();
        loop {
            let stdin = io::stdin();
            let ends = &self.beside.ends;
            let mut set: Vec<(BorrowedFd<'_>, Events)> =
                vec![(self.signals.as_fd(), Events::READ), (self.beside.running.pidfd.as_fd(), Events::READ)];
            set.extend(ends.outputs.iter().map(|output| (output.fd(), Events::READ)));
            let outputs = ends.outputs.len();
            let input = ends.input.source();
            set.extend(input.map(|fd| (fd, Events::WRITE)));
            // One piece of input at a time: what is not taken yet is not read yet.
            let reading = self.input_open && input.is_none();
            if reading {
                set.push((stdin.as_fd(), Events::READ));
            }
            poll::wait(&set, &mut ready, None)?;
            drop(set);
            if ready[0].any()
                && let Some(outcome) = self.take_signals()?
            {
                return Ok(outcome);
            }
            for which in (0..outputs).rev() {
                if ready[2 + which].any() && !self.pass_on(which)? {
                    return Ok(Outcome::ReaderGone);
                }
            }
            if ready.get(2 + outputs).is_some_and(|last| last.any())
                && let Some(outcome) = self.serve_input(reading)?
            {
                return Ok(outcome);
            }
            if ready[1].any()
                && let Some(status) = process::try_wait_pidfd(&self.beside.running.pidfd)?
            {
                return Ok(if self.drain()? { Outcome::Exited(status.code()) } else { Outcome::ReaderGone });
            }
        }
    }

    /// Passes one read of an output on; `false` when nobody reads it.
    fn pass_on(&mut self, which: usize) -> Result<bool> {
        let output = &self.beside.ends.outputs[which];
        match output.read(&mut self.buffer) {
            Got::Bytes(n) => return write_all(output.stream, &self.buffer[..n]),
            Got::Nothing => {}
            Got::End => drop(self.beside.ends.outputs.remove(which)),
        }
        Ok(true)
    }

    /// Passes on what the process left behind.
    fn drain(&mut self) -> Result<bool> {
        for output in &self.beside.ends.outputs {
            while let Got::Bytes(n) = output.read(&mut self.buffer) {
                if !write_all(output.stream, &self.buffer[..n])? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn serve_input(&mut self, reading: bool) -> Result<Option<Outcome>> {
        if !reading {
            self.beside.ends.input.write();
            return Ok(None);
        }
        let n = match rustix::io::read(io::stdin(), &mut self.buffer) {
            Ok(n) => n,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(None),
            Err(_) => 0,
        };
        if n == 0 {
            self.input_open = false;
            self.beside.ends.input.push_end();
            self.beside.ends.input.write();
            return Ok(None);
        }
        let (typed, detach) = if self.terminal {
            self.keys.filter(&self.buffer[..n])
        } else {
            (self.buffer[..n].to_vec(), false)
        };
        self.beside.ends.input.push(0, typed);
        self.beside.ends.input.write();
        self.input_open = self.beside.ends.input.is_open();
        Ok(detach.then_some(Outcome::Detached))
    }

    fn take_signals(&mut self) -> Result<Option<Outcome>> {
        while let Some(received) = self.signals.read()? {
            match received.signal {
                libc::SIGWINCH => self.resize(),
                libc::SIGCONT => {
                    if let Some(raw) = &self.raw {
                        raw.renew()?;
                    }
                    self.resize();
                }
                signal => return Ok(Some(Outcome::Signal(signal))),
            }
        }
        Ok(None)
    }

    /// Gives the process's terminal the size of the caller's.
    fn resize(&self) {
        if self.raw.is_some()
            && let Ok(size) = tty::window_size(io::stdin())
        {
            self.beside.ends.input.resize(size);
        }
    }
}

/// Writes to the caller's stream; `false` when nobody reads it.
fn write_all(stream: Stream, mut bytes: &[u8]) -> Result<bool> {
    while !bytes.is_empty() {
        let written = match stream {
            Stream::Stdout => rustix::io::write(io::stdout(), bytes),
            Stream::Stderr => rustix::io::write(io::stderr(), bytes),
        };
        match written {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_writable(stream)?,
            Err(Errno::PIPE) => return Ok(false),
            Err(e) => return Err(Error::call("write", "output of the container", e)),
        }
    }
    Ok(true)
}

fn wait_writable(stream: Stream) -> Result<()> {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let fd = match stream {
        Stream::Stdout => stdout.as_fd(),
        Stream::Stderr => stderr.as_fd(),
    };
    poll::wait(&[(fd, Events::WRITE)], &mut Vec::new(), None)
}
