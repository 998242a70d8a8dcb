//! The addresses of a network namespace, read from the /proc/net of a process in it.
//!
//! Entering the namespace to ask by netlink would need a process of its own: a monitor that
//! has left the host's network namespace has no right to return.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of the namespace of `process` (a pid, or `self`): IPv4 first, loopback and
/// IPv6 link-local ones left out.
#[must_use]
pub fn addresses_of(process: &str) -> Vec<IpAddr> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{process}/net/{name}")).unwrap_or_default();
    let mut addresses: Vec<IpAddr> = parse_fib_trie(&read("fib_trie")).into_iter().map(IpAddr::V4).collect();
    addresses.extend(parse_if_inet6(&read("if_inet6")).into_iter().map(IpAddr::V6));
    addresses
}

/// Local addresses of the routing tables: leaves that are followed by `/32 host LOCAL`.
fn parse_fib_trie(text: &str) -> Vec<Ipv4Addr> {
    let mut addresses = Vec::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in text.lines() {
        let line = line.trim_start();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.trim().parse().ok();
        } else if line.trim_end() == "/32 host LOCAL"
            && let Some(address) = leaf
            && !address.is_loopback()
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    addresses
}

/// Lines of address, interface, prefix length, scope, flags and name; scope 00 is global.
fn parse_if_inet6(text: &str) -> Vec<Ipv6Addr> {
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?;
        (fields.nth(2)? == "00").then(|| Ipv6Addr::from(address))
    };
    text.lines()
        .filter_map(parse)
        .filter(|address| !address.is_loopback() && !address.is_multicast())
        .collect()
}

/// An address of the host that is none of `exclude`, IPv4 preferred: how a container reaches
/// its host where nothing translates.
#[must_use]
pub fn host_address(exclude: &[IpAddr]) -> Option<IpAddr> {
    let addresses = addresses_of("self");
    let mut usable = addresses.into_iter().filter(|address| {
        !exclude.contains(address) && !matches!(address, IpAddr::V4(address) if address.is_link_local())
    });
    usable.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_found_in_the_trie() {
        let text = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 10.0.2.0/24 2 0 2\n        |-- 10.0.2.0\n           /24 link UNICAST\n        |-- 10.0.2.100\n           /32 host LOCAL\n        |-- 10.0.2.255\n           /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\nLocal:\n        |-- 10.0.2.100\n           /32 host LOCAL\n";
        assert_eq!(parse_fib_trie(text), [Ipv4Addr::new(10, 0, 2, 100)]);
        assert_eq!(parse_fib_trie(""), [] as [Ipv4Addr; 0]);
    }

    #[test]
    fn global_addresses_are_found_in_if_inet6() {
        let text = "fe80000000000000000000fffe000001 02 40 20 80     eth0\n\
            00000000000000000000000000000001 01 80 10 80       lo\n\
            20010db8000000000000000000000010 02 40 00 80     eth0\n";
        assert_eq!(parse_if_inet6(text), ["2001:db8::10".parse::<Ipv6Addr>().unwrap()]);
    }
}
