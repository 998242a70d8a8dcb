//! `spec`, `features` and `--version`.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use super::Context;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::kernel::cap::{Capability, CapabilitySet};
use crate::runtime::{SPEC_VERSION, cgroup};

/// Arguments of `spec`.
#[derive(Debug, clap::Args)]
pub(super) struct SpecArgs {
    /// Directory in which config.json is made
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Make a spec for a user without root
    #[arg(long)]
    rootless: bool,
}

/// Arguments of `features`.
#[derive(Debug, clap::Args)]
pub(super) struct FeaturesArgs {}

/// In the form of crun's first line, which podman shows.
pub(super) fn version(ui: &mut Ui) -> Result<()> {
    ui.data(format_args!("rbox version {}", env!("CARGO_PKG_VERSION")))?;
    ui.data(format_args!("spec: {SPEC_VERSION}"))?;
    ui.data("+SECCOMP +CAP +NEW_MOUNT_API")
}

pub(super) fn spec(args: &SpecArgs) -> Result<ExitStatus> {
    let path = args.bundle.join("config.json");
    let rootless = args.rootless || !rustix::process::geteuid().is_root();
    let text =
        serde_json::to_string_pretty(&template(rootless)).map_err(|e| CommandError::new(e.to_string()))?;
    fs::File::create_new(&path)
        .and_then(|mut file| writeln!(file, "{text}"))
        .map_err(|error| CommandError::new(format!("{}: {error}", path.display())))?;
    Ok(ExitStatus::SUCCESS)
}

/// A shell with few rights, as runc's and crun's templates have it.
fn template(rootless: bool) -> serde_json::Value {
    let capabilities: Vec<String> =
        ["AUDIT_WRITE", "KILL", "NET_BIND_SERVICE"].map(|name| format!("CAP_{name}")).to_vec();
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount", "cgroup"];
    let mut linux = serde_json::json!({
        "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
            "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
            "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    if rootless {
        namespaces.push("user");
        let map = |id: u32| serde_json::json!([{"containerID": 0, "hostID": id, "size": 1}]);
        linux["uidMappings"] = map(rustix::process::geteuid().as_raw());
        linux["gidMappings"] = map(rustix::process::getegid().as_raw());
    }
    linux["namespaces"] = namespaces.iter().map(|kind| serde_json::json!({"type": kind})).collect();
    serde_json::json!({
        "ociVersion": "1.2.0",
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "rbox",
        "mounts": mounts(),
        "linux": linux,
    })
}

fn mounts() -> serde_json::Value {
    let mount = |destination: &str, kind: &str, options: &[&str]| serde_json::json!({"destination": destination, "type": kind, "source": kind, "options": options});
    let safe = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&safe[..], more].concat();
    serde_json::json!([
        mount("/proc", "proc", &safe),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        mount("/dev/shm", "tmpfs", &with(&["mode=1777", "size=65536k"])),
        mount("/dev/mqueue", "mqueue", &safe),
        mount("/sys", "sysfs", &with(&["ro"])),
        mount("/sys/fs/cgroup", "cgroup", &with(&["relatime", "ro"])),
    ])
}

pub(super) fn features(context: &mut Context, _args: &FeaturesArgs) -> Result<ExitStatus> {
    let known = CapabilitySet::all_of_kernel();
    let capabilities: Vec<String> =
        Capability::all().filter(|capability| known.contains(*capability)).map(Capability::name).collect();
    let features = serde_json::json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": ["async", "atime", "bind", "defaults", "dev", "diratime", "exec", "noatime", "nodev",
            "nodiratime", "noexec", "norelatime", "nostrictatime", "nosuid", "nosymfollow", "private", "ratime",
            "rbind", "rdev", "rdiratime", "relatime", "rexec", "rnoatime", "rnodev", "rnodiratime", "rnoexec",
            "rnosuid", "rnosymfollow", "ro", "rprivate", "rrelatime", "rro", "rrw", "rshared", "rslave",
            "rstrictatime", "rsuid", "rsymfollow", "runbindable", "rw", "shared", "slave", "strictatime", "suid",
            "symfollow", "tmpcopyup", "unbindable"],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities,
            "cgroup": {"v1": false, "v2": cgroup::is_version_2(), "systemd": false, "systemdUser": false,
                "rdma": true},
            "seccomp": {
                "enabled": true,
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"],
                "archs": if cfg!(target_arch = "aarch64") { vec!["SCMP_ARCH_AARCH64"] }
                    else { vec!["SCMP_ARCH_X86", "SCMP_ARCH_X86_64"] },
                "knownFlags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                    "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
                "supportedFlags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                    "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            },
            "memoryPolicy": {
                "modes": ["MPOL_BIND", "MPOL_DEFAULT", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED",
                    "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"],
                "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": false}},
            "netDevices": {"enabled": true},
        },
        "annotations": {"org.rbox.version": env!("CARGO_PKG_VERSION")},
    });
    let text =
        serde_json::to_string_pretty(&features).map_err(|error| CommandError::new(error.to_string()))?;
    context.ui.data(text)?;
    Ok(ExitStatus::SUCCESS)
}
