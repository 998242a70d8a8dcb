//! `start`, `kill`, `delete`, `pause` and `resume`.

use regex::Regex;

use super::Context;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::kernel::signal;
use crate::runtime::instance::{Error, Instances};

/// Arguments of commands that take an id alone.
#[derive(Debug, clap::Args)]
pub(super) struct IdArgs {
    /// Id of the container
    pub(super) id: String,
}

/// Arguments of `kill`.
#[derive(Debug, clap::Args)]
pub(super) struct KillArgs {
    /// Signal all processes of the container
    #[arg(long, short)]
    all: bool,
    /// The id is a regular expression: signal all containers whose ids it matches
    #[arg(long, short)]
    regex: bool,
    /// Id of the container
    id: String,
    /// Name or number of the signal; 0 asks whether there is something to signal
    #[arg(default_value = "TERM")]
    signal: String,
}

/// Arguments of `delete`.
#[derive(Debug, clap::Args)]
pub(super) struct DeleteArgs {
    /// Kill the container if it is running; succeed if there is none
    #[arg(long, short)]
    force: bool,
    /// The id is a regular expression: delete all containers whose ids it matches
    #[arg(long, short)]
    regex: bool,
    /// Id of the container
    id: String,
}

pub(super) fn start(context: &mut Context, args: &IdArgs) -> Result<ExitStatus> {
    context.instances()?.start(&args.id)?;
    Ok(ExitStatus::SUCCESS)
}

pub(super) fn kill(context: &mut Context, args: &KillArgs) -> Result<ExitStatus> {
    let null = (args.signal == "0").then_some(0);
    let signal = null
        .or_else(|| signal::parse(&args.signal))
        .ok_or_else(|| CommandError::new(format!("unknown signal `{}`", args.signal)))?;
    let instances = context.instances()?;
    let mut result = Ok(ExitStatus::SUCCESS);
    for id in matching(&instances, &args.id, args.regex)? {
        // The others get it all the same.
        if let Err(error) = instances.kill(&id, signal, args.all) {
            result = result.and(Err(error.into()));
        }
    }
    result
}

/// The container `id`, or those whose ids match it.
fn matching(instances: &Instances, id: &str, regex: bool) -> Result<Vec<String>> {
    if !regex {
        return Ok(vec![id.to_owned()]);
    }
    let pattern = Regex::new(id).map_err(|error| CommandError::new(format!("--regex: {error}")))?;
    Ok(instances.list()?.into_iter().map(|(id, _)| id).filter(|id| pattern.is_match(id)).collect())
}

pub(super) fn delete(context: &mut Context, args: &DeleteArgs) -> Result<ExitStatus> {
    let instances = context.instances()?;
    let mut result = Ok(ExitStatus::SUCCESS);
    for id in matching(&instances, &args.id, args.regex)? {
        match instances.delete(&id, args.force) {
            Ok(warnings) => warn(context, &warnings),
            Err(Error::NotFound { .. }) if args.force => {}
            // The others go all the same.
            Err(error) => result = result.and(Err(error.into())),
        }
    }
    result
}

/// Tells what went wrong once a container was gone.
pub(super) fn warn(context: &mut Context, warnings: &[String]) {
    for warning in warnings {
        context.ui.warn(warning);
    }
}

pub(super) fn freeze(context: &mut Context, args: &IdArgs, frozen: bool) -> Result<ExitStatus> {
    context.instances()?.freeze(&args.id, frozen)?;
    Ok(ExitStatus::SUCCESS)
}
