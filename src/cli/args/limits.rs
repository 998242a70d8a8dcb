//! Flags of limits that cgroups keep, as `run`, `create`, `update` and `container clone` have them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::go::{parse_f64, parse_i64, parse_u64};
use crate::cli::error::{CommandError, Result};
use crate::container::create::Resources;
use crate::container::create::resources::DEFAULT_PERIOD;
use crate::container::create::size;

/// Limits that cgroups keep.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LimitArgs {
    /// Block IO weight (relative weight) accepts a weight value between 10 and 1000
    #[arg(long, value_name = "string")]
    pub blkio_weight: Option<String>,
    /// Block IO weight (relative device weight, format: `DEVICE_NAME:WEIGHT`)
    #[arg(long, value_name = "DEVICE_NAME:WEIGHT")]
    pub blkio_weight_device: Vec<String>,
    /// Limit the CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "uint", value_parser = parse_u64)]
    pub cpu_period: Option<u64>,
    /// Limit the CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "int", value_parser = parse_i64)]
    pub cpu_quota: Option<i64>,
    /// Limit the CPU real-time period in microseconds
    #[arg(long, value_name = "uint", value_parser = parse_u64)]
    pub cpu_rt_period: Option<u64>,
    /// Limit the CPU real-time runtime in microseconds
    #[arg(long, value_name = "int", value_parser = parse_i64)]
    pub cpu_rt_runtime: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(long, short = 'c', value_name = "uint", value_parser = parse_u64)]
    pub cpu_shares: Option<u64>,
    /// Number of CPUs. The default is 0.000 which means no limit
    #[arg(long, value_name = "float", value_parser = parse_f64)]
    pub cpus: Option<f64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes (MEMs) in which to allow execution (0-3, 0,1). Only effective on NUMA systems
    #[arg(long, value_name = "string")]
    pub cpuset_mems: Option<String>,
    /// Limit read rate (bytes per second) from a device (e.g. --device-read-bps=/dev/sda:1mb)
    #[arg(long, value_name = "stringArray")]
    pub device_read_bps: Vec<String>,
    /// Limit read rate (IO per second) from a device (e.g. --device-read-iops=/dev/sda:1000)
    #[arg(long, value_name = "stringArray")]
    pub device_read_iops: Vec<String>,
    /// Limit write rate (bytes per second) to a device (e.g. --device-write-bps=/dev/sda:1mb)
    #[arg(long, value_name = "stringArray")]
    pub device_write_bps: Vec<String>,
    /// Limit write rate (IO per second) to a device (e.g. --device-write-iops=/dev/sda:1000)
    #[arg(long, value_name = "stringArray")]
    pub device_write_iops: Vec<String>,
    /// Memory limit (format: `<number>[<unit>]`, where unit = b (bytes), k (kibibytes), m (mebibytes), or g (gibibytes))
    #[arg(long, short, value_name = "string")]
    pub memory: Option<String>,
    /// Memory soft limit (format: `<number>[<unit>]`, where unit = b (bytes), k (kibibytes), m (mebibytes), or g (gibibytes))
    #[arg(long, value_name = "string")]
    pub memory_reservation: Option<String>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "string")]
    pub memory_swap: Option<String>,
    /// Tune container memory swappiness (0 to 100, or -1 for system default)
    #[arg(long, value_name = "int", value_parser = parse_i64)]
    pub memory_swappiness: Option<i64>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "int", value_parser = parse_i64)]
    pub pids_limit: Option<i64>,
}

impl LimitArgs {
    /// What the flags ask for, typed.
    ///
    /// # Errors
    /// In podman's words for values that make no sense.
    pub fn resources(&self) -> Result<Resources> {
        if self.cpus.is_some_and(|cpus| cpus != 0.0) {
            for (flag, given) in
                [("--cpu-period", self.cpu_period.is_some()), ("--cpu-quota", self.cpu_quota.is_some())]
            {
                if given {
                    return Err(CommandError::new(format!("{flag} and --cpus cannot be set together")));
                }
            }
        }
        if self.memory_swappiness.is_some_and(|value| value != -1) {
            return Err(CommandError::new("cannot set memory swappiness with cgroup v2"));
        }
        let mut resources = Resources {
            memory: bytes(self.memory.as_deref())?,
            memory_reservation: bytes(self.memory_reservation.as_deref())?,
            memory_swap: match self.memory_swap.as_deref() {
                Some("-1") => Some(-1),
                text => bytes(text)?,
            },
            cpu_shares: self.cpu_shares.filter(|shares| *shares != 0),
            cpu_period: self.cpu_period.filter(|period| *period != 0),
            cpu_quota: self.cpu_quota.filter(|quota| *quota != 0),
            cpuset_cpus: self.cpuset_cpus.clone().unwrap_or_default(),
            cpuset_mems: self.cpuset_mems.clone().unwrap_or_default(),
            pids: self.pids_limit,
            io_weight: self.blkio_weight.as_deref().map(weight).transpose()?.flatten(),
            io_weights: device_weights(&self.blkio_weight_device)?,
            read_bytes: rates(&self.device_read_bps, bytes_a_second)?,
            write_bytes: rates(&self.device_write_bps, bytes_a_second)?,
            read_operations: rates(&self.device_read_iops, operations_a_second)?,
            write_operations: rates(&self.device_write_iops, operations_a_second)?,
            conf: BTreeMap::new(),
        };
        if let Some(limit) = self.pids_limit.filter(|limit| *limit < -1) {
            return Err(CommandError::new(format!(
                "invalid value for pids-limit: {limit}: -1 is for no limit"
            )));
        }
        if let Some(quota) = self.cpu_quota.filter(|quota| *quota < -1) {
            return Err(CommandError::new(format!(
                "invalid value for cpu-quota: {quota}: -1 is for no limit"
            )));
        }
        if let Some(cpus) = self.cpus.filter(|cpus| *cpus != 0.0) {
            if !(cpus >= 0.01 && cpus.is_finite()) {
                return Err(CommandError::new(format!(
                    "invalid value for cpus: {cpus}: it must be 0.01 or more"
                )));
            }
            resources.cpu_period = Some(DEFAULT_PERIOD);
            resources.cpu_quota = Some((cpus * DEFAULT_PERIOD as f64) as i64);
        }
        Ok(resources)
    }

    /// What podman says about flags that cgroup v2 has nothing for.
    #[must_use]
    pub fn warnings(&self) -> Vec<&'static str> {
        let table = [
            (
                "Realtime period not supported on cgroups V2 systems",
                self.cpu_rt_period.is_some_and(|v| v != 0),
            ),
            (
                "Realtime runtime not supported on cgroups V2 systems",
                self.cpu_rt_runtime.is_some_and(|v| v != 0),
            ),
        ];
        table.into_iter().filter(|(_, given)| *given).map(|(text, _)| text).collect()
    }
}

fn bytes(text: Option<&str>) -> Result<Option<i64>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let fail = |why: String| CommandError::new(format!("invalid value for memory: {why}"));
    let bytes = size::binary(text).map_err(fail)?;
    i64::try_from(bytes).map(Some).map_err(|_| fail(format!("invalid size: '{text}'")))
}

fn weight(text: &str) -> Result<Option<u16>> {
    if text.is_empty() {
        return Ok(None);
    }
    let fail = |why| {
        CommandError::new(format!(
            "invalid value for blkio-weight: strconv.ParseUint: parsing {text:?}: {why}"
        ))
    };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let value = text
        .parse::<u16>()
        .map_err(|_| fail(if digits { "value out of range" } else { "invalid syntax" }))?;
    Ok(Some(value).filter(|value| *value != 0))
}

/// `DEVICE:VALUE`.
fn device(entry: &str) -> Result<(PathBuf, &str)> {
    let (path, value) =
        entry.split_once(':').ok_or_else(|| CommandError::new(format!("bad format: {entry}")))?;
    if !path.starts_with("/dev/") {
        return Err(CommandError::new(format!("bad format for device path: {entry}")));
    }
    Ok((PathBuf::from(path), value))
}

fn device_weights(entries: &[String]) -> Result<BTreeMap<PathBuf, u16>> {
    let parse = |entry: &String| {
        let (path, value) = device(entry)?;
        let fail = || CommandError::new(format!("invalid weight for device: {entry}"));
        let weight = value.parse::<u16>().map_err(|_| fail())?;
        if weight != 0 && !(10..=1000).contains(&weight) {
            return Err(fail());
        }
        Ok((path, weight))
    };
    entries.iter().map(parse).collect()
}

fn rates(
    entries: &[String],
    parse: fn(&str) -> std::result::Result<u64, &'static str>,
) -> Result<BTreeMap<PathBuf, u64>> {
    let one = |entry: &String| {
        let (path, value) = device(entry)?;
        let rate = parse(value).map_err(|format| {
            CommandError::new(format!("invalid rate for device: {entry}. The correct format is {format}"))
        })?;
        Ok((path, rate))
    };
    entries.iter().map(one).collect()
}

fn bytes_a_second(text: &str) -> std::result::Result<u64, &'static str> {
    size::binary(text).map_err(|_| {
        "<device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
    })
}

fn operations_a_second(text: &str) -> std::result::Result<u64, &'static str> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u64>().ok().filter(|_| digits);
    number.ok_or("<device-path>:<number>. Number must be a positive integer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[&str]) -> Vec<String> {
        values.iter().map(|&value| value.to_owned()).collect()
    }

    #[test]
    fn flags_become_limits() {
        let args = LimitArgs {
            memory: Some("64m".to_owned()),
            memory_swap: Some("-1".to_owned()),
            cpus: Some(1.5),
            blkio_weight: Some("100".to_owned()),
            blkio_weight_device: texts(&["/dev/sda:200"]),
            device_read_bps: texts(&["/dev/sda:1mb"]),
            device_write_iops: texts(&["/dev/sda:10"]),
            pids_limit: Some(-1),
            ..LimitArgs::default()
        };
        let found = args.resources().unwrap();
        assert_eq!((found.memory, found.memory_swap), (Some(64 << 20), Some(-1)));
        assert_eq!((found.cpu_period, found.cpu_quota), (Some(100_000), Some(150_000)));
        assert_eq!(found.io_weight, Some(100));
        assert_eq!(found.read_bytes[&PathBuf::from("/dev/sda")], 1 << 20);
        assert_eq!(found.write_operations[&PathBuf::from("/dev/sda")], 10);
        assert_eq!(found.pids, Some(-1));
        assert_eq!(LimitArgs::default().resources().unwrap(), Resources::default());
        let nothing = LimitArgs {
            memory: Some("0".to_owned()),
            cpus: Some(0.0),
            cpu_period: Some(5000),
            memory_swappiness: Some(-1),
            ..LimitArgs::default()
        };
        assert_eq!(nothing.resources().unwrap().memory, Some(0));
    }

    #[test]
    fn bad_values_are_refused() {
        let none = LimitArgs::default();
        let bad = [
            (LimitArgs { memory: Some("x".to_owned()), ..none.clone() }, "invalid value for memory"),
            (LimitArgs { memory: Some("-5m".to_owned()), ..none.clone() }, "invalid value for memory"),
            (LimitArgs { memory: Some("9e".to_owned()), ..none.clone() }, "invalid value for memory"),
            (LimitArgs { memory: Some("8589934592g".to_owned()), ..none.clone() }, "invalid size"),
            (LimitArgs { memory_swap: Some("-2".to_owned()), ..none.clone() }, "invalid value for memory"),
            (LimitArgs { memory_swappiness: Some(50), ..none.clone() }, "swappiness"),
            (LimitArgs { cpus: Some(-1.0), ..none.clone() }, "invalid value for cpus"),
            (LimitArgs { cpus: Some(f64::NAN), ..none.clone() }, "invalid value for cpus"),
            (LimitArgs { cpus: Some(1.0), cpu_quota: Some(1), ..none.clone() }, "cannot be set together"),
            (LimitArgs { pids_limit: Some(-2), ..none.clone() }, "invalid value for pids-limit"),
            (LimitArgs { cpu_quota: Some(-5), ..none.clone() }, "invalid value for cpu-quota"),
            (LimitArgs { blkio_weight: Some("-1".to_owned()), ..none.clone() }, "invalid syntax"),
            (LimitArgs { blkio_weight: Some("70000".to_owned()), ..none.clone() }, "out of range"),
            (LimitArgs { blkio_weight_device: texts(&["/dev/sda:5"]), ..none.clone() }, "invalid weight"),
            (
                LimitArgs { blkio_weight_device: texts(&["sda:50"]), ..none.clone() },
                "bad format for device path",
            ),
            (LimitArgs { device_read_bps: texts(&["/dev/sda"]), ..none.clone() }, "bad format"),
            (LimitArgs { device_read_bps: texts(&["/dev/sda:-1"]), ..none.clone() }, "invalid rate"),
            (LimitArgs { device_write_iops: texts(&["/dev/sda:+1"]), ..none.clone() }, "invalid rate"),
        ];
        for (args, words) in bad {
            let error = args.resources().unwrap_err();
            assert!(error.message().contains(words), "{}", error.message());
        }
    }
}
