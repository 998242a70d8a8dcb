//! The container's log file, in the format that CRI, podman and docker tools read.
//!
//! # Format
//!
//! ```text
//! 2026-11-22T19:00:00.000000000+00:00 stdout F a whole line
//! 2026-11-22T19:00:00.000000000+00:00 stderr P the beginning of a line
//! ```
//!
//! Everything that was read from the container is in the file at once: what does not end in a newline
//! is written as `P`. So the file gives back the exact bytes, and a client that fell behind
//! is served from it ([`Replay`]) instead of holding up the container or filling memory.
//!
//! With a limit the file is renamed to `NAME.1` when half of the limit is reached, and begun
//! again: both together never exceed the limit, and the newest half is always there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::protocol::Stream;
use crate::kernel::{self, Result};

/// Flush at this size: a chunk of very short lines grows by a factor of fifty.
const FLUSH: usize = 32 * 1024;

/// Writes the log file.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    /// Bytes in `file`.
    length: u64,
    /// How often the file was begun again.
    generation: u64,
    /// Rotate when a write would pass this.
    limit: u64,
    stamp: Stamp,
    buffer: Vec<u8>,
    /// A write failed (disk full); the next success notes it in the log.
    lost: u64,
}

/// A position in the log, for [`Replay`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    generation: u64,
    offset: u64,
}

impl Writer {
    /// Opens the log at `path` to append; `max_size` 0 means no limit.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path, max_size: u64) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| kernel::Error::path("open", path, e))?;
        let length = file.metadata().map_err(|e| kernel::Error::path("stat", path, e))?.len();
        let limit = if max_size == 0 { u64::MAX } else { (max_size / 2).max(1) };
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            generation: 0,
            limit,
            stamp: Stamp::default(),
            buffer: Vec::new(),
            lost: 0,
        })
    }

    /// Appends what was read from `stream` in one go.
    ///
    /// A full disk must not stop the container: what cannot be written is counted and noted later.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) {
        let name = match stream {
            Stream::Stdout => " stdout ",
            Stream::Stderr => " stderr ",
        };
        if self.lost > 0 {
            let note = format!("[{} bytes of output could not be logged]", self.lost);
            self.line(name, "F ", note.as_bytes());
            self.lost = 0;
            self.flush();
        }
        self.stamp.renew(Timestamp::now());
        let mut rest = bytes;
        while !rest.is_empty() {
            match rest.iter().position(|&b| b == b'\n') {
                Some(end) => {
                    self.line(name, "F ", &rest[..end]);
                    rest = &rest[end + 1..];
                }
                None => {
                    self.line(name, "P ", rest);
                    rest = &[];
                }
            }
            if self.buffer.len() >= FLUSH {
                self.flush();
            }
        }
        self.flush();
        // Idle monitors hold no buffer.
        self.buffer = Vec::new();
    }

    fn line(&mut self, stream: &str, tag: &str, text: &[u8]) {
        for part in [self.stamp.text.as_bytes(), stream.as_bytes(), tag.as_bytes(), text, b"\n"] {
            self.buffer.extend_from_slice(part);
        }
    }

    fn flush(&mut self) {
        let size = self.buffer.len() as u64;
        if self.length > 0 && self.length.saturating_add(size) > self.limit {
            self.rotate();
        }
        match self.file.write_all(&self.buffer) {
            Ok(()) => self.length += size,
            Err(_) => {
                // Take back the part that did get through: half a line would spoil the format.
                let _ = self.file.set_len(self.length);
                self.lost += size;
            }
        }
        self.buffer.clear();
    }

    /// Begins the file again. When that fails, the old one goes on beyond its limit.
    fn rotate(&mut self) {
        let new = self.path.with_added_extension("new");
        let opened = File::options().create(true).truncate(true).write(true).mode(0o600).open(&new);
        let Ok(file) = opened else { return };
        let old = previous(&self.path);
        if std::fs::rename(&self.path, old).is_ok() && std::fs::rename(&new, &self.path).is_ok() {
            self.file = file;
            self.length = 0;
            self.generation += 1;
        }
    }

    /// Where the next byte will be written.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { generation: self.generation, offset: self.length }
    }

    /// Flushes the file to the disk.
    pub fn sync(&self) {
        // What a log loses in a power cut is the end of it; nobody waits for this.
        let _ = self.file.sync_data();
    }
}

/// Where the older half of a limited log is.
#[must_use]
pub fn previous(path: &Path) -> PathBuf {
    path.with_added_extension("1")
}

/// The time of now as text, made again only when the second changes.
#[derive(Debug)]
struct Stamp {
    text: String,
    second: i64,
    zone: Option<TimeZone>,
}

impl Default for Stamp {
    fn default() -> Self {
        Self { text: String::new(), second: i64::MIN, zone: None }
    }
}

impl Stamp {
    /// Digits of the fraction, and where they are: `2026-11-22T19:00:00.` is 20 long.
    const FRACTION: std::ops::Range<usize> = 20..29;

    fn renew(&mut self, now: Timestamp) {
        let zone = self.zone.get_or_insert_with(TimeZone::system);
        if now.as_second() != self.second {
            self.second = now.as_second();
            self.text = now.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string();
            return;
        }
        self.text.replace_range(Self::FRACTION, &format!("{:09}", now.subsec_nanosecond()));
    }
}

/// Gives a client that fell behind the output it has missed.
#[derive(Debug)]
pub struct Replay {
    path: PathBuf,
    file: File,
    at: Position,
    /// Bytes of the file after `at`, read and not given yet.
    buffer: Vec<u8>,
}

/// What [`Replay::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Missed {
    /// Output that the client has not got yet.
    Output(Stream, Vec<u8>),
    /// Some was rotated away in the meantime.
    Gap,
    /// The client has everything.
    Nothing,
}

impl Replay {
    /// Begins at `at`, which is the writer's present position.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub fn new(writer: &Writer, at: Position) -> Result<Self> {
        let file = open_at(&writer.path, at.offset)?;
        Ok(Self { path: writer.path.clone(), file, at, buffer: Vec::new() })
    }

    /// Takes the next missed output, at most `most` bytes of it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn next(&mut self, writer: &Writer, most: usize) -> Result<Missed> {
        loop {
            if let Some((stream, bytes)) = self.take(most) {
                return Ok(Missed::Output(stream, bytes));
            }
            let mut piece = [0; 16 * 1024];
            let n = self.file.read(&mut piece).map_err(|e| kernel::Error::path("read", &self.path, e))?;
            if n > 0 {
                self.buffer.extend_from_slice(&piece[..n]);
                continue;
            }
            let behind = writer.generation - self.at.generation;
            if behind == 0 {
                self.buffer = Vec::new();
                return Ok(Missed::Nothing);
            }
            // The held file has been read to its end, and it is no longer the current one.
            let next = if behind == 1 { writer.path.clone() } else { previous(&writer.path) };
            let generation = if behind == 1 { writer.generation } else { writer.generation - 1 };
            self.file = open_at(&next, 0)?;
            let gap = generation != self.at.generation + 1;
            self.at = Position { generation, offset: 0 };
            self.buffer.clear();
            if gap {
                return Ok(Missed::Gap);
            }
        }
    }

    /// Takes text of whole log lines of one stream out of the buffer.
    fn take(&mut self, most: usize) -> Option<(Stream, Vec<u8>)> {
        let mut out = Vec::new();
        let mut stream = None;
        let mut used = 0;
        while let Some(end) = self.buffer[used..].iter().position(|&b| b == b'\n') {
            let line = &self.buffer[used..used + end];
            let Some((of, whole, text)) = parse_line(line) else {
                used += end + 1;
                continue;
            };
            if stream.is_some_and(|s| s != of) || (!out.is_empty() && out.len() + text.len() >= most) {
                break;
            }
            stream = Some(of);
            out.extend_from_slice(text);
            if whole {
                out.push(b'\n');
            }
            used += end + 1;
        }
        self.buffer.drain(..used);
        self.at.offset += used as u64;
        stream.map(|stream| (stream, out))
    }
}

fn open_at(path: &Path, offset: u64) -> Result<File> {
    let mut file = File::open(path).map_err(|e| kernel::Error::path("open", path, e))?;
    file.seek(SeekFrom::Start(offset)).map_err(|e: io::Error| kernel::Error::path("lseek", path, e))?;
    Ok(file)
}

/// Splits a log line into stream, whether the line was whole, and text.
#[must_use]
pub fn parse_line(line: &[u8]) -> Option<(Stream, bool, &[u8])> {
    let (_, rest) = split_blank(line)?;
    let (stream, rest) = split_blank(rest)?;
    let (tag, text) = split_blank(rest)?;
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    match tag {
        b"F" => Some((stream, true, text)),
        b"P" => Some((stream, false, text)),
        _ => None,
    }
}

fn split_blank(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&b| b == b' ')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("rbox-log-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn lines_have_the_format_of_cri() {
        let dir = Scratch::new("format");
        let path = dir.0.join("ctr.log");
        let mut log = Writer::open(&path, 0).unwrap();
        log.append(Stream::Stdout, b"one\ntwo");
        log.append(Stream::Stderr, b"\n\nx\n");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let ends: Vec<&str> = lines.iter().map(|l| l.split_once(' ').unwrap().1).collect();
        assert_eq!(ends, ["stdout F one", "stdout P two", "stderr F ", "stderr F ", "stderr F x"]);
        let stamp = lines[0].split_once(' ').unwrap().0;
        assert_eq!(stamp.len(), "2026-11-22T19:00:00.000000000+00:00".len(), "{stamp}");
        assert!(stamp.parse::<Timestamp>().is_ok());
    }

    #[test]
    fn stamps_change_within_the_second_and_after_it() {
        let mut stamp = Stamp { zone: Some(TimeZone::UTC), ..Stamp::default() };
        let table = [(1, 5, "01.000000005"), (1, 999_999_999, "01.999999999"), (2, 0, "02.000000000")];
        for (second, nano, end) in table {
            stamp.renew(Timestamp::new(second, nano).unwrap());
            assert_eq!(stamp.text, format!("1970-01-01T00:00:{end}+00:00"));
        }
    }

    #[test]
    fn replay_gives_back_the_exact_bytes() {
        let dir = Scratch::new("replay");
        let mut log = Writer::open(&dir.0.join("l"), 0).unwrap();
        log.append(Stream::Stdout, b"before\n");
        let mut replay = Replay::new(&log, log.position()).unwrap();
        log.append(Stream::Stdout, b"a\nb");
        log.append(Stream::Stdout, b"c\n\n");
        log.append(Stream::Stderr, b"e");
        let next = |replay: &mut Replay, log: &Writer| replay.next(log, 1 << 15).unwrap();
        assert_eq!(next(&mut replay, &log), Missed::Output(Stream::Stdout, b"a\nbc\n\n".to_vec()));
        assert_eq!(next(&mut replay, &log), Missed::Output(Stream::Stderr, b"e".to_vec()));
        assert_eq!(next(&mut replay, &log), Missed::Nothing);
        log.append(Stream::Stderr, b"f\n");
        assert_eq!(next(&mut replay, &log), Missed::Output(Stream::Stderr, b"f\n".to_vec()));
    }

    #[test]
    fn limited_log_rotates_and_replay_follows() {
        let dir = Scratch::new("rotate");
        let path = dir.0.join("l");
        let mut log = Writer::open(&path, 400).unwrap();
        log.append(Stream::Stdout, b"start\n");
        let mut replay = Replay::new(&log, log.position()).unwrap();
        let mut expected = Vec::new();
        for i in 0..5 {
            let line = format!("line {i} {}\n", "x".repeat(20));
            log.append(Stream::Stdout, line.as_bytes());
            expected.extend_from_slice(line.as_bytes());
        }
        let size = |p: &Path| std::fs::metadata(p).map_or(0, |m| m.len());
        assert!(log.generation > 0 && size(&path) + size(&previous(&path)) <= 400);
        let mut got = Vec::new();
        loop {
            match replay.next(&log, 1000).unwrap() {
                Missed::Output(_, bytes) => got.extend(bytes),
                Missed::Gap => panic!("nothing was lost with one rotation"),
                Missed::Nothing => break,
            }
        }
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&expected));
        for i in 0..20 {
            log.append(Stream::Stdout, format!("more {i} {}\n", "y".repeat(60)).as_bytes());
        }
        // First what the held file still has, then the gap, then what is left.
        let mut seen = Vec::new();
        while seen.last() != Some(&Missed::Nothing) {
            seen.push(replay.next(&log, 1000).unwrap());
        }
        let gap = seen.iter().position(|missed| *missed == Missed::Gap);
        assert!(gap.is_some_and(|gap| gap + 2 < seen.len()), "{seen:?}");
    }
}
