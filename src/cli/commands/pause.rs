//! `rbox pause` and `rbox unpause`.

use std::path::PathBuf;

use crate::cli::args::containers::{Named, for_each};
use crate::cli::error::CommandError;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::container::{Containers, Error, Record};
use crate::engine::Engine;

/// Pause all the processes in one or more containers
///
/// Pauses one or more running containers. The container name or ID can be used.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [CONTAINER...]",
    after_help = "rbox pause mywebserver\n  rbox pause 860a4b23\n  rbox pause --all"
)]
pub struct Args {
    /// Pause all running containers
    #[arg(long, short)]
    all: bool,
    /// Read the container ID from the file
    #[arg(long, value_name = "stringArray")]
    cidfile: Vec<PathBuf>,
    /// Filter output based on conditions given
    #[arg(long, short, value_name = "stringArray")]
    filter: Vec<String>,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    containers: Vec<String>,
}

/// Pauses containers.
///
/// # Errors
/// When one does not run, or where there is no freezer.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
    change(ui, engine, args, Containers::pause)
}

/// The other direction.
pub mod unpause {
    use std::path::PathBuf;

    use super::{Containers, Engine, ExitStatus, Ui};
    use crate::cli::error::CommandError;

    /// Unpause the processes in one or more containers
    ///
    /// Unpauses one or more previously paused containers. The container name or ID can be used.
    #[derive(Debug, clap::Args)]
    #[command(
        override_usage = "[options] CONTAINER [CONTAINER...]",
        after_help = "rbox unpause ctrID\n  rbox unpause --all"
    )]
    pub struct Args {
        /// Unpause all paused containers
        #[arg(long, short)]
        all: bool,
        /// Read the container ID from the file
        #[arg(long, value_name = "stringArray")]
        cidfile: Vec<PathBuf>,
        /// Filter output based on conditions given
        #[arg(long, short, value_name = "stringArray")]
        filter: Vec<String>,
        /// Act on the latest container podman is aware of
        #[arg(long, short)]
        latest: bool,
        containers: Vec<String>,
    }

    /// Lets paused containers go on.
    ///
    /// # Errors
    /// When one is not paused.
    pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
        let Args { all, cidfile, filter, latest, containers } = args;
        super::change(
            ui,
            engine,
            super::Args { all, cidfile, filter, latest, containers },
            Containers::unpause,
        )
    }
}

fn change(
    ui: &mut Ui,
    engine: &Engine,
    args: Args,
    act: fn(&Containers, &Record) -> Result<(), Error>,
) -> Result<ExitStatus, CommandError> {
    let named = Named {
        references: args.containers,
        all: args.all,
        latest: args.latest,
        id_files: args.cidfile,
        filters: args.filter,
        ..Named::default()
    };
    named.check()?;
    let containers = engine.containers()?;
    let selected = named.find(&containers)?;
    for_each(ui, selected, |_, record| match act(&containers, record) {
        Err(Error::WrongState { .. }) if args.all => Ok(false),
        result => result.map(|()| true),
    })
}
