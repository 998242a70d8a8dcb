//! `linux.resources` as the files of cgroup v2.

use oci_spec::runtime::{
    Linux, LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxResources,
    LinuxThrottleDevice,
};

use super::super::cgroup;
use super::super::error::{Error, Result};
use super::super::plan::{CgroupPlan, DeviceKind, DeviceRule};
use super::no_nul;

/// Files and what is written to them, in order.
type Settings = Vec<(String, String)>;

pub(super) fn cgroup_plan(linux: &Linux) -> Result<CgroupPlan> {
    let path = linux.cgroups_path().clone().filter(|path| !path.as_os_str().is_empty());
    if let Some(path) = &path {
        no_nul("linux.cgroupsPath", path)?;
    }
    let resources = linux.resources().as_ref();
    let all = resources.map(settings).transpose()?.unwrap_or_default();
    // What asks for no limit needs nobody who keeps it.
    let (optional, settings) = all.into_iter().partition(|(_, value)| value == "max");
    Ok(CgroupPlan {
        path,
        disabled: false,
        required: false,
        all_controllers: false,
        settings,
        optional,
        devices: resources
            .and_then(|resources| resources.devices().as_deref())
            .unwrap_or_default()
            .iter()
            .map(device_rule)
            .collect::<Result<_>>()?,
    })
}

/// A number that is missing or negative stands for all.
fn device_rule(rule: &LinuxDeviceCgroup) -> Result<DeviceRule> {
    let number = |number: Option<i64>| match number {
        None | Some(..0) => Ok(None),
        Some(number) => i32::try_from(number).map(|number| Some(number as u32)).map_err(|_| {
            Error::invalid("linux.resources.devices", format!("{number} is not a device number"))
        }),
    };
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(DeviceKind::Block),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(DeviceKind::Character),
        Some(LinuxDeviceType::P) => {
            return Err(Error::invalid("linux.resources.devices", "`p` is not a kind of device"));
        }
    };
    Ok(DeviceRule {
        allow: rule.allow(),
        kind,
        major: number(rule.major())?,
        minor: number(rule.minor())?,
        access: cgroup::device_access(rule.access().as_deref().unwrap_or("rwm"))?,
    })
}

/// The files of a cgroup that `resources` are about, and what is written to them.
///
/// # Errors
/// For limits that make no sense, or that version 2 does not have.
pub fn settings(resources: &LinuxResources) -> Result<Settings> {
    let mut settings = Settings::new();
    let mut set = |file: &str, value: String| settings.push((file.to_owned(), value));
    if let Some(spec) = resources.memory() {
        memory(spec, &mut set)?;
    }
    if let Some(spec) = resources.cpu() {
        cpu(spec, &mut set)?;
    }
    if let Some(pids) = resources.pids()
        && pids.limit() != 0
    {
        set("pids.max", number_or_max(pids.limit()));
    }
    if let Some(spec) = resources.block_io() {
        block_io(spec, &mut set)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        set(&format!("hugetlb.{}.max", limit.page_size()), number_or_max(limit.limit()));
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        let number = |value: Option<u32>| value.map_or_else(|| "max".to_owned(), |value| value.to_string());
        let (handles, objects) = (number(limit.hca_handles()), number(limit.hca_objects()));
        set("rdma.max", format!("{device} hca_handle={handles} hca_object={objects}"));
    }
    let network = resources.network().as_ref();
    if network.is_some_and(|network| network.class_id().is_some() || network.priorities().is_some()) {
        return Err(v1_only("linux.resources.network"));
    }
    for (file, value) in resources.unified().iter().flatten() {
        if file.contains('/') || !file.contains('.') {
            let why = format!("`{}` is not a controller file", file.escape_debug());
            return Err(Error::invalid("linux.resources.unified", why));
        }
        // The kernel takes one device or line a write.
        for line in value.trim_end_matches('\n').split('\n') {
            set(file, line.to_owned());
        }
    }
    Ok(settings)
}

fn v1_only(what: &str) -> Error {
    Error::unsupported(format!("{what}: it exists only in cgroup v1"))
}

fn number_or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn memory(spec: &LinuxMemory, set: &mut impl FnMut(&str, String)) -> Result<()> {
    if let Some(limit) = spec.limit().filter(|limit| *limit != 0) {
        set("memory.max", number_or_max(limit));
    }
    if let Some(reservation) = spec.reservation().filter(|reservation| *reservation != 0) {
        set("memory.low", number_or_max(reservation));
    }
    // The spec counts memory and swap together, cgroup v2 swap alone.
    match (spec.swap().filter(|swap| *swap != 0), spec.limit().filter(|limit| *limit > 0)) {
        (None, _) => {}
        (Some(..0), _) => set("memory.swap.max", "max".to_owned()),
        (Some(swap), Some(limit)) if swap >= limit => set("memory.swap.max", (swap - limit).to_string()),
        (Some(_), Some(_)) => return Err(Error::invalid("memory.swap", "it is below memory.limit")),
        (Some(_), None) => return Err(Error::invalid("memory.swap", "it needs a memory.limit")),
    }
    if spec.swappiness().is_some() {
        return Err(v1_only("memory.swappiness"));
    }
    if spec.disable_oom_killer() == Some(true) {
        return Err(v1_only("memory.disableOOMKiller"));
    }
    Ok(())
}

fn cpu(spec: &LinuxCpu, set: &mut impl FnMut(&str, String)) -> Result<()> {
    if let Some(shares) = spec.shares().filter(|shares| *shares != 0) {
        set("cpu.weight", weight_of_shares(shares).to_string());
    }
    if spec.quota().is_some() || spec.period().is_some() {
        let quota =
            spec.quota().filter(|quota| *quota > 0).map_or_else(|| "max".to_owned(), |q| q.to_string());
        let period = spec.period().filter(|period| *period > 0).unwrap_or(100_000);
        set("cpu.max", format!("{quota} {period}"));
    }
    if let Some(burst) = spec.burst() {
        set("cpu.max.burst", burst.to_string());
    }
    if let Some(idle) = spec.idle() {
        set("cpu.idle", idle.to_string());
    }
    let realtime =
        [spec.realtime_period().is_some_and(|v| v != 0), spec.realtime_runtime().is_some_and(|v| v != 0)];
    if realtime.contains(&true) {
        return Err(v1_only("cpu.realtimeRuntime"));
    }
    for (file, list) in [("cpuset.cpus", spec.cpus()), ("cpuset.mems", spec.mems())] {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            set(file, list.clone());
        }
    }
    Ok(())
}

/// Shares run from 2 to 262144 with 1024 as the default, weights from 1 to 10000
/// with 100: the curve that meets all three points, as runc 1.3.2 and crun 1.24 use it.
fn weight_of_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10_f64.powf(exponent).ceil() as u64
}

fn block_io(spec: &LinuxBlockIo, set: &mut impl FnMut(&str, String)) -> Result<()> {
    if spec.leaf_weight().is_some_and(|weight| weight != 0) {
        return Err(v1_only("blockIO.leafWeight"));
    }
    if let Some(weight) = spec.weight().filter(|weight| *weight != 0) {
        set("io.weight", format!("default {}", io_weight(weight)?));
    }
    for device in spec.weight_device().iter().flatten() {
        if let Some(weight) = device.weight() {
            set("io.weight", format!("{}:{} {}", device.major(), device.minor(), io_weight(weight)?));
        }
    }
    let mut throttle = |devices: &Option<Vec<LinuxThrottleDevice>>, what: &str| {
        for device in devices.iter().flatten() {
            set("io.max", format!("{}:{} {what}={}", device.major(), device.minor(), device.rate()));
        }
    };
    throttle(spec.throttle_read_bps_device(), "rbps");
    throttle(spec.throttle_write_bps_device(), "wbps");
    throttle(spec.throttle_read_iops_device(), "riops");
    throttle(spec.throttle_write_iops_device(), "wiops");
    Ok(())
}

/// From 10..1000 (v1) to 1..10000 (v2).
fn io_weight(weight: u16) -> Result<u64> {
    if !(10..=1000).contains(&weight) {
        return Err(Error::invalid("blockIO.weight", format!("{weight} is not between 10 and 1000")));
    }
    Ok(1 + u64::from(weight - 10) * 9999 / 990)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_meet_their_end_points() {
        assert_eq!([2, 1024, 262_144].map(weight_of_shares), [1, 100, 10_000]);
        assert_eq!([10, 1000].map(|weight| io_weight(weight).unwrap()), [1, 10_000]);
        assert!([0, 9, 1001].map(io_weight).iter().all(std::result::Result::is_err));
    }

    #[test]
    fn limits_become_files() {
        let resources: LinuxResources = serde_json::from_str(
            r#"{"memory":{"limit":1048576,"swap":2097152},"pids":{"limit":-1},
                "cpu":{"quota":50000,"period":100000,"cpus":"0-1"},"unified":{"memory.high":"1\n"}}"#,
        )
        .unwrap();
        let expected = [
            ("memory.max", "1048576"),
            ("memory.swap.max", "1048576"),
            ("cpu.max", "50000 100000"),
            ("cpuset.cpus", "0-1"),
            ("pids.max", "max"),
            ("memory.high", "1"),
        ];
        let found = settings(&resources).unwrap();
        assert_eq!(found, expected.map(|(file, value)| (file.to_owned(), value.to_owned())));
        let lines: LinuxResources =
            serde_json::from_str(r#"{"unified":{"io.max":"7:0 riops=3\n7:1 wiops=4\n"}}"#).unwrap();
        let expected = [("io.max", "7:0 riops=3"), ("io.max", "7:1 wiops=4")];
        assert_eq!(
            settings(&lines).unwrap(),
            expected.map(|(file, line)| (file.to_owned(), line.to_owned()))
        );
        let traversal: LinuxResources =
            serde_json::from_str(r#"{"unified":{"../../cgroup.procs":"1"}}"#).unwrap();
        assert!(settings(&traversal).is_err());
    }
}
