//! The contents of a container's /etc/hosts.
//!
//! Order, as podman writes it: `--add-host`, then the base file, then localhost, the host's
//! own names and the container's names, each as far as no earlier line has the name.

use std::collections::HashSet;
use std::net::IpAddr;

use super::{Error, Result};

/// The names under which a container reaches its host.
const HOST_NAMES: [&str; 2] = ["host.containers.internal", "host.docker.internal"];

/// An address and its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The address as text; lines of the base file are kept as they are.
    pub address: String,
    /// The names, at least one.
    pub names: Vec<String>,
}

/// What a hosts file is made from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hosts<'a> {
    /// Text of the base file; empty for none.
    pub base: &'a str,
    /// Values of `--add-host`.
    pub extra: &'a [String],
    /// The address behind host.containers.internal, as text of containers.conf or an address.
    pub host_address: Option<&'a str>,
    /// The container's own address.
    pub own_address: Option<IpAddr>,
    /// The container's own names: host name and container name.
    pub own_names: &'a [String],
}

impl Hosts<'_> {
    /// Writes the file's text.
    pub fn render(&self) -> Result<String> {
        let mut text = String::new();
        let mut taken = HashSet::new();
        let extra = self.extra.iter().map(|value| parse_extra(value, self.host_address));
        let given: Vec<Entry> = extra.chain(parse_base(self.base).map(Ok)).collect::<Result<_>>()?;
        for entry in given {
            push_line(&mut text, &entry.address, &entry.names);
            taken.extend(entry.names);
        }
        for entry in self.own_entries() {
            let free: Vec<String> = entry.names.into_iter().filter(|name| !taken.contains(name)).collect();
            if !free.is_empty() {
                push_line(&mut text, &entry.address, &free);
            }
        }
        Ok(text)
    }

    fn own_entries(&self) -> Vec<Entry> {
        let entry = |address: &str, names: &[&str]| Entry {
            address: address.to_owned(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
        };
        let mut entries = vec![entry("127.0.0.1", &["localhost"]), entry("::1", &["localhost"])];
        entries.extend(self.host_address.map(|address| entry(address, &HOST_NAMES)));
        if let Some(address) = self.own_address {
            entries.push(Entry { address: address.to_string(), names: self.own_names.to_vec() });
        }
        entries
    }
}

fn push_line(text: &mut String, address: &str, names: &[String]) {
    text.push_str(address);
    text.push('\t');
    text.push_str(&names.join(" "));
    text.push('\n');
}

/// The entries of a hosts file, without comments and without lines that name nothing.
fn parse_base(text: &str) -> impl Iterator<Item = Entry> {
    text.lines().filter_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut fields = line.split_whitespace().map(str::to_owned);
        let address = fields.next()?;
        let names: Vec<String> = fields.collect();
        (!names.is_empty()).then_some(Entry { address, names })
    })
}

/// Checks a value of `--add-host`: `NAME[;NAME…]:ADDRESS`, or `host-gateway` as the address.
pub fn check_extra(value: &str) -> Result<()> {
    let Some((names, address)) = value.split_once(':').filter(|(names, _)| !names.is_empty()) else {
        return Err(Error::Syntax(format!("bad format for add-host: {value:?}")));
    };
    if names.split(';').any(str::is_empty) {
        return Err(Error::Syntax(format!("hostname in add-host {value:?} is empty")));
    }
    if address != HOST_GATEWAY && address.trim().parse::<IpAddr>().is_err() {
        return Err(Error::Syntax(format!("invalid IP address in add-host: {address:?}")));
    }
    // A line break would smuggle in a line of its own.
    if value.chars().any(char::is_control) {
        return Err(Error::Syntax(format!("bad format for add-host: {value:?}")));
    }
    Ok(())
}

/// Stands for the host's address in `--add-host`.
const HOST_GATEWAY: &str = "host-gateway";

fn parse_extra(value: &str, host_address: Option<&str>) -> Result<Entry> {
    check_extra(value)?;
    let (names, address) = value.split_once(':').expect("a checked value has a colon");
    let address = match (address, host_address) {
        (HOST_GATEWAY, Some(address)) => address,
        (HOST_GATEWAY, None) => return Err(Error::NoHostGateway { entry: value.to_owned() }),
        (address, _) => address.trim(),
    };
    Ok(Entry { address: address.to_owned(), names: names.split(';').map(str::to_owned).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_podman_s_order_and_no_name_twice() {
        let base =
            "# comment\n127.0.0.1\tlocalhost # here\n127.0.1.1 box.lan  box\n10.0.0.9\n\n::1 ip6-localhost\n";
        let hosts = Hosts {
            base,
            extra: &["a;b:192.0.2.7".to_owned(), "gw:host-gateway".to_owned(), "six:2001:db8::1".to_owned()],
            host_address: Some("169.254.1.2"),
            own_address: Some("10.0.2.100".parse().unwrap()),
            own_names: &["web".to_owned(), "box".to_owned()],
        };
        let expected = "192.0.2.7\ta b\n169.254.1.2\tgw\n2001:db8::1\tsix\n\
             127.0.0.1\tlocalhost\n127.0.1.1\tbox.lan box\n::1\tip6-localhost\n\
             169.254.1.2\thost.containers.internal host.docker.internal\n10.0.2.100\tweb\n";
        assert_eq!(hosts.render().unwrap(), expected);
    }

    #[test]
    fn without_anything_localhost_remains() {
        assert_eq!(Hosts::default().render().unwrap(), "127.0.0.1\tlocalhost\n::1\tlocalhost\n");
    }

    #[test]
    fn senseless_extra_hosts() {
        let cases = [
            ("noaddress", "bad format for add-host: \"noaddress\""),
            (":1.2.3.4", "bad format for add-host: \":1.2.3.4\""),
            ("a;;b:1.2.3.4", "hostname in add-host \"a;;b:1.2.3.4\" is empty"),
            ("a:1.2.3", "invalid IP address in add-host: \"1.2.3\""),
            ("a:", "invalid IP address in add-host: \"\""),
            ("a\n1.1.1.1 b:1.2.3.4", "bad format for add-host: \"a\\n1.1.1.1 b:1.2.3.4\""),
        ];
        for (value, expected) in cases {
            assert_eq!(check_extra(value).unwrap_err().to_string(), expected, "{value}");
        }
        let extra = ["a:host-gateway".to_owned()];
        let error = Hosts { extra: &extra, ..Hosts::default() }.render().unwrap_err();
        assert!(error.to_string().starts_with("unable to replace \"host-gateway\""), "{error}");
    }
}
