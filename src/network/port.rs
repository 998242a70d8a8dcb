//! `--publish`: `[[IP:][HOST_PORT[-END]]:]CONTAINER_PORT[-END][/PROTOCOL]`.
//!
//! Parsing and normalisation follow podman, texts of errors included: ranges that touch are
//! joined, an absent host port becomes a free one, overlaps that contradict are refused.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// A transport protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP, which no rootless driver forwards.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "" | "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            other => Err(Error::Syntax(format!("unrecognized protocol {other:?} in port mapping"))),
        }
    }
}

/// `range` ports of the host from `host_port` on lead to those of the container from `container_port` on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Address of the host; `None` means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// First port of the host; 0 means any free one, until [`assign`].
    pub host_port: u16,
    /// First port of the container, not 0.
    pub container_port: u16,
    /// How many ports, at least 1.
    pub range: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// Reads one value of `--publish`; a list of protocols gives several mappings.
pub fn parse(value: &str) -> Result<Vec<PortMapping>> {
    let syntax = |text: &str| Error::Syntax(text.to_owned());
    let mut parts = value.split('/');
    let ports = parts.next().unwrap_or_default();
    let protocol = parts.next();
    if parts.next().is_some() {
        return Err(syntax("invalid port format - protocol can only be specified once"));
    }
    let (host_ip, host_port, container_port) = split_addresses(ports)?;
    if container_port.is_empty() {
        return Err(syntax("must provide a non-empty container port to publish"));
    }
    let (container_port, range) =
        parse_range(container_port).map_err(|err| Error::Syntax(format!("parsing container port: {err}")))?;
    if protocol == Some("") {
        return Err(syntax("must provide a non-empty protocol to publish"));
    }
    let host_ip = host_ip.map(parse_host_ip).transpose()?.flatten();
    let host_port = match host_port {
        None | Some("") => 0,
        Some(text) => {
            let (start, length) =
                parse_range(text).map_err(|err| Error::Syntax(format!("parsing host port: {err}")))?;
            if length != range {
                return Err(Error::Syntax(format!(
                    "host and container port ranges have different lengths: {length} vs {range}"
                )));
            }
            start
        }
    };
    let mut protocols =
        protocol.unwrap_or("tcp").split(',').map(str::parse).collect::<Result<Vec<Protocol>>>()?;
    protocols.sort_unstable();
    protocols.dedup();
    let mapping = |protocol| PortMapping { host_ip, host_port, container_port, range, protocol };
    Ok(protocols.into_iter().map(mapping).collect())
}

type Addresses<'a> = (Option<&'a str>, Option<&'a str>, &'a str);

/// Splits `[IP:][HOST:]CONTAINER`, with an IPv6 address in brackets.
fn split_addresses(text: &str) -> Result<Addresses<'_>> {
    let syntax = |text: &str| Error::Syntax(format!("invalid port format - {text}"));
    let (ip, rest) = match text.split(']').collect::<Vec<_>>().as_slice() {
        [rest] => (None, *rest),
        [ip, rest] => {
            let ip = ip.strip_prefix('[').ok_or_else(|| syntax("IPv6 addresses must be enclosed by []"))?;
            let rest = rest
                .strip_prefix(':')
                .ok_or_else(|| syntax("IPv6 address must be followed by a colon (':')"))?;
            (Some(ip), rest)
        }
        _ => return Err(syntax("at most one IPv6 address can be specified in a --publish")),
    };
    match (ip, rest.split(':').collect::<Vec<_>>().as_slice()) {
        (Some(_), [_]) => Err(syntax("must provide host and destination port if specifying an IP")),
        (None, [container]) => Ok((None, None, container)),
        (ip, [host, container]) => Ok((ip, Some(host), container)),
        (Some(_), [_, _, _]) => Err(syntax("when v6 address specified, must be [ipv6]:hostPort:ctrPort")),
        (None, [ip, host, container]) => Ok((Some(ip), Some(host), container)),
        _ => Err(syntax("format is [[hostIP:]hostPort:]containerPort")),
    }
}

/// 0.0.0.0 is the same as no address.
fn parse_host_ip(text: &str) -> Result<Option<IpAddr>> {
    if text.is_empty() {
        return Err(Error::Syntax("must provide a non-empty container host IP to publish".to_owned()));
    }
    let ip: IpAddr =
        text.parse().map_err(|_| Error::Syntax(format!("cannot parse {text:?} as an IP address")))?;
    Ok((text != "0.0.0.0").then_some(ip))
}

/// Start and length of `START[-END]`.
fn parse_range(text: &str) -> Result<(u16, u16), String> {
    let parts: Vec<&str> = text.split('-').collect();
    let (start, end) = match parts.as_slice() {
        ["", ..] if parts.len() <= 2 => return Err("port numbers cannot be negative".to_owned()),
        [start] => return Ok((parse_port(start)?, 1)),
        [_, ""] => return Err("must provide ending number for port range".to_owned()),
        [start, end] => (parse_port(start)?, parse_port(end)?),
        _ => {
            return Err("invalid port format - port ranges are formatted as startPort-stopPort".to_owned());
        }
    };
    if end <= start {
        return Err(format!(
            "the end port of a range must be higher than the start port - {end} is not higher than {start}"
        ));
    }
    // 1-65535 is the longest range, and its length fits.
    Ok((start, end - start + 1))
}

fn parse_port(text: &str) -> Result<u16, String> {
    let number: i64 = text
        .strip_prefix('+')
        .unwrap_or(text)
        .parse()
        .map_err(|_| format!("invalid port number: strconv.Atoi: parsing {text:?}: invalid syntax"))?;
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!("port numbers must be between 1 and 65535 (inclusive), got {number}")),
    }
}

/// Reads `--expose`: `PORT[-END][/PROTOCOL]`.
pub fn parse_expose(value: &str) -> Result<Vec<(u16, Protocol)>> {
    let (ports, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
    let (start, length) = parse_range(ports)
        .map_err(|err| Error::Syntax(format!("invalid range format for --expose: {value}: {err}")))?;
    let protocol: Protocol = protocol.parse()?;
    Ok((0..length).map(|offset| (start + offset, protocol)).collect())
}

/// Joins, checks and completes mappings, and adds one for each of `exposed` (`--publish-all`)
/// that no mapping has yet. `free_port` proposes free ports of the host.
pub fn assign(
    mappings: &[PortMapping],
    exposed: &[(u16, Protocol)],
    mut free_port: impl FnMut(Protocol) -> Option<u16>,
) -> Result<Vec<PortMapping>> {
    let mut groups: BTreeMap<(Option<IpAddr>, Protocol), Vec<PortMapping>> = BTreeMap::new();
    for mapping in mappings {
        check_ends(mapping)?;
        groups.entry((mapping.host_ip, mapping.protocol)).or_default().push(mapping.clone());
    }
    let mut result: Vec<PortMapping> = Vec::new();
    for group in groups.into_values() {
        let (mut fixed, mut open): (Vec<_>, Vec<_>) = group.into_iter().partition(|m| m.host_port != 0);
        fixed.sort_by_key(|m| (m.host_port, m.container_port));
        open.sort_by_key(|m| (m.container_port, m.range));
        let mut group = join_fixed(fixed)?;
        for mut mapping in join_open(open) {
            mapping.host_port = pick_host_port(&mapping, &group, &mut free_port)?;
            group.push(mapping);
        }
        result.extend(group);
    }
    for &(port, protocol) in exposed {
        let covered = |m: &PortMapping| {
            m.protocol == protocol && port >= m.container_port && port - m.container_port < m.range
        };
        if !result.iter().any(covered) {
            let mut mapping =
                PortMapping { host_ip: None, host_port: 0, container_port: port, range: 1, protocol };
            mapping.host_port = pick_host_port(&mapping, &result, &mut free_port)?;
            result.push(mapping);
        }
    }
    Ok(result)
}

fn check_ends(mapping: &PortMapping) -> Result<()> {
    let fits = |start: u16| u32::from(start) + u32::from(mapping.range) <= 65_536;
    if mapping.container_port == 0 {
        return Err(Error::Syntax("container port number must be non-0".to_owned()));
    }
    if !fits(mapping.container_port) {
        return Err(Error::Syntax("container port range exceeds maximum allowable port number".to_owned()));
    }
    if !fits(mapping.host_port) {
        return Err(Error::Syntax("host port range exceeds maximum allowable port number".to_owned()));
    }
    Ok(())
}

/// Joins mappings with host ports that touch or overlap and agree; sorted by host port.
fn join_fixed(mappings: Vec<PortMapping>) -> Result<Vec<PortMapping>> {
    let mut joined: Vec<PortMapping> = Vec::new();
    for mapping in mappings {
        let Some(last) = joined.last_mut() else {
            joined.push(mapping);
            continue;
        };
        let end = u32::from(last.host_port) + u32::from(last.range);
        if end >= u32::from(mapping.host_port) {
            let distance = mapping.host_port - last.host_port;
            if mapping.container_port.checked_sub(last.container_port) == Some(distance) {
                last.range = last.range.max(distance + mapping.range);
                continue;
            }
            if end > u32::from(mapping.host_port) {
                return Err(Error::PortConflict { port: mapping.host_port, protocol: mapping.protocol });
            }
        }
        joined.push(mapping);
    }
    Ok(joined)
}

/// Joins mappings without host ports that overlap in the container; sorted by container port.
fn join_open(mappings: Vec<PortMapping>) -> Vec<PortMapping> {
    let mut joined: Vec<PortMapping> = Vec::new();
    for mapping in mappings {
        match joined.last_mut() {
            Some(last) if mapping.container_port - last.container_port < last.range => {
                last.range = last.range.max(mapping.container_port - last.container_port + mapping.range);
            }
            _ => joined.push(mapping),
        }
    }
    joined
}

fn pick_host_port(
    mapping: &PortMapping,
    taken: &[PortMapping],
    free_port: &mut impl FnMut(Protocol) -> Option<u16>,
) -> Result<u16> {
    let overlaps = |start: u16| {
        let end = |start: u16, range: u16| u32::from(start) + u32::from(range);
        taken.iter().filter(|m| m.protocol == mapping.protocol).any(|m| {
            u32::from(start) < end(m.host_port, m.range) && u32::from(m.host_port) < end(start, mapping.range)
        })
    };
    // As often as podman tries.
    (0..15)
        .filter_map(|_| free_port(mapping.protocol))
        .find(|&start| u32::from(start) + u32::from(mapping.range) <= 65_535 && !overlaps(start))
        .ok_or(Error::NoFreePort { container_port: mapping.container_port })
}

/// Tries to listen on the host's ports of `mappings`, so that a taken or forbidden one is named:
/// pasta goes on when only one of IPv4 and IPv6 could be had.
pub fn check_free(mappings: &[PortMapping]) -> Result<()> {
    /// More are not tried: the helper has to say it then.
    const MOST: usize = 256;
    let ports = mappings.iter().flat_map(|mapping| {
        (0..mapping.range).map(move |offset| (mapping, mapping.host_port.saturating_add(offset)))
    });
    for (mapping, port) in ports.take(MOST) {
        let ip = mapping.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let address = SocketAddr::new(ip, port);
        let tried = match mapping.protocol {
            Protocol::Tcp => TcpListener::bind(address).map(drop),
            Protocol::Udp => UdpSocket::bind(address).map(drop),
            Protocol::Sctp => Ok(()),
        };
        tried.map_err(|source| Error::Bind { protocol: mapping.protocol, address, source })?;
    }
    Ok(())
}

/// A port of the host that is free at the moment.
#[must_use]
pub fn free_host_port(protocol: Protocol) -> Option<u16> {
    let port = match protocol {
        Protocol::Tcp | Protocol::Sctp => TcpListener::bind("0.0.0.0:0").ok()?.local_addr(),
        Protocol::Udp => UdpSocket::bind("0.0.0.0:0").ok()?.local_addr(),
    };
    Some(port.ok()?.port())
}

#[cfg(test)]
#[path = "port_tests.rs"]
mod tests;
