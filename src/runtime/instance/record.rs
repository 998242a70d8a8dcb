//! The record of a container, `state.json`.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::hooks;
use super::super::plan::{Agent, Hook, Identity, Membership, Plan, RootSource};
use crate::kernel::process::{self, Pid};
use crate::kernel::{self};
use crate::runtime;

const VERSION: u32 = 1;

/// The record of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// Its id.
    pub id: String,
    /// Its bundle directory.
    pub bundle: PathBuf,
    /// Its root directory, where it is one.
    pub rootfs: PathBuf,
    /// Its first process.
    pub pid: i32,
    start_time: u64,
    boot_id: String,
    /// When it was created, RFC 3339.
    pub created: String,
    /// The user who created it.
    pub uid: u32,
    /// The spec's annotations.
    pub annotations: BTreeMap<String, String>,
    /// The directory of its cgroup.
    pub cgroup: Option<PathBuf>,
    /// Whether all its processes end with the first one.
    pub own_pid_namespace: bool,
    /// Who decides about calls of the first process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) agent: Option<Agent>,
    post_start: Vec<Hook>,
    post_stop: Vec<Hook>,
}

/// The states of the runtime spec, and `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Made, its program not started.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl Record {
    /// The record of a container that has just been created.
    ///
    /// # Errors
    /// When its process is gone already.
    pub fn new(plan: &Plan, pid: Pid, cgroup: Option<PathBuf>, created: String) -> kernel::Result<Self> {
        Ok(Self {
            version: VERSION,
            id: plan.identity.id.clone(),
            bundle: plan.identity.bundle.clone(),
            rootfs: match &plan.root {
                RootSource::Bind(path) => path.clone(),
                RootSource::Overlay(_) => PathBuf::new(),
            },
            pid: pid.as_raw_nonzero().get(),
            start_time: process::start_time(pid)?,
            boot_id: process::boot_id()?,
            created,
            uid: rustix::process::getuid().as_raw(),
            annotations: plan.identity.annotations.iter().cloned().collect(),
            cgroup,
            own_pid_namespace: plan.namespaces.pid == Membership::New,
            agent: plan.process.agent().cloned(),
            post_start: plan.hooks.post_start.clone(),
            post_stop: plan.hooks.post_stop.clone(),
        })
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let found: Version = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if found.version > VERSION {
            return Err(format!("it was written by a newer rbox (version {})", found.version));
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record holds nothing that JSON cannot say")
    }

    /// A handle to the first process, if it is still the one of the record and no zombie.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn open(&self) -> kernel::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        if process::boot_id()? != self.boot_id {
            return Ok(None);
        }
        let pidfd = match process::pidfd_open(pid) {
            Ok(pidfd) => pidfd,
            Err(error) if error.errno() == Some(libc::ESRCH) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Looked at while the handle pins the pid: what is found belongs to it.
        let same = process::start_time(pid).is_ok_and(|time| time == self.start_time);
        Ok((same && !is_zombie(pid)).then_some(pidfd))
    }

    /// Whether the first process is alive.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn is_alive(&self) -> kernel::Result<bool> {
        Ok(self.open()?.is_some())
    }

    /// What others are told about the container.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            id: self.id.clone(),
            bundle: self.bundle.clone(),
            annotations: self.annotations.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }

    pub(super) fn run_post_start(&self) -> runtime::Result<()> {
        hooks::run("poststart", &self.post_start, &self.identity(), "running", self.pid as u32)
    }

    /// All are run, whatever fails; what has failed is returned.
    pub(super) fn run_post_stop(&self) -> Vec<String> {
        hooks::run_post_stop(&self.post_stop, &self.identity())
    }
}

fn is_zombie(pid: Pid) -> bool {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let state = fs::read_to_string(path).ok().and_then(|stat| {
        let (_, rest) = stat.rsplit_once(')')?;
        rest.trim_start().chars().next()
    });
    matches!(state, None | Some('Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::spec_for_tests;

    #[test]
    fn a_record_knows_its_process_and_survives_its_file() {
        let plan = spec_for_tests();
        let own = rustix::process::getpid();
        let record = Record::new(&plan, own, None, "2026-01-01T00:00:00Z".into()).unwrap();
        assert!(record.is_alive().unwrap());
        let read = Record::parse(&record.to_json()).unwrap();
        assert_eq!(read, record);
        let reused = Record { start_time: record.start_time + 1, ..read.clone() };
        assert!(!reused.is_alive().unwrap(), "a pid that was used again");
        let rebooted = Record { boot_id: "another".into(), ..read };
        assert!(!rebooted.is_alive().unwrap(), "another boot");
    }

    #[test]
    fn newer_records_are_refused() {
        assert!(Record::parse(br#"{"version": 2}"#).unwrap_err().contains("newer"));
        assert!(Record::parse(b"{}").is_err());
        assert!(Record::parse(b"\0\0\0").is_err());
    }
}
