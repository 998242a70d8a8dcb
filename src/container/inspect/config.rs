//! `Config`: what runs in the container.

use std::collections::BTreeMap;

use serde::Serialize;

use super::health::{CheckView, GoPointer};
use super::{Source, Unfilled, bindings};
use crate::kernel::signal;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase", rename = "define.InspectContainerConfig")]
pub(super) struct ConfigView {
    hostname: String,
    domainname: &'static str,
    user: String,
    attach_stdin: bool,
    attach_stdout: bool,
    attach_stderr: bool,
    tty: bool,
    open_stdin: bool,
    stdin_once: bool,
    env: Vec<String>,
    cmd: Option<Vec<String>>,
    image: String,
    volumes: Option<BTreeMap<String, Empty>>,
    working_dir: String,
    entrypoint: Option<Vec<String>>,
    on_build: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    stop_signal: String,
    healthcheck: GoPointer<CheckView>,
    healthcheck_on_failure_action: &'static str,
    health_log_destination: String,
    healthcheck_max_log_count: u32,
    healthcheck_max_log_size: u32,
    #[serde(rename = "StartupHealthCheck")]
    startup_health_check: GoPointer<CheckView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    create_command: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    timezone: String,
    systemd_mode: bool,
    umask: String,
    timeout: u32,
    stop_timeout: u32,
    passwd: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    chroot_dirs: Vec<String>,
    #[serde(rename = "sdNotifyMode")]
    sd_notify_mode: &'static str,
    #[serde(rename = "sdNotifySocket", skip_serializing_if = "Unfilled::is_empty")]
    sd_notify_socket: Unfilled,
    #[serde(skip_serializing_if = "Unfilled::is_empty")]
    secrets: Unfilled,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<String, Empty>,
}

/// Go's `struct{}`.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Empty {}

impl ConfigView {
    pub(super) fn of(source: &Source<'_>) -> Self {
        let Source { record, spec, request, .. } = source;
        let process = spec.process().as_ref();
        let health = record.health.clone().unwrap_or_default();
        let given = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let map = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| map.clone());
        let mut exposed: BTreeMap<String, Empty> =
            record.network.exposed.iter().map(|port| (port.clone(), Empty {})).collect();
        exposed.extend(bindings(&record.network.ports).map(|(key, _)| (key, Empty {})));
        Self {
            hostname: record.network.hostname.clone(),
            domainname: "",
            user: record.process.user.clone(),
            attach_stdin: false,
            attach_stdout: false,
            attach_stderr: false,
            tty: record.process.terminal,
            open_stdin: record.process.interactive,
            stdin_once: false,
            env: process.and_then(|process| process.env().clone()).unwrap_or_default(),
            cmd: given(&record.process.command),
            image: record.root.image_name.clone(),
            volumes: None,
            working_dir: process.map_or(String::new(), |process| process.cwd().display().to_string()),
            entrypoint: given(&record.process.entrypoint),
            on_build: None,
            labels: map(&record.labels),
            annotations: map(&record.annotations),
            stop_signal: signal::name(record.lifecycle.stop_signal),
            healthcheck: CheckView::regular(record.health.as_ref()),
            healthcheck_on_failure_action: health.on_failure.as_str(),
            health_log_destination: health.log_destination,
            healthcheck_max_log_count: health.max_log_count,
            healthcheck_max_log_size: health.max_log_size,
            startup_health_check: CheckView::startup(record.health.as_ref()),
            create_command: record.create_command.clone(),
            timezone: record.process.timezone.clone(),
            systemd_mode: record.process.systemd,
            umask: record.process.umask.clone(),
            timeout: record.lifecycle.timeout,
            stop_timeout: record.lifecycle.stop_timeout,
            passwd: request.user.passwd,
            chroot_dirs: request.chroot_dirs.iter().map(|dir| dir.display().to_string()).collect(),
            sd_notify_socket: Unfilled {},
            secrets: Unfilled {},
            sd_notify_mode: record.lifecycle.sd_notify.as_str(),
            exposed_ports: exposed,
        }
    }
}
