//! The `linux` section: namespaces, devices, propagation, personality.

use std::path::PathBuf;

use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceType, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespaceType,
    LinuxPersonalityDomain,
};

use crate::kernel::idmap::{IdMaps, IdRange};
use crate::kernel::mount;

use super::super::error::{Error, Result};
use super::super::plan::{Device, DeviceKind, Membership, Namespaces, TimeOffsets, UserNamespace};
use super::{inner_path, no_nul};

pub(super) fn refuse_unsupported(linux: &Linux) -> Result<()> {
    let table = [("linux.intelRdt", linux.intel_rdt().is_some())];
    match table.into_iter().find(|(_, asked)| *asked) {
        Some((what, _)) => Err(Error::unsupported(what)),
        None => Ok(()),
    }
}

pub(super) fn namespaces(linux: &Linux) -> Result<Namespaces> {
    let find = |kind: LinuxNamespaceType| membership(linux, kind);
    if find(LinuxNamespaceType::Mount)? != Membership::New {
        // Joining one would mount over what another container sees.
        return Err(Error::unsupported("a container without a mount namespace of its own"));
    }
    let user = match find(LinuxNamespaceType::User)? {
        Membership::Host => UserNamespace::Host,
        Membership::Join(path) => UserNamespace::Join(path),
        Membership::New => UserNamespace::New(IdMaps {
            uid: id_map("linux.uidMappings", linux.uid_mappings())?,
            gid: id_map("linux.gidMappings", linux.gid_mappings())?,
        }),
    };
    let time = find(LinuxNamespaceType::Time)?;
    let time_offsets = time_offsets(linux)?;
    if time_offsets.is_some() && time != Membership::New {
        return Err(Error::invalid("linux.timeOffsets", "they need a new time namespace"));
    }
    Ok(Namespaces {
        user,
        pid: find(LinuxNamespaceType::Pid)?,
        network: find(LinuxNamespaceType::Network)?,
        uts: find(LinuxNamespaceType::Uts)?,
        ipc: find(LinuxNamespaceType::Ipc)?,
        cgroup: find(LinuxNamespaceType::Cgroup)?,
        time,
        time_offsets,
    })
}

fn membership(linux: &Linux, kind: LinuxNamespaceType) -> Result<Membership> {
    let mut found = linux.namespaces().iter().flatten().filter(|namespace| namespace.typ() == kind);
    let membership = match found.next().map(oci_spec::runtime::LinuxNamespace::path) {
        None => Membership::Host,
        Some(None) => Membership::New,
        Some(Some(path)) if path.as_os_str().is_empty() => Membership::New,
        Some(Some(path)) if path.is_absolute() => {
            no_nul("linux.namespaces", path)?;
            Membership::Join(path.clone())
        }
        Some(Some(path)) => {
            let why = format!("`{}` is not an absolute path", path.display());
            return Err(Error::invalid("linux.namespaces", why));
        }
    };
    match found.next() {
        Some(_) => Err(Error::invalid("linux.namespaces", format!("`{kind}` occurs twice"))),
        None => Ok(membership),
    }
}

/// Network devices to move, by name: the order in which a map is read says nothing.
pub(super) fn network_devices(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<(String, String)>> {
    const WHAT: &str = "linux.netDevices";
    let Some(spec) = linux.net_devices().as_ref().filter(|devices| !devices.is_empty()) else {
        return Ok(Vec::new());
    };
    if namespaces.network == Membership::Host {
        return Err(Error::invalid(WHAT, "they need a network namespace of the container's own"));
    }
    let mut devices: Vec<(String, String)> = spec
        .iter()
        .map(|(name, device)| {
            let inside = device.name().as_ref().filter(|name| !name.is_empty()).unwrap_or(name);
            (name.clone(), inside.clone())
        })
        .collect();
    devices.sort();
    if let Some(name) = devices.iter().flat_map(|(name, inside)| [name, inside]).find(|name| !is_device(name))
    {
        let why = format!("`{}` is not a name of a network device", name.escape_debug());
        return Err(Error::invalid(WHAT, why));
    }
    let mut inside: Vec<&str> = devices.iter().map(|(_, inside)| inside.as_str()).collect();
    inside.sort_unstable();
    if let Some(pair) = inside.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::invalid(WHAT, format!("two devices would be called `{}`", pair[0])));
    }
    Ok(devices)
}

/// The kernel's rule for names of network devices. A `%` would have it make up a number.
fn is_device(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() < 16
        && !name.bytes().any(|byte| byte == 0 || byte.is_ascii_whitespace() || b"/:%".contains(&byte))
}

/// The kernel takes at most 340 lines, wants them disjoint, and ids below 2^32 - 1.
fn id_map(what: &'static str, lines: &Option<Vec<LinuxIdMapping>>) -> Result<Vec<IdRange>> {
    let lines = lines.as_deref().unwrap_or_default();
    if lines.is_empty() {
        return Err(Error::invalid(what, "a new user namespace needs a mapping"));
    }
    if lines.len() > 340 {
        return Err(Error::invalid(what, "the kernel takes at most 340 lines"));
    }
    let mut map: Vec<IdRange> = Vec::with_capacity(lines.len());
    for line in lines {
        let range = IdRange { inside: line.container_id(), outside: line.host_id(), count: line.size() };
        let fits = |first: u32| range.count > 0 && first.checked_add(range.count).is_some();
        if !fits(range.inside) || !fits(range.outside) {
            let text = format!("{} {} {}", range.inside, range.outside, range.count);
            return Err(Error::invalid(what, format!("`{text}` is not a range of ids")));
        }
        map.push(range);
    }
    let overlap = |first: fn(&IdRange) -> u32| {
        let mut ranges: Vec<(u64, u64)> = map
            .iter()
            .map(|range| (first(range).into(), u64::from(first(range)) + u64::from(range.count)))
            .collect();
        ranges.sort_unstable();
        ranges.windows(2).any(|pair| pair[0].1 > pair[1].0)
    };
    if overlap(|range| range.inside) || overlap(|range| range.outside) {
        return Err(Error::invalid(what, "two lines overlap"));
    }
    Ok(map)
}

fn time_offsets(linux: &Linux) -> Result<Option<TimeOffsets>> {
    let Some(spec) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else {
        return Ok(None);
    };
    let mut offsets = TimeOffsets::default();
    for (clock, offset) in spec {
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if nanoseconds >= 1_000_000_000 {
            return Err(Error::invalid("linux.timeOffsets", format!("{nanoseconds} ns is a second or more")));
        }
        let value = (offset.secs().unwrap_or(0), nanoseconds);
        match clock.as_str() {
            "monotonic" => offsets.monotonic = value,
            "boottime" => offsets.boot = value,
            _ => return Err(Error::invalid("linux.timeOffsets", format!("`{clock}` is not a clock"))),
        }
    }
    Ok(Some(offsets))
}

pub(super) fn devices(linux: &Linux) -> Result<Vec<Device>> {
    linux.devices().iter().flatten().map(device).collect()
}

fn device(spec: &LinuxDevice) -> Result<Device> {
    let kind = match spec.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Character,
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::P => DeviceKind::Fifo,
        LinuxDeviceType::A => return Err(Error::invalid("linux.devices", "`a` is not a kind of device")),
    };
    let number = |value: i64| {
        u32::try_from(value)
            .map_err(|_| Error::invalid("linux.devices", format!("{value} is not a device number")))
    };
    let path: PathBuf = inner_path("linux.devices", spec.path())?;
    Ok(Device {
        path,
        kind,
        major: if kind == DeviceKind::Fifo { 0 } else { number(spec.major())? },
        minor: if kind == DeviceKind::Fifo { 0 } else { number(spec.minor())? },
        mode: spec.file_mode(),
        uid: spec.uid(),
        gid: spec.gid(),
    })
}

pub(super) fn root_propagation(linux: &Linux) -> Result<u64> {
    match linux.rootfs_propagation().as_deref() {
        None | Some("" | "private" | "rprivate") => Ok(mount::PRIVATE),
        Some("slave" | "rslave") => Ok(mount::SLAVE),
        Some("shared" | "rshared") => Ok(mount::SHARED),
        Some("unbindable" | "runbindable") => Ok(mount::UNBINDABLE),
        Some(other) => Err(Error::invalid("linux.rootfsPropagation", format!("`{other}` is no propagation"))),
    }
}

/// The numbers of `<sys/personality.h>`.
pub(super) fn personality(linux: &Linux) -> Option<u64> {
    linux.personality().as_ref().map(|personality| match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    })
}

/// An id map in the words of the runtime specification.
pub fn id_mappings(map: &[IdRange]) -> Vec<LinuxIdMapping> {
    let line = |range: &IdRange| {
        LinuxIdMappingBuilder::default()
            .container_id(range.inside)
            .host_id(range.outside)
            .size(range.count)
            .build()
            .expect("no field of an id mapping is required")
    };
    map.iter().map(line).collect()
}
