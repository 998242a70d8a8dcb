//! `rbox ps`.

mod row;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use self::row::Json;
use crate::cli::args::containers::parse_filters;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, List, Value};
use crate::cli::ui::Ui;
use crate::container::brief::{Brief, Network};
use crate::container::damaged::Damaged;
use crate::container::record::Port;
use crate::container::{ContainerId, Containers, State, Status};
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
    let (mut rows, unreadable) = find(containers, args)?;
    let now = Timestamp::now();
    if args.size {
        measure(containers, &mut rows)?;
    }
    if args.all && args.filter.is_empty() {
        rows.extend(damaged(ui, containers, unreadable));
    }
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
    list.print_each(ui, rows.iter().map(|row| row.to_row(now, args.no_trunc)))
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

fn find(containers: &Containers, args: &Args) -> Result<(Vec<Entry>, Vec<ContainerId>)> {
    let filters = parse_filters(&args.filter, containers)?;
    let last = if args.latest { 1 } else { usize::try_from(args.last).unwrap_or(0) };
    let every = args.all || last > 0 || filters.names_status();
    let (found, unreadable) = containers.survey(&filters, |brief, state| {
        (every || Containers::is_shown_by_default(&state))
            .then(|| Entry::new(containers, brief, &state, args.ns))
    })?;
    let mut found: Vec<_> = found.into_iter().flatten().collect();
    if last > 0 {
        found.drain(..found.len().saturating_sub(last));
    }
    Ok((found, unreadable))
}

/// Adds the sizes.
fn measure(containers: &Containers, rows: &mut [Entry]) -> Result<()> {
    for row in rows {
        let id = ContainerId::parse(&row.id);
        // One that was removed meanwhile has none.
        if let Some(record) = id.and_then(|id| containers.record(&id).transpose()).transpose()? {
            let (rw_size, root_fs_size) = containers.size(&record)?;
            row.size = Some(Size { root_fs_size, rw_size });
        }
    }
    Ok(())
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

/// Containers of which little more than the id is known.
fn damaged(ui: &mut Ui, containers: &Containers, unreadable: Vec<ContainerId>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for Damaged { id, name, changed, why } in containers.damaged_among(unreadable) {
        ui.warn(CommandError::from(why).message());
        entries.push(Entry {
            id: id.to_string(),
            name,
            created: changed.0,
            state: Status::Unknown.as_str(),
            ..Entry::default()
        });
    }
    entries
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

impl Entry {
    fn new(containers: &Containers, record: Brief, state: &State, namespaces: bool) -> Self {
        let stored = state.stored.as_ref();
        let seconds = |time: Option<crate::container::Time>| time.map_or(NEVER, |time| time.0.as_second());
        let pid = state.pid().unwrap_or(0);
        Self {
            auto_remove: record.lifecycle.auto_remove,
            created: record.created.0,
            cid_file: record.lifecycle.cid_file.as_ref().map_or(String::new(), |p| p.display().to_string()),
            exited: matches!(state.status, Status::Exited | Status::Stopped),
            exited_at: seconds(stored.and_then(|stored| stored.finished)),
            exit_code: state.exit_code(),
            exposed: exposed(&record.network),
            health: containers.health_status_in_brief(&record),
            id: record.id.to_string(),
            mounts: record.mounts.into_iter().map(|mount| mount.destination).collect(),
            namespaces: if namespaces && pid > 0 { Namespaces::of(pid) } else { Namespaces::default() },
            networks: networks(&record.network.mode),
            pid,
            restarts: stored.map_or(0, |stored| stored.restarts),
            size: None,
            started_at: seconds(stored.and_then(|stored| stored.started)),
            state: state.status.as_str(),
            command: record.process.args,
            image: record.root.image_name,
            image_id: record.root.image_id,
            labels: record.labels,
            name: record.name,
            ports: record.network.ports,
        }
    }
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
