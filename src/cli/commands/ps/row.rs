//! How one container is shown: as JSON, and to templates and the table.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{Entry, Namespaces, Size};
use crate::cli::units::{Time, ago, decimal_size_with_precision, human_duration};
use crate::container::record::Port;

#[derive(Serialize)]
struct JsonPort<'a> {
    host_ip: &'a str,
    container_port: u16,
    host_port: u16,
    range: u16,
    protocol: &'a str,
}

/// A container of `--format json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase", rename = "ListContainer")]
pub(super) struct Json<'a> {
    auto_remove: bool,
    command: &'a [String],
    created_at: String,
    #[serde(rename = "CIDFile")]
    cid_file: &'a str,
    exited: bool,
    exited_at: i64,
    exit_code: i32,
    exposed_ports: Option<&'a BTreeMap<u16, Vec<String>>>,
    id: &'a str,
    image: &'a str,
    #[serde(rename = "ImageID")]
    image_id: &'a str,
    is_infra: bool,
    labels: Option<&'a BTreeMap<String, String>>,
    mounts: &'a [String],
    names: [&'a str; 1],
    namespaces: &'a Namespaces,
    networks: &'a [String],
    pid: i32,
    pod: &'a str,
    pod_name: &'a str,
    ports: Option<Vec<JsonPort<'a>>>,
    restarts: u32,
    size: Option<Size>,
    started_at: i64,
    state: &'a str,
    status: String,
    created: i64,
}

/// A time that templates see as text; it is made when one names it.
struct GoText(Timestamp);

impl Serialize for GoText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Time::new(self.0).go_string())
    }
}

/// A container as templates see it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase", rename = "containers.psReporter")]
pub(super) struct Row<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    image: &'a str,
    #[serde(rename = "ImageID")]
    image_id: &'a str,
    command: String,
    created: Time,
    created_at: GoText,
    created_human: String,
    running_for: String,
    status: String,
    state: &'a str,
    ports: String,
    exposed_ports: &'a BTreeMap<u16, Vec<String>>,
    names: &'a str,
    labels: &'a BTreeMap<String, String>,
    label: &'a BTreeMap<String, String>,
    mounts: &'a [String],
    networks: String,
    size: String,
    pid: i32,
    pod: &'a str,
    pod_name: &'a str,
    exited: bool,
    exited_at: i64,
    exit_code: i32,
    started_at: i64,
    restarts: u32,
    auto_remove: bool,
    is_infra: bool,
    #[serde(rename = "CIDFile")]
    cid_file: &'a str,
    cgroup: &'a str,
    #[serde(rename = "IPC")]
    ipc: &'a str,
    #[serde(rename = "MNT")]
    mnt: &'a str,
    #[serde(rename = "NET")]
    net: &'a str,
    #[serde(rename = "PIDNS")]
    pidns: &'a str,
    user: &'a str,
    #[serde(rename = "UTS")]
    uts: &'a str,
}

impl Entry {
    fn status(&self, now: Timestamp) -> String {
        let since = |second: i64| human_duration(Duration::from_secs(now.as_second().abs_diff(second)));
        let text = match self.state {
            "running" => format!("Up {}", since(self.started_at)),
            "exited" | "stopped" => format!("Exited ({}) {} ago", self.exit_code, since(self.exited_at)),
            other => other[..1].to_uppercase() + &other[1..],
        };
        if self.health.is_empty() { text } else { format!("{text} ({})", self.health) }
    }

    pub(super) fn to_json(&self, now: Timestamp) -> Json<'_> {
        Json {
            auto_remove: self.auto_remove,
            command: &self.command,
            created_at: ago(self.created, now),
            cid_file: &self.cid_file,
            exited: self.exited,
            exited_at: self.exited_at,
            exit_code: self.exit_code,
            exposed_ports: (!self.exposed.is_empty()).then_some(&self.exposed),
            id: &self.id,
            image: &self.image,
            image_id: &self.image_id,
            is_infra: false,
            labels: (!self.labels.is_empty()).then_some(&self.labels),
            mounts: &self.mounts,
            names: [&self.name],
            namespaces: &self.namespaces,
            networks: &self.networks,
            pid: self.pid,
            pod: "",
            pod_name: "",
            ports: (!self.ports.is_empty()).then(|| self.ports.iter().map(json_port).collect()),
            restarts: self.restarts,
            size: self.size,
            started_at: self.started_at,
            state: self.state,
            status: self.status(now),
            created: self.created.as_second(),
        }
    }

    pub(super) fn to_row(&self, now: Timestamp, whole: bool) -> Row<'_> {
        let cut = |text: &'_ str| -> usize { if whole { text.len() } else { text.len().min(12) } };
        let human = ago(self.created, now);
        Row {
            id: &self.id[..cut(&self.id)],
            image: &self.image,
            image_id: &self.image_id[..cut(&self.image_id)],
            command: shorten(&self.command.join(" "), whole),
            created: Time::new(self.created),
            created_at: GoText(self.created),
            created_human: human.clone(),
            running_for: human,
            status: self.status(now),
            state: self.state,
            ports: ports_text(&self.ports, &self.exposed),
            exposed_ports: &self.exposed,
            names: &self.name,
            labels: &self.labels,
            label: &self.labels,
            mounts: &self.mounts,
            networks: self.networks.join(","),
            size: self.size.map_or(String::new(), |size| {
                let (rw, root) = (size.rw_size, size.root_fs_size);
                let text = |bytes| decimal_size_with_precision(bytes, 3);
                format!("{} (virtual {})", text(rw), text(root))
            }),
            pid: self.pid,
            pod: "",
            pod_name: "",
            exited: self.exited,
            exited_at: self.exited_at,
            exit_code: self.exit_code,
            started_at: self.started_at,
            restarts: self.restarts,
            auto_remove: self.auto_remove,
            is_infra: false,
            cid_file: &self.cid_file,
            cgroup: &self.namespaces.cgroup,
            ipc: &self.namespaces.ipc,
            mnt: &self.namespaces.mnt,
            net: &self.namespaces.net,
            pidns: &self.namespaces.pidns,
            user: &self.namespaces.user,
            uts: &self.namespaces.uts,
        }
    }
}

fn json_port(port: &Port) -> JsonPort<'_> {
    JsonPort {
        host_ip: &port.host_ip,
        container_port: port.container_port,
        host_port: port.host_port,
        range: port.range,
        protocol: &port.protocol,
    }
}

/// At most 17 bytes of a command, as podman cuts it (but never through a character).
fn shorten(text: &str, whole: bool) -> String {
    if whole || text.len() <= 17 {
        text.to_owned()
    } else {
        format!("{}...", &text[..text.floor_char_boundary(17)])
    }
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`: published ports, then those that are only exposed, as ranges.
fn ports_text(published: &[Port], exposed: &BTreeMap<u16, Vec<String>>) -> String {
    let mut parts = Vec::new();
    for port in published {
        let Port { host_ip, host_port, container_port, range, protocol } = port;
        let address = if host_ip.is_empty() { "0.0.0.0" } else { host_ip };
        parts.push(if *range > 1 {
            let last = |first: u16| u32::from(first) + u32::from(*range) - 1;
            format!(
                "{address}:{host_port}-{}->{container_port}-{}/{protocol}",
                last(*host_port),
                last(*container_port)
            )
        } else {
            format!("{address}:{host_port}->{container_port}/{protocol}")
        });
    }
    let is_published = |number: u16, protocol: &str| {
        published.iter().any(|port| {
            port.protocol == protocol
                && number >= port.container_port
                && u32::from(number) < u32::from(port.container_port) + u32::from(port.range.max(1))
        })
    };
    let mut only_exposed: Vec<(&str, u16)> = exposed
        .iter()
        .flat_map(|(number, protocols)| protocols.iter().map(|protocol| (protocol.as_str(), *number)))
        .filter(|(protocol, number)| !is_published(*number, protocol))
        .collect();
    only_exposed.sort_unstable();
    for run in only_exposed.chunk_by(|a, b| a.0 == b.0 && a.1.checked_add(1) == Some(b.1)) {
        let (protocol, first) = run[0];
        let last = run[run.len() - 1].1;
        parts.push(if first == last {
            format!("{first}/{protocol}")
        } else {
            format!("{first}-{last}/{protocol}")
        });
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_grouped() {
        let port = |host: u16, inside: u16, range: u16| Port {
            host_ip: String::new(),
            host_port: host,
            container_port: inside,
            range,
            protocol: "tcp".to_owned(),
        };
        let exposed: BTreeMap<u16, Vec<String>> = [(80, "tcp"), (81, "tcp"), (82, "tcp"), (90, "udp")]
            .map(|(number, protocol)| (number, vec![protocol.to_owned()]))
            .into();
        assert_eq!(ports_text(&[], &exposed), "80-82/tcp, 90/udp");
        assert_eq!(ports_text(&[port(8080, 80, 1)], &exposed), "0.0.0.0:8080->80/tcp, 81-82/tcp, 90/udp");
        assert_eq!(ports_text(&[port(8080, 80, 3)], &BTreeMap::new()), "0.0.0.0:8080-8082->80-82/tcp");
    }

    #[test]
    fn long_commands_are_cut_at_a_character() {
        assert_eq!(shorten("sleep 5", false), "sleep 5");
        assert_eq!(shorten("0123456789abcdefgh", false), "0123456789abcdefg...");
        assert_eq!(shorten("0123456789abcdefü", false), "0123456789abcdef...");
    }
}
