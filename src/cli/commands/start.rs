//! `rbox start`.

use crate::cli::args::containers::{Named, report_earlier};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::session::{self, Attachment};
use crate::cli::ui::Ui;
use crate::container::stop::Run;
use crate::container::{Containers, Record, Status};
use crate::engine::Engine;
use crate::monitor::client::Wanted;

/// Start one or more containers
///
/// Starts one or more containers.  The container name or ID can be used.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [CONTAINER...]",
    after_help = "rbox start 860a4b231279 5421ab43b45\n  rbox start --interactive --attach imageID"
)]
pub struct Args {
    /// Start all containers regardless of their state or configuration
    #[arg(long)]
    all: bool,
    /// Attach container's STDOUT and STDERR
    #[arg(long, short)]
    attach: bool,
    /// Select the key sequence for detaching a container. Format is a single character `[a-Z]` or a comma separated sequence of `ctrl-<value>`, where `<value>` is one of: `a-z`, `@`, `^`, `[`, `\`, `]`, `^` or `_`
    #[arg(long, value_name = "string")]
    detach_keys: Option<String>,
    /// Filter output based on conditions given
    #[arg(long, short, value_name = "stringArray")]
    filter: Vec<String>,
    /// Make STDIN available to the contained process
    #[arg(long, short)]
    interactive: bool,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Proxy received signals to the process (default true if attaching, false otherwise)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set, value_parser = crate::cli::values::go_bool)]
    sig_proxy: Option<bool>,
    containers: Vec<String>,
}

/// Starts containers.
///
/// # Errors
/// When one does not exist or cannot be started.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    check(&args)?;
    let containers = engine.containers()?;
    let named = Named {
        references: args.containers,
        all: args.all,
        latest: args.latest,
        filters: args.filter,
        ..Named::default()
    };
    let selected = named.find(&containers)?;
    if args.attach {
        let Some(record) = selected.into_iter().find_map(|selected| selected.record) else {
            return Ok(ExitStatus::SUCCESS);
        };
        let attachment = Attachment {
            wanted: Wanted { stdin: args.interactive, stdout: true, stderr: true },
            detach_keys: session::detach_keys(engine, args.detach_keys.as_deref())?,
            proxy_signals: args.sig_proxy.unwrap_or(true),
        };
        return attached(ui, engine, &containers, &record, &attachment);
    }
    let mut last = None;
    for selected in selected {
        let Some(record) = selected.record else { continue };
        match start(ui, engine, &containers, &record) {
            // All means all that can be started: what runs is left out of the list.
            Ok(false) if args.all => {}
            Ok(_) => ui.data(selected.given)?,
            Err(error) => report_earlier(ui, &mut last, error),
        }
    }
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}

fn check(args: &Args) -> Result<()> {
    let named = !args.containers.is_empty();
    let refused = match () {
        () if !named && !args.latest && !args.all && args.filter.is_empty() => {
            "start requires at least one argument"
        }
        () if args.all && args.latest => "--all and --latest cannot be used together",
        () if named && args.latest => "--latest and containers cannot be used together",
        () if args.containers.len() > 1 && args.attach => {
            "you cannot start and attach multiple containers at once"
        }
        () if (named || args.latest) && args.all => {
            "either start all containers or the container(s) provided in the arguments"
        }
        () if args.attach && args.all => "you cannot start and attach all containers at once",
        () if args.sig_proxy == Some(true) && !args.attach => {
            "you cannot use sig-proxy without --attach: invalid argument"
        }
        () => return Ok(()),
    };
    Err(CommandError::new(refused))
}

/// Starts a container; `false` when it runs already.
///
/// # Errors
/// Why it does not run.
pub(super) fn start(ui: &mut Ui, engine: &Engine, containers: &Containers, record: &Record) -> Result<bool> {
    let lock = containers.lock(&record.id)?;
    if is_running(containers, record)? {
        return Ok(false);
    }
    session::start(ui, engine, record, lock, Wanted::NOTHING, session::Inheritance::default())
        .map(|_| true)
        .map_err(|error| cannot_start(error, record))
}

/// Whether there is nothing to start. A container whose exit is being written down is waited for.
fn is_running(containers: &Containers, record: &Record) -> Result<bool> {
    let state = containers.state(&record.id)?;
    if state.status == Status::Stopped {
        if state.restarts_later() {
            return Ok(true);
        }
        containers.await_exit(record, Some(Run::of(&state)))?;
        return Ok(false);
    }
    Ok(state.status.is_alive() && state.status != Status::Initialized)
}

fn cannot_start(error: CommandError, record: &Record) -> CommandError {
    error
        .context(format_args!("unable to start container {:?}", record.id.as_str()))
        .with_status(ExitStatus::ERROR)
}

fn attached(
    ui: &mut Ui,
    engine: &Engine,
    containers: &Containers,
    record: &Record,
    attachment: &Attachment,
) -> Result<ExitStatus> {
    let lock = containers.lock(&record.id)?;
    let connection = if is_running(containers, record)? {
        super::attach::connect(containers, record, attachment.wanted)?
    } else {
        session::start(ui, engine, record, lock, attachment.wanted, session::Inheritance::default())
            .map_err(|error| error.context(format_args!("unable to start container {}", record.id)))?
    };
    session::follow(ui, engine, record, connection, attachment)
}
