//! `rbox system migrate` and `system renumber`.

use crate::cli::args::containers::report_earlier;
use crate::cli::commands::stop::warn_if_killed;
use crate::cli::error::CommandError;
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::container::create::runtime;
use crate::container::filter::Filters;
use crate::container::stop::StopRequest;
use crate::container::update::Changes;
use crate::engine::Engine;
use crate::userns;

/// Migrate containers
///
/// Stops all containers and ends the processes that hold the user's namespace open, so that changed ranges of sub-ids and a new version of this program count from the next start on.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options]",
    after_help = "rbox system migrate\n  rbox system migrate --new-runtime crun"
)]
pub struct Args {
    /// Specify a new runtime for all containers
    #[arg(long, value_name = "string")]
    new_runtime: Option<String>,
    /// Migrate database from BoltDB to SQLite
    #[arg(long)]
    migrate_db: bool,
}

/// Stops containers and ends namespaces.
///
/// # Errors
/// When a container cannot be stopped or changed; the others are all the same.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
    if args.migrate_db {
        return Err(CommandError::new("not supported: --migrate-db: there is no database to migrate"));
    }
    let runtime = args.new_runtime.filter(|name| !name.is_empty());
    let runtime = runtime.map(|name| runtime::named(engine, Some(name))).transpose()?;
    let containers = engine.containers()?;
    let mut last = None;
    for listed in containers.list(&Filters::default())? {
        let record = &listed.record;
        if listed.state.status.is_alive() || listed.state.restarts_later() {
            let request = StopRequest { timeout: None, by_user: true, keep: false };
            match containers.stop(record, request) {
                Ok(stopped) => {
                    warn_if_killed(ui, &record.name, &stopped);
                    ui.status(format_args!("stopped {}", record.id));
                }
                Err(error) => {
                    report_earlier(ui, &mut last, error.into());
                    continue;
                }
            }
        }
        if let Some(runtime) = runtime.as_ref().filter(|runtime| **runtime != record.runtime) {
            let changed = containers.update(record, &Changes::default(), |record| {
                record.runtime = runtime.clone();
                Ok::<_, crate::container::Error>(())
            });
            // One with --rm went with its end.
            if let Err(error) = changed
                && containers.dir(&record.id).exists()
            {
                report_earlier(ui, &mut last, error.into());
            }
        }
    }
    userns::end_holders(engine.paths()?);
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}

/// Locks that have numbers, which there are none of.
pub mod renumber {
    use crate::cli::error::CommandError;
    use crate::cli::exit::ExitStatus;
    use crate::cli::ui::Ui;
    use crate::engine::Engine;

    /// Migrate lock numbers
    ///
    /// Locks belong to the files of containers, volumes and images and have no numbers, so there is nothing to do.
    #[derive(Debug, clap::Args)]
    #[command(after_help = "rbox system renumber")]
    pub struct Args {}

    /// Does nothing.
    ///
    /// # Errors
    /// None.
    pub fn exec(_ui: &mut Ui, _engine: &Engine, _args: Args) -> Result<ExitStatus, CommandError> {
        Ok(ExitStatus::SUCCESS)
    }
}
