//! `rbox pod create`.

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Create a new empty pod
///
/// After creating the pod, the pod ID is printed to stdout.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Assign a name to the pod
    #[arg(long, short = 'n', value_name = "string")]
    name: Option<String>,
    #[arg(id = "NAME")]
    argument: Option<String>,
}

/// Refuses.
pub fn exec(_ui: &mut Ui, _engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { name, argument } = args;
    Err(CommandError::new(match name.or(argument) {
        Some(name) => format!("not supported yet: pods (pod create {name})"),
        None => "not supported yet: pods".to_owned(),
    }))
}
