//! Lists of images that are made here: records beside those of images, so that names, removal and garbage collection
//! are the same for both.

use std::collections::BTreeMap;

use super::error::{Error, Result};
use super::record::VERSION;
use super::table::exclusive_if_there;
use super::{Digest, ImageId, ImageRecord, Store};
use crate::kernel;
use crate::kernel::file::Flock;

impl Store {
    /// Keeps others from changing a list between reading and writing it.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub fn lock_list(&self, id: &ImageId) -> Result<Flock> {
        let path = self.data().join("locks").join(format!("list-{id}"));
        Flock::exclusive(&path).map_err(Error::kernel("lock the list"))
    }

    /// Writes a list with `index` as its content; a new one where `id` is none.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_list(
        &self,
        id: Option<&ImageId>,
        index: &[u8],
        sources: BTreeMap<String, String>,
        parts: Vec<Digest>,
    ) -> Result<ImageRecord> {
        let random = || {
            ImageId::random().map_err(|error| Error::Kernel {
                action: "make an id",
                source: kernel::Error::call("getrandom", "", error),
            })
        };
        let id = id.map_or_else(random, |id| Ok(id.clone()))?;
        let record = ImageRecord {
            version: VERSION,
            id,
            manifest: Some(self.put_blob(index)?),
            manifests: parts,
            layers: Vec::new(),
            attributes: None,
            size: 0,
            created: Some(jiff::Timestamp::now().to_string()),
            architecture: String::new(),
            os: String::new(),
            variant: None,
            labels: BTreeMap::new(),
            list: true,
            sources,
        };
        let table = self.table_exclusive()?;
        let _holders = exclusive_if_there(&self.image_path(&record.id))?;
        self.write_record(&table, "images", &format!("{}.json", record.id), &record)?;
        Ok(record)
    }
}
