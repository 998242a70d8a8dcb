//! `rbox system connection list`.

use serde::Serialize;

use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List};
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// List the connections to remote services
///
/// Lists connections to remote services for scripts that look for them. There are none, and none can be added: rbox works where it is called.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options]",
    after_help = "rbox system connection list\n  rbox system connection ls --format=json"
)]
pub struct Args {
    /// Custom Go template for printing connections
    #[arg(long, short, value_name = "string")]
    format: Option<String>,
    /// Print the names only
    #[arg(long, short)]
    quiet: bool,
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
/// When the template makes no sense.
pub fn exec(ui: &mut Ui, _engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { format, quiet } = args;
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
