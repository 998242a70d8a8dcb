//! `rbox exec`.

use std::path::PathBuf;

use crate::cli::args::containers::Named;
use crate::cli::args::fds;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::session;
use crate::cli::ui::Ui;
use crate::container::create::env;
use crate::container::exec::ExecRequest;
use crate::container::{ContainerId, Containers, Error, Record};
use crate::engine::Engine;
use crate::kernel::process::wait_pidfd;
use crate::monitor::client::{Options, Outcome, Start, Wanted};
use crate::monitor::{self, beside};
use crate::runtime::{ExecPlan, Passed};

/// Run a process in a running container
///
/// Execute the specified command inside a running container.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER COMMAND [ARG...]",
    after_help = "rbox exec -it ctrID ls\n  rbox exec -it -w /tmp myCtr pwd\n  rbox exec --user root ctrID ls"
)]
pub struct Args {
    /// File to read the container ID from
    #[arg(long, value_name = "string")]
    cidfile: Option<PathBuf>,
    /// Run the exec session in detached mode (backgrounded)
    #[arg(long, short)]
    detach: bool,
    /// Select the key sequence for detaching a container. Format is a single character [a-Z] or ctrl-<value> where <value> is one of: a-z, @, ^, [, , or _
    #[arg(long, value_name = "string")]
    detach_keys: Option<String>,
    /// Set environment variables
    #[arg(long, short, value_name = "stringArray")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "stringArray")]
    env_file: Vec<PathBuf>,
    /// Make STDIN available to the contained process
    #[arg(long, short)]
    interactive: bool,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Do not create a database session for the exec process
    #[arg(long)]
    no_session: bool,
    /// Pass a list of additional file descriptors to the container
    #[arg(long, value_name = "uintSlice")]
    preserve_fd: Vec<String>,
    /// Pass N additional file descriptors to the container
    #[arg(long, value_name = "uint", value_parser = crate::cli::args::go::parse_u32)]
    preserve_fds: Option<u32>,
    /// Give the process extended Linux capabilities inside the container.  The default is false
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY. The default is false
    #[arg(long, short)]
    tty: bool,
    /// Sets the username or UID used and optionally the groupname or GID for the specified command
    #[arg(long, short, value_name = "string")]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(long, short, value_name = "string")]
    workdir: Option<String>,
    #[arg(trailing_var_arg = true)]
    words: Vec<String>,
}

/// Runs a process in a container; the exit code is that of the process.
///
/// # Errors
/// When the container does not run (255), or the command cannot be run: 127 where it or its directory is not found, 126
/// where the kernel does not allow it, else 255, or 125 without a session.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.no_session && (args.detach || args.detach_keys.is_some()) {
        return Err(CommandError::new("--no-session cannot be used with --detach or --detach-keys"));
    }
    let containers = engine.containers()?;
    let mut words = args.words.into_iter();
    let record = find(&containers, args.latest, args.cidfile, &mut words)?;
    let extra = fds::preserved(args.preserve_fds.unwrap_or(0), &args.preserve_fd)?;
    let request = ExecRequest {
        command: words.collect(),
        env: variables(engine, &args.env_file, &args.env)?,
        user: args.user,
        workdir: args.workdir.filter(|path| !path.is_empty()).map(PathBuf::from),
        terminal: args.tty,
        privileged: args.privileged,
    };
    let plan = containers.plan_exec(&record, request).map_err(|error| {
        let improper = matches!(error, Error::WrongState { .. });
        let error = CommandError::from(error);
        if improper { error.with_status(ExitStatus::from_code(255)) } else { error }
    })?;
    ui.flush()?;
    if args.detach {
        let id = detached(&containers, &record, &plan, extra)?;
        ui.data(&id)?;
        return Ok(ExitStatus::SUCCESS);
    }
    let options = Options {
        wanted: Wanted { stdin: args.interactive, stdout: true, stderr: true },
        terminal: args.tty,
        detach_keys: session::detach_keys(engine, args.detach_keys.as_deref())?,
        proxy_signals: false,
    };
    let other = if args.no_session { ExitStatus::ERROR } else { ExitStatus::from_code(255) };
    let beside = beside::exec(&plan, options.wanted, extra).map_err(|error| {
        let code = error.exec_exit_code(other.code());
        CommandError::from(error).with_status(ExitStatus::from_code(code))
    })?;
    let id = ContainerId::random()?;
    let recorded = !args.no_session;
    let entry = recorded.then(|| containers.enter_exec(&record, id, beside.running.pid)).flatten();
    containers.tell(&record, "exec");
    let outcome = beside.follow(&options)?;
    drop(entry);
    if let Outcome::Exited(code) = outcome {
        containers.events.emit(&[record.exit_event("exec_died", code)]);
    }
    session::outcome_status(&outcome).ok_or_else(|| CommandError::new("the process is gone"))
}

/// The container that is meant; the rest of `words` is the command.
fn find(
    containers: &Containers,
    latest: bool,
    cidfile: Option<PathBuf>,
    words: &mut impl Iterator<Item = String>,
) -> Result<Record> {
    if latest && cidfile.is_some() {
        return Err(CommandError::new("--latest and --cidfile can not be used together"));
    }
    let mut named = Named { latest, id_files: cidfile.into_iter().collect(), ..Named::default() };
    if !latest && named.id_files.is_empty() {
        let Some(first) = words.next() else {
            let text = "exec requires the name or ID of a container or the --latest or --cidfile flag";
            return Err(CommandError::new(text));
        };
        named.references.push(first);
    }
    let selected = named.find(containers)?.into_iter().find_map(|selected| selected.record);
    selected.ok_or_else(|| CommandError::new("no container to run a process in"))
}

fn variables(engine: &Engine, files: &[PathBuf], entries: &[String]) -> Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for file in files {
        variables.extend(env::parse_file(file, engine.env())?);
    }
    for entry in entries {
        variables.extend(env::parse_entry(entry, engine.env())?);
    }
    Ok(variables)
}

/// Leaves the process to one of our own that reaps it and removes its entry.
fn detached(
    containers: &Containers,
    record: &Record,
    plan: &ExecPlan,
    extra: Vec<Passed>,
) -> Result<ContainerId> {
    let id = ContainerId::random()?;
    let entered = id.clone();
    let start = monitor::detach(
        || {
            let running = beside::exec_detached(plan, extra)
                .map_err(|error| CommandError::describe_failure(Box::new(error)))?;
            let entry = containers.enter_exec(record, entered, running.pid);
            Ok((running, entry))
        },
        |(running, entry)| {
            containers.tell(record, "exec");
            // Held until the process has ended.
            let ended = wait_pidfd(&running.pidfd);
            drop(entry);
            if let Ok(status) = ended {
                containers.events.emit(&[record.exit_event("exec_died", status.code())]);
            }
        },
    )?;
    match start {
        Start::Running(_) => Ok(id),
        // As podman: only attached processes have their own codes.
        Start::Failed(failure) => Err(CommandError::from(failure).with_status(ExitStatus::ERROR)),
        Start::Lost => Err(CommandError::new("the process ended before it was started")),
    }
}
