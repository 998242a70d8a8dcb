//! From flags to a typed [`CreateRequest`].
//!
//! Precedence: flag, then containers.conf; what the image says is added when the container is
//! created. The checks here need no file but those that flags name.

use std::path::{Path, PathBuf};

use super::super::csv;
use super::{CreateArgs, IdentityArgs, ProcessArgs, SecurityArgs, StorageArgs};
use crate::cli::error::{CommandError, Result};
use crate::config::{Config, Env};
use crate::container::create::{
    self, CreateRequest, EnvRequest, Identity, ImageVolumes, Init, LogRequest, RestartPolicy, RootFs,
    Security, Systemd, UserNsMode, UserRequest, env, limits, namespace, security, size, userns,
};
use crate::engine::Engine;
use crate::kernel::idmap;
use crate::kernel::signal;
use crate::network::{self, Mode};
use crate::volume::{self, MountFlags};

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
    let mut request = CreateRequest {
        rootfs: rootfs(args)?,
        command: args.command.clone(),
        identity: identity(&args.identity)?,
        network: super::network::request(&args.network, config)?,
        log: log(&args.identity, config)?,
        cgroups: args.resources.cgroups.clone(),
        sd_notify: args.resources.sdnotify.clone(),
        publish_all: args.network.publish_all,
        hostname: args.network.hostname.clone().filter(|name| !name.is_empty()),
        annotations: pairs(&args.identity.annotation, "annotations must be formatted KEY=VALUE")?,
        remove: args.identity.rm.unwrap_or(false),
        ..CreateRequest::default()
    };
    for value in csv::split(&args.network.expose).map_err(CommandError::new)? {
        request.expose.extend(network::port::parse_expose(&value)?);
    }
    process(&args.process, config, engine.env(), &mut request)?;
    storage(&args.storage, config, &mut request)?;
    confinement(&args.security, engine, &mut request)?;
    check(args, &request)?;
    Ok(request)
}

/// Options that exclude each other, whether or not they are supported.
fn conflicts(args: &CreateArgs) -> Result<()> {
    let resources = &args.resources;
    let no_hosts = args.network.no_hosts == Some(true);
    let pairs = [
        (resources.cpu_period.is_some() && resources.cpus.is_some(), "--cpu-period and --cpus"),
        (resources.cpu_quota.is_some() && resources.cpus.is_some(), "--cpu-quota and --cpus"),
        (no_hosts && !args.network.add_host.is_empty(), "--no-hosts and --add-host"),
    ];
    match pairs.iter().find(|(both, _)| *both) {
        Some((_, names)) => Err(CommandError::new(format!("{names} cannot be set together"))),
        None => Ok(()),
    }
}

fn unsupported(args: &CreateArgs) -> Option<&'static str> {
    let (storage, image, network) = (&args.storage, &args.image, &args.network);
    let policy = args.security.seccomp_policy.as_deref();
    let table = [
        ("--secret", !storage.secret.is_empty()),
        ("--gpus", !storage.gpus.is_empty()),
        ("--storage-opt", !storage.storage_opt.is_empty()),
        ("--decryption-key", !image.decryption_key.is_empty()),
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
    if args.resources.cpus.is_some() && args.resources.cpu_period.is_some() {
        return fail("--cpu-period and --cpus cannot be set together");
    }
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
    match args.resources.cgroups.as_deref() {
        None | Some("" | "enabled" | "no-conmon" | "disabled" | "split") => Ok(()),
        Some(_) => {
            fail("invalid cgroup mode, must be one of: \"disabled\", \"enabled\", \"no-conmon\", \"split\"")
        }
    }
}

fn rootfs(args: &CreateArgs) -> Result<RootFs> {
    if !args.image.rootfs {
        return Ok(RootFs::Image { reference: args.image_name.clone(), id: None });
    }
    let (path, option) = match args.image_name.rsplit_once(':') {
        Some((path, option)) if !Path::new(&args.image_name).exists() => (path, option),
        _ => (args.image_name.as_str(), ""),
    };
    let overlay = match option {
        "" => false,
        "O" => true,
        _ if option == "idmap" || option.starts_with("idmap=") => {
            return Err(CommandError::new("not supported yet: idmap of --rootfs"));
        }
        _ => return Err(CommandError::new(format!("unknown option {option:?} of --rootfs"))),
    };
    if path.is_empty() {
        return Err(CommandError::new("the root file system of --rootfs has no path"));
    }
    Ok(RootFs::Directory { path: absolute(Path::new(path))?, overlay })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    Ok(volume::clean_path(&current_dir()?.join(path)))
}

fn current_dir() -> Result<PathBuf> {
    std::env::current_dir()
        .map_err(|error| CommandError::new(format!("cannot find the current directory: {error}")))
}

fn identity(args: &IdentityArgs) -> Result<Identity> {
    let mut identity = Identity {
        // Docker shows names with a slash, and scripts give them back so.
        name: args
            .name
            .as_deref()
            .filter(|name| !name.is_empty())
            .map(|name| name.strip_prefix('/').unwrap_or(name).to_owned()),
        replace: args.replace,
        cid_file: args.cidfile.as_deref().map(absolute).transpose()?,
        pid_file: args.pidfile.as_deref().map(absolute).transpose()?,
        monitor_pid_file: args.conmon_pidfile.as_deref().map(absolute).transpose()?,
        requires: csv::split(&args.requires).map_err(CommandError::new)?,
        ..Identity::default()
    };
    if identity.replace && identity.name.is_none() {
        return Err(CommandError::new("cannot replace container without --name being set"));
    }
    for file in &args.label_file {
        identity.labels.extend(env::parse_label_file(file)?);
    }
    for label in &args.label {
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        if name.is_empty() {
            return Err(CommandError::new(format!(
                "unable to process labels: invalid label format: {label:?}"
            )));
        }
        identity.labels.insert(name.to_owned(), value.to_owned());
    }
    Ok(identity)
}

fn pairs(values: &[String], text: &str) -> Result<std::collections::BTreeMap<String, String>> {
    let pair = |value: &String| {
        let (key, value) = value.split_once('=').ok_or_else(|| CommandError::new(text))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    values.iter().map(pair).collect()
}

fn log(args: &IdentityArgs, config: &Config) -> Result<LogRequest> {
    let containers = &config.containers;
    let mut log = LogRequest {
        driver: args.log_driver.clone().or_else(|| Some(containers.log_driver.clone())),
        max_size: u64::try_from(containers.log_size_max).ok(),
        tag: Some(containers.log_tag.clone()).filter(|tag| !tag.is_empty()),
        ..LogRequest::default()
    };
    for option in &args.log_opt {
        let invalid = || CommandError::new(format!("invalid log option {option:?}"));
        let (key, value) = option.split_once('=').ok_or_else(invalid)?;
        match key.to_ascii_lowercase().as_str() {
            "driver" => log.driver = Some(value.to_owned()),
            "path" => log.path = Some(absolute(Path::new(value))?),
            "max-size" => log.max_size = Some(size::decimal(value).map_err(CommandError::new)?),
            "tag" => log.tag = Some(value.to_owned()),
            "label" => log.labels.push(value.to_owned()),
            _ => return Err(invalid()),
        }
    }
    Ok(log)
}

fn process(args: &ProcessArgs, config: &Config, caller: &Env, request: &mut CreateRequest) -> Result<()> {
    let containers = &config.containers;
    request.entrypoint = args.entrypoint.as_deref().map(entrypoint);
    request.env = environment(args, config, caller)?;
    request.user = user(args)?;
    request.workdir = args.workdir.as_ref().filter(|dir| !dir.is_empty()).map(PathBuf::from);
    request.terminal = args.tty;
    request.interactive = args.interactive;
    request.attach = csv::split(&args.attach).map_err(CommandError::new)?;
    request.init = init(args, config);
    request.systemd = match args.systemd.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "true") => Systemd::Auto,
        Some("always") => Systemd::Always,
        Some("false") => Systemd::Never,
        Some(_) => {
            return Err(CommandError::new(
                "invalid config provided: --systemd values must be one of \"true, false, always\": invalid configuration",
            ));
        }
    };
    request.stop_signal = args.stop_signal.as_deref().map(stop_signal).transpose()?;
    request.stop_timeout = Some(args.stop_timeout.unwrap_or(config.engine.stop_timeout));
    request.timeout = args.timeout.unwrap_or(0);
    request.restart = args.restart.as_deref().map(restart_policy).transpose()?;
    request.umask = args.umask.as_deref().map(create::parse_umask).transpose()?;
    request.timezone = args.tz.clone();
    request.oom_score_adj = args.oom_score_adj;
    request.personality = args.personality.clone().filter(|text| !text.is_empty());
    let ulimits = csv::split(&args.ulimit).map_err(CommandError::new)?;
    request.ulimits = limits::parse(if ulimits.is_empty() { &containers.default_ulimits } else { &ulimits })?;
    Ok(())
}

/// A JSON list of words, or one word.
fn entrypoint(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| vec![text.to_owned()])
}

fn environment(args: &ProcessArgs, config: &Config, caller: &Env) -> Result<EnvRequest> {
    let mut set = Vec::new();
    for file in &args.env_file {
        set.extend(env::parse_file(file, caller)?);
    }
    for entry in &args.env {
        set.extend(env::parse_entry(entry, caller)?);
    }
    let merge = |text: &String| {
        let (name, template) = text
            .split_once('=')
            .ok_or_else(|| CommandError::new(format!("missing `=` for --env-merge substitution {text}")))?;
        Ok::<_, CommandError>((name.to_owned(), template.to_owned()))
    };
    Ok(EnvRequest {
        set,
        host: args.env_host.unwrap_or(config.containers.env_host),
        merge: args.env_merge.iter().map(merge).collect::<Result<_>>()?,
        unset: args.unsetenv.clone(),
        unset_all: args.unsetenv_all,
        http_proxy: args.http_proxy.unwrap_or(config.containers.http_proxy),
    })
}

fn user(args: &ProcessArgs) -> Result<UserRequest> {
    let groups = csv::split(&args.group_add).map_err(CommandError::new)?;
    let keep_groups = groups.iter().any(|group| group == "keep-groups");
    if keep_groups && groups.len() > 1 {
        return Err(CommandError::new(
            "the '--group-add keep-groups' option is not allowed with any other --group-add options",
        ));
    }
    if keep_groups {
        return Err(CommandError::new("not supported yet: --group-add keep-groups"));
    }
    Ok(UserRequest {
        user: args.user.clone(),
        groups,
        passwd_entry: args.passwd_entry.clone(),
        group_entry: args.group_entry.clone(),
        host_users: csv::split(&args.hostuser).map_err(CommandError::new)?,
        ..UserRequest::default()
    })
}

fn init(args: &ProcessArgs, config: &Config) -> Option<Init> {
    if !args.init.unwrap_or(config.containers.init) {
        return None;
    }
    let configured =
        [&config.containers.init_path, &config.engine.init_path].into_iter().find(|p| !p.is_empty());
    let path = args.init_path.clone().filter(|path| !path.as_os_str().is_empty());
    Some(Init { path: path.or_else(|| configured.map(PathBuf::from)) })
}

fn stop_signal(text: &str) -> Result<i32> {
    signal::parse(text.strip_prefix('-').unwrap_or(text))
        .ok_or_else(|| CommandError::new(format!("invalid signal: {text}")))
}

fn restart_policy(text: &str) -> Result<RestartPolicy> {
    let (name, retries) = match text.split_once(':') {
        Some((name, retries)) => (name, Some(retries)),
        None => (text, None),
    };
    let fail = |text: String| Err(CommandError::new(text));
    let retries = match retries {
        None => 0,
        Some(_) if name != "on-failure" => {
            return fail("restart policy retries can only be specified with on-failure restart policy: invalid argument".to_owned());
        }
        Some(text) => {
            match text.parse::<i64>() {
                Ok(count) if count >= 0 => u32::try_from(count).unwrap_or(u32::MAX),
                Ok(_) => return fail(
                    "must specify restart policy retry count as a number greater than 0: invalid argument"
                        .to_owned(),
                ),
                Err(_) => {
                    return fail(format!(
                        "parsing restart policy retry count: strconv.Atoi: parsing {text:?}: invalid syntax"
                    ));
                }
            }
        }
    };
    match name {
        "" | "no" | "never" => Ok(RestartPolicy::No),
        "always" => Ok(RestartPolicy::Always),
        "unless-stopped" => Ok(RestartPolicy::UnlessStopped),
        "on-failure" => Ok(RestartPolicy::OnFailure(retries)),
        _ => fail(format!("{name:?} is not a valid restart policy: invalid argument")),
    }
}

fn storage(args: &StorageArgs, config: &Config, request: &mut CreateRequest) -> Result<()> {
    let fields = |values: &[String]| -> Result<Vec<Vec<String>>> {
        let split = |value: &String| csv::split(std::slice::from_ref(value));
        values.iter().map(split).collect::<Result<_, String>>().map_err(CommandError::new)
    };
    let flags = MountFlags {
        mounts: &fields(&args.mount)?,
        volumes: &args.volume,
        tmpfs: &args.tmpfs,
        config_mounts: &fields(&config.containers.mounts)?,
        config_volumes: &config.containers.volumes,
    };
    request.mounts = volume::collect(flags, &current_dir()?)?;
    for value in &args.volumes_from {
        request.volumes_from.push(volumes_from(value)?);
    }
    let mode = args.image_volume.as_deref().unwrap_or(&config.engine.image_volume_mode);
    request.image_volumes = match mode.to_ascii_lowercase().as_str() {
        "" | "anonymous" | "bind" => ImageVolumes::Anonymous,
        "tmpfs" => ImageVolumes::Tmpfs,
        "ignore" => ImageVolumes::Ignore,
        _ => {
            return Err(CommandError::new(format!(
                "invalid config provided: invalid ImageVolumeMode {mode:?}, value must be one of ignore,tmpfs,anonymous"
            )));
        }
    };
    request.read_only = args.read_only.unwrap_or(config.containers.read_only);
    request.read_only_tmpfs = args.read_only_tmpfs.unwrap_or(true);
    let bytes = |text: &Option<String>, flag: &str| -> Result<Option<u64>> {
        let parse = |text: &str| {
            size::binary(text).map_err(|why| CommandError::new(format!("unable to translate {flag}: {why}")))
        };
        text.as_deref().filter(|text| !text.is_empty()).map(parse).transpose()
    };
    request.shm_size = bytes(&args.shm_size, "--shm-size")?;
    request.shm_size_systemd = bytes(&args.shm_size_systemd, "--shm-size-systemd")?;
    for device in config.containers.devices.iter().chain(&args.device) {
        device_entries(device, &mut request.devices)?;
    }
    request.chroot_dirs =
        args.chrootdirs.iter().map(|dir| volume::clean_path(&Path::new("/").join(dir))).collect();
    Ok(())
}

fn volumes_from(value: &str) -> Result<(String, Vec<String>)> {
    let (container, words) = value.split_once(':').unwrap_or((value, ""));
    let words: Vec<String> = words.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let fail = |text: String| Err(CommandError::new(text));
    if words.iter().filter(|word| matches!(word.as_str(), "ro" | "rw")).count() > 1 {
        return fail("cannot set ro or rw options more than once".to_owned());
    }
    if words.iter().filter(|word| word.as_str() == "z").count() > 1 {
        return fail("cannot set :z more than once in mount options".to_owned());
    }
    if let Some(word) = words.iter().find(|word| !matches!(word.as_str(), "ro" | "rw" | "z")) {
        return fail(format!(
            "invalid option {word:?} specified - volumes from another container can only use z,ro,rw options"
        ));
    }
    Ok((container.to_owned(), words))
}

/// `SOURCE[:TARGET][:PERMISSIONS]`; a directory stands for all devices in it.
fn device_entries(device: &str, found: &mut Vec<(PathBuf, PathBuf, String)>) -> Result<()> {
    if device.contains('=') && !device.starts_with('/') {
        return Err(CommandError::new(format!("not supported yet: CDI devices such as {device}")));
    }
    let parts: Vec<&str> = device.split(':').collect();
    let fail = |text: String| CommandError::new(text);
    let is_mode = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c)) && text.len() <= 3;
    let (source, target, mode) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, mode] if is_mode(mode) => (source, source, mode),
        [source, target] => (source, target, "rwm"),
        [source, target, mode] if is_mode(mode) => (source, target, mode),
        [_, _, mode] => return Err(fail(format!("invalid device mode {mode:?} in device {device:?}"))),
        _ => return Err(fail(format!("invalid device specification: {device}"))),
    };
    let target = if target.is_empty() { source } else { target };
    if !target.starts_with('/') {
        return Err(fail(format!("invalid device mode {target:?} in device {device:?}")));
    }
    let source = absolute(Path::new(source))?;
    let stat =
        rustix::fs::stat(&source).map_err(|errno| crate::kernel::Error::path("stat", &source, errno))?;
    let target = volume::clean_path(Path::new(target));
    match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Directory => devices_below(&source, &target, mode, device, found),
        rustix::fs::FileType::CharacterDevice
        | rustix::fs::FileType::BlockDevice
        | rustix::fs::FileType::Fifo => {
            found.push((source, target, mode.to_owned()));
            Ok(())
        }
        _ => Err(fail(format!("{} is not a valid device: not a device node", source.display()))),
    }
}

fn devices_below(
    source: &Path,
    target: &Path,
    mode: &str,
    device: &str,
    found: &mut Vec<(PathBuf, PathBuf, String)>,
) -> Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    let before = found.len();
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        let Ok(entries) = std::fs::read_dir(source.join(&dir)) else { continue };
        for entry in entries.flatten() {
            let path = dir.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => todo.push(path),
                Ok(kind) if kind.is_char_device() || kind.is_block_device() => {
                    found.push((source.join(&path), target.join(&path), mode.to_owned()));
                }
                _ => {}
            }
        }
    }
    if found.len() == before {
        return Err(CommandError::new(format!("no devices found in {device}: invalid argument")));
    }
    Ok(())
}

fn confinement(args: &SecurityArgs, engine: &Engine, request: &mut CreateRequest) -> Result<()> {
    let config = &engine.config()?.containers;
    let mut security = Security {
        privileged: args.privileged.unwrap_or(config.privileged),
        cap_add: create::caps::normalise(&csv::split(&args.cap_add).map_err(CommandError::new)?)?,
        cap_drop: create::caps::normalise(&csv::split(&args.cap_drop).map_err(CommandError::new)?)?,
        options: args.security_opt.clone(),
        ..Security::default()
    };
    for option in &args.security_opt {
        security::parse_option(option, &mut security)?;
    }
    if let create::SeccompChoice::File(path) = &mut security.seccomp {
        *path = absolute(path)?;
        std::fs::metadata(&*path).map_err(|error| {
            CommandError::new(format!("opening seccomp profile failed: open {}: {error}", path.display()))
        })?;
    }
    if security.apparmor.as_deref().is_some_and(|profile| profile != "unconfined") {
        return Err(CommandError::new(format!(
            "apparmor profile {:?} specified, but Apparmor is not enabled on this system",
            security.apparmor.unwrap_or_default()
        )));
    }
    security.apparmor = None;
    request.security = security;
    let text =
        |flag: &Option<String>, configured: &str| flag.clone().unwrap_or_else(|| configured.to_owned());
    request.pid = namespace::parse(&text(&args.pid, &config.pidns))?;
    request.uts = namespace::parse(&text(&args.uts, &config.utsns))?;
    request.ipc = namespace::parse_ipc(&text(&args.ipc, &config.ipcns))?;
    request.cgroupns = namespace::parse(&text(&args.cgroupns, config.cgroupns.as_deref().unwrap_or("")))?;
    request.userns = user_namespace(args, engine)?;
    for entry in csv::split(&args.sysctl).map_err(CommandError::new)? {
        let (name, value) = sysctl(&entry)?;
        request.sysctl.insert(name, value);
    }
    Ok(())
}

fn user_namespace(args: &SecurityArgs, engine: &Engine) -> Result<UserNsMode> {
    let uidmap = csv::split(&args.uidmap).map_err(CommandError::new)?;
    let gidmap = csv::split(&args.gidmap).map_err(CommandError::new)?;
    let explicit = !uidmap.is_empty() || !gidmap.is_empty();
    if explicit && args.userns.is_some() {
        return Err(CommandError::new(
            "--userns and --uidmap/--gidmap/--subuidname/--subgidname are mutually exclusive",
        ));
    }
    let configured = engine.env().text("PODMAN_USERNS").unwrap_or(&engine.config()?.containers.userns);
    let text = args.userns.as_deref().unwrap_or(configured);
    if !explicit && matches!(text, "" | "host") {
        return Ok(UserNsMode::Host);
    }
    let maps = &engine.user_maps().maps;
    let own = |map: &[idmap::IdRange]| idmap::to_outside(map, 0).unwrap_or(0);
    let caller = userns::Caller { uid: own(&maps.uid), gid: own(&maps.gid), maps };
    if explicit {
        return Ok(userns::explicit(&uidmap, &gidmap, caller)?);
    }
    Ok(userns::parse(text, caller)?)
}

/// Which parameters belong to namespaces that a container can have of its own.
fn sysctl(entry: &str) -> Result<(String, String)> {
    const NAMES: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let fail = |text: String| Err(CommandError::new(text));
    let Some((name, value)) = entry.split_once('=') else {
        return fail(format!("{entry} is invalid, sysctl values must be in the form of KEY=VALUE"));
    };
    if name.trim() != name || value.trim() != value {
        return fail(format!("'{entry}' is invalid, extra spaces found"));
    }
    let known = NAMES.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue.");
    // A value with another assignment in it was a way to smuggle one in (CVE-2022-0811).
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/'))
        && !name.split(['.', '/']).any(|part| part.is_empty() || part == "..")
        && !value.bytes().any(|b| b.is_ascii_control() || matches!(b, b'=' | b'+' | b'|'));
    if !known || !plain {
        return fail(format!("sysctl '{name}' is not allowed"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies_parse() {
        for (text, policy) in [
            ("", RestartPolicy::No),
            ("no", RestartPolicy::No),
            ("never", RestartPolicy::No),
            ("always", RestartPolicy::Always),
            ("unless-stopped", RestartPolicy::UnlessStopped),
            ("on-failure", RestartPolicy::OnFailure(0)),
            ("on-failure:3", RestartPolicy::OnFailure(3)),
        ] {
            assert_eq!(restart_policy(text).unwrap(), policy, "{text}");
        }
        for text in ["sometimes", "always:3", "on-failure:x", "on-failure:-1"] {
            assert!(restart_policy(text).is_err(), "{text}");
        }
    }

    #[test]
    fn entry_points_are_lists_or_words() {
        assert_eq!(entrypoint(r#"["/bin/echo","a b"]"#), ["/bin/echo", "a b"]);
        assert_eq!(entrypoint("/bin/sh -c"), ["/bin/sh -c"]);
        assert_eq!(entrypoint(""), [""]);
        assert_eq!(entrypoint("[]"), Vec::<String>::new());
    }

    #[test]
    fn s21_sysctls_are_only_those_of_namespaces() {
        for entry in [
            "net.ipv4.ip_forward=1",
            "kernel.shmmax=65536",
            "fs.mqueue.msg_max=10",
            "kernel.sem=250 32000 32 128",
        ] {
            assert!(sysctl(entry).is_ok(), "{entry}");
        }
        for entry in [
            "kernel.core_pattern=x",
            "kernel.shm_rmid_forced=1+kernel.core_pattern=|/x",
            "net.a/../../kernel/x=1",
            "net..x=1",
            "net.x=1\nkernel.y=2",
            "net.x",
            " net.x=1",
            "vm.swappiness=1",
        ] {
            assert!(sysctl(entry).is_err(), "{entry}");
        }
    }

    #[test]
    fn devices_are_checked() {
        let parse = |text: &str| {
            let mut found = Vec::new();
            device_entries(text, &mut found).map(|()| found)
        };
        let entry =
            |source: &str, target: &str, mode: &str| vec![(source.into(), target.into(), mode.to_owned())];
        assert_eq!(parse("/dev/null").unwrap(), entry("/dev/null", "/dev/null", "rwm"));
        assert_eq!(parse("/dev/null:r").unwrap(), entry("/dev/null", "/dev/null", "r"));
        assert_eq!(parse("/dev/null:/dev/x:rw").unwrap(), entry("/dev/null", "/dev/x", "rw"));
        for text in
            ["/dev/no-such", "/etc/passwd", "/dev/null:x", "/dev/null:/a:x", "/dev/null:/a:r:b", "v/c=d"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
