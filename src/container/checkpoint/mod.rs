//! Checkpoints of containers: `DATA/containers/ID/checkpoint`, which a container that was written to disk goes on from.
//!
//! While CRIU is at work the files are in `checkpoint.new`, and the container has the mark of a stop, so that nobody starts
//! it again. Whatever fails before its end leaves it running, without either.
//!
//! | file | owns |
//! |---|---|
//! | `archive` | the layout of archives, and reading them |
//! | `export` | writing them |
//! | `adopt` | what a new container gets from one |

mod adopt;
mod archive;
mod export;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::create::CreateRequest;
use super::lookup::read_json;
use super::record::LogDriver;
use super::state::STOP;
use super::stop::Run;
use super::{Containers, Error, Record, Result, State, Status, Time};
use crate::kernel;
use crate::kernel::process::Pid;
use crate::runtime::criu::{self, Dump, Restore};
use crate::runtime::{Plan, RootSource};

pub use adopt::Adoption;
pub use archive::{ANNOTATION, Import};
pub use export::{Export, ExportRequest};

/// The directory of a whole checkpoint.
const WHOLE: &str = "checkpoint";
/// That of one that is being made.
const UNFINISHED: &str = "checkpoint.new";
/// That of a first part, which has memory only.
const FIRST_PART: &str = "pre-checkpoint";

/// How to write a container to disk.
#[derive(Debug, Clone)]
pub struct CheckpointRequest {
    /// CRIU.
    pub program: PathBuf,
    /// The container goes on afterwards.
    pub leave_running: bool,
    /// Memory only.
    pub first_part: bool,
    /// What the first part has is left out.
    pub with_previous: bool,
    /// With open TCP connections.
    pub tcp_established: bool,
    /// With locks of files.
    pub file_locks: bool,
    /// What CRIU says about it stays.
    pub keep: bool,
}

/// How to go on from a checkpoint.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// CRIU.
    pub program: PathBuf,
    /// With open TCP connections.
    pub tcp_established: bool,
    /// With TCP connections closed.
    pub tcp_close: bool,
    /// With locks of files.
    pub file_locks: bool,
}

impl RestoreRequest {
    /// The same for the container in `dir`.
    pub(super) fn complete(self, dir: &Path, run_dir: &Path, owner: (u32, u32)) -> Restore {
        Restore {
            program: self.program,
            images: dir.join(WHOLE),
            place: run_dir.join("restore"),
            owner,
            tcp_established: self.tcp_established,
            tcp_close: self.tcp_close,
            file_locks: self.file_locks,
        }
    }
}

impl State {
    /// Where the container's checkpoint is, if it has one.
    #[must_use]
    pub fn checkpoint(&self) -> Option<PathBuf> {
        Some(self.dir.join(WHOLE)).filter(|path| criu::is_checkpoint(path))
    }
}

impl Containers {
    /// Writes a running container to disk.
    ///
    /// # Errors
    /// When it does not run, or with what CRIU says. It goes on then as if nothing had been asked.
    pub fn checkpoint(&self, record: &Record, request: &CheckpointRequest) -> Result<()> {
        let lock = self.lock(&record.id)?;
        let state = self.state(&record.id)?;
        let pid = state.pid().and_then(Pid::from_raw).filter(|_| state.status == Status::Running);
        let Some(pid) = pid else {
            let what = format!("{:?} is not running, cannot checkpoint", state.status.as_str());
            return Err(Error::WrongState { what, status: state.status });
        };
        let plan = self.plan_of(record)?;
        let dir = self.dir(&record.id);
        if request.with_previous && !dir.join(FIRST_PART).exists() {
            let what = format!("container {} has no pre-checkpoint", record.id);
            return Err(Error::Invalid { what });
        }
        let goes_on = request.leave_running || request.first_part;
        let new = Unfinished::make(&dir)?;
        if !goes_on {
            self.mark_stopped(record, true)?;
        }
        let previous = format!("../{FIRST_PART}");
        let dump = Dump {
            program: &request.program,
            pid,
            images: &new.path,
            leave_running: request.leave_running,
            memory_only: request.first_part,
            previous: request.with_previous.then_some(previous.as_str()),
            tcp_established: request.tcp_established,
            file_locks: request.file_locks,
        };
        if let Err(error) = criu::dump(&plan, &dump) {
            if !goes_on {
                super::start::remove_if_there(&dir.join(STOP))?;
            }
            return Err(error.into());
        }
        if !request.keep {
            super::start::remove_if_there(&new.path.join("dump.log"))?;
        }
        new.finish(&dir.join(if request.first_part { FIRST_PART } else { WHOLE }))?;
        drop(lock);
        if !goes_on {
            self.await_exit(record, Some(Run::of(&state)))?;
            self.note_checkpoint(record)?;
        }
        self.tell(record, "checkpoint");
        Ok(())
    }

    /// Writes down that a container has ended because it is on disk.
    fn note_checkpoint(&self, record: &Record) -> Result<()> {
        let _lock = self.lock(&record.id)?;
        let Some(mut stored) = self.state(&record.id)?.stored else { return Ok(()) };
        stored.checkpointed = Some(Time::now());
        stored.write(&self.dir(&record.id))
    }

    /// Whether a container can go on from a checkpoint.
    ///
    /// # Errors
    /// Why not.
    pub fn check_restore(&self, record: &Record) -> Result<()> {
        let state = self.state(&record.id)?;
        if !matches!(state.status, Status::Created | Status::Exited) {
            let what = format!("container {} is running or paused, cannot restore", record.id);
            return Err(Error::WrongState { what, status: state.status });
        }
        if state.checkpoint().is_none() {
            let what = "a complete checkpoint for this container cannot be found, cannot restore".to_owned();
            return Err(Error::Invalid { what });
        }
        supported(record)?;
        make_dir(&self.run_dir(&record.id))?;
        make_dir(&self.run_dir(&record.id).join("restore"))
    }

    /// Removes what a container went on from.
    ///
    /// # Errors
    /// When the files cannot be removed.
    pub fn remove_checkpoint(&self, record: &Record) -> Result<()> {
        let dir = self.dir(&record.id);
        for name in [WHOLE, FIRST_PART, UNFINISHED] {
            super::reserve::remove_dir(&dir.join(name))?;
        }
        Ok(())
    }

    /// The plan by which a container was made, but for its root file system.
    fn plan_of(&self, record: &Record) -> Result<Plan> {
        supported(record)?;
        let dir = self.dir(&record.id);
        let missing = |name: &str| self.missing(&record.id, name);
        let spec: Spec = read_json(&dir.join("spec.json"), 1)?.ok_or_else(|| missing("spec.json"))?;
        let request: CreateRequest =
            read_json(&dir.join("request.json"), 1)?.ok_or_else(|| missing("request.json"))?;
        let mut plan = Plan::from_spec(&spec, &dir, Some(RootSource::Bind(PathBuf::from("/"))))?;
        request.extras.apply(&mut plan)?;
        Ok(plan)
    }
}

/// What is not supported whatever CRIU can do.
fn supported(record: &Record) -> Result<()> {
    let refuse = |what: &str| Err(Error::Unsupported { what: format!("a checkpoint of a container {what}") });
    if record.runtime.program.is_some() {
        return refuse("of another runtime than rbox's own");
    }
    if record.log.driver == LogDriver::Passthrough {
        return refuse("with the log driver passthrough");
    }
    if !record.dependencies.is_empty() {
        return refuse("that depends on another one");
    }
    Ok(())
}

fn make_dir(path: &Path) -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(kernel::Error::path("mkdir", path, error).into())
        }
        _ => Ok(()),
    }
}

/// A checkpoint that is being made; dropping it removes it.
#[derive(Debug)]
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    fn make(dir: &Path) -> Result<Self> {
        let path = dir.join(UNFINISHED);
        super::reserve::remove_dir(&path)?;
        make_dir(&path)?;
        Ok(Self { path })
    }

    fn finish(self, target: &Path) -> Result<()> {
        super::reserve::remove_dir(target)?;
        fs::rename(&self.path, target).map_err(|error| kernel::Error::path("rename", target, error).into())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It was renamed, or what is left is removed by the next attempt.
        let _ = super::reserve::remove_dir(&self.path);
    }
}
