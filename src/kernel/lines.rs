//! Bytes as they are read, cut into lines as they are asked for.

use std::io;
use std::ops::Range;

/// How much is read at once.
const PIECE: usize = 128 * 1024;

/// What has been read of a file and not been given out as a line yet.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Up to here there is something in `bytes`.
    filled: usize,
    /// Where the next line begins.
    start: usize,
    /// Up to here there is no end of that line.
    searched: usize,
}

impl LineBuffer {
    /// Adds what `read` puts into the piece that it is given; returns how much that was.
    ///
    /// # Errors
    /// When `read` fails.
    pub fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        // Once a piece, not once a line: what is left is moved to the front.
        self.bytes.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.searched -= self.start;
        self.start = 0;
        if self.bytes.len() - self.filled < PIECE {
            self.bytes.resize((2 * self.bytes.len()).max(self.filled + PIECE), 0);
        }
        let end = self.filled + PIECE;
        let n = read(&mut self.bytes[self.filled..end])?;
        self.filled += n;
        Ok(n)
    }

    /// Where the next whole line is, without its newline: good until more is read.
    pub fn next_range(&mut self) -> Option<Range<usize>> {
        let Some(length) = memchr::memchr(b'\n', &self.bytes[self.searched..self.filled]) else {
            self.searched = self.filled;
            return None;
        };
        let range = self.start..self.searched + length;
        self.start = range.end + 1;
        self.searched = self.start;
        Some(range)
    }

    /// The bytes of a line.
    #[must_use]
    pub fn line(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Takes the next whole line out, without its newline.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        self.next_range().map(|range| self.line(range).to_vec())
    }
}

impl From<Vec<u8>> for LineBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { filled: bytes.len(), bytes, start: 0, searched: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(buffer: &mut LineBuffer, piece: &[u8]) {
        let read = |room: &mut [u8]| {
            room[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        };
        assert_eq!(buffer.fill(read).unwrap(), piece.len());
    }

    #[test]
    fn lines_come_out_whole_however_they_are_read() {
        let text = b"one\n\nthree of some length\nlast\nunfinished";
        for size in 1..=text.len() {
            let mut buffer = LineBuffer::default();
            let mut lines = Vec::new();
            for piece in text.chunks(size) {
                push(&mut buffer, piece);
                lines.extend(std::iter::from_fn(|| buffer.next_line()));
            }
            assert_eq!(lines, [&b"one"[..], b"", b"three of some length", b"last"], "{size}");
            push(&mut buffer, b"\n");
            assert_eq!(buffer.next_line().as_deref(), Some(&b"unfinished"[..]), "{size}");
        }
        assert_eq!(LineBuffer::from(b"a\nb".to_vec()).next_line(), Some(b"a".to_vec()));
    }

    /// A line that is longer than what is read at once.
    #[test]
    fn long_lines_are_kept_together() {
        let mut buffer = LineBuffer::from(b"first\nlong ".to_vec());
        assert_eq!(buffer.next_line(), Some(b"first".to_vec()));
        for letter in [b'a', b'b', b'c'] {
            push(&mut buffer, &vec![letter; PIECE]);
            assert_eq!(buffer.next_line(), None);
        }
        push(&mut buffer, b"\nrest");
        let line = buffer.next_line().unwrap();
        assert_eq!(line.len(), 5 + 3 * PIECE);
        assert!(line.starts_with(b"long aaa") && line.ends_with(b"ccc"));
        assert_eq!(buffer.next_line(), None);
    }
}
