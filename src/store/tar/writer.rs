//! The writer: ustar blocks, and pax headers only where ustar cannot say it.
//!
//! The same entries give the same bytes, always: no names of users, no times but those given, records of a
//! pax header sorted. Nothing else is written, so archives have the same digest on every machine.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::header::BLOCK;
use super::{Header, Kind};

/// The largest number in eleven octal digits.
const MAX_SIZE: u64 = 0o77_777_777_777;
/// The largest number in seven octal digits.
const MAX_ID: u64 = 0o7_777_777;

/// Writes an archive.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// Bytes of content that the last header promised and that are not written yet.
    left: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// Starts an archive.
    pub fn new(out: W) -> Self {
        Self { out, left: 0, padding: 0 }
    }

    /// Writes the headers of an entry. The content of a file, exactly `header.size` bytes, follows by
    /// [`Self::write`].
    pub fn header(&mut self, header: &Header) -> io::Result<()> {
        self.end_entry()?;
        let records = records(header);
        if !records.is_empty() {
            let mut block = plain(b"PaxHeaders/entry", b'x', 0o644, records.len() as u64);
            seal(&mut block);
            self.out.write_all(&block)?;
            self.out.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.out.write_all(&block(header))?;
        if header.kind == Kind::File {
            self.left = header.size;
            self.padding = padding(header.size);
        }
        Ok(())
    }

    /// Writes content of the current file.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "more content than the header promised")
        })?;
        self.out.write_all(bytes)
    }

    /// Writes the headers of a file and leaves room for its content, which others write; says where that begins.
    pub fn reserve(&mut self, header: &Header) -> io::Result<u64>
    where
        W: Seek,
    {
        self.header(header)?;
        let offset = self.out.stream_position()?;
        let size = i64::try_from(std::mem::take(&mut self.left)).map_err(io::Error::other)?;
        self.out.seek(SeekFrom::Current(size))?;
        Ok(offset)
    }

    /// Writes an entry with all its content. A source that turns out shorter than promised is filled with
    /// zeros and a longer one is cut, as tar does with files that change under it.
    pub fn append(&mut self, header: &Header, mut content: impl Read) -> io::Result<()> {
        self.header(header)?;
        let mut buffer = vec![0; usize::try_from(header.size.min(128 << 10)).unwrap_or(0)];
        while self.left > 0 {
            let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
            let count = match content.read(&mut buffer[..wanted]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if count == 0 {
                buffer[..wanted].fill(0);
                self.write(&buffer[..wanted])?;
            } else {
                self.write(&buffer[..count])?;
            }
        }
        Ok(())
    }

    /// Ends the archive and returns what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_entry()?;
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    /// What was written to, in the middle of an entry: the caller brings the rest by itself.
    pub(in crate::store) fn into_unfinished(self) -> W {
        self.out
    }

    fn end_entry(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "less content than the header promised"));
        }
        let padding = std::mem::take(&mut self.padding);
        self.out.write_all(&[0; BLOCK][..padding])
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        self.out.write_all(&[0; BLOCK][..padding(size)])
    }
}

/// The pax records that the entry needs beside its block.
fn records(header: &Header) -> Vec<u8> {
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut add = |key: &str, value: Vec<u8>| records.push((key.as_bytes().to_vec(), value));
    if !fits(&header.path) {
        add("path", header.path.clone());
    }
    if !fits(&header.link) {
        add("linkpath", header.link.clone());
    }
    if header.kind == Kind::File && header.size > MAX_SIZE {
        add("size", header.size.to_string().into_bytes());
    }
    if header.uid > MAX_ID {
        add("uid", header.uid.to_string().into_bytes());
    }
    if header.gid > MAX_ID {
        add("gid", header.gid.to_string().into_bytes());
    }
    if let Some(time) = time(header.mtime) {
        add("mtime", time.into_bytes());
    }
    for (name, value) in &header.xattrs {
        records.push(([&b"SCHILY.xattr."[..], name].concat(), value.clone()));
    }
    records.sort();
    records.iter().flat_map(|(key, value)| record(key, value)).collect()
}

/// `LENGTH KEY=VALUE\n`, where LENGTH counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} ").into_bytes();
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// The record for a time that eleven octal digits cannot hold.
fn time((seconds, nanos): (i64, u32)) -> Option<String> {
    if nanos == 0 && u64::try_from(seconds).is_ok_and(|seconds| seconds <= MAX_SIZE) {
        return None;
    }
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let (sign, total) = if total < 0 { ("-", -total) } else { ("", total) };
    let text = format!("{sign}{}.{:09}", total / 1_000_000_000, total % 1_000_000_000);
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

fn fits(name: &[u8]) -> bool {
    name.len() <= 100 && name.is_ascii()
}

fn block(header: &Header) -> [u8; BLOCK] {
    let type_flag = match header.kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    };
    let size = if header.kind == Kind::File { header.size } else { 0 };
    let mut block = plain(&header.path, type_flag, header.mode, size);
    put(&mut block[157..257], &header.link);
    octal(&mut block[108..116], header.uid.min(MAX_ID));
    octal(&mut block[116..124], header.gid.min(MAX_ID));
    let seconds = u64::try_from(header.mtime.0).unwrap_or(0);
    octal(&mut block[136..148], seconds.min(MAX_SIZE));
    octal(&mut block[329..337], header.device.0.into());
    octal(&mut block[337..345], header.device.1.into());
    seal(&mut block);
    block
}

fn plain(name: &[u8], type_flag: u8, mode: u32, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block[0..100], name);
    octal(&mut block[100..108], mode.into());
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    octal(&mut block[124..136], size.min(MAX_SIZE));
    octal(&mut block[136..148], 0);
    block[156] = type_flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[329..337], 0);
    octal(&mut block[337..345], 0);
    block
}

/// Fills in the checksum.
fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A name, cut if it is too long: then a pax record has the whole.
fn put(field: &mut [u8], name: &[u8]) {
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name[..length]);
}

/// Octal digits that fill the field but for a NUL at its end.
fn octal(field: &mut [u8], value: u64) {
    let digits = format!("{value:0width$o}\0", width = field.len() - 1);
    // A device number may be larger than seven digits hold; no real one is.
    let start = digits.len().saturating_sub(field.len());
    field.copy_from_slice(&digits.as_bytes()[start..]);
}

fn padding(size: u64) -> usize {
    usize::try_from(size.wrapping_neg() % BLOCK as u64).expect("less than a block")
}
