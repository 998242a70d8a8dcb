//! Reading the two small files of each of many containers.
//!
//! The kernel's half of the work (open, read, close) and ours (parse, judge) take about as long: where there are many
//! containers one thread reads ahead of the other. It allocates nothing while it does, and neither ever sleeps before
//! the end: two threads that both did all of it took longer than one, waiting for each other at the allocator's lock.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::slice::Chunks;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;

use super::brief::Brief;
use super::filter::Filters;
use super::lookup::{RECORD, STATE, parse_json};
use super::{ContainerId, Containers, Record, Result, State, Time};
use crate::kernel::{self, file};

/// From so many containers on, a thread takes less time than it saves.
const MANY: usize = 64;

/// So many containers are read at once.
const BATCH: usize = 16;

/// A record, or a part of one.
pub(super) trait RecordPart: DeserializeOwned {
    /// When the container was created.
    fn created(&self) -> Time;

    /// The record, if this is all of it.
    fn whole(&self) -> Option<&Record> {
        None
    }
}

/// What `take` makes of the containers that pass the filters.
pub(super) struct Survey<'a, R, T> {
    containers: &'a Containers,
    filters: &'a Filters,
    ids: &'a [ContainerId],
    take: &'a dyn Fn(R, State) -> T,
    found: Vec<Found<'a, T>>,
    unreadable: Vec<ContainerId>,
}

/// What is kept of a container, and its place in the order.
struct Found<'a, T> {
    created: Time,
    id: &'a ContainerId,
    value: T,
}

/// The directory of all containers: the way to it is walked once.
struct Table(OwnedFd);

/// What is still to be read.
struct Queue<'a> {
    parts: Chunks<'a, ContainerId>,
    taken: AtomicUsize,
}

/// The files of some containers, one text after the other.
#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    files: Vec<Files>,
    /// Of the file that is being read.
    path: String,
}

/// The two files of a container.
struct Files {
    record: Place,
    state: Place,
}

/// Where the text of a file is, or why it could not be read.
type Place = std::result::Result<Range<usize>, Errno>;

/// The text itself.
type Text<'a> = std::result::Result<&'a [u8], Errno>;

/// A container without a record that can be understood.
struct Unreadable;

impl Containers {
    /// What `take` makes of all containers that pass `filters`, oldest first, and the ids of those that were removed
    /// meanwhile or are damaged ([`Self::damaged_among`]). Not for commands that go on to clone or to enter a
    /// namespace: a thread that has ended may still count for a moment.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn survey<T>(
        &self,
        filters: &Filters,
        take: impl Fn(Brief, State) -> T,
    ) -> Result<(Vec<T>, Vec<ContainerId>)> {
        let ids = self.ids()?;
        let survey = Survey::new(self, filters, &ids, &take);
        // Asked last: it takes several system calls.
        let helps =
            ids.len() >= MANY && thread::available_parallelism().is_ok_and(|threads| threads.get() > 1);
        Ok(if helps { survey.ahead()? } else { survey.alone()? }.oldest_first())
    }
}

impl RecordPart for Record {
    fn created(&self) -> Time {
        self.created
    }

    fn whole(&self) -> Option<&Record> {
        Some(self)
    }
}

impl RecordPart for Brief {
    fn created(&self) -> Time {
        self.created
    }
}

impl<'a, R: RecordPart, T> Survey<'a, R, T> {
    pub(super) fn new(
        containers: &'a Containers,
        filters: &'a Filters,
        ids: &'a [ContainerId],
        take: &'a dyn Fn(R, State) -> T,
    ) -> Self {
        let found = Vec::with_capacity(ids.len());
        Self { containers, filters, ids, take, found, unreadable: Vec::new() }
    }

    /// Reads and parses in turn.
    pub(super) fn alone(mut self) -> Result<Self> {
        if self.ids.is_empty() {
            return Ok(self);
        }
        let table = Table::open(self.containers)?;
        let mut batch = Batch::default();
        for part in self.ids.chunks(BATCH) {
            batch.read(&table, part);
            self.add(part, &batch);
        }
        Ok(self)
    }

    /// Parses what another thread reads, and reads where that is behind.
    fn ahead(mut self) -> Result<Self> {
        let table = Table::open(self.containers)?;
        let queue = Queue { parts: self.ids.chunks(BATCH), taken: AtomicUsize::new(0) };
        let (filled, full) = mpsc::channel();
        let (emptied, empty) = mpsc::channel::<Batch>();
        let (table, queue) = (&table, &queue);
        let reader = move || {
            while let Some(part) = queue.take() {
                let mut batch = empty.try_recv().unwrap_or_default();
                batch.read(table, part);
                if filled.send((part, batch)).is_err() {
                    return;
                }
            }
        };
        let done = thread::scope(|scope| {
            // One process more than the user may have is no reason not to show her what she has.
            thread::Builder::new().spawn_scoped(scope, reader).ok()?;
            let mut own = Batch::default();
            loop {
                if let Ok((part, batch)) = full.try_recv() {
                    self.add(part, &batch);
                    let _ = emptied.send(batch);
                } else if let Some(part) = queue.take() {
                    own.read(table, part);
                    self.add(part, &own);
                } else {
                    full.iter().for_each(|(part, batch)| self.add(part, &batch));
                    return Some(());
                }
            }
        });
        if done.is_some() { Ok(self) } else { self.alone() }
    }

    /// Takes what passes the filters.
    fn add(&mut self, ids: &'a [ContainerId], batch: &Batch) {
        for (id, files) in ids.iter().zip(&batch.files) {
            match self.judge(id, batch.text(&files.record), batch.text(&files.state)) {
                Ok(Some((record, state))) => {
                    let created = record.created();
                    self.found.push(Found { created, id, value: (self.take)(record, state) });
                }
                Ok(None) => {}
                Err(Unreadable) => self.unreadable.push(id.clone()),
            }
        }
    }

    /// A container as its files say, if it passes the filters.
    fn judge(
        &self,
        id: &ContainerId,
        record: Text<'_>,
        state: Text<'_>,
    ) -> std::result::Result<Option<(R, State)>, Unreadable> {
        let part: R = self.parse_record(id, record)?;
        let state = self
            .parse(id, STATE, state)
            .and_then(|stored| self.containers.judge(id, stored))
            .unwrap_or_else(|_| State::unknown(self.containers.dir(id)));
        let passes = match part.whole() {
            _ if self.filters.is_empty() => true,
            Some(whole) => self.filters.matches(whole, &state),
            None => self.filters.matches(&self.parse_record(id, record)?, &state),
        };
        Ok(passes.then_some((part, state)))
    }

    fn parse_record<D: DeserializeOwned>(
        &self,
        id: &ContainerId,
        text: Text<'_>,
    ) -> std::result::Result<D, Unreadable> {
        self.parse(id, RECORD, text).ok().flatten().ok_or(Unreadable)
    }

    fn parse<D: DeserializeOwned>(
        &self,
        id: &ContainerId,
        (name, known): (&str, u32),
        text: Text<'_>,
    ) -> Result<Option<D>> {
        let path = || self.containers.dir(id).join(name);
        match text {
            Ok(text) => parse_json(text, known, path),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(kernel::Error::path("read", path(), errno).into()),
        }
    }
}

impl<R, T> Survey<'_, R, T> {
    /// What was kept, oldest first, and what cannot be read.
    pub(super) fn oldest_first(mut self) -> (Vec<T>, Vec<ContainerId>) {
        // What is kept of a container is large: each is moved once.
        self.found.sort_by_cached_key(|found| (found.created, found.id));
        (self.found.into_iter().map(|found| found.value).collect(), self.unreadable)
    }
}

impl<'a> Queue<'a> {
    /// The next containers to read, for one of those who ask.
    fn take(&self) -> Option<&'a [ContainerId]> {
        self.parts.clone().nth(self.taken.fetch_add(1, Ordering::Relaxed))
    }
}

impl Table {
    fn open(containers: &Containers) -> Result<Self> {
        let path = containers.data.join("containers");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&path, flags, Mode::empty());
        Ok(Self(dir.map_err(|e| kernel::Error::path("open", path, e))?))
    }
}

impl Batch {
    /// Forgets what it has, and reads the files of `ids`.
    fn read(&mut self, table: &Table, ids: &[ContainerId]) {
        self.text.clear();
        self.files.clear();
        for id in ids {
            let record = self.read_one(table, id, RECORD);
            let state = self.read_one(table, id, STATE);
            self.files.push(Files { record, state });
        }
    }

    fn read_one(&mut self, table: &Table, id: &ContainerId, (name, _): (&str, u32)) -> Place {
        let begin = self.text.len();
        self.path.clear();
        self.path.extend([id.as_str(), "/", name]);
        file::append_record_at(&table.0, &self.path, &mut self.text)?;
        Ok(begin..self.text.len())
    }

    fn text(&self, place: &Place) -> Text<'_> {
        place.clone().map(|range| &self.text[range])
    }
}
