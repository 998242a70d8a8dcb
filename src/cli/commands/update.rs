//! `rbox update`.

use crate::cli::args::containers::Named;
use crate::cli::args::create::HealthArgs;
use crate::cli::args::create::process::restart_policy;
use crate::cli::args::csv;
use crate::cli::args::limits::LimitArgs;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::container::create::{env, limits};
use crate::container::health::Health;
use crate::container::update::Changes;
use crate::container::{Containers, Record};
use crate::engine::Engine;

/// Update an existing container
///
/// Updates the configuration of an existing container: its limits, restart policy and health checks at once, its environment and ulimits from the next start on.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER",
    after_help = "rbox update --memory 512m --cpus 2 web\n  rbox update --restart always web\n  rbox update --health-interval 5s web"
)]
pub struct Args {
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    health: HealthArgs,
    /// Set environment variables in container
    #[arg(long, short, value_name = "stringArray")]
    env: Vec<String>,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Restart policy to apply when a container exits ("always"|"no"|"never"|"on-failure"|"unless-stopped")
    #[arg(long, value_name = "string")]
    restart: Option<String>,
    /// Ulimit options
    #[arg(long, value_name = "strings")]
    ulimit: Vec<String>,
    /// Unset environment default variables in container
    #[arg(long, value_name = "stringArray")]
    unsetenv: Vec<String>,
    container: Option<String>,
}

/// Changes the container and prints its id.
///
/// # Errors
/// When a value makes no sense, or something cannot be changed.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let containers = engine.containers()?;
    let record = find(&containers, args.container, args.latest)?;
    let resources = args.limits.resources()?;
    for warning in args.limits.warnings() {
        ui.warn(warning);
    }
    let restart = args.restart.as_deref().map(restart_policy).transpose()?;
    let ulimits = csv::split(&args.ulimit).map_err(CommandError::new)?;
    let mut process = Changes { unset_env: args.unsetenv, resources, ..Changes::default() };
    for entry in &args.env {
        process.env.extend(env::parse_entry(entry, engine.env())?);
    }
    if !ulimits.is_empty() {
        process.ulimits = Some(limits::parse(&ulimits)?);
    }
    containers.update(&record, &process, |record| {
        if let Some(restart) = restart {
            if record.lifecycle.auto_remove && restart != crate::container::create::RestartPolicy::No {
                return Err(CommandError::new(
                    "cannot set restart policy: the container is removed when it ends (--rm)",
                ));
            }
            record.lifecycle.restart = restart;
        }
        if args.health.is_given() {
            let mut health = record.health.take().unwrap_or_default();
            args.health.update(&mut health)?;
            health.validate()?;
            record.health = Some(health).filter(|health| *health != Health::default());
        }
        Ok(())
    })?;
    ui.data(&record.id)?;
    Ok(ExitStatus::SUCCESS)
}

fn find(containers: &Containers, name: Option<String>, latest: bool) -> Result<Record> {
    match (&name, latest) {
        (None, false) => {
            return Err(CommandError::new("update requires a name, id, or the \"--latest\" flag"));
        }
        (Some(_), true) => return Err(CommandError::new("--latest and containers cannot be used together")),
        _ => {}
    }
    let named = Named { references: name.into_iter().collect(), latest, ..Named::default() };
    let selected = named.find(containers)?.into_iter().find_map(|selected| selected.record);
    selected.ok_or_else(|| CommandError::new("no container to update"))
}
