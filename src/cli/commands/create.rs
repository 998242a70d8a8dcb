//! `rbox create`.

use crate::cli::args::create::{CreateArgs, request};
use crate::cli::ensure;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::secrets;
use crate::cli::ui::Ui;
use crate::container::create;
use crate::engine::Engine;

/// Create but do not start a container
///
/// Creates a new container from the given image or storage and prepares it for running the specified command.
///
/// The container ID is then printed to stdout. You can then start it at any time with the start <container_id> command. The container will be created with the initial state 'created'.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] IMAGE [COMMAND [ARG...]]",
    after_help = "rbox create alpine ls\n  rbox create --annotation HELLO=WORLD alpine ls\n  rbox create -t -i --name myctr alpine ls"
)]
pub struct Args {
    #[command(flatten)]
    create: CreateArgs,
    /// Make this a pod init container
    #[arg(long, value_name = "string")]
    init_ctr: Option<String>,
}

/// Creates the container and prints its id.
///
/// # Errors
/// When the request cannot be met.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.init_ctr.is_some() {
        return Err(CommandError::new("must specify pod value with init-ctr"));
    }
    super::run::warn_about_flags(ui, &args.create);
    let mut request = request::request(engine, &args.create)?;
    request.create_command = secrets::command_line();
    ensure::image(ui, engine, &args.create, &mut request)?;
    ensure::replaced(ui, engine, &request)?;
    let created = create::create(engine, request).map_err(super::run::not_created)?;
    for warning in created.warnings {
        ui.warn(warning);
    }
    ui.data(&created.record.id)?;
    Ok(ExitStatus::SUCCESS)
}
