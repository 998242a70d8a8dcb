//! The container record: what the user asked for, fixed at creation (only `rename` and `update` rewrite it).
//!
//! The record is small, because `ps` reads all of them. What the OCI spec already says
//! (capabilities, limits, devices, the whole environment) is in `spec.json`, and the words of the
//! command line that only `inspect` shows are in `request.json` ([`super::create::CreateRequest`]).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::create::RestartPolicy;
use super::health::Health;
use super::notify::SdNotify;
use super::{ContainerId, Time};
use crate::kernel::idmap::IdMaps;

/// The version of `record.json` that this rbox writes.
pub const VERSION: u32 = 1;

/// `record.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of the format.
    pub version: u32,
    /// The container's id.
    pub id: ContainerId,
    /// The container's name.
    pub name: String,
    /// When it was created.
    pub created: Time,
    /// Where its root file system comes from.
    pub root: Root,
    /// Its first process.
    pub process: Process,
    /// How it ends and what happens then.
    pub lifecycle: Lifecycle,
    /// Where its output goes.
    pub log: Log,
    /// Network, ports and names.
    pub network: Network,
    /// Namespaces as the user wrote them.
    pub namespaces: Namespaces,
    /// Who runs it.
    #[serde(default)]
    pub runtime: Runtime,
    /// Who makes its cgroup, and where.
    #[serde(default)]
    pub cgroup: Cgroup,
    /// Mounts and volumes.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Labels of the image and of the command line.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// OCI annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Containers whose namespaces or volumes this one uses; they are started first.
    #[serde(default)]
    pub dependencies: Vec<ContainerId>,
    /// Its health checks, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The command line that made it.
    #[serde(default)]
    pub create_command: Vec<String>,
}

/// Where the root file system comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Root {
    /// Image id (hexadecimal digits), empty for `--rootfs`.
    pub image_id: String,
    /// The image's full name as resolved, such as `docker.io/library/alpine:latest`.
    pub image_name: String,
    /// What the user typed for the image.
    pub image_given: String,
    /// Manifest digest with its algorithm.
    pub image_digest: String,
    /// Layer ids (`store::Digest` text), lowest first.
    pub layers: Vec<String>,
    /// A plain directory instead of an image.
    pub directory: Option<PathBuf>,
    /// With `directory`: writes go to the container's own upper directory (`:O`).
    pub directory_overlay: bool,
    /// The root is mounted read-only.
    pub read_only: bool,
    /// Container ids to ids of the user's namespace.
    pub maps: IdMaps,
    /// The upper directory belongs to somebody to whom only the user's namespace can give it.
    pub unowned: bool,
}

impl Root {
    /// Whether ids in the container are those of the user's namespace, so that layers serve as they are.
    #[must_use]
    pub fn shares_ids(&self) -> bool {
        self.maps.uid.iter().chain(&self.maps.gid).all(|range| range.inside == range.outside)
    }
}

/// The first process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Entry point, as configured.
    pub entrypoint: Vec<String>,
    /// Command without the entry point.
    pub command: Vec<String>,
    /// What is executed: entry point and command.
    pub args: Vec<String>,
    /// The user as given or as the image says.
    pub user: String,
    /// Working directory.
    pub working_dir: String,
    /// `-t`.
    pub terminal: bool,
    /// `-i`.
    pub interactive: bool,
    /// `--init`.
    pub init: bool,
    /// `--privileged`.
    pub privileged: bool,
    /// `--umask`.
    pub umask: String,
    /// `--tz`.
    pub timezone: String,
    /// `--systemd` came out as true.
    pub systemd: bool,
}

/// The OCI runtime.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runtime {
    /// As the user named it; empty for rbox's own.
    pub given: String,
    /// The program; `None` is rbox's own runtime.
    pub program: Option<PathBuf>,
    /// What comes before the options and commands of the program.
    pub arguments: Vec<String>,
}

/// How the container ends and what happens then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lifecycle {
    /// The signal that asks the first process to end.
    pub stop_signal: i32,
    /// Seconds between that signal and SIGKILL.
    pub stop_timeout: u32,
    /// Seconds after which the container is killed; 0 for never.
    pub timeout: u32,
    /// `--sdnotify`.
    pub sd_notify: SdNotify,
    /// When to start it again.
    pub restart: RestartPolicy,
    /// `--rm`.
    pub auto_remove: bool,
    /// `--rmi`.
    pub auto_remove_image: bool,
    /// `--pidfile`.
    pub pid_file: Option<PathBuf>,
    /// `--conmon-pidfile`: the monitor's pid.
    pub monitor_pid_file: Option<PathBuf>,
    /// `--cidfile`.
    pub cid_file: Option<PathBuf>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            stop_signal: 15,
            stop_timeout: 10,
            timeout: 0,
            sd_notify: SdNotify::Container,
            restart: RestartPolicy::No,
            auto_remove: false,
            auto_remove_image: false,
            pid_file: None,
            monitor_pid_file: None,
            cid_file: None,
        }
    }
}

/// Where the output goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// The driver.
    pub driver: LogDriver,
    /// The file; empty for the usual one in the container's directory.
    pub path: Option<PathBuf>,
    /// `max-size` in bytes; 0 for no limit.
    pub max_size: u64,
    /// `max-file`; 0 for the driver's own way.
    pub max_files: u32,
    /// `tag`.
    pub tag: String,
    /// `--log-opt label=`…
    pub labels: Vec<String>,
}

/// How output is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Lines `TIME STREAM F|P TEXT` in a file.
    #[default]
    K8sFile,
    /// Docker's lines of JSON in a file.
    JsonFile,
    /// Files of limited size and number, the older ones compressed.
    Local,
    /// systemd's journal.
    Journald,
    /// Nothing is kept.
    None,
    /// The container writes to rbox's own descriptors.
    Passthrough,
}

impl LogDriver {
    /// As the command line has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::K8sFile => "k8s-file",
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::Journald => "journald",
            Self::None => "none",
            Self::Passthrough => "passthrough",
        }
    }
}

/// Network, ports and names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// As `--network` resolved it: `pasta`, `none`, `host`, `container:ID`, `ns:PATH`.
    pub mode: String,
    /// Options of the mode, such as pasta's.
    pub options: Vec<String>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Exposed ports, `PORT/PROTOCOL`.
    pub exposed: Vec<String>,
    /// `-P`.
    pub publish_all: bool,
    /// Host name inside.
    pub hostname: String,
    /// `--dns`.
    pub dns_servers: Vec<String>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--dns-option`.
    pub dns_options: Vec<String>,
    /// `--add-host`, `NAME:ADDRESS`.
    pub extra_hosts: Vec<String>,
    /// `--no-hosts`.
    pub no_hosts: bool,
    /// `--no-hostname`.
    pub no_hostname: bool,
    /// `--hosts-file`.
    pub hosts_file: String,
    /// The container gets no resolv.conf (`--dns=none`).
    pub no_resolv_conf: bool,
}

/// A published port or range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Port {
    /// Address on the host, empty for all.
    pub host_ip: String,
    /// First port on the host.
    pub host_port: u16,
    /// First port in the container.
    pub container_port: u16,
    /// How many ports.
    pub range: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// Namespaces as the user wrote them, for `inspect`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    /// `--userns`.
    pub user: String,
    /// `--pid`.
    pub pid: String,
    /// `--ipc`.
    pub ipc: String,
    /// `--uts`.
    pub uts: String,
    /// `--cgroupns`.
    pub cgroup: String,
    /// `--cgroups`.
    pub cgroups: String,
}

/// Who makes the cgroup of a container, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cgroup {
    /// Who makes it.
    pub manager: CgroupManager,
    /// `--cgroup-parent`; empty for the usual place.
    pub parent: String,
}

/// Who makes cgroups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupManager {
    /// rbox, below the cgroup that it is in.
    #[default]
    Cgroupfs,
    /// The user's service manager.
    Systemd,
}

impl CgroupManager {
    /// As the command line has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cgroupfs => "cgroupfs",
            Self::Systemd => "systemd",
        }
    }
}

/// A mount as `inspect` shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// `bind`, `volume`, `tmpfs`, …
    pub kind: String,
    /// Name of a volume.
    pub name: String,
    /// Source on the host.
    pub source: String,
    /// Target in the container.
    pub destination: String,
    /// Options of the mount.
    pub options: Vec<String>,
    /// Writable.
    pub writable: bool,
    /// Propagation.
    pub propagation: String,
    /// A volume made for this container, removed with it under `rm -v` and `--rm`.
    pub anonymous: bool,
}
