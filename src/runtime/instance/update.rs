//! Changing the limits of a container that exists.
//!
//! What is asked for may be a part only: files of version 2 that hold two values of a spec, or one that is counted from
//! another, get the missing part from the cgroup as it is.

use std::fs;
use std::path::Path;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::Instances;
use super::error::{Error, Result};
use super::record::Status;
use crate::runtime::cgroup;

impl Instances {
    /// Changes limits of a container: all that `asked` names, or none of them. Rules for devices are left alone, as
    /// runc does: engines send those that they began with.
    ///
    /// # Errors
    /// When it has stopped, a limit makes no sense, or nothing here can keep it.
    pub fn update(&self, id: &str, asked: &LinuxResources) -> Result<()> {
        let record = self.load(id)?;
        self.expect(&record, "update", |status| status != Status::Stopped)?;
        let mut asked = asked.clone();
        if let Some(directory) = &record.cgroup {
            complete(&mut asked, directory);
        }
        let mut settings = cgroup::settings(&asked)?;
        // What asks for no limit needs nobody who keeps it.
        let kept = |file: &str| record.cgroup.as_ref().is_some_and(|directory| directory.join(file).exists());
        settings.retain(|(file, value)| value != "max" || kept(file));
        let Some((first, _)) = settings.first() else { return Ok(()) };
        let directory = record.cgroup.as_ref().ok_or_else(|| cgroup::none(first))?;
        if asked.memory().is_some_and(|memory| memory.check_before_update() == Some(true)) {
            check_usage(id, &settings, directory)?;
        }
        Ok(cgroup::change(directory, &settings)?)
    }
}

/// Adds what is not named and belongs to what is.
fn complete(asked: &mut LinuxResources, directory: &Path) {
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
    if let Some(cpu) = asked.cpu_mut() {
        complete_cpu(cpu, &read("cpu.max"));
    }
    if let Some(memory) = asked.memory_mut() {
        complete_memory(memory, &read("memory.max"));
    }
}

/// `now` is the quota and the period.
fn complete_cpu(cpu: &mut LinuxCpu, now: &str) {
    let Some((quota, period)) = now.trim().split_once(' ') else { return };
    match (cpu.quota(), cpu.period()) {
        (Some(_), None) => drop(cpu.set_period(period.parse().ok())),
        (None, Some(_)) => drop(cpu.set_quota(quota.parse().ok())),
        _ => {}
    }
}

/// `now` is the limit.
fn complete_memory(memory: &mut LinuxMemory, now: &str) {
    match (memory.limit().filter(|limit| *limit != 0), memory.swap().filter(|swap| *swap != 0)) {
        // Version 1 counted both together, so engines mean both.
        (Some(..0), None) => drop(memory.set_swap(Some(-1))),
        (None, Some(1..)) => drop(memory.set_limit(now.trim().parse().ok())),
        _ => {}
    }
}

/// The kernel would kill processes until the rest fits.
fn check_usage(id: &str, settings: &[(String, String)], directory: &Path) -> Result<()> {
    let limit =
        settings.iter().find(|(file, _)| file == "memory.max").and_then(|(_, v)| v.parse::<u64>().ok());
    let used = fs::read_to_string(directory.join("memory.current")).ok();
    let used = used.and_then(|text| text.trim().parse::<u64>().ok());
    match (limit, used) {
        (Some(limit), Some(used)) if limit < used => Err(Error::InUse { id: id.to_owned(), limit, used }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_together_is_completed() {
        let cases = [
            (r#"{"cpu":{"quota":20000}}"#, "50000 50000", "", vec![("cpu.max", "20000 50000")]),
            (r#"{"cpu":{"period":40000}}"#, "20000 50000", "", vec![("cpu.max", "20000 40000")]),
            (r#"{"cpu":{"period":40000}}"#, "max 100000", "", vec![("cpu.max", "max 40000")]),
            (r#"{"cpu":{"quota":-1}}"#, "20000 50000", "", vec![("cpu.max", "max 50000")]),
            (r#"{"cpu":{"shares":1024}}"#, "20000 50000", "", vec![("cpu.weight", "100")]),
            (
                r#"{"memory":{"swap":3000}}"#,
                "",
                "1000",
                vec![("memory.max", "1000"), ("memory.swap.max", "2000")],
            ),
            (
                r#"{"memory":{"limit":-1}}"#,
                "",
                "1000",
                vec![("memory.max", "max"), ("memory.swap.max", "max")],
            ),
            (r#"{"memory":{"limit":2000}}"#, "", "1000", vec![("memory.max", "2000")]),
            (r#"{"memory":{"limit":0,"swap":0},"pids":{"limit":0},"cpu":{"shares":0}}"#, "", "1000", vec![]),
        ];
        for (text, cpu, memory, expected) in cases {
            let mut asked: LinuxResources = serde_json::from_str(text).unwrap();
            if let Some(part) = asked.cpu_mut() {
                complete_cpu(part, cpu);
            }
            if let Some(part) = asked.memory_mut() {
                complete_memory(part, memory);
            }
            let found = cgroup::settings(&asked).unwrap();
            let found: Vec<_> = found.iter().map(|(file, value)| (file.as_str(), value.as_str())).collect();
            assert_eq!(found, expected, "{text}");
        }
        for (text, now) in [(r#"{"memory":{"swap":3000}}"#, "max"), (r#"{"memory":{"swap":3000}}"#, "4000")] {
            let mut asked: LinuxResources = serde_json::from_str(text).unwrap();
            complete_memory(asked.memory_mut().as_mut().unwrap(), now);
            assert!(cgroup::settings(&asked).is_err(), "{text} {now}");
        }
    }
}
