//! `rbox container checkpoint`, `restore`, `cleanup`, `clone`, `exists`, `prune`, `runlabel`: what is only under the noun.

mod archive;
pub mod checkpoint;
pub mod cleanup;
pub mod clone;
mod import;
pub mod restore;
pub mod runlabel;

/// Whether a container exists.
pub mod exists {
    use crate::cli::error::CommandError;
    use crate::cli::exit::ExitStatus;
    use crate::cli::ui::Ui;
    use crate::container::Error;
    use crate::engine::Engine;

    /// Check if a container exists in local storage
    ///
    /// If the named container exists in local storage, exists exits with 0, otherwise the exit code will be 1.
    #[derive(Debug, clap::Args)]
    #[command(
        override_usage = "[options] CONTAINER",
        after_help = "rbox container exists myctr || rbox run --name myctr [etc...]"
    )]
    pub struct Args {
        /// Check external storage containers as well as Podman containers
        #[arg(long)]
        external: bool,
        container: String,
    }

    /// Exits with 0 or 1.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn exec(_ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
        // There is no storage in which others keep containers, so `--external` finds the same.
        let Args { container, external: _ } = args;
        match engine.containers()?.lookup(container.strip_prefix('/').unwrap_or(&container)) {
            Ok(_) => Ok(ExitStatus::SUCCESS),
            Err(Error::NotFound { .. }) => Ok(ExitStatus::NO),
            Err(error) => Err(error.into()),
        }
    }
}

/// Removing what does not run.
pub mod prune {
    use crate::cli::args::containers::{parse_filters, report_earlier};
    use crate::cli::confirm;
    use crate::cli::error::CommandError;
    use crate::cli::exit::ExitStatus;
    use crate::cli::ui::Ui;
    use crate::container::Status;
    use crate::container::remove::RemoveOptions;
    use crate::engine::Engine;

    /// Remove all non running containers
    ///
    /// Removes all non running containers
    #[derive(Debug, clap::Args)]
    #[command(after_help = "rbox container prune")]
    pub struct Args {
        /// Provide filter values (e.g. 'label=<key>=<value>')
        #[arg(long, value_name = "stringArray")]
        filter: Vec<String>,
        /// Do not prompt for confirmation.  The default is false
        #[arg(long, short)]
        force: bool,
    }

    /// Removes containers and prints their ids.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus, CommandError> {
        let Args { filter, force } = args;
        let containers = engine.containers()?;
        let filters = parse_filters(&filter, &containers)?;
        if !force && !confirm::ask(ui, "WARNING! This will remove all non running containers.")? {
            return Ok(ExitStatus::SUCCESS);
        }
        let mut last = None;
        let mut any = false;
        for listed in containers.list(&filters)? {
            if !matches!(listed.state.status, Status::Created | Status::Exited | Status::Stopped) {
                continue;
            }
            // Somebody needs it still: the next prune gets it.
            if listed.state.restarts_later() || !containers.dependents(&listed.record.id)?.is_empty() {
                continue;
            }
            match containers.remove(&listed.record, RemoveOptions::default()) {
                Ok(()) => {
                    any = true;
                    ui.data(&listed.record.id)?;
                }
                Err(error) => report_earlier(ui, &mut last, error.into()),
            }
        }
        if any {
            containers.sync_removals()?;
        }
        containers.reclaim();
        last.map_or(Ok(ExitStatus::SUCCESS), Err)
    }
}
