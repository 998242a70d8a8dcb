//! The settings of containers.conf, with podman's defaults.
//!
//! A field is named as its key. [`Config::keys`] lists what rbox knows; other keys are
//! tolerated, because the file is shared with podman, buildah and skopeo.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A number of bytes: a number, or a text such as `500k` or `1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SizeText", into = "u64")]
pub struct ByteSize(pub u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum SizeText {
    Number(u64),
    Text(String),
}

impl From<ByteSize> for u64 {
    fn from(size: ByteSize) -> Self {
        size.0
    }
}

impl TryFrom<SizeText> for ByteSize {
    type Error = String;

    fn try_from(size: SizeText) -> Result<Self, String> {
        let text = match size {
            SizeText::Number(number) => return Ok(Self(number)),
            SizeText::Text(text) => text,
        };
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor: Option<u64> = match lower[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
            "" => Some(1),
            "k" => Some(1 << 10),
            "m" => Some(1 << 20),
            "g" => Some(1 << 30),
            _ => None,
        };
        let number = digits.trim_end().parse::<u64>().ok();
        number
            .zip(factor)
            .and_then(|(number, factor)| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a size"))
    }
}

/// Declares one table: its fields with their defaults, and the list of its keys.
macro_rules! table {
    ($(#[$meta:meta])* $table:ident { $( $(#[$doc:meta])* $field:ident: $kind:ty = $default:expr, )* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $table { $( $(#[$doc])* pub $field: $kind, )* }

        impl Default for $table {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $table {
            /// The keys of this table.
            pub const KEYS: &[&str] = &[$( stringify!($field), )*];
        }
    };
}

/// Merged settings of every containers.conf that applies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `[containers]`: defaults of new containers.
    pub containers: Containers,
    /// `[engine]`: how rbox itself works.
    pub engine: Engine,
    /// `[network]`.
    pub network: Network,
    /// The files that were read, in the order they apply.
    #[serde(skip)]
    pub sources: Vec<PathBuf>,
    /// Those of them that `--module` asked for.
    #[serde(skip)]
    pub modules: Vec<PathBuf>,
    /// Keys that rbox does not know, as `file: table.key`, to be shown at debug level.
    #[serde(skip)]
    pub unknown: Vec<String>,
}

table! {
    /// Defaults of new containers. `None` and empty lists mean "not set".
    Containers {
        /// Annotations, `KEY=VALUE`.
        annotations: Vec<String> = vec![],
        /// AppArmor profile.
        apparmor_profile: Option<String> = None,
        /// Base of the container's /etc/hosts: a path, `image`, `none`, or empty for the host's file.
        base_hosts_file: String = String::new(),
        /// Settings `NAME=VALUE` written into the container's cgroup.
        cgroup_conf: Vec<String> = vec![],
        /// `host`, `private` or unset.
        cgroupns: Option<String> = None,
        /// `enabled`, `disabled`, `no-conmon` or `split`.
        cgroups: String = "enabled".to_owned(),
        /// Whether the host name is the container's name instead of its id.
        container_name_as_hostname: bool = false,
        /// Capabilities of a container that asks for nothing.
        default_capabilities: Vec<String> = owned(&DEFAULT_CAPABILITIES),
        /// Sysctls, `NAME=VALUE`.
        default_sysctls: Vec<String> = vec![],
        /// Ulimits, `NAME=SOFT:HARD`.
        default_ulimits: Vec<String> = vec![],
        /// Devices, as `--device`.
        devices: Vec<String> = vec![],
        /// Options for resolv.conf.
        dns_options: Vec<String> = vec![],
        /// Search domains for resolv.conf.
        dns_searches: Vec<String> = vec![],
        /// Name servers for resolv.conf.
        dns_servers: Vec<String> = vec![],
        /// Environment of every container, `NAME=VALUE`.
        env: Vec<String> = owned(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]),
        /// Whether containers get the caller's environment.
        env_host: bool = false,
        /// Address behind host.containers.internal; empty chooses one, `none` leaves the name out.
        host_containers_internal_ip: String = String::new(),
        /// Whether the proxy variables are passed on.
        http_proxy: bool = true,
        /// Whether containers get an init.
        init: bool = false,
        /// Program used as init.
        init_path: String = String::new(),
        /// `device` names the interface in the container after the host's.
        interface_name: String = String::new(),
        /// Default of `--ipc`.
        ipcns: String = "shareable".to_owned(),
        /// Whether each container gets its own session keyring.
        keyring: bool = true,
        /// Whether SELinux labels are used.
        label: bool = true,
        /// Whether containers have the SELinux user and role of their caller.
        label_users: bool = false,
        /// Default of `--log-driver`.
        log_driver: String = "k8s-file".to_owned(),
        /// Directory of log files.
        log_path: String = String::new(),
        /// Largest log file in bytes; negative means no limit.
        log_size_max: i64 = -1,
        /// Default log tag.
        log_tag: String = String::new(),
        /// Mounts, as `--mount`.
        mounts: Vec<String> = vec![],
        /// Default of `--network`.
        netns: String = "private".to_owned(),
        /// Whether /etc/hosts is left as the image has it.
        no_hosts: bool = false,
        /// Default of `--oom-score-adj`.
        oom_score_adj: Option<i32> = None,
        /// Default of `--pid`.
        pidns: String = "private".to_owned(),
        /// Default of `--pids-limit`.
        pids_limit: i64 = 2048,
        /// Whether new volumes are filled when the container is created.
        prepare_volume_on_create: bool = false,
        /// Default of `--privileged`.
        privileged: bool = false,
        /// Default of `--read-only`.
        read_only: bool = false,
        /// Path of the seccomp profile; empty means the built-in one.
        seccomp_profile: String = String::new(),
        /// Default of `--security-profile`: `default` or `strict`.
        security_profile: String = "default".to_owned(),
        /// Default of `--shm-size`.
        shm_size: String = "65536k".to_owned(),
        /// Default of `--tz`.
        tz: String = String::new(),
        /// Default of `--umask`.
        umask: String = "0022".to_owned(),
        /// Default of `--userns`.
        userns: String = String::new(),
        /// Default of `--uts`.
        utsns: String = "private".to_owned(),
        /// Volumes, as `--volume`.
        volumes: Vec<String> = vec![],
    }
}

table! {
    /// How rbox itself works.
    Engine {
        /// `cgroupfs` or `systemd`; unset means what the host has.
        cgroup_manager: Option<String> = None,
        /// Directories of CDI specifications.
        cdi_spec_dirs: Vec<PathBuf> = paths(&["/etc/cdi", "/var/run/cdi"]),
        /// Compression of pushed layers.
        compression_format: String = "gzip".to_owned(),
        /// Its level.
        compression_level: Option<i32> = None,
        /// Keys that detach from a container.
        detach_keys: String = "ctrl-p,ctrl-q".to_owned(),
        /// Environment of rbox itself, `NAME=VALUE` (proxies, for example).
        env: Vec<String> = vec![],
        /// Events about new containers carry what `inspect` says.
        events_container_create_inspect_data: bool = false,
        /// Health checks are told as events.
        healthcheck_events: bool = true,
        /// How large the events log may become.
        events_logfile_max_size: ByteSize = ByteSize(1_000_000),
        /// Path of the events log.
        events_logfile_path: String = String::new(),
        /// `file`, `journald` or `none`.
        events_logger: String = "file".to_owned(),
        /// Directories searched for pasta and the like, before `$PATH`.
        helper_binaries_dir: Vec<PathBuf> = paths(&DEFAULT_HELPER_DIRS),
        /// Directories of OCI hooks.
        hooks_dir: Vec<PathBuf> = paths(&["/usr/share/containers/oci/hooks.d"]),
        /// Where big temporary files go; empty means /var/tmp.
        image_copy_tmp_dir: String = String::new(),
        /// Transport of a name that has none.
        image_default_transport: String = "docker://".to_owned(),
        /// Layers copied at the same time; 0 means a sensible number.
        image_parallel_copies: u32 = 0,
        /// Default of `--image-volume`.
        image_volume_mode: String = "anonymous".to_owned(),
        /// Command of a pod's infra container.
        infra_command: String = String::new(),
        /// Image of a pod's infra container.
        infra_image: String = String::new(),
        /// Program used as init where `[containers] init_path` is empty.
        init_path: String = String::new(),
        /// Options of the rootless network command.
        network_cmd_options: Vec<String> = vec![],
        /// What a pod does when its last container exits.
        pod_exit_policy: String = "continue".to_owned(),
        /// Default of `--pull`.
        pull_policy: String = "missing".to_owned(),
        /// Retries of registry requests.
        retry: u32 = 3,
        /// First delay between retries.
        retry_delay: String = String::new(),
        /// OCI runtime; unset means rbox's own.
        runtime: Option<String> = None,
        /// Paths of named runtimes.
        runtimes: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new(),
        /// Flags of named runtimes, without dashes.
        runtimes_flags: BTreeMap<String, Vec<String>> = BTreeMap::new(),
        /// Directory of persistent state.
        static_dir: String = String::new(),
        /// Default of `--stop-timeout`, in seconds.
        stop_timeout: u32 = 10,
        /// Directory of volatile state.
        tmp_dir: String = String::new(),
        /// Directory of named volumes; empty means inside of the store.
        volume_path: String = String::new(),
        /// Sockets of volume plugins by their names.
        volume_plugins: BTreeMap<String, PathBuf> = BTreeMap::new(),
    }
}

table! {
    /// `[network]`.
    Network {
        /// Name of the default network.
        default_network: String = "podman".to_owned(),
        /// What connects a rootless container: only `pasta` is known.
        default_rootless_network_cmd: String = "pasta".to_owned(),
        /// Subnet of the default network.
        default_subnet: String = "10.88.0.0/16".to_owned(),
        /// Port of the name server of networks; 0 means 53.
        dns_bind_port: u16 = 0,
        /// Firewall driver of networks.
        firewall_driver: String = String::new(),
        /// Network backend: rbox's own, whatever stands here.
        network_backend: String = String::new(),
        /// Directory of network definitions.
        network_config_dir: String = String::new(),
        /// Options for every pasta, before those of `--network=pasta:…`.
        pasta_options: Vec<String> = vec![],
    }
}

impl Config {
    /// The keys of a table by its name, or `None` for a table that rbox does not read.
    #[must_use]
    pub fn keys(table: &str) -> Option<&'static [&'static str]> {
        match table {
            "containers" => Some(Containers::KEYS),
            "engine" => Some(Engine::KEYS),
            "network" => Some(Network::KEYS),
            _ => None,
        }
    }
}

/// Capabilities of a container that asks for nothing, as podman has them.
pub const DEFAULT_CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Where distributions put helpers that are not commands.
const DEFAULT_HELPER_DIRS: [&str; 4] =
    ["/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/libexec/podman", "/usr/lib/podman"];

fn owned(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

fn paths(items: &[&str]) -> Vec<PathBuf> {
    items.iter().map(PathBuf::from).collect()
}
