//! Namespaces, id maps, hidden paths, kernel parameters.

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime::{
    Linux, LinuxNamespace, LinuxNamespaceType, LinuxPersonality, LinuxPersonalityDomain,
};

use super::super::request::{IpcMode, NamespaceMode, UserNsMode};
use super::super::security;
use super::SpecInput;
use super::mounts::own_sysfs;
use crate::container::{Error, Result};
use crate::kernel::idmap::IdRange;
use crate::network::Mode;
use crate::runtime::id_mappings;

pub(super) fn linux(input: &SpecInput<'_>) -> Result<Linux> {
    let request = input.request;
    let mut linux = Linux::default();
    linux.set_namespaces(Some(namespaces(input)));
    if let Some(maps) = input.maps {
        linux.set_uid_mappings(Some(id_mappings(&maps.uid))).set_gid_mappings(Some(id_mappings(&maps.gid)));
    }
    let (mut masked, read_only) = security::paths(&request.security);
    if !masked.is_empty() {
        masked.extend(input.host.masked.iter().cloned());
        if !own_sysfs(input) {
            masked.push("/sys/kernel".to_owned());
        }
    }
    linux
        .set_masked_paths(Some(masked))
        .set_readonly_paths(Some(read_only))
        .set_sysctl(Some(sysctls(input)?).filter(|all| !all.is_empty()))
        .set_seccomp(None)
        .set_mount_label(input.host.labels.mount.clone())
        .set_resources(input.host.resources.clone())
        .set_devices(None);
    if let Some(text) = &request.personality {
        linux.set_personality(Some(personality(text)?));
    }
    if request.mounts.iter().any(|mount| shares(mount.options.propagation)) {
        // A mount that passes on to the host needs a root that does.
        linux.set_rootfs_propagation(Some("shared".to_owned()));
    }
    Ok(linux)
}

fn shares(propagation: Option<crate::volume::Propagation>) -> bool {
    use crate::volume::Propagation::{Rshared, Shared};
    matches!(propagation, Some(Shared | Rshared))
}

/// What the container shares is left out; what it joins carries a path. Joined containers get
/// their path at each start, since it has a process id in it.
fn namespaces(input: &SpecInput<'_>) -> Vec<LinuxNamespace> {
    let request = input.request;
    let of_mode = |mode: &NamespaceMode| match mode {
        NamespaceMode::Private | NamespaceMode::Container(_) => Some(None),
        NamespaceMode::Path(path) => Some(Some(path.clone())),
        NamespaceMode::Host => None,
    };
    let ipc = match &request.ipc {
        IpcMode::Host => None,
        IpcMode::Path(path) => Some(Some(path.clone())),
        _ => Some(None),
    };
    let network = match &request.network.mode {
        Mode::Host => None,
        Mode::Path(path) => Some(Some(path.clone())),
        _ => Some(None),
    };
    let user = match &request.userns {
        UserNsMode::Path(path) => Some(Some(path.clone())),
        // One that is joined has no map here; and without an entry it is never taken for a new one.
        _ => input.maps.is_some().then_some(None),
    };
    let all: [(LinuxNamespaceType, Option<Option<PathBuf>>); 7] = [
        (LinuxNamespaceType::User, user),
        (LinuxNamespaceType::Mount, Some(None)),
        (LinuxNamespaceType::Pid, of_mode(&request.pid)),
        (LinuxNamespaceType::Ipc, ipc),
        (LinuxNamespaceType::Uts, of_mode(&request.uts)),
        (LinuxNamespaceType::Network, network),
        (LinuxNamespaceType::Cgroup, of_mode(&request.cgroupns)),
    ];
    all.into_iter()
        .filter_map(|(kind, path)| {
            let mut namespace = LinuxNamespace::default();
            namespace.set_typ(kind).set_path(path?);
            Some(namespace)
        })
        .collect()
}

fn personality(text: &str) -> Result<LinuxPersonality> {
    let domain = match text.to_ascii_uppercase().as_str() {
        "LINUX" => LinuxPersonalityDomain::PerLinux,
        "LINUX32" => LinuxPersonalityDomain::PerLinux32,
        _ => return Err(Error::Invalid { what: format!("unknown personality {text:?}") }),
    };
    let mut personality = LinuxPersonality::default();
    personality.set_domain(domain);
    Ok(personality)
}

const PING_GROUPS: &str = "net.ipv4.ping_group_range";

/// Parameters of namespaces that are the container's own.
///
/// In an own network namespace everybody may ping and bind low ports: both are about sharing
/// one network between users, which a container's network is not.
fn sysctls(input: &SpecInput<'_>) -> Result<HashMap<String, String>> {
    let request = input.request;
    let own_network = request.network.mode.is_own_namespace();
    let own_ipc = matches!(request.ipc, IpcMode::Shareable | IpcMode::Private | IpcMode::None);
    let own_uts = request.uts == NamespaceMode::Private;
    let mut all = HashMap::new();
    if own_network {
        let groups = input.maps.map_or(&[][..], |maps| &maps.gid);
        // The kernel takes only ids that the namespace has, and a container may lack the group 0.
        let (first, count) = match contiguous(groups) {
            0 => groups.first().map_or((0, 1), |range| (range.inside, range.count)),
            count => (0, count),
        };
        let last = first.saturating_add(count.saturating_sub(1));
        all.insert(PING_GROUPS.to_owned(), format!("{first} {last}"));
        all.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
    }
    let fits = |name: &str| {
        let uts = name.starts_with("kernel.domainname") || name.starts_with("kernel.hostname");
        (own_network || !name.starts_with("net."))
            && (own_ipc || !name.starts_with("fs.mqueue."))
            && (own_uts || !uts)
    };
    // Debian's defaults name group 0 for all.
    let lacks_root = input.maps.is_some_and(|maps| contiguous(&maps.gid) == 0);
    for entry in &input.config.default_sysctls {
        if lacks_root && entry.starts_with(PING_GROUPS) {
            continue;
        }
        if let Some((name, value)) = entry.split_once('=').filter(|(name, _)| fits(name)) {
            all.insert(name.to_owned(), value.to_owned());
        }
    }
    for (name, value) in &request.sysctl {
        refuse_shared(name, value, request)?;
        all.insert(name.clone(), value.clone());
    }
    Ok(all)
}

fn refuse_shared(name: &str, value: &str, request: &super::CreateRequest) -> Result<()> {
    let shared = if request.ipc == IpcMode::Host && name.starts_with("fs.mqueue.") {
        "IPC"
    } else if request.network.mode == Mode::Host && name.starts_with("net.") {
        "Network"
    } else if request.uts == NamespaceMode::Host && name.starts_with("kernel.") && name.ends_with("name") {
        "UTS"
    } else {
        return Ok(());
    };
    Err(Error::Invalid {
        what: format!(
            "sysctl {name}={value} can't be set since {shared} Namespace set to host: invalid argument"
        ),
    })
}

/// How many ids from 0 on are mapped without a gap.
fn contiguous(map: &[IdRange]) -> u32 {
    let mut ranges: Vec<&IdRange> = map.iter().collect();
    ranges.sort_by_key(|range| range.inside);
    let mut end = 0u32;
    for range in ranges {
        if range.inside != end {
            break;
        }
        end = end.saturating_add(range.count);
    }
    end.min(i32::MAX.unsigned_abs())
}
