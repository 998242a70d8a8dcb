//! `rbox pod ps`.

use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List};
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// List pods
///
/// List all pods on system including their names, ids and current state.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Display the container UUIDs. If no-trunc is not set they will be truncated
    #[arg(long)]
    ctr_ids: bool,
    /// Display the container names
    #[arg(long)]
    ctr_names: bool,
    /// Display the container status
    #[arg(long)]
    ctr_status: bool,
    /// Filter output based on conditions given
    #[arg(long, short, value_name = "stringArray")]
    filter: Vec<String>,
    /// Pretty-print pods to JSON or using a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Act on the latest pod podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Display namespace information of the pod
    #[arg(long, alias = "namespace")]
    ns: bool,
    /// Do not truncate pod and container IDs
    #[arg(long)]
    no_trunc: bool,
    /// Do not print headers
    #[arg(long, short)]
    noheading: bool,
    /// Print the numeric IDs of the pods only
    #[arg(long, short)]
    quiet: bool,
    /// Sort output by created, id, name, or number
    #[arg(long, value_name = "string", default_value = "created", value_parser = ["created", "id", "name", "number", "status"])]
    sort: String,
}

/// Prints an empty list.
pub fn exec(ui: &mut Ui, _engine: &Engine, args: Args) -> Result<ExitStatus> {
    // All the others choose from or show what there is not.
    let Args { quiet, format, noheading, .. } = args;
    if quiet {
        return Ok(ExitStatus::SUCCESS);
    }
    let list = List::new(
        "ps",
        "{{.Id}}\t{{.Name}}\t{{.Status}}\t{{.Created}}\t{{.InfraID}}\t{{.NumberOfContainers}}",
    )
    .headers(&[("Id", "POD ID"), ("InfraID", "INFRA ID"), ("NumberOfContainers", "# OF CONTAINERS")])
    .format(format.as_deref())
    .no_heading(noheading);
    let none: [(); 0] = [];
    if list.is_json() {
        list.json(ui, &none, Layout::marshal(2))?;
    } else {
        list.print(ui, &none)?;
    }
    Ok(ExitStatus::SUCCESS)
}
