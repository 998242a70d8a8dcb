//! Listing containers, and finding those that a command line means.
//!
//! A list reads two small files a container and takes no lock. A container whose files are damaged is shown
//! as far as possible and never keeps the others from being shown.

use std::path::Path;

use super::filter::Filters;
use super::survey::Survey;
use super::{Containers, Error, Record, Result, State, Status};
use crate::store::Store;

/// A container with its state.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its record.
    pub record: Record,
    /// Its state as of now.
    pub state: State,
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
        let ids = self.ids()?;
        let survey = Survey::new(self, filters, &ids, &|record, state| Listed { record, state });
        Ok(survey.alone()?.oldest_first().0)
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
