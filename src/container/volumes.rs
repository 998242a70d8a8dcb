//! Volumes in the life of a container: their owner before its first start, and what its start put into them.

use super::{Containers, Record, Result};
use crate::events::Event;
use crate::volume::{self, Backing};

/// How often the containers of a volume are removed that others make meanwhile.
const ATTEMPTS: u32 = 20;

impl Containers {
    /// Gives volumes that were made with the container to the owner that their options name. The caller is in
    /// the user's namespace.
    pub(super) fn give_volumes(&self, record: &Record) -> Result<()> {
        let table = self.volumes();
        for mount in record.mounts.iter().filter(|mount| !mount.name.is_empty()) {
            if let Some(volume) = table.get(&mount.name)?
                && table.is_fresh(&volume)
            {
                table.give(&volume)?;
            }
        }
        Ok(())
    }

    /// Remembers which volumes of a container that just started are not empty: no image is copied into them
    /// again, even if somebody empties them (CVE-2020-1726).
    pub(super) fn note_filled_volumes(&self, record: &Record) -> Result<()> {
        let table = self.volumes();
        for mount in record.mounts.iter().filter(|mount| !mount.name.is_empty()) {
            if mount.anonymous && record.lifecycle.auto_remove {
                continue;
            }
            if let Some(volume) = table.get(&mount.name)?
                && !volume.filled
                && volume.backing() == Backing::Directory
                && !table.is_fresh(&volume)
            {
                table.mark_filled(&volume)?;
            }
        }
        Ok(())
    }

    /// Removes a volume that no container has; with `force` together with the containers that have it.
    /// The caller is in the user's namespace.
    ///
    /// # Errors
    /// When it is in use, or cannot be removed.
    pub fn remove_volume(&self, name: &str, force: bool, timeout: Option<std::time::Duration>) -> Result<()> {
        for _ in 0..ATTEMPTS {
            if force {
                for record in self.users_of_volume(name)? {
                    self.remove_with_dependents(&record, timeout)?;
                }
            }
            // A container that is being made with it has the lock until its record names the volume.
            let _lock = self.volumes().withhold()?;
            let users = self.users_of_volume(name)?;
            if users.is_empty() {
                self.volumes().remove(name)?;
                self.events.emit(&[Event::volume("remove", name)]);
                return Ok(());
            }
            if !force {
                break;
            }
        }
        let users = self.users_of_volume(name)?.into_iter().map(|record| record.id.to_string()).collect();
        Err(volume::Error::InUse { name: name.to_owned(), users }.into())
    }

    fn remove_with_dependents(&self, record: &Record, timeout: Option<std::time::Duration>) -> Result<()> {
        for dependent in self.dependents(&record.id)? {
            self.remove_with_dependents(&dependent, timeout)?;
        }
        let options = super::remove::RemoveOptions { force: true, timeout, volumes: false };
        self.remove(record, options)
    }
}
