//! Flags of confinement: namespaces, capabilities, security options.

use super::super::csv;
use super::storage::absolute;
use crate::cli::error::{CommandError, Result};
use crate::cli::values::go_bool;
use crate::config::Config;
use crate::container::create::{
    self, CreateRequest, SeccompChoice, Security, SecurityProfile, UserNsMode, namespace, security, userns,
};
use crate::engine::Engine;
use crate::kernel::idmap;
use crate::runtime::{self, IPC_PARAMETERS};

/// Flags of confinement.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SecurityArgs {
    /// Add capabilities to the container
    #[arg(long, value_name = "strings")]
    pub cap_add: Vec<String>,
    /// Drop capabilities from the container
    #[arg(long, value_name = "strings")]
    pub cap_drop: Vec<String>,
    /// Cgroup namespace to use
    #[arg(long, value_name = "string")]
    pub cgroupns: Option<String>,
    /// GID map to use for the user namespace
    #[arg(long, value_name = "strings")]
    pub gidmap: Vec<String>,
    /// IPC namespace to use
    #[arg(long, value_name = "string")]
    pub ipc: Option<String>,
    /// PID namespace to use
    #[arg(long, value_name = "string")]
    pub pid: Option<String>,
    /// Give extended privileges to container
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub privileged: Option<bool>,
    /// Policy for selecting a seccomp profile (experimental)
    #[arg(long, value_name = "string")]
    pub seccomp_policy: Option<String>,
    /// Security Options
    #[arg(long, value_name = "stringArray")]
    pub security_opt: Vec<String>,
    /// How the container is confined where no other option says so ("default"|"strict")
    #[arg(long, value_name = "string")]
    pub security_profile: Option<String>,
    /// Name of range listed in /etc/subgid for use in user namespace
    #[arg(long, value_name = "string")]
    pub subgidname: Option<String>,
    /// Name of range listed in /etc/subuid for use in user namespace
    #[arg(long, value_name = "string")]
    pub subuidname: Option<String>,
    /// Sysctl options
    #[arg(long, value_name = "strings")]
    pub sysctl: Vec<String>,
    /// UID map to use for the user namespace
    #[arg(long, value_name = "strings")]
    pub uidmap: Vec<String>,
    /// User namespace to use
    #[arg(long, value_name = "string")]
    pub userns: Option<String>,
    /// UTS namespace to use
    #[arg(long, value_name = "string")]
    pub uts: Option<String>,
}

/// The profile that counts where no other option says otherwise.
pub(super) fn profile(args: &SecurityArgs, config: &Config) -> Result<SecurityProfile> {
    let text = args.security_profile.as_deref().unwrap_or(&config.containers.security_profile);
    Ok(SecurityProfile::parse(text)?)
}

/// Puts these flags into `request`.
pub(super) fn request(args: &SecurityArgs, engine: &Engine, request: &mut CreateRequest) -> Result<()> {
    let config = &engine.config()?.containers;
    let profile = profile(args, engine.config()?)?;
    let mut security = Security {
        profile,
        privileged: args.privileged.unwrap_or(config.privileged),
        cap_add: create::caps::normalise(&csv::split(&args.cap_add).map_err(CommandError::new)?)?,
        cap_drop: create::caps::normalise(&csv::split(&args.cap_drop).map_err(CommandError::new)?)?,
        options: args.security_opt.clone(),
        ..Security::default()
    };
    for option in &args.security_opt {
        security::parse_option(option, &mut security)?;
    }
    if let SeccompChoice::File(path) = &mut security.seccomp {
        *path = absolute(path)?;
        std::fs::metadata(&*path).map_err(|error| {
            CommandError::new(format!("opening seccomp profile failed: open {}: {error}", path.display()))
        })?;
    }
    check_apparmor(&mut security)?;
    if security.landlock == Some(true) && !runtime::can_enclose() {
        return Err(CommandError::new("landlock=true: this kernel has no Landlock, or it is switched off"));
    }
    request.security = security;
    let text =
        |flag: &Option<String>, configured: &str| flag.clone().unwrap_or_else(|| configured.to_owned());
    request.pid = namespace::parse(&text(&args.pid, &config.pidns))?;
    request.uts = namespace::parse(&text(&args.uts, &config.utsns))?;
    let ipc = if profile.is_strict() { "private" } else { &config.ipcns };
    request.ipc = namespace::parse_ipc(&text(&args.ipc, ipc))?;
    request.cgroupns = namespace::parse(&text(&args.cgroupns, config.cgroupns.as_deref().unwrap_or("")))?;
    request.userns = user_namespace(args, engine, profile)?;
    for entry in csv::split(&args.sysctl).map_err(CommandError::new)? {
        let (name, value) = sysctl(&entry)?;
        request.sysctl.insert(name, value);
    }
    Ok(())
}

/// A profile needs AppArmor.
fn check_apparmor(security: &mut Security) -> Result<()> {
    security.apparmor = security.apparmor.take().filter(|profile| !profile.is_empty());
    if let Some(profile) = &security.apparmor
        && !runtime::has_apparmor()
    {
        if profile != "unconfined" {
            return Err(CommandError::new(format!(
                "apparmor profile {profile:?} specified, but Apparmor is not enabled on this system"
            )));
        }
        security.apparmor = None;
    }
    Ok(())
}

fn user_namespace(args: &SecurityArgs, engine: &Engine, profile: SecurityProfile) -> Result<UserNsMode> {
    let uidmap = csv::split(&args.uidmap).map_err(CommandError::new)?;
    let gidmap = csv::split(&args.gidmap).map_err(CommandError::new)?;
    let explicit = !uidmap.is_empty() || !gidmap.is_empty();
    if explicit && args.userns.is_some() {
        return Err(CommandError::new(
            "--userns and --uidmap/--gidmap/--subuidname/--subgidname are mutually exclusive",
        ));
    }
    let configured = engine.env().text("PODMAN_USERNS").unwrap_or(&engine.config()?.containers.userns);
    // Nothing of the caller's, unless she asked for a mode.
    let configured = if configured.is_empty() && profile.is_strict() { "nomap" } else { configured };
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
    let fail = |text: String| Err(CommandError::new(text));
    let Some((name, value)) = entry.split_once('=') else {
        return fail(format!("{entry} is invalid, sysctl values must be in the form of KEY=VALUE"));
    };
    if name.trim() != name || value.trim() != value {
        return fail(format!("'{entry}' is invalid, extra spaces found"));
    }
    let known = IPC_PARAMETERS.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue.");
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
}
