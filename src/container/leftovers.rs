//! What goes with a container when it is removed: volumes made for it alone, and its image after `--rmi`.

use super::{Containers, Error, Record, Result};
use crate::events::Event;
use crate::store::{ImageId, Partials, Store};
use crate::volume::{self, Volumes};

impl Containers {
    /// The volumes of this table's data directory.
    #[must_use]
    pub fn volumes(&self) -> Volumes {
        Volumes::new(&self.data)
    }

    /// The containers that mount the volume `name`. One whose record is damaged does not hide the others.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn users_of_volume(&self, name: &str) -> Result<Vec<Record>> {
        self.users(|record| record.mounts.iter().any(|mount| mount.name == name))
    }

    fn users(&self, uses: impl Fn(&Record) -> bool) -> Result<Vec<Record>> {
        let records = self.ids()?.into_iter().filter_map(|id| self.record(&id).ok().flatten());
        Ok(records.filter(uses).collect())
    }

    /// Removes the anonymous volumes of a container that is gone from the table, but for those that another
    /// one has taken with `--volumes-from`.
    pub(super) fn remove_anonymous_volumes(&self, record: &Record) -> Result<()> {
        for mount in record.mounts.iter().filter(|mount| mount.anonymous) {
            self.remove_unused_volume(&mount.name)?;
        }
        Ok(())
    }

    /// Removes a volume, unless a container has it.
    pub(super) fn remove_unused_volume(&self, name: &str) -> Result<()> {
        let _lock = self.volumes().withhold()?;
        if self.users_of_volume(name)?.is_empty() {
            match self.volumes().remove(name) {
                Err(volume::Error::NotFound { .. }) => {}
                Ok(()) => self.events.emit(&[Event::volume("remove", name)]),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Removes the image of a container that is gone from the table, or only the name that it was started by
    /// if the image has others. In use by other containers it stays.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn remove_image(&self, record: &Record) -> Result<()> {
        let store = Store::open_at(&self.data)?;
        let Ok(id) = record.root.image_id.parse::<ImageId>() else { return Ok(()) };
        let name = Some(record.root.image_name.as_str()).filter(|name| !name.is_empty());
        let users = |id: &ImageId| match self.image_users(id.as_str()) {
            Ok(users) => users,
            // Without knowing the users nothing may be removed.
            Err(_) => vec!["?".to_owned()],
        };
        let removed = store.remove_image(&id, name, users)?;
        if removed.deleted.is_some() {
            store.gc(Partials::Keep)?;
        }
        Ok(())
    }

    /// The ids of the containers that were made from an image.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn image_users(&self, image: &str) -> Result<Vec<String>, Error> {
        let users = self.users(|record| record.root.image_id == image)?;
        Ok(users.into_iter().map(|record| record.id.to_string()).collect())
    }
}
