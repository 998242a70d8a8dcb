//! From flags to a typed [`CreateRequest`].
//!
//! Precedence: flag, then containers.conf; what the image says is added when the container is
//! created. Each group of flags is turned into its part of the request beside its flags; here are the whole
//! and the checks across groups. They need no file but those that flags name.

use super::super::csv;
use super::{CreateArgs, identity, network, process, security, storage};
use crate::cli::error::{CommandError, Result};
use crate::container::create::{self, CreateRequest, Systemd, namespace};
use crate::engine::Engine;
use crate::network::{Mode, port};

/// Makes the request of `args`.
///
/// # Errors
/// In podman's words for values that make no sense, and for what is not supported yet.
pub fn request(engine: &Engine, args: &CreateArgs) -> Result<CreateRequest> {
    let config = engine.config()?;
    conflicts(args)?;
    if let Some(flag) = unsupported(args) {
        return Err(CommandError::new(format!("not supported yet: {flag}")));
    }
    let profile = security::profile(&args.security, config)?;
    let mut request = CreateRequest {
        rootfs: storage::rootfs(args)?,
        command: args.command.clone(),
        identity: identity::request(&args.identity)?,
        network: network::request(&args.network, config, profile)?,
        log: identity::log(&args.identity, config, profile)?,
        cgroups: namespace::parse_cgroups(
            args.resources.cgroups.as_deref().unwrap_or(&config.containers.cgroups),
        )?,
        resources: args.resources.resources(config)?,
        cgroup_parent: args.resources.cgroup_parent.clone().filter(|parent| !parent.is_empty()),
        sd_notify: args.resources.sdnotify.clone(),
        health: args.health.request()?,
        publish_all: args.network.publish_all,
        hostname: args.network.hostname.clone().filter(|name| !name.is_empty()),
        annotations: identity::annotations(&args.identity)?,
        remove: args.identity.rm.unwrap_or(false),
        ..CreateRequest::default()
    };
    for value in csv::split(&args.network.expose).map_err(CommandError::new)? {
        request.expose.extend(port::parse_expose(&value)?);
    }
    process::request(&args.process, config, engine.env(), profile, &mut request)?;
    storage::request(&args.storage, config, &mut request)?;
    security::request(&args.security, engine, &mut request)?;
    check(args, &request)?;
    Ok(request)
}

/// Options that exclude each other, whether or not they are supported.
fn conflicts(args: &CreateArgs) -> Result<()> {
    let no_hosts = args.network.no_hosts == Some(true);
    if no_hosts && !args.network.add_host.is_empty() {
        return Err(CommandError::new("--no-hosts and --add-host cannot be set together"));
    }
    let restart = args.process.restart.as_deref().unwrap_or_default();
    if args.identity.rm == Some(true) && !matches!(restart, "" | "no" | "on-failure") {
        return Err(CommandError::new(
            "the --rm option conflicts with --restart, when the restartPolicy is not \"\" and \"no\"",
        ));
    }
    Ok(())
}

fn unsupported(args: &CreateArgs) -> Option<&'static str> {
    let (storage, network) = (&args.storage, &args.network);
    let policy = args.security.seccomp_policy.as_deref();
    let table = [
        ("--secret", !storage.secret.is_empty()),
        ("--storage-opt", !storage.storage_opt.is_empty()),
        ("--ip", network.ip.is_some()),
        ("--ip6", network.ip6.is_some()),
        ("--mac-address", network.mac_address.is_some()),
        ("--network-alias", !network.network_alias.is_empty()),
        ("--link-local-ip", !network.link_local_ip.is_empty()),
        ("--seccomp-policy", policy.is_some_and(|policy| !matches!(policy, "" | "default"))),
        ("--subuidname", args.security.subuidname.is_some()),
        ("--subgidname", args.security.subgidname.is_some()),
    ];
    table.iter().find(|(_, given)| *given).map(|(flag, _)| *flag).or_else(|| args.resources.unsupported())
}

/// Combinations that podman refuses.
fn check(args: &CreateArgs, request: &CreateRequest) -> Result<()> {
    let fail = |text: &str| Err(CommandError::new(text));
    let network = &args.network;
    if request.network.no_hosts && !network.add_host.is_empty() {
        return fail("--no-hosts and --add-host cannot be set together");
    }
    if request.network.no_hosts && network.hosts_file.is_some() {
        return fail("--no-hosts and --hosts-file cannot be set together");
    }
    let names = !network.dns.is_empty() || !network.dns_option.is_empty() || !network.dns_search.is_empty();
    if names && matches!(request.network.mode, Mode::None | Mode::Container(_)) {
        let mode = request.network.mode.name();
        return fail(&format!("conflicting options: dns and the network mode: {mode}"));
    }
    if request.hostname.is_some() && request.uts != create::NamespaceMode::Private {
        return fail(
            "invalid config provided: cannot set hostname when running in the host UTS namespace: invalid configuration",
        );
    }
    if matches!(request.network.mode, Mode::Container(_)) && !request.network.add_hosts.is_empty() {
        return fail(
            "invalid config provided: cannot set extra host entries when the container is joined to another containers network namespace: invalid configuration",
        );
    }
    if request.shm_size.is_some() && matches!(request.ipc, create::IpcMode::Host | create::IpcMode::None) {
        let mode = request.ipc.text();
        return fail(&format!(
            "invalid config provided: cannot set shmsize when running in the {mode} IPC Namespace"
        ));
    }
    if request.init.is_some() && request.pid != create::NamespaceMode::Private {
        return fail("cannot add init binary as PID 1 (PID namespace isn't private)");
    }
    if request.init.is_some() && request.systemd == Systemd::Always {
        return fail("cannot use container-init binary with systemd=always");
    }
    if !csv::split(&args.storage.device_cgroup_rule).map_err(CommandError::new)?.is_empty() {
        return fail("device cgroup rules are not supported in rootless mode or in a user namespace");
    }
    Ok(())
}
