//! Starting containers from the command line, and staying attached to them.

use super::apart::in_user_namespace;
use super::error::{CommandError, Result};
use super::exit::ExitStatus;
use super::ui::Ui;
use crate::container::checkpoint::RestoreRequest;
use crate::container::create::Blueprint;
use crate::container::network::Settings;
use crate::container::start::StartOptions;
use crate::container::{Containers, Record, State, Status};
use crate::engine::Engine;
use crate::kernel::file::Flock;
use crate::kernel::{process, signal, tty};
use crate::monitor::client::{Connection, Options, Outcome, Start, Wanted};
use crate::monitor::keys::DetachKeys;
use crate::runtime::Passed;
use crate::userns::Entering;

/// How a command takes part in a container's streams.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// The streams.
    pub wanted: Wanted,
    /// What detaches from a terminal.
    pub detach_keys: DetachKeys,
    /// Signals are passed on.
    pub proxy_signals: bool,
}

/// What the starting process hands over to a container.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// Descriptors passed on to it.
    pub extra: Vec<Passed>,
    /// The container is only made, and waits to be started.
    pub hold: bool,
    /// What the container was made from, where it was made just now.
    pub blueprint: Option<Blueprint>,
    /// The user's namespace, where it was begun to be made already.
    pub entering: Option<Entering>,
    /// The container goes on from its checkpoint.
    pub restore: Option<RestoreRequest>,
}

/// Reads `--detach-keys`, or the configured ones.
///
/// # Errors
/// When they name no keys.
pub fn detach_keys(engine: &Engine, given: Option<&str>) -> Result<DetachKeys> {
    let text = match given {
        Some(text) => text,
        None => &engine.config()?.engine.detach_keys,
    };
    DetachKeys::parse(text).map_err(|error| CommandError::new(error.to_string()))
}

/// Starts a container whose lock is held; `Ok` once its program runs. Containers that it depends on are
/// started first.
///
/// # Errors
/// Why it does not run; the exit code is that of `run`.
pub fn start(
    ui: &mut Ui,
    engine: &Engine,
    record: &Record,
    lock: Flock,
    wanted: Wanted,
    inheritance: Inheritance,
) -> Result<Connection> {
    start_dependencies(ui, engine, record, &mut Vec::new())?;
    start_alone(ui, engine, record, lock, wanted, inheritance)
}

/// Makes a container, whose lock is held, up to the point where its program can be started. Containers that it
/// depends on are started first.
///
/// # Errors
/// Why it cannot be made.
pub fn init(ui: &mut Ui, engine: &Engine, record: &Record, lock: Flock) -> Result<()> {
    start_dependencies(ui, engine, record, &mut Vec::new())?;
    let inheritance = Inheritance { hold: true, ..Inheritance::default() };
    launch(ui, engine, record, lock, Wanted::NOTHING, inheritance).map(drop)
}

/// Starts what `record` depends on, as far as it does not run.
fn start_dependencies(ui: &mut Ui, engine: &Engine, record: &Record, path: &mut Vec<String>) -> Result<()> {
    let containers = engine.containers()?;
    for id in &record.dependencies {
        if path.iter().any(|other| other == id.as_str()) {
            return Err(CommandError::new(format!("container {id} depends on itself")));
        }
        let Some(other) = containers.record(id)? else {
            return Err(CommandError::new(format!("container {id}, which {} needs, is gone", record.id)));
        };
        if is_started(&containers.state(id)?) {
            continue;
        }
        path.push(record.id.to_string());
        start_dependencies(ui, engine, &other, path)?;
        path.pop();
        let lock = containers.lock(id)?;
        // Somebody else may have started it while we waited for the lock.
        if !is_started(&containers.state(id)?) {
            start_alone(ui, engine, &other, lock, Wanted::NOTHING, Inheritance::default())
                .map_err(|error| error.context(format_args!("starting dependency {id}")))?;
        }
    }
    Ok(())
}

fn is_started(state: &State) -> bool {
    state.status.is_alive() && state.status != Status::Initialized
}

fn start_alone(
    ui: &mut Ui,
    engine: &Engine,
    record: &Record,
    lock: Flock,
    wanted: Wanted,
    inheritance: Inheritance,
) -> Result<Connection> {
    let containers = engine.containers()?;
    if inheritance.blueprint.is_some() || containers.state(&record.id)?.status != Status::Initialized {
        return launch(ui, engine, record, lock, wanted, inheritance);
    }
    // Its monitor stands there already. Our lock keeps others from asking for the same.
    let mut connection = Connection::open(&containers.socket(&record.id), wanted)?;
    connection.start()?;
    if wanted != Wanted::NOTHING {
        containers.tell(record, "attach");
    }
    let started = connection.wait_started()?;
    drop(lock);
    outcome(started, connection)
}

fn launch(
    ui: &mut Ui,
    engine: &Engine,
    record: &Record,
    lock: Flock,
    wanted: Wanted,
    inheritance: Inheritance,
) -> Result<Connection> {
    let Inheritance { extra, hold, blueprint, entering, restore } = inheritance;
    let maker = entering.as_ref().map(Entering::child).transpose()?.flatten();
    let stdin = std::io::stdin();
    let size = if record.process.terminal { tty::window_size(&stdin).ok() } else { None };
    let options = StartOptions {
        wanted,
        size: size.map(|size| (size.columns, size.rows)).filter(|size| *size != (0, 0)),
        extra,
        hold,
        settings: Settings { config: engine.config()?.clone(), env: engine.env().clone() },
        cdi_directories: engine.cdi_directories()?,
        blueprint,
        entering,
        restore,
        describe: CommandError::describe_failure,
    };
    // What is buffered would be written twice.
    ui.flush()?;
    let mut connection =
        engine.containers()?.start(engine.paths()?, engine.user_maps(), record, lock, options)?;
    let started = connection.wait_started()?;
    if let Some(maker) = maker {
        // The monitor has joined the namespace, or is gone: this child of ours ends.
        process::wait_pidfd(maker)?;
    }
    outcome(started, connection)
}

fn outcome(started: Start, connection: Connection) -> Result<Connection> {
    match started {
        Start::Running(_) => Ok(connection),
        Start::Failed(failure) => Err(failure.into()),
        Start::Lost => {
            // It cannot have run long: the state says whether it ran at all.
            Err(CommandError::new("the container's monitor ended before the container was started"))
        }
    }
}

/// Stays attached until the container ends, and returns its exit code; 0 when the user detaches.
///
/// # Errors
/// When the terminal or the connection fails.
pub fn follow(
    ui: &mut Ui,
    engine: &Engine,
    record: &Record,
    connection: Connection,
    attachment: &Attachment,
) -> Result<ExitStatus> {
    ui.flush()?;
    let containers = engine.containers()?;
    let options = Options {
        wanted: attachment.wanted,
        terminal: record.process.terminal,
        detach_keys: attachment.detach_keys.clone(),
        proxy_signals: attachment.proxy_signals,
    };
    let outcome = connection.attach(&options)?;
    if let Some(status) = outcome_status(&outcome) {
        return Ok(status);
    }
    // The monitor is gone without a word: perhaps it could still write the exit down.
    let state = containers.await_exit(record, None)?;
    clear_abandoned(ui, engine, &containers, record);
    match state {
        Some(state) if state.status == Status::Exited && state.exit_code() >= 0 => {
            Ok(exit_status(state.exit_code()))
        }
        _ => Err(CommandError::new(format!(
            "the monitor of container {} ended before the container; the exit code is not known",
            record.id
        ))),
    }
}

/// Removes a container that was to be removed at its end, where its monitor was killed and cannot do it. For commands
/// that take part in the end of a container; those that only look at it show it as it is.
pub fn clear_abandoned(ui: &mut Ui, engine: &Engine, containers: &Containers, record: &Record) {
    if !containers.is_abandoned(record) {
        return;
    }
    let removed = in_user_namespace(ui, engine, |_| {
        containers.remove_abandoned(record)?;
        Ok(String::new())
    });
    if let Err(error) = removed {
        let name = &record.name;
        ui.warn(format_args!(
            "container {name} was to be removed at its end and could not be: {}",
            error.message()
        ));
    }
}

/// What an attachment ends this process with; `None` where that is not known.
#[must_use]
pub fn outcome_status(outcome: &Outcome) -> Option<ExitStatus> {
    match outcome {
        Outcome::Exited(code) => Some(exit_status(*code)),
        Outcome::Detached => Some(ExitStatus::SUCCESS),
        Outcome::ReaderGone => Some(die_of(libc::SIGPIPE)),
        Outcome::Signal(number) => Some(die_of(*number)),
        Outcome::Lost => None,
    }
}

/// The exit code of a container as that of this process: a shell sees the lowest eight bits.
#[must_use]
pub fn exit_status(code: i32) -> ExitStatus {
    ExitStatus::from_code((code & 0xff) as u8)
}

/// Ends this process by a signal, as if nothing had caught it.
fn die_of(number: i32) -> ExitStatus {
    signal::restore_default(number);
    signal::raise(number);
    // A signal that does not end a process.
    exit_status(128 + number)
}
