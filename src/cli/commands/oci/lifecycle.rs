//! `start`, `kill`, `delete`, `pause` and `resume`.

use regex::Regex;

use super::Context;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::kernel::signal;
use crate::runtime::instance::Error;

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
    /// Id of the container
    id: String,
    /// Name or number of the signal
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
    #[arg(long)]
    regex: bool,
    /// Id of the container
    id: String,
}

pub(super) fn start(context: &mut Context, args: &IdArgs) -> Result<ExitStatus> {
    context.instances()?.start(&args.id)?;
    Ok(ExitStatus::SUCCESS)
}

pub(super) fn kill(context: &mut Context, args: &KillArgs) -> Result<ExitStatus> {
    let signal = signal::parse(&args.signal)
        .ok_or_else(|| CommandError::new(format!("unknown signal `{}`", args.signal)))?;
    context.instances()?.kill(&args.id, signal, args.all)?;
    Ok(ExitStatus::SUCCESS)
}

pub(super) fn delete(context: &mut Context, args: &DeleteArgs) -> Result<ExitStatus> {
    let instances = context.instances()?;
    let ids = if args.regex {
        let pattern = Regex::new(&args.id).map_err(|error| CommandError::new(format!("--regex: {error}")))?;
        instances.list()?.into_iter().map(|(id, _)| id).filter(|id| pattern.is_match(id)).collect()
    } else {
        vec![args.id.clone()]
    };
    let mut result = Ok(ExitStatus::SUCCESS);
    for id in ids {
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
