//! The tar format: a strict reader and a reproducible writer.
//!
//! Read: ustar, pax, GNU (long names, base-256 numbers, old sparse), star and V7 headers. The same reader
//! serves layers, `load`, `import` and `cp`: [`Archive::next_entry`] gives one [`Entry`] after the other,
//! each a stream of its own.

mod header;
mod input;
mod original;
mod pax;
mod reader;
mod sparse;
#[cfg(test)]
mod tests;
mod writer;

use std::io;

pub use original::{Original, Time};
pub use reader::{Archive, Entry};
pub use sparse::Piece;
pub use writer::Writer;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// What the headers of an entry say. Names are bytes as they stand in the archive: not cleaned, not safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name.
    pub path: Vec<u8>,
    /// Type.
    pub kind: Kind,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Permission bits, setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes of content, holes included.
    pub size: u64,
    /// Time of the last change: seconds, and nanoseconds after them.
    pub mtime: (i64, u32),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The content has holes.
    pub sparse: bool,
}

impl Header {
    /// An entry of root's, from the beginning of time, with nothing special about it.
    #[must_use]
    pub fn plain(path: impl Into<Vec<u8>>, kind: Kind, mode: u32, size: u64) -> Self {
        Self {
            path: path.into(),
            kind,
            link: Vec::new(),
            mode,
            uid: 0,
            gid: 0,
            size,
            mtime: (0, 0),
            device: (0, 0),
            xattrs: Vec::new(),
            sparse: false,
        }
    }
}

/// How much of an archive is read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries, extended headers included.
    pub max_entries: u64,
    /// Bytes of the stream.
    pub max_bytes: u64,
}

impl Limits {
    /// No limit but that of the types.
    pub const NONE: Self = Self { max_entries: u64::MAX, max_bytes: u64::MAX };
}

/// A damaged, unsafe or ambiguous archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The reader failed.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The archive ends in the middle.
    #[error("the archive is cut off at byte {0}")]
    Truncated(u64),
    /// A header is wrong.
    #[error("bad header at byte {offset}: {problem}")]
    Header {
        /// Where the header starts.
        offset: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// A limit is exceeded.
    #[error("the archive exceeds the limit of {limit} {what}")]
    Limit {
        /// `bytes`, `entries`, …
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}
