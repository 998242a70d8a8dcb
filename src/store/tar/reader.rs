//! The reader: a stream of blocks in, one entry after the other out.
//!
//! It holds one buffer and the current headers, never an archive. Sizes follow Go's `archive/tar` to the
//! letter; where readers in the field are known to differ, the archive is refused. Extended headers are at
//! most [`MAX_EXTENDED`] long, the whole at most what [`Limits`] say.

use std::io::{self, Read};

use super::header::{self, BLOCK, Block, Raw};
use super::input::Input;
use super::pax::{self, Pax};
use super::sparse::{self, Description, Piece};
use super::{Error, Header, Kind, Limits};
use crate::store::Digest;

/// The longest extended header, long name, or sparse map; Go's limit.
const MAX_EXTENDED: u64 = 1 << 20;

/// Reads an archive from a stream.
#[derive(Debug)]
pub struct Archive<R> {
    input: Input<R>,
    limits: Limits,
    entries: u64,
    ended: bool,
    /// Of the current entry.
    content: Content,
}

/// What is left of the current entry's content.
#[derive(Debug, Default)]
struct Content {
    stored: u64,
    padding: u64,
    /// Where the next byte belongs in the file.
    offset: u64,
    /// The pieces of a sparse file, the next one last.
    pieces: Option<Vec<Piece>>,
    /// Of the piece that is being read.
    piece: u64,
}

/// What stands in front of an entry's own header.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extra {
    pax: Option<Pax>,
    /// GNU's long name and long target of a link.
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// An entry whose content can be read until the next entry is asked for.
#[derive(Debug)]
pub struct Entry<'a, R> {
    /// What the headers say.
    pub header: Header,
    archive: &'a mut Archive<R>,
    /// Of the logical content, for [`Read`].
    position: u64,
}

impl<R: Read> Archive<R> {
    /// Starts to read an archive.
    pub fn new(reader: R, limits: Limits) -> Self {
        let input = Input::new(reader, limits.max_bytes);
        Self { input, limits, entries: 0, ended: false, content: Content::default() }
    }

    /// Starts to read an archive whose digest nobody wants: [`Self::finish`] then gives that of nothing.
    pub fn without_digest(reader: R, limits: Limits) -> Self {
        let mut archive = Self::new(reader, limits);
        archive.input.stop_hashing();
        archive
    }

    /// The next entry, or nothing at the end of the archive. What was not read of the last one is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_, R>>, Error> {
        if self.ended {
            return Ok(None);
        }
        match self.next_header()? {
            Some(header) => Ok(Some(Entry { header, archive: self, position: 0 })),
            None => {
                self.ended = true;
                Ok(None)
            }
        }
    }

    /// How many entries were seen so far.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Reads to the end of the stream (the digest of a layer covers all of it, whatever follows the last
    /// entry) and returns the digest and length of the whole.
    pub fn finish(self) -> Result<(Digest, u64), Error> {
        self.input.finish()
    }

    fn next_header(&mut self) -> Result<Option<Header>, Error> {
        self.input.skip(self.content.stored)?;
        // The last entry may lack its padding.
        self.input.skip_padding(self.content.padding)?;
        self.content = Content::default();
        let mut extra = Extra::default();
        loop {
            let offset = self.input.offset;
            let fail = |problem| Error::Header { offset, problem };
            let Some(block) = self.next_block()? else { return Ok(None) };
            let raw = header::parse(&block).map_err(fail)?;
            self.entries += 1;
            if self.entries > self.limits.max_entries {
                return Err(Error::Limit { what: "entries", limit: self.limits.max_entries });
            }
            match raw.type_flag {
                b'x' => extra.pax = Some(pax::parse(&self.extended(&raw, offset)?).map_err(fail)?),
                b'g' => {
                    let global = pax::parse(&self.extended(&raw, offset)?).map_err(fail)?;
                    // Go does not apply global headers, GNU tar and libarchive do; and Go forgets an
                    // extended header before a global one.
                    if global.changes_entries() || extra != Extra::default() {
                        return Err(fail("a global header changes entries"));
                    }
                }
                b'L' => extra.name = Some(header::text(&self.extended(&raw, offset)?).to_vec()),
                b'K' => extra.link = Some(header::text(&self.extended(&raw, offset)?).to_vec()),
                _ => return self.entry(&block, raw, extra, offset).map(Some),
            }
        }
    }

    /// The next header block, or nothing at the end: two zero blocks, or the end of the stream.
    fn next_block(&mut self) -> Result<Option<Block>, Error> {
        let offset = self.input.offset;
        let Some(block) = self.input.block_or_end()? else { return Ok(None) };
        if block.iter().any(|b| *b != 0) {
            return Ok(Some(block));
        }
        match self.input.block_or_end()? {
            Some(second) if second.iter().any(|b| *b != 0) => {
                Err(Error::Header { offset, problem: "a single zero block in the middle" })
            }
            _ => Ok(None),
        }
    }

    /// The content of a header-like entry. Its size is its own: a pax size never applies to it.
    fn extended(&mut self, raw: &Raw, offset: u64) -> Result<Vec<u8>, Error> {
        let size =
            u64::try_from(raw.size).map_err(|_| Error::Header { offset, problem: "a negative size" })?;
        if size > MAX_EXTENDED {
            return Err(Error::Limit { what: "bytes in an extended header", limit: MAX_EXTENDED });
        }
        let bytes = self.input.take(size)?;
        self.input.skip_padding(padding(size))?;
        Ok(bytes)
    }

    /// Puts the headers of an entry together, in Go's order: pax, then GNU long names, then sparse.
    fn entry(&mut self, block: &Block, mut raw: Raw, extra: Extra, offset: u64) -> Result<Header, Error> {
        let fail = |problem| Error::Header { offset, problem };
        let pax = extra.pax.unwrap_or_default();
        pax.apply(&mut raw);
        if let Some(name) = extra.name.filter(|name| !name.is_empty()) {
            raw.name = name;
        }
        if let Some(link) = extra.link.filter(|link| !link.is_empty()) {
            raw.link = link;
        }
        let kind = kind(&raw).ok_or_else(|| fail("an unknown type of entry"))?;
        let size = u64::try_from(raw.size).map_err(|_| fail("a negative size"))?;
        // Only a file has content, whatever size the header of a link or directory claims.
        let stored = if kind == Kind::File { size } else { 0 };
        self.content = Content { stored, padding: padding(stored), ..Content::default() };
        let mut size = stored;
        let pieces = if raw.type_flag == b'S' {
            let (pieces, real) = self.gnu_sparse(block, &raw, offset)?;
            size = real;
            Some(pieces)
        } else {
            self.pax_sparse(&mut raw, &pax.sparse, &mut size, offset)?
        };
        if let Some(pieces) = pieces {
            if kind != Kind::File {
                return Err(fail("a sparse map of what is no file"));
            }
            sparse::check(&pieces, size, self.content.stored).map_err(fail)?;
            self.content.pieces = Some(pieces.into_iter().rev().collect());
        }
        let id = |value: i64| u64::try_from(value).map_err(|_| fail("a negative id"));
        let device = |value: i64| u32::try_from(value).map_err(|_| fail("a device number is out of range"));
        let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        Ok(Header {
            path: raw.name,
            kind,
            link: raw.link,
            mode: u32::try_from(raw.mode & 0o7777).expect("twelve bits fit"),
            uid: id(raw.uid)?,
            gid: id(raw.gid)?,
            size,
            mtime: pax.mtime.unwrap_or((raw.mtime, 0)),
            device: if is_device { (device(raw.major)?, device(raw.minor)?) } else { (0, 0) },
            xattrs: pax.xattrs,
            sparse: self.content.pieces.is_some(),
        })
    }

    /// The old GNU form: the map is in the header block and in extension blocks before the content.
    fn gnu_sparse(&mut self, block: &Block, raw: &Raw, offset: u64) -> Result<(Vec<Piece>, u64), Error> {
        let fail = |problem| Error::Header { offset, problem };
        if raw.format != header::Format::Gnu {
            return Err(fail("a sparse entry of another format"));
        }
        let (fields, size) = sparse::gnu_header(block).map_err(fail)?;
        let mut pieces = Vec::new();
        let mut more = sparse::gnu_entries(fields, &mut pieces).map_err(fail)?;
        let mut read = 0;
        while more {
            read += BLOCK as u64;
            if read > MAX_EXTENDED {
                return Err(Error::Limit { what: "bytes in a sparse map", limit: MAX_EXTENDED });
            }
            let block = self.input.block()?;
            more = sparse::gnu_entries(sparse::gnu_extension(&block), &mut pieces).map_err(fail)?;
        }
        Ok((pieces, size))
    }

    /// The pax forms: the map is in the header, or in front of the data.
    fn pax_sparse(
        &mut self,
        raw: &mut Raw,
        records: &pax::Sparse,
        size: &mut u64,
        offset: u64,
    ) -> Result<Option<Vec<Piece>>, Error> {
        let fail = |problem| Error::Header { offset, problem };
        let description = sparse::describe(records).map_err(fail)?;
        if description == Description::None {
            return Ok(None);
        }
        if !records.name.is_empty() {
            raw.name.clone_from(&records.name);
        }
        let real = if records.size.is_empty() { &records.real_size } else { &records.size };
        if !real.is_empty() {
            *size = u64::try_from(pax::decimal(real).map_err(fail)?).map_err(|_| fail("a negative size"))?;
        }
        match description {
            Description::None => Ok(None),
            Description::Map(pieces) => Ok(Some(pieces)),
            Description::InData => self.map_in_data(offset).map(Some),
        }
    }

    /// Version 1.0: decimal numbers, a line each, padded to whole blocks, in front of the data.
    fn map_in_data(&mut self, offset: u64) -> Result<Vec<Piece>, Error> {
        let fail = |problem| Error::Header { offset, problem };
        let mut text = Vec::new();
        let mut numbers: Vec<i64> = Vec::new();
        let mut start = 0;
        let mut wanted = 1;
        while numbers.len() < wanted {
            let Some(end) = text[start..].iter().position(|b| *b == b'\n') else {
                if text.len() as u64 >= MAX_EXTENDED {
                    return Err(Error::Limit { what: "bytes in a sparse map", limit: MAX_EXTENDED });
                }
                self.content.stored = self
                    .content
                    .stored
                    .checked_sub(BLOCK as u64)
                    .ok_or_else(|| fail("a sparse map is cut off"))?;
                text.extend_from_slice(&self.input.block()?);
                continue;
            };
            numbers.push(pax::decimal(&text[start..start + end]).map_err(fail)?);
            start += end + 1;
            if numbers.len() == 1 {
                let count = usize::try_from(numbers[0]).ok().and_then(|count| count.checked_mul(2));
                wanted =
                    count.and_then(|n| n.checked_add(1)).ok_or_else(|| fail("a sparse map is too long"))?;
            }
        }
        numbers[1..]
            .chunks_exact(2)
            .map(|p| sparse::piece(p[0], p[1]))
            .collect::<Result<_, _>>()
            .map_err(fail)
    }
}

impl<R: Read> Entry<'_, R> {
    /// The next run of content and where it belongs in the file; nothing at the end. Holes of a sparse
    /// file are skipped over.
    pub fn next_piece(&mut self) -> Result<Option<(u64, &[u8])>, Error> {
        self.piece_up_to(u64::MAX)
    }

    fn piece_up_to(&mut self, max: u64) -> Result<Option<(u64, &[u8])>, Error> {
        let content = &mut self.archive.content;
        if let Some(pieces) = &mut content.pieces {
            while content.piece == 0 {
                let Some(next) = pieces.pop() else { return Ok(None) };
                (content.offset, content.piece) = (next.offset, next.length);
            }
        } else {
            content.piece = content.stored;
        }
        if content.piece == 0 {
            return Ok(None);
        }
        let input = &mut self.archive.input;
        let available = input.available()?;
        if available == 0 {
            return Err(Error::Truncated(input.offset));
        }
        let length = usize::try_from(content.piece.min(max)).unwrap_or(usize::MAX).min(available);
        let at = content.offset;
        content.offset += length as u64;
        content.piece -= length as u64;
        content.stored -= length as u64;
        Ok(Some((at, input.consume(length))))
    }

    /// The whole content, which may be at most `max` bytes long.
    pub fn read_all(&mut self, max: u64) -> Result<Vec<u8>, Error> {
        if self.header.size > max {
            return Err(Error::Limit { what: "bytes in one file", limit: max });
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(|e| match e.downcast::<Error>() {
            Ok(error) => error,
            Err(e) => Error::Read(e),
        })?;
        Ok(bytes)
    }
}

/// The logical content: holes read as zeros.
impl<R: Read> Read for Entry<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.header.size - self.position;
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let buffer = &mut buffer[..wanted];
        let hole = self.hole();
        let count = if hole > 0 {
            let count = usize::try_from(hole).unwrap_or(usize::MAX).min(wanted);
            buffer[..count].fill(0);
            count
        } else {
            match self.piece_up_to(wanted as u64).map_err(io::Error::other)? {
                Some((_, bytes)) => {
                    buffer[..bytes.len()].copy_from_slice(bytes);
                    bytes.len()
                }
                None => 0,
            }
        };
        self.position += count as u64;
        Ok(count)
    }
}

impl<R> Entry<'_, R> {
    /// Where the next byte of content stands in the stream.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.archive.input.offset
    }

    /// How many zeros come before the next data.
    fn hole(&self) -> u64 {
        let content = &self.archive.content;
        let Some(pieces) = &content.pieces else { return 0 };
        let next = if content.piece > 0 {
            content.offset
        } else {
            pieces.iter().rev().find(|piece| piece.length > 0).map_or(self.header.size, |piece| piece.offset)
        };
        next.saturating_sub(self.position)
    }
}

pub(super) fn kind(raw: &Raw) -> Option<Kind> {
    Some(match raw.type_flag {
        // The oldest form marks a directory by its name only.
        0 if raw.name.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        _ => return None,
    })
}

/// Bytes from the end of `size` bytes to the next block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
