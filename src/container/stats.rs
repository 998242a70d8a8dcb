//! What a running container uses: from its cgroup where the controllers are there, else from its processes.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;

use super::top::{Stat, members};
use super::{Containers, Record, Result, State, Status};

/// What a container uses at a moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// When this was measured.
    pub at: Timestamp,
    /// When it was started.
    pub started: Timestamp,
    /// Processor time since the start.
    pub cpu: Duration,
    /// Bytes of memory.
    pub memory: u64,
    /// The most that it may have, or the machine has.
    pub memory_limit: u64,
    /// Processes (threads, where the cgroup counts).
    pub processes: u64,
    /// Bytes received by network interfaces but the loopback.
    pub received: u64,
    /// Bytes sent by them.
    pub sent: u64,
    /// Bytes read from devices.
    pub read: u64,
    /// Bytes written to them.
    pub written: u64,
}

impl Usage {
    /// The share of one processor since `before`, or since the start: 100 is a whole one.
    #[must_use]
    pub fn cpu_percent(&self, before: Option<&Self>) -> f64 {
        let (from, used) = match before.filter(|before| before.started == self.started) {
            Some(before) => (before.at, self.cpu.saturating_sub(before.cpu)),
            None => (self.started, self.cpu),
        };
        let passed = self.at.duration_since(from).as_secs_f64();
        if passed > 0.0 { used.as_secs_f64() / passed * 100.0 } else { 0.0 }
    }

    /// The share of the memory that it may have.
    #[must_use]
    pub fn memory_percent(&self) -> f64 {
        if self.memory_limit == 0 { 0.0 } else { self.memory as f64 / self.memory_limit as f64 * 100.0 }
    }
}

impl Containers {
    /// What a container uses now; zeros for one that does not run.
    ///
    /// # Errors
    /// When its state cannot be read.
    pub fn usage(&self, record: &Record) -> Result<Usage> {
        let state = self.state(&record.id)?;
        let mut usage = Usage { at: Timestamp::now(), memory_limit: machine_memory(), ..Usage::default() };
        let Some(init) = running(&state) else { return Ok(usage) };
        let stored = state.stored.as_ref();
        usage.started = stored.and_then(|stored| stored.started).map_or(usage.at, |started| started.0);
        of_processes(&members(init), &mut usage);
        of_cgroup(stored.map_or("", |stored| stored.cgroup.as_str()), &mut usage);
        // With the host's network the numbers would be the host's.
        if record.network.mode != "host" {
            (usage.received, usage.sent) =
                network(&fs::read_to_string(format!("/proc/{init}/net/dev")).unwrap_or_default());
        }
        Ok(usage)
    }
}

fn running(state: &State) -> Option<i32> {
    matches!(state.status, Status::Running | Status::Paused | Status::Stopping).then(|| state.pid()).flatten()
}

/// The unit of processor times in `/proc`: every architecture shows hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// Sums up processes. What they have in common is counted once: pages of files belong to none of them.
fn of_processes(pids: &[i32], usage: &mut Usage) {
    for pid in pids {
        // Whatever has just ended is left out.
        let Some(stat) = Stat::read(*pid) else { continue };
        usage.processes += 1;
        let ticks = stat.ticks + stat.ticks_of_children;
        usage.cpu += TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX));
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        usage.memory += (number(&status, "RssAnon:") + number(&status, "RssShmem:")) * 1024;
        // Only the owner of the container may read it.
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        usage.read += number(&io, "read_bytes:");
        usage.written += number(&io, "write_bytes:");
    }
}

/// What the controllers count, as far as they are there, replaces the sums.
fn of_cgroup(dir: &str, usage: &mut Usage) {
    if dir.is_empty() {
        return;
    }
    let file = |name: &str| fs::read_to_string(format!("{dir}/{name}")).ok();
    // The processor time is counted without any controller, and that of ended processes is in it.
    if let Some(text) = file("cpu.stat") {
        usage.cpu = Duration::from_micros(number(&text, "usage_usec"));
    }
    if let Some(bytes) = file("memory.current").and_then(|text| text.trim().parse().ok()) {
        usage.memory = bytes;
    }
    if let Some(limit) = file("memory.max").and_then(|text| text.trim().parse::<u64>().ok()) {
        usage.memory_limit = usage.memory_limit.min(limit);
    }
    if let Some(count) = file("pids.current").and_then(|text| text.trim().parse().ok()) {
        usage.processes = count;
    }
    if let Some(text) = file("io.stat") {
        let sum = |key: &str| -> u64 {
            text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok()).sum()
        };
        (usage.read, usage.written) = (sum("rbytes="), sum("wbytes="));
    }
}

/// The number after a key at the beginning of a line.
fn number(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Bytes received and sent, from `/proc/PID/net/dev`.
fn network(text: &str) -> (u64, u64) {
    let mut sum = (0, 0);
    for (name, counts) in text.lines().filter_map(|line| line.split_once(':')) {
        let counts: Vec<u64> = counts.split_whitespace().filter_map(|count| count.parse().ok()).collect();
        if name.trim() != "lo"
            && let (Some(received), Some(sent)) = (counts.first(), counts.get(8))
        {
            sum = (sum.0 + received, sum.1 + sent);
        }
    }
    sum
}

fn machine_memory() -> u64 {
    number(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:") * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 5 0 0 0 0 0 0 0 5 0 0 0 0 0 0 0\n  \
                    eth0: 100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0\n  eth1: 1 1 0 0 0 0 0 0 2 2 0 0 0 0 0 0\n";
        assert_eq!(network(text), (101, 202));
        assert_eq!(number("RssAnon:\t  12 kB\nRssShmem:\t 3 kB\n", "RssShmem:"), 3);
        assert_eq!(number("x 1", "y"), 0);
    }

    #[test]
    fn shares_are_of_the_time_that_passed() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let first = Usage { at: at(10), started: at(0), cpu: Duration::from_secs(5), ..Usage::default() };
        let second = Usage { at: at(12), cpu: Duration::from_secs(7), ..first.clone() };
        assert!((first.cpu_percent(None) - 50.0).abs() < 0.01);
        assert!((second.cpu_percent(Some(&first)) - 100.0).abs() < 0.01);
        // Another run of the container.
        let other = Usage { started: at(11), cpu: Duration::ZERO, ..second };
        assert!(other.cpu_percent(Some(&first)).abs() < 0.01);
        assert!(Usage::default().memory_percent().abs() < 0.01);
    }
}
