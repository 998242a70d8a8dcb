//! Bytes as they are read, cut into lines as they are asked for.

/// What has been read of a file and not been given out as a line yet.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Up to here there is no end of that line.
    searched: usize,
}

impl LineBuffer {
    /// Adds what was read.
    pub fn push(&mut self, piece: &[u8]) {
        // Once a piece, not once a line: what is left is moved to the front.
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// Takes the next whole line out, without its newline.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        let Some(length) = self.bytes[self.searched..].iter().position(|&byte| byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let end = self.searched + length;
        let line = self.bytes[self.start..end].to_vec();
        self.start = end + 1;
        self.searched = self.start;
        Some(line)
    }
}

impl From<Vec<u8>> for LineBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0, searched: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_are_read() {
        let text = b"one\n\nthree of some length\nlast\nunfinished";
        for size in 1..=text.len() {
            let mut buffer = LineBuffer::default();
            let mut lines = Vec::new();
            for piece in text.chunks(size) {
                buffer.push(piece);
                lines.extend(std::iter::from_fn(|| buffer.next_line()));
            }
            assert_eq!(lines, [&b"one"[..], b"", b"three of some length", b"last"], "{size}");
            buffer.push(b"\n");
            assert_eq!(buffer.next_line().as_deref(), Some(&b"unfinished"[..]), "{size}");
        }
        assert_eq!(LineBuffer::from(b"a\nb".to_vec()).next_line(), Some(b"a".to_vec()));
    }
}
