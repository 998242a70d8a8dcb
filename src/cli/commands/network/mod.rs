//! `rbox network …`: there is the default network only, so lists have one row and nothing can be removed.

pub mod create;
pub mod exists;
pub mod inspect;
pub mod list;
pub mod prune;
pub mod rm;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::units::Time;
use crate::engine::Engine;
use crate::network::named::{NamedNetwork, default_network};
use crate::network::{self};

/// A network as `inspect` shows it.
#[derive(Debug, Serialize)]
struct View {
    name: String,
    id: String,
    driver: &'static str,
    network_interface: &'static str,
    created: Time,
    subnets: Vec<Subnet>,
    ipv6_enabled: bool,
    internal: bool,
    dns_enabled: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    ipam_options: BTreeMap<&'static str, &'static str>,
}

#[derive(Debug, Serialize)]
struct Subnet {
    subnet: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
}

impl View {
    fn of(network: &NamedNetwork) -> Self {
        Self {
            name: network.name.clone(),
            id: network.id.clone(),
            driver: network.driver,
            network_interface: network.interface,
            // It was never created: podman says "now" as well.
            created: Time::new(Timestamp::now()),
            subnets: vec![Subnet {
                subnet: network.subnet.clone(),
                gateway: network.gateway.map(|gateway| gateway.to_string()),
            }],
            ipv6_enabled: false,
            internal: false,
            dns_enabled: false,
            labels: BTreeMap::new(),
            ipam_options: BTreeMap::from([("driver", "host-local")]),
        }
    }
}

/// Finds a network by name, id or the beginning of its id.
fn find(engine: &Engine, reference: &str) -> Result<NamedNetwork> {
    let network = default_network(&engine.config()?.clone());
    if network.name == reference || (!reference.is_empty() && network.id.starts_with(reference)) {
        return Ok(network);
    }
    let error = network::Error::NoSuchNetwork { name: reference.to_owned() };
    Err(CommandError::from(error).with_status(ExitStatus::NO))
}
