//! `rbox init`.

use crate::cli::args::containers::{Named, report_earlier};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::session;
use crate::cli::ui::Ui;
use crate::container::{Containers, Error, Record, Status};
use crate::engine::Engine;

/// Initialize one or more containers
///
/// Makes everything that containers need to run, namespaces, mounts and network, without starting their programs. `rbox start` starts them.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [CONTAINER...]",
    after_help = "rbox init --latest\n  rbox init 3c45ef19d893\n  rbox init test1"
)]
pub struct Args {
    /// Initialize all containers
    #[arg(long, short)]
    all: bool,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    containers: Vec<String>,
}

/// Initializes containers.
///
/// # Errors
/// When one does not exist, is initialized or running already, or cannot be made.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { all, latest, containers: references } = args;
    let named = Named { references, all, latest, ..Named::default() };
    named.check()?;
    let containers = engine.containers()?;
    let mut last = None;
    for selected in named.find(&containers)? {
        let Some(record) = selected.record else { continue };
        match init(ui, engine, &containers, &record, all) {
            Ok(true) => ui.data(selected.given)?,
            Ok(false) => {}
            Err(error) => report_earlier(ui, &mut last, error),
        }
    }
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}

/// Initializes a container; `false` for one that cannot be and need not be.
fn init(ui: &mut Ui, engine: &Engine, containers: &Containers, record: &Record, all: bool) -> Result<bool> {
    let lock = containers.lock(&record.id)?;
    let status = containers.state(&record.id)?.status;
    if !matches!(status, Status::Created | Status::Exited) {
        if all {
            return Ok(false);
        }
        let what = format!("container {} has already been created in runtime", record.id);
        return Err(Error::WrongState { what, status }.into());
    }
    let failed = |error: CommandError| {
        error
            .context(format_args!("unable to initialize container {:?}", record.id.as_str()))
            .with_status(ExitStatus::ERROR)
    };
    session::init(ui, engine, record, lock).map_err(failed)?;
    Ok(true)
}
