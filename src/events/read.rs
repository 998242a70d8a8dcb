//! Reading events, and following them over a rotation without losing or repeating one.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Event;
use crate::kernel::lines::LineBuffer;
use crate::kernel::watch::DirectoryWatch;
use crate::kernel::{Error, Result, poll};

/// Reads the file from the beginning or the end.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: Option<File>,
    rest: LineBuffer,
    /// The line given out last: where to go on after a rotation.
    last: Vec<u8>,
    watch: Option<DirectoryWatch>,
}

impl Reader {
    /// Begins at the first event, or after the last one there is.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub fn open(path: &Path, from_start: bool) -> Result<Self> {
        let mut reader = Self {
            path: path.to_owned(),
            file: None,
            rest: LineBuffer::default(),
            last: Vec::new(),
            watch: None,
        };
        reader.file = reader.reopen()?;
        if !from_start {
            reader.seek_to_end()?;
        }
        Ok(reader)
    }

    fn reopen(&self) -> Result<Option<File>> {
        match File::open(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::path("open", &self.path, e)),
        }
    }

    /// Leaves out what is there, but keeps the last line, by which the place is found again.
    fn seek_to_end(&mut self) -> Result<()> {
        const TAIL: u64 = 16 * 1024;
        let Some(file) = &mut self.file else { return Ok(()) };
        let error = |e| Error::path("read", &self.path, e);
        let length = file.metadata().map_err(error)?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).map_err(error)?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail).map_err(error)?;
        if let Some(line) = tail.split(|&b| b == b'\n').rfind(|line| !line.is_empty()) {
            self.last = line.to_vec();
        }
        Ok(())
    }

    /// The next event that is there now. A line that is none is passed over.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        while let Some(line) = self.next_line()? {
            let event = serde_json::from_slice(&line);
            self.last = line;
            if let Ok(event) = event {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.rest.next_line() {
                return Ok(Some(line));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads more; `false` when there is nothing now.
    fn fill(&mut self) -> Result<bool> {
        let error = |path: &Path, e| Error::path("read", path, e);
        let Some(file) = &mut self.file else {
            self.file = self.reopen()?;
            return Ok(self.file.is_some());
        };
        if self.rest.fill(|piece| file.read(piece)).map_err(|e| error(&self.path, e))? > 0 {
            return Ok(true);
        }
        if file.metadata().map_err(|e| error(&self.path, e))?.nlink() > 0 {
            return Ok(false);
        }
        // Replaced: this one is read to its end, and nobody writes to it any more.
        let Some(mut file) = self.reopen()? else { return Ok(false) };
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|e| error(&self.path, e))?;
        self.rest = text.split_off(after_line(&text, &self.last)).into();
        self.file = Some(file);
        Ok(true)
    }

    /// Waits for a change, at most this long.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn wait(&mut self, most: Option<Duration>) -> Result<()> {
        let Some(watch) = &self.watch else {
            // What happened before the watch is seen by the reading that follows.
            let watch = DirectoryWatch::new();
            let directory = self.path.parent().unwrap_or(Path::new("/"));
            match watch.and_then(|watch| watch.add(directory).map(|()| watch)) {
                Ok(watch) => self.watch = Some(watch),
                // No instance left for this user: looked at now and then.
                Err(_) => std::thread::sleep(most.unwrap_or(Duration::MAX).min(Duration::from_millis(200))),
            }
            return Ok(());
        };
        poll::readable(watch.as_fd(), most)?;
        watch.clear();
        Ok(())
    }
}

/// Where the line after `last` begins; in a text that does not have it, after the mark at its beginning.
fn after_line(text: &[u8], last: &[u8]) -> usize {
    let (mut at, mut found) = (0, None);
    for line in text.split_inclusive(|&b| b == b'\n') {
        at += line.len();
        if found.is_none() || line.strip_suffix(b"\n") == Some(last) {
            found = Some(at);
        }
    }
    found.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::events::Sink;

    #[test]
    fn rotations_neither_lose_nor_repeat() {
        let dir = crate::kernel::scratch::path("events-read");
        std::fs::create_dir_all(&dir).unwrap();
        let mut config = Config::default();
        config.engine.events_logfile_max_size.0 = 3000;
        let sink = Sink::new(&config, None, &dir);
        sink.emit(&[Event::volume("create", "before")]);
        let mut reader = Reader::open(sink.path().unwrap(), false).unwrap();
        assert_eq!(reader.next_event().unwrap(), None);
        let mut seen = Vec::new();
        for number in 0..200 {
            sink.emit(&[Event::volume("create", &number.to_string())]);
            // Two rotations may pass between two looks.
            if number % 7 == 0 {
                while let Some(event) = reader.next_event().unwrap() {
                    seen.push(event);
                }
            }
        }
        while let Some(event) = reader.next_event().unwrap() {
            seen.push(event);
        }
        assert!(seen.iter().any(|event| event.kind == "system"), "the limit was never reached");
        let names: Vec<String> =
            seen.into_iter().filter(|event| event.kind == "volume").map(|event| event.name).collect();
        assert_eq!(names, (0..200).map(|number: i32| number.to_string()).collect::<Vec<_>>());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_file_may_come_later() {
        let path = crate::kernel::scratch::path("events-later");
        let mut reader = Reader::open(&path, false).unwrap();
        assert_eq!(reader.next_event().unwrap(), None);
        std::fs::File::create(&path).unwrap();
        std::os::unix::fs::symlink("x", path.with_extension("y")).unwrap();
        assert_eq!(reader.next_event().unwrap(), None);
        std::fs::remove_file(path.with_extension("y")).unwrap();
        std::fs::remove_file(path).unwrap();
    }
}
