//! What the monitor asks the owner of its container: where the container is made, what is written of it, and what
//! comes after its end.

mod artifacts;
mod devices;
mod place;
mod plan;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::place::Place;
use crate::config::Paths;
use crate::container::cgroup::MemoryWatch;
use crate::container::checkpoint::RestoreRequest;
use crate::container::create::extras::Labelled;
use crate::container::create::{Blueprint, RestartPolicy};
use crate::container::fuse::FuseMounts;
use crate::container::health::Timer;
use crate::container::network::{RunNetwork, Settings};
use crate::container::notify::Notifier;
use crate::container::state::{Phase, ProcessRef, STOP, StopMark, Stored};
use crate::container::{Containers, Record, Result, Time, cgroup, root};
use crate::events::Event;
use crate::kernel;
use crate::kernel::file::Flock;
use crate::kernel::idmap::to_outside;
use crate::kernel::ns::{self, Namespace};
use crate::kernel::process::{ExitStatus, Pid};
use crate::monitor::client::Wanted;
use crate::monitor::{Container, Failure, Next, Reason};
use crate::network;
use crate::runtime::cgroup::Cgroup;
use crate::runtime::criu::Restore;
use crate::runtime::plan::{Hook, Identity};
use crate::runtime::{Foreign, Host, HostError, Plan, run_post_stop};
use crate::store::{Driver, Store};
use crate::userns::{self, UserMaps};

use super::{StartOptions, remove_if_there};

/// What the file systems that belong to an IPC namespace are named in a spec.
const IPC_MOUNTS: [&str; 2] = ["shm", "mqueue"];

/// Between an exit and the first new start; doubled each time, up to [`LONGEST_DELAY`].
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// The longest pause between two starts.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// A run of this length counts as a success: the next pause is short again.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// The owner of a container, inside its monitor.
#[derive(Debug)]
pub(super) struct Keeper {
    containers: Containers,
    paths: Paths,
    maps: UserMaps,
    dir: PathBuf,
    record: Record,
    /// Held until the state says what is going on.
    lock: Option<Flock>,
    /// The state before this start.
    previous: Option<Stored>,
    state: Option<Stored>,
    settings: Settings,
    /// Where devices are described.
    cdi_directories: Vec<PathBuf>,
    entering: Option<userns::Entering>,
    /// Taken by the first start, which goes on from a checkpoint.
    restore: Option<RestoreRequest>,
    /// This run is one from a checkpoint.
    restoring: bool,
    /// Taken by the first start; a restart reads the files.
    blueprint: Option<Blueprint>,
    network: Option<RunNetwork>,
    /// What gets SELinux labels of its own before this run.
    labelled: Vec<Labelled>,
    /// How this run is connected.
    status: Option<network::Status>,
    /// The starting command watches the first run.
    attached: bool,
    /// The first run waits to be started.
    hold: bool,
    /// When its health is checked next.
    timer: Timer,
    /// Tells systemd.
    notifier: Notifier,
    delay: Duration,
    /// The removed container's directory.
    trash: Option<PathBuf>,
    /// What runs when this run has ended, with rbox's own runtime.
    post_stop: (Vec<Hook>, Identity),
    /// With another runtime.
    foreign: Option<Foreign>,
    /// Where the kernel has no overlay.
    fuse: FuseMounts,
    /// The cgroup, across runs.
    place: Place,
    /// Tells of processes that were killed for want of memory.
    memory: Option<MemoryWatch>,
    /// The mount namespace of a container that is removed at its end: nobody waits for its unmounting then.
    mounts: Option<OwnedFd>,
}

impl Keeper {
    /// The owner of `record`'s container, with its lock and the state before this start.
    pub(super) fn new(
        containers: &Containers,
        (paths, maps): (&Paths, &UserMaps),
        record: &Record,
        (lock, previous): (Flock, Option<Stored>),
        options: StartOptions,
    ) -> Self {
        Self {
            containers: containers.clone(),
            paths: paths.clone(),
            maps: maps.clone(),
            dir: containers.dir(&record.id),
            record: record.clone(),
            lock: Some(lock),
            previous,
            state: None,
            notifier: Notifier::new(record, &options.settings.env),
            settings: options.settings,
            cdi_directories: options.cdi_directories,
            entering: options.entering,
            restore: options.restore,
            restoring: false,
            blueprint: options.blueprint,
            network: None,
            labelled: Vec::new(),
            status: None,
            attached: options.wanted != Wanted::NOTHING,
            hold: options.hold,
            timer: Timer::default(),
            delay: FIRST_DELAY,
            trash: None,
            post_stop: (Vec::new(), Identity::default()),
            foreign: None,
            fuse: FuseMounts::default(),
            place: Place::Nowhere,
            memory: None,
            mounts: None,
        }
    }
}

impl Host for Keeper {
    fn namespaces_ready(&mut self, init: Pid) -> Result<(), HostError> {
        if let Some(network) = &mut self.network {
            network.setup(init)?;
        }
        Ok(())
    }

    fn before_start(&mut self, _init: Pid) -> Result<(), HostError> {
        if let Some(network) = &mut self.network {
            self.status = Some(network.finish(&self.containers, &self.record, &self.settings)?);
        }
        Ok(())
    }

    fn entering(&mut self, init: Pid, cgroup: Option<&Cgroup>) -> Result<(), HostError> {
        let mut state = Stored::begin(init)?;
        state.restarts = self.state.as_ref().map_or(0, |state| state.restarts);
        state.cgroup = cgroup.map_or_else(String::new, |cgroup| cgroup.path().display().to_string());
        state.network = self.status.take();
        state.helpers = self.fuse.processes();
        if self.restoring {
            state.restored = Some(Time::now());
        }
        let hold = std::mem::take(&mut self.hold);
        if hold {
            // As long as it is not started, the run before counts.
            state.phase = Phase::Initialized;
            state.started = self.previous.as_ref().and_then(|previous| previous.started);
            state.finished = self.previous.as_ref().and_then(|previous| previous.finished);
            state.exit_code = self.previous.as_ref().and_then(|previous| previous.exit_code);
        }
        state.write(&self.dir)?;
        let monitor = state.monitor;
        let init = state.init;
        self.state = Some(state);
        let lifecycle = &self.record.lifecycle;
        for (path, process) in [(&lifecycle.pid_file, init), (&lifecycle.monitor_pid_file, monitor)] {
            if let Some(path) = path {
                write_pid(path, process)?;
            }
        }
        if hold {
            self.containers.events.emit(&[self.record.event("init")]);
            // The first process has a copy of the descriptor until it executes the program.
            if let Some(lock) = self.lock.take() {
                lock.release();
            }
        }
        Ok(())
    }
}

impl Container for Keeper {
    fn prepare(&mut self) -> Result<Plan, Reason> {
        let store = Store::open(&self.paths)?;
        // The trial of a new store needs the caller's ids, which are gone until the maps are written.
        let driver = store.driver()?;
        // The helpers that write the maps take most of the time: everything that needs no rights is
        // done while they are at it.
        let entering = self.enter()?;
        // Not before: what holds the namespace for others must not be in the scope.
        self.ask_for_scope()?;
        self.notifier.open(&self.containers.run_dir(&self.record.id))?;
        // Layers whose owners must be shifted are copied, and that does need the ids.
        let early = self.record.root.shares_ids().then(|| self.plan(&store));
        let network = RunNetwork::plan(&self.containers, &self.record, &self.paths, &self.settings);
        entering.finish()?;
        if let Some(previous) = &mut self.previous
            && previous.phase != Phase::Exited
        {
            // Its monitor was killed.
            previous.end_helpers(&self.dir)?;
        }
        let mut plan = early.unwrap_or_else(|| self.plan(&store))?;
        self.restoring = self.restore.is_some();
        self.place(&mut plan)?;
        let network = network?;
        network.make_files(&self.record)?;
        if self.previous.is_none() {
            self.give_files(&store)?;
            self.containers.give_volumes(&self.record)?;
        }
        self.relabel(&plan)?;
        self.network = Some(network);
        root::clear_volatile(&self.dir);
        if let (Driver::FuseOverlay, Some(program)) = (driver.driver, &driver.program) {
            let run = self.containers.run_dir(&self.record.id);
            self.fuse = FuseMounts::replace(program, &mut plan, &self.dir, &run)?;
        }
        Ok(plan)
    }

    fn runtime(&self) -> Option<Foreign> {
        self.foreign.clone()
    }

    fn checkpoint(&mut self) -> Option<Restore> {
        let request = self.restore.take()?;
        Some(request.complete(&self.dir, &self.containers.run_dir(&self.record.id), self.container_root()))
    }

    fn started(&mut self, init: Pid) {
        if self.record.lifecycle.auto_remove {
            self.mounts = ns::open(init, Namespace::Mount).ok();
        }
        self.memory = self.state.as_ref().and_then(|state| MemoryWatch::begin(&state.cgroup));
        let mut statuses = Vec::new();
        match &mut self.state {
            Some(state) if state.phase == Phase::Initialized => {
                state.phase = Phase::Running;
                state.started = Some(Time::now());
                state.finished = None;
                state.exit_code = None;
                // Without the file it counts as not started until it ends.
                let _ = state.write(&self.dir);
            }
            _ => statuses.push("init"),
        }
        // At worst an image is copied into an empty volume once more.
        let _ = self.containers.note_filled_volumes(&self.record);
        // Without the file the first check makes it.
        let _ = self.containers.begin_health(&self.record);
        self.timer.begin(&self.record);
        self.notifier.started();
        self.lock = None;
        statuses.push("start");
        // The first client is there from the beginning.
        if std::mem::take(&mut self.attached) {
            statuses.push("attach");
        }
        let events: Vec<Event> = statuses.into_iter().map(|status| self.record.event(status)).collect();
        self.containers.events.emit(&events);
    }

    fn memory(&self) -> Option<BorrowedFd<'_>> {
        self.memory.as_ref().map(MemoryWatch::fd)
    }

    fn out_of_memory(&mut self) {
        match self.memory.as_mut().and_then(MemoryWatch::look) {
            Some(true) => self.containers.events.emit(&[self.record.event("oom")]),
            Some(false) => {}
            None => self.memory = None,
        }
    }

    fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.network.as_ref()?.watch()
    }

    fn watched(&mut self) -> Option<String> {
        let text = self.network.as_mut()?.lost()?;
        if let Some(state) = &mut self.state {
            state.error.clone_from(&text);
            if let Some(network) = &mut state.network {
                network.helper = None;
            }
            // The log has it as well.
            let _ = state.write(&self.dir);
        }
        Some(text)
    }

    fn listen(&self) -> Option<BorrowedFd<'_>> {
        self.notifier.watch()
    }

    fn heard(&mut self) {
        self.notifier.pass_on();
    }

    fn failed(&mut self, failure: &Failure) {
        self.disconnect();
        self.notifier.close();
        self.fuse = FuseMounts::default();
        if self.record.lifecycle.auto_remove {
            self.remove();
        } else if let Some(state) = self.state.as_mut().filter(|state| state.restarts > 0) {
            // The restart policy could not start it again.
            state.phase = Phase::Exited;
            state.exit_code = Some(failure.code);
            state.error.clone_from(&failure.text);
            let _ = state.write(&self.dir);
        } else {
            // The start did not happen: the earlier state is the true one.
            let _ = match &self.previous {
                Some(previous) => previous.write(&self.dir),
                None => remove_if_there(&self.dir.join("state.json")),
            };
        }
        self.close_socket();
        self.finish();
        self.lock = None;
    }

    fn due(&mut self) -> Option<Instant> {
        self.timer.due(&self.containers, &self.record)
    }

    fn tick(&mut self) {
        self.timer.tick(&self.containers, &self.record);
    }

    fn reload(&mut self) {
        if let Ok(Some(record)) = self.containers.record(&self.record.id) {
            self.record = record;
            self.timer.renew(&self.containers, &self.record);
            self.notifier.health_changed(&self.containers, &self.record);
        }
    }

    fn ended(&mut self, status: ExitStatus, too_long: bool) -> Next {
        // podman's code for a container that was cut off.
        let code = if too_long { -1 } else { status.code() };
        self.disconnect();
        // Its last words.
        self.notifier.pass_on();
        self.notifier.close();
        // Its name and its policy may have changed since the start.
        if let Ok(Some(record)) = self.containers.record(&self.record.id) {
            self.record = record;
        }
        let (hooks, identity) = std::mem::take(&mut self.post_stop);
        // There is nobody left to tell.
        let _ = run_post_stop(&hooks, &identity);
        self.fuse = FuseMounts::default();
        let Some(mut state) = self.state.take() else { return Next::End(code) };
        let finished = Time::now();
        let ran = state.started.map(|started| finished.0.duration_since(started.0));
        if ran.is_some_and(|ran| ran.unsigned_abs() >= LONG_ENOUGH) {
            self.delay = FIRST_DELAY;
        }
        state.finished = Some(finished);
        state.exit_code = Some(code);
        let (oom_killed, untold) = self.memory.take().map_or_else(
            || {
                let killed = cgroup::was_out_of_memory(&state.cgroup);
                (killed, killed)
            },
            MemoryWatch::conclude,
        );
        state.oom_killed = oom_killed;
        let again = self.starts_again(code, state.restarts);
        state.phase = if again { Phase::Restarting } else { Phase::Exited };
        if again {
            state.restarts += 1;
        }
        let keep = StopMark::read(&self.dir).is_some_and(|mark| mark.keep);
        let mut events = Vec::new();
        // Others were told of when it happened.
        if untold {
            events.push(self.record.event("oom"));
        }
        events.push(self.record.exit_event("died", code));
        if again {
            events.push(self.record.event("restart"));
        } else {
            events.push(self.record.event("cleanup"));
        }
        if self.record.lifecycle.auto_remove && !again && !keep {
            self.remove();
            if self.trash.is_some() {
                events.push(self.record.exit_event("remove", code));
            }
        } else if let Err(error) = state.write(&self.dir) {
            // Without the file, readers see that both processes are gone and say so.
            let _ = error;
        }
        self.state = Some(state);
        self.containers.events.emit(&events);
        if !again {
            // Before anybody knows of the end: what is there then is to be looked at as left behind.
            self.close_socket();
            return Next::End(code);
        }
        let delay = self.delay;
        self.delay = (delay * 2).min(LONGEST_DELAY);
        Next::Restart(delay)
    }

    fn abandoned(&mut self) -> bool {
        let Some(mark) = StopMark::read(&self.dir) else { return false };
        if self.record.lifecycle.auto_remove && !mark.keep {
            self.remove();
        } else if let Some(state) = &mut self.state {
            state.phase = Phase::Exited;
            // Without the file, readers see that both processes are gone and say so.
            let _ = state.write(&self.dir);
        }
        self.close_socket();
        true
    }

    fn finish(&mut self) {
        self.mounts = None;
        if let Some(trash) = self.trash.take() {
            // What is left over is removed by the next writer of the store.
            let _ = crate::container::reserve::remove_dir(&trash);
        }
        crate::store::reclaim_staging(&self.containers.data);
        // Waits for the end of what forwarded for it.
        self.network = None;
        self.place = Place::Nowhere;
    }
}

impl Keeper {
    /// Begins to enter the user's namespace: that of a container whose namespaces are joined, if there is one,
    /// because the kernel lets only the owner's namespace and those above it join them.
    fn enter(&mut self) -> Result<userns::Entering> {
        if self.restore.is_some() {
            return Ok(userns::stay());
        }
        // One that is not used must go: the command waits for the end of its maker.
        let begun = self.entering.take();
        for other in &self.record.dependencies {
            let state = self.containers.state(other)?;
            if let Some(monitor) =
                state.stored.filter(|_| state.status.is_alive()).map(|stored| stored.monitor)
                && let Some(pidfd) = monitor.open()?
            {
                return Ok(userns::begin_beside(monitor.pid.cast_unsigned(), pidfd));
            }
        }
        match begun {
            Some(entering) => Ok(entering),
            None => Ok(userns::begin(&self.paths, &self.maps, self.settings.env.linger()?)?),
        }
    }

    /// The container's root as the host has it.
    fn container_root(&self) -> (u32, u32) {
        let outside =
            |inner: &[_], outer: &[_]| to_outside(inner, 0).and_then(|id| to_outside(outer, id)).unwrap_or(0);
        let (inner, outer) = (&self.record.root.maps, &self.maps.maps);
        (outside(&inner.uid, &outer.uid), outside(&inner.gid, &outer.gid))
    }

    /// Frees the published ports at once.
    fn disconnect(&mut self) {
        if let Some(network) = &mut self.network {
            network.teardown();
        }
    }

    /// What the restart policy says about an exit.
    fn starts_again(&self, code: i32, restarts: u32) -> bool {
        if self.dir.join(STOP).exists() {
            return false;
        }
        if self.containers.health_asks_for_restart(&self.record) {
            return true;
        }
        match self.record.lifecycle.restart {
            RestartPolicy::No => false,
            RestartPolicy::OnFailure(most) => code != 0 && (most == 0 || restarts < most),
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        }
    }

    /// Makes the container gone; its files follow in [`Container::finish`].
    fn remove(&mut self) {
        // On failure `rm` has to do it: the container is shown as exited, without a code.
        if let Ok(trash) = self.containers.detach_files(&self.record) {
            self.trash = Some(trash);
            // What cannot be removed is seen by `volume ls` and `images`.
            let _ = self.containers.remove_anonymous_volumes(&self.record);
            if self.record.lifecycle.auto_remove_image {
                let _ = self.containers.remove_image(&self.record);
            }
        }
    }

    fn close_socket(&self) {
        let _ = std::fs::remove_file(self.containers.socket(&self.record.id));
    }
}

fn write_pid(path: &Path, process: ProcessRef) -> Result<()> {
    let error = |e| kernel::Error::path("write", path, e);
    let mut file = File::create(path).map_err(error)?;
    file.write_all(process.pid.to_string().as_bytes()).map_err(error)?;
    Ok(())
}
