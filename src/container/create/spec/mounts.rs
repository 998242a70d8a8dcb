//! Mounts: those that every container has, and those of the request.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount as SpecMount;

use super::super::request::{IpcMode, NamespaceMode};
use super::{Generated, SpecInput, process};
use crate::container::create::extras::{ArtifactMount, Labelled, Part};
use crate::container::{Error, Result};
use crate::network::Mode;
use crate::volume::{self, Access, Backing, Mount, MountOptions, Propagation, Relabel, Source};

/// By which programs see SELinux, and change labels.
const SELINUX: &str = "/sys/fs/selinux";

/// A mount of the user, as `inspect` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// `bind`, `volume`, `tmpfs`, `image`, …
    pub kind: String,
    /// Name of the volume.
    pub name: String,
    /// Source on the host.
    pub source: String,
    /// Target in the container.
    pub destination: String,
    /// Options.
    pub options: Vec<String>,
    /// Writable.
    pub writable: bool,
    /// Propagation.
    pub propagation: String,
}

/// All mounts, parents before what is mounted below them.
pub(super) fn mounts(input: &SpecInput<'_>, generated: &mut Generated) -> Result<Vec<SpecMount>> {
    let request = input.request;
    let user: Vec<&Mount> = request.mounts.iter().collect();
    let taken = |target: &str| user.iter().any(|mount| mount.destination == Path::new(target));
    let own_dev = taken("/dev");
    let mut all: Vec<SpecMount> = Vec::new();
    let mut add = |mount: SpecMount| {
        let target = mount.destination().clone();
        let below_own_dev = own_dev && target.starts_with("/dev");
        let known = all.iter().any(|other: &SpecMount| *other.destination() == target);
        if !taken(&target.to_string_lossy()) && !below_own_dev && !known {
            all.push(mount);
        }
    };
    if generated.systemd {
        systemd(input).into_iter().for_each(&mut add);
    }
    base(input).into_iter().for_each(&mut add);
    engine_files(input).into_iter().for_each(&mut add);
    if request.read_only && request.read_only_tmpfs {
        for target in ["/tmp", "/var/tmp", "/run"] {
            add(mount(
                "tmpfs",
                "tmpfs",
                target,
                &["rw", "rprivate", "nosuid", "nodev", "noexec", "tmpcopyup"],
            ));
        }
    }
    if request.security.nests_labels() && input.host.labels.mount.is_some() {
        add(mount("bind", SELINUX, SELINUX, &["rbind", "rprivate", "nosuid", "noexec", "nodev"]));
    }
    devices(input).into_iter().for_each(&mut add);
    if let Some(path) = request.init.as_ref().and_then(|init| init.path.as_ref()) {
        add(mount("bind", path, process::INIT_PATH, &["rbind", "ro", "rprivate", "nosuid", "nodev"]));
    }
    for asked in user {
        let (spec, shown) = of_user(asked, input, generated)?;
        all.extend(spec);
        generated.mounts.push(shown);
    }
    // Stable: the order of the command line decides between mounts of the same depth.
    all.sort_by_key(|mount| mount.destination().components().count());
    Ok(all)
}

fn mount(kind: &str, source: impl AsRef<Path>, target: impl AsRef<Path>, options: &[&str]) -> SpecMount {
    let mut mount = SpecMount::default();
    mount
        .set_destination(target.as_ref().to_owned())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.as_ref().to_owned()))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

/// Whether the container may mount a sysfs: it shows the network, so that must be the container's own.
pub(super) fn own_sysfs(input: &SpecInput<'_>) -> bool {
    match input.request.network.mode {
        Mode::Pasta(_) | Mode::None => true,
        Mode::Container(_) => !input.host.joined_host_network,
        _ => false,
    }
}

/// The kernel's file systems.
fn base(input: &SpecInput<'_>) -> Vec<SpecMount> {
    let request = input.request;
    let privileged = request.security.privileged;
    let access = if privileged { "rw" } else { "ro" };
    let mut all = vec![proc(input)];
    let mut dev = vec!["nosuid", "strictatime", "noexec", "mode=755", "size=65536k"];
    let strict = request.security.confines_strictly();
    if strict || (request.read_only && !request.read_only_tmpfs) {
        dev.push("ro");
    }
    all.push(mount("tmpfs", "tmpfs", "/dev", &dev));
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if input.maps.is_some_and(|maps| crate::kernel::idmap::to_outside(&maps.gid, 5).is_some()) {
        // 5 is the group "tty", and must exist for the option to be taken.
        pts.push("gid=5");
    }
    all.push(mount("devpts", "devpts", "/dev/pts", &pts));
    all.extend(shared_memory(input));
    if own_sysfs(input) {
        all.push(mount("sysfs", "sysfs", "/sys", &["rprivate", "nosuid", "noexec", "nodev", access]));
    } else if !strict {
        all.push(mount("bind", "/sys", "/sys", &["rbind", "rprivate", "nosuid", "noexec", "nodev", access]));
    }
    let writable =
        privileged
            || request.security.unmask.iter().any(|path| {
                path.eq_ignore_ascii_case("all") || path.trim_end_matches('/') == "/sys/fs/cgroup"
            });
    let access = if writable { "rw" } else { "ro" };
    all.push(mount(
        "cgroup",
        "cgroup",
        "/sys/fs/cgroup",
        &["rprivate", "nosuid", "noexec", "nodev", "relatime", access],
    ));
    all
}

fn proc(input: &SpecInput<'_>) -> SpecMount {
    if input.request.pid == NamespaceMode::Host || input.host.joined_host_pid {
        // A proc of another pid namespace cannot be mounted from a user namespace below it.
        return mount("bind", "/proc", "/proc", &["rbind", "rprivate", "nosuid", "noexec", "nodev"]);
    }
    let mut options = vec!["nosuid", "noexec", "nodev"];
    options.extend(input.request.security.proc_opts.iter().map(String::as_str));
    mount("proc", "proc", "/proc", &options)
}

/// `/dev/shm` and `/dev/mqueue`, which belong to the IPC namespace.
fn shared_memory(input: &SpecInput<'_>) -> Vec<SpecMount> {
    let request = input.request;
    if request.ipc == IpcMode::Host {
        let mut all =
            vec![mount("bind", "/dev/shm", "/dev/shm", &["rbind", "rprivate", "nosuid", "noexec", "nodev"])];
        if input.host.has_message_queues {
            all.push(mount("bind", "/dev/mqueue", "/dev/mqueue", &["bind", "nosuid", "noexec", "nodev"]));
        }
        return all;
    }
    let mut all = vec![mount("mqueue", "mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"])];
    if request.ipc == IpcMode::None {
        return all;
    }
    let configured = super::super::size::binary(&input.config.shm_size).unwrap_or(64 << 20);
    let size = format!("size={}", request.shm_size.unwrap_or(configured));
    let mut options = vec!["nosuid", "noexec", "nodev", "mode=1777", &size];
    if request.read_only && !request.read_only_tmpfs {
        options.push("ro");
    }
    all.push(mount("tmpfs", "shm", "/dev/shm", &options));
    all
}

/// Files that the engine writes: names, resolver, the mark that this is a container.
fn engine_files(input: &SpecInput<'_>) -> Vec<SpecMount> {
    let request = input.request;
    let etc = input.directory.join("etc");
    let joined = matches!(request.network.mode, Mode::Container(_));
    let mut options = vec!["bind", "rprivate", "nosuid", "noexec", "nodev", "nosymfollow"];
    if request.read_only {
        options.push("ro");
    }
    let mut all = Vec::new();
    let roots = std::iter::once(PathBuf::from("/")).chain(request.chroot_dirs.iter().cloned());
    for root in roots {
        let mut add = |wanted: bool, name: &str| {
            if wanted {
                all.push(mount("bind", etc.join(name), root.join("etc").join(name), &options));
            }
        };
        add(!request.network.no_hosts, "hosts");
        // Without a network there is no server to name.
        let resolves = request.network.mode != Mode::None && !request.network.image_resolv_conf;
        add(resolves, "resolv.conf");
        add(!(request.network.no_hostname || joined && request.uts != NamespaceMode::Private), "hostname");
    }
    let run_is_bound = request
        .mounts
        .iter()
        .any(|mount| mount.destination == Path::new("/run") && !matches!(mount.source, Source::Tmpfs { .. }));
    if !run_is_bound {
        all.push(mount("bind", etc.join("containerenv"), "/run/.containerenv", &options));
    }
    all
}

/// What systemd needs as pid 1: writable run-time directories and its own cgroup tree.
fn systemd(input: &SpecInput<'_>) -> Vec<SpecMount> {
    let size = input.request.shm_size_systemd.map(|bytes| format!("size={bytes}"));
    let mut options = vec!["rw", "rprivate", "nosuid", "nodev", "tmpcopyup", "mode=755"];
    options.extend(size.as_deref());
    let mut all: Vec<SpecMount> = ["/run", "/run/lock", "/var/log/journal"]
        .iter()
        .map(|target| mount("tmpfs", "tmpfs", target, &options))
        .collect();
    let mut options = vec!["rw", "rprivate", "nosuid", "nodev", "tmpcopyup", "mode=1777"];
    options.extend(size.as_deref());
    all.push(mount("tmpfs", "tmpfs", "/tmp", &options));
    all.push(mount("cgroup", "cgroup", "/sys/fs/cgroup", &["private", "nosuid", "noexec", "nodev", "rw"]));
    all
}

/// Devices are bound: an unprivileged user cannot make nodes.
fn devices(input: &SpecInput<'_>) -> Vec<SpecMount> {
    let bind = |source: &Path, target: &Path, access: &str| {
        mount("bind", source, target, &["rbind", "slave", "nosuid", "noexec", access])
    };
    let asked = input.request.devices.iter().map(|(source, target, permissions)| {
        bind(source, target, if permissions.contains('w') { "rw" } else { "ro" })
    });
    let privileged = input.host.devices.iter().map(|path| bind(path, path, "rw"));
    asked.chain(privileged).collect()
}

/// A mount of the user. What is looked up at each start has no place in the spec.
fn of_user(
    asked: &Mount,
    input: &SpecInput<'_>,
    generated: &mut Generated,
) -> Result<(Option<SpecMount>, Shown)> {
    let target = asked.destination.clone();
    if forbidden(&target) {
        // A mount over these would put a fake where masks and kernel parameters go (CVE-2019-16884).
        let what = format!("{} must be mounted on ordinary directory", target.display());
        return Err(Error::Invalid { what });
    }
    if asked.options.idmap.is_some() {
        return Err(Error::Unsupported {
            what: "the mount option idmap (only root can map ids of a file system)".to_owned(),
        });
    }
    if asked.options.no_dereference {
        return Err(Error::Unsupported { what: "the mount option no-dereference".to_owned() });
    }
    if asked.options.chown && !matches!(asked.source, Source::Tmpfs { .. }) {
        generated.extras.chown.push(target.clone());
    }
    let mut shown = Shown {
        destination: target.to_string_lossy().into_owned(),
        writable: asked.options.access == Access::ReadWrite,
        ..Shown::default()
    };
    let spec = match &asked.source {
        Source::Bind { path } => bind(path, asked, "bind", &mut shown),
        Source::Volume { name, subpath } => {
            let name = name.as_deref().unwrap_or_default();
            named_volume(name, subpath.as_deref(), asked, input, generated, &mut shown)?
        }
        Source::Overlay { path, upper, work } => {
            let own = own_overlay(input, generated);
            let upper = upper.clone().unwrap_or_else(|| own.join("upper"));
            let work = work.clone().unwrap_or_else(|| own.join("work"));
            "bind".clone_into(&mut shown.kind);
            shown.source = path.to_string_lossy().into_owned();
            overlay(std::slice::from_ref(path), Some((&upper, &work)), &target)
        }
        Source::Image { reference, subpath } => {
            "image".clone_into(&mut shown.kind);
            reference.clone_into(&mut shown.source);
            image(reference, subpath.as_deref(), asked, input, generated)?
        }
        Source::Artifact { reference, .. } => {
            "artifact".clone_into(&mut shown.kind);
            reference.clone_into(&mut shown.source);
            let empty = own_overlay(input, generated).join("upper");
            generated.extras.artifacts.push(ArtifactMount { asked: asked.clone(), empty });
            return Ok((None, shown));
        }
        Source::Tmpfs { copy_up } => memory("tmpfs", *copy_up, asked, &mut shown),
        Source::Ramfs => memory("ramfs", false, asked, &mut shown),
        Source::Devpts => {
            "devpts".clone_into(&mut shown.kind);
            let mut options = vec!["nosuid".to_owned(), "noexec".to_owned()];
            options.extend(asked.options.data.iter().cloned());
            with_options("devpts", "devpts", &target, options)
        }
        Source::Glob { pattern, .. } => {
            return Err(Error::Invalid { what: format!("the pattern {pattern:?} was not expanded") });
        }
    };
    if let Some(relabel) = asked.options.relabel {
        shown.options.push(if relabel == Relabel::Private { "Z" } else { "z" }.to_owned());
        label(&spec, relabel, input, generated);
    }
    Ok((Some(spec), shown))
}

/// Notes that a source gets the label with which the container, or all of them, can use it.
fn label(spec: &SpecMount, relabel: Relabel, input: &SpecInput<'_>, generated: &mut Generated) {
    let (Some(context), Some(source)) = (&input.host.labels.mount, spec.source()) else { return };
    if spec.typ().as_deref() != Some("bind") {
        return;
    }
    let context = match relabel {
        Relabel::Private => context.clone(),
        Relabel::Shared => volume::shared_context(context),
    };
    let part = generated.extras.parts.iter().find(|part| part.destination == *spec.destination());
    let (source, below) = match part {
        Some(part) => (part.volume.clone(), Some(part.below.clone())),
        None => (source.clone(), None),
    };
    generated.extras.relabel.push(Labelled { source, below, context });
}

/// A named volume: its directory, the directory that it binds, or memory of its own.
fn named_volume(
    name: &str,
    subpath: Option<&Path>,
    asked: &Mount,
    input: &SpecInput<'_>,
    generated: &mut Generated,
    shown: &mut Shown,
) -> Result<SpecMount> {
    let host = input.host;
    let fills = host.fresh_volumes.iter().any(|fresh| fresh == name) && asked.options.copy != Some(false);
    let backing = host.volume_backings.iter().find(|(known, _)| known == name).map(|(_, backing)| backing);
    let mut asked = asked.clone();
    name.clone_into(&mut shown.name);
    if let Some(Backing::Bind { options, .. } | Backing::Tmpfs { options }) = backing {
        for option in options {
            add_option(&mut asked.options, option);
        }
    }
    shown.writable = asked.options.access == Access::ReadWrite;
    if let (Some(Backing::Tmpfs { .. }), Some(_)) = (backing, &asked.options.overlay) {
        let what = format!("volume {name} is memory of its own in each container: it needs no overlay");
        return Err(Error::Invalid { what });
    }
    if let Some(Backing::Tmpfs { .. }) = backing {
        let spec = memory("tmpfs", fills, &asked, shown);
        "volume".clone_into(&mut shown.kind);
        shown.source = host.volumes.join(name).join("_data").to_string_lossy().into_owned();
        return Ok(spec);
    }
    if fills && asked.options.overlay.is_none() {
        generated.extras.fill.push(asked.destination.clone());
    }
    let data = match backing {
        Some(Backing::Bind { device, .. }) => device.clone(),
        _ => host.volumes.join(name).join("_data"),
    };
    let below = subpath.map(|sub| sub.strip_prefix("/").unwrap_or(sub));
    let source = below.map_or(data.clone(), |below| data.join(below));
    let Some(over) = &asked.options.overlay else {
        generated.extras.parts.extend(below.map(|below| Part {
            destination: asked.destination.clone(),
            volume: data.clone(),
            below: below.to_owned(),
        }));
        return Ok(bind(&source, &asked, "volume", shown));
    };
    let own = own_overlay(input, generated);
    let upper = over.upper.clone().unwrap_or_else(|| own.join("upper"));
    let work = over.work.clone().unwrap_or_else(|| own.join("work"));
    "volume".clone_into(&mut shown.kind);
    shown.source = source.to_string_lossy().into_owned();
    shown.options.push("O".to_owned());
    Ok(overlay(std::slice::from_ref(&source), Some((&upper, &work)), &asked.destination))
}

/// An option of the volume itself holds wherever it is mounted.
fn add_option(options: &mut MountOptions, word: &str) {
    match word {
        "ro" => options.access = Access::ReadOnly,
        "exec" | "noexec" => options.exec = options.exec.or(Some(word == "exec")),
        "suid" => options.suid = true,
        "dev" => options.dev = true,
        "bind" => options.non_recursive = true,
        // The defaults.
        "rw" | "rbind" | "nosuid" | "nodev" => {}
        _ => match Propagation::parse(word) {
            Some(propagation) => options.propagation = options.propagation.or(Some(propagation)),
            None => options.data.push(word.to_owned()),
        },
    }
}

/// Files of /proc that people replace to show a container its own limits.
const PROC_FILES: [&str; 9] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

/// Targets whose content the engine itself relies on.
fn forbidden(target: &Path) -> bool {
    let proc = target.starts_with("/proc") && !PROC_FILES.iter().any(|file| target == Path::new(file));
    proc || target == Path::new("/")
}

fn with_options(kind: &str, source: impl AsRef<Path>, target: &Path, options: Vec<String>) -> SpecMount {
    let mut spec = mount(kind, source, target, &[]);
    spec.set_options(Some(options));
    spec
}

fn bind(source: &Path, asked: &Mount, kind: &str, shown: &mut Shown) -> SpecMount {
    let options = &asked.options;
    let propagation = options.propagation.unwrap_or(if options.non_recursive {
        Propagation::Private
    } else {
        Propagation::Rprivate
    });
    let mut words = flags(options, options.exec.unwrap_or(true));
    words.push(propagation.as_str().to_owned());
    words.push(if options.non_recursive { "bind" } else { "rbind" }.to_owned());
    kind.clone_into(&mut shown.kind);
    shown.source = source.to_string_lossy().into_owned();
    propagation.as_str().clone_into(&mut shown.propagation);
    shown.options.clone_from(&words);
    shown.options.retain(|word| !matches!(word.as_str(), "ro" | "rw") && Propagation::parse(word).is_none());
    with_options("bind", source, &asked.destination, words)
}

/// `ro`, `nosuid`, `nodev`, `noexec`: the safe ones unless the user chose the other.
fn flags(options: &MountOptions, exec: bool) -> Vec<String> {
    let mut words = vec![if options.access == Access::ReadOnly { "ro" } else { "rw" }.to_owned()];
    for (allowed, word) in [(options.suid, "nosuid"), (options.dev, "nodev"), (exec, "noexec")] {
        if !allowed {
            words.push(word.to_owned());
        }
    }
    words
}

fn memory(kind: &str, copy_up: bool, asked: &Mount, shown: &mut Shown) -> SpecMount {
    let options = &asked.options;
    let mut words = flags(options, options.exec.unwrap_or(false));
    words.push(options.propagation.unwrap_or(Propagation::Rprivate).as_str().to_owned());
    words.extend(options.data.iter().cloned());
    if copy_up {
        words.push("tmpcopyup".to_owned());
    }
    kind.clone_into(&mut shown.kind);
    shown.source = kind.to_owned();
    shown.options.clone_from(&words);
    with_options(kind, kind, &asked.destination, words)
}

/// A directory of the container for one overlay mount.
fn own_overlay(input: &SpecInput<'_>, generated: &mut Generated) -> PathBuf {
    let own = PathBuf::from("overlays").join(generated.overlays.len().to_string());
    generated.overlays.push(own.clone());
    input.directory.join(own)
}

fn overlay(lowers: &[PathBuf], writable: Option<(&Path, &Path)>, target: &Path) -> SpecMount {
    // Colons separate directories, so those in names are escaped.
    let escape = |path: &Path| path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:");
    let lowers: Vec<String> = lowers.iter().map(|path| escape(path)).collect();
    let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), "userxattr".to_owned()];
    options.push(format!("lowerdir={}", lowers.join(":")));
    match writable {
        Some((upper, work)) => {
            options.push(format!("upperdir={}", upper.display()));
            options.push(format!("workdir={}", work.display()));
        }
        None => options.push("ro".to_owned()),
    }
    with_options("overlay", "overlay", target, options)
}

fn image(
    reference: &str,
    subpath: Option<&Path>,
    asked: &Mount,
    input: &SpecInput<'_>,
    generated: &mut Generated,
) -> Result<SpecMount> {
    if subpath.is_some() {
        return Err(Error::Unsupported { what: "subpath of an image mount".to_owned() });
    }
    let layers = input.host.images.iter().find(|(name, _)| name == reference).map(|(_, layers)| layers);
    let layers = layers.ok_or_else(|| Error::Invalid { what: format!("{reference}: image not known") })?;
    if asked.options.access == Access::ReadWrite {
        let own = own_overlay(input, generated);
        return Ok(overlay(layers, Some((&own.join("upper"), &own.join("work"))), &asked.destination));
    }
    let mut layers = layers.clone();
    if layers.len() == 1 {
        // A bind mount could be made writable by a container that may mount, and with it the layer in the store. An overlay
        // with nothing to write to cannot, but needs two directories.
        layers.push(own_overlay(input, generated).join("upper"));
    }
    Ok(overlay(&layers, None, &asked.destination))
}
