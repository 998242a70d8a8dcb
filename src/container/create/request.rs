//! What a new container shall be: every choice of `run` and `create`, typed.
//!
//! The whole request is kept in the container record, because `inspect` shows most of
//! it and a restart needs the rest. Fields that were left out carry the meaning
//! "default"; defaults of the image and of containers.conf are merged in by
//! [`super::create`], before the request is stored.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Resources;
use super::extras::Extras;
use super::profile::SecurityProfile;
use crate::config::subid::PasswdEntry;
use crate::container::ContainerId;
use crate::container::health::Health;
use crate::kernel::idmap::IdMaps;
use crate::network;
use crate::network::Protocol;
use crate::volume::Mount;

/// A request to create a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateRequest {
    /// Names, labels and files that identify the container.
    pub identity: Identity,
    /// Where the root file system comes from.
    pub rootfs: RootFs,
    /// `--entrypoint`: `None` keeps the image's, an empty list clears it.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments after the image; empty keeps the image's command.
    pub command: Vec<String>,
    /// Environment.
    pub env: EnvRequest,
    /// User, groups and entries of passwd and group.
    pub user: UserRequest,
    /// `--workdir`
    pub workdir: Option<PathBuf>,
    /// `-t`
    pub terminal: bool,
    /// `-i`
    pub interactive: bool,
    /// `--init` and `--init-path`
    pub init: Option<Init>,
    /// `--systemd`
    pub systemd: Systemd,
    /// `--stop-signal`, a signal number.
    pub stop_signal: Option<i32>,
    /// `--stop-timeout`, seconds.
    pub stop_timeout: Option<u32>,
    /// `--timeout`, seconds; 0 is none.
    pub timeout: u32,
    /// `--restart`
    pub restart: Option<RestartPolicy>,
    /// `--umask`, as a number.
    pub umask: Option<u32>,
    /// `--tz`
    pub timezone: Option<String>,
    /// `--oom-score-adj`
    pub oom_score_adj: Option<i32>,
    /// `--personality`: `LINUX` or `LINUX32`.
    pub personality: Option<String>,
    /// `--ulimit`; `None` is `host`, the caller's own limits.
    pub ulimits: Option<Vec<Ulimit>>,
    /// `--preserve-fds`: how many after 2.
    pub preserve_fds: u32,
    /// `--preserve-fd`: exactly these.
    pub preserve_fd: Vec<i32>,

    /// `-v`, `--mount`, `--tmpfs`, in order.
    pub mounts: Vec<Mount>,
    /// `--volumes-from`: container and option words.
    pub volumes_from: Vec<(String, Vec<String>)>,
    /// `--image-volume`
    pub image_volumes: ImageVolumes,
    /// `--read-only`
    pub read_only: bool,
    /// `--read-only-tmpfs`
    pub read_only_tmpfs: bool,
    /// `--shm-size`, bytes; 0 is unlimited.
    pub shm_size: Option<u64>,
    /// `--shm-size-systemd`, bytes.
    pub shm_size_systemd: Option<u64>,
    /// `--device`: host path, container path, permissions.
    pub devices: Vec<(PathBuf, PathBuf, String)>,
    /// `--device VENDOR/CLASS=NAME`, `--gpus`
    pub cdi_devices: Vec<String>,
    /// `--chrootdirs`
    pub chroot_dirs: Vec<PathBuf>,

    /// Capabilities, seccomp, masks and the like.
    pub security: Security,
    /// `--pid`
    pub pid: NamespaceMode,
    /// `--uts`
    pub uts: NamespaceMode,
    /// `--cgroupns`
    pub cgroupns: NamespaceMode,
    /// `--ipc`
    pub ipc: IpcMode,
    /// `--userns`, `--uidmap`, `--gidmap`, resolved to maps against H.
    pub userns: UserNsMode,
    /// `--sysctl`
    pub sysctl: BTreeMap<String, String>,
    /// `--annotation`
    pub annotations: BTreeMap<String, String>,

    /// `--hostname`
    pub hostname: Option<String>,
    /// `--network`, `-p`, `--dns`, … ; ports as given, [`network::port::assign`] comes later.
    pub network: network::Request,
    /// `--expose`
    pub expose: Vec<(u16, Protocol)>,
    /// `-P`
    pub publish_all: bool,

    /// `--log-driver`, `--log-opt`
    pub log: LogRequest,
    /// `--cgroups`
    pub cgroups: CgroupMode,
    /// `--cgroup-parent`
    pub cgroup_parent: Option<String>,
    /// `--memory`, `--cpus` and their like.
    pub resources: Resources,
    /// `--health-cmd` and its like; an empty test takes that of the image.
    pub health: Option<Health>,
    /// `--sdnotify`
    pub sd_notify: Option<String>,
    /// `-a` streams, for `inspect`.
    pub attach: Vec<String>,
    /// `--rm`
    pub remove: bool,
    /// `--rmi`
    pub remove_image: bool,
    /// The command line that made the container, for `inspect`.
    pub create_command: Vec<String>,
    /// What a start needs beside the spec; filled by [`super::create`].
    pub extras: Extras,
}

/// Names, labels and files that identify a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// `--name`; a random one if absent.
    pub name: Option<String>,
    /// The id that it had when it was written to an archive; a random one if absent.
    #[serde(skip)]
    pub id: Option<ContainerId>,
    /// `--replace`: an existing container of that name is removed first.
    pub replace: bool,
    /// `--label`, `--label-file`
    pub labels: BTreeMap<String, String>,
    /// `--cidfile`
    pub cid_file: Option<PathBuf>,
    /// `--pidfile`
    pub pid_file: Option<PathBuf>,
    /// `--conmon-pidfile`: the monitor's process id.
    pub monitor_pid_file: Option<PathBuf>,
    /// `--requires`: containers that must be started first.
    pub requires: Vec<String>,
}

/// Where the root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum RootFs {
    /// An image.
    Image {
        /// As the user named it.
        reference: String,
        /// The image's id once it is resolved.
        id: Option<String>,
    },
    /// `--rootfs DIR[:O]`
    Directory {
        /// Absolute path.
        path: PathBuf,
        /// `:O`: writes go to an overlay.
        overlay: bool,
    },
}

impl Default for RootFs {
    fn default() -> Self {
        Self::Image { reference: String::new(), id: None }
    }
}

/// Environment of the first process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvRequest {
    /// `--env` and `--env-file`, in order of precedence (a later one wins).
    pub set: Vec<(String, String)>,
    /// `--env-host`
    pub host: bool,
    /// `--env-merge`: `NAME`, template.
    pub merge: Vec<(String, String)>,
    /// `--unsetenv`
    pub unset: Vec<String>,
    /// `--unsetenv-all`
    pub unset_all: bool,
    /// `--http-proxy`: proxy variables of the caller are passed on.
    pub http_proxy: bool,
}

/// The user that the container runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserRequest {
    /// `--user`: `USER[:GROUP]` by names or numbers; `None` takes the image's.
    pub user: Option<String>,
    /// `--group-add` without `keep-groups`
    pub groups: Vec<String>,
    /// `--group-add keep-groups`
    pub keep_groups: bool,
    /// `--passwd`: entries are added to /etc/passwd and /etc/group.
    pub passwd: bool,
    /// `--passwd-entry`
    pub passwd_entry: Option<String>,
    /// `--group-entry`
    pub group_entry: Option<String>,
    /// `--hostuser`
    pub host_users: Vec<String>,
    /// The accounts of the host that `host_users` names.
    #[serde(skip)]
    pub host_entries: Vec<PasswdEntry>,
}

impl Default for UserRequest {
    fn default() -> Self {
        Self {
            user: None,
            groups: Vec::new(),
            keep_groups: false,
            passwd: true,
            passwd_entry: None,
            group_entry: None,
            host_users: Vec::new(),
            host_entries: Vec::new(),
        }
    }
}

/// `--init`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// A program of the host to use instead of the built-in one.
    pub path: Option<PathBuf>,
}

/// `--systemd`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Systemd {
    /// Only when the command is systemd or init.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `--restart`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// After an exit code other than 0, at most this often (0: no limit).
    OnFailure(u32),
    /// Always, and after boot.
    Always,
    /// Always unless the user stopped it.
    UnlessStopped,
}

/// `--ulimit NAME=SOFT[:HARD]`; `u64::MAX` is unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Name without `RLIMIT_`, lower case.
    pub name: String,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// `--image-volume`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageVolumes {
    /// An anonymous volume for each.
    #[default]
    Anonymous,
    /// A tmpfs for each.
    Tmpfs,
    /// The paths are ordinary directories of the root file system.
    Ignore,
}

/// Security settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// `--security-profile`
    pub profile: SecurityProfile,
    /// `--privileged`
    pub privileged: bool,
    /// `--cap-add`, normalised to `CAP_X` or `ALL`.
    pub cap_add: Vec<String>,
    /// `--cap-drop`, normalised to `CAP_X` or `ALL`.
    pub cap_drop: Vec<String>,
    /// `--security-opt no-new-privileges`
    pub no_new_privileges: Option<bool>,
    /// `--security-opt seccomp=`
    pub seccomp: SeccompChoice,
    /// `--security-opt mask=`
    pub mask: Vec<String>,
    /// `--security-opt unmask=`, `ALL` or paths.
    pub unmask: Vec<String>,
    /// `--security-opt landlock=`
    pub landlock: Option<bool>,
    /// `--security-opt apparmor=`
    pub apparmor: Option<String>,
    /// `--security-opt label=`
    pub label: Vec<String>,
    /// `--security-opt proc-opts=`
    pub proc_opts: Vec<String>,
    /// The values of `--security-opt` as given, for `inspect`.
    pub options: Vec<String>,
}

/// Which seccomp profile is loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeccompChoice {
    /// The built-in profile (or that of containers.conf).
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A profile file.
    File(PathBuf),
}

/// A namespace mode of pid, uts and cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceMode {
    /// A namespace of its own.
    #[default]
    Private,
    /// The caller's.
    Host,
    /// That of another container, by name or id.
    Container(String),
    /// A namespace file.
    Path(PathBuf),
}

/// Which cgroups are made for a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupMode {
    /// One for the container, where the user may make one.
    #[default]
    Enabled,
    /// The same: a monitor never has one of its own.
    NoConmon,
    /// None: the container stays in the cgroup of its monitor.
    Disabled,
    /// The caller's is split in one for the monitor and one for the container.
    Split,
}

/// The IPC namespace mode.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IpcMode {
    /// A namespace of its own that other containers may join.
    #[default]
    Shareable,
    /// A namespace of its own.
    Private,
    /// A namespace of its own, and no /dev/shm.
    None,
    /// The caller's.
    Host,
    /// That of another container, by name or id.
    Container(String),
    /// A namespace file.
    Path(PathBuf),
}

/// The user namespace mode.
///
/// Maps are from ids inside the container to ids of the user's namespace (H).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserNsMode {
    /// The user's whole range, unchanged.
    #[default]
    Host,
    /// `keep-id`: the caller keeps her ids inside.
    KeepId {
        /// Id inside instead of the caller's own.
        uid: Option<u32>,
        /// Group id inside instead of the caller's own.
        gid: Option<u32>,
        /// How many ids the container gets.
        size: Option<u32>,
    },
    /// `nomap`: the caller's ids are not mapped.
    NoMap,
    /// `auto`: a range of its own that no other container uses.
    Auto {
        /// How many ids.
        size: Option<u32>,
        /// Explicit parts of the map.
        maps: IdMaps,
    },
    /// `--uidmap`, `--gidmap`
    Explicit(IdMaps),
    /// That of another container.
    Container(String),
    /// A namespace file.
    Path(PathBuf),
}

/// Where the container's output is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogRequest {
    /// Driver name as given; `None` takes the default.
    pub driver: Option<String>,
    /// `--log-opt path=`
    pub path: Option<PathBuf>,
    /// `--log-opt max-size=`, bytes.
    pub max_size: Option<u64>,
    /// `--log-opt max-file=`
    pub max_files: Option<u32>,
    /// `--log-opt tag=`
    pub tag: Option<String>,
    /// `--log-opt label=`
    pub labels: Vec<String>,
}
