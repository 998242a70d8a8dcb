//! `rbox pod create`.

use std::ffi::OsString;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Create a new empty pod
///
/// After creating the pod, the pod ID is printed to stdout.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<OsString>,
}

/// Refuses.
pub fn exec(_ui: &mut Ui, _engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { options } = args;
    drop(options);
    Err(CommandError::new("not supported yet: pods"))
}
