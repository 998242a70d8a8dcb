//! The tar format: a strict reader and a reproducible writer.

use std::io;

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
