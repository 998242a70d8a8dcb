//! The contents of a container's /etc/resolv.conf, as podman writes it.

use std::net::IpAddr;

use super::{Error, Result};

/// Used when the host names no server that the container could reach.
const PUBLIC_V4: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
const PUBLIC_V6: [&str; 2] = ["2001:4860:4860::8888", "2001:4860:4860::8844"];

/// What a resolv.conf is made from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resolv<'a> {
    /// Text of the host's file; see [`real_file`].
    pub host: &'a str,
    /// Whether the container uses the host's network: nothing is filtered then.
    pub host_network: bool,
    /// Whether the container reaches IPv6 addresses.
    pub ipv6: bool,
    /// Servers from containers.conf and `--dns`; they replace all others.
    pub servers: &'a [String],
    /// Servers that the network provides; they come before the host's.
    pub network_servers: &'a [IpAddr],
    /// Domains from containers.conf and `--dns-search`; `.` means none.
    pub search: &'a [String],
    /// Options from containers.conf and `--dns-option`.
    pub options: &'a [String],
}

impl Resolv<'_> {
    /// Writes the file's text.
    #[must_use]
    pub fn render(&self) -> String {
        let host = File::parse(self.host);
        let servers = if self.servers.is_empty() {
            let network = self.network_servers.iter().map(IpAddr::to_string);
            network.chain(self.reachable(host.servers)).collect()
        } else {
            self.servers.to_vec()
        };
        let search = match self.search {
            [] => host.search,
            given if given.iter().any(|domain| domain == ".") => Vec::new(),
            given => given.to_vec(),
        };
        let options = if self.options.is_empty() { host.options } else { self.options.to_vec() };
        let mut text = String::new();
        if !search.is_empty() && search != ["."] {
            text.push_str(&format!("search {}\n", search.join(" ")));
        }
        for server in servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !options.is_empty() {
            text.push_str(&format!("options {}\n", options.join(" ")));
        }
        text
    }

    /// The host's servers that mean the same inside of the container.
    fn reachable(&self, servers: Vec<String>) -> Vec<String> {
        if self.host_network {
            return servers;
        }
        let mut kept: Vec<String> = servers.into_iter().filter(|server| self.is_reachable(server)).collect();
        if kept.is_empty() {
            kept.extend(PUBLIC_V4.map(str::to_owned));
            if self.ipv6 {
                kept.extend(PUBLIC_V6.map(str::to_owned));
            }
        }
        kept
    }

    fn is_reachable(&self, server: &str) -> bool {
        // An address with a zone names an interface that the container does not have.
        match server.parse::<IpAddr>() {
            Ok(address) => !address.is_loopback() && (address.is_ipv4() || self.ipv6),
            Err(_) => false,
        }
    }
}

/// The file to read instead of /etc/resolv.conf (whose text is given), when that names only a
/// resolver on the host's loopback, which containers do not reach.
#[must_use]
pub fn real_file(text: &str) -> Option<&'static str> {
    match File::parse(text).servers.as_slice() {
        [server] if server == "127.0.0.53" => Some("/run/systemd/resolve/resolv.conf"),
        [server] if server == "127.0.0.1" => Some("/run/NetworkManager/no-stub-resolv.conf"),
        _ => None,
    }
}

/// Checks a value of `--dns-search`.
pub fn check_search(domain: &str) -> Result<()> {
    let label = |label: &str| {
        label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && label.bytes().next().is_some_and(|byte| byte != b'-')
            && !label.ends_with('-')
    };
    let trimmed = domain.trim_end();
    let name = trimmed.strip_suffix('.').unwrap_or(trimmed);
    let valid =
        name.len() < 255 && name.bytes().any(|byte| byte.is_ascii_alphabetic()) && name.split('.').all(label);
    if valid { Ok(()) } else { Err(Error::Syntax(format!("{domain} is not a valid domain"))) }
}

/// What matters of a resolv.conf.
#[derive(Debug, Default, PartialEq, Eq)]
struct File {
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
}

impl File {
    /// Of several `search` and `options` lines the last one counts.
    fn parse(text: &str) -> Self {
        let mut file = Self::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let keyword = words.next();
            let values = words.map(str::to_owned).collect::<Vec<String>>();
            match (keyword, values.as_slice()) {
                (Some("nameserver"), [server]) if is_address(server) => file.servers.push(server.clone()),
                (Some("search"), _) => file.search = values,
                (Some("options"), _) => file.options = values,
                _ => {}
            }
        }
        file
    }
}

/// An address, with a zone such as `%eth0` or without.
fn is_address(text: &str) -> bool {
    text.split('%').next().is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# by hand\nnameserver 127.0.0.1\nnameserver 192.0.2.53 # lan\nnameserver fe80::1%eth0\n\
        nameserver 2001:db8::53\nnameserver garbage\nsearch old.example\nsearch lan.example corp.example\n\
        options ndots:2 edns0\n";

    #[test]
    fn host_s_servers_are_filtered_and_follow_the_network_s() {
        let network_servers = ["169.254.1.1".parse().unwrap()];
        let resolv = Resolv { host: HOST, network_servers: &network_servers, ..Resolv::default() };
        let tail = "options ndots:2 edns0\n";
        let head = "search lan.example corp.example\nnameserver 169.254.1.1\nnameserver 192.0.2.53\n";
        assert_eq!(resolv.render(), format!("{head}{tail}"));
        let resolv = Resolv { ipv6: true, ..resolv };
        assert_eq!(resolv.render(), format!("{head}nameserver 2001:db8::53\n{tail}"));
    }

    #[test]
    fn host_network_keeps_everything() {
        let resolv = Resolv { host: "nameserver 127.0.0.53\n", host_network: true, ..Resolv::default() };
        assert_eq!(resolv.render(), "nameserver 127.0.0.53\n");
    }

    #[test]
    fn public_servers_stand_in_where_none_is_left() {
        let resolv = Resolv { host: "nameserver 127.0.0.53\n", ..Resolv::default() };
        assert_eq!(resolv.render(), "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
        let resolv = Resolv { ipv6: true, host: "", ..resolv };
        assert_eq!(resolv.render().lines().count(), 4);
    }

    #[test]
    fn explicit_values_replace_the_host_s() {
        let servers = ["1.1.1.1".to_owned()];
        let search = ["x.example".to_owned()];
        let options = ["debug".to_owned()];
        let network_servers = ["169.254.1.1".parse().unwrap()];
        let resolv = Resolv {
            host: HOST,
            servers: &servers,
            search: &search,
            options: &options,
            network_servers: &network_servers,
            ..Resolv::default()
        };
        assert_eq!(resolv.render(), "search x.example\nnameserver 1.1.1.1\noptions debug\n");
        let none = [".".to_owned()];
        let resolv = Resolv { search: &none, ..resolv };
        assert_eq!(resolv.render(), "nameserver 1.1.1.1\noptions debug\n");
    }

    #[test]
    fn local_resolvers_point_to_the_real_file() {
        assert_eq!(real_file("nameserver 127.0.0.53\noptions x\n"), Some("/run/systemd/resolve/resolv.conf"));
        assert_eq!(real_file("nameserver 127.0.0.1"), Some("/run/NetworkManager/no-stub-resolv.conf"));
        assert_eq!(real_file("nameserver 127.0.0.53\nnameserver 1.1.1.1\n"), None);
        assert_eq!(real_file(""), None);
    }

    #[test]
    fn search_domains() {
        for domain in ["example", "a.example", "a-b.example.", "x1.y2"] {
            assert!(check_search(domain).is_ok(), "{domain}");
        }
        for domain in ["", "123", "-a.example", "a-.example", "a..b", "a b", "a_b", "a\nnameserver b"] {
            assert!(check_search(domain).is_err(), "{domain}");
        }
    }
}
