//! The container's log file; its formats are in [`super::line`].
//!
//! Everything that was read from the container is in the file at once: what does not end in a newline
//! is written as `P`. So the file gives back the exact bytes, and a client that fell behind
//! is served from it ([`Replay`]) instead of holding up the container or filling memory.
//!
//! With a limit the file is renamed to `NAME.1` when half of the limit is reached, and begun
//! again: both together never exceed the limit, and the newest half is always there. Where a number of files is given,
//! each may have the whole size, and older ones are `NAME.2` and so on; compressed, they are `NAME.1.gz`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::line::{Format, Line};
use super::protocol::Stream;
use crate::config::zone;
use crate::kernel::{self, Result};

/// Flush at this size: a chunk of very short lines grows by a factor of fifty.
const FLUSH: usize = 32 * 1024;

/// Which file, in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// How a line is written.
    pub format: Format,
    /// Its limit in bytes; 0 for none.
    pub max_size: u64,
    /// How many files of that size there are; 0 for two of half the size.
    pub max_files: u32,
    /// Older files are compressed.
    pub compress: bool,
}

/// Writes the log file.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    format: Format,
    max_files: u32,
    compress: bool,
    file: File,
    /// Bytes in `file`.
    length: u64,
    /// How often the file was begun again.
    generation: u64,
    /// Rotate when a write would pass this.
    limit: u64,
    stamp: Stamp,
    buffer: Vec<u8>,
    /// Bytes of output in `buffer`.
    pending: u64,
    /// Bytes of output that could not be written (disk full); the next success notes them in the log.
    lost: u64,
}

/// A position in the log, for [`Replay`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    generation: u64,
    offset: u64,
}

impl Writer {
    /// Opens the log to append.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(options: &Options) -> Result<Self> {
        let Options { path, format, max_size, max_files, compress } = options;
        let (path, max_size) = (path.as_path(), *max_size);
        let file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| kernel::Error::path("open", path, e))?;
        let length = file.metadata().map_err(|e| kernel::Error::path("stat", path, e))?.len();
        let limit = match (max_size, max_files) {
            (0, _) => u64::MAX,
            (size, 0) => (size / 2).max(1),
            (size, _) => size,
        };
        Ok(Self {
            path: path.to_owned(),
            format: *format,
            max_files: *max_files,
            compress: *compress,
            file,
            length,
            generation: 0,
            limit,
            stamp: Stamp { utc: *format == Format::Json, ..Stamp::default() },
            buffer: Vec::new(),
            pending: 0,
            lost: 0,
        })
    }

    /// Appends what was read from `stream` in one go.
    ///
    /// A full disk must not stop the container: what cannot be written is counted and noted later.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) {
        self.stamp.renew(Timestamp::now());
        if !self.note_loss(stream) {
            // Not even the note: what came later must not stand before it.
            self.lost += bytes.len() as u64;
            return;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = rest.iter().position(|&b| b == b'\n');
            self.line(stream, end.is_some(), &rest[..end.unwrap_or(rest.len())]);
            let taken = end.map_or(rest.len(), |end| end + 1);
            self.pending += taken as u64;
            rest = &rest[taken..];
            if self.buffer.len() >= FLUSH && !self.flush() {
                self.lost += rest.len() as u64;
                break;
            }
        }
        self.flush();
        // Idle monitors hold no buffer.
        self.buffer = Vec::new();
    }

    /// Notes how much could not be written since the last note; whether nothing is left to be noted.
    fn note_loss(&mut self, stream: Stream) -> bool {
        if self.lost == 0 {
            return true;
        }
        let note = format!("[{} bytes of output could not be logged]", self.lost);
        self.line(stream, true, note.as_bytes());
        let noted = self.flush();
        if noted {
            self.lost = 0;
        }
        noted
    }

    fn line(&mut self, stream: Stream, whole: bool, text: &[u8]) {
        self.format.write(&mut self.buffer, &self.stamp.text, stream, whole, text);
    }

    /// Writes the buffer; whether that worked.
    fn flush(&mut self) -> bool {
        let size = self.buffer.len() as u64;
        if self.length > 0 && self.length.saturating_add(size) > self.limit {
            self.rotate();
        }
        let written = self.file.write_all(&self.buffer).is_ok();
        if written {
            self.length += size;
        } else {
            // Take back the part that did get through: half a line would spoil the format.
            let _ = self.file.set_len(self.length);
            self.lost += self.pending;
        }
        self.pending = 0;
        self.buffer.clear();
        written
    }

    /// Begins the file again. When that fails, the old one goes on beyond its limit.
    fn rotate(&mut self) {
        let new = self.path.with_added_extension("new");
        let opened = File::options().create(true).truncate(true).write(true).mode(0o600).open(&new);
        let Ok(file) = opened else { return };
        self.shift();
        let old = previous(&self.path);
        let kept = if self.max_files == 1 {
            std::fs::remove_file(&self.path)
        } else {
            std::fs::rename(&self.path, &old)
        };
        if kept.is_ok() && std::fs::rename(&new, &self.path).is_ok() {
            self.file = file;
            self.length = 0;
            self.generation += 1;
            if self.compress && self.max_files != 1 {
                // Without a compressed one the plain one stays.
                let _ = compress(&old);
            }
        }
    }

    /// Gives each older file the next number; the last one goes.
    fn shift(&self) {
        for number in (1..self.max_files.saturating_sub(1)).rev() {
            for ending in ["", ".gz"] {
                // Most of them are not there.
                let _ = std::fs::rename(
                    numbered(&self.path, number, ending),
                    numbered(&self.path, number + 1, ending),
                );
            }
        }
        for ending in ["", ".gz"] {
            let _ = std::fs::remove_file(numbered(&self.path, 1, ending));
        }
    }

    /// Where the next byte will be written.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { generation: self.generation, offset: self.length }
    }

    /// Notes what the end of the output has lost: nothing comes later that would.
    pub fn settle(&mut self) {
        if self.lost == 0 {
            // The time zone is not read for nothing: each run comes by here.
            return;
        }
        self.stamp.renew(Timestamp::now());
        // Where there still is no room, there is no place to say so.
        self.note_loss(Stream::Stdout);
    }

    /// Flushes the file to the disk.
    pub fn sync(&self) {
        // What a log loses in a power cut is the end of it; nobody waits for this.
        let _ = self.file.sync_data();
    }
}

/// Where an older file is.
#[must_use]
pub fn numbered(path: &Path, number: u32, ending: &str) -> PathBuf {
    path.with_added_extension(format!("{number}{ending}"))
}

/// Puts a compressed file in the place of `path`.
fn compress(path: &Path) -> io::Result<()> {
    let target = path.with_added_extension("gz");
    let mut reader = File::open(path)?;
    let file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&target)?;
    // The container waits meanwhile: time counts more than size.
    let mut writer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    io::copy(&mut reader, &mut writer)?;
    writer.finish()?;
    std::fs::remove_file(path)
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
    /// In UTC with a `Z`, as docker has it.
    utc: bool,
}

impl Default for Stamp {
    fn default() -> Self {
        Self { text: String::new(), second: i64::MIN, zone: None, utc: false }
    }
}

impl Stamp {
    /// Digits of the fraction, and where they are: `2026-11-22T19:00:00.` is 20 long.
    const FRACTION: std::ops::Range<usize> = 20..29;

    fn renew(&mut self, now: Timestamp) {
        let utc = self.utc;
        let zone = self.zone.get_or_insert_with(|| if utc { TimeZone::UTC } else { zone::local() });
        if now.as_second() != self.second {
            self.second = now.as_second();
            let form = if utc { "%Y-%m-%dT%H:%M:%S.%9fZ" } else { "%Y-%m-%dT%H:%M:%S.%9f%:z" };
            self.text = now.to_zoned(zone.clone()).strftime(form).to_string();
            return;
        }
        self.text.replace_range(Self::FRACTION, &format!("{:09}", now.subsec_nanosecond()));
    }
}

/// Gives a client that fell behind the output it has missed.
#[derive(Debug)]
pub struct Replay {
    path: PathBuf,
    format: Format,
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
        Ok(Self { path: writer.path.clone(), format: writer.format, file, at, buffer: Vec::new() })
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
            if !next.exists() {
                // It is compressed already: what was missed is in it, and goes on in the newest.
                self.file = open_at(&writer.path, 0)?;
                self.at = Position { generation: writer.generation, offset: 0 };
                self.buffer.clear();
                return Ok(Missed::Gap);
            }
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
            let Some(Line { stream: of, whole, text, .. }) = self.format.parse(line) else {
                used += end + 1;
                continue;
            };
            if stream.is_some_and(|s| s != of) || (!out.is_empty() && out.len() + text.len() >= most) {
                break;
            }
            stream = Some(of);
            out.extend_from_slice(&text);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn k8s(path: &Path, max_size: u64) -> Options {
        let format = Format::K8s;
        Options { path: path.to_owned(), format, max_size, max_files: 0, compress: false }
    }

    #[test]
    fn files_are_numbered_and_compressed() {
        let dir = Scratch::new("numbered");
        let path = dir.0.join("l");
        let mut log = Writer::open(&Options { max_files: 3, compress: true, ..k8s(&path, 300) }).unwrap();
        for i in 0..20 {
            log.append(Stream::Stdout, format!("line {i} {}\n", "x".repeat(20)).as_bytes());
        }
        let mut names: Vec<_> = std::fs::read_dir(&dir.0)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["l", "l.1.gz", "l.2.gz"]);
        let mut text = String::new();
        flate2::read::GzDecoder::new(File::open(numbered(&path, 1, ".gz")).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert!(text.lines().all(|line| line.contains(" stdout F line ")), "{text}");
    }

    #[test]
    fn what_a_full_disk_took_is_counted_and_noted_once() {
        let dir = Scratch::new("lost");
        let path = dir.0.join("l");
        let mut log = Writer::open(&k8s(Path::new("/dev/full"), 0)).unwrap();
        for text in ["one\n", "t", "wo\n"] {
            log.append(Stream::Stdout, text.as_bytes());
        }
        assert_eq!(log.lost, 8);
        log.file = File::options().create(true).append(true).open(&path).unwrap();
        for text in ["three\n", "four\n"] {
            log.append(Stream::Stdout, text.as_bytes());
        }
        // What is lost last is noted at the end.
        log.lost = 7;
        log.settle();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().filter_map(|line| line.split(" stdout F ").nth(1)).collect();
        let notes = [8, 7].map(|count| format!("[{count} bytes of output could not be logged]"));
        assert_eq!(lines, [notes[0].as_str(), "three", "four", notes[1].as_str()]);
    }

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = crate::kernel::scratch::path(&format!("log-{name}"));
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
        let mut log = Writer::open(&k8s(&path, 0)).unwrap();
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
        let mut log = Writer::open(&k8s(&dir.0.join("l"), 0)).unwrap();
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
        let mut log = Writer::open(&k8s(&path, 400)).unwrap();
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
