//! Small changes of containers that exist: pause, unpause, rename.

use std::ffi::OsStr;

use rustix::fs::Mode;

use super::id::check_name;
use super::{Containers, Error, Record, Result, State, Status, cgroup};
use crate::kernel::file::{self, Durability};

impl Containers {
    /// Freezes all processes of a container.
    ///
    /// # Errors
    /// When it does not run, or where cgroups cannot be frozen.
    pub fn pause(&self, record: &Record) -> Result<()> {
        let _lock = self.lock(&record.id)?;
        let state = self.state(&record.id)?;
        match state.status {
            Status::Running => {}
            Status::Paused => return Err(improper(record, &state, "is already paused")),
            _ => return Err(improper(record, &state, "is not running, can't pause")),
        }
        set_frozen(&state, true)?;
        self.tell(record, "pause");
        Ok(())
    }

    /// Lets a paused container go on.
    ///
    /// # Errors
    /// When it is not paused.
    pub fn unpause(&self, record: &Record) -> Result<()> {
        let _lock = self.lock(&record.id)?;
        let state = self.state(&record.id)?;
        if state.status != Status::Paused {
            return Err(improper(record, &state, "is not paused, can't unpause"));
        }
        set_frozen(&state, false)?;
        self.tell(record, "unpause");
        Ok(())
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// When the name is taken or none.
    pub fn rename(&self, record: &Record, name: &str) -> Result<()> {
        check_name(name)?;
        let _lock = self.lock(&record.id)?;
        let Some(mut now) = self.record(&record.id)? else {
            return Err(Error::NotFound { reference: record.id.to_string() });
        };
        if now.name == name {
            return Err(Error::NameInUse { name: name.to_owned(), id: now.id.to_string() });
        }
        // The name is valid once the record carries it. A crash before that leaves a name that nobody confirms.
        self.take_name(name, &now.id)?;
        self.sync_name(name)?;
        let old = std::mem::replace(&mut now.name, name.to_owned());
        let written = self.write_record(&now);
        // It may have failed with the new record in its place already: the name that the record carries stays.
        let renamed = written.is_ok() || self.record(&now.id)?.is_some_and(|found| found.name == name);
        if renamed {
            self.tell(&now, "rename");
        }
        self.release_name(if renamed { &old } else { name }, &now.id)?;
        written
    }

    /// Replaces a container's record.
    fn write_record(&self, record: &Record) -> Result<()> {
        let bytes = serde_json::to_vec(record).expect("a record has only strings as keys");
        let mode = Mode::RUSR | Mode::WUSR;
        let name = OsStr::new("record.json");
        Ok(file::write_atomic(&self.dir(&record.id), name, &bytes, mode, Durability::Sync)?)
    }
}

fn improper(record: &Record, state: &State, what: &str) -> Error {
    Error::WrongState { what: format!("{:?} {what}", record.id.as_str()), status: state.status }
}

fn set_frozen(state: &State, frozen: bool) -> Result<()> {
    let path = state.stored.as_ref().map_or("", |stored| stored.cgroup.as_str());
    cgroup::freeze(path, frozen)
}
