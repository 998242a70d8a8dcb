//! The fields of `info`, named and ordered as podman's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::host;
use crate::cli::commands::version::{Version, go_arch};
use crate::cli::compat;
use crate::cli::error::Result;
use crate::config::env::name;
use crate::config::{Config, StorageHints, subid};
use crate::container::{Containers, Status};
use crate::engine::Engine;
use crate::image::{self, registries::Registries};
use crate::kernel::idmap::IdRange;
use crate::kernel::selinux;
use crate::network::pasta;
use crate::runtime::{cgroup, has_apparmor};
use crate::store::{Driver, DriverInfo};

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Info {
    host: Host,
    store: StoreInfo,
    registries: BTreeMap<&'static str, Vec<String>>,
    plugins: Plugins,
    version: Version,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Host {
    arch: &'static str,
    buildah_version: &'static str,
    cgroup_manager: String,
    cgroup_version: &'static str,
    cgroup_controllers: Vec<String>,
    conmon: Program,
    cpus: usize,
    cpu_utilization: host::CpuUtilization,
    database_backend: &'static str,
    distribution: host::Distribution,
    event_logger: String,
    hostname: String,
    id_mappings: IdMappings,
    kernel: String,
    log_driver: String,
    mem_free: u64,
    mem_total: u64,
    network_backend: &'static str,
    network_backend_info: NetworkBackend,
    #[serde(rename = "ociRuntime")]
    oci_runtime: Runtime,
    os: &'static str,
    remote_socket: Socket,
    rootless_network_cmd: String,
    service_is_remote: bool,
    security: Security,
    slirp4netns: Helper,
    pasta: Helper,
    swap_free: u64,
    swap_total: u64,
    uptime: String,
    variant: &'static str,
    linkmode: &'static str,
}

#[derive(Debug, Default, Serialize)]
struct Program {
    package: String,
    path: String,
    version: String,
}

#[derive(Debug, Serialize)]
struct Runtime {
    name: String,
    package: String,
    path: String,
    version: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NetworkBackend {
    backend: &'static str,
    version: &'static str,
    package: &'static str,
    path: String,
    dns: Program,
    default_network: String,
}

#[derive(Debug, Default, Serialize)]
struct Helper {
    executable: String,
    package: String,
    version: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct MountProgram {
    executable: String,
    package: String,
    version: String,
}

#[derive(Debug, Serialize)]
struct Socket {
    path: String,
    exists: bool,
}

#[derive(Debug, Serialize)]
struct IdMappings {
    gidmap: Vec<IdLine>,
    uidmap: Vec<IdLine>,
}

#[derive(Debug, Serialize)]
struct IdLine {
    container_id: u32,
    host_id: u32,
    size: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Security {
    apparmor_enabled: bool,
    capabilities: String,
    rootless: bool,
    seccomp_enabled: bool,
    seccomp_profile_path: String,
    selinux_enabled: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StoreInfo {
    config_file: PathBuf,
    container_store: ContainerStore,
    graph_driver_name: &'static str,
    graph_options: BTreeMap<&'static str, MountProgram>,
    graph_root: PathBuf,
    graph_root_allocated: u64,
    graph_root_used: u64,
    graph_status: BTreeMap<&'static str, String>,
    image_copy_tmp_dir: PathBuf,
    image_store: ImageStore,
    run_root: PathBuf,
    volume_path: PathBuf,
    transient_store: bool,
}

#[derive(Debug, Default, Serialize)]
struct ContainerStore {
    number: usize,
    paused: usize,
    running: usize,
    stopped: usize,
}

#[derive(Debug, Serialize)]
struct ImageStore {
    number: usize,
}

#[derive(Debug, Serialize)]
struct Plugins {
    volume: Vec<String>,
    network: Vec<&'static str>,
    log: Vec<&'static str>,
    authorization: Option<Vec<String>>,
}

impl Info {
    /// Asks the host and the store.
    pub(super) fn collect(engine: &Engine) -> Result<Self> {
        let paths = engine.paths()?;
        let search =
            Registries::load(engine.env(), paths).map_err(image::Error::from)?.search_registries().to_vec();
        let registries =
            if search.is_empty() { BTreeMap::new() } else { BTreeMap::from([("search", search)]) };
        Ok(Self {
            host: Host::collect(engine)?,
            store: StoreInfo::collect(engine)?,
            registries,
            plugins: Plugins {
                volume: std::iter::once("local".to_owned())
                    .chain(engine.config()?.engine.volume_plugins.keys().cloned())
                    .collect(),
                network: vec!["pasta"],
                log: vec!["k8s-file", "json-file", "none", "passthrough"],
                authorization: None,
            },
            version: Version::current(),
        })
    }
}

impl Host {
    fn collect(engine: &Engine) -> Result<Self> {
        let config = engine.config()?;
        let env = engine.env();
        let own_path = host::own_executable();
        let memory = host::Memory::read();
        let manager = crate::container::create::cgroup::manager(engine)?;
        let maps = &engine.user_maps().maps;
        let lines = |map: &[IdRange]| {
            let line = |range: &IdRange| IdLine {
                container_id: range.inside,
                host_id: range.outside,
                size: range.count,
            };
            map.iter().map(line).collect()
        };
        let run = env.absolute(name::XDG_RUNTIME_DIR).unwrap_or_else(|| engine_run_parent(engine));
        let socket = run.join("podman/podman.sock");
        Ok(Self {
            arch: go_arch(),
            buildah_version: compat::BUILDAH,
            cgroup_manager: manager.as_str().to_owned(),
            cgroup_version: if cgroup::is_version_2() { "v2" } else { "v1" },
            cgroup_controllers: host::controllers(manager),
            conmon: Program {
                package: "none: rbox has a conmon of its own".to_owned(),
                path: own_path.clone(),
                version: format!("rbox {}", env!("CARGO_PKG_VERSION")),
            },
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpu_utilization: host::CpuUtilization::read(),
            database_backend: "files",
            distribution: host::Distribution::read(),
            event_logger: config.engine.events_logger.clone(),
            hostname: host::host_name(),
            id_mappings: IdMappings { gidmap: lines(&maps.gid), uidmap: lines(&maps.uid) },
            kernel: host::kernel_release(),
            log_driver: config.containers.log_driver.clone(),
            mem_free: memory.free,
            mem_total: memory.total,
            network_backend: "netavark",
            network_backend_info: network_backend(config, &own_path),
            oci_runtime: oci_runtime(engine, config, &own_path),
            os: "linux",
            remote_socket: Socket { exists: socket.exists(), path: socket.display().to_string() },
            rootless_network_cmd: config.network.default_rootless_network_cmd.clone(),
            service_is_remote: false,
            security: security(engine, config),
            slirp4netns: helper(env.find_program("slirp4netns", [])),
            pasta: helper(pasta::find(config, env)),
            swap_free: memory.swap_free,
            swap_total: memory.swap_total,
            uptime: host::uptime(),
            variant: "",
            linkmode: "static",
        })
    }
}

/// What stands above rbox's own run directory.
fn engine_run_parent(engine: &Engine) -> PathBuf {
    engine.paths().ok().and_then(|paths| paths.run.parent()).unwrap_or(Path::new("/run")).to_owned()
}

/// Scripts tell "netavark" from "cni": rbox behaves as the former, and names itself below.
fn network_backend(config: &Config, own_path: &str) -> NetworkBackend {
    NetworkBackend {
        backend: "rbox",
        version: env!("CARGO_PKG_VERSION"),
        package: "rbox",
        path: own_path.to_owned(),
        dns: Program::default(),
        default_network: config.network.default_network.clone(),
    }
}

fn oci_runtime(engine: &Engine, config: &Config, own_path: &str) -> Runtime {
    let given = engine.options.runtime.as_ref().map(|path| path.display().to_string());
    match given.or_else(|| config.engine.runtime.clone()) {
        None => Runtime {
            name: "rbox".to_owned(),
            package: "rbox".to_owned(),
            path: own_path.to_owned(),
            version: format!("rbox {}\nspec: 1.3.0", env!("CARGO_PKG_VERSION")),
        },
        Some(runtime) => {
            let mut configured = config.engine.runtimes.get(&runtime).into_iter().flatten();
            let path = match Path::new(&runtime).is_absolute() {
                true => Some(PathBuf::from(&runtime)),
                false => configured
                    .find(|path| path.exists())
                    .cloned()
                    .or_else(|| engine.env().find_program(&runtime, [])),
            };
            let name = Path::new(&runtime).file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Helper { executable, package, version } = helper(path);
            Runtime { name, package, path: executable, version }
        }
    }
}

/// What an installed program says of itself. The package that owns it is not asked for: the
/// package managers take longer than everything else together.
fn helper(path: Option<PathBuf>) -> Helper {
    path.map_or_else(Helper::default, |path| Helper {
        version: host::program_version(&path),
        package: "Unknown".to_owned(),
        executable: path.display().to_string(),
    })
}

fn security(engine: &Engine, config: &Config) -> Security {
    let rootless = subid::login_uid(engine.env()) != 0;
    Security {
        apparmor_enabled: has_apparmor(),
        capabilities: config.containers.default_capabilities.join(","),
        rootless,
        seccomp_enabled: host::seccomp_enabled(),
        seccomp_profile_path: match config.containers.seccomp_profile.as_str() {
            "" => "default".to_owned(),
            path => path.to_owned(),
        },
        selinux_enabled: selinux::is_enabled(),
    }
}

impl StoreInfo {
    fn collect(engine: &Engine) -> Result<Self> {
        let paths = engine.paths()?;
        let config = engine.config()?;
        let store = engine.store()?;
        let driver = store.driver();
        let space = host::Space::of(&paths.data);
        let hints = StorageHints::load(engine.env(), &paths.config_home);
        let user_file = paths.config_home.join("containers/storage.conf");
        let volume_path = match (&engine.options.volume_path, config.engine.volume_path.as_str()) {
            (Some(path), _) => path.clone(),
            (None, "") => paths.data.join("volumes"),
            (None, path) => path.into(),
        };
        Ok(Self {
            config_file: hints.source.unwrap_or(user_file),
            container_store: ContainerStore::count(&engine.containers()?)?,
            graph_driver_name: "overlay",
            graph_options: mount_program(driver.as_ref().ok()),
            graph_root: paths.data.clone(),
            graph_root_allocated: space.total,
            graph_root_used: space.used,
            graph_status: BTreeMap::from([
                ("Backing Filesystem", space.file_system),
                (
                    "Native Overlay Diff",
                    driver.as_ref().is_ok_and(|info| info.driver == Driver::Overlay).to_string(),
                ),
                // Empty where the kernel's overlay is used, or another one is configured.
                (
                    "Overlay Refused",
                    driver.map_or_else(|e| Some(e.to_string()), |info| info.reason).unwrap_or_default(),
                ),
                ("Supports d_type", "true".to_owned()),
                ("Using metacopy", "false".to_owned()),
            ]),
            image_copy_tmp_dir: match config.engine.image_copy_tmp_dir.as_str() {
                "" => engine.env().absolute(name::TMPDIR).unwrap_or_else(|| "/var/tmp".into()),
                path => path.into(),
            },
            image_store: ImageStore { number: store.images()?.len() },
            run_root: paths.run.clone(),
            volume_path,
            transient_store: false,
        })
    }
}

/// The program that mounts overlays, as podman shows it.
fn mount_program(driver: Option<&DriverInfo>) -> BTreeMap<&'static str, MountProgram> {
    let program = driver.and_then(|driver| driver.program.clone());
    let shown = program.map(|path| {
        let Helper { executable, package, version } = helper(Some(path));
        ("overlay.mount_program", MountProgram { executable, package, version })
    });
    shown.into_iter().collect()
}

impl ContainerStore {
    fn count(containers: &Containers) -> Result<Self> {
        let mut count = Self::default();
        for id in containers.ids()? {
            count.number += 1;
            match containers.state(&id)?.status {
                Status::Running => count.running += 1,
                Status::Paused => count.paused += 1,
                _ => count.stopped += 1,
            }
        }
        Ok(count)
    }
}
