//! Flags of the network and of the files about it.

use std::net::Ipv4Addr;

use super::super::csv;
use crate::cli::error::{CommandError, Result};
use crate::cli::values::go_bool;
use crate::config::Config;
use crate::container::create::SecurityProfile;
use crate::network::{self, Mode};

/// Flags of the network.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct NetworkArgs {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_name = "strings")]
    pub add_host: Vec<String>,
    /// Set custom DNS servers
    #[arg(long, value_name = "strings")]
    pub dns: Vec<String>,
    /// Set custom DNS options
    #[arg(long, alias = "dns-opt", value_name = "strings")]
    pub dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "strings")]
    pub dns_search: Vec<String>,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "strings")]
    pub expose: Vec<String>,
    /// Set container hostname
    #[arg(long, short = 'h', value_name = "string")]
    pub hostname: Option<String>,
    /// Base file to create the /etc/hosts file inside the container, or one of the special values. ("image"|"none")
    #[arg(long, value_name = "string")]
    pub hosts_file: Option<String>,
    /// Specify a static IPv4 address for the container
    #[arg(long, value_name = "string")]
    pub ip: Option<String>,
    /// Specify a static IPv6 address for the container
    #[arg(long, value_name = "string")]
    pub ip6: Option<String>,
    /// Link-local addresses of the container
    #[arg(long, value_name = "strings", hide = true)]
    pub link_local_ip: Vec<String>,
    /// Container MAC address (e.g. 92:d0:c6:0a:29:33)
    #[arg(long, value_name = "string")]
    pub mac_address: Option<String>,
    /// Connect a container to a network
    #[arg(long, alias = "net", value_name = "stringArray")]
    pub network: Vec<String>,
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "strings")]
    pub network_alias: Vec<String>,
    /// Do not create /etc/hostname within the container, instead use the version from the image
    #[arg(long)]
    pub no_hostname: bool,
    /// Do not create /etc/hosts within the container, instead use the version from the image
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub no_hosts: Option<bool>,
    /// Publish a container's port, or a range of ports, to the host
    #[arg(long, short, value_name = "strings")]
    pub publish: Vec<String>,
    /// Publish all exposed ports to random ports on the host interface
    #[arg(long, short = 'P')]
    pub publish_all: bool,
}

/// Makes the network part of a request; containers.conf stands behind the flags.
///
/// # Errors
/// In podman's words.
pub(super) fn request(
    args: &NetworkArgs,
    config: &Config,
    profile: SecurityProfile,
) -> Result<network::Request> {
    let containers = &config.containers;
    let split = |values: &[String]| csv::split(values).map_err(CommandError::new);
    let mut request = network::Request {
        mode: Mode::parse(&args.network, &containers.netns)?,
        add_hosts: split(&args.add_host)?,
        hosts_file: args.hosts_file.clone().unwrap_or_default(),
        no_hosts: args.no_hosts.unwrap_or(containers.no_hosts),
        no_hostname: args.no_hostname,
        dns_options: split(&args.dns_option)?,
        dns_search: split(&args.dns_search)?,
        ..network::Request::default()
    };
    for value in &request.add_hosts {
        network::hosts::check_extra(value)?;
    }
    let servers = split(&args.dns)?;
    for server in &servers {
        if server == "none" {
            if servers.len() > 1 {
                let text = "none is not allowed to be specified with other DNS ip addresses";
                return Err(CommandError::new(text));
            }
            request.image_resolv_conf = true;
            break;
        }
        let address =
            server.parse().map_err(|_| CommandError::new(format!("{server} is not an ip address")))?;
        request.dns_servers.push(address);
    }
    for domain in &request.dns_search {
        if domain == "." && request.dns_search.len() > 1 {
            return Err(CommandError::new("cannot pass additional search domains when also specifying '.'"));
        }
        if domain != "." {
            network::resolv::check_search(domain)?;
        }
    }
    for value in split(&args.publish)? {
        let mut ports = network::port::parse(&value)?;
        // To be reached from elsewhere must be asked for.
        if profile.is_strict() && !value.starts_with("0.0.0.0:") {
            for port in &mut ports {
                port.host_ip = port.host_ip.or(Some(Ipv4Addr::LOCALHOST.into()));
            }
        }
        request.ports.extend(ports);
    }
    Ok(request)
}
