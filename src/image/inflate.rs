//! [`Decompressor`] as a reader: for archives that a user brings, where speed comes second.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Read};

use super::decompress::{Decompressor, Failure, Sink};

/// Bytes that are read from the source at once.
const CHUNK: usize = 64 << 10;

/// Reads what a compressed or plain stream holds.
#[derive(Debug)]
pub struct Inflated<R> {
    input: R,
    decompressor: Decompressor,
    output: Output,
    chunk: Vec<u8>,
    /// How much of the first buffer is taken.
    position: usize,
    ended: bool,
}

#[derive(Debug, Default)]
struct Output {
    ready: VecDeque<Vec<u8>>,
}

impl Sink for Output {
    type Error = Infallible;

    fn buffer(&mut self) -> Result<Vec<u8>, Infallible> {
        Ok(vec![0; CHUNK])
    }

    fn take(&mut self, mut buffer: Vec<u8>, filled: usize) -> Result<(), Infallible> {
        buffer.truncate(filled);
        if !buffer.is_empty() {
            self.ready.push_back(buffer);
        }
        Ok(())
    }
}

impl<R: Read> Inflated<R> {
    /// Reads `input`: gzip, zstd or plain.
    pub fn new(input: R) -> Self {
        Self {
            input,
            decompressor: Decompressor::default(),
            output: Output::default(),
            chunk: vec![0; CHUNK],
            position: 0,
            ended: false,
        }
    }

    fn more(&mut self) -> io::Result<()> {
        let count = self.input.read(&mut self.chunk)?;
        let done = if count == 0 {
            self.ended = true;
            self.decompressor.finish(&mut self.output)
        } else {
            self.decompressor.push(&self.chunk[..count], &mut self.output)
        };
        done.map_err(|failure| match failure {
            Failure::Stream(error) => io::Error::new(io::ErrorKind::InvalidData, error),
            Failure::Sink(never) => match never {},
        })
    }
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(buffer) = self.output.ready.front() {
                let rest = &buffer[self.position..];
                let count = rest.len().min(target.len());
                target[..count].copy_from_slice(&rest[..count]);
                self.position += count;
                if self.position == buffer.len() {
                    self.output.ready.pop_front();
                    self.position = 0;
                }
                return Ok(count);
            }
            if self.ended {
                return Ok(0);
            }
            self.more()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn plain_gzip_and_zstd_read_alike() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let zstd = zstd::encode_all(text.as_slice(), 1).unwrap();
        for stream in [text.clone(), gzip.finish().unwrap(), zstd.clone()] {
            let mut read = Vec::new();
            Inflated::new(stream.as_slice()).read_to_end(&mut read).unwrap();
            assert!(read == text);
        }
        let cut = &zstd[..zstd.len() - 5];
        assert!(Inflated::new(cut).read_to_end(&mut Vec::new()).is_err());
    }
}
