//! Writes zstd:chunked: an archive in, frames, table and annotations out.
//!
//! Other tools hold the table against tar-split and refuse a layer where both differ, so there is a table only of
//! archives that both can describe as Go would: names in UTF-8, none twice, no sparse files, no times after the year
//! 9999. Any other archive becomes a zstd layer without a table, which is a layer like any other.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::chunks::{Cutter, Pieces};
use super::frames::{Frames, Out};
use super::table::{Entry, HOLE};
use super::tar_split::{self, Crc64, TarSplit};
use super::{
    Annotations, FOOTER_MAGIC, SKIPPABLE, SKIPPABLE_HEADER, TABLE_DIGEST, TABLE_POSITION, TAR_SPLIT_POSITION,
};
use crate::image::compress::fill;
use crate::store::tar::{Archive, Kind, Limits, Original, Time};
use crate::store::{Digest, Hasher};

/// A block of an archive.
const BLOCK: u64 = 512;
/// What stands behind the last entry is read in pieces of this size.
const PIECE: usize = 1 << 20;

/// Compresses all of `input`; `out` takes the result in order. Returned are the annotations of the layer.
///
/// # Errors
/// When reading, compressing or `out` fails, or the input is no archive.
pub(in crate::image) fn write(input: &mut dyn Read, level: i32, out: Out<'_>) -> io::Result<Annotations> {
    let kept = Rc::new(RefCell::new(Vec::new()));
    let mut writer = Writer {
        frames: Frames::new(level, out)?,
        described: Some(Described {
            entries: b"{\"version\":1,\"entries\":[".to_vec(),
            count: 0,
            split: TarSplit::new(level)?,
            names: HashSet::new(),
        }),
        kept: Rc::clone(&kept),
        position: 0,
        padding: 0,
    };
    let recorder = Recorder { input: &mut *input, kept };
    let mut archive = Archive::without_digest(recorder, Limits::NONE);
    while let Some(mut entry) = archive.next_entry().map_err(io::Error::other)? {
        let is_content = entry.header.kind == Kind::File && !entry.header.sparse;
        let original = writer.headers(entry.offset())?;
        let mut content = Content::new(&mut writer.frames);
        let mut cutter = Cutter::new();
        while let Some((_, piece)) = entry.next_piece().map_err(io::Error::other)? {
            let count = piece.len();
            if is_content {
                cutter.push(piece, &mut content)?;
            } else {
                content.frames.push(piece, &mut |_| ())?;
            }
            writer.position += count as u64;
            writer.kept.borrow_mut().drain(..count);
        }
        cutter.finish(&mut content)?;
        let content = content.finish();
        writer.padding = entry.header.size.wrapping_neg() % BLOCK;
        writer.describe(original, content)?;
    }
    drop(archive);
    writer.end(input, level)
}

/// Reads the archive for its reader, and keeps what was read until it is written.
struct Recorder<'r> {
    input: &'r mut dyn Read,
    kept: Rc<RefCell<Vec<u8>>>,
}

impl Read for Recorder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.kept.borrow_mut().extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

struct Writer<'o> {
    frames: Frames<'o>,
    /// Nothing once there was something that cannot be described.
    described: Option<Described>,
    /// Bytes of the archive that are not written yet.
    kept: Rc<RefCell<Vec<u8>>>,
    /// Where they begin.
    position: u64,
    /// Behind the content of the last entry.
    padding: u64,
}

/// What describes the archive.
struct Described {
    /// The table so far.
    entries: Vec<u8>,
    count: u64,
    split: TarSplit,
    names: HashSet<Vec<u8>>,
}

impl Writer<'_> {
    /// Writes what stands before the content at `offset`; returns what the headers say.
    fn headers(&mut self, offset: u64) -> io::Result<Option<Original>> {
        let count = usize::try_from(offset - self.position).expect("headers are in memory");
        let bytes: Vec<u8> = self.kept.borrow_mut().drain(..count).collect();
        self.position = offset;
        self.frames.push(&bytes, &mut |_| ())?;
        if let Some(described) = &mut self.described {
            described.split.segment(&bytes)?;
        }
        let padding = usize::try_from(self.padding).expect("less than a block");
        Ok(bytes.get(padding..).and_then(Original::read))
    }

    fn describe(&mut self, original: Option<Original>, content: Stored) -> io::Result<()> {
        let Some(mut described) = self.described.take() else { return Ok(()) };
        let entries = original.as_ref().and_then(|original| entries(original, &content));
        let (Some(original), Some(entries)) = (original, entries) else { return Ok(()) };
        if !described.names.insert(cleaned(&original.name)) {
            return Ok(());
        }
        let sum = (content.size > 0).then(|| content.crc.sum());
        described.split.file(&entries[0].name, content.size, sum)?;
        for entry in entries {
            if described.count > 0 {
                described.entries.push(b',');
            }
            described.count += 1;
            serde_json::to_writer(&mut described.entries, &entry)?;
        }
        self.described = Some(described);
        Ok(())
    }

    /// Writes what follows the last entry, and what describes the whole.
    fn end(mut self, input: &mut dyn Read, level: i32) -> io::Result<Annotations> {
        let mut rest = self.kept.take();
        let mut padding = usize::try_from(self.padding).expect("less than a block");
        loop {
            let start = rest.len();
            rest.resize(start.max(PIECE + padding), 0);
            let count = start + fill(input, &mut rest[start..])?;
            self.trailer(&rest[..count], padding)?;
            if count < rest.len() {
                break;
            }
            rest.clear();
            padding = 0;
        }
        let offset = self.frames.end(&mut |_| ())?;
        let annotations = match self.described.take() {
            Some(described) => described.write(&mut self.frames, offset, level)?,
            None => Annotations::new(),
        };
        self.frames.finish()?;
        Ok(annotations)
    }
}

impl Writer<'_> {
    /// Writes a part of what follows the last entry. Others take each segment for headers, so it must be zeros.
    fn trailer(&mut self, bytes: &[u8], padding: usize) -> io::Result<()> {
        let blocks = bytes.len().saturating_sub(padding) as u64;
        let is_plain = blocks.is_multiple_of(BLOCK) && bytes.iter().all(|byte| *byte == 0);
        self.described.take_if(|_| !is_plain);
        self.frames.push(bytes, &mut |_| ())?;
        match &mut self.described {
            Some(described) if !bytes.is_empty() => described.split.segment(bytes),
            _ => Ok(()),
        }
    }
}

impl Described {
    fn write(mut self, frames: &mut Frames<'_>, offset: u64, level: i32) -> io::Result<Annotations> {
        let tar_split::Written { bytes: split, digest, uncompressed: split_size } = self.split.finish()?;
        self.entries.extend_from_slice(format!("],\"tarSplitDigest\":\"{digest}\"}}").as_bytes());
        let table_size = self.entries.len() as u64;
        let table = zstd::bulk::compress(&self.entries, level)?;
        let table_at = offset + SKIPPABLE_HEADER;
        let split_at = table_at + table.len() as u64 + SKIPPABLE_HEADER;
        let (table_length, split_length) = (table.len() as u64, split.len() as u64);
        let numbers = [table_at, table_length, table_size, 1, split_at, split_length, split_size];
        let mut footer: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        footer.extend_from_slice(FOOTER_MAGIC);
        for content in [&table, &split, &footer] {
            let length = u32::try_from(content.len()).map_err(io::Error::other)?;
            frames.raw(&[SKIPPABLE, length.to_le_bytes()].concat())?;
            frames.raw(content)?;
        }
        Ok(BTreeMap::from([
            (TABLE_DIGEST.to_owned(), Digest::of(&table).to_string()),
            (TABLE_POSITION.to_owned(), format!("{table_at}:{table_length}:{table_size}:1")),
            (TAR_SPLIT_POSITION.to_owned(), format!("{split_at}:{split_length}:{split_size}")),
        ]))
    }
}

/// A chunk of a file in the blob.
struct Chunk {
    /// In the blob.
    at: u64,
    /// In the file.
    offset: u64,
    size: u64,
    digest: Digest,
    is_hole: bool,
}

/// The content of a file on its way.
struct Content<'c, 'o> {
    frames: &'c mut Frames<'o>,
    sums: Sums,
    /// Where the content begins; nothing before there is any.
    start: Option<u64>,
    /// Where the chunk begins, in the blob and in the file.
    chunk: (u64, u64),
    size: u64,
    chunks: Vec<Chunk>,
}

struct Sums {
    file: Hasher,
    chunk: Hasher,
    crc: Crc64,
}

/// Where the content of a file lies.
struct Stored {
    size: u64,
    start: u64,
    end: u64,
    digest: Digest,
    crc: Crc64,
    chunks: Vec<Chunk>,
}

impl Sums {
    fn update(&mut self, bytes: &[u8]) {
        self.file.update(bytes);
        self.chunk.update(bytes);
        self.crc.update(bytes);
    }
}

impl<'c, 'o> Content<'c, 'o> {
    fn new(frames: &'c mut Frames<'o>) -> Self {
        let sums = Sums { file: Hasher::sha256(), chunk: Hasher::sha256(), crc: Crc64::NEW };
        Self { frames, sums, start: None, chunk: (0, 0), size: 0, chunks: Vec::new() }
    }

    fn finish(self) -> Stored {
        let Sums { file, crc, .. } = self.sums;
        let start = self.start.unwrap_or(0);
        Stored { size: self.size, start, end: self.chunk.0, digest: file.finish(), crc, chunks: self.chunks }
    }
}

impl Pieces for Content<'_, '_> {
    type Error = io::Error;

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.start.is_none() {
            let start = self.frames.end(&mut |_| ())?;
            self.start = Some(start);
            self.chunk.0 = start;
        }
        self.size += bytes.len() as u64;
        self.frames.push(bytes, &mut |seen| self.sums.update(seen))
    }

    fn cut(&mut self, is_hole: bool) -> io::Result<()> {
        if self.size == self.chunk.1 {
            return Ok(());
        }
        let (at, offset) = self.chunk;
        let end = self.frames.end(&mut |seen| self.sums.update(seen))?;
        let digest = std::mem::replace(&mut self.sums.chunk, Hasher::sha256()).finish();
        self.chunks.push(Chunk { at, offset, size: self.size - offset, digest, is_hole });
        self.chunk = (end, self.size);
        Ok(())
    }
}

/// The entries of a table for one of the archive; nothing for what cannot be in one.
fn entries(original: &Original, content: &Stored) -> Option<Vec<Entry>> {
    let kind = match original.kind {
        Kind::File => "reg",
        Kind::HardLink => "hardlink",
        Kind::Symlink => "symlink",
        Kind::CharDevice => "char",
        Kind::BlockDevice => "block",
        Kind::Directory => "dir",
        Kind::Fifo => "fifo",
    };
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let has_content = original.kind == Kind::File;
    if u64::try_from(original.size).ok()? != content.size || (!has_content && content.size > 0) {
        return None;
    }
    let xattrs = original.xattrs.iter().map(|(name, value)| Some((text(name)?, BASE64.encode(value))));
    let mut entries = vec![Entry {
        kind: kind.to_owned(),
        name: text(&original.name)?,
        link: text(&original.link)?,
        mode: original.mode,
        size: original.size,
        uid: original.uid,
        gid: original.gid,
        modified: time(Some(original.mtime))?,
        accessed: time(original.atime)?,
        changed: time(original.ctime)?,
        major: original.device.0,
        minor: original.device.1,
        xattrs: xattrs.collect::<Option<_>>()?,
        digest: if content.size > 0 { content.digest.to_string() } else { String::new() },
        offset: content.start,
        end: content.end,
        ..Entry::default()
    }];
    let name = entries[0].name.clone();
    let further = content.chunks.iter().skip(1);
    entries.extend(further.map(|_| Entry {
        kind: "chunk".to_owned(),
        name: name.clone(),
        ..Entry::default()
    }));
    if content.chunks.len() > 1 {
        for (entry, chunk) in entries.iter_mut().zip(&content.chunks) {
            entry.offset = chunk.at;
            entry.chunk_offset = chunk.offset;
            entry.chunk_size = chunk.size;
            entry.chunk_digest = chunk.digest.to_string();
            entry.chunk_kind = if chunk.is_hole { HOLE.to_owned() } else { String::new() };
        }
    }
    Some(entries)
}

/// As Go writes it, which has none of before year 1 and cannot write years of five digits; its zero is no time.
fn time(time: Option<Time>) -> Option<Option<String>> {
    const ZERO: i64 = -62_135_596_800;
    const YEAR_10000: i64 = 253_402_300_800;
    let (seconds, nanos) = match time {
        None | Some((ZERO, 0)) => return Some(None),
        Some(time) => time,
    };
    if !(ZERO..YEAR_10000).contains(&seconds) {
        return None;
    }
    let timestamp = jiff::Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok()?;
    Some(Some(timestamp.to_string()))
}

/// A name as others compare it.
fn cleaned(name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}
