//! Networks with a name. So far there is one: the default network, which every installation has.

use std::net::{IpAddr, Ipv4Addr};

use crate::config::Config;

/// A network that containers can be connected to by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedNetwork {
    /// Name.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Driver.
    pub driver: &'static str,
    /// Interface on the host's side.
    pub interface: &'static str,
    /// Subnet in CIDR notation.
    pub subnet: String,
    /// The host's address in it.
    pub gateway: Option<IpAddr>,
}

/// SHA-256 of `podman`, the name of the default network there: its id, by which scripts may know it.
const DEFAULT_ID: &str = "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9";

/// The default network.
#[must_use]
pub fn default_network(config: &Config) -> NamedNetwork {
    let subnet = config.network.default_subnet.clone();
    NamedNetwork {
        name: config.network.default_network.clone(),
        id: DEFAULT_ID.to_owned(),
        driver: "bridge",
        interface: "podman0",
        gateway: first_host(&subnet),
        subnet,
    }
}

/// The first address of an IPv4 subnet after the network's own.
fn first_host(subnet: &str) -> Option<IpAddr> {
    let (network, _) = subnet.split_once('/')?;
    let network: Ipv4Addr = network.parse().ok()?;
    Some(IpAddr::V4(Ipv4Addr::from(u32::from(network).checked_add(1)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_network_is_podman_s() {
        let network = default_network(&Config::default());
        assert_eq!((network.name.as_str(), network.subnet.as_str()), ("podman", "10.88.0.0/16"));
        assert_eq!(network.gateway, Some("10.88.0.1".parse().unwrap()));
        assert_eq!(first_host("x"), None);
    }
}
