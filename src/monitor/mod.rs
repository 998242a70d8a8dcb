//! The monitor: the one process that stays beside a running container.
//!
//! It is a fork of the command that started the container, with one thread and one poll loop. It is the parent
//! of the container's first process: makes it, reaps it, writes its output to the log, passes
//! it on to attached clients, and starts it again if its owner says so. It knows nothing about
//! records and policies: those are behind the [`Container`] trait.
//!
//! ```text
//! CLI ── fork ──> monitor ── clone3 ──> first process
//!  └─ socketpair ──┘   └── attach.sock <── further clients
//! ```
//!
//! The command that started it is the first client, over a socket pair made before the fork:
//! it learns `Started` or `Failed`, and then detaches or stays attached.
//!
//! | file | owns |
//! |---|---|
//! | `beside` | processes of `exec`, which have no monitor |
//! | `protocol` | frames between monitor and clients |
//! | `client` | the client's side: terminal, detach keys, signals |
//! | `keys` | detach keys |
//! | `clients` | the monitor's side of them |
//! | `streams` | pipes and terminal of the container |
//! | `log`, `line` | the log file, its lines |
//! | `journal` | output to systemd's journal |
//! | `session` | the poll loop of one run |

pub mod beside;
pub mod client;
mod clients;
mod journal;
pub mod keys;
pub mod line;
pub mod log;
pub mod protocol;
mod session;
mod streams;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::kernel::process::{self, ExitStatus, Fork, Pid};
use crate::kernel::signal::{self, SignalFd, SignalSet};
use crate::kernel::{descriptor, prctl, socket};
use crate::runtime::criu::Restore;
use crate::runtime::{self, Created, Foreign, Host, Io, Passed, Plan, Running, Streams};

use clients::Clients;
use protocol::{Frame, Hello};
use session::Session;
use streams::Ends;

/// What the monitor needs of the container's owner. All of it is called in the monitor.
pub trait Container: Host {
    /// Enters the user's namespace and plans a run; called before each.
    ///
    /// # Errors
    /// The container is not started then.
    fn prepare(&mut self) -> Result<Plan, Reason>;

    /// The runtime that makes the container, if it is not rbox's own; asked after [`Self::prepare`].
    fn runtime(&self) -> Option<Foreign>;

    /// The checkpoint that the run goes on from, if there is one; asked after [`Self::prepare`].
    fn checkpoint(&mut self) -> Option<Restore>;

    /// The program runs.
    fn started(&mut self, init: Pid);

    /// A descriptor that becomes readable when something beside the container fails.
    fn watch(&self) -> Option<BorrowedFd<'_>>;

    /// That descriptor is readable: writes down what has happened, and says it for the log. From then on there
    /// is another descriptor or none.
    fn watched(&mut self) -> Option<String>;

    /// Another descriptor, which becomes readable when the container has something to say to its owner.
    fn listen(&self) -> Option<BorrowedFd<'_>>;

    /// That descriptor is readable.
    fn heard(&mut self);

    /// A descriptor with an exceptional condition when a process of the container may have been killed for want
    /// of memory.
    fn memory(&self) -> Option<BorrowedFd<'_>>;

    /// That descriptor has one.
    fn out_of_memory(&mut self);

    /// The first run could not be started. Nothing of the container's process is left.
    fn failed(&mut self, failure: &Failure);

    /// When it wants to be called while the container runs, if at all.
    fn due(&mut self) -> Option<Instant>;

    /// That time has come.
    fn tick(&mut self);

    /// Somebody has changed what is on disk.
    fn reload(&mut self);

    /// A run has ended, `too_long` if by its time limit: writes that down, and decides what follows.
    fn ended(&mut self, status: ExitStatus, too_long: bool) -> Next;

    /// Whether the next run, which is due or waited for, is not wanted any more; if so that is written down.
    fn abandoned(&mut self) -> bool;

    /// Everybody knows the exit: what remains is slow work that nobody waits for.
    fn finish(&mut self);
}

/// What follows a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the exit code that clients get.
    End(i32),
    /// Another run after this time.
    Restart(Duration),
}

/// Why a container could not be started.
pub type Reason = Box<dyn std::error::Error + Send + Sync>;

/// Why a container could not be started, as the user will read it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// 125, 126 or 127.
    pub code: i32,
    /// The whole chain of causes.
    pub text: String,
    /// What the user can do.
    pub hints: Vec<String>,
}

/// What to start and how to stand beside it.
#[derive(Debug)]
pub struct Request {
    /// The container's standard streams.
    pub streams: StreamsRequest,
    /// Further descriptors for the container.
    pub extra: Vec<Passed>,
    /// Where output is kept.
    pub log: LogTarget,
    /// Where attached clients are served.
    pub socket: PathBuf,
    /// What the starting command wants to be attached to.
    pub first: Hello,
    /// What ends the container when the monitor itself is told to end.
    pub stop_signal: i32,
    /// How long after that it is killed.
    pub stop_timeout: Duration,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// It is only made, and waits until a client asks for its start.
    pub hold: bool,
    /// Puts a reason into words; the command line knows how.
    pub describe: fn(Reason) -> Failure,
}

/// Where output is kept.
#[derive(Debug)]
pub enum LogTarget {
    /// Nowhere.
    None,
    /// In a file.
    File(log::Options),
    /// In systemd's journal, with these fields.
    Journal(Vec<(String, String)>),
}

/// The container's standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamsRequest {
    /// Pipes; standard input only if someone may send some.
    Pipes {
        /// `-i`
        interactive: bool,
    },
    /// A terminal of this width and height.
    Terminal {
        /// Columns and rows, if known.
        size: Option<(u16, u16)>,
    },
    /// The descriptors 0 to 2 of the caller.
    Inherit,
}

/// A monitor that was just started.
#[derive(Debug)]
pub struct Handle {
    /// Connection to it, as the first client.
    pub socket: OwnedFd,
    /// Its pid.
    pub pid: Pid,
}

/// Starts a monitor for `container`. Returns at once; `Started` or `Failed` comes by the handle.
///
/// # Errors
/// When the process cannot be forked.
pub fn start(container: Box<dyn Container>, request: Request) -> crate::kernel::Result<Handle> {
    let (ours, theirs) = socket::pair()?;
    // The mask is inherited: no signal can end the child before it has its own way to take them.
    let mask = signal::block_all()?;
    match process::fork() {
        Ok(Fork::Parent { pid, .. }) => {
            signal::set_mask(&mask)?;
            Ok(Handle { socket: ours, pid })
        }
        Ok(Fork::Child) => {
            drop(ours);
            // A panic must not unwind into the destructors and buffers of the command.
            let monitor = std::panic::AssertUnwindSafe(move || monitor(container, request, theirs));
            let _ = std::panic::catch_unwind(monitor);
            process::exit_now(0)
        }
        Err(error) => {
            signal::set_mask(&mask)?;
            Err(error)
        }
    }
}

/// The life of a monitor.
fn monitor(mut container: Box<dyn Container>, request: Request, first: OwnedFd) {
    let terminal = matches!(request.streams, StreamsRequest::Terminal { .. });
    let stdin = terminal || request.streams == StreamsRequest::Pipes { interactive: true };
    let mut clients = Clients::new(terminal, stdin);
    clients.add(first, Some(request.first));
    let describe = request.describe;
    let mut beside = match Beside::new(&request) {
        Ok(beside) => beside,
        Err(error) => return refuse(&mut *container, &mut clients, &describe(error.into())),
    };
    let code = match beside.first_run(&mut *container, request, &mut clients) {
        Ok(code) => code,
        Err(reason) => return refuse(&mut *container, &mut clients, &describe(reason)),
    };
    clients.send_exit(code, beside.log.as_ref());
    container.finish();
    beside.serve_the_rest(&mut clients);
}

/// Reports a start that failed.
fn refuse(container: &mut dyn Container, clients: &mut Clients, failure: &Failure) {
    container.failed(failure);
    clients.send_all(&Frame::Failed(failure.clone()));
}

/// What the monitor holds across runs.
#[derive(Debug)]
struct Beside {
    signals: SignalFd,
    listener: OwnedFd,
    log: Option<log::Writer>,
    journal: Option<journal::Writer>,
    /// Own descriptors 0 to 2 of the command, kept only to be passed on.
    inherited: Option<[OwnedFd; 3]>,
    stop: (i32, Duration),
    /// When the monitor was told to end: nothing is started again.
    ending: bool,
}

impl Beside {
    /// Leaves the command behind: session, directory, descriptors.
    fn new(request: &Request) -> crate::kernel::Result<Self> {
        // Fails only for a leader of a process group, which a fresh fork is not.
        let _ = rustix::process::setsid();
        prctl::set_child_subreaper(true)?;
        // The monitor must not keep a file system busy.
        rustix::process::chdir("/").map_err(|e| crate::kernel::Error::path("chdir", "/", e))?;
        let inherited = take_standard_streams(request.streams == StreamsRequest::Inherit)?;
        close_inherited()?;
        Ok(Self {
            signals: SignalFd::new(&SignalSet::all())?,
            listener: socket::listen(&request.socket)?,
            log: match &request.log {
                LogTarget::File(options) => Some(log::Writer::open(options)?),
                LogTarget::None | LogTarget::Journal(_) => None,
            },
            journal: match &request.log {
                LogTarget::Journal(fields) => Some(journal::Writer::open(fields.clone())?),
                LogTarget::None | LogTarget::File(_) => None,
            },
            inherited,
            stop: (request.stop_signal, request.stop_timeout),
            ending: false,
        })
    }

    /// Starts the container, and again as long as its owner says so. Fails only before the first start.
    fn first_run(
        &mut self,
        container: &mut dyn Container,
        request: Request,
        clients: &mut Clients,
    ) -> Result<i32, Reason> {
        let (limit, describe) = (request.timeout, request.describe);
        let mut launched = if request.hold {
            let (created, ends) = self.create(container, request.streams, request.extra)?;
            clients.send_all(&Frame::Started(created.init.as_raw_nonzero().get()));
            self.hold(container, clients, created, ends)?
        } else {
            self.launch(container, request.streams, request.extra)?
        };
        if let Launched::Running(running, _) = &launched {
            clients.send_all(&Frame::Started(running.pid.as_raw_nonzero().get()));
        }
        loop {
            hide_arguments();
            let (next, status) = match launched {
                Launched::Running(mut running, mut ends) => {
                    let mut session = Session::new(self, clients, limit);
                    let (status, too_long) = session.run(container, &running, &mut ends);
                    if let Some(log) = &mut self.log {
                        log.settle();
                    }
                    running.clear_up();
                    let next = container.ended(status, too_long);
                    if let Some(cgroup) = &running.cgroup {
                        cgroup.clear();
                    }
                    (next, status)
                }
                Launched::Ended(status) => (container.ended(status, false), status),
            };
            let delay = match next {
                Next::End(code) => return Ok(code),
                Next::Restart(delay) => delay,
            };
            // The delay is kept by the loop, so that clients and signals are served meanwhile.
            let abandoned = Session::new(self, clients, None).idle(container, Instant::now() + delay);
            if abandoned || self.ending {
                return Ok(status.code());
            }
            match self.launch(container, request.streams, Vec::new()) {
                Ok(next) => launched = next,
                Err(reason) => {
                    let failure = describe(reason);
                    container.failed(&failure);
                    return Ok(failure.code);
                }
            }
        }
    }

    /// Waits beside a container until it is to be started.
    fn hold(
        &mut self,
        container: &mut dyn Container,
        clients: &mut Clients,
        mut created: Created,
        mut ends: Ends,
    ) -> Result<Launched, Reason> {
        hide_arguments();
        match Session::new(self, clients, None).hold(container, &created, &mut ends) {
            None => {
                let running = created.start()?;
                container.started(running.pid);
                Ok(Launched::Running(Box::new(running), Box::new(ends)))
            }
            Some(status) => {
                let cgroup = created.cgroup.take();
                drop(created);
                if let Some(cgroup) = cgroup {
                    cgroup.clear();
                }
                Ok(Launched::Ended(status))
            }
        }
    }

    /// Makes the container, up to the point where its program can be started.
    fn create(
        &mut self,
        container: &mut dyn Container,
        streams: StreamsRequest,
        extra: Vec<Passed>,
    ) -> Result<(Created, Ends), Reason> {
        let (plan, io, ends) = self.prepare(container, streams, extra)?;
        let mut created = match container.runtime() {
            Some(other) => runtime::create_by(&other, &plan, io, &mut *container)?,
            None => runtime::create(&plan, io, &mut *container)?,
        };
        let ends = or_terminal(ends, created.terminal.take())?;
        Ok((created, ends))
    }

    /// Makes the container and runs its program.
    fn launch(
        &mut self,
        container: &mut dyn Container,
        streams: StreamsRequest,
        extra: Vec<Passed>,
    ) -> Result<Launched, Reason> {
        let (plan, io, ends) = self.prepare(container, streams, extra)?;
        let mut running = match (container.checkpoint(), container.runtime()) {
            (Some(checkpoint), _) => runtime::criu::restore(&plan, &checkpoint, io, &mut *container)?,
            (None, Some(other)) => runtime::run_by(&other, &plan, io, &mut *container)?,
            (None, None) => runtime::run(&plan, io, &mut *container)?,
        };
        let ends = or_terminal(ends, running.terminal.take())?;
        container.started(running.pid);
        Ok(Launched::Running(Box::new(running), Box::new(ends)))
    }

    /// What a container is made from, and this side of its streams; a terminal's comes with the container.
    fn prepare(
        &mut self,
        container: &mut dyn Container,
        streams: StreamsRequest,
        extra: Vec<Passed>,
    ) -> Result<(Plan, Io, Option<Ends>), Reason> {
        let plan = container.prepare()?;
        let (streams, ends) = match streams {
            StreamsRequest::Pipes { interactive } => {
                let (pipes, ends) = streams::pipes(interactive)?;
                (pipes.into(), Some(ends))
            }
            StreamsRequest::Terminal { size } => (Streams::Terminal { size }, None),
            StreamsRequest::Inherit => (self.inherited_streams()?, Some(Ends::none())),
        };
        Ok((plan, Io { streams, extra }, ends))
    }

    fn inherited_streams(&self) -> crate::kernel::Result<Streams> {
        let Some([stdin, stdout, stderr]) = &self.inherited else { return Ok(Streams::Inherit) };
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(|e| crate::kernel::Error::call("dup", "", e));
        Ok(Streams::Given { stdin: copy(stdin)?, stdout: copy(stdout)?, stderr: copy(stderr)? })
    }

    /// Stays for the clients that have not read everything.
    fn serve_the_rest(&mut self, clients: &mut Clients) {
        while !clients.is_empty() && !self.ending {
            Session::new(self, clients, None).idle_once();
        }
        if let Some(log) = &self.log {
            log.sync();
        }
    }
}

/// The streams that a container has, or its terminal's.
fn or_terminal(ends: Option<Ends>, terminal: Option<OwnedFd>) -> crate::kernel::Result<Ends> {
    match (ends, terminal) {
        (Some(ends), _) => Ok(ends),
        (None, Some(master)) => streams::terminal(master),
        (None, None) => Ok(Ends::none()),
    }
}

/// What became of a container that was made.
#[derive(Debug)]
enum Launched {
    Running(Box<Running>, Box<Ends>),
    /// It ended before it was started.
    Ended(ExitStatus),
}

/// Forks a process that stands beside a further process of a container: `run` starts it and says
/// what the caller gets to hear; `then` follows when the caller has gone on.
///
/// # Errors
/// When no process can be made, or it ends without a word.
pub fn detach<T>(
    run: impl FnOnce() -> Result<T, Failure>,
    then: impl FnOnce(T),
) -> crate::kernel::Result<client::Start> {
    let (ours, theirs) = socket::pair()?;
    match process::fork()? {
        Fork::Parent { pid, .. } => {
            drop(theirs);
            client::Connection::from(Handle { socket: ours, pid }).wait_started()
        }
        Fork::Child => {
            drop(ours);
            let body = std::panic::AssertUnwindSafe(move || {
                let _ = rustix::process::setsid();
                let _ = take_standard_streams(false);
                let _ = close_inherited();
                let (frame, value) = match run() {
                    Ok(value) => (Frame::Started(0), Some(value)),
                    Err(failure) => (Frame::Failed(failure), None),
                };
                // A caller that has been killed does not want to know.
                let _ = socket::send_with_fds(theirs.as_fd(), &frame.to_bytes(), &[]);
                drop(theirs);
                hide_arguments();
                if let Some(value) = value {
                    then(value);
                }
            });
            let _ = std::panic::catch_unwind(body);
            process::exit_now(0)
        }
    }
}

/// Others could read the secrets in a command's arguments for as long as the process lives.
fn hide_arguments() {
    // Where it is not possible, the arguments are as visible as they were while the command ran.
    let _ = process::hide_arguments("rbox monitor");
}

/// Puts /dev/null on the descriptors 0 to 2, so that no pipe or terminal of the caller is held; returns the
/// earlier ones if the container is to have them.
fn take_standard_streams(keep: bool) -> crate::kernel::Result<Option<[OwnedFd; 3]>> {
    let error = |e| crate::kernel::Error::call("dup", "standard streams", e);
    let kept = if keep {
        let copy = |fd: rustix::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map_err(error);
        Some([
            copy(std::io::stdin().as_fd())?,
            copy(std::io::stdout().as_fd())?,
            copy(std::io::stderr().as_fd())?,
        ])
    } else {
        None
    };
    let null = streams::null()?;
    for dup in [rustix::stdio::dup2_stdin, rustix::stdio::dup2_stdout, rustix::stdio::dup2_stderr] {
        dup(&null).map_err(|e| error(e.into()))?;
    }
    Ok(kept)
}

/// Closes what the caller of the command left open. rbox itself opens everything close-on-exec, also its
/// copies of what the container is to have, so a descriptor without that flag is inherited. Held open,
/// it would keep a pipe of the caller's from ever ending.
fn close_inherited() -> crate::kernel::Result<()> {
    descriptor::inherited()?.into_iter().try_for_each(descriptor::close)
}
