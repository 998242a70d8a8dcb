//! Devices by name (CDI): what their specifications say is done to a container's spec at each start, and never written
//! down: drivers write their specifications anew with each update, and some with each boot.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Hook as SpecHook, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType, Mount as SpecMount, Spec,
};
use rustix::fs::{FileType, Stat};

use crate::config::cdi::{Edits, Hook, Mount, Node, Registry};
use crate::container::create::{Extras, add_hook_at};
use crate::container::{Error, Result};
use crate::kernel;

/// Gives a container the devices that its request names.
///
/// # Errors
/// When one is not described, or the host has not what its description says.
pub(super) fn add(spec: &mut Spec, extras: &mut Extras, directories: &[PathBuf]) -> Result<()> {
    if extras.cdi_devices.is_empty() {
        return Ok(());
    }
    let edits = Registry::load(directories)
        .edits(&extras.cdi_devices)
        .map_err(|source| Error::Devices { source: Box::new(Error::Config(source)) })?;
    apply(spec, extras, &edits).map_err(|source| Error::Devices { source: Box::new(source) })
}

fn apply(spec: &mut Spec, extras: &mut Extras, edits: &Edits) -> Result<()> {
    set_variables(spec, &edits.env);
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    let mut put = |mount: SpecMount| {
        // What a vendor says about a place stands for what was there.
        mounts.retain(|other| other.destination() != mount.destination());
        mounts.push(mount);
    };
    let mut nodes = Vec::new();
    for node in &edits.device_nodes {
        match place(node)? {
            Placed::Bound(mount) => put(mount),
            Placed::Made(device) => nodes.push(device),
        }
    }
    edits.mounts.iter().map(mount).for_each(put);
    // Stable: parents before what is mounted below them.
    mounts.sort_by_key(|mount| mount.destination().components().count());
    spec.set_mounts(Some(mounts));
    if let Some(linux) = spec.linux_mut().as_mut().filter(|_| !nodes.is_empty()) {
        let mut all = linux.devices().clone().unwrap_or_default();
        all.extend(nodes);
        linux.set_devices(Some(all));
    }
    add_hooks(spec, &edits.hooks);
    for gid in edits.additional_gids.iter().filter(|gid| **gid != 0) {
        let group = gid.to_string();
        if !extras.lookup.groups.contains(&group) {
            extras.lookup.groups.push(group);
        }
    }
    Ok(())
}

/// A later value stands for an earlier one.
fn set_variables(spec: &mut Spec, variables: &[String]) {
    let Some(process) = spec.process_mut().as_mut() else { return };
    let mut env = process.env().clone().unwrap_or_default();
    for entry in variables {
        let name = entry.split_inclusive('=').next().unwrap_or(entry);
        env.retain(|other| !other.starts_with(name));
        env.push(entry.clone());
    }
    process.set_env(Some(env));
}

/// How a node comes into a container.
enum Placed {
    /// The host's is shown: only its owner on the host can change its mode and owner.
    Bound(SpecMount),
    /// A FIFO is made, and so would be what the host has somewhere else than it is said to be.
    Made(LinuxDevice),
}

fn place(node: &Node) -> Result<Placed> {
    let source = Path::new(node.source());
    let described = !node.kind.is_empty() && (node.major != 0 || node.kind == "p");
    let stat = match rustix::fs::stat(source) {
        Ok(stat) => stat,
        // The numbers say which it is, wherever it is.
        Err(_) if described => return Ok(Placed::Made(device(node)?)),
        Err(errno) => return Err(kernel::Error::path("stat CDI host device", source, errno).into()),
    };
    let kind = FileType::from_raw_mode(stat.st_mode);
    let found = match kind {
        FileType::CharacterDevice => "c",
        FileType::BlockDevice => "b",
        FileType::Fifo => "p",
        _ => {
            let what = format!("CDI host device {}: not a device node", source.display());
            return Err(Error::Invalid { what });
        }
    };
    let wanted = if node.kind == "u" { "c" } else { &node.kind };
    if !(wanted.is_empty() || wanted == found) || !has_numbers(node, &stat) {
        let what = format!(
            "CDI device {:?}: {} is {found} {}:{} on this host, not {} {}:{}",
            node.path,
            source.display(),
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
            if wanted.is_empty() { found } else { wanted },
            node.major,
            node.minor
        );
        return Err(Error::Invalid { what });
    }
    let writable = node.permissions.is_empty() || node.permissions.contains('w');
    let options = ["rbind", "slave", "nosuid", "noexec", if writable { "rw" } else { "ro" }];
    Ok(Placed::Bound(bind(source, Path::new(&node.path), options.map(str::to_owned).to_vec())))
}

/// Whether the host's node has the numbers that are given, if any are.
fn has_numbers(node: &Node, stat: &Stat) -> bool {
    let numbers = (rustix::fs::major(stat.st_rdev).into(), rustix::fs::minor(stat.st_rdev).into());
    node.major == 0 || node.kind == "p" || (node.major, node.minor) == numbers
}

fn device(node: &Node) -> Result<LinuxDevice> {
    let kind = match node.kind.as_str() {
        "b" => LinuxDeviceType::B,
        "p" => LinuxDeviceType::P,
        _ => LinuxDeviceType::C,
    };
    let mut device = LinuxDeviceBuilder::default()
        .path(&node.path)
        .typ(kind)
        .major(node.major)
        .minor(node.minor)
        .build()
        .map_err(|error| Error::Invalid { what: format!("CDI device {:?}: {error}", node.path) })?;
    device.set_file_mode(node.file_mode).set_uid(node.uid).set_gid(node.gid);
    Ok(device)
}

fn bind(source: &Path, target: &Path, options: Vec<String>) -> SpecMount {
    let mut mount = SpecMount::default();
    mount
        .set_destination(target.to_owned())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(source.to_owned()))
        .set_options(Some(options));
    mount
}

fn mount(asked: &Mount) -> SpecMount {
    let mut options = asked.options.clone();
    let binds = options.iter().any(|option| matches!(option.as_str(), "bind" | "rbind"));
    if !binds && matches!(asked.kind.as_str(), "" | "none" | "bind") {
        options.push("rbind".to_owned());
    }
    let mut mount = bind(Path::new(&asked.host_path), Path::new(&asked.container_path), options);
    if !matches!(asked.kind.as_str(), "" | "none") {
        mount.set_typ(Some(asked.kind.clone()));
    }
    mount
}

fn add_hooks(spec: &mut Spec, added: &[Hook]) {
    if added.is_empty() {
        return;
    }
    let mut hooks = spec.hooks().clone().unwrap_or_default();
    for asked in added {
        let mut hook = SpecHook::default();
        hook.set_path(asked.path.clone().into())
            .set_args(Some(asked.args.clone()).filter(|args| !args.is_empty()))
            .set_env(Some(asked.env.clone()).filter(|env| !env.is_empty()))
            .set_timeout(asked.timeout);
        add_hook_at(&mut hooks, &asked.hook_name, &hook)
            .expect("the name was checked when the file was read");
    }
    spec.set_hooks(Some(hooks));
}
