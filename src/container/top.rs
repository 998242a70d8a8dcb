//! The processes of a running container, read from the host's `/proc`.
//!
//! No program of the image is run for it (a trojan `ps` would run with the rights of the user), and none of the
//! host is moved into the container. The names of users come from the container's files, as data.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Containers, Error, Record, Result, Status};
use crate::kernel::path::RootDir;

/// The longest passwd or group file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Clock ticks a second in `/proc/PID/stat`: fixed for programs since Linux 2.6.
const TICKS: u64 = 100;

/// A process.
#[derive(Debug, Clone, Default)]
pub struct ProcessView {
    /// Id on the host.
    pub host_pid: i32,
    /// Id in the container.
    pub pid: i32,
    /// Id of its parent in the container; 0 for none.
    pub ppid: i32,
    /// Its process group in the container.
    pub pgid: i32,
    /// Program name, at most 15 bytes.
    pub comm: String,
    /// Command line.
    pub args: String,
    /// One letter.
    pub state: char,
    /// Nice value.
    pub nice: i64,
    /// Controlling terminal, such as `pts/0`.
    pub tty: Option<String>,
    /// Processor time.
    pub time: Duration,
    /// Time since its start.
    pub elapsed: Duration,
    /// Virtual memory in KiB.
    pub vsz: u64,
    /// Resident memory in KiB.
    pub rss: u64,
    /// Real and effective user id on the host.
    pub uid: (u32, u32),
    /// Real and effective group id on the host.
    pub gid: (u32, u32),
    /// Supplementary groups on the host.
    pub groups: Vec<u32>,
    /// Capability sets: inheritable, permitted, effective, bounding, ambient.
    pub capabilities: [u64; 5],
    /// 0: none, 1: strict, 2: filter.
    pub seccomp: u32,
}

/// The names of a container's users and groups, by ids of the host.
#[derive(Debug, Default)]
pub struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
    uid_map: Vec<[u32; 3]>,
    gid_map: Vec<[u32; 3]>,
}

impl Names {
    /// The name of a user, or her number in the container.
    #[must_use]
    pub fn user(&self, host: u32) -> String {
        name(&self.users, &self.uid_map, host)
    }

    /// The name of a group, or its number in the container.
    #[must_use]
    pub fn group(&self, host: u32) -> String {
        name(&self.groups, &self.gid_map, host)
    }
}

fn name(names: &HashMap<u32, String>, map: &[[u32; 3]], host: u32) -> String {
    let line = map.iter().find(|[_, outside, count]| host >= *outside && host - outside < *count);
    let Some([inside, outside, _]) = line else { return host.to_string() };
    let id = inside + (host - outside);
    names.get(&id).cloned().unwrap_or_else(|| id.to_string())
}

impl Containers {
    /// The processes of a container, and the names of its users.
    ///
    /// # Errors
    /// When it does not run.
    pub fn top(&self, record: &Record) -> Result<(Vec<ProcessView>, Names)> {
        let runs = |status| matches!(status, Status::Running | Status::Stopping | Status::Paused);
        let refused = || Error::Invalid { what: "top can only be used on running containers".to_owned() };
        let init = match self.first_process(record, runs, "") {
            Ok((pid, _, _)) => pid.as_raw_nonzero().get(),
            Err(Error::WrongState { .. }) => return Err(refused()),
            Err(error) => return Err(error),
        };
        let mut processes = Vec::new();
        for pid in members(init) {
            // Whatever has just ended is left out.
            processes.extend(view(pid));
        }
        let inside: HashMap<i32, i32> = processes.iter().map(|p: &ProcessView| (p.host_pid, p.pid)).collect();
        for process in &mut processes {
            process.ppid = inside.get(&process.ppid).copied().unwrap_or(0);
        }
        processes.sort_by_key(|process| process.pid);
        Ok((processes, names(init)))
    }
}

/// The host pids of a container's processes: those in its pid namespace, or without one of its own, what
/// descends from its first process.
pub(super) fn members(init: i32) -> Vec<i32> {
    let namespace = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/pid")).map(|m| (m.dev(), m.ino())).ok();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let theirs = namespace(&init.to_string());
    if theirs.is_some() && theirs != namespace("self") {
        return pids.filter(|pid| namespace(&pid.to_string()) == theirs).collect();
    }
    let parents: Vec<(i32, i32)> = pids.filter_map(|pid| Some((pid, Stat::read(pid)?.ppid))).collect();
    let mut found = vec![init];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

/// The fields of `/proc/PID/stat` that are shown.
pub(super) struct Stat {
    comm: String,
    state: char,
    ppid: i32,
    tty: u32,
    pub(super) ticks: u64,
    /// Of children that have ended.
    pub(super) ticks_of_children: u64,
    nice: i64,
    start: u64,
}

impl Stat {
    pub(super) fn read(pid: i32) -> Option<Self> {
        let text = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?).into_owned();
        let (before, after) = text.rsplit_once(')')?;
        let comm = before.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = after.split_whitespace().collect();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<i64>().ok());
        let unsigned = |index: usize| number(index).and_then(|number| u64::try_from(number).ok());
        Some(Self {
            comm,
            state: fields.first()?.chars().next()?,
            ppid: i32::try_from(number(1)?).ok()?,
            tty: u32::try_from(number(4)?).unwrap_or(0),
            ticks: unsigned(11)? + unsigned(12)?,
            ticks_of_children: unsigned(13).unwrap_or(0) + unsigned(14).unwrap_or(0),
            nice: number(16)?,
            start: unsigned(19)?,
        })
    }
}

fn view(pid: i32) -> Option<ProcessView> {
    let stat = Stat::read(pid)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let values = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<String>>()
    };
    let ids = |key: &str| -> Vec<u32> { values(key).iter().filter_map(|id| id.parse().ok()).collect() };
    let innermost = |key: &str| values(key).last().and_then(|id| id.parse::<i32>().ok()).unwrap_or(pid);
    let set = |key: &str| values(key).first().and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or(0);
    let kib = |key: &str| values(key).first().and_then(|size| size.parse().ok()).unwrap_or(0);
    let (uid, gid) = (ids("Uid"), ids("Gid"));
    let pair = |ids: &[u32]| (ids.first().copied().unwrap_or(0), ids.get(1).copied().unwrap_or(0));
    Some(ProcessView {
        host_pid: pid,
        pid: innermost("NSpid"),
        ppid: stat.ppid,
        pgid: innermost("NSpgid"),
        args: command_line(pid).unwrap_or_else(|| format!("[{}]", stat.comm)),
        comm: stat.comm,
        state: stat.state,
        nice: stat.nice,
        tty: terminal(stat.tty),
        time: Duration::from_millis(stat.ticks * 1000 / TICKS),
        elapsed: uptime().saturating_sub(Duration::from_millis(stat.start * 1000 / TICKS)),
        vsz: kib("VmSize"),
        rss: kib("VmRSS"),
        uid: pair(&uid),
        gid: pair(&gid),
        groups: ids("Groups"),
        capabilities: ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(set),
        seccomp: values("Seccomp").first().and_then(|mode| mode.parse().ok()).unwrap_or(0),
    })
}

fn command_line(pid: i32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = bytes.split(|&b| b == 0).map(String::from_utf8_lossy).collect();
    let text = words.join(" ").trim_end().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The terminal behind a device number: the majors 136 to 143 are pseudo terminals.
fn terminal(device: u32) -> Option<String> {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match major {
        136..=143 => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        4 if device != 0 => Some(format!("tty{minor}")),
        _ => None,
    }
}

fn uptime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Reads names through the root of the first process; an image without these files has none.
fn names(init: i32) -> Names {
    let root = PathBuf::from(format!("/proc/{init}/root"));
    let table = |file: &str| {
        let text = RootDir::open(&root).ok()?.read_limited(Path::new(file), MAX_FILE).ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut table = HashMap::new();
        for line in text.lines() {
            let mut fields = line.split(':');
            if let (Some(name), Some(Ok(id))) = (fields.next(), fields.nth(1).map(str::parse)) {
                table.entry(id).or_insert_with(|| name.to_owned());
            }
        }
        Some(table)
    };
    let map = |file: &str| {
        let text = fs::read_to_string(format!("/proc/{init}/{file}")).unwrap_or_default();
        let line = |line: &str| {
            let numbers: Vec<u32> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
            <[u32; 3]>::try_from(numbers).ok()
        };
        text.lines().filter_map(line).collect()
    };
    Names {
        users: table("etc/passwd").unwrap_or_default(),
        groups: table("etc/group").unwrap_or_default(),
        uid_map: map("uid_map"),
        gid_map: map("gid_map"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_have_names() {
        for (device, name) in
            [(0, None), (0x8800, Some("pts/0")), (0x8805, Some("pts/5")), (0x8901, Some("pts/257"))]
        {
            assert_eq!(terminal(device).as_deref(), name);
        }
    }

    #[test]
    fn ids_go_through_the_map() {
        let names = Names {
            users: HashMap::from([(0, "root".to_owned())]),
            uid_map: vec![[0, 1001, 1], [1, 100_000, 10]],
            ..Names::default()
        };
        for (host, name) in [(1001, "root"), (100_004, "5"), (7, "7")] {
            assert_eq!(names.user(host), name);
        }
    }

    #[test]
    fn this_process_can_be_read() {
        let own = view(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.pid > 0 && own.vsz > 0 && !own.args.is_empty());
    }
}
