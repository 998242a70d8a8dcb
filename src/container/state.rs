//! The state of a container: what its monitor wrote, judged against the kernel at each reading.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use super::{Result, Time, cgroup};
use crate::kernel::file::{self, Durability};
use crate::kernel::process::{self, Pid};
use crate::network;

/// The version of `state.json` that this rbox writes.
pub const VERSION: u32 = 1;

/// What a container is doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It has never run.
    Created,
    /// Namespaces and mounts exist, the process waits.
    Initialized,
    /// The first process runs.
    Running,
    /// Its cgroup is frozen.
    Paused,
    /// A stop was asked for and the process has not ended yet.
    Stopping,
    /// The process has ended, the monitor has not written its exit yet.
    Stopped,
    /// It has run and ended.
    Exited,
    /// It is being removed.
    Removing,
    /// Its files cannot be understood.
    Unknown,
}

impl Status {
    /// The word that podman uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Initialized => "initialized",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a process of the container exists.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Initialized | Self::Running | Self::Paused | Self::Stopping)
    }
}

/// A process that cannot be confused with a later one of the same number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessRef {
    /// Process id in the initial namespace of the caller.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

/// `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// Version of the format.
    pub version: u32,
    /// The boot in which this was written.
    pub boot_id: String,
    /// How far the monitor came.
    pub phase: Phase,
    /// The container's first process.
    #[serde(default)]
    pub init: ProcessRef,
    /// The monitor.
    #[serde(default)]
    pub monitor: ProcessRef,
    /// When the first process was started last.
    #[serde(default)]
    pub started: Option<Time>,
    /// When it ended last.
    #[serde(default)]
    pub finished: Option<Time>,
    /// The last exit code, 128+n for a signal.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// The kernel killed it for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// When it was written to disk; nothing once it was started or restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpointed: Option<Time>,
    /// When this run was restored from a checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Time>,
    /// Why it ended or did not start.
    #[serde(default)]
    pub error: String,
    /// How often the restart policy started it again.
    #[serde(default)]
    pub restarts: u32,
    /// The directory of its cgroup, or empty where it has none of its own.
    #[serde(default)]
    pub cgroup: String,
    /// How it is connected.
    #[serde(default)]
    pub network: Option<network::Status>,
    /// Processes that serve its file systems.
    #[serde(default)]
    pub helpers: Vec<ProcessRef>,
}

/// How far the monitor came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Namespaces and mounts are there, the process is not executed yet.
    Initialized,
    /// The process runs.
    Running,
    /// The process ended.
    Exited,
    /// Between two runs, by the restart policy.
    Restarting,
}

/// A container's state as of this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// What it is doing.
    pub status: Status,
    /// What the monitor wrote, if it ever ran.
    pub stored: Option<Stored>,
    /// Where it is written that the user asked for the stop.
    pub(super) dir: PathBuf,
}

impl State {
    /// That of a container whose files cannot be understood.
    pub(super) fn unknown(dir: PathBuf) -> Self {
        Self { status: Status::Unknown, stored: None, dir }
    }

    /// Whether the user asked for the stop.
    #[must_use]
    pub fn stopped_by_user(&self) -> bool {
        StopMark::read(&self.dir).is_some()
    }

    /// The first process, while there is one.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        let alive = self.status.is_alive();
        self.stored.as_ref().filter(|_| alive).map(|s| s.init.pid)
    }

    /// Whether what stood beside a container that has ended is cleared up.
    #[must_use]
    pub(super) fn is_buried(&self) -> bool {
        self.stored.as_ref().is_none_or(|stored| stored.phase == Phase::Exited)
    }

    /// Whether it was written since the machine was started.
    pub(super) fn is_of_this_boot(&self) -> bool {
        let this = process::boot_id();
        self.stored.as_ref().is_some_and(|stored| this.is_ok_and(|this| stored.boot_id == this))
    }

    /// The last exit code: 0 before any run, -1 where it is not known.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        self.stored
            .as_ref()
            .map_or(0, |s| s.exit_code.unwrap_or(if self.status == Status::Exited { -1 } else { 0 }))
    }
}

impl ProcessRef {
    /// Whether this very process exists and is no zombie. One that cannot be looked at now (no free descriptor)
    /// counts as alive: whoever takes a living one for dead waits for it for ever, or starts it twice.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.look().unwrap_or(true)
    }

    fn look(&self) -> Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.pid > 0) else { return Ok(false) };
        match process::stat(pid) {
            Ok(found) => Ok(found.start_time == self.start_time && !matches!(found.state, b'Z' | b'X')),
            Err(e) if matches!(e.errno(), Some(libc::ENOENT | libc::ESRCH)) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

impl ProcessRef {
    /// This process.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn current() -> Result<Self> {
        Self::of(rustix::process::getpid())
    }

    /// The process `pid`, which must exist.
    ///
    /// # Errors
    /// When it does not, or `/proc` cannot be read.
    pub fn of(pid: Pid) -> Result<Self> {
        Ok(Self { pid: pid.as_raw_nonzero().get(), start_time: process::start_time(pid)? })
    }

    /// Opens a handle to this very process, `None` if it is gone.
    ///
    /// # Errors
    /// When the kernel refuses for another reason.
    pub fn open(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        match process::pidfd_open(pid) {
            // Checked after the handle is open: from then on the number cannot change hands unnoticed.
            Ok(pidfd) => Ok(self.look()?.then_some(pidfd)),
            Err(e) if e.errno() == Some(libc::ESRCH) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

impl Stored {
    /// What is known of an end that nobody saw: not the exit code.
    fn end_unseen(&mut self) -> Result<()> {
        self.exit_code = None;
        self.error = if self.boot_id == process::boot_id()? {
            "the container's monitor ended before the container; the exit code is not known".to_owned()
        } else {
            "the machine was restarted while the container ran".to_owned()
        };
        Ok(())
    }

    /// The state of a container whose first process was just made by this very process.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn begin(init: Pid) -> Result<Self> {
        Ok(Self {
            init: ProcessRef::of(init)?,
            monitor: ProcessRef::current()?,
            started: Some(Time::now()),
            ..Self::of_phase(Phase::Running)?
        })
    }

    /// The state of a container that came from elsewhere, with its checkpoint.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn adopted() -> Result<Self> {
        let now = Some(Time::now());
        Ok(Self { finished: now, exit_code: Some(0), checkpointed: now, ..Self::of_phase(Phase::Exited)? })
    }

    /// A phase in this boot, and nothing else.
    fn of_phase(phase: Phase) -> Result<Self> {
        Ok(Self {
            version: VERSION,
            boot_id: process::boot_id()?,
            phase,
            init: ProcessRef::default(),
            monitor: ProcessRef::default(),
            started: None,
            finished: None,
            exit_code: None,
            oom_killed: false,
            checkpointed: None,
            restored: None,
            error: String::new(),
            restarts: 0,
            cgroup: String::new(),
            network: None,
            helpers: Vec::new(),
        })
    }

    /// Writes the state into the container's directory. It is not synced: after a power
    /// cut nothing runs, whatever is written.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).expect("a state has only strings as keys");
        let mode = Mode::RUSR | Mode::WUSR;
        match file::write_atomic(dir, OsStr::new("state.json"), &bytes, mode, Durability::None) {
            // The block of the old text holds the new one as well: an end must be noted on a full disk too.
            Err(e) if matches!(e.errno(), Some(libc::ENOSPC | libc::EDQUOT)) => {
                Ok(file::overwrite_text(&dir.join("state.json"), &bytes)?)
            }
            written => Ok(written?),
        }
    }
}

/// Judges what is stored in `dir` against the kernel.
pub(super) fn judge(dir: PathBuf, stored: Option<Stored>) -> Result<State> {
    let Some(mut stored) = stored else {
        return Ok(State { status: Status::Created, stored, dir });
    };
    let status = match stored.phase {
        Phase::Exited => Status::Exited,
        Phase::Initialized if stored.started.is_none() && stored.boot_id != process::boot_id()? => {
            Status::Created
        }
        _ if stored.boot_id != process::boot_id()? => Status::Exited,
        phase if phase != Phase::Restarting && stored.init.is_alive() => {
            if cgroup::is_frozen(&stored.cgroup) {
                Status::Paused
            } else if StopMark::read(&dir).is_some_and(|mark| mark.by.is_alive()) {
                // A stop that was killed leaves a running container, not one that is "stopping" for ever.
                Status::Stopping
            } else if phase == Phase::Initialized {
                Status::Initialized
            } else {
                Status::Running
            }
        }
        _ if stored.monitor.is_alive() => Status::Stopped,
        // Made and never started: nothing has happened.
        Phase::Initialized if stored.started.is_none() => Status::Created,
        _ => Status::Exited,
    };
    if status == Status::Exited && stored.phase != Phase::Exited {
        stored.end_unseen()?;
    }
    Ok(State { status, stored: Some(stored), dir })
}

/// The file that says that a user asked for the stop: a [`StopMark`].
pub(super) const STOP: &str = "stop";

/// Who asked for a stop.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StopMark {
    /// The command that is at it.
    pub(super) by: ProcessRef,
    /// It is going to start the container again.
    pub(super) keep: bool,
}

impl StopMark {
    /// Reads the mark of the container in `dir`, if there is one.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        let text = std::fs::read(dir.join(STOP)).ok()?;
        // Whatever is in it, the file says that a stop was asked for.
        Some(serde_json::from_slice(&text).unwrap_or_default())
    }
}
