//! `rbox attach`.

use crate::cli::args::containers::Named;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::session::{self, Attachment};
use crate::cli::ui::Ui;
use crate::cli::values;
use crate::container::{Containers, Record, Status};
use crate::engine::Engine;
use crate::monitor::client::{Connection, Wanted};

/// Attach to a running container
///
/// The attach command allows you to attach to a running container using the container's ID or name, either to view its ongoing output or to control it interactively.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER",
    after_help = "rbox attach ctrID\n  rbox attach 1234\n  rbox attach --no-stdin foobar"
)]
pub struct Args {
    /// Select the key sequence for detaching a container. Format is a single character `[a-Z]` or a comma separated sequence of `ctrl-<value>`, where `<value>` is one of: `a-z`, `@`, `^`, `[`, `\`, `]`, `^` or `_`
    #[arg(long, value_name = "string")]
    detach_keys: Option<String>,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Do not attach STDIN. The default is false
    #[arg(long)]
    no_stdin: bool,
    /// Proxy received signals to the process
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set, value_parser = values::go_bool)]
    sig_proxy: bool,
    container: Option<String>,
}

/// Attaches to a container.
///
/// # Errors
/// When it does not run.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    match (&args.container, args.latest) {
        (None, false) => {
            let text = format!("\"{} attach\" requires a name, id, or the \"--latest\" flag", ui.program());
            return Err(CommandError::new(text));
        }
        (Some(_), true) => return Err(CommandError::new("--latest and containers cannot be used together")),
        _ => {}
    }
    let containers = engine.containers()?;
    let named =
        Named { references: args.container.into_iter().collect(), latest: args.latest, ..Named::default() };
    let Some(record) = named.find(&containers)?.into_iter().find_map(|selected| selected.record) else {
        return Err(CommandError::new(
            "attach requires the name or id of one running container or the latest flag",
        ));
    };
    let attachment = Attachment {
        wanted: Wanted { stdin: !args.no_stdin && record.process.interactive, stdout: true, stderr: true },
        detach_keys: session::detach_keys(engine, args.detach_keys.as_deref())?,
        proxy_signals: args.sig_proxy,
    };
    let connection = connect(&containers, &record, attachment.wanted)?;
    session::follow(ui, engine, &record, connection, &attachment)
}

/// Connects to the monitor of a running container.
///
/// # Errors
/// When it does not run, or its monitor does not answer.
pub(super) fn connect(containers: &Containers, record: &Record, wanted: Wanted) -> Result<Connection> {
    let status = containers.state(&record.id)?.status;
    if !matches!(status, Status::Initialized | Status::Running | Status::Created | Status::Stopping) {
        return Err(CommandError::new("you can only attach to running containers: container state improper"));
    }
    let path = containers.socket(&record.id);
    let connection = Connection::open(&path, wanted).map_err(|error| {
        let gone = matches!(error.errno(), Some(libc::ENOENT | libc::ECONNREFUSED));
        let error = CommandError::from(error);
        if gone {
            error.with_hint(
                "the container runs, but its monitor or its socket is gone: `rbox restart` makes them anew",
            )
        } else {
            error
        }
    })?;
    containers.tell(record, "attach");
    Ok(connection)
}
