//! `rbox network inspect`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::View;
use crate::cli::error::Result;
use crate::cli::exit::ExitStatus;
use crate::cli::format::{self, Value};
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Inspect network
///
/// Inspect network
#[derive(Debug, clap::Args)]
#[command(override_usage = "[options] NETWORK [NETWORK...]", after_help = "rbox network inspect podman")]
pub struct Args {
    /// Pretty-print network to JSON or using a Go template
    #[arg(long, short, value_name = "string")]
    format: Option<String>,
    #[arg(required = true)]
    networks: Vec<String>,
}

/// A network as `inspect` shows it.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Inspected {
    #[serde(flatten)]
    network: View,
    /// Those of the network: none, as containers reach the outside by pasta.
    containers: BTreeMap<String, ()>,
}

/// What templates can name, for completion.
pub(in crate::cli) fn fields(engine: &Engine) -> Option<Value> {
    let network = crate::network::named::default_network(engine.config().ok()?);
    Some(Value::of(&Inspected { network: View::of(&network), containers: BTreeMap::new() }))
}

/// The network of a name.
pub(in crate::cli) fn named(engine: &Engine, name: &str) -> Option<Inspected> {
    let network = super::find(engine, name).ok()?;
    Some(Inspected { network: View::of(&network), containers: BTreeMap::new() })
}

/// Prints the networks that there are, and fails for the others.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { format, networks } = args;
    let mut found = Vec::new();
    let mut missing = None;
    for name in &networks {
        match super::find(engine, name) {
            Ok(network) => {
                found.push(Inspected { network: View::of(&network), containers: BTreeMap::new() });
            }
            Err(error) => missing = Some(error.context(format_args!("network {name}"))),
        }
    }
    format::objects(ui, "inspect", &found, format.as_deref())?;
    // podman ends with 125 here, and with 1 everywhere else.
    missing.map_or(Ok(ExitStatus::SUCCESS), |error| Err(error.with_status(ExitStatus::ERROR)))
}
