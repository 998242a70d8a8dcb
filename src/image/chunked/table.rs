//! Tables of contents: entries, and what a table says of the pieces that its blob consists of.
//!
//! A hostile table costs what its text costs: entries are read one by one, and all that is kept of one is 40 bytes for
//! each piece that it begins. Pieces are in order and end where the table begins, or there are none.

use std::collections::BTreeMap;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::store::{Digest, Hasher};

/// More pieces than any layer has.
const PIECES_MAX: usize = 4_000_000;
/// The kind of a chunk of zeros.
pub(super) const HOLE: &str = "zeros";

/// One entry. Names are those of the tar stream; nothing is ever made from them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(rename = "linkName", skip_serializing_if = "is_default")]
    pub(super) link: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) mode: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) size: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) uid: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) gid: i64,
    /// eStargz has names, too.
    #[serde(rename = "userName", skip_serializing_if = "is_default")]
    pub(super) user: String,
    #[serde(rename = "groupName", skip_serializing_if = "is_default")]
    pub(super) group: String,
    #[serde(rename = "modtime", skip_serializing_if = "is_default")]
    pub(super) modified: Option<String>,
    #[serde(rename = "accesstime", skip_serializing_if = "is_default")]
    pub(super) accessed: Option<String>,
    #[serde(rename = "changetime", skip_serializing_if = "is_default")]
    pub(super) changed: Option<String>,
    #[serde(rename = "devMajor", skip_serializing_if = "is_default")]
    pub(super) major: i64,
    #[serde(rename = "devMinor", skip_serializing_if = "is_default")]
    pub(super) minor: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) digest: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) offset: u64,
    #[serde(rename = "endOffset", skip_serializing_if = "is_default")]
    pub(super) end: u64,
    #[serde(rename = "chunkSize", skip_serializing_if = "is_default")]
    pub(super) chunk_size: u64,
    #[serde(rename = "chunkOffset", skip_serializing_if = "is_default")]
    pub(super) chunk_offset: u64,
    #[serde(rename = "chunkDigest", skip_serializing_if = "is_default")]
    pub(super) chunk_digest: String,
    #[serde(rename = "chunkType", skip_serializing_if = "is_default")]
    pub(super) chunk_kind: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Names what a piece holds before it is compressed.
pub(super) type Key = [u8; 16];

/// A piece of a blob: the frame of a chunk, or all between two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::image) struct Piece {
    pub(super) key: Key,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Piece {
    pub(super) fn length(&self) -> u64 {
        self.end - self.start
    }
}

/// Which of the two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::image) enum Format {
    /// zstd:chunked.
    Zstd,
    /// eStargz.
    Stargz,
}

/// The pieces of a blob whose content ends at `end`, by its table `json`; nothing where the table makes no sense.
pub(super) fn pieces(json: &[u8], format: Format, end: u64) -> Option<Vec<Piece>> {
    let mut builder = Builder::new(format);
    let mut reader = serde_json::Deserializer::from_slice(json);
    Table(&mut builder).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    builder.finish(end)
}

/// Puts pieces together.
struct Builder {
    format: Format,
    pieces: Vec<Piece>,
    /// Where the next piece begins.
    at: u64,
    /// What is known of what it holds.
    holds: Hasher,
    /// The file whose chunks are being read ends there, and so much is missing to a whole block.
    file: Option<(u64, i64)>,
}

/// A table that makes no sense.
struct Senseless;

impl Builder {
    fn new(format: Format) -> Self {
        Self { format, pieces: Vec::new(), at: 0, holds: Hasher::sha256(), file: None }
    }

    fn entry(&mut self, entry: Entry) -> Result<(), Senseless> {
        let is_chunk = entry.kind == "chunk";
        let content = if entry.chunk_digest.is_empty() { &entry.digest } else { &entry.chunk_digest };
        let content = format!("content {content}\n");
        // Only this has content; links and directories have no place of their own.
        let starts = (is_chunk || entry.kind == "reg") && entry.offset > 0;
        let (offset, end, size) = (entry.offset, entry.end, entry.size);
        match self.format {
            Format::Zstd => {
                if !is_chunk {
                    self.end_file()?;
                    self.identity(entry);
                    self.file = starts.then_some((end, size));
                }
                if starts {
                    self.cut(offset)?;
                    self.holds.update(content.as_bytes());
                }
            }
            Format::Stargz => {
                if !is_chunk {
                    self.identity(entry);
                }
                // Several small files may be in one member.
                if starts && offset != self.at {
                    self.cut(offset)?;
                }
                self.holds.update(content.as_bytes());
            }
        }
        Ok(())
    }

    /// The chunks of a file are followed by headers, behind the padding of the content.
    fn end_file(&mut self) -> Result<(), Senseless> {
        if let Some((end, size)) = self.file.take() {
            self.cut(end)?;
            self.holds.update(format!("padding {}\n", size % 512).as_bytes());
        }
        Ok(())
    }

    /// Adds what the headers of an entry say.
    fn identity(&mut self, entry: Entry) {
        let headers = Entry {
            digest: String::new(),
            offset: 0,
            end: 0,
            chunk_size: 0,
            chunk_offset: 0,
            chunk_digest: String::new(),
            chunk_kind: String::new(),
            ..entry
        };
        self.holds.update(&serde_json::to_vec(&headers).expect("entries have text keys only"));
    }

    /// Ends the piece at `offset`.
    fn cut(&mut self, offset: u64) -> Result<(), Senseless> {
        let holds = std::mem::replace(&mut self.holds, Hasher::sha256()).finish();
        if offset < self.at || self.pieces.len() >= PIECES_MAX {
            return Err(Senseless);
        }
        if offset > self.at {
            self.pieces.push(Piece { key: key(&holds), start: self.at, end: offset });
        }
        self.at = offset;
        Ok(())
    }

    fn finish(mut self, end: u64) -> Option<Vec<Piece>> {
        self.end_file().ok()?;
        self.holds.update(b"end");
        self.cut(end).ok()?;
        Some(self.pieces)
    }
}

fn key(digest: &Digest) -> Key {
    let bytes: &[u8] = match digest {
        Digest::Sha256(bytes) => bytes,
        Digest::Sha512(bytes) => bytes,
    };
    *bytes.first_chunk().expect("digests are longer")
}

/// Reads a table into a builder.
struct Table<'b>(&'b mut Builder);

impl<'de> DeserializeSeed<'de> for Table<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Table<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a table of contents")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "version" if map.next_value::<u32>()? != 1 => {
                    return Err(A::Error::custom("a version that is not known"));
                }
                "version" => {}
                "entries" => map.next_value_seed(Entries(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct Entries<'b>(&'b mut Builder);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element()? {
            self.0.entry(entry).map_err(|Senseless| A::Error::custom("pieces that overlap"))?;
        }
        Ok(())
    }
}
