//! The poll loop beside one run of the container.
//!
//! The loop sleeps until something happens: there is no tick. New duties add a source or a deadline here.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::clients::{Clients, Wish};
use super::protocol::Stream;
use super::streams::{CHUNK, Ends, Got};
use super::{Beside, Container};
use crate::kernel::poll::{self, Events};
use crate::kernel::process::{self, ExitStatus, Pid};
use crate::kernel::socket;
use crate::runtime::{Created, Running};

/// The most that is still read after the first process has ended: a pipe holds 64 KiB, and somebody
/// outside of the container's pid namespace may go on writing without end.
const DRAIN: usize = 4 << 20;

/// The duties of one run.
#[derive(Debug)]
pub(super) struct Session<'a> {
    beside: &'a mut Beside,
    clients: &'a mut Clients,
    /// When the first process is killed.
    kill_at: Option<Instant>,
    /// The owner has something new to read.
    changed: bool,
    /// A client asks for the start of a container that is only made.
    start: bool,
    buffer: Vec<u8>,
    ready: Vec<Events>,
}

/// What a source of the poll set stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Listener,
    Init,
    Output(usize),
    Input,
    /// What the owner watches.
    Owner,
    /// What the container tells its owner.
    Message,
    /// What the kernel tells of its memory.
    Memory,
    /// All clients, from here to the end.
    Clients,
}

/// Descriptors of the owner's, and what is awaited of them.
type Watched<'a> = [(Source, Option<BorrowedFd<'a>>, Events); 3];

fn watched(owner: &dyn Container) -> Watched<'_> {
    [
        (Source::Owner, owner.watch(), Events::READ),
        (Source::Message, owner.listen(), Events::READ),
        // It can always be read: only what is reported without asking counts.
        (Source::Memory, owner.memory(), Events::NONE),
    ]
}

/// The first process of a container.
#[derive(Debug, Clone, Copy)]
pub(super) struct First<'a> {
    pub(super) pid: Pid,
    pub(super) pidfd: BorrowedFd<'a>,
}

impl<'a> From<&'a Running> for First<'a> {
    fn from(running: &'a Running) -> Self {
        Self { pid: running.pid, pidfd: running.pidfd.as_fd() }
    }
}

impl<'a> From<&'a Created> for First<'a> {
    fn from(created: &'a Created) -> Self {
        Self { pid: created.init, pidfd: created.pidfd() }
    }
}

impl<'a> Session<'a> {
    pub(super) fn new(beside: &'a mut Beside, clients: &'a mut Clients, limit: Option<Duration>) -> Self {
        let kill_at = limit.map(|limit| Instant::now() + limit);
        Self { beside, clients, kill_at, changed: false, start: false, buffer: Vec::new(), ready: Vec::new() }
    }

    /// Stands beside `running` until it has ended and all its output is in the log. The flag says that it ran
    /// longer than it may.
    pub(super) fn run(
        &mut self,
        owner: &mut dyn Container,
        running: &Running,
        ends: &mut Ends,
    ) -> (ExitStatus, bool) {
        let first = First::from(running);
        let mut too_long = false;
        let status = loop {
            let due = owner.due();
            let sources = self.wait(Some((first, ends, watched(owner))), due);
            self.tell(owner, &sources);
            if let Some(status) = self.handle(&sources, first, ends) {
                break status;
            }
            if std::mem::take(&mut self.changed) {
                owner.reload();
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                owner.tick();
            }
            if self.kill_at.is_some_and(|at| at <= Instant::now()) {
                self.kill_at = None;
                too_long = !self.beside.ending;
                // Gone already is as good as killed.
                let _ = process::pidfd_send_signal(&running.pidfd, libc::SIGKILL);
            }
        };
        self.drain(ends);
        (status, too_long)
    }

    /// Stands beside a container that is made but not started, until a client asks for the start. The status, if
    /// it has ended before.
    pub(super) fn hold(
        &mut self,
        owner: &mut dyn Container,
        created: &Created,
        ends: &mut Ends,
    ) -> Option<ExitStatus> {
        let first = First::from(created);
        loop {
            let sources = self.wait(Some((first, ends, watched(owner))), None);
            self.tell(owner, &sources);
            if let Some(status) = self.handle(&sources, first, ends) {
                return Some(status);
            }
            if std::mem::take(&mut self.changed) {
                owner.reload();
            }
            if self.beside.ending {
                // It has no program yet that could end in order.
                let _ = process::pidfd_send_signal(first.pidfd, libc::SIGKILL);
            } else if std::mem::take(&mut self.start) {
                return None;
            }
        }
    }

    /// Serves clients and signals until `until`, or until the monitor is told to end.
    /// `true` when its owner does not want the next run any more.
    pub(super) fn idle(&mut self, owner: &mut dyn Container, until: Instant) -> bool {
        self.kill_at = Some(until);
        while Instant::now() < until && !self.beside.ending {
            self.idle_once();
            if std::mem::take(&mut self.changed) && owner.abandoned() {
                return true;
            }
        }
        owner.abandoned()
    }

    /// Serves clients and signals once.
    pub(super) fn idle_once(&mut self) {
        let sources = self.wait(None, None);
        for (at, source) in sources.iter().enumerate() {
            let events = self.ready.get(at).copied().unwrap_or_default();
            match source {
                Source::Signals if events.any() => self.take_signals(None).map_or((), drop),
                Source::Clients => drop(self.serve_clients(at)),
                _ => {}
            }
        }
    }

    /// Waits for the next event; says what the entries of `self.ready` belong to.
    fn wait(&mut self, run: Option<(First<'_>, &Ends, Watched<'_>)>, due: Option<Instant>) -> Vec<Source> {
        let mut set: Vec<(BorrowedFd<'_>, Events)> = Vec::with_capacity(8);
        let mut sources = Vec::with_capacity(8);
        let mut add = |source, fd, events| {
            sources.push(source);
            set.push((fd, events));
        };
        add(Source::Signals, self.beside.signals.as_fd(), Events::READ);
        if let Some((first, ends, watched)) = run {
            for (source, fd, events) in watched {
                if let Some(fd) = fd {
                    add(source, fd, events);
                }
            }
            add(Source::Listener, self.beside.listener.as_fd(), Events::READ);
            add(Source::Init, first.pidfd, Events::READ);
            if !self.clients.hold_output(self.beside.log.as_ref()) {
                for (at, output) in ends.outputs.iter().enumerate() {
                    add(Source::Output(at), output.fd(), Events::READ);
                }
            }
            if let Some(fd) = ends.input.source() {
                add(Source::Input, fd, Events::WRITE);
            }
        }
        sources.push(Source::Clients);
        set.extend(self.clients.sources());
        let first = [self.kill_at, due].into_iter().flatten().min();
        let timeout = first.map(|at| at.saturating_duration_since(Instant::now()));
        // Out of memory is the only failure: the next turn may have some.
        if poll::wait(&set, &mut self.ready, timeout).is_err() {
            self.ready.clear();
        }
        sources
    }

    /// Acts on what happened; the status once the first process has ended.
    fn handle(&mut self, sources: &[Source], first: First<'_>, ends: &mut Ends) -> Option<ExitStatus> {
        let mut status = None;
        let mut closed = Vec::new();
        for (at, &source) in sources.iter().enumerate() {
            let events = self.ready.get(at).copied().unwrap_or_default();
            if source != Source::Clients && !events.any() {
                continue;
            }
            match source {
                Source::Signals => status = status.or(self.take_signals(Some(first))),
                Source::Listener => self.accept(),
                Source::Init => {
                    status = status.or_else(|| process::try_wait_pidfd(first.pidfd).ok().flatten());
                }
                Source::Output(which) => {
                    if self.pass_on(ends, which) == Got::End {
                        closed.push(which);
                    }
                }
                Source::Input => self.write_input(ends),
                Source::Owner | Source::Message | Source::Memory => {}
                Source::Clients => {
                    for (client, wish) in self.serve_clients(at) {
                        self.grant(client, wish, first, ends);
                    }
                }
            }
        }
        for which in closed.into_iter().rev() {
            ends.outputs.remove(which);
        }
        status
    }

    /// Lets the owner look at what it watches, and logs what it says.
    fn tell(&mut self, owner: &mut dyn Container, sources: &[Source]) {
        let ready = |wanted: Source| {
            let at = sources.iter().position(|source| *source == wanted);
            at.and_then(|at| self.ready.get(at)).is_some_and(|events| events.any())
        };
        if ready(Source::Message) {
            owner.heard();
        }
        if ready(Source::Memory) {
            owner.out_of_memory();
        }
        if ready(Source::Owner)
            && let Some(text) = owner.watched()
            && let Some(log) = &mut self.beside.log
        {
            log.append(Stream::Stderr, format!("rbox: {text}\n").as_bytes());
        }
    }

    fn serve_clients(&mut self, from: usize) -> Vec<(u64, Wish)> {
        let ready = self.ready.get(from..).unwrap_or_default();
        self.clients.serve(ready, self.beside.log.as_ref())
    }

    fn accept(&mut self) {
        // Without a free descriptor the client waits for its turn in the backlog.
        if let Ok(Some(socket)) = socket::accept(self.beside.listener.as_fd()) {
            self.clients.add(socket, None);
        }
    }

    /// Does what a client asks for.
    fn grant(&mut self, client: u64, wish: Wish, first: First<'_>, ends: &mut Ends) {
        match wish {
            Wish::Stdin(bytes) => ends.input.push(client, bytes),
            Wish::StdinEnd => ends.input.push_end(),
            Wish::Resize(size) => return ends.input.resize(size),
            Wish::Signal(signal) => {
                // A container that has just ended needs no signal.
                let _ = process::pidfd_send_signal(first.pidfd, signal);
                return;
            }
            Wish::Start => {
                self.start = true;
                return;
            }
        }
        self.write_input(ends);
    }

    fn write_input(&mut self, ends: &mut Ends) {
        for (client, count) in ends.input.write() {
            self.clients.taken(client, count);
        }
    }

    /// Passes one read of an output on to log and clients.
    fn pass_on(&mut self, ends: &Ends, which: usize) -> Got {
        let output = &ends.outputs[which];
        self.buffer.resize(CHUNK, 0);
        let got = output.read(&mut self.buffer);
        if let Got::Bytes(n) = got {
            let bytes = &self.buffer[..n];
            if let Some(log) = &mut self.beside.log {
                log.append(output.stream, bytes);
            }
            if let Some(journal) = &mut self.beside.journal {
                journal.append(output.stream, bytes);
            }
            self.clients.output(output.stream, bytes, self.beside.log.as_ref());
            if n < CHUNK {
                // The writer is slower than we: the next read may be hours away.
                self.buffer = Vec::new();
            }
        }
        got
    }

    /// Reads what the container left in its pipes. Whoever still holds them is not waited for.
    fn drain(&mut self, ends: &mut Ends) {
        let mut left = DRAIN;
        for which in 0..ends.outputs.len() {
            while let Got::Bytes(n) = self.pass_on(ends, which) {
                left = left.saturating_sub(n);
                if left == 0 {
                    break;
                }
            }
        }
        ends.outputs.clear();
    }

    /// Reads pending signals; the status if the first process turned out to have ended.
    fn take_signals(&mut self, first: Option<First<'_>>) -> Option<ExitStatus> {
        let mut status = None;
        while let Ok(Some(received)) = self.beside.signals.read() {
            match received.signal {
                libc::SIGCHLD => status = status.or(reap(first)),
                // Only an administrator or the end of the session sends these to a monitor.
                libc::SIGTERM | libc::SIGINT | libc::SIGQUIT => {
                    self.beside.ending = true;
                    if let Some(first) = first {
                        let (stop_signal, grace) = self.beside.stop;
                        let _ = process::pidfd_send_signal(first.pidfd, stop_signal);
                        let at = Instant::now() + grace;
                        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
                    }
                }
                // From `update`.
                libc::SIGUSR1 => self.changed = true,
                // SIGHUP means that the terminal of the starting command is gone; the container stays.
                _ => {}
            }
        }
        status
    }
}

/// Reaps every child that has ended: helpers, and what the container's processes left behind.
fn reap(first: Option<First<'_>>) -> Option<ExitStatus> {
    let mut status = first.and_then(|first| process::try_wait_pidfd(first.pidfd).ok().flatten());
    while let Ok(Some((pid, ended))) = process::wait_any(false) {
        if first.is_some_and(|first| first.pid == pid) {
            status = Some(ended);
        }
    }
    status
}
