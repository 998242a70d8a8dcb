//! `HostConfig`: how the container is confined, connected and limited.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};
use serde::Serialize;

use super::{HostPort, Source, Unfilled, bindings, names};
use crate::container::create::{RestartPolicy, SeccompChoice};
use crate::container::filter::policy_name;
use crate::container::record::{CgroupManager, Record};
use crate::kernel::cap::Capability;
use crate::kernel::idmap::IdRange;
use crate::runtime::cgroup::SLICE;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase", rename = "define.InspectContainerHostConfig")]
pub(super) struct HostConfig {
    binds: Vec<String>,
    cgroup_manager: &'static str,
    cgroup_mode: String,
    #[serde(rename = "ContainerIDFile")]
    container_id_file: String,
    log_config: LogConfig,
    network_mode: String,
    port_bindings: BTreeMap<String, Vec<HostPort>>,
    restart_policy: Policy,
    auto_remove: bool,
    auto_remove_image: bool,
    annotations: Option<BTreeMap<String, String>>,
    volume_driver: &'static str,
    volumes_from: Option<Vec<String>>,
    cap_add: Vec<String>,
    cap_drop: Vec<String>,
    dns: Vec<String>,
    dns_options: Vec<String>,
    dns_search: Vec<String>,
    extra_hosts: Vec<String>,
    hosts_file: String,
    group_add: Vec<String>,
    ipc_mode: String,
    cgroup: &'static str,
    cgroups: &'static str,
    links: Option<Vec<String>>,
    oom_score_adj: i32,
    pid_mode: String,
    privileged: bool,
    publish_all_ports: bool,
    readonly_rootfs: bool,
    security_opt: Vec<String>,
    security_profile: &'static str,
    tmpfs: BTreeMap<String, String>,
    #[serde(rename = "UTSMode")]
    uts_mode: String,
    userns_mode: String,
    #[serde(rename = "IntelRdtClosID", skip_serializing_if = "Unfilled::is_empty")]
    intel_rdt_clos_id: Unfilled,
    #[serde(rename = "IDMappings", skip_serializing_if = "Option::is_none")]
    id_mappings: Option<IdMappings>,
    shm_size: u64,
    runtime: &'static str,
    console_size: [u32; 2],
    isolation: &'static str,
    cpu_shares: u64,
    memory: i64,
    nano_cpus: i64,
    cgroup_parent: String,
    blkio_weight: u16,
    blkio_weight_device: Option<Vec<String>>,
    blkio_device_read_bps: Option<Vec<String>>,
    blkio_device_write_bps: Option<Vec<String>>,
    #[serde(rename = "BlkioDeviceReadIOps")]
    blkio_device_read_iops: Option<Vec<String>>,
    #[serde(rename = "BlkioDeviceWriteIOps")]
    blkio_device_write_iops: Option<Vec<String>>,
    cpu_period: u64,
    cpu_quota: i64,
    cpu_realtime_period: u64,
    cpu_realtime_runtime: i64,
    cpuset_cpus: String,
    cpuset_mems: String,
    devices: Vec<Device>,
    disk_quota: u64,
    kernel_memory: i64,
    memory_reservation: i64,
    memory_swap: i64,
    memory_swappiness: i64,
    oom_kill_disable: bool,
    init: bool,
    pids_limit: i64,
    ulimits: Vec<Ulimit>,
    cpu_count: u64,
    cpu_percent: u64,
    #[serde(rename = "IOMaximumIOps")]
    io_maximum_iops: u64,
    #[serde(rename = "IOMaximumBandwidth")]
    io_maximum_bandwidth: u64,
    cgroup_conf: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase", rename = "define.InspectLogConfig")]
struct LogConfig {
    #[serde(rename = "Type")]
    kind: &'static str,
    config: Option<BTreeMap<String, String>>,
    path: String,
    tag: String,
    size: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase", rename = "define.InspectRestartPolicy")]
struct Policy {
    name: &'static str,
    maximum_retry_count: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase", rename = "define.InspectIDMappings")]
struct IdMappings {
    uid_map: Vec<String>,
    gid_map: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase", rename = "define.InspectDevice")]
struct Device {
    path_on_host: String,
    path_in_container: String,
    cgroup_permissions: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase", rename = "define.InspectUlimit")]
struct Ulimit {
    name: String,
    soft: i64,
    hard: i64,
}

/// What the spec limits.
#[derive(Debug, Default)]
struct Limits {
    cpu_shares: u64,
    cpu_period: u64,
    cpu_quota: i64,
    cpuset_cpus: String,
    cpuset_mems: String,
    memory: i64,
    memory_reservation: i64,
    memory_swap: i64,
    pids: i64,
    conf: Option<BTreeMap<String, String>>,
}

/// Size of /dev/shm where nothing else is said.
const SHM_SIZE: u64 = 65_536_000;

impl HostConfig {
    pub(super) fn of(source: &Source<'_>, log_path: String) -> Self {
        let Source { record, spec, request, config, state: _ } = source;
        let process = spec.process().as_ref();
        let limits = limits(spec);
        let port_bindings = port_bindings(source);
        let (cap_add, cap_drop) = capability_changes(source);
        let (binds, tmpfs) = binds(source);
        let network = &record.network;
        let volumes_from: Vec<String> = request.volumes_from.iter().map(|(from, _)| from.clone()).collect();
        let namespace = |kind, named: &str| mode(spec, kind, named);
        let namespaces = &record.namespaces;
        Self {
            binds,
            cgroup_manager: record.cgroup.manager.as_str(),
            cgroup_mode: namespace(LinuxNamespaceType::Cgroup, &namespaces.cgroup),
            container_id_file: record
                .lifecycle
                .cid_file
                .as_ref()
                .map_or(String::new(), |p| p.display().to_string()),
            log_config: log_config(source, log_path),
            network_mode: network.mode.clone(),
            port_bindings,
            restart_policy: restart_policy(record.lifecycle.restart),
            auto_remove: record.lifecycle.auto_remove,
            auto_remove_image: record.lifecycle.auto_remove_image,
            annotations: (!record.annotations.is_empty()).then(|| record.annotations.clone()),
            volume_driver: "",
            volumes_from: (!volumes_from.is_empty()).then_some(volumes_from),
            cap_add,
            cap_drop,
            dns: network.dns_servers.clone(),
            dns_options: network.dns_options.clone(),
            dns_search: network.dns_search.clone(),
            extra_hosts: network.extra_hosts.clone(),
            hosts_file: network.hosts_file.clone(),
            group_add: request.user.groups.clone(),
            ipc_mode: ipc_mode(spec, &namespaces.ipc),
            cgroup: "",
            cgroups: if namespaces.cgroups == "disabled" { "disabled" } else { "default" },
            links: None,
            oom_score_adj: process.and_then(oci_spec::runtime::Process::oom_score_adj).unwrap_or(0),
            pid_mode: namespace(LinuxNamespaceType::Pid, &namespaces.pid),
            privileged: record.process.privileged,
            publish_all_ports: network.publish_all,
            readonly_rootfs: record.root.read_only,
            security_opt: security_options(source),
            security_profile: request.security.profile.as_str(),
            tmpfs,
            uts_mode: namespace(LinuxNamespaceType::Uts, &namespaces.uts),
            userns_mode: user_mode(&namespaces.user),
            intel_rdt_clos_id: Unfilled {},
            id_mappings: id_mappings(source),
            shm_size: request.shm_size.unwrap_or_else(|| configured_shm_size(&config.containers.shm_size)),
            runtime: "oci",
            console_size: [0, 0],
            isolation: "",
            cpu_shares: limits.cpu_shares,
            memory: limits.memory,
            // Of a period of 100 ms, as --cpus makes it.
            nano_cpus: if limits.cpu_period == 100_000 { limits.cpu_quota * 10_000 } else { 0 },
            cgroup_parent: cgroup_parent(record),
            blkio_weight: 0,
            blkio_weight_device: None,
            blkio_device_read_bps: None,
            blkio_device_write_bps: None,
            blkio_device_read_iops: None,
            blkio_device_write_iops: None,
            cpu_period: limits.cpu_period,
            cpu_quota: limits.cpu_quota,
            cpu_realtime_period: 0,
            cpu_realtime_runtime: 0,
            cpuset_cpus: limits.cpuset_cpus,
            cpuset_mems: limits.cpuset_mems,
            devices: devices(source),
            disk_quota: 0,
            kernel_memory: 0,
            memory_reservation: limits.memory_reservation,
            memory_swap: limits.memory_swap,
            memory_swappiness: 0,
            oom_kill_disable: false,
            init: record.process.init,
            pids_limit: if limits.pids == 0 { request.extras.pids.unwrap_or(0) } else { limits.pids },
            ulimits: ulimits(source),
            cpu_count: 0,
            cpu_percent: 0,
            io_maximum_iops: 0,
            io_maximum_bandwidth: 0,
            cgroup_conf: limits.conf,
        }
    }
}

fn port_bindings(source: &Source<'_>) -> BTreeMap<String, Vec<HostPort>> {
    let mut map: BTreeMap<String, Vec<HostPort>> = BTreeMap::new();
    for (key, end) in bindings(&source.record.network.ports) {
        map.entry(key).or_default().push(end);
    }
    map
}

fn log_config(source: &Source<'_>, path: String) -> LogConfig {
    let log = &source.record.log;
    LogConfig {
        kind: log.driver.as_str(),
        config: None,
        path,
        tag: log.tag.clone(),
        size: log_size(log.max_size),
    }
}

fn restart_policy(policy: RestartPolicy) -> Policy {
    let maximum_retry_count = match policy {
        RestartPolicy::OnFailure(most) => most,
        _ => 0,
    };
    Policy { name: policy_name(policy), maximum_retry_count }
}

fn log_size(bytes: u64) -> String {
    if bytes == 0 {
        return "-1B".to_owned();
    }
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < units.len() {
        size /= 1000.0;
        unit += 1;
    }
    // Four digits, as Go's %.4g.
    let digits = if size >= 1000.0 { 0 } else { 3 - (size.max(1.0).log10() as usize) };
    let text = format!("{size:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", units[unit])
}

/// `65536k` of containers.conf in bytes.
fn configured_shm_size(text: &str) -> u64 {
    crate::container::create::size::binary(text).unwrap_or(SHM_SIZE)
}

fn cgroup_parent(record: &Record) -> String {
    match record.cgroup.manager {
        CgroupManager::Systemd if record.cgroup.parent.is_empty() => SLICE.to_owned(),
        _ => record.cgroup.parent.clone(),
    }
}

fn limits(spec: &Spec) -> Limits {
    let Some(resources) = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()) else {
        return Limits::default();
    };
    let mut limits = Limits::default();
    if let Some(cpu) = resources.cpu() {
        limits.cpu_shares = cpu.shares().unwrap_or(0);
        limits.cpu_period = cpu.period().unwrap_or(0);
        limits.cpu_quota = cpu.quota().unwrap_or(0);
        limits.cpuset_cpus = cpu.cpus().clone().unwrap_or_default();
        limits.cpuset_mems = cpu.mems().clone().unwrap_or_default();
    }
    if let Some(memory) = resources.memory() {
        limits.memory = memory.limit().unwrap_or(0);
        limits.memory_reservation = memory.reservation().unwrap_or(0);
        limits.memory_swap = memory.swap().unwrap_or(0);
    }
    limits.pids = resources.pids().as_ref().map_or(0, oci_spec::runtime::LinuxPids::limit);
    limits.conf = resources.unified().as_ref().map(|map| map.clone().into_iter().collect());
    limits
}

/// What differs from the capabilities that every container gets.
fn capability_changes(source: &Source<'_>) -> (Vec<String>, Vec<String>) {
    let process = source.spec.process().as_ref();
    let capabilities = process.and_then(|process| process.capabilities().as_ref());
    let bounding = capabilities.and_then(|sets| names(sets.bounding().as_ref())).unwrap_or_default();
    let usual: Vec<String> = if source.record.process.privileged {
        Capability::all().map(Capability::name).collect()
    } else {
        source.config.containers.default_capabilities.clone()
    };
    let added = bounding.iter().filter(|name| !usual.contains(name)).cloned().collect();
    let mut dropped: Vec<String> = usual.into_iter().filter(|name| !bounding.contains(name)).collect();
    dropped.sort();
    (added, dropped)
}

/// Mounts in the form of `-v`, and those of memory.
fn binds(source: &Source<'_>) -> (Vec<String>, BTreeMap<String, String>) {
    let (mut binds, mut tmpfs) = (Vec::new(), BTreeMap::new());
    for mount in &source.record.mounts {
        let mut options = Vec::new();
        if mount.kind != "tmpfs" {
            options.push(if mount.writable { "rw" } else { "ro" });
            if !mount.propagation.is_empty() {
                options.push(&mount.propagation);
            }
        }
        let repeated = ["ro", "rw", mount.propagation.as_str()];
        options.extend(
            mount
                .options
                .iter()
                .map(String::as_str)
                .filter(|option| mount.kind == "tmpfs" || !repeated.contains(option)),
        );
        let options = options.join(",");
        if mount.kind == "tmpfs" {
            tmpfs.insert(mount.destination.clone(), options);
        } else {
            let from = if mount.name.is_empty() { &mount.source } else { &mount.name };
            binds.push(format!("{from}:{}:{options}", mount.destination));
        }
    }
    (binds, tmpfs)
}

fn has_namespace(spec: &Spec, kind: LinuxNamespaceType) -> Option<&LinuxNamespace> {
    let namespaces = spec.linux().as_ref()?.namespaces().as_ref()?;
    namespaces.iter().find(|namespace| namespace.typ() == kind)
}

/// `container:ID` as named, else what the spec says.
fn mode(spec: &Spec, kind: LinuxNamespaceType, named: &str) -> String {
    if named.starts_with("container:") || named.starts_with("ns:") {
        return named.to_owned();
    }
    match has_namespace(spec, kind).map(LinuxNamespace::path) {
        Some(Some(path)) => format!("ns:{}", path.display()),
        Some(None) => "private".to_owned(),
        None => "host".to_owned(),
    }
}

fn ipc_mode(spec: &Spec, named: &str) -> String {
    match mode(spec, LinuxNamespaceType::Ipc, named) {
        private if private == "private" => {
            if named.is_empty() {
                "shareable".to_owned()
            } else {
                named.to_owned()
            }
        }
        other => other,
    }
}

/// podman says nothing for the default, and `private` for every map of a container's own.
fn user_mode(named: &str) -> String {
    match named {
        "" | "host" => String::new(),
        named if named.starts_with("container:") || named.starts_with("ns:") => named.to_owned(),
        _ => "private".to_owned(),
    }
}

fn id_mappings(source: &Source<'_>) -> Option<IdMappings> {
    let maps = &source.record.root.maps;
    let shown = !matches!(source.record.namespaces.user.as_str(), "" | "host");
    let lines =
        |map: &[IdRange]| map.iter().map(|r| format!("{}:{}:{}", r.inside, r.outside, r.count)).collect();
    shown.then(|| IdMappings { uid_map: lines(&maps.uid), gid_map: lines(&maps.gid) })
}

fn security_options(source: &Source<'_>) -> Vec<String> {
    let mut options = Vec::new();
    let security = &source.request.security;
    if security.refuses_new_privileges() {
        options.push("no-new-privileges".to_owned());
    }
    options.extend(security.landlock.map(|on| format!("landlock={on}")));
    // podman shows them as one.
    let labels: Vec<String> = security.label.iter().map(|label| format!("label={label}")).collect();
    options.extend(Some(labels.join(",")).filter(|labels| !labels.is_empty()));
    match &security.seccomp {
        SeccompChoice::Default => {}
        SeccompChoice::Unconfined => options.push("seccomp=unconfined".to_owned()),
        SeccompChoice::File(path) => {
            options.push(format!("seccomp={}", path.display()));
        }
    }
    options.extend(security.apparmor.iter().map(|profile| format!("apparmor={profile}")));
    if !security.unmask.is_empty() {
        options.push(format!("unmask={}", security.unmask.join(":")));
    }
    options
}

fn devices(source: &Source<'_>) -> Vec<Device> {
    if source.record.process.privileged {
        return Vec::new();
    }
    let device = |(host, inside, permissions): &(std::path::PathBuf, std::path::PathBuf, String)| Device {
        path_on_host: host.display().to_string(),
        path_in_container: inside.display().to_string(),
        cgroup_permissions: permissions.clone(),
    };
    // By name only: what a name means is looked up at each start.
    let named = |name: &String| Device {
        path_on_host: name.clone(),
        path_in_container: String::new(),
        cgroup_permissions: String::new(),
    };
    let paths = source.request.devices.iter().map(device);
    paths.chain(source.request.cdi_devices.iter().map(named)).collect()
}

fn ulimits(source: &Source<'_>) -> Vec<Ulimit> {
    if source.state.stored.is_none() && source.request.ulimits.as_ref().is_some_and(Vec::is_empty) {
        // What nobody asked for is settled by the first start.
        return Vec::new();
    }
    let limits = source.spec.process().as_ref().and_then(|process| process.rlimits().as_ref());
    // Go turns "unlimited" into -1.
    let number = |value: u64| i64::try_from(value).unwrap_or(-1);
    let mut ulimits: Vec<Ulimit> = limits
        .into_iter()
        .flatten()
        .map(|limit| Ulimit {
            name: limit.typ().to_string(),
            soft: number(limit.soft()),
            hard: number(limit.hard()),
        })
        .collect();
    ulimits.sort_by(|a, b| a.name.cmp(&b.name));
    ulimits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_sizes_have_four_digits() {
        let table =
            [(0, "-1B"), (999, "999B"), (1000, "1kB"), (10_485_760, "10.49MB"), (1_234_567, "1.235MB")];
        for (bytes, text) in table {
            assert_eq!(log_size(bytes), text);
        }
    }
}
