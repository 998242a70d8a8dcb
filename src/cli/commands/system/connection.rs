//! `rbox system connection`.

use serde::Serialize;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List};
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// List the connections to remote services
///
/// Lists connections to remote services for scripts that look for them. There are none, and none can be added: rbox works where it is called.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] list",
    after_help = "rbox system connection list\n  rbox system connection ls --format=json"
)]
pub struct Args {
    /// Custom Go template for printing connections
    #[arg(long, short, value_name = "string")]
    format: Option<String>,
    /// Print the names only
    #[arg(long, short)]
    quiet: bool,
    action: Option<String>,
    arguments: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Connection {
    name: String,
    #[serde(rename = "URI")]
    uri: String,
    identity: String,
    default: bool,
    read_write: bool,
}

/// Prints the connections, of which there are none.
///
/// # Errors
/// When one is to be made.
pub fn exec(ui: &mut Ui, _engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { format, quiet, action, arguments } = args;
    match action.as_deref() {
        Some("list" | "ls") if arguments.is_empty() => {}
        Some("list" | "ls") => {
            let text = "`rbox system connection list` takes no arguments";
            return Err(CommandError::new(text));
        }
        None => return Err(CommandError::new("missing command `rbox system connection COMMAND`")),
        Some("add" | "default" | "remove" | "rm" | "rename") => {
            return Err(CommandError::new(
                "there are no connections to remote services: rbox works where it is called",
            )
            .with_hint("for another machine: `ssh HOST rbox ...`"));
        }
        Some(other) => {
            return Err(CommandError::new(format!("unrecognized command `rbox system connection {other}`")));
        }
    }
    let none: [Connection; 0] = [];
    let list = List::new("ls", "{{.Name}}\t{{.URI}}\t{{.Identity}}\t{{.Default}}\t{{.ReadWrite}}")
        .format(format.as_deref());
    if list.is_json() {
        list.json(ui, &none, Layout::marshal(4))?;
    } else if !quiet {
        list.print(ui, &none)?;
    }
    Ok(ExitStatus::SUCCESS)
}
