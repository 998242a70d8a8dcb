//! Limits of what a container may use: typed, checked against each other and the machine, and in the words of the OCI
//! spec.
//!
//! What is `None` or empty was not asked for. Limits of the cgroups above are looked at when the container is started
//! ([`crate::runtime`]), because they differ from login to login.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDeviceBuilder,
    LinuxWeightDeviceBuilder,
};
use serde::{Deserialize, Serialize};

use crate::container::{Error, Result};
use crate::kernel;
use crate::runtime::cgroup::numbers;

/// Limits of what a container may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// `--memory`, bytes.
    pub memory: Option<i64>,
    /// `--memory-reservation`, bytes.
    pub memory_reservation: Option<i64>,
    /// `--memory-swap`: memory and swap together in bytes, -1 for no limit.
    pub memory_swap: Option<i64>,
    /// `--cpu-shares`
    pub cpu_shares: Option<u64>,
    /// `--cpu-period`, microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpu-quota`, microseconds.
    pub cpu_quota: Option<i64>,
    /// `--cpuset-cpus`
    pub cpuset_cpus: String,
    /// `--cpuset-mems`
    pub cpuset_mems: String,
    /// `--pids-limit`; 0 and below for no limit.
    pub pids: Option<i64>,
    /// `--blkio-weight`
    pub io_weight: Option<u16>,
    /// `--blkio-weight-device`
    pub io_weights: BTreeMap<PathBuf, u16>,
    /// `--device-read-bps`, bytes a second.
    pub read_bytes: BTreeMap<PathBuf, u64>,
    /// `--device-write-bps`, bytes a second.
    pub write_bytes: BTreeMap<PathBuf, u64>,
    /// `--device-read-iops`, operations a second.
    pub read_operations: BTreeMap<PathBuf, u64>,
    /// `--device-write-iops`, operations a second.
    pub write_operations: BTreeMap<PathBuf, u64>,
    /// `--cgroup-conf`: files of the cgroup and what is written to them.
    pub conf: BTreeMap<String, String>,
}

/// What the machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Bytes of memory.
    pub memory: u64,
    /// Processors that are online, as `0-3`.
    pub cpus: String,
    /// Memory nodes that are online.
    pub nodes: String,
}

impl Machine {
    /// Asks the kernel. What it does not say is not checked.
    #[must_use]
    pub fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let memory = read("/proc/meminfo").lines().find_map(|line| {
            let kilobytes = line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?;
            kilobytes.trim().parse::<u64>().ok()
        });
        Self {
            memory: memory.unwrap_or(0) * 1024,
            cpus: read("/sys/devices/system/cpu/online"),
            nodes: read("/sys/devices/system/node/online"),
        }
    }
}

impl Resources {
    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes over what `newer` asks for.
    pub fn update(&mut self, newer: &Self) {
        fn take<T: Clone>(slot: &mut Option<T>, newer: &Option<T>) {
            if newer.is_some() {
                slot.clone_from(newer);
            }
        }
        if newer.memory.is_some() && newer.memory_swap.is_none() {
            // What was made from the old limit goes with it.
            self.memory_swap = None;
        }
        take(&mut self.memory, &newer.memory);
        take(&mut self.memory_reservation, &newer.memory_reservation);
        take(&mut self.memory_swap, &newer.memory_swap);
        take(&mut self.cpu_shares, &newer.cpu_shares);
        take(&mut self.cpu_period, &newer.cpu_period);
        take(&mut self.cpu_quota, &newer.cpu_quota);
        take(&mut self.pids, &newer.pids);
        take(&mut self.io_weight, &newer.io_weight);
        for (slot, newer) in
            [(&mut self.cpuset_cpus, &newer.cpuset_cpus), (&mut self.cpuset_mems, &newer.cpuset_mems)]
        {
            if !newer.is_empty() {
                slot.clone_from(newer);
            }
        }
        self.io_weights.extend(newer.io_weights.clone());
        self.read_bytes.extend(newer.read_bytes.clone());
        self.write_bytes.extend(newer.write_bytes.clone());
        self.read_operations.extend(newer.read_operations.clone());
        self.write_operations.extend(newer.write_operations.clone());
        self.conf.extend(newer.conf.clone());
    }

    /// Checks the limits against each other and against what the machine has.
    ///
    /// # Errors
    /// In podman's words, or docker's where podman leaves it to the kernel.
    pub fn check(&self, machine: &Machine) -> Result<()> {
        let fail = |what: &str| Err(Error::Invalid { what: what.to_owned() });
        let memory = self.memory.filter(|limit| *limit > 0);
        match (memory, self.memory_swap.filter(|limit| *limit > 0)) {
            (None, Some(_)) => {
                return fail("you should always set a memory limit when using a memoryswap limit, see usage");
            }
            (Some(memory), Some(swap)) if swap < memory => {
                return fail("minimum memoryswap limit should be larger than memory limit, see usage");
            }
            _ => {}
        }
        if let (Some(memory), Some(reservation)) = (memory, self.memory_reservation)
            && memory < reservation
        {
            return fail("minimum memory limit cannot be less than memory reservation limit, see usage");
        }
        if self.cpu_period.is_some_and(|period| period != 0 && !(1000..=1_000_000).contains(&period)) {
            return fail(
                "CPU cfs period cannot be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            );
        }
        if self.cpu_quota.is_some_and(|quota| quota > 0 && quota < 1000) {
            return fail("CPU cfs quota cannot be less than 1ms (i.e. 1000)");
        }
        let weights = self.io_weight.iter().chain(self.io_weights.values());
        if weights.into_iter().any(|weight| *weight != 0 && !(10..=1000).contains(weight)) {
            return fail("range of blkio weight is from 10 to 1000");
        }
        self.check_machine(machine)
    }

    fn check_machine(&self, machine: &Machine) -> Result<()> {
        let fail = |what: String| Err(Error::Invalid { what });
        for (flag, limit) in [("memory", self.memory), ("memory-reservation", self.memory_reservation)] {
            if let Some(limit) = limit.filter(|limit| *limit > 0)
                && machine.memory > 0
                && limit.unsigned_abs() > machine.memory
            {
                return fail(format!(
                    "invalid value for {flag}: {limit} is more than the {} bytes that this machine has",
                    machine.memory
                ));
            }
        }
        let online = numbers(&machine.cpus).unwrap_or_default();
        if let Some(quota) = self.cpu_quota.filter(|quota| *quota > 0) {
            let period = self.cpu_period.filter(|period| *period > 0).unwrap_or(DEFAULT_PERIOD);
            let count = online.len();
            if count > 0 && quota.unsigned_abs() > period.saturating_mul(count as u64) {
                return fail(format!(
                    "range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"
                ));
            }
        }
        let nodes = numbers(&machine.nodes).unwrap_or_default();
        for (what, short, asked, there, all) in [
            ("CPUs", "cpus", &self.cpuset_cpus, &machine.cpus, online),
            ("memory nodes", "mems", &self.cpuset_mems, &machine.nodes, nodes),
        ] {
            let Some(wanted) = numbers(asked) else {
                return fail(format!("invalid value {asked} for cpuset {short}"));
            };
            if !all.is_empty() && !wanted.iter().all(|number| all.contains(number)) {
                return fail(format!(
                    "requested {what} are not available - requested {asked}, available: {there}"
                ));
            }
        }
        Ok(())
    }

    /// The limits in the words of the OCI spec, without that of processes if `pids` is left out; `None` where there
    /// are none.
    ///
    /// # Errors
    /// When something is not a block device.
    pub fn to_spec(&self) -> Result<Option<LinuxResources>> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut resources = LinuxResources::default();
        // The types' defaults have values that were not asked for.
        resources.set_devices(None);
        resources.set_memory(self.memory()).set_cpu(self.cpu()).set_block_io(self.block_io()?);
        if let Some(limit) = self.pids {
            let mut pids = LinuxPids::default();
            pids.set_limit(if limit <= 0 { -1 } else { limit });
            resources.set_pids(Some(pids));
        }
        if !self.conf.is_empty() {
            resources.set_unified(Some(self.conf.clone().into_iter().collect()));
        }
        Ok(Some(resources))
    }

    fn memory(&self) -> Option<LinuxMemory> {
        let limit = self.memory.filter(|limit| *limit > 0);
        // podman's rule: as much swap as memory.
        let swap =
            self.memory_swap.filter(|limit| *limit != 0).or(limit.map(|limit| limit.saturating_mul(2)));
        if limit.is_none() && swap.is_none() && self.memory_reservation.is_none() {
            return None;
        }
        let mut memory = LinuxMemory::default();
        memory.set_limit(limit).set_swap(swap).set_reservation(self.memory_reservation);
        Some(memory)
    }

    fn cpu(&self) -> Option<LinuxCpu> {
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let mut cpu = LinuxCpu::default();
        cpu.set_shares(self.cpu_shares)
            .set_period(self.cpu_period)
            .set_quota(self.cpu_quota)
            .set_cpus(text(&self.cpuset_cpus))
            .set_mems(text(&self.cpuset_mems));
        (cpu != LinuxCpu::default()).then_some(cpu)
    }

    fn block_io(&self) -> Result<Option<LinuxBlockIo>> {
        let throttle = |limits: &BTreeMap<PathBuf, u64>| {
            let devices = limits.iter().map(|(path, rate)| {
                let (major, minor) = block_device(path)?;
                let device = LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(*rate);
                Ok(device.build().expect("all fields are set"))
            });
            let devices: Vec<_> = devices.collect::<Result<_>>()?;
            Ok::<_, Error>(Some(devices).filter(|devices| !devices.is_empty()))
        };
        let weights = self.io_weights.iter().map(|(path, weight)| {
            let (major, minor) = block_device(path)?;
            let device = LinuxWeightDeviceBuilder::default().major(major).minor(minor).weight(*weight);
            Ok(device.build().expect("all fields are set"))
        });
        let weights: Vec<_> = weights.collect::<Result<_>>()?;
        let mut io = LinuxBlockIo::default();
        io.set_weight(self.io_weight)
            .set_weight_device(Some(weights).filter(|weights| !weights.is_empty()))
            .set_throttle_read_bps_device(throttle(&self.read_bytes)?)
            .set_throttle_write_bps_device(throttle(&self.write_bytes)?)
            .set_throttle_read_iops_device(throttle(&self.read_operations)?)
            .set_throttle_write_iops_device(throttle(&self.write_operations)?);
        Ok((io != LinuxBlockIo::default()).then_some(io))
    }
}

/// The period that `--cpus` and the kernel take.
pub const DEFAULT_PERIOD: u64 = 100_000;

/// Major and minor number of a block device.
fn block_device(path: &Path) -> Result<(i64, i64)> {
    let metadata = fs::metadata(path).map_err(|error| kernel::Error::path("stat", path, error))?;
    if !metadata.file_type().is_block_device() {
        return Err(Error::Invalid { what: format!("{}: not a block device", path.display()) });
    }
    let device = metadata.rdev();
    Ok((rustix::fs::major(device).into(), rustix::fs::minor(device).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine { memory: 1 << 30, cpus: "0-3".to_owned(), nodes: "0".to_owned() }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let none = Resources::default();
        none.check(&machine()).unwrap();
        let bad = [
            (Resources { memory_swap: Some(1 << 20), ..none.clone() }, "always set a memory limit"),
            (Resources { memory: Some(100), memory_swap: Some(99), ..none.clone() }, "memoryswap"),
            (Resources { memory: Some(100), memory_reservation: Some(101), ..none.clone() }, "reservation"),
            (Resources { memory: Some((1 << 30) + 1), ..none.clone() }, "this machine has"),
            (Resources { memory_reservation: Some(1 << 40), ..none.clone() }, "this machine has"),
            (Resources { cpu_period: Some(999), ..none.clone() }, "period"),
            (Resources { cpu_period: Some(1_000_001), ..none.clone() }, "period"),
            (Resources { cpu_quota: Some(999), ..none.clone() }, "quota"),
            (Resources { cpu_quota: Some(400_001), ..none.clone() }, "only 4 CPUs"),
            (Resources { cpuset_cpus: "0-4".to_owned(), ..none.clone() }, "available: 0-3"),
            (Resources { cpuset_cpus: "x".to_owned(), ..none.clone() }, "invalid value x"),
            (Resources { cpuset_mems: "1".to_owned(), ..none.clone() }, "memory nodes"),
            (Resources { io_weight: Some(9), ..none.clone() }, "blkio weight"),
            (Resources { io_weight: Some(1001), ..none.clone() }, "blkio weight"),
        ];
        for (resources, words) in bad {
            let text = resources.check(&machine()).unwrap_err().to_string();
            assert!(text.contains(words), "{text}");
        }
        let fine = Resources {
            memory: Some(1 << 20),
            memory_swap: Some(-1),
            cpu_quota: Some(400_000),
            cpuset_cpus: "0,2-3".to_owned(),
            io_weight: Some(0),
            pids: Some(-1),
            ..none
        };
        fine.check(&machine()).unwrap();
        // A kernel that says nothing about itself.
        Resources { memory: Some(1 << 50), ..Resources::default() }.check(&Machine::default()).unwrap();
    }

    #[test]
    fn swap_follows_memory() {
        let mut resources = Resources { memory: Some(100), ..Resources::default() };
        assert_eq!(resources.memory().unwrap().swap(), Some(200));
        resources.memory_swap = Some(150);
        assert_eq!(resources.memory().unwrap().swap(), Some(150));
        resources.update(&Resources { memory: Some(300), ..Resources::default() });
        assert_eq!(resources.memory().unwrap().swap(), Some(600));
        resources.update(&Resources { memory_swap: Some(-1), ..Resources::default() });
        assert_eq!(resources.memory().unwrap().swap(), Some(-1));
        assert_eq!(resources.memory().unwrap().limit(), Some(300));
        assert_eq!(Resources::default().to_spec().unwrap(), None);
    }

    #[test]
    fn only_what_was_asked_for_is_in_the_spec() {
        let resources = Resources { pids: Some(0), cpu_shares: Some(512), ..Resources::default() };
        let spec = serde_json::to_value(resources.to_spec().unwrap()).unwrap();
        assert_eq!(spec, serde_json::json!({"cpu": {"shares": 512}, "pids": {"limit": -1}}));
        let path = PathBuf::from("/dev/null");
        let resources = Resources { read_bytes: BTreeMap::from([(path, 1)]), ..Resources::default() };
        let error = resources.to_spec().unwrap_err();
        assert_eq!(error.to_string(), "/dev/null: not a block device");
    }
}
