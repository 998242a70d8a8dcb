//! What `inspect` says about a container: podman's fields, names and types.
//!
//! | file | owns |
//! |---|---|
//! | `config` | `Config`: what runs |
//! | `health` | health checks and what they came to |
//! | `host` | `HostConfig`: how it is confined and connected |
//!
//! Everything comes from the record, the OCI spec, the request and the state; nothing is kept for
//! `inspect` alone.

mod config;
mod health;
mod host;

use std::collections::BTreeMap;
use std::path::Path;

use oci_spec::runtime::{Capabilities, Spec};
use serde::Serialize;

use self::health::{GoPointer, HealthView};
use super::create::CreateRequest;
use super::create::runtime::OWN;
use super::lookup::read_json;
use super::record::Port;
use super::time::GoTime;
use super::{ContainerId, Containers, Record, Result, State, Status};
use crate::config::Config;
use crate::runtime::cgroup::unit_of;
use crate::store::{Digest, Store};

/// All that is known about a container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase", rename = "define.InspectContainerData")]
pub struct Inspection {
    id: ContainerId,
    created: GoTime,
    path: String,
    args: Vec<String>,
    state: StateView,
    image: String,
    image_digest: String,
    image_name: String,
    rootfs: String,
    pod: &'static str,
    resolv_conf_path: String,
    hostname_path: String,
    hosts_path: String,
    static_dir: String,
    #[serde(rename = "OCIConfigPath")]
    oci_config_path: String,
    #[serde(rename = "OCIRuntime")]
    oci_runtime: String,
    conmon_pid_file: String,
    pid_file: String,
    name: String,
    restart_count: u32,
    driver: &'static str,
    mount_label: String,
    process_label: String,
    app_armor_profile: String,
    effective_caps: Option<Vec<String>>,
    bounding_caps: Option<Vec<String>>,
    #[serde(rename = "ExecIDs")]
    exec_ids: Vec<ContainerId>,
    graph_driver: GraphDriver,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_rw: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_root_fs: Option<u64>,
    mounts: Vec<MountView>,
    dependencies: Vec<ContainerId>,
    network_settings: NetworkSettings,
    namespace: &'static str,
    is_infra: bool,
    is_service: bool,
    kube_exit_code_propagation: &'static str,
    #[serde(rename = "lockNumber")]
    lock_number: u32,
    config: config::ConfigView,
    host_config: host::HostConfig,
    use_image_hosts: bool,
    use_image_hostname: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase", rename = "define.InspectContainerState")]
struct StateView {
    oci_version: &'static str,
    status: &'static str,
    running: bool,
    paused: bool,
    restarting: bool,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    dead: bool,
    checkpointed: bool,
    pid: i32,
    conmon_pid: i32,
    exit_code: i32,
    error: String,
    started_at: GoTime,
    finished_at: GoTime,
    health: GoPointer<HealthView>,
    #[serde(skip_serializing_if = "String::is_empty")]
    cgroup_path: String,
    checkpointed_at: GoTime,
    restored_at: GoTime,
    #[serde(skip_serializing_if = "String::is_empty")]
    checkpoint_path: String,
    #[serde(skip_serializing_if = "Unfilled::is_empty")]
    checkpoint_log: Unfilled,
    #[serde(skip_serializing_if = "Unfilled::is_empty")]
    restore_log: Unfilled,
    restored: bool,
    stopped_by_user: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase", rename = "define.DriverData")]
struct GraphDriver {
    name: &'static str,
    data: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase", rename = "define.InspectMount")]
struct MountView {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    source: String,
    destination: String,
    driver: &'static str,
    mode: String,
    options: Vec<String>,
    #[serde(rename = "RW")]
    writable: bool,
    propagation: String,
}

/// The host's end of a published port.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase", rename = "define.InspectHostPort")]
struct HostPort {
    host_ip: String,
    host_port: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase", rename = "define.InspectNetworkSettings")]
struct NetworkSettings {
    #[serde(rename = "EndpointID")]
    endpoint_id: &'static str,
    gateway: &'static str,
    #[serde(rename = "IPAddress")]
    ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    ip_prefix_length: u8,
    #[serde(rename = "IPv6Gateway")]
    ipv6_gateway: &'static str,
    #[serde(rename = "GlobalIPv6Address")]
    global_ipv6_address: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    global_ipv6_prefix_length: u8,
    mac_address: &'static str,
    bridge: &'static str,
    #[serde(rename = "SandboxID")]
    sandbox_id: &'static str,
    hairpin_mode: bool,
    #[serde(rename = "LinkLocalIPv6Address")]
    link_local_ipv6_address: &'static str,
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    link_local_ipv6_prefix_length: u8,
    ports: BTreeMap<String, Option<Vec<HostPort>>>,
    sandbox_key: String,
    #[serde(rename = "SecondaryIPAddresses", skip_serializing_if = "Unfilled::is_empty")]
    secondary_ip_addresses: Unfilled,
    #[serde(rename = "SecondaryIPv6Addresses", skip_serializing_if = "Unfilled::is_empty")]
    secondary_ipv6_addresses: Unfilled,
    #[serde(rename = "AdditionalMACAddresses", skip_serializing_if = "Unfilled::is_empty")]
    additional_mac_addresses: Unfilled,
    #[serde(skip_serializing_if = "Unfilled::is_empty")]
    networks: Unfilled,
}

/// A field of podman's that is always empty here: scripts may ask for it, JSON leaves it out.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Unfilled {}

impl Unfilled {
    #[expect(clippy::unused_self, clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    const fn is_empty(&self) -> bool {
        true
    }
}

impl Inspection {
    /// As JSON on one line, with nil pointers left out as Go does.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        for (part, names) in [("State", &["Health"][..]), ("Config", &["Healthcheck", "StartupHealthCheck"])]
        {
            if let Some(fields) = value.get_mut(part).and_then(serde_json::Value::as_object_mut) {
                // Not `remove`, which changes the order of the others.
                fields.retain(|name, value| !value.is_null() || !names.contains(&name.as_str()));
            }
        }
        value.to_string()
    }
}

impl Containers {
    /// Says everything about a container; its size only if asked, because that reads all its files.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn inspect(&self, record: Record, config: &Config, size: bool) -> Result<Inspection> {
        let dir = self.dir(&record.id);
        let state = self.state_or_unknown(&record.id);
        let missing = |name: &str| self.missing(&record.id, name);
        let spec: Spec = read_json(&dir.join("spec.json"), 1)?.ok_or_else(|| missing("spec.json"))?;
        let request: CreateRequest =
            read_json(&dir.join("request.json"), 1)?.ok_or_else(|| missing("request.json"))?;
        let sizes = size.then(|| self.size(&record)).transpose()?;
        let source = Source { record: &record, spec: &spec, request: &request, config, state: &state };
        let log_path = self.log_path(&record).map_or(String::new(), |path| text(&path));
        let of_run_dir = |name: &str| text(&self.run_dir(&record.id).join(name));
        let etc =
            |wanted: bool, name: &str| if wanted { text(&dir.join("etc").join(name)) } else { String::new() };
        let (path, args) = match record.process.args.split_first() {
            Some((path, args)) => (path.clone(), args.to_vec()),
            None => (String::new(), Vec::new()),
        };
        let capabilities = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
        let pid_file = record.lifecycle.pid_file.as_deref().map_or_else(|| of_run_dir("pidfile"), text);
        let monitor_file =
            record.lifecycle.monitor_pid_file.as_deref().map_or_else(|| of_run_dir("conmon.pid"), text);
        Ok(Inspection {
            created: record.created.to_go(),
            path,
            args,
            state: StateView { health: GoPointer(self.health_view(&record)), ..StateView::of(&state) },
            image: record.root.image_id.clone(),
            image_digest: record.root.image_digest.clone(),
            image_name: record.root.image_name.clone(),
            rootfs: record.root.directory.as_deref().map_or(String::new(), text),
            pod: "",
            resolv_conf_path: etc(!record.network.no_resolv_conf, "resolv.conf"),
            hostname_path: etc(!record.network.no_hostname, "hostname"),
            hosts_path: etc(!record.network.no_hosts, "hosts"),
            static_dir: text(&dir),
            oci_config_path: text(&dir.join("spec.json")),
            oci_runtime: match record.runtime.given.as_str() {
                "" => OWN.to_owned(),
                given => given.to_owned(),
            },
            conmon_pid_file: monitor_file,
            pid_file,
            name: record.name.clone(),
            restart_count: state.stored.as_ref().map_or(0, |stored| stored.restarts),
            driver: "overlay",
            mount_label: spec
                .linux()
                .as_ref()
                .and_then(|linux| linux.mount_label().clone())
                .unwrap_or_default(),
            process_label: spec
                .process()
                .as_ref()
                .and_then(|process| process.selinux_label().clone())
                .unwrap_or_default(),
            app_armor_profile: spec
                .process()
                .as_ref()
                .and_then(|process| process.apparmor_profile().clone())
                .unwrap_or_default(),
            effective_caps: capabilities.and_then(|sets| names(sets.effective().as_ref())),
            bounding_caps: capabilities.and_then(|sets| names(sets.bounding().as_ref())),
            exec_ids: self.exec_ids(&record.id),
            graph_driver: graph_driver(self, &record, &dir),
            size_rw: sizes.map(|(own, _)| own),
            size_root_fs: sizes.map(|(_, all)| all),
            mounts: record.mounts.iter().map(mount).collect(),
            dependencies: record.dependencies.clone(),
            network_settings: NetworkSettings::of(&record, &state),
            namespace: "",
            is_infra: false,
            is_service: false,
            kube_exit_code_propagation: "invalid",
            lock_number: 0,
            config: config::ConfigView::of(&source),
            host_config: host::HostConfig::of(&source, log_path),
            use_image_hosts: record.network.no_hosts,
            use_image_hostname: record.network.no_hostname,
            id: record.id,
        })
    }
}

/// Where the parts take their values from.
struct Source<'a> {
    record: &'a Record,
    spec: &'a Spec,
    request: &'a CreateRequest,
    config: &'a Config,
    state: &'a State,
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The names of a set of capabilities, sorted; nothing for an empty one.
fn names(set: Option<&Capabilities>) -> Option<Vec<String>> {
    let mut names: Vec<String> = set?
        .iter()
        .map(|capability| {
            let name = capability.to_string();
            if name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
        })
        .collect();
    names.sort();
    (!names.is_empty()).then_some(names)
}

fn mount(mount: &super::record::Mount) -> MountView {
    // What the fields beside it say is not repeated as an option.
    let said = [
        "ro",
        "rw",
        "shared",
        "rshared",
        "private",
        "rprivate",
        "slave",
        "rslave",
        "unbindable",
        "runbindable",
    ];
    let is_mode = |option: &&String| matches!(option.as_str(), "z" | "Z");
    let options = mount.options.iter().filter(|option| !said.contains(&option.as_str()) && !is_mode(option));
    MountView {
        kind: mount.kind.clone(),
        name: mount.name.clone(),
        source: mount.source.clone(),
        destination: mount.destination.clone(),
        driver: if mount.kind == "volume" { "local" } else { "" },
        mode: mount.options.iter().find(is_mode).cloned().unwrap_or_default(),
        options: options.cloned().collect(),
        writable: mount.writable,
        propagation: mount.propagation.clone(),
    }
}

fn graph_driver(containers: &Containers, record: &Record, dir: &Path) -> GraphDriver {
    let store = Store::open_at(&containers.data).ok();
    let layer = |text: &String| {
        let digest: Digest = text.parse().ok()?;
        Some(store.as_ref()?.layer(&digest).ok()??.diff().display().to_string())
    };
    let lowers: Vec<String> = record.root.layers.iter().rev().filter_map(layer).collect();
    let mut data = BTreeMap::new();
    if !lowers.is_empty() {
        data.insert("LowerDir", lowers.join(":"));
    }
    data.insert("UpperDir", text(&dir.join("upper")));
    data.insert("WorkDir", text(&dir.join("work")));
    GraphDriver { name: "overlay", data }
}

impl StateView {
    fn of(state: &State) -> Self {
        let stored = state.stored.as_ref();
        let alive = state.status.is_alive();
        Self {
            oci_version: crate::runtime::SPEC_VERSION,
            status: state.status.as_str(),
            running: matches!(state.status, Status::Running | Status::Stopping),
            paused: state.status == Status::Paused,
            restarting: state.restarts_later(),
            oom_killed: stored.is_some_and(|stored| stored.oom_killed),
            dead: false,
            checkpointed: stored.is_some_and(|stored| stored.checkpointed.is_some()),
            pid: state.pid().unwrap_or(0),
            conmon_pid: stored.filter(|_| alive).map_or(0, |stored| stored.monitor.pid),
            exit_code: if alive { 0 } else { state.exit_code() },
            error: stored.map_or(String::new(), |stored| stored.error.clone()),
            started_at: GoTime::of(stored.and_then(|stored| stored.started)),
            finished_at: GoTime::of(stored.and_then(|stored| stored.finished)),
            health: GoPointer(None),
            cgroup_path: stored.filter(|_| alive).map_or(String::new(), |stored| cgroup_path(&stored.cgroup)),
            checkpointed_at: GoTime::of(stored.and_then(|stored| stored.checkpointed)),
            restored_at: GoTime::of(stored.and_then(|stored| stored.restored)),
            checkpoint_log: Unfilled {},
            restore_log: Unfilled {},
            checkpoint_path: state.checkpoint().map_or(String::new(), |path| path.display().to_string()),
            restored: stored.is_some_and(|stored| stored.restored.is_some()),
            stopped_by_user: state.stopped_by_user(),
        }
    }
}

/// A cgroup's directory as a path in the hierarchy.
fn cgroup_path(dir: &str) -> String {
    let unit = unit_of(Path::new(dir)).display().to_string();
    unit.strip_prefix("/sys/fs/cgroup").unwrap_or(&unit).to_owned()
}

impl NetworkSettings {
    fn of(record: &Record, state: &State) -> Self {
        let own = !["host", "none"].contains(&record.network.mode.as_str());
        Self {
            ports: port_map(&record.network.ports, &record.network.exposed),
            sandbox_key: match (own, state.pid()) {
                (true, Some(pid)) => format!("/proc/{pid}/ns/net"),
                _ => String::new(),
            },
            // podman shows no addresses of pasta: they are the host's.
            ..Self::default()
        }
    }
}

/// `80/tcp` to its ends on the host; nothing for a port that is only exposed.
fn port_map(published: &[Port], exposed: &[String]) -> BTreeMap<String, Option<Vec<HostPort>>> {
    let mut map: BTreeMap<String, Option<Vec<HostPort>>> = BTreeMap::new();
    for port in exposed {
        map.entry(port.clone()).or_default();
    }
    for (key, end) in bindings(published) {
        map.entry(key).or_default().get_or_insert_default().push(end);
    }
    map
}

/// Each published port with its end on the host.
fn bindings(published: &[Port]) -> impl Iterator<Item = (String, HostPort)> {
    published.iter().flat_map(|port| {
        (0..port.range.max(1)).map(move |offset| {
            let key = format!("{}/{}", port.container_port.saturating_add(offset), port.protocol);
            let host_ip = if port.host_ip.is_empty() { "0.0.0.0" } else { &port.host_ip };
            let host_port = port.host_port.saturating_add(offset).to_string();
            (key, HostPort { host_ip: host_ip.to_owned(), host_port })
        })
    })
}
