//! Namespaces that a container shares with others: names become ids, and what follows from it.

use super::request::{CreateRequest, IpcMode, NamespaceMode, UserNsMode};
use crate::container::{ContainerId, Containers, Error, Record, Result};
use crate::kernel::idmap::IdMaps;
use crate::network::Mode;

/// What the shared namespaces bring with them.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// The container whose user namespace is joined.
    pub(super) user: Option<ContainerId>,
    /// The id maps of that namespace.
    pub(super) maps: Option<IdMaps>,
    /// The host name of a joined UTS namespace.
    pub(super) host_name: Option<String>,
    /// The joined pid namespace is the host's.
    pub(super) host_pid: bool,
    /// The joined network namespace is the host's.
    pub(super) host_network: bool,
    /// Containers whose processes or memory are shared, and their SELinux context with that.
    pub(super) shares_context_with: Vec<ContainerId>,
    /// Containers that must run first.
    pub(super) dependencies: Vec<ContainerId>,
}

/// Replaces names of containers by ids.
///
/// A namespace belongs to a user namespace: who joins another container's pid or network
/// namespace can do little in it (mount /proc, configure an interface) unless the user
/// namespace is the same. So that one is joined too, where the user did not ask for another.
pub(super) fn resolve(containers: &Containers, request: &mut CreateRequest) -> Result<Joined> {
    let mut joined = Joined::default();
    let mut owner: Option<Record> = None;
    let mut find = |reference: &mut String, joined: &mut Joined| -> Result<Record> {
        let record = containers.lookup(reference)?;
        record.id.as_str().clone_into(reference);
        if !joined.dependencies.contains(&record.id) {
            joined.dependencies.push(record.id.clone());
        }
        if owner.is_none() {
            owner = Some(record.clone());
        }
        Ok(record)
    };
    if let NamespaceMode::Container(reference) = &mut request.pid {
        let record = find(reference, &mut joined)?;
        joined.host_pid = follow(containers, &record, |record| &record.namespaces.pid)? == "host";
        joined.shares_context_with.push(record.id);
    }
    if let IpcMode::Container(reference) = &mut request.ipc {
        let record = find(reference, &mut joined)?;
        if matches!(record.namespaces.ipc.as_str(), "private" | "none") {
            return Err(Error::Invalid {
                what: format!(
                    "joining IPC of container {} is not allowed: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                    record.id
                ),
            });
        }
        joined.shares_context_with.push(record.id);
    }
    if let Mode::Container(reference) = &mut request.network.mode {
        let record = find(reference, &mut joined)?;
        joined.host_network = follow(containers, &record, |record| &record.network.mode)? == "host";
    }
    if let NamespaceMode::Container(reference) = &mut request.uts {
        joined.host_name = Some(find(reference, &mut joined)?.network.hostname);
    }
    if let NamespaceMode::Container(reference) = &mut request.cgroupns {
        find(reference, &mut joined)?;
    }
    if let UserNsMode::Container(reference) = &mut request.userns {
        owner = None;
        let record = containers.lookup(reference)?;
        record.id.as_str().clone_into(reference);
        joined.dependencies.push(record.id.clone());
        owner.get_or_insert(record);
    } else if request.userns != UserNsMode::Host {
        owner = None;
    }
    if let Some(record) = owner {
        joined.maps = Some(record.root.maps);
        joined.user = Some(record.id);
    }
    for reference in &request.identity.requires {
        let record = containers.lookup(reference)?;
        joined.dependencies.push(record.id);
    }
    joined.dependencies.sort();
    joined.dependencies.dedup();
    Ok(joined)
}

/// The mode of the container at the end of a chain of containers that join each other. The chain ends: a
/// container joins only those that were there before it.
fn follow(containers: &Containers, record: &Record, mode: fn(&Record) -> &String) -> Result<String> {
    let mut record = record.clone();
    while let Some(id) = mode(&record).strip_prefix("container:") {
        record = containers.lookup(id)?;
    }
    Ok(mode(&record).clone())
}
