//! `rbox volume ls`.

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List};
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// List volumes
///
/// List all available volumes. The output of the volumes can be filtered and the output format can be changed to JSON or a user specified Go template.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "rbox volume ls\n  rbox volume ls --format json\n  rbox volume ls --filter label=key=value"
)]
pub struct Args {
    /// Filter volume output
    #[arg(long, short, value_name = "stringArray")]
    filter: Vec<String>,
    /// Format volume output using Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Do not print headers
    #[arg(long, short)]
    noheading: bool,
    /// Print volume output in quiet mode
    #[arg(long, short)]
    quiet: bool,
}

/// Prints the volumes.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { filter, format, noheading, quiet } = args;
    if quiet && format.is_some() {
        return Err(CommandError::new("quiet and format flags cannot be used together"));
    }
    let volumes = super::filtered(&engine.containers()?, &filter)?;
    if quiet {
        volumes.iter().try_for_each(|volume| ui.data(&volume.name))?;
        return Ok(ExitStatus::SUCCESS);
    }
    let list = List::new("ls", "{{.Driver}}\t{{.Name}}")
        .headers(&[("Name", "VOLUME NAME")])
        .format(format.as_deref())
        .no_heading(noheading || (format.is_none() && volumes.is_empty()));
    let views = super::views(engine, volumes)?;
    if list.is_json() {
        list.json(ui, &views, Layout::marshal(2))?;
    } else {
        list.print(ui, &views)?;
    }
    Ok(ExitStatus::SUCCESS)
}
