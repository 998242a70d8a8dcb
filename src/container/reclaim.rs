//! What killed commands left: directories without a record, names that nothing stands behind, files on their
//! way out. All of it is harmless where it is; whoever removes containers takes it along.
//!
//! Nothing is taken from the living: who makes, renames or removes a container holds the lock on its directory,
//! and the kernel frees that with its holder.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::reserve::remove_dir;
use super::{ContainerId, Containers, Status};
use crate::kernel::file::{self, Flock};
use crate::{store, userns};

impl Containers {
    /// Removes what dead processes left. Best effort: what cannot be removed now is tried again by the next one.
    /// The caller is in the user's namespace, to which some of the files belong.
    pub fn reclaim(&self) {
        store::reclaim_staging(&self.data);
        let Ok(ids) = self.ids() else { return };
        for id in &ids {
            self.reclaim_directory(id);
        }
        self.reclaim_run_directories();
        self.reclaim_abandoned();
        userns::reclaim_records(&self.run);
        // A whole container has one name, so the names need to be read only where their number is another.
        let names = self.names();
        if names.len() != ids.len() {
            self.reclaim_names(&names);
        }
    }

    /// Removes the directory of a container that never came into being.
    fn reclaim_directory(&self, id: &ContainerId) {
        let dir = self.dir(id);
        let is_whole = std::fs::metadata(dir.join("record.json")).is_ok_and(|meta| meta.len() > 0);
        if is_whole {
            return;
        }
        if let Ok(Some(_dead)) = Flock::try_exclusive_existing(&dir)
            && matches!(self.record(id), Ok(None))
            && !self.lives(id)
        {
            let _ = remove_dir(&dir);
        }
    }

    /// Removes sockets and pid files of containers that are gone.
    fn reclaim_run_directories(&self) {
        let Ok(entries) = std::fs::read_dir(self.run.join("containers")) else { return };
        for entry in entries.flatten() {
            let id = entry.file_name().to_str().and_then(ContainerId::parse);
            if id.is_some_and(|id| is_absent(&self.dir(&id))) {
                let _ = remove_dir(&entry.path());
            }
        }
    }

    /// Removes containers that were to be removed at their end and have lost their monitors. Where one clears up its
    /// socket goes last: only where that is left somebody can have been killed.
    fn reclaim_abandoned(&self) {
        let Ok(entries) = std::fs::read_dir(self.run.join("containers")) else { return };
        for entry in entries.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(ContainerId::parse) else { continue };
            if self.socket(&id).exists()
                && self.state(&id).is_ok_and(|state| state.status == Status::Exited)
                && let Ok(Some(record)) = self.record(&id)
                && self.is_abandoned(&record)
            {
                let _ = self.remove_abandoned(&record);
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.data.join("names")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    fn reclaim_names(&self, names: &[String]) {
        let dir = self.data.join("names");
        let mut owners: HashMap<String, Vec<&str>> = HashMap::new();
        for name in names {
            if let Some(rest) = name.strip_prefix(file::TEMP_PREFIX) {
                // `.tmp-PID-ID`: not linked to its name yet, or not removed any more.
                let owner = rest.split_once('-').and_then(|(_, id)| ContainerId::parse(id));
                if owner.is_none_or(|owner| self.is_unattended(&owner)) {
                    let _ = std::fs::remove_file(dir.join(name));
                }
            } else if let Ok(owner) = std::fs::read_to_string(dir.join(name)) {
                owners.entry(owner).or_default().push(name);
            }
        }
        for (owner, names) in owners {
            let whole = ContainerId::parse(owner.trim_end()).is_some_and(|id| !is_absent(&self.dir(&id)));
            if whole && names.len() == 1 {
                continue;
            }
            for name in names {
                // Removes it only if the container does not confirm it.
                let _ = self.clear_stale_name(name, &dir.join(name));
            }
        }
    }

    /// Whether nobody is at work on a container.
    fn is_unattended(&self, id: &ContainerId) -> bool {
        match Flock::try_exclusive_existing(&self.dir(id)) {
            Ok(lock) => lock.is_some(),
            Err(e) => e.io().kind() == io::ErrorKind::NotFound,
        }
    }
}

fn is_absent(dir: &Path) -> bool {
    matches!(dir.try_exists(), Ok(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_goes_and_what_the_living_make_stays() {
        let data = crate::kernel::scratch::path("reclaim");
        let run = data.join("run");
        let containers = Containers { run, data, events: crate::events::Sink::default() };
        let living = containers.reserve(Some("living")).unwrap();
        let mut dead = containers.reserve(Some("dead")).unwrap();
        dead.forget();
        let gone = dead.dir.clone();
        let aside = containers.data.join(format!("names/.tmp-1-{}", dead.id));
        std::fs::File::create(&aside).unwrap();
        let held = containers.data.join(format!("names/.tmp-1-{}", living.id));
        std::fs::File::create(&held).unwrap();
        drop(dead);
        containers.reclaim();
        assert!(!gone.exists() && !aside.exists() && !containers.data.join("names/dead").exists());
        assert!(living.dir.exists() && held.exists() && containers.data.join("names/living").exists());
        drop(living);
        std::fs::remove_dir_all(&containers.data).unwrap();
    }
}
