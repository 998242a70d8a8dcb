//! Writing events: one `write` each, by any number of processes at once.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::Event;
use crate::config::Config;
use crate::kernel::journal::Journal;

/// Where events go.
#[derive(Debug, Clone, Default)]
pub struct Sink {
    /// The file; none for the backend `none`.
    path: Option<PathBuf>,
    /// Its limit, 0 for none.
    max_size: u64,
    /// Events about new containers carry what `inspect` says.
    inspect_data: bool,
    /// Health checks are no events.
    without_health: bool,
    /// The backend `journald`: they go to the journal as well, for its readers.
    journal: bool,
}

impl Sink {
    /// What the configuration and `--events-backend` say; the file is in `data` unless they name another.
    #[must_use]
    pub fn new(config: &Config, backend: Option<&str>, data: &Path) -> Self {
        let engine = &config.engine;
        let backend = backend.unwrap_or(&engine.events_logger);
        let path = match engine.events_logfile_path.as_str() {
            "" => data.join("events.log"),
            path => PathBuf::from(path),
        };
        let path = (!matches!(backend, "none" | "null")).then_some(path);
        Self {
            path,
            max_size: engine.events_logfile_max_size.0,
            inspect_data: engine.events_container_create_inspect_data,
            without_health: !engine.healthcheck_events,
            journal: backend == "journald",
        }
    }

    /// The file that events go to.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Whether events about new containers carry what `inspect` says.
    #[must_use]
    pub fn wants_inspect_data(&self) -> bool {
        self.inspect_data && self.path.is_some()
    }

    /// Whether health checks are told.
    #[must_use]
    pub fn wants_health(&self) -> bool {
        !self.without_health
    }

    /// Writes events down. An operation that was done does not become undone because nobody could be told: a
    /// full disk or a directory that is not there loses the events and nothing else.
    pub fn emit(&self, events: &[Event]) {
        if let Some(path) = &self.path {
            let text: String = events.iter().map(Event::line).collect();
            let _ = self.append(path, &text);
            if self.journal {
                let _ = to_journal(events);
            }
        }
    }

    fn append(&self, path: &Path, text: &str) -> io::Result<()> {
        loop {
            let file = open(path)?;
            flock(&file, FlockOperation::LockShared)?;
            let metadata = file.metadata()?;
            if metadata.nlink() == 0 {
                // It was replaced between the open and the lock.
                continue;
            }
            if self.max_size == 0 || metadata.len() + (text.len() as u64) <= self.max_size {
                return write_whole(&file, text, metadata.len());
            }
            // Both may fail to get it at once where each holds the shared lock: it is given up first.
            flock(&file, FlockOperation::Unlock)?;
            flock(&file, FlockOperation::LockExclusive)?;
            let metadata = file.metadata()?;
            if metadata.nlink() > 0 && metadata.len() + (text.len() as u64) > self.max_size {
                rotate(path, &file, text)?;
                return Ok(());
            }
        }
    }
}

/// Sends events to the journal with podman's fields.
fn to_journal(events: &[Event]) -> crate::kernel::Result<()> {
    let journal = Journal::open()?;
    for event in events {
        let (time, message) = (event.time.to_string(), event.line());
        let code = event.container_exit_code.map(|code| code.to_string()).unwrap_or_default();
        let labels = event.attributes.as_ref().map(|labels| serde_json::json!(labels).to_string());
        let fields = [
            ("MESSAGE", message.trim_end()),
            ("PRIORITY", "6"),
            ("SYSLOG_IDENTIFIER", "rbox"),
            ("PODMAN_EVENT", &event.status),
            ("PODMAN_TYPE", &event.kind),
            ("PODMAN_TIME", &time),
            ("PODMAN_ID", &event.id),
            ("PODMAN_NAME", &event.name),
            ("PODMAN_IMAGE", &event.image),
            ("PODMAN_EXIT_CODE", &code),
            ("PODMAN_LABELS", labels.as_deref().unwrap_or_default()),
            ("PODMAN_HEALTH_STATUS", &event.health_status),
            ("PODMAN_HEALTH_LOG", &event.health_log),
            ("ERROR", &event.error),
        ];
        let given: Vec<(&str, &[u8])> = fields
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (*key, value.as_bytes()))
            .collect();
        journal.send(&given)?;
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).read(true).create(true).mode(0o600).open(path)
}

/// Appends in one call. What got through of a text that did not fit the disk is taken back, if
/// nobody has written behind it.
fn write_whole(mut file: &File, text: &str, length: u64) -> io::Result<()> {
    let written = file.write(text.as_bytes())?;
    if written < text.len() && file.metadata()?.len() == length + written as u64 {
        file.set_len(length)?;
    }
    Ok(())
}

/// Replaces the file by one with its newer half and `text`.
fn rotate(path: &Path, file: &File, text: &str) -> io::Result<()> {
    let new = path.with_added_extension("new");
    let mut next = File::options().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    let mark = |position: &str| {
        let mut event = Event::new("system", "log-rotation");
        event.name = path.display().to_string();
        event.attributes =
            Some([("io.podman.event.rotate".to_owned(), position.to_owned())].into_iter().collect());
        event.line()
    };
    let mut old = BufReader::new(file);
    old.seek(SeekFrom::Start(file.metadata()?.len() / 2))?;
    // The rest of a line that began before.
    old.read_until(b'\n', &mut Vec::new())?;
    let mut kept = Vec::new();
    old.read_to_end(&mut kept)?;
    let whole = [mark("begin").as_bytes(), &kept, mark("end").as_bytes(), text.as_bytes()].concat();
    next.write_all(&whole)?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = crate::kernel::scratch::path(&format!("events-{name}"));
        std::fs::create_dir_all(&dir).unwrap();
        dir.join("events.log")
    }

    fn sink(path: &Path, max_size: u64) -> Sink {
        Sink { path: Some(path.to_owned()), max_size, ..Sink::default() }
    }

    /// Many writers and a limit: every line is whole, and the newest ones are there.
    #[test]
    fn writers_at_once_tear_nothing() {
        let path = scratch("writers");
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let sink = sink(&path, 20_000);
                scope.spawn(move || {
                    for number in 0..100 {
                        sink.emit(&[Event::volume("create", &format!("{writer}-{number}"))]);
                    }
                    sink.emit(&[Event::volume("last", &writer.to_string())]);
                });
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() < 20_500, "{}", text.len());
        let events: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(events.iter().any(|event| event.kind == "system"));
        sink(&path, 0).emit(&[Event::volume("create", "after")]);
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"after\""));
    }

    #[test]
    fn lines_are_those_of_podman() {
        let path = scratch("lines");
        let mut event = Event::image("pull", "abc", "quay.io/x:1");
        event.time = "2022-04-06T09:26:42.723667951Z".parse().unwrap();
        sink(&path, 0).emit(&[event.clone()]);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "{\"ID\":\"abc\",\"Name\":\"quay.io/x:1\",\"Status\":\"pull\",\
             \"Time\":\"2022-04-06T09:26:42.723667951Z\",\"Type\":\"image\",\"Attributes\":null}\n"
        );
        let other = text.replace("42.723667951Z", "42.723667951+00:00");
        assert_eq!(serde_json::from_str::<Event>(&other).unwrap(), event);
    }
}
