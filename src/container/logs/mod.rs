//! Reading a container's log, from the beginning, the end or a point in time, and following it.

mod journal;
mod target;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use self::journal::JournalReader;
use super::record::LogDriver;
use super::{Containers, Error, Record, Result};
use crate::kernel::lines::LineBuffer;
use crate::kernel::poll::{self, Events};
use crate::kernel::watch::DirectoryWatch;
use crate::kernel::{self};
use crate::monitor::line::{Format, Line};
use crate::monitor::log::numbered;
use crate::monitor::protocol::Stream;

/// Which part of a log is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogOptions {
    /// Only what was written after this.
    pub since: Option<Timestamp>,
    /// Only what was written before this.
    pub until: Option<Timestamp>,
    /// Only so many lines at the end.
    pub tail: Option<u64>,
}

/// What becomes of a line.
enum Verdict {
    Wanted,
    PassedOver,
    /// Neither this one nor any after it is wanted.
    Last,
}

impl LogOptions {
    fn judge(&self, line: &LogLine<'_>) -> Verdict {
        if self.since.is_none() && self.until.is_none() {
            return Verdict::Wanted;
        }
        let Some(time) = line.time.get() else { return Verdict::PassedOver };
        match () {
            () if self.since.is_some_and(|since| time < since) => Verdict::PassedOver,
            () if self.until.is_some_and(|until| time > until) => Verdict::Last,
            () => Verdict::Wanted,
        }
    }
}

/// A line of a log, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// When it was written.
    pub time: LogTime<'a>,
    /// Which stream it belongs to.
    pub stream: Stream,
    /// Whether the line ends here.
    pub whole: bool,
    /// The text without its newline.
    pub text: Cow<'a, [u8]>,
}

/// A point in time, which most readers of a log never look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTime<'a> {
    /// As it is in the file.
    Text(Cow<'a, [u8]>),
    /// Known already.
    Known(Timestamp),
}

impl LogTime<'_> {
    /// The time, `None` where the text is none: the line is damaged then.
    #[must_use]
    pub fn get(&self) -> Option<Timestamp> {
        match self {
            Self::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            Self::Known(time) => Some(*time),
        }
    }
}

/// An older file of a log: plain, or its unpacked content.
trait Older: Read + Seek + std::fmt::Debug {}

impl Older for File {}
impl Older for Cursor<Vec<u8>> {}

/// Reads one log.
#[derive(Debug)]
pub struct LogReader {
    /// Whose log it is.
    pub record: Record,
    path: PathBuf,
    format: Format,
    /// Where there is no file.
    journal: Option<JournalReader>,
    file: Option<File>,
    /// Older files, to be read first, the oldest one in front.
    older: VecDeque<Box<dyn Older>>,
    /// The inode of `file`: another one under the path means that the log was rotated.
    inode: u64,
    rest: LineBuffer,
    options: LogOptions,
    /// `until` has passed.
    done: bool,
}

impl LogReader {
    /// Opens the log of a container.
    ///
    /// # Errors
    /// When the container has none, or it cannot be read.
    pub fn open(containers: &Containers, record: Record, options: LogOptions) -> Result<Self> {
        let driver = record.log.driver;
        let path = match (driver, containers.log_path(&record)) {
            (LogDriver::None, _) => {
                return Err(Error::Invalid { what: "this container is using the 'none' log driver, cannot read logs: this container is not logging output".to_owned() });
            }
            (LogDriver::Journald, _) => containers.dir(&record.id).join("journal"),
            (_, None) => {
                return Err(Error::Invalid { what: "this container is using the 'passthrough' log driver, cannot read logs: this container is not logging output".to_owned() });
            }
            (_, Some(path)) => path,
        };
        let journal = (driver == LogDriver::Journald).then(|| JournalReader::new(&record, options));
        let format = target::format(driver);
        let mut reader = Self {
            record,
            path,
            format,
            journal,
            file: None,
            older: VecDeque::new(),
            inode: 0,
            rest: LineBuffer::default(),
            options,
            done: false,
        };
        reader.open_older()?;
        reader.reopen()?;
        if let Some(tail) = options.tail {
            reader.seek_to_tail(tail)?;
        }
        Ok(reader)
    }

    fn open_older(&mut self) -> Result<()> {
        for number in 1.. {
            if let Some(file) = open(&numbered(&self.path, number, ""))? {
                self.older.push_front(Box::new(file));
            } else if let Some(file) = open(&numbered(&self.path, number, ".gz"))? {
                let mut text = Vec::new();
                // A file that is just being written ends early.
                let _ = flate2::read::GzDecoder::new(file).read_to_end(&mut text);
                self.older.push_front(Box::new(Cursor::new(text)));
            } else {
                break;
            }
        }
        Ok(())
    }

    /// The container has ended: what is on its way to the log gets there.
    pub fn settle(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.settle();
        }
    }

    /// The log's directory, to be watched.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Whether nothing more can come that is wanted.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done || self.options.until.is_some_and(|until| Timestamp::now() >= until)
    }

    fn reopen(&mut self) -> Result<()> {
        self.file = open(&self.path)?;
        self.inode = inode(self.file.as_ref());
        Ok(())
    }

    /// Gives all lines that are there and wanted to `take`.
    ///
    /// # Errors
    /// When the log cannot be read, and what `take` fails with.
    pub fn each<E: From<Error>>(
        &mut self,
        mut take: impl FnMut(&Record, LogLine<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        if self.journal.is_some() {
            return self.each_entry(take);
        }
        while !self.done {
            let Some(range) = self.rest.next_range() else {
                if !self.fill()? {
                    break;
                }
                continue;
            };
            let Some(line) = parse(self.format, self.rest.line(range)) else { continue };
            match self.options.judge(&line) {
                Verdict::Wanted => take(&self.record, line)?,
                Verdict::PassedOver => {}
                Verdict::Last => self.done = true,
            }
        }
        Ok(())
    }

    /// The same for the journal.
    fn each_entry<E: From<Error>>(
        &mut self,
        mut take: impl FnMut(&Record, LogLine<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        while !self.done
            && let Some(journal) = &mut self.journal
            && let Some(line) = journal.next_line()?
        {
            match self.options.judge(&line) {
                Verdict::Wanted => take(&self.record, line)?,
                Verdict::PassedOver => {}
                Verdict::Last => self.done = true,
            }
        }
        Ok(())
    }

    /// Reads more; `false` when there is nothing more now.
    fn fill(&mut self) -> Result<bool> {
        loop {
            let reading_older = !self.older.is_empty();
            let file: &mut dyn Read = match (self.older.front_mut(), &mut self.file) {
                (Some(older), _) => older,
                (None, Some(file)) => file,
                (None, None) => {
                    self.reopen()?;
                    if self.file.is_none() {
                        return Ok(false);
                    }
                    continue;
                }
            };
            let read = self.rest.fill(|piece| file.read(piece));
            if read.map_err(|e| kernel::Error::path("read", &self.path, e))? > 0 {
                return Ok(true);
            }
            if reading_older {
                self.older.pop_front();
            } else if inode(open(&self.path)?.as_ref()) != self.inode {
                // The log was begun again, and the held file has been read to its end.
                self.reopen()?;
            } else {
                return Ok(false);
            }
        }
    }

    /// Goes to the last `wanted` lines: the newest file is searched from its end, then the older ones.
    fn seek_to_tail(&mut self, wanted: u64) -> Result<()> {
        let (mut wanted, mut at_end) = (wanted, true);
        if let Some(file) = &mut self.file {
            let (start, found) = tail_start(file, &self.path, self.format, wanted, at_end)?;
            seek(file, &self.path, start)?;
            wanted -= found;
            at_end = false;
            if start > 0 || wanted == 0 {
                self.older.clear();
                return Ok(());
            }
        }
        for number in (0..self.older.len()).rev() {
            let older = &mut self.older[number];
            let (start, found) = tail_start(older, &self.path, self.format, wanted, at_end)?;
            seek(older, &self.path, start)?;
            wanted -= found;
            at_end = false;
            if start > 0 || wanted == 0 {
                self.older.drain(..number);
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Where the last `wanted` lines of `file` begin, and how many of them there are. A line that is not ended yet
/// counts as one at the end of the log.
fn tail_start(
    file: &mut (impl Read + Seek),
    path: &Path,
    format: Format,
    wanted: u64,
    at_end: bool,
) -> Result<(u64, u64)> {
    const BLOCK: u64 = 64 * 1024;
    let length = file.seek(SeekFrom::End(0)).map_err(|e| kernel::Error::path("lseek", path, e))?;
    let (mut begin, mut text) = (length, Vec::new());
    loop {
        // Lines are counted where they end: the beginnings (P) before belong to the same one.
        let mut found = 0;
        let mut start = text.len();
        let mut last_is_open = at_end;
        for line in complete_lines(&text, begin == 0).rev() {
            let whole = format.parse(&text[line.clone()]).is_some_and(|line| line.whole);
            if whole || last_is_open {
                if found == wanted {
                    return Ok((begin + start as u64, found));
                }
                found += 1;
            }
            last_is_open = false;
            start = line.start;
        }
        if begin == 0 {
            return Ok((0, found));
        }
        let size = BLOCK.min(begin);
        begin -= size;
        let mut block = vec![0; usize::try_from(size).unwrap_or_default()];
        seek(file, path, begin)?;
        file.read_exact(&mut block).map_err(|e| kernel::Error::path("read", path, e))?;
        block.append(&mut text);
        text = block;
    }
}

/// The ranges of all lines in `text`; the first one only if it is known to begin there.
fn complete_lines(
    text: &[u8],
    from_start: bool,
) -> impl DoubleEndedIterator<Item = std::ops::Range<usize>> + use<> {
    let mut lines = Vec::new();
    let mut start = 0;
    for (at, _) in text.iter().enumerate().filter(|(_, b)| **b == b'\n') {
        lines.push(start..at);
        start = at + 1;
    }
    let skip = usize::from(!from_start && !lines.is_empty());
    lines.into_iter().skip(skip)
}

fn seek(file: &mut impl Seek, path: &Path, to: u64) -> Result<()> {
    file.seek(SeekFrom::Start(to)).map(drop).map_err(|e| kernel::Error::path("lseek", path, e).into())
}

/// Opens a file, `None` if there is none.
fn open(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(kernel::Error::path("open", path, e).into()),
    }
}

fn inode(file: Option<&File>) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    file.and_then(|file| file.metadata().ok()).map_or(0, |metadata| metadata.ino())
}

/// Reads a line of the file.
fn parse(format: Format, line: &[u8]) -> Option<LogLine<'_>> {
    let Line { time, stream, whole, text } = format.parse(line)?;
    Some(LogLine { time: LogTime::Text(time), stream, whole, text })
}

/// Waits for more lines of several logs.
#[derive(Debug)]
pub struct Follower {
    watch: Option<DirectoryWatch>,
}

impl Follower {
    /// Watches the logs of `readers`.
    #[must_use]
    pub fn new(readers: &[LogReader]) -> Self {
        let watch = DirectoryWatch::new().ok();
        let watch = watch.filter(|watch| readers.iter().all(|reader| watch.add(reader.directory()).is_ok()));
        Self { watch }
    }

    /// Waits until one of the logs may have grown, a container has ended, or a while has passed.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn wait(&self, containers: &Containers, readers: &[&LogReader]) -> Result<()> {
        // Without a watch (none left for this user) the files are looked at often.
        let journal = readers.iter().any(|reader| reader.journal.is_some());
        let longest = if journal {
            Duration::from_millis(250)
        } else if self.watch.is_some() {
            Duration::from_secs(1)
        } else {
            Duration::from_millis(50)
        };
        let until = readers.iter().filter_map(|reader| reader.options.until).min();
        let left = until.map(|until| Duration::try_from(Timestamp::now().until(until).unwrap_or_default()));
        let timeout = match left {
            Some(Ok(left)) => left.min(longest),
            Some(Err(_)) => Duration::ZERO,
            None => longest,
        };
        let pidfds: Vec<_> = readers
            .iter()
            .filter_map(|reader| containers.state(&reader.record.id).ok()?.stored?.init.open().ok()?)
            .collect();
        let mut set: Vec<(BorrowedFd<'_>, Events)> =
            pidfds.iter().map(|pidfd| (pidfd.as_fd(), Events::READ)).collect();
        set.extend(self.watch.as_ref().map(|watch| (watch.as_fd(), Events::READ)));
        let begin = Instant::now();
        poll::wait(&set, &mut Vec::new(), Some(timeout))?;
        if let Some(watch) = &self.watch {
            watch.clear();
        }
        // A container that writes all the time: a few lines at once are enough.
        if begin.elapsed() < Duration::from_millis(1) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> (PathBuf, File) {
        use std::io::Write as _;
        let path = crate::kernel::scratch::path(&format!("logs-{name}"));
        let mut file = File::create(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let file = File::open(&path).unwrap();
        (path, file)
    }

    #[test]
    fn tail_counts_whole_lines() {
        let stamp = "2026-11-22T19:00:00.000000000+00:00 stdout";
        let lines = ["F one", "P tw", "F o", "F three", "P fou"].map(|line| format!("{stamp} {line}\n"));
        let (path, mut log) = file("tail", &lines.concat());
        let offset = |index: usize| lines[..index].iter().map(|line| line.len() as u64).sum::<u64>();
        let table = [(0, 5, 0), (1, 4, 1), (2, 3, 2), (3, 1, 3), (4, 0, 4), (9, 0, 4)];
        for (wanted, first, found) in table {
            let start = tail_start(&mut log, &path, Format::K8s, wanted, true).unwrap();
            assert_eq!(start, (offset(first), found), "{wanted}");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn tail_of_a_long_log_reads_its_end() {
        let line = |n: u32| format!("2026-11-22T19:00:00.000000000+00:00 stdout F line {n}\n");
        let text: String = (0..10_000).map(line).collect();
        let (path, mut log) = file("long", &text);
        let (start, found) = tail_start(&mut log, &path, Format::K8s, 3, true).unwrap();
        assert_eq!(
            (&text[usize::try_from(start).unwrap()..], found),
            (&*(line(9997) + &line(9998) + &line(9999)), 3)
        );
        std::fs::remove_file(path).unwrap();
    }
}
