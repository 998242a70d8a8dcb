//! Listing containers, and finding those that a command line means.
//!
//! A list reads two small files a container and takes no lock. A container whose files are damaged is shown
//! as far as possible and never keeps the others from being shown.

use std::num::NonZero;
use std::path::Path;

use super::filter::Filters;
use super::lookup::Files;
use super::{ContainerId, Containers, Error, Record, Result, State, Status, Time};
use crate::store::Store;

/// From so many containers on, a thread takes less time than it saves.
const MANY: usize = 64;

/// A container with its state.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its record.
    pub record: Record,
    /// Its state as of now.
    pub state: State,
}

/// What is kept of a container, and its place in the order.
struct Found<'i, T> {
    created: Time,
    id: &'i ContainerId,
    value: T,
}

/// Which containers a command is about.
#[derive(Debug, Default)]
pub struct Selection {
    /// Names, ids or unique id prefixes.
    pub references: Vec<String>,
    /// All of them.
    pub all: bool,
    /// The one that was created last.
    pub latest: bool,
    /// Those that pass; with `references`, those of them that pass.
    pub filters: Filters,
    /// References to nothing are passed over.
    pub ignore: bool,
}

/// A container that a command is about, and how it was referred to.
#[derive(Debug)]
pub struct Selected {
    /// What the user typed; the id where she typed nothing.
    pub given: String,
    /// Its record; `None` for a reference to nothing that is to be ignored.
    pub record: Option<Record>,
}

impl Containers {
    /// All containers that pass `filters`, oldest first.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn list(&self, filters: &Filters) -> Result<Vec<Listed>> {
        Ok(oldest_first(self.read(&self.ids()?, filters, &|listed| listed).0))
    }

    /// As [`Self::list`], with the ids of those that were removed meanwhile or are damaged
    /// ([`Self::damaged_among`]); by several threads where there are many containers. Of each container only what
    /// `take` makes of it is kept: whole records of a thousand would cost more memory than time to read them. Not for
    /// commands that go on to clone or to enter a namespace: a thread that has ended may still count for a moment.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn survey<T: Send>(
        &self,
        filters: &Filters,
        take: impl Fn(Listed) -> T + Sync,
    ) -> Result<(Vec<T>, Vec<ContainerId>)> {
        let ids = self.ids()?;
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(ids.len() / MANY);
        let (found, unreadable) = if threads < 2 {
            self.read(&ids, filters, &take)
        } else {
            std::thread::scope(|scope| {
                let (own, others) = ids.split_at(ids.len().div_ceil(threads));
                let take = &take;
                let readers: Vec<_> = others
                    .chunks(own.len())
                    .map(|part| scope.spawn(move || self.read(part, filters, take)))
                    .collect();
                // This thread has memory at hand; one more would begin with none.
                let (mut found, mut unreadable) = self.read(own, filters, take);
                for reader in readers {
                    let (more, missing) = reader.join().expect("reading does not panic");
                    found.extend(more);
                    unreadable.extend(missing);
                }
                (found, unreadable)
            })
        };
        Ok((oldest_first(found), unreadable))
    }

    /// Those of `ids` that pass `filters`, and those that cannot be read.
    fn read<'i, T>(
        &self,
        ids: &'i [ContainerId],
        filters: &Filters,
        take: &impl Fn(Listed) -> T,
    ) -> (Vec<Found<'i, T>>, Vec<ContainerId>) {
        let (mut found, mut unreadable) = (Vec::with_capacity(ids.len()), Vec::new());
        let mut files = Files::new(self);
        for id in ids {
            let Ok(Some(record)) = files.record(id) else {
                unreadable.push(id.clone());
                continue;
            };
            let state = files.state_or_unknown(id);
            if filters.matches(&record, &state) {
                found.push(Found { created: record.created, id, value: take(Listed { record, state }) });
            }
        }
        (found, unreadable)
    }

    /// Finds the containers that `selection` means.
    ///
    /// # Errors
    /// When a reference means none or several.
    pub fn select(&self, selection: &Selection) -> Result<Vec<Selected>> {
        let named = |record: Record| Selected { given: record.id.to_string(), record: Some(record) };
        if selection.filters.is_empty() && !selection.all && !selection.latest {
            return selection
                .references
                .iter()
                .map(|given| self.select_one(given, selection.ignore))
                .collect();
        }
        let mut listed = self.list(&selection.filters)?;
        if selection.latest {
            let latest = listed.pop().ok_or_else(|| Error::NotFound { reference: "latest".to_owned() })?;
            return Ok(vec![named(latest.record)]);
        }
        if selection.references.is_empty() {
            return Ok(listed.into_iter().map(|listed| named(listed.record)).collect());
        }
        let mut found = Vec::new();
        for given in &selection.references {
            let Some(record) = self.select_one(given, selection.ignore)?.record else { continue };
            if listed.iter().any(|listed| listed.record.id == record.id) {
                found.push(Selected { given: given.clone(), record: Some(record) });
            }
        }
        Ok(found)
    }

    fn select_one(&self, given: &str, ignore: bool) -> Result<Selected> {
        // Docker's names begin with a slash, and some scripts pass them on.
        let reference = given.strip_prefix('/').unwrap_or(given);
        let record = match self.lookup(reference) {
            Err(Error::NotFound { .. }) if ignore => None,
            record => Some(record?),
        };
        Ok(Selected { given: given.to_owned(), record })
    }

    /// The size of a container's own files, and of all files that it sees. The caller is root of the user's namespace.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn size(&self, record: &Record) -> Result<(u64, u64)> {
        let own = tree_size(&self.dir(&record.id).join("upper"));
        let store = Store::open_at(&self.data)?;
        let mut image = 0;
        for layer in &record.root.layers {
            // An image that was removed by force has no size any more.
            if let Ok(digest) = layer.parse()
                && let Some(layer) = store.layer(&digest)?
            {
                image += layer.record().size;
            }
        }
        Ok((own, own + image))
    }

    /// Whether the container passes as running for lists without `--all`.
    #[must_use]
    pub fn is_shown_by_default(state: &State) -> bool {
        matches!(state.status, Status::Running)
    }
}

fn oldest_first<T>(mut found: Vec<Found<'_, T>>) -> Vec<T> {
    // What is kept of a container is large: each is moved once.
    found.sort_by_cached_key(|found| (found.created, found.id));
    found.into_iter().map(|found| found.value).collect()
}

/// The bytes of all files in a tree. What cannot be read counts as nothing.
fn tree_size(dir: &Path) -> u64 {
    let mut size = 0;
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                Ok(metadata) => size += metadata.len(),
                Err(_) => {}
            }
        }
    }
    size
}
