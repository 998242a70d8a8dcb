//! `rbox network ls`.

use serde::Serialize;

use super::View;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List, Value};
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::network::named::{NamedNetwork, default_network};

/// List networks
///
/// List networks
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox network list")]
pub struct Args {
    /// Provide filter values (e.g. 'name=podman')
    #[arg(long, short, value_name = "stringArray")]
    filter: Vec<String>,
    /// Pretty-print networks to JSON or using a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Do not truncate the network ID
    #[arg(long)]
    no_trunc: bool,
    /// Do not print headers
    #[arg(long, short)]
    noheading: bool,
    /// display only names
    #[arg(long, short)]
    quiet: bool,
}

/// A row: `ID` and `Labels` are texts here.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Labels")]
    labels: String,
    #[serde(flatten)]
    network: RowView,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RowView {
    name: String,
    driver: &'static str,
    network_interface: &'static str,
    #[serde(rename = "IPv6Enabled")]
    ipv6_enabled: bool,
    internal: bool,
    #[serde(rename = "DNSEnabled")]
    dns_enabled: bool,
}

/// Prints the networks.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let Args { filter, format, no_trunc, noheading, quiet } = args;
    let network = default_network(engine.config()?);
    let mut networks = Vec::new();
    if passes(&network, &filter)? {
        networks.push(network);
    }
    if quiet {
        for network in &networks {
            ui.data(&network.name)?;
        }
        return Ok(ExitStatus::SUCCESS);
    }
    let list = List::new("ls", "{{.ID}}\t{{.Name}}\t{{.Driver}}")
        .headers(&[("ID", "NETWORK ID")])
        .format(format.as_deref())
        .no_heading(noheading);
    if list.is_json() {
        let views: Vec<View> = networks.iter().map(View::of).collect();
        list.json(ui, &views, Layout::marshal(2))?;
    } else {
        let rows: Vec<Row> = networks.iter().map(|network| row(network, no_trunc)).collect();
        list.print(ui, &rows)?;
    }
    Ok(ExitStatus::SUCCESS)
}

/// What templates can name, for completion.
pub(in crate::cli) fn fields(engine: &Engine) -> Option<Value> {
    Some(Value::of(&row(&default_network(engine.config().ok()?), false)))
}

fn row(network: &NamedNetwork, whole_id: bool) -> Row {
    let digits = if whole_id { network.id.len() } else { 12 };
    let view = View::of(network);
    Row {
        id: network.id[..digits].to_owned(),
        labels: String::new(),
        network: RowView {
            name: view.name,
            driver: view.driver,
            network_interface: view.network_interface,
            ipv6_enabled: view.ipv6_enabled,
            internal: view.internal,
            dns_enabled: view.dns_enabled,
        },
    }
}

/// Whether the default network passes. Values of one key are alternatives, keys add up.
fn passes(network: &NamedNetwork, filters: &[String]) -> Result<bool> {
    let mut keys: Vec<(&str, bool)> = Vec::new();
    for filter in filters {
        let Some((key, value)) = filter.split_once('=') else {
            return Err(CommandError::new(format!("invalid argument {filter:?}: filter must be key=value")));
        };
        let passed = match key {
            "name" => network.name.contains(value),
            "id" => network.id.starts_with(value),
            "driver" => network.driver == value,
            // It has no labels, was made before everything, and belongs to no container.
            "label" => false,
            "label!" => true,
            "until" => true,
            "dangling" => matches!(value, "false" | "0" | "f" | "F" | "FALSE" | "False"),
            _ => return Err(CommandError::new(format!("invalid filter {key:?}"))),
        };
        match keys.iter_mut().find(|(known, _)| *known == key) {
            Some((_, any)) => *any |= passed,
            None => keys.push((key, passed)),
        }
    }
    Ok(keys.into_iter().all(|(_, any)| any))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn filters_add_up_by_key() {
        let network = default_network(&Config::default());
        let cases: [(&[&str], bool); 8] = [
            (&[], true),
            (&["name=pod"], true),
            (&["name=x"], false),
            (&["name=x", "name=podman"], true),
            (&["name=podman", "driver=macvlan"], false),
            (&["id=2f259"], true),
            (&["dangling=true"], false),
            (&["label=a"], false),
        ];
        for (filters, expected) in cases {
            let filters: Vec<String> = filters.iter().map(|&filter| filter.to_owned()).collect();
            assert_eq!(passes(&network, &filters).unwrap(), expected, "{filters:?}");
        }
        assert_eq!(passes(&network, &["x=y".to_owned()]).unwrap_err().message(), "invalid filter \"x\"");
    }
}
