//! `rbox ps`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::args::containers::parse_filters;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List, Value};
use crate::cli::ui::Ui;
use crate::cli::units::{Time, ago, decimal_size_with_precision, human_duration};
use crate::container::list::Listed;
use crate::container::record::{Network, Port};
use crate::container::{Containers, Status};
use crate::engine::Engine;

/// List containers
///
/// Prints out information about the containers
#[derive(Debug, clap::Args)]
#[command(
    after_help = "rbox ps -a\n  rbox ps -a --format \"{{.ID}}  {{.Image}}  {{.Labels}}  {{.Mounts}}\"\n  rbox ps --size --sort names"
)]
pub struct Args {
    /// Show all the containers, default is only running containers
    #[arg(long, short)]
    all: bool,
    /// Show containers in storage not controlled by Podman
    #[arg(long)]
    external: bool,
    /// Filter output based on conditions given
    #[arg(long, short, value_name = "stringArray")]
    filter: Vec<String>,
    /// Pretty-print containers to JSON or using a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Print the n last created containers (all states)
    #[arg(long, short = 'n', value_name = "int", default_value_t = -1, allow_negative_numbers = true)]
    last: i64,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Do not print headers
    #[arg(long)]
    noheading: bool,
    /// Display namespace information
    #[arg(long, alias = "namespace")]
    ns: bool,
    /// Print the ID and name of the pod the containers are associated with
    #[arg(long, short)]
    pod: bool,
    /// Print the numeric IDs of the containers only
    #[arg(long, short)]
    quiet: bool,
    /// Display the total file sizes
    #[arg(long, short)]
    size: bool,
    /// Sort output by: command, created, id, image, names, runningfor, size, status
    #[arg(long, value_name = "choice", value_parser = SORTS)]
    sort: Option<String>,
    /// Sync container state with OCI runtime
    #[arg(long)]
    sync: bool,
    /// Watch the ps output on an interval in seconds
    #[arg(long, short, value_name = "uint", default_value_t = 0)]
    watch: u32,
}

const SORTS: [&str; 8] = ["command", "created", "id", "image", "names", "runningfor", "size", "status"];

const HEADERS: &[(&str, &str)] = &[
    ("Cgroup", "cgroupns"),
    ("CreatedHuman", "created"),
    ("ID", "container id"),
    ("IPC", "ipc"),
    ("MNT", "mnt"),
    ("NET", "net"),
    ("PIDNS", "pidns"),
    ("Pod", "pod id"),
    ("PodName", "podname"),
    ("RunningFor", "running for"),
    ("User", "userns"),
    ("UTS", "uts"),
];

/// Lists containers.
///
/// # Errors
/// When flags exclude each other, or a filter or template is wrong.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    check(&args)?;
    let containers = engine.containers()?;
    // Sizes of files that only the container's own users can look at.
    if args.size {
        crate::cli::enter_user_namespace(ui, engine)?;
    }
    let mut args = args;
    if let Some(format) = &mut args.format {
        *format = format.replace(".Namespaces.", ".");
    }
    if args.watch == 0 {
        print(ui, &containers, &args)?;
        return Ok(ExitStatus::SUCCESS);
    }
    loop {
        // Home, and clear to the end of the screen.
        ui.data_bytes(b"\x1b[H\x1b[2J")?;
        print(ui, &containers, &args)?;
        ui.flush()?;
        std::thread::sleep(Duration::from_secs(args.watch.into()));
    }
}

fn check(args: &Args) -> Result<()> {
    let refused = match () {
        () if args.last >= 0 && args.latest => "last and latest are mutually exclusive",
        () if args.quiet && (args.size || args.ns) => "quiet conflicts with size and namespace",
        () if args.size && args.ns => "size and namespace options conflict",
        () if args.watch > 0 && args.latest => "the watch and latest flags cannot be used together",
        () => return Ok(()),
    };
    Err(CommandError::new(refused))
}

fn print(ui: &mut Ui, containers: &Containers, args: &Args) -> Result<()> {
    let listed = find(containers, args)?;
    let now = Timestamp::now();
    let mut rows = listed.iter().map(|one| record(containers, one, args)).collect::<Result<Vec<_>>>()?;
    sort(&mut rows, args.sort.as_deref());
    let list = List::new("ps", row_template(args))
        .headers(HEADERS)
        .format(args.format.as_deref())
        .no_heading(args.noheading);
    if list.is_json() {
        let json: Vec<Json<'_>> = rows.iter().map(|row| row.to_json(now)).collect();
        return list.json(ui, &json, Layout::marshal(2));
    }
    if args.quiet && args.format.is_none() {
        for row in &rows {
            ui.data(if args.no_trunc { &row.id } else { &row.id[..12] })?;
        }
        return Ok(());
    }
    let table: Vec<Row<'_>> = rows.iter().map(|row| row.to_row(now, args.no_trunc)).collect();
    list.print(ui, &table)
}

fn row_template(args: &Args) -> &'static str {
    macro_rules! base {
        ($($more:literal)?) => {
            concat!(
                "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.CreatedHuman}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
                $($more)?
            )
        };
    }
    match (args.ns, args.pod, args.size) {
        (true, ..) => {
            "{{.ID}}\t{{.Names}}\t{{.Pid}}\t{{.Cgroup}}\t{{.IPC}}\t{{.MNT}}\t{{.NET}}\t{{.PIDNS}}\t{{.User}}\t{{.UTS}}"
        }
        (_, false, false) => base!(),
        (_, true, false) => base!("\t{{.Pod}}\t{{.PodName}}"),
        (_, false, true) => base!("\t{{.Size}}"),
        (_, true, true) => base!("\t{{.Pod}}\t{{.PodName}}\t{{.Size}}"),
    }
}

fn find(containers: &Containers, args: &Args) -> Result<Vec<Listed>> {
    let filters = parse_filters(&args.filter, containers)?;
    let mut listed = containers.list(&filters)?;
    let last = if args.latest { 1 } else { usize::try_from(args.last).unwrap_or(0) };
    if !args.all && last == 0 && !filters.names_status() {
        listed.retain(|one| Containers::is_shown_by_default(&one.state));
    }
    if last > 0 {
        listed.drain(..listed.len().saturating_sub(last));
    }
    Ok(listed)
}

fn sort(records: &mut [Entry], by: Option<&str>) {
    match by {
        Some("command") => records.sort_by_key(|record| record.command.join(" ")),
        Some("id") => records.sort_by(|a, b| a.id.cmp(&b.id)),
        Some("image") => records.sort_by(|a, b| a.image.cmp(&b.image)),
        Some("names") => records.sort_by(|a, b| a.name.cmp(&b.name)),
        Some("runningfor") => records.sort_by_key(|record| record.started_at),
        Some("size") => records.sort_by_key(|record| record.size.map(|size| size.root_fs_size)),
        Some("status") => records.sort_by_key(|record| record.state),
        _ => {}
    }
}

/// What templates can name, for completion.
pub(in crate::cli) fn fields() -> Value {
    let empty = Entry { state: "created", ..Entry::default() };
    Value::of(&empty.to_row(Timestamp::default(), true))
}

/// What is known about a container of the list.
#[derive(Default)]
struct Entry {
    auto_remove: bool,
    command: Vec<String>,
    created: Timestamp,
    cid_file: String,
    exited: bool,
    exited_at: i64,
    exit_code: i32,
    exposed: BTreeMap<u16, Vec<String>>,
    health: String,
    id: String,
    image: String,
    image_id: String,
    labels: BTreeMap<String, String>,
    mounts: Vec<String>,
    name: String,
    namespaces: Namespaces,
    networks: Vec<String>,
    pid: i32,
    ports: Vec<Port>,
    restarts: u32,
    size: Option<Size>,
    started_at: i64,
    state: &'static str,
}

/// Go's zero time in seconds, for "never".
const NEVER: i64 = -62_135_596_800;

fn record(containers: &Containers, listed: &Listed, args: &Args) -> Result<Entry> {
    let Listed { record, state } = listed;
    let stored = state.stored.as_ref();
    let seconds = |time: Option<crate::container::Time>| time.map_or(NEVER, |time| time.0.as_second());
    let exited = matches!(state.status, Status::Exited | Status::Stopped);
    let pid = state.pid().unwrap_or(0);
    Ok(Entry {
        auto_remove: record.lifecycle.auto_remove,
        command: record.process.args.clone(),
        created: record.created.0,
        cid_file: record.lifecycle.cid_file.as_ref().map_or(String::new(), |p| p.display().to_string()),
        exited,
        exited_at: seconds(stored.and_then(|stored| stored.finished)),
        exit_code: state.exit_code(),
        exposed: exposed(&record.network),
        health: containers.health_status(record),
        id: record.id.to_string(),
        image: record.root.image_name.clone(),
        image_id: record.root.image_id.clone(),
        labels: record.labels.clone(),
        mounts: record.mounts.iter().map(|mount| mount.destination.clone()).collect(),
        name: record.name.clone(),
        namespaces: if args.ns && pid > 0 { Namespaces::of(pid) } else { Namespaces::default() },
        networks: networks(&record.network.mode),
        pid,
        ports: record.network.ports.clone(),
        restarts: stored.map_or(0, |stored| stored.restarts),
        size: args
            .size
            .then(|| containers.size(record))
            .transpose()?
            .map(|(rw, root)| Size { root_fs_size: root, rw_size: rw }),
        started_at: seconds(stored.and_then(|stored| stored.started)),
        state: state.status.as_str(),
    })
}

/// Networks with a name: modes such as `host` are none.
fn networks(mode: &str) -> Vec<String> {
    let unnamed = ["", "none", "host", "pasta", "private", "slirp4netns"];
    let is_name = !unnamed.contains(&mode) && !mode.contains(':');
    if is_name { mode.split(',').map(str::to_owned).collect() } else { Vec::new() }
}

fn exposed(network: &Network) -> BTreeMap<u16, Vec<String>> {
    let mut ports: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for text in &network.exposed {
        let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            for port in first..=last {
                ports.entry(port).or_default().push(protocol.to_owned());
            }
        }
    }
    ports
}

/// The namespaces of a process, by their numbers.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Namespaces {
    #[serde(skip_serializing_if = "String::is_empty")]
    mnt: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cgroup: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ipc: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    net: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pidns: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uts: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
}

impl Namespaces {
    fn of(pid: i32) -> Self {
        // `net:[4026531840]`; a process that has just ended has none.
        let number = |name: &str| {
            let link = std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap_or_default();
            let text = link.to_string_lossy();
            text.split_once('[').map_or(String::new(), |(_, rest)| rest.trim_end_matches(']').to_owned())
        };
        Self {
            mnt: number("mnt"),
            cgroup: number("cgroup"),
            ipc: number("ipc"),
            net: number("net"),
            pidns: number("pid"),
            uts: number("uts"),
            user: number("user"),
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Size {
    root_fs_size: u64,
    rw_size: u64,
}

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
struct Json<'a> {
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

/// A container as templates see it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase", rename = "containers.psReporter")]
struct Row<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    image: &'a str,
    #[serde(rename = "ImageID")]
    image_id: &'a str,
    command: String,
    created: Time,
    created_at: String,
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

    fn to_json(&self, now: Timestamp) -> Json<'_> {
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

    fn to_row(&self, now: Timestamp, whole: bool) -> Row<'_> {
        let cut = |text: &'_ str| -> usize { if whole { text.len() } else { text.len().min(12) } };
        let human = ago(self.created, now);
        Row {
            id: &self.id[..cut(&self.id)],
            image: &self.image,
            image_id: &self.image_id[..cut(&self.image_id)],
            command: shorten(&self.command.join(" "), whole),
            created: Time::new(self.created),
            created_at: Time::new(self.created).go_string(),
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
