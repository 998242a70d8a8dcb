//! Making a container: the side of the process that stays outside.
//!
//! What goes on between parent and child, from left to right in time:
//!
//! ```text
//! parent  clone3  maps  namespaces_ready  "maps"  before_start     "enter"  entering   "start"
//! child           (waits)                         mounts, devices  Mounted  root, ids  Ready    exec = EOF
//! ```
//!
//! Nobody waits where it can be helped: `run` sends each word as soon as the parent's part is done, and the child
//! finds it there. Only hooks that must see the mounts wait for them.
//!
//! A namespace that belongs to another user namespace can be joined only from
//! outside of the new one. Then a process in between joins and clones the child
//! as its sibling, so that the child is the parent's all the same.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::kernel::ns::{self, Namespace, NamespaceSet};
use crate::kernel::process::{self, CloneOptions, Fork, Pid, wait_pidfd};
use crate::kernel::{keyring, prctl, socket};

use super::agent::{self, Subject};
use super::cgroup::{self, Cgroup};
use super::created::{Created, Maker, Running};
use super::error::{Error, HostError, Result};
use super::exec::ExecPlan;
use super::foreign::Foreign;
use super::network_devices::NetworkDevices;
use super::plan::{Agent, Identity, Membership, Namespaces, Plan, UserNamespace};
use super::protocol::{self, Command, Kind};
use super::stage::{self, Protection, Setup, Stage, StartSignal};
use super::steps::Step;
use super::streams::{self, Io};
use super::{hooks, maps};

/// The keyring that a parent joins, so that no child ever possesses the user's keys.
pub(super) const SHARED_KEYRING: &std::ffi::CStr = c"_rbox";

/// What the caller does for a container while it is being made.
pub trait Host {
    /// The namespaces of `init` exist and its maps are written. Start what
    /// takes long (pasta) here; do not wait for it. Only now can `/proc/PID/ns`
    /// of `init` be opened; once it begins it is not dumpable any more.
    ///
    /// # Errors
    /// Ends the creation.
    fn namespaces_ready(&mut self, init: Pid) -> Result<(), HostError> {
        let _ = init;
        Ok(())
    }

    /// The root file system is being mounted; the child enters it when this has returned.
    /// Wait here for what was started.
    ///
    /// # Errors
    /// Ends the creation.
    fn before_start(&mut self, init: Pid) -> Result<(), HostError> {
        let _ = init;
        Ok(())
    }

    /// The child enters its root and gets ready, and its program does not run before this has returned: the last
    /// moment to write down that it is there.
    ///
    /// # Errors
    /// Ends the creation.
    fn entering(&mut self, init: Pid, cgroup: Option<&Cgroup>) -> Result<(), HostError> {
        let _ = (init, cgroup);
        Ok(())
    }
}

/// A caller with nothing to prepare.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoHost;

impl Host for NoHost {}

/// Makes the container that `plan` describes, up to the point where its
/// program can be started.
///
/// The caller must have one thread. It stays the parent of the container's
/// first process and reaps it.
///
/// # Errors
/// When any step fails; nothing is left behind then.
pub fn create(plan: &Plan, io: Io, host: &mut dyn Host) -> Result<Created> {
    create_with(plan, io, host, StartSignal::Channel)
}

/// As [`create`], but another runtime does it.
///
/// # Errors
/// As [`create`], and when that runtime cannot do what the plan says.
pub fn create_by(foreign: &Foreign, plan: &Plan, io: Io, host: &mut dyn Host) -> Result<Created> {
    let mut made = foreign.create(plan, io, host)?;
    Ok(Created {
        init: made.init,
        terminal: made.terminal.take(),
        cgroup: made.cgroup.take(),
        by: Maker::Foreign(Box::new(made)),
    })
}

/// Makes the container that `plan` describes, and runs its program.
///
/// # Errors
/// As [`create`], and when the program cannot be run.
pub fn run(plan: &Plan, io: Io, host: &mut dyn Host) -> Result<Running> {
    let (child, terminal, cgroup) = make(plan, io, host, StartSignal::Channel, Until::Program)?;
    hooks::run("poststart", &plan.hooks.post_start, &plan.identity, "running", number(child.pid))?;
    Ok(Running { pid: child.pid, pidfd: child.release(), terminal, cgroup, rest: None })
}

/// As [`run`], but another runtime does it.
///
/// # Errors
/// As [`run`], and when that runtime cannot do what the plan says.
pub fn run_by(foreign: &Foreign, plan: &Plan, io: Io, host: &mut dyn Host) -> Result<Running> {
    create_by(foreign, plan, io, host)?.start()
}

/// As [`create`], but the container outlives the caller: it waits on the
/// listening socket `listener` for [`start_at`] of another process.
///
/// # Errors
/// As [`create`].
pub fn create_detached(plan: &Plan, io: Io, host: &mut dyn Host, listener: OwnedFd) -> Result<Created> {
    create_with(plan, io, host, StartSignal::Listener(listener))
}

/// Starts the program of a container that waits at the other end of `connection`.
///
/// # Errors
/// When the program cannot be run.
pub fn start_at(
    connection: BorrowedFd<'_>,
    init: u32,
    identity: &Identity,
    agent: Option<&Agent>,
) -> Result<()> {
    let agent = agent::Connection::open(agent)?;
    protocol::send_command(connection, Command::Start)?;
    let subject = Subject { identity, status: "creating", init, pid: init };
    loop {
        // Nobody but the child holds its end of the socket, which an exec closes.
        let Some(report) = protocol::receive(connection)? else { return Ok(()) };
        match (report.kind, report.error) {
            (_, Some(error)) => return Err(error),
            (Kind::Calls, None) => agent::introduce(agent.as_ref(), &subject, &report.fds)?,
            _ => return Err(died()),
        }
    }
}

fn create_with(plan: &Plan, io: Io, host: &mut dyn Host, start: StartSignal) -> Result<Created> {
    let (child, terminal, cgroup) = make(plan, io, host, start, Until::Ready)?;
    let init = child.pid;
    let agent = plan.process.agent().cloned();
    let by = Maker::Own(child, plan.hooks.post_start.clone(), plan.identity.clone(), agent);
    Ok(Created { init, terminal, cgroup, by })
}

/// How far the parent goes along with the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// All but the start is done.
    Ready,
    /// The program runs.
    Program,
}

fn make(
    plan: &Plan,
    io: Io,
    host: &mut dyn Host,
    start: StartSignal,
    until: Until,
) -> Result<(Child, Option<OwnedFd>, Option<Cgroup>)> {
    let cgroup = cgroup::create(plan)?;
    match make_in(plan, io, host, start, until, cgroup.as_ref()) {
        Ok((child, terminal)) => Ok((child, terminal, cgroup)),
        Err(error) => {
            // The child has been reaped by now, so nothing is in it.
            let _ = cgroup.map(|cgroup| cgroup.remove());
            Err(error)
        }
    }
}

fn make_in(
    plan: &Plan,
    io: Io,
    host: &mut dyn Host,
    start: StartSignal,
    until: Until,
    cgroup: Option<&Cgroup>,
) -> Result<(Child, Option<OwnedFd>)> {
    let joins = open_joins(&plan.namespaces)?;
    let user = match &plan.namespaces.user {
        UserNamespace::Join(path) => Some(ns::open_path(path)?),
        UserNamespace::New(_) | UserNamespace::Host => None,
    };
    if plan.new_keyring {
        // Where there is no keyring at all there is nothing to leak.
        let _ = keyring::join_shared_session(SHARED_KEYRING);
    }
    let devices = NetworkDevices::find(plan)?;
    let (channel, far_end) = socket::pair()?;
    let setup = Setup { devices: devices.clone(), ..setup(plan, io, start, far_end)? };
    let options = CloneOptions {
        namespaces: new_namespaces(&plan.namespaces),
        cgroup: cgroup.map(AsFd::as_fd),
        ..CloneOptions::default()
    };
    // A child's /proc files belong to the host's root unless it is dumpable, and
    // nobody could write its maps then. The child turns it off again.
    let dumpable = Dumpable::new()?;
    let child = if joins.is_empty() && user.is_none() {
        clone_directly(options, channel, setup)?
    } else {
        // A cgroup that is not below the root of the namespace to be joined must be entered before.
        let enters = joins.iter().any(|(kind, _)| *kind == Namespace::Cgroup);
        let (own, options) =
            if enters { (cgroup, CloneOptions { cgroup: None, ..options }) } else { (None, options) };
        let network = joins.iter().find(|(kind, _)| *kind == Namespace::Network);
        if let Some((_, namespace)) = network {
            devices.move_to(namespace)?;
        }
        clone_beside(options, channel, setup, |_| {
            own.map_or(Ok(()), |own| own.write("cgroup.procs", "0"))?;
            join(&joins, user.as_ref())?;
            network.map_or(Ok(()), |_| devices.restore())
        })?
    };
    prepare(plan, &child)?;
    devices.move_to_new(plan, child.pid)?;
    drop(dumpable);
    let terminal = accompany(plan, &child, host, cgroup, until)?;
    Ok((child, terminal))
}

fn setup(plan: &Plan, io: Io, start: StartSignal, channel: OwnedFd) -> Result<Setup<'_>> {
    let maps = match &plan.namespaces.user {
        UserNamespace::New(maps) => Some(maps.clone()),
        UserNamespace::Host | UserNamespace::Join(_) => None,
    };
    let needed = stage::is_needed(maps.as_ref());
    let files = plan.mount_label.as_ref();
    streams::open(&io.streams, maps.as_ref(), &plan.process, files.map(|label| label.context.as_str()));
    Ok(Setup {
        plan: Some(plan),
        process: plan.process.clone(),
        channel,
        start,
        streams: io.streams,
        extra: io.extra,
        maps,
        protection: if needed { Protection::Make } else { Protection::Unneeded },
        trees: stage::prepare_trees(plan)?,
        procfs: stage::label_files(&plan.process)?,
        cgroup_namespace: None,
        devices: NetworkDevices::default(),
    })
}

/// What only the parent can write, before the child can begin.
fn prepare(plan: &Plan, child: &Child) -> Result<()> {
    if let UserNamespace::New(maps) = &plan.namespaces.user {
        maps::write(child.pid, maps)?;
    }
    if let Some(score) = plan.process.oom_score_adjustment {
        maps::set_oom_score(child.pid, score)?;
    }
    Ok(())
}

/// Goes along with the child. Returns the master of its terminal, if it has one.
fn accompany(
    plan: &Plan,
    child: &Child,
    host: &mut dyn Host,
    cgroup: Option<&Cgroup>,
    until: Until,
) -> Result<Option<OwnedFd>> {
    let channel = child.channel.as_fd();
    // First, because from its first step on nobody can look into the child.
    host.namespaces_ready(child.pid).map_err(Error::Host)?;
    protocol::send_command(channel, Command::MapsWritten)?;
    if !(plan.hooks.prestart.is_empty() && plan.hooks.create_runtime.is_empty()) {
        protocol::expect(channel, Kind::Mounted)?;
        hooks::run("prestart", &plan.hooks.prestart, &plan.identity, "created", number(child.pid))?;
        hooks::run(
            "createRuntime",
            &plan.hooks.create_runtime,
            &plan.identity,
            "created",
            number(child.pid),
        )?;
    }
    // What the child says is the better reason: without it there is no network and nobody who listens.
    let told = |error| protocol::pending_failure(channel).unwrap_or(error);
    host.before_start(child.pid).map_err(Error::Host).map_err(told)?;
    protocol::send_command(channel, Command::Enter).map_err(told)?;
    host.entering(child.pid, cgroup).map_err(Error::Host).map_err(told)?;
    let agent = if until == Until::Program { plan.process.agent() } else { None };
    let agent = agent::Connection::open(agent)?;
    if until == Until::Program {
        protocol::send_command(channel, Command::Start).map_err(told)?;
    }
    let init = number(child.pid);
    let subject = Subject { identity: &plan.identity, status: "creating", init, pid: init };
    follow(channel, until, |calls| agent::introduce(agent.as_ref(), &subject, calls))
}

/// Reads what the child says until it is as far as that.
fn follow(
    channel: BorrowedFd<'_>,
    until: Until,
    introduce: impl Fn(&[OwnedFd]) -> Result<()>,
) -> Result<Option<OwnedFd>> {
    let (mut terminal, mut ready) = (None, false);
    loop {
        let Some(report) = protocol::receive(channel)? else {
            // Nobody but the child holds its end of the socket, which an exec closes.
            return if ready { Ok(terminal) } else { Err(died()) };
        };
        match (report.kind, report.error) {
            (_, Some(error)) => return Err(error),
            (Kind::Mounted, None) => {}
            (Kind::Calls, None) => introduce(&report.fds)?,
            (Kind::Terminal, None) => terminal = report.fds.into_iter().next(),
            (Kind::Ready, None) if until == Until::Ready => return Ok(terminal),
            (Kind::Ready, None) => ready = true,
            _ => return Err(died()),
        }
    }
}

/// A pid as hooks are told it.
pub(super) fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get() as u32
}

fn died() -> Error {
    Error::ChildDied { how: "it ended without a word".to_owned() }
}

/// A child on its way to its program. Dropping it kills and reaps it.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: Pid,
    pub(super) channel: OwnedFd,
    pub(super) pidfd: Option<OwnedFd>,
}

impl Child {
    /// Lets the child live on.
    pub(super) fn release(mut self) -> OwnedFd {
        self.pidfd.take().expect("it is taken only here, which consumes the child")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(pidfd) = &self.pidfd {
            // It may have ended by itself; it must be reaped either way.
            let _ = process::pidfd_send_signal(pidfd, libc::SIGKILL);
            let _ = wait_pidfd(pidfd);
        }
    }
}

/// Keeps this process dumpable for as long as it lives.
pub(super) struct Dumpable(bool);

impl Dumpable {
    pub(super) fn new() -> Result<Self> {
        let before = prctl::is_dumpable()?;
        if !before {
            prctl::set_dumpable(true)?;
        }
        Ok(Self(before))
    }
}

impl Drop for Dumpable {
    fn drop(&mut self) {
        if !self.0 {
            let _ = prctl::set_dumpable(false);
        }
    }
}

fn clone_directly(options: CloneOptions<'_>, channel: OwnedFd, setup: Setup<'_>) -> Result<Child> {
    match process::clone3(options)? {
        Fork::Parent { pid, pidfd } => Ok(Child { pid, channel, pidfd: Some(pidfd) }),
        Fork::Child => {
            // Or the child would never read the end when its parent is gone.
            drop(channel);
            Stage::new(setup).run()
        }
    }
}

/// Clones the child by way of a process that runs `join` first.
pub(super) fn clone_beside(
    options: CloneOptions<'_>,
    channel: OwnedFd,
    mut setup: Setup<'_>,
    join: impl FnOnce(&mut Setup<'_>) -> Result<()>,
) -> Result<Child> {
    match process::fork()? {
        Fork::Child => {
            drop(channel);
            if let Err(error) = join(&mut setup) {
                protocol::send_failure(setup.channel.as_fd(), Step::JoinNamespaces, &error);
                process::exit_now(125);
            }
            match process::clone3(CloneOptions { in_child: true, sibling: true, ..options }) {
                Ok(Fork::Child) => {
                    if let Err(error) = setup.join_late() {
                        protocol::send_failure(setup.channel.as_fd(), Step::JoinNamespaces, &error);
                        process::exit_now(125);
                    }
                    Stage::new(setup).run()
                }
                Ok(Fork::Parent { pid, pidfd }) => {
                    let number = pid.as_raw_nonzero().get() as u32;
                    let sent = protocol::send(setup.channel.as_fd(), Kind::Sibling, number, &[pidfd.as_fd()]);
                    process::exit_now(if sent.is_ok() { 0 } else { 125 })
                }
                Err(error) => {
                    protocol::send_failure(setup.channel.as_fd(), Step::JoinNamespaces, &error.into());
                    process::exit_now(125)
                }
            }
        }
        Fork::Parent { pidfd, .. } => {
            drop(setup);
            let report = protocol::expect(&channel, Kind::Sibling);
            wait_pidfd(&pidfd)?;
            let mut report = report?;
            let pid = Pid::from_raw(report.number as i32).ok_or_else(died)?;
            let pidfd = report.fds.pop().ok_or_else(died)?;
            Ok(Child { pid, channel, pidfd: Some(pidfd) })
        }
    }
}

/// The namespaces that the clone makes. The cgroup and time namespaces are made by the child:
/// the first belongs to the cgroup that it starts in, the second takes its offsets before use.
fn new_namespaces(namespaces: &Namespaces) -> NamespaceSet {
    let kinds = [
        (Namespace::Pid, &namespaces.pid),
        (Namespace::Network, &namespaces.network),
        (Namespace::Uts, &namespaces.uts),
        (Namespace::Ipc, &namespaces.ipc),
    ];
    let new =
        kinds.into_iter().filter(|(_, membership)| **membership == Membership::New).map(|(kind, _)| kind);
    let set: NamespaceSet = new.chain([Namespace::Mount]).collect();
    if matches!(namespaces.user, UserNamespace::New(_)) { set.with(Namespace::User) } else { set }
}

fn open_joins(namespaces: &Namespaces) -> Result<Vec<(Namespace, OwnedFd)>> {
    let kinds = [
        (Namespace::Pid, &namespaces.pid),
        (Namespace::Network, &namespaces.network),
        (Namespace::Uts, &namespaces.uts),
        (Namespace::Ipc, &namespaces.ipc),
        (Namespace::Cgroup, &namespaces.cgroup),
        (Namespace::Time, &namespaces.time),
    ];
    let mut joins = Vec::new();
    for (kind, membership) in kinds {
        let Membership::Join(path) = membership else { continue };
        let namespace = ns::open_path(path)?;
        // A file that is no namespace, or one of another kind, must not be joined by its name alone.
        if !ns::kind_of(&namespace).is_ok_and(|found| found == Some(kind)) {
            let why = format!("`{}` is not a {} namespace", path.display(), kind.proc_name());
            return Err(Error::invalid("linux.namespaces", why));
        }
        joins.push((kind, namespace));
    }
    Ok(joins)
}

/// A user namespace is joined first where it is given, because the others usually belong to it;
/// with a new one the others are joined by right of the caller.
fn join(joins: &[(Namespace, OwnedFd)], user: Option<&OwnedFd>) -> Result<()> {
    if let Some(user) = user
        && ns::identity(user)? != ns::identity(ns::open_path("/proc/self/ns/user")?)?
    {
        ns::enter(user, Namespace::User)?;
    }
    for (kind, namespace) in joins {
        let own = ns::open_path(format!("/proc/self/ns/{}", kind.proc_name()))?;
        if ns::identity(namespace)? == ns::identity(own)? {
            // A container that shares the host's: entering it again would take rights over it.
            continue;
        }
        ns::enter(namespace, *kind)?;
    }
    Ok(())
}

/// What [`super::exec`] needs of this file.
pub(super) fn finish_exec(
    child: Child,
    plan: &ExecPlan,
    agent: Option<&agent::Connection<'_>>,
) -> Result<Running> {
    let (init, pid) = (number(plan.target_pid), number(child.pid));
    let subject = Subject { identity: &plan.identity, status: "running", init, pid };
    let mut terminal = None;
    loop {
        let Some(report) = protocol::receive(child.channel.as_fd())? else { break };
        match (report.kind, report.error) {
            (_, Some(error)) => return Err(error),
            (Kind::Terminal, None) => terminal = report.fds.into_iter().next(),
            (Kind::Calls, None) => agent::introduce(agent, &subject, &report.fds)?,
            _ => return Err(died()),
        }
    }
    Ok(Running { pid: child.pid, pidfd: child.release(), terminal, cgroup: None, rest: None })
}
