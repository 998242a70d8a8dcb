//! The plan of a container: plain data that says everything about it.
//!
//! A plan is made from an OCI runtime spec by [`Plan::from_spec`], or field by
//! field. It holds no descriptor and no kernel state, so it can be compared,
//! printed and tested without a kernel. Once the child is cloned nothing is
//! decided any more: the plan is carried out.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::RootFiles;
use super::user::UserLookup;
use crate::kernel::cap::CapabilitySet;
use crate::kernel::idmap::IdMaps;
use crate::kernel::mount::Attributes;
use crate::kernel::rlimit::Resource;
use crate::kernel::schedule::{IoPriority, Scheduling};
use crate::kernel::seccomp::Instruction;

/// Everything about one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Where the root file system comes from.
    pub root: RootSource,
    /// Whether the root file system is mounted read-only.
    pub root_read_only: bool,
    /// Propagation of the root mount, one of `kernel::mount::{PRIVATE, SLAVE, SHARED, UNBINDABLE}`.
    pub root_propagation: u64,
    /// The namespaces.
    pub namespaces: Namespaces,
    /// Host name, in an own UTS namespace.
    pub host_name: Option<String>,
    /// NIS domain name, in an own UTS namespace.
    pub domain_name: Option<String>,
    /// Mounts, in the order in which they are made.
    pub mounts: Vec<Mount>,
    /// Device nodes beside the six that every container has.
    pub devices: Vec<Device>,
    /// Network devices of the caller that become the container's: their names now, and inside.
    #[serde(default)]
    pub network_devices: Vec<(String, String)>,
    /// Paths inside that show nothing.
    pub masked_paths: Vec<PathBuf>,
    /// Paths inside that cannot be written.
    pub read_only_paths: Vec<PathBuf>,
    /// Kernel parameters (dotted names) of the container's own namespaces.
    pub sysctls: Vec<(String, String)>,
    /// Files to make in the root file system once it is mounted.
    pub files: RootFiles,
    /// The first process.
    pub process: Process,
    /// Programs of the administrator to run at fixed points.
    pub hooks: Hooks,
    /// The cgroup and its limits.
    pub cgroup: CgroupPlan,
    /// The SELinux label of the file systems that are made for the container.
    #[serde(default)]
    pub mount_label: Option<MountLabel>,
    /// Whether the container gets a session keyring of its own (it always should).
    pub new_keyring: bool,
    /// Run rbox's small init as pid 1 and the program as its child.
    pub init: bool,
    /// What hooks are told about the container.
    pub identity: Identity,
}

impl Plan {
    /// Shows copies of the host files below `directory` instead of the files themselves.
    pub fn copy_files_below(&mut self, directory: &Path) {
        for mount in &mut self.mounts {
            if let MountSource::Bind { path, .. } = &mount.source
                && path.starts_with(directory)
            {
                mount.source = MountSource::Copy { path: path.clone() };
            }
        }
    }

    /// Shows what another container shows in place of new file systems with the names `sources`, which
    /// belong to a namespace that is shared with it. `namespace` is its mount namespace.
    pub fn join_mounts(&mut self, sources: &[&str], namespace: &Path) {
        for mount in &mut self.mounts {
            if let MountSource::FileSystem { source, .. } = &mount.source
                && sources.contains(&source.as_str())
            {
                let path = mount.destination.clone();
                mount.source = MountSource::Joined { namespace: namespace.to_owned(), path };
            }
        }
    }
}

/// The SELinux label of file systems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountLabel {
    /// What of a file system it is about.
    pub option: LabelOption,
    /// `user:role:type:level`
    pub context: String,
}

/// The mount options that give labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelOption {
    /// All files, for good.
    Context,
    /// The file system itself.
    Fscontext,
    /// Files that have no label.
    Defcontext,
    /// The root directory, from where new files take theirs.
    Rootcontext,
}

impl LabelOption {
    /// The option of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Context, Self::Fscontext, Self::Defcontext, Self::Rootcontext]
            .into_iter()
            .find(|option| option.as_str() == name)
    }

    /// The name of the mount option.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Fscontext => "fscontext",
            Self::Defcontext => "defcontext",
            Self::Rootcontext => "rootcontext",
        }
    }
}

/// What the state document for hooks says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The container's id.
    pub id: String,
    /// The bundle directory.
    pub bundle: PathBuf,
    /// The spec's annotations.
    pub annotations: Vec<(String, String)>,
}

/// Where the root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootSource {
    /// An existing directory, which becomes the root by a bind mount.
    Bind(PathBuf),
    /// An overlay, mounted inside the container's own namespaces.
    Overlay(Overlay),
}

/// An overlay file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Directory to which `lowers` are relative, so that mountinfo inside shows no host path.
    pub lower_base: PathBuf,
    /// Lower directories, the topmost first.
    pub lowers: Vec<PathBuf>,
    /// Directory to which `upper` and `work` are relative; unused without them.
    pub upper_base: PathBuf,
    /// The writable directory; without it the overlay is read-only.
    pub upper: Option<PathBuf>,
    /// The work directory that belongs to `upper`.
    pub work: Option<PathBuf>,
    /// Keep the overlay's own attributes in `user.overlay.*`, as an unprivileged mount must.
    pub user_xattr: bool,
    /// Do not sync the upper directory: its content is worth nothing after a crash.
    pub volatile: bool,
    /// Further options of the file system.
    pub options: Vec<(String, Option<String>)>,
}

/// How the container relates to one kind of namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Membership {
    /// A new namespace.
    #[default]
    New,
    /// The caller's.
    Host,
    /// The one behind this file, such as `/proc/PID/ns/net`.
    Join(PathBuf),
}

/// The user namespace of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserNamespace {
    /// A new one with these maps; outside ids are the caller's.
    New(IdMaps),
    /// The caller's.
    Host,
    /// The one behind this file.
    Join(PathBuf),
}

/// All namespaces of the container. The mount namespace is always new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// User ids and capabilities.
    pub user: UserNamespace,
    /// Process ids.
    pub pid: Membership,
    /// Network.
    pub network: Membership,
    /// Host name.
    pub uts: Membership,
    /// Message queues and shared memory.
    pub ipc: Membership,
    /// Root of the cgroup tree.
    pub cgroup: Membership,
    /// Clock offsets.
    pub time: Membership,
    /// Offsets (seconds, nanoseconds) of a new time namespace: monotonic, boot.
    pub time_offsets: Option<TimeOffsets>,
}

/// Offsets of a time namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeOffsets {
    /// Of `CLOCK_MONOTONIC`: seconds and nanoseconds.
    pub monotonic: (i64, u32),
    /// Of `CLOCK_BOOTTIME`: seconds and nanoseconds.
    pub boot: (i64, u32),
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the container.
    pub destination: PathBuf,
    /// What is mounted.
    pub source: MountSource,
    /// Attributes of this mount alone.
    pub attributes: Attributes,
    /// Attributes of this mount and all below it (`rro`, propagation `rslave` …).
    pub recursive_attributes: Attributes,
    /// Copy what the image holds at the destination into the new tmpfs, or into the
    /// bound directory while that is empty (a volume's first use).
    pub copy_up: bool,
    /// Give a bound source to the user and group of the process, with all below it,
    /// unless the source itself is theirs already.
    pub chown: bool,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A host file or directory.
    Bind {
        /// The host path.
        path: PathBuf,
        /// What of it is shown, if not all. It is resolved in it: links of whoever may write there lead nowhere else
        /// (CVE-2017-1002101).
        below: Option<PathBuf>,
        /// Whether mounts below it come along.
        recursive: bool,
    },
    /// A copy of a small host file, on a tmpfs of the container's own: mountinfo inside shows
    /// where on the host's file system a bound file lies, a copy shows nothing.
    Copy {
        /// The host file.
        path: PathBuf,
    },
    /// What another container has mounted, with all below it; no mount where it has none.
    Joined {
        /// That container's mount namespace, such as `/proc/PID/ns/mnt`.
        namespace: PathBuf,
        /// The path inside of it.
        path: PathBuf,
    },
    /// A file system of its own.
    FileSystem {
        /// Its type: `proc`, `tmpfs` …
        kind: String,
        /// What mountinfo shows as the source.
        source: String,
        /// Options of the file system: key and value.
        options: Vec<(String, Option<String>)>,
    },
    /// The container's cgroup, or the host's one read-only where it has none.
    Cgroup,
    /// An overlay.
    Overlay(Overlay),
    /// One file of an overlay.
    File(FileSource),
}

/// A file of an overlay: nobody can make an overlay without an upper directory writable, as who may mount can do with
/// a bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSource {
    /// The overlay.
    pub overlay: Overlay,
    /// The file's path in it.
    pub entry: PathBuf,
    /// Its name where the destination is a directory.
    pub name: PathBuf,
    /// The destination is a directory, because other files go there as well.
    pub needs_directory: bool,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path inside the container.
    pub path: PathBuf,
    /// What it is.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits, where the node is made and not bound.
    pub mode: Option<u32>,
    /// Owner inside, where the node is made and not bound.
    pub uid: Option<u32>,
    /// Group inside, where the node is made and not bound.
    pub gid: Option<u32>,
}

/// Kinds of device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// Character device.
    Character,
    /// Block device.
    Block,
    /// Named pipe.
    Fifo,
}

/// A process inside a container: the first one, or one of `exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The command line; empty only where [`Self::is_absent`].
    pub arguments: Vec<String>,
    /// `NAME=value` entries.
    pub environment: Vec<String>,
    /// Working directory, absolute.
    pub cwd: PathBuf,
    /// Make the working directory, owned by the user, where it is missing.
    pub create_cwd: bool,
    /// Whether the process runs on a terminal of the container.
    pub terminal: bool,
    /// That terminal leaves line ends as the program writes them: nobody looks at it through another one.
    #[serde(default)]
    pub plain_line_ends: bool,
    /// Width and height of that terminal, if known.
    pub console_size: Option<(u16, u16)>,
    /// Who it runs as by name: found once the root file system is mounted
    /// ([`super::user::apply`]), and what is found replaces the ids below.
    pub lookup: Option<UserLookup>,
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Supplementary groups inside.
    pub groups: Vec<u32>,
    /// Keep the caller's supplementary groups instead.
    pub keep_groups: bool,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// Capability sets.
    pub capabilities: Capabilities,
    /// Resource limits: soft and hard, `u64::MAX` is unlimited.
    pub limits: Vec<(Resource, u64, u64)>,
    /// No exec gains privileges.
    pub no_new_privileges: bool,
    /// Score for the out-of-memory killer.
    pub oom_score_adjustment: Option<i32>,
    /// On which processors it runs.
    #[serde(default)]
    pub processors: Processors,
    /// How the processor is shared, where the caller's way is not meant.
    pub scheduling: Option<Scheduling>,
    /// Priority at disks, likewise.
    pub io_priority: Option<IoPriority>,
    /// System call filter.
    pub seccomp: Option<Filter>,
    /// The AppArmor profile under which the program runs.
    #[serde(default)]
    pub apparmor_profile: Option<String>,
    /// The SELinux label under which the program runs.
    #[serde(default)]
    pub selinux_label: Option<String>,
    /// Nothing outside of the root can be used, where the kernel has rules for that.
    pub enclosure: Option<Enclosure>,
    /// Execution domain, such as 32-bit.
    pub personality: Option<u64>,
    /// On which nodes memory is allocated, where the caller's way is not meant.
    #[serde(default)]
    pub memory_policy: Option<MemoryPolicy>,
}

/// On which nodes memory is allocated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPolicy {
    /// The kernel's `MPOL_…` with its flags.
    pub mode: u32,
    /// One bit a node, the lowest first.
    pub nodes: Vec<u64>,
}

/// What a process that is kept to its root is kept from beside the files outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enclosure {
    /// Connections to abstract sockets of others: they belong to a network that the container shares.
    pub abstract_sockets: bool,
    /// Signals to others: the container shares a process namespace.
    pub signals: bool,
}

/// The five capability sets. What a spec leaves out is empty, not inherited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// What exec can give at most.
    pub bounding: CapabilitySet,
    /// What counts now.
    pub effective: CapabilitySet,
    /// What may be made effective.
    pub permitted: CapabilitySet,
    /// What passes an exec of a file with capabilities.
    pub inheritable: CapabilitySet,
    /// What passes an exec for users other than root.
    pub ambient: CapabilitySet,
}

impl Process {
    /// Whether there is nothing to run: a container that can be created, and not started.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.arguments.is_empty()
    }

    /// The value of an environment variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }
}

/// A compiled seccomp filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// The program.
    pub program: Vec<Instruction>,
    /// `kernel::seccomp::FLAG_…`.
    pub flags: u64,
    /// Calls that another process decides, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Box<Notify>>,
}

/// Calls that another process decides (`SCMP_ACT_NOTIFY`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// A filter which lets every other call pass; loaded before the program of the filter itself.
    pub program: Vec<Instruction>,
    /// Its flags.
    pub flags: u64,
    /// Who decides.
    pub agent: Agent,
}

/// A program of the administrator that decides calls for containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// The socket on which it gets the descriptor that reports calls.
    pub path: PathBuf,
    /// What it is told besides.
    pub metadata: String,
    /// Whether some call needs it. A spec may name an agent and no such call; then it may be missing.
    pub needed: bool,
}

impl Process {
    /// Who decides about calls of this process, if anybody does.
    #[must_use]
    pub fn agent(&self) -> Option<&Agent> {
        Some(&self.seccomp.as_ref()?.notify.as_ref()?.agent)
    }
}

/// Hooks by the point at which they run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// Deprecated form of `create_runtime`.
    pub prestart: Vec<Hook>,
    /// In the runtime's namespaces, once the container's exist.
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before its root is entered.
    pub create_container: Vec<Hook>,
    /// In the container, before the program.
    pub start_container: Vec<Hook>,
    /// In the runtime's namespaces, after the start.
    pub post_start: Vec<Hook>,
    /// In the runtime's namespaces, after the deletion.
    pub post_stop: Vec<Hook>,
}

/// A program of the administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute path.
    pub path: PathBuf,
    /// Arguments with argv\[0\]; empty means the path alone.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<String>,
    /// Seconds after which it is killed.
    pub timeout: Option<u32>,
}

/// The cgroup of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPlan {
    /// Where the spec wants it: absolute from the root of the hierarchy, or relative to the
    /// caller's cgroup. Without it the runtime chooses a child of the caller's cgroup.
    pub path: Option<PathBuf>,
    /// Make none, also where one could be made.
    pub disabled: bool,
    /// Fail where none can be made, also without settings.
    pub required: bool,
    /// Hand every controller to the container that can be had, for cgroups that it makes itself.
    #[serde(default)]
    pub all_controllers: bool,
    /// Controller files and what is written to them, such as `pids.max`.
    pub settings: Vec<(String, String)>,
    /// The same, but nobody asked for them: they hold where they can.
    pub optional: Vec<(String, String)>,
    /// Rules for devices, of which the last that fits holds. In a user namespace no device node can be made,
    /// so they hold there without being enforced by the cgroup.
    #[serde(default)]
    pub devices: Vec<DeviceRule>,
}

/// The processors of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Processors {
    /// The caller's, as far as the cgroup has them.
    #[default]
    Callers,
    /// All of its cgroup, also where the caller was bound to some.
    All,
    /// These: before it enters the container, where that is said, and inside.
    Given {
        /// Before.
        first: Vec<u32>,
        /// Inside; none: as before.
        inside: Vec<u32>,
    },
}

/// A rule for devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Allow or forbid.
    pub allow: bool,
    /// Kind of device; both without it.
    pub kind: Option<DeviceKind>,
    /// Major number; every one without it.
    pub major: Option<u32>,
    /// Minor number; every one without it.
    pub minor: Option<u32>,
    /// Kinds of use: 1 makes nodes, 2 reads, 4 writes.
    pub access: u8,
}
