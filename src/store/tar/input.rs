//! The stream below the reader: buffered, counted, limited, hashed.

use std::io::{self, Read};

use super::Error;
use super::header::{BLOCK, Block};
use crate::store::{Digest, Hasher};

/// Large enough that reading, hashing and writing work on long runs.
const BUFFER: usize = 256 << 10;

/// A buffered stream that counts and hashes what passes.
pub(super) struct Input<R> {
    reader: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes consumed.
    pub(super) offset: u64,
    read: u64,
    max_bytes: u64,
    hasher: Hasher,
    hashes: bool,
}

impl<R> std::fmt::Debug for Input<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl<R: Read> Input<R> {
    pub(super) fn new(reader: R, max_bytes: u64) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self {
            reader,
            buffer,
            start: 0,
            end: 0,
            offset: 0,
            read: 0,
            max_bytes,
            hasher: Hasher::sha256(),
            hashes: true,
        }
    }

    /// Stops hashing, where nobody wants the digest.
    pub(super) fn stop_hashing(&mut self) {
        self.hashes = false;
    }

    /// How many bytes are in the buffer, after filling it if it was empty; 0 at the end of the stream.
    pub(super) fn available(&mut self) -> Result<usize, Error> {
        if self.start == self.end {
            let count = loop {
                match self.reader.read(&mut self.buffer) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    other => break other.map_err(Error::Read)?,
                }
            };
            self.read += count as u64;
            if self.read > self.max_bytes {
                return Err(Error::Limit { what: "bytes", limit: self.max_bytes });
            }
            if self.hashes {
                self.hasher.update(&self.buffer[..count]);
            }
            (self.start, self.end) = (0, count);
        }
        Ok(self.end - self.start)
    }

    pub(super) fn consume(&mut self, count: usize) -> &[u8] {
        let bytes = &self.buffer[self.start..self.start + count];
        self.start += count;
        self.offset += count as u64;
        bytes
    }

    /// Reads to the end of the stream and returns the digest and length of everything.
    pub(super) fn finish(mut self) -> Result<(Digest, u64), Error> {
        loop {
            let available = self.available()?;
            if available == 0 {
                return Ok((self.hasher.finish(), self.offset));
            }
            self.consume(available);
        }
    }

    /// A whole block; the stream must not end before or inside it.
    pub(super) fn block(&mut self) -> Result<Block, Error> {
        let offset = self.offset;
        self.block_or_end()?.ok_or(Error::Truncated(offset))
    }

    pub(super) fn block_or_end(&mut self) -> Result<Option<Block>, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let count = self.available()?.min(BLOCK - filled);
            if count == 0 {
                return if filled == 0 { Ok(None) } else { Err(Error::Truncated(self.offset)) };
            }
            block[filled..filled + count].copy_from_slice(self.consume(count));
            filled += count;
        }
        Ok(Some(block))
    }

    pub(super) fn take(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.pass(size, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    pub(super) fn skip(&mut self, size: u64) -> Result<(), Error> {
        self.pass(size, |_| ())
    }

    fn pass(&mut self, size: u64, mut sink: impl FnMut(&[u8])) -> Result<(), Error> {
        let mut left = size;
        while left > 0 {
            let available = self.available()?;
            if available == 0 {
                return Err(Error::Truncated(self.offset));
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(available);
            sink(self.consume(count));
            left -= count as u64;
        }
        Ok(())
    }

    /// Skips padding, which may be missing at the end of the stream.
    pub(super) fn skip_padding(&mut self, size: u64) -> Result<(), Error> {
        match self.skip(size) {
            Err(Error::Truncated(_)) => Ok(()),
            other => other,
        }
    }
}
