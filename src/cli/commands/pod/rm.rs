//! `rbox pod rm`.

use std::fs;
use std::path::PathBuf;

use crate::cli::args::containers::report_earlier;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::kernel;

/// Remove one or more pods
///
/// Removes one or more stopped pods and their containers from the host. The pod name or ID can be used.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] POD [POD...]",
    after_help = "rbox pod rm mywebserverpod\n  rbox pod rm -f 860a4b23\n  rbox pod rm -f -a"
)]
pub struct Args {
    /// Remove all running pods
    #[arg(long, short)]
    all: bool,
    /// Force removal of a running pod by first stopping all containers, then removing all containers in the pod
    #[arg(long, short)]
    force: bool,
    /// Ignore errors when a specified pod is missing
    #[arg(long, short)]
    ignore: bool,
    /// Act on the latest pod podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Read the pod ID from the file
    #[arg(long, value_name = "stringArray")]
    pod_id_file: Vec<PathBuf>,
    /// Seconds to wait for pod stop before killing the container
    #[arg(long, short, value_name = "int", allow_negative_numbers = true)]
    time: Option<i64>,
    pods: Vec<String>,
}

/// Finds no pod.
pub fn exec(ui: &mut Ui, _engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.all && !args.pods.is_empty() {
        return Err(CommandError::new("no arguments are needed with --all"));
    }
    if args.latest && args.all {
        return Err(CommandError::new("--all and --latest cannot be used together"));
    }
    if args.latest && !args.pods.is_empty() {
        return Err(CommandError::new("--latest and pods cannot be used together"));
    }
    if args.time.is_some() && !args.force {
        return Err(CommandError::new("--force option must be specified to use the --time option"));
    }
    let is_named = args.all || args.latest || !args.pod_id_file.is_empty() || !args.pods.is_empty();
    if !is_named {
        return Err(CommandError::new("you must provide at least one name or id"));
    }
    let mut references = args.pods;
    for file in &args.pod_id_file {
        let text = fs::read_to_string(file).map_err(|source| kernel::Error::path("open", file, source))?;
        references.push(text.lines().next().unwrap_or_default().to_owned());
    }
    let mut last = None;
    for reference in references {
        if !(args.ignore || args.force) {
            let text = format!("no pod with name or ID {reference} found: no such pod");
            report_earlier(ui, &mut last, CommandError::new(text).with_status(ExitStatus::NO));
        }
    }
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}
