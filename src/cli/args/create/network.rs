//! Flags of the network and of the files about it.

use crate::cli::values::go_bool;

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
