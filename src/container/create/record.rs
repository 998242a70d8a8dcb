//! The record of a new container: what `ps` and every later verb need, taken from the request.

use super::build::Image;
use super::joins::Joined;
use super::request::{CreateRequest, LogRequest, RootFs, UserNsMode};
use super::spec::Generated;
use crate::container::health::Health;
use crate::container::notify::SdNotify;
use crate::container::record::{
    Cgroup, Lifecycle, Log, LogDriver, Mount, Namespaces, Network, Port, Process, Record, Root, Runtime,
    VERSION,
};
use crate::container::{Error, Reservation, Result, Time};
use crate::kernel::idmap::IdMaps;
use crate::kernel::signal;
use crate::network::Mode;

/// What a record is made from.
pub(super) struct Parts<'a> {
    pub(super) reservation: &'a Reservation,
    pub(super) request: &'a CreateRequest,
    pub(super) image: Option<&'a Image>,
    pub(super) generated: &'a Generated,
    pub(super) joined: &'a Joined,
    pub(super) maps: IdMaps,
    /// The upper directory still needs its owner.
    pub(super) unowned: bool,
    /// Names of volumes that the user gave none.
    pub(super) anonymous: &'a [String],
    pub(super) runtime: Runtime,
    pub(super) cgroup: Cgroup,
}

pub(super) fn record(parts: Parts<'_>) -> Result<Record> {
    let Parts { reservation, request, image, generated, joined, maps, .. } = parts;
    let Parts { unowned, anonymous, runtime, cgroup, .. } = parts;
    let mut labels = image.map(|image| image.config.config.labels.clone()).unwrap_or_default();
    labels.extend(request.identity.labels.clone());
    let annotations = generated.spec.annotations().clone().unwrap_or_default();
    let health = Health::of_new(
        request.health.clone(),
        image.and_then(|image| image.config.config.healthcheck.as_ref()),
    )?;
    let lifecycle = lifecycle(request, image, generated)?;
    if lifecycle.sd_notify == SdNotify::Healthy && health.as_ref().and_then(Health::active).is_none() {
        let what =
            "invalid argument: sdnotify policy \"healthy\" requires a healthcheck to be set".to_owned();
        return Err(Error::Invalid { what });
    }
    Ok(Record {
        version: VERSION,
        id: reservation.id.clone(),
        name: reservation.name.clone(),
        created: Time::now(),
        root: Root { unowned, ..root(request, image, maps) },
        process: process(request, generated),
        lifecycle,
        log: log(&request.log)?,
        network: network(request, generated),
        runtime,
        cgroup,
        namespaces: namespaces(request, joined),
        mounts: mounts(generated, anonymous),
        labels,
        annotations: annotations.into_iter().collect(),
        dependencies: joined.dependencies.clone(),
        health,
        create_command: request.create_command.clone(),
    })
}

fn root(request: &CreateRequest, image: Option<&Image>, maps: IdMaps) -> Root {
    let mut root = Root { read_only: request.read_only, maps, ..Root::default() };
    match &request.rootfs {
        RootFs::Directory { path, overlay } => {
            root.directory = Some(path.clone());
            root.directory_overlay = *overlay;
        }
        RootFs::Image { reference, .. } => root.image_given.clone_from(reference),
    }
    if let Some(image) = image {
        root.image_id = image.record.id.to_string();
        root.image_name.clone_from(&image.name);
        root.image_digest = image.record.manifest.as_ref().map(ToString::to_string).unwrap_or_default();
        root.layers = image.record.mount_layers().iter().map(ToString::to_string).collect();
    }
    root
}

fn process(request: &CreateRequest, generated: &Generated) -> Process {
    Process {
        entrypoint: generated.entrypoint.clone(),
        command: generated.command.clone(),
        args: generated.arguments.clone(),
        user: generated.user.clone(),
        working_dir: generated.working_dir.clone(),
        terminal: request.terminal,
        interactive: request.interactive,
        init: request.init.is_some(),
        privileged: request.security.privileged,
        umask: request.umask.map_or_else(|| "0022".to_owned(), |umask| format!("{umask:04o}")),
        timezone: request.timezone.clone().unwrap_or_default(),
        systemd: generated.systemd,
    }
}

/// systemd ends in an orderly way on this signal, and ignores SIGTERM.
const SYSTEMD_STOP: i32 = 37;

fn lifecycle(request: &CreateRequest, image: Option<&Image>, generated: &Generated) -> Result<Lifecycle> {
    let of_image = match image.map(|image| image.config.config.stop_signal.as_str()) {
        None | Some("") => None,
        Some(text) => {
            let number = signal::parse(text).ok_or_else(|| Error::Invalid {
                what: format!("the image has the stop signal {text:?}: invalid signal"),
            })?;
            Some(number)
        }
    };
    let of_systemd = generated.systemd.then_some(SYSTEMD_STOP);
    let text = request.sd_notify.as_deref().unwrap_or_default();
    let sd_notify = SdNotify::parse(text).ok_or_else(|| Error::Invalid {
        what: format!(
            "invalid sdnotify value {text:?}: must be container, conmon, healthy or ignore: invalid argument"
        ),
    })?;
    Ok(Lifecycle {
        sd_notify,
        stop_signal: request.stop_signal.or(of_image).or(of_systemd).unwrap_or(libc::SIGTERM),
        stop_timeout: request.stop_timeout.unwrap_or(10),
        timeout: request.timeout,
        restart: request.restart.unwrap_or_default(),
        auto_remove: request.remove,
        auto_remove_image: request.remove_image,
        pid_file: request.identity.pid_file.clone(),
        monitor_pid_file: request.identity.monitor_pid_file.clone(),
        cid_file: request.identity.cid_file.clone(),
    })
}

fn log(request: &LogRequest) -> Result<Log> {
    let driver = match request.driver.as_deref() {
        None | Some("" | "k8s-file") => LogDriver::K8sFile,
        Some("json-file") => LogDriver::JsonFile,
        Some("none") => LogDriver::None,
        Some("passthrough" | "passthrough-tty") => LogDriver::Passthrough,
        Some("journald") => LogDriver::Journald,
        Some("local") => LogDriver::Local,
        Some(_) => {
            let what = "running container create option: invalid log driver: invalid argument".to_owned();
            return Err(Error::Invalid { what });
        }
    };
    Ok(Log {
        driver,
        path: request.path.clone(),
        max_size: request.max_size.unwrap_or(0),
        max_files: request.max_files.unwrap_or(0),
        tag: request.tag.clone().unwrap_or_default(),
        labels: request.labels.clone(),
    })
}

fn network(request: &CreateRequest, generated: &Generated) -> Network {
    let asked = &request.network;
    let options = match &asked.mode {
        Mode::Pasta(options) => options.clone(),
        _ => Vec::new(),
    };
    let mode = match &asked.mode {
        Mode::Pasta(_) => "pasta".to_owned(),
        other => other.to_string(),
    };
    Network {
        mode,
        options,
        ports: asked
            .ports
            .iter()
            .map(|port| Port {
                host_ip: port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
                host_port: port.host_port,
                container_port: port.container_port,
                range: port.range,
                protocol: port.protocol.to_string(),
            })
            .collect(),
        exposed: request.expose.iter().map(|(port, protocol)| format!("{port}/{protocol}")).collect(),
        publish_all: request.publish_all,
        hostname: generated.host_name.clone(),
        dns_servers: asked.dns_servers.iter().map(ToString::to_string).collect(),
        dns_search: asked.dns_search.clone(),
        dns_options: asked.dns_options.clone(),
        extra_hosts: asked.add_hosts.clone(),
        no_hosts: asked.no_hosts,
        no_hostname: asked.no_hostname,
        hosts_file: asked.hosts_file.clone(),
        no_resolv_conf: asked.image_resolv_conf,
    }
}

fn namespaces(request: &CreateRequest, joined: &Joined) -> Namespaces {
    let user = match (&joined.user, &request.userns) {
        (Some(id), _) => format!("container:{id}"),
        (None, UserNsMode::Path(path)) => format!("ns:{}", path.display()),
        (None, UserNsMode::Host | UserNsMode::Container(_)) => String::new(),
        (None, UserNsMode::KeepId { .. }) => "keep-id".to_owned(),
        (None, UserNsMode::NoMap) => "nomap".to_owned(),
        (None, UserNsMode::Auto { .. }) => "auto".to_owned(),
        (None, UserNsMode::Explicit(_)) => "private".to_owned(),
    };
    Namespaces {
        user,
        pid: request.pid.text(),
        ipc: request.ipc.text(),
        uts: request.uts.text(),
        cgroup: request.cgroupns.text(),
        cgroups: request.cgroups.text().to_owned(),
    }
}

fn mounts(generated: &Generated, anonymous: &[String]) -> Vec<Mount> {
    let shown = generated.mounts.iter().map(|shown| Mount {
        kind: shown.kind.clone(),
        name: shown.name.clone(),
        source: shown.source.clone(),
        anonymous: anonymous.contains(&shown.name),
        destination: shown.destination.clone(),
        options: shown.options.clone(),
        writable: shown.writable,
        propagation: shown.propagation.clone(),
    });
    shown.collect()
}
