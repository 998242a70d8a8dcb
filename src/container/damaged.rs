//! Containers whose files cannot be read: naming them, and removing them with whatever runs of them.
//!
//! What a damaged `state.json` does not tell the kernel does: the processes of a container have its directory in
//! the mount of their root, its monitor listens on its socket, and its network helper was started with its run
//! directory. Everything is killed through a handle that was opened before it was looked at.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use super::reserve::{make_dir, remove_dir};
use super::{ContainerId, Containers, Error, Result, Status, Time};
use crate::kernel::file::Flock;
use crate::kernel::process::{self, Pid};
use crate::kernel::{self, poll, socket};

/// A container that only `rm --force` can handle.
#[derive(Debug)]
pub struct Damaged {
    /// Its id.
    pub id: ContainerId,
    /// Its name, as far as it has one still.
    pub name: String,
    /// When its directory was changed last.
    pub changed: Time,
    /// What is wrong with it.
    pub why: Error,
}

/// How long a monitor may take to see that its container has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a monitor that has no state to write may take to end.
const LONGEST_END: Duration = Duration::from_millis(500);

/// How often processes are looked for: each may have forked before it was killed.
const ROUNDS: u32 = 50;

impl Containers {
    /// The containers whose record cannot be read.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn damaged(&self) -> Result<Vec<Damaged>> {
        Ok(self.damaged_among(self.ids()?))
    }

    /// Those of the containers `ids` whose record cannot be read.
    #[must_use]
    pub fn damaged_among(&self, ids: Vec<ContainerId>) -> Vec<Damaged> {
        let mut found = Vec::new();
        for id in ids {
            let Err(why) = self.known(&id) else { continue };
            let name = self.names_of(&id).into_iter().next().unwrap_or_default();
            let changed = std::fs::metadata(self.dir(&id)).and_then(|meta| meta.modified()).ok();
            let changed = changed.and_then(|time| time.try_into().ok()).map_or_else(Time::now, Time);
            found.push(Damaged { id, name, changed, why });
        }
        found
    }

    /// The record of `id`; nothing if there is no such container, or only what is left of one.
    ///
    /// # Errors
    /// [`Error::Broken`] where it cannot be understood, or is gone while the container runs.
    pub(super) fn known(&self, id: &ContainerId) -> Result<Option<super::Record>> {
        let broken = |source| Error::Broken { id: id.to_string(), source: Box::new(source) };
        match self.record(id) {
            Err(error @ (Error::Damaged { .. } | Error::Newer { .. })) => Err(broken(error)),
            // Read once more: it may have been made and started since.
            Ok(None) if self.lives(id) => match self.record(id)? {
                None if self.lives(id) => {
                    Err(broken(Error::Missing { path: self.dir(id).join("record.json") }))
                }
                known => Ok(known),
            },
            known => known,
        }
    }

    /// Whether something of a container that may have no record runs. Only who was started has a state.
    pub(super) fn lives(&self, id: &ContainerId) -> bool {
        if !self.was_started(id) {
            return false;
        }
        match self.state(id) {
            Ok(state) => state.status.is_alive() || state.status == Status::Stopped,
            Err(_) => !self.processes(id).is_empty(),
        }
    }

    /// Whether a container of which no state is known runs all the same. A power cut leaves empty files, too, but
    /// nothing that runs.
    pub(super) fn has_lost_state(&self, id: &ContainerId) -> bool {
        // A monitor that is about to write it holds the lock.
        self.may_have_lost_state(id)
            && matches!(Flock::try_shared_existing(&self.dir(id)), Ok(Some(_)))
            && self.has_processes(id)
    }

    /// The same for the holder of the container's lock.
    pub(super) fn runs_unseen(&self, id: &ContainerId) -> bool {
        self.may_have_lost_state(id) && self.has_processes(id)
    }

    fn may_have_lost_state(&self, id: &ContainerId) -> bool {
        match std::fs::metadata(self.dir(id).join("state.json")) {
            Ok(meta) => meta.len() == 0,
            Err(_) => self.was_started(id),
        }
    }

    fn has_processes(&self, id: &ContainerId) -> bool {
        // The monitor of a start that failed lets go of the lock before it ends.
        let is_served = self.monitor(id).is_some_and(|monitor| !ends_within(&monitor, LONGEST_END));
        is_served || !self.processes(id).is_empty()
    }

    /// Whether a container has run at any time, by what each start leaves behind: its state, its socket, which is gone with
    /// a wiped run directory, what overlay keeps for itself, and the log.
    fn was_started(&self, id: &ContainerId) -> bool {
        let dir = self.dir(id);
        ["state.json", "work/work", "ctr.log"].iter().any(|name| dir.join(name).exists())
            || self.socket(id).exists()
    }

    /// The processes whose root is that of container `id`.
    pub(super) fn processes(&self, id: &ContainerId) -> Vec<OwnedFd> {
        let mark = format!("containers/{id}/");
        let is_root = |line: &str| line.split(' ').nth(4) == Some("/") && line.contains(&mark);
        find_processes(|dir| {
            std::fs::read_to_string(dir.join("mountinfo")).is_ok_and(|text| text.lines().any(is_root))
        })
    }

    /// The program that connects a container's network.
    fn network_helper(&self, id: &ContainerId) -> Vec<OwnedFd> {
        let mark = self.run_dir(id).join("pasta.pid");
        find_processes(|dir| {
            let is_pasta = std::fs::read(dir.join("comm")).is_ok_and(|name| name.starts_with(b"pas"));
            is_pasta
                && std::fs::read(dir.join("cmdline")).is_ok_and(|text| {
                    text.split(|byte| *byte == 0).any(|word| word == mark.as_os_str().as_encoded_bytes())
                })
        })
    }

    /// The monitor that serves the socket of a container.
    fn monitor(&self, id: &ContainerId) -> Option<OwnedFd> {
        let connection = socket::connect(&self.socket(id)).ok()?;
        let pid = socket::peer(connection.as_fd()).ok()?;
        process::pidfd_open(pid).ok()
    }

    /// Ends everything of a container of which nothing is known but its id. The caller is root of the user's
    /// namespace.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn kill_unseen(&self, id: &ContainerId) -> Result<()> {
        let monitor = self.monitor(id);
        for _ in 0..ROUNDS {
            let processes = self.processes(id);
            if processes.is_empty() {
                break;
            }
            for process in processes {
                kill(&process)?;
                poll::readable(process.as_fd(), Some(PATIENCE))?;
            }
        }
        if let Ok(state) = self.state(id)
            && let Some(stored) = state.stored
            && let Some(init) = stored.init.open()?
        {
            kill(&init)?;
            super::cgroup::kill(&stored.cgroup);
        }
        if let Some(monitor) = monitor
            && !poll::readable(monitor.as_fd(), Some(PATIENCE))?
        {
            kill(&monitor)?;
            poll::readable(monitor.as_fd(), Some(PATIENCE))?;
        }
        self.network_helper(id).iter().try_for_each(kill)
    }

    /// Removes a container whose record cannot be read, with everything that runs of it; with `volumes` also those that
    /// were made for it alone.
    ///
    /// # Errors
    /// When files cannot be removed.
    pub fn remove_damaged(&self, id: &ContainerId, volumes: bool) -> Result<()> {
        self.kill_unseen(id)?;
        let anonymous = if volumes { self.volumes_of_spec(id) } else { Vec::new() };
        let _lock = match self.lock(id) {
            // Its monitor has removed it.
            Err(Error::NotFound { .. }) => return Ok(()),
            lock => lock?,
        };
        let tmp = self.data.join("tmp");
        make_dir(&tmp)?;
        let (dir, trash) = (self.dir(id), tmp.join(id.as_str()));
        rustix::fs::rename(&dir, &trash).map_err(|e| kernel::Error::path("rename", &dir, e))?;
        for name in self.names_of(id) {
            self.release_name(&name, id)?;
        }
        remove_dir(&self.run_dir(id))?;
        remove_dir(&trash)?;
        anonymous.iter().try_for_each(|name| self.remove_unused_volume(name))
    }

    /// The volumes that were made for the container alone, as its spec has them: the record cannot be read.
    fn volumes_of_spec(&self, id: &ContainerId) -> Vec<String> {
        let spec = std::fs::read(self.dir(id).join("spec.json")).ok();
        let spec = spec.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        let mounts = spec.as_ref().and_then(|spec| spec["mounts"].as_array()).map_or(&[][..], Vec::as_slice);
        let table = self.volumes();
        let name = |mount: &serde_json::Value| {
            let inside = Path::new(mount["source"].as_str()?).strip_prefix(table.dir()).ok()?;
            let name = inside.iter().next()?.to_str()?;
            let volume = table.get(name).ok()??;
            volume.anonymous.then(|| name.to_owned())
        };
        mounts.iter().filter_map(name).collect()
    }

    /// The names that point to `id`.
    fn names_of(&self, id: &ContainerId) -> Vec<String> {
        let dir = self.data.join("names");
        let points = |name: &String| {
            std::fs::read(dir.join(name)).is_ok_and(|text| text.trim_ascii_end() == id.as_str().as_bytes())
        };
        let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(points).collect()
    }
}

fn ends_within(process: &OwnedFd, limit: Duration) -> bool {
    poll::readable(process.as_fd(), Some(limit)).unwrap_or(false)
}

fn kill(process: &OwnedFd) -> Result<()> {
    match process::pidfd_send_signal(process, libc::SIGKILL) {
        Err(e) if e.errno() != Some(libc::ESRCH) => Err(e.into()),
        _ => Ok(()),
    }
}

/// Handles to the processes that `is_meant` knows by their directory in `/proc`.
fn find_processes(is_meant: impl Fn(&Path) -> bool) -> Vec<OwnedFd> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = pid.filter(|pid| pid.cast_unsigned() != own).and_then(Pid::from_raw) else {
            continue;
        };
        if !is_meant(&entry.path()) {
            continue;
        }
        // Looked at again: before the handle was open the number could have changed hands.
        if let Ok(handle) = process::pidfd_open(pid)
            && is_meant(&entry.path())
        {
            found.push(handle);
        }
    }
    found
}
