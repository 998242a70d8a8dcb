//! Further processes in running containers.
//!
//! `DATA/containers/ID/exec/EXEC/exec_pid` says that one runs, as a [`ProcessRef`]. Whoever reads the directory
//! judges each entry against the kernel and removes what is stale, so entries cannot pile up. Entries are for
//! `inspect` only: where one cannot be written, as on a full disk, the process runs without.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use serde::Deserialize;

use super::create::Extras;
use super::lookup::read_json;
use super::reserve::{make_dir, remove_dir};
use super::state::ProcessRef;
use super::{ContainerId, Containers, Error, Record, Result, Status};
use crate::kernel::cap::CapabilitySet;
use crate::kernel::file::{self, Durability};
use crate::kernel::poll;
use crate::kernel::process::Pid;
use crate::runtime::plan::{Enclosure, Identity, Process};
use crate::runtime::{self, ExecCgroup, ExecPlan, keeps_groups, process_from_spec};

/// How long a first process may take from the moment that the state names it to its program.
const LONGEST_WAY: Duration = Duration::from_secs(10);

/// What to run in a container.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables over those of the container.
    pub env: Vec<(String, String)>,
    /// `USER[:GROUP]`; the container's own if absent.
    pub user: Option<String>,
    /// Working directory; the container's own if absent.
    pub workdir: Option<PathBuf>,
    /// On a terminal of its own.
    pub terminal: bool,
    /// With every capability.
    pub privileged: bool,
}

/// The part of `spec.json` that a further process takes over.
#[derive(Deserialize)]
struct SpecPart {
    process: oci_spec::runtime::Process,
    #[serde(default)]
    linux: LinuxPart,
}

/// What a further process takes over from the section `linux` of `spec.json`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LinuxPart {
    mount_label: Option<String>,
}

/// The part of `request.json` that a further process takes over.
#[derive(Deserialize)]
struct RequestPart {
    #[serde(default)]
    extras: Extras,
}

/// The entry of a process that runs; dropping it removes the entry.
#[derive(Debug)]
pub struct ExecEntry {
    /// The id of the session.
    pub id: ContainerId,
    dir: PathBuf,
    /// A forked copy must not take the entry away.
    owner: u32,
}

impl Drop for ExecEntry {
    fn drop(&mut self) {
        if std::process::id() == self.owner {
            // Stale entries are cleared by their reader.
            let _ = remove_dir(&self.dir);
        }
    }
}

impl Containers {
    /// Plans a process in a running container.
    ///
    /// # Errors
    /// When the container does not run, or the request makes no sense.
    pub fn plan_exec(&self, record: &Record, request: ExecRequest) -> Result<ExecPlan> {
        if request.command.first().is_none_or(String::is_empty) {
            return Err(Error::Invalid {
                what: "must provide a non-empty command to start an exec session: invalid argument"
                    .to_owned(),
            });
        }
        let runs = |status| matches!(status, Status::Running | Status::Stopping);
        let refusal = "can only create exec sessions on running containers";
        let (target_pid, target, restored) = self.first_process(record, runs, refusal)?;
        let (process, mount_label) = self.exec_process(record, request)?;
        let identity =
            Identity { id: record.id.to_string(), bundle: self.dir(&record.id), ..Identity::default() };
        Ok(ExecPlan {
            target,
            target_pid,
            process,
            mount_label,
            identity,
            cgroup: ExecCgroup::OfFirst,
            restored,
        })
    }

    /// The first process of a container in a state that `may` allows, and whether that comes from a checkpoint. It has
    /// executed its program: before that its root may be the host's. `refusal` says what cannot be done otherwise.
    pub(super) fn first_process(
        &self,
        record: &Record,
        may: fn(Status) -> bool,
        refusal: &str,
    ) -> Result<(Pid, OwnedFd, bool)> {
        let deadline = Instant::now() + LONGEST_WAY;
        loop {
            let state = self.state(&record.id)?;
            let refused = || Error::WrongState { what: refusal.to_owned(), status: state.status };
            let init = state.stored.as_ref().filter(|_| may(state.status)).map(|stored| stored.init);
            let init = init.ok_or_else(refused)?;
            let target = init.open()?.ok_or_else(refused)?;
            let pid = Pid::from_raw(init.pid).ok_or_else(refused)?;
            // One that comes from a checkpoint executes nothing: it goes on.
            let restored = state.stored.as_ref().is_some_and(|stored| stored.restored.is_some());
            if restored || !runtime::is_preparing(pid)? {
                return Ok((pid, target, restored));
            }
            if Instant::now() > deadline {
                return Err(refused());
            }
            // The end of a process can be waited for, its exec cannot.
            poll::readable(target.as_fd(), Some(Duration::from_millis(1)))?;
        }
    }

    /// The process, that of the container with what the request changes, and the label of its files.
    fn exec_process(&self, record: &Record, request: ExecRequest) -> Result<(Process, Option<String>)> {
        let dir = self.dir(&record.id);
        let missing = |name: &str| self.missing(&record.id, name);
        let spec: SpecPart = read_json(&dir.join("spec.json"), 1)?.ok_or_else(|| missing("spec.json"))?;
        let created: RequestPart =
            read_json(&dir.join("request.json"), 1)?.ok_or_else(|| missing("request.json"))?;
        let mut process = process_from_spec(&spec.process)?;
        process.arguments = request.command;
        process.keep_groups = keeps_groups(&record.annotations);
        process.terminal = request.terminal;
        process.console_size = None;
        if let Some(workdir) = request.workdir {
            process.cwd = workdir;
            process.create_cwd = false;
        }
        set_env(&mut process.environment, request.env);
        let has_term = process.environment.iter().any(|entry| entry.starts_with("TERM="));
        if request.terminal && !has_term {
            process.environment.push("TERM=xterm".to_owned());
        }
        let mut lookup = created.extras.lookup.clone();
        // The files have their entries since the container was started.
        lookup.passwd_entries = Vec::new();
        lookup.group_entries = Vec::new();
        if let Some(user) = request.user {
            lookup.user = user;
        }
        process.lookup = Some(lookup);
        let capabilities = &mut process.capabilities;
        if request.privileged {
            capabilities.bounding = CapabilitySet::all_of_kernel();
        }
        // What root may have; the runtime takes it away from others.
        capabilities.effective = capabilities.bounding;
        capabilities.permitted = capabilities.bounding;
        let enclosed = created.extras.enclosed && !request.privileged;
        process.enclosure = enclosed.then(|| enclosure(record));
        process.seccomp =
            if request.privileged { None } else { created.extras.filter(capabilities.bounding)? };
        Ok((process, spec.linux.mount_label))
    }

    /// Notes that `pid` runs in a container, if there is room for that.
    #[must_use]
    pub fn enter_exec(&self, record: &Record, id: ContainerId, pid: Pid) -> Option<ExecEntry> {
        let dir = self.exec_dir(&record.id).join(id.as_str());
        let entry = ExecEntry { id, dir, owner: std::process::id() };
        // What a failure leaves goes with the entry.
        write_exec_entry(&entry, pid).ok().map(|()| entry)
    }

    fn exec_dir(&self, id: &ContainerId) -> PathBuf {
        self.dir(id).join("exec")
    }

    /// The ids of the processes that run in a container besides its own.
    #[must_use]
    pub fn exec_ids(&self, id: &ContainerId) -> Vec<ContainerId> {
        let mut running = Vec::new();
        for entry in std::fs::read_dir(self.exec_dir(id)).into_iter().flatten().flatten() {
            let process: Option<ProcessRef> = std::fs::read(entry.path().join("exec_pid"))
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok());
            let exec = entry.file_name().to_str().and_then(ContainerId::parse);
            match (process, exec) {
                (Some(process), Some(exec)) if process.is_alive() => running.push(exec),
                // Of a process that is gone, or of a command that died: nobody else removes it.
                (Some(_), _) => drop(remove_dir(&entry.path())),
                // Just being made.
                (None, _) => {}
            }
        }
        running.sort();
        running
    }
}

/// What a further process of a container that is kept to its root is kept from besides.
fn enclosure(record: &Record) -> Enclosure {
    let shared = |mode: &str| mode == "host" || mode.starts_with("container:") || mode.starts_with("ns:");
    Enclosure { abstract_sockets: shared(&record.network.mode), signals: shared(&record.namespaces.pid) }
}

/// Writes what says that `pid` runs.
fn write_exec_entry(entry: &ExecEntry, pid: Pid) -> Result<()> {
    make_dir(&entry.dir)?;
    let text = serde_json::to_vec(&ProcessRef::of(pid)?).expect("numbers are always JSON");
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(file::write_atomic(&entry.dir, OsStr::new("exec_pid"), &text, mode, Durability::None)?)
}

/// Sets variables, each of which replaces one of the same name.
pub(super) fn set_env(environment: &mut Vec<String>, changes: Vec<(String, String)>) {
    for (name, value) in changes {
        environment.retain(|entry| entry.split_once('=').is_none_or(|(known, _)| known != name));
        environment.push(format!("{name}={value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_replace_those_of_the_same_name() {
        let mut environment = vec!["A=1".to_owned(), "AB=2".to_owned()];
        set_env(&mut environment, vec![("A".to_owned(), "3=4".to_owned()), ("C".to_owned(), String::new())]);
        assert_eq!(environment, ["AB=2", "A=3=4", "C="]);
    }
}
