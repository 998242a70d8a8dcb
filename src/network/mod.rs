//! Networks of containers: what `--network` and `--publish` mean, the driver that connects a
//! network namespace, and the contents of /etc/hosts and /etc/resolv.conf.
//!
//! No container records here: drivers take the plain [`Request`] and the pid of the
//! container's first process, and answer with a [`Status`].

pub mod address;
pub mod driver;
pub mod error;
pub mod hosts;
pub mod mode;
pub mod named;
pub mod pasta;
pub mod port;
pub mod resolv;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use driver::{Context, Driver, driver};
pub use error::{Error, Result};
pub use mode::Mode;
pub use port::{PortMapping, Protocol};

/// What the network group of `run` and `create` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// `--network`
    pub mode: Mode,
    /// `--publish` and `--publish-all` after [`port::assign`].
    pub ports: Vec<PortMapping>,
    /// `--dns`
    pub dns_servers: Vec<IpAddr>,
    /// `--dns-search`
    pub dns_search: Vec<String>,
    /// `--dns-option`
    pub dns_options: Vec<String>,
    /// `--dns none`: the image's resolv.conf stays.
    pub image_resolv_conf: bool,
    /// `--add-host`, `NAME[;NAME…]:ADDRESS` or `NAME:host-gateway`
    pub add_hosts: Vec<String>,
    /// `--hosts-file`: a path, `image`, `none`; empty takes containers.conf's.
    pub hosts_file: String,
    /// `--no-hosts`: the image's /etc/hosts stays.
    pub no_hosts: bool,
    /// `--no-hostname`: the image's /etc/hostname stays.
    pub no_hostname: bool,
}

/// How a container came to be connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The container's addresses, loopback and link-local ones left out.
    pub addresses: Vec<IpAddr>,
    /// Name servers that the driver provides; they come first in resolv.conf.
    pub dns_servers: Vec<IpAddr>,
    /// The address under which the container reaches the host.
    pub host_address: Option<IpAddr>,
    /// Whether the container has an IPv6 address that leads anywhere.
    pub ipv6: bool,
    /// The helper process that forwards, if there is one.
    pub helper: Option<Helper>,
}

/// A process that lives as long as the container's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Helper {
    /// Its id.
    pub pid: u32,
    /// Field 22 of /proc/PID/stat, so that a reused id is noticed.
    pub start_time: u64,
}
