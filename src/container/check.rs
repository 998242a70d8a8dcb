//! Whether containers are whole: for `system check`.

use super::lookup::read_json;
use super::{ContainerId, Containers, Error, Record, Result, Status};
use crate::kernel::file::Flock;
use crate::store::{Digest, Store};

/// Something that is wrong with a container.
#[derive(Debug)]
pub struct Problem {
    /// What it is.
    pub error: Error,
    /// It can be made right without losing anything.
    pub can_be_mended: bool,
}

/// Directories without which a container cannot start.
const DIRECTORIES: [&str; 4] = ["upper", "work", "merged", "etc"];

impl Containers {
    /// What is wrong with container `id`; nothing for one that is whole, or gone.
    #[must_use]
    pub fn problems(&self, id: &ContainerId, store: &Store) -> Vec<Problem> {
        let lost = |error| Problem { error, can_be_mended: false };
        let record = match self.known(id) {
            Ok(Some(record)) => record,
            Ok(None) => return Vec::new(),
            Err(Error::Broken { source, .. }) => return vec![lost(*source)],
            Err(error) => return vec![lost(error)],
        };
        let mut found: Vec<Problem> = self.missing_parts(&record, store).into_iter().map(lost).collect();
        match self.state(id) {
            Err(error) => found.push(lost(error)),
            // After a boot nothing is left that a monitor would have cleared up.
            Ok(state) if state.status == Status::Exited && !state.is_buried() && state.is_of_this_boot() => {
                found.push(Problem {
                    error: Error::Invalid {
                        what: "its monitor was killed and could not clear up".to_owned(),
                    },
                    can_be_mended: true,
                });
            }
            Ok(_) => {}
        }
        if !matches!(self.by_name(&record.name), Ok(Some(owner)) if owner.id == record.id) {
            let what = format!("its name {:?} does not lead to it", record.name);
            found.push(Problem { error: Error::Invalid { what }, can_be_mended: true });
        }
        found
    }

    fn missing_parts(&self, record: &Record, store: &Store) -> Vec<Error> {
        let dir = self.dir(&record.id);
        let mut found = Vec::new();
        for name in ["spec.json", "request.json"] {
            let path = dir.join(name);
            match read_json::<serde_json::Value>(&path, 1) {
                Ok(Some(_)) => {}
                Ok(None) => found.push(Error::Missing { path }),
                Err(error) => found.push(error),
            }
        }
        let missing = DIRECTORIES.into_iter().map(|name| dir.join(name)).filter(|path| !path.is_dir());
        found.extend(missing.map(|path| Error::Missing { path }));
        for text in &record.root.layers {
            let layer = text.parse::<Digest>().ok().map(|digest| store.layer(&digest));
            match layer {
                Some(Ok(Some(_))) => {}
                Some(Err(error)) => found.push(error.into()),
                _ => found.push(Error::Invalid { what: format!("image layer is missing: {text}") }),
            }
        }
        for other in &record.dependencies {
            if matches!(self.known(other), Ok(None)) {
                found.push(Error::Invalid { what: format!("container {other}, which it needs, is gone") });
            }
        }
        let volumes = self.volumes();
        for mount in record.mounts.iter().filter(|mount| mount.kind == "volume" && !mount.name.is_empty()) {
            if matches!(volumes.get(&mount.name), Ok(None)) {
                found.push(Error::Invalid { what: format!("its volume {} is gone", mount.name) });
            }
        }
        found
    }

    /// Makes right what can be made right without losing anything.
    ///
    /// # Errors
    /// When its name belongs to another container now, or files cannot be written.
    pub fn mend(&self, id: &ContainerId) -> Result<()> {
        let Some(record) = self.known(id)? else { return Ok(()) };
        if self.state(id).is_ok_and(|state| state.status == Status::Exited && !state.is_buried()) {
            self.clean_up(&record)?;
        }
        if !matches!(self.by_name(&record.name), Ok(Some(owner)) if owner.id == record.id) {
            let _lock = Flock::exclusive_existing(&self.dir(id))?;
            self.take_name(&record.name, id)?;
            self.sync_name(&record.name)?;
        }
        Ok(())
    }
}
