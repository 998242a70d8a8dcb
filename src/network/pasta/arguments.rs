//! The command line of pasta: podman's choices, which containers.conf and the user can override.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::features::Features;
use crate::network::PortMapping;

/// Answers DNS inside: link-local, so it should clash with nothing.
const DNS_FORWARD: &str = "169.254.1.1";
/// Leads to the host from inside.
const MAP_GUEST: &str = "169.254.1.2";

/// A command line without the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arguments {
    words: Vec<String>,
    /// Addresses of `--dns-forward`.
    pub(super) dns_forward: Vec<IpAddr>,
    /// Addresses of `--map-guest-addr`.
    pub(super) map_guest: Vec<IpAddr>,
    /// Where the user wants the pid to be written.
    pub(super) pid_file: Option<PathBuf>,
}

impl Arguments {
    /// Builds the command line from options of containers.conf, those of the user, and ports.
    pub(super) fn new(
        configured: &[String],
        options: &[String],
        ports: &[PortMapping],
        features: Features,
        pid_file: &Path,
    ) -> Self {
        let mut words = vec!["--config-net".to_owned()];
        // `--map-gw` is no option of pasta: it takes our `--no-map-gw` away.
        words.extend(configured.iter().chain(options).filter(|&option| option != "--map-gw").cloned());
        let map_gateway = configured.iter().chain(options).any(|option| option == "--map-gw");
        let given = Given { words: words.clone() };
        words.extend(ports.iter().flat_map(port_words));
        let mut add = |extra: &[&str]| words.extend(extra.iter().map(|&word| word.to_owned()));

        let mut dns_forward = given.values(&["--dns-forward"]);
        if dns_forward.is_empty() {
            add(&["--dns-forward", DNS_FORWARD]);
            dns_forward.push(DNS_FORWARD.to_owned());
        }
        let mut map_guest = given.values(&["--map-guest-addr"]);
        if map_guest.is_empty() && features.map_guest_addr {
            add(&["--map-guest-addr", MAP_GUEST]);
            map_guest.push(MAP_GUEST.to_owned());
        }
        // Without these pasta forwards every port that is bound on either side.
        let is_published =
            |protocol| ports.iter().any(|port: &PortMapping| port.protocol.to_string() == protocol);
        if !given.has(&["-t", "--tcp-ports"]) && !is_published("tcp") {
            add(&["-t", "none"]);
        }
        if !given.has(&["-u", "--udp-ports"]) && !is_published("udp") {
            add(&["-u", "none"]);
        }
        if !given.has(&["-T", "--tcp-ns"]) {
            add(&["-T", "none"]);
        }
        if !given.has(&["-U", "--udp-ns"]) {
            add(&["-U", "none"]);
        }
        if !map_gateway {
            add(&["--no-map-gw"]);
        }
        if !given.has(&["-d", "--debug", "--trace"]) {
            add(&["--quiet"]);
        }
        if !features.opens_any && !given.has(&["--no-netns-quit"]) {
            // The path leads through a process that is gone soon; we end pasta ourselves.
            add(&["--no-netns-quit"]);
        }
        let user_pid_file = given.values(&["-P", "--pid"]).pop().map(PathBuf::from);
        if user_pid_file.is_none() {
            add(&["--pid", &pid_file.to_string_lossy()]);
        }
        let addresses = |texts: Vec<String>| texts.iter().filter_map(|text| text.parse().ok()).collect();
        Self {
            words,
            dns_forward: addresses(dns_forward),
            map_guest: addresses(map_guest),
            pid_file: user_pid_file,
        }
    }

    /// The whole command line for the namespace at `path`.
    pub(super) fn with_namespace(&self, path: &str, as_root: bool) -> Vec<String> {
        let mut words = self.words.clone();
        words.extend(["--netns".to_owned(), path.to_owned()]);
        if as_root {
            // Root of the host's namespace would become nobody, who may not enter the container's.
            words.extend(["--runas".to_owned(), "0".to_owned()]);
        }
        words
    }
}

/// What was asked for explicitly.
struct Given {
    words: Vec<String>,
}

impl Given {
    fn has(&self, names: &[&str]) -> bool {
        self.words
            .iter()
            .any(|word| names.iter().any(|&name| word == name || is_joined(word, name).is_some()))
    }

    /// The values of an option, as `--name VALUE` or `--name=VALUE`.
    fn values(&self, names: &[&str]) -> Vec<String> {
        let mut values = Vec::new();
        for (index, word) in self.words.iter().enumerate() {
            for name in names {
                if word == name {
                    values.extend(self.words.get(index + 1).cloned());
                }
                values.extend(is_joined(word, name).map(str::to_owned));
            }
        }
        values
    }
}

/// The value of `--name=VALUE`.
fn is_joined<'a>(word: &'a str, name: &str) -> Option<&'a str> {
    word.strip_prefix(name)?.strip_prefix('=').filter(|_| name.starts_with("--"))
}

/// `-t [ADDRESS/]FIRST-LAST:FIRST-LAST`.
fn port_words(port: &PortMapping) -> [String; 2] {
    let option = match port.protocol {
        crate::network::Protocol::Udp => "-u",
        _ => "-t",
    };
    let address = port.host_ip.map(|address| format!("{address}/")).unwrap_or_default();
    let last = |first: u16| first + (port.range - 1);
    let (host, container) = (port.host_port, port.container_port);
    [option.to_owned(), format!("{address}{host}-{}:{container}-{}", last(host), last(container))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::port;

    fn build(configured: &[&str], options: &[&str], ports: &[&str], features: Features) -> Arguments {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let ports: Vec<_> = ports.iter().flat_map(|value| port::parse(value).unwrap()).collect();
        Arguments::new(&owned(configured), &owned(options), &ports, features, Path::new("/run/p"))
    }

    const NEW: Features = Features::of_version(true);
    const OLD: Features = Features::of_version(false);

    #[test]
    fn defaults_are_podman_s() {
        let arguments = build(&[], &[], &[], NEW);
        assert_eq!(
            arguments.with_namespace("/n", false).join(" "),
            "--config-net --dns-forward 169.254.1.1 --map-guest-addr 169.254.1.2 -t none -u none -T none -U none \
             --no-map-gw --quiet --pid /run/p --netns /n"
        );
        assert_eq!(arguments.map_guest.len(), 1);
        let arguments = build(&[], &[], &[], OLD);
        assert!(!arguments.words.iter().any(|word| word.contains("map-guest")));
        assert!(arguments.words.contains(&"--no-netns-quit".to_owned()));
        assert!(arguments.map_guest.is_empty());
    }

    #[test]
    fn options_of_the_user_follow_those_of_the_file_and_switch_defaults_off() {
        let arguments = build(
            &["-I", "myname"],
            &[
                "-t",
                "80",
                "--udp-ports=90",
                "--map-gw",
                "--trace",
                "--dns-forward",
                "198.51.100.1",
                "--pid",
                "/u",
            ],
            &[],
            NEW,
        );
        assert_eq!(
            arguments.words.join(" "),
            "--config-net -I myname -t 80 --udp-ports=90 --trace --dns-forward 198.51.100.1 --pid /u \
             --map-guest-addr 169.254.1.2 -T none -U none"
        );
        assert_eq!(arguments.dns_forward, ["198.51.100.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(arguments.pid_file, Some("/u".into()));
    }

    #[test]
    fn ports_keep_their_addresses_and_ranges() {
        let arguments = build(&[], &[], &["8000-8002:80-82", "127.0.0.1:53:53/udp", "[::1]:1:2"], NEW);
        let text = arguments.words.join(" ");
        assert!(
            text.starts_with(
                "--config-net -t 8000-8002:80-82 -u 127.0.0.1/53-53:53-53 -t ::1/1-1:2-2 --dns-forward"
            ),
            "{text}"
        );
        assert!(!text.contains("-t none") && !text.contains("-u none"), "{text}");
        let text = build(&[], &[], &["65535:65535"], NEW).words.join(" ");
        assert!(text.contains("-t 65535-65535:65535-65535") && text.contains("-u none"), "{text}");
    }
}
