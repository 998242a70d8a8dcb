//! A pipe between two threads: few large buffers that go round, so that neither memory nor the allocator grows with
//! the layer.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use crate::image::decompress::Sink;

/// Size of a buffer.
const BUFFER: usize = 256 << 10;
/// Buffers in flight; two more are being filled and emptied.
const DEPTH: usize = 4;

/// The reader has gone.
#[derive(Debug)]
pub(in crate::image) struct Closed;

enum Message {
    Data(Vec<u8>, usize),
    End,
}

/// The writing end. Dropped without [`Self::finish`], it makes the reader fail.
pub(in crate::image) struct Writer {
    full: SyncSender<Message>,
    empty: Receiver<Vec<u8>>,
    allocated: usize,
}

/// The reading end.
pub(in crate::image) struct Reader {
    full: Receiver<Message>,
    empty: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    filled: usize,
    ended: bool,
}

/// Makes a pipe.
pub(in crate::image) fn pipe() -> (Writer, Reader) {
    let (full_sender, full) = sync_channel(DEPTH);
    let (empty_sender, empty) = channel();
    let reader =
        Reader { full, empty: empty_sender, current: Vec::new(), position: 0, filled: 0, ended: false };
    (Writer { full: full_sender, empty, allocated: 0 }, reader)
}

impl Writer {
    /// Tells the reader that everything was written and is right.
    pub(in crate::image) fn finish(self) -> Result<(), Closed> {
        self.full.send(Message::End).map_err(|_| Closed)
    }
}

impl Sink for Writer {
    type Error = Closed;

    fn buffer(&mut self) -> Result<Vec<u8>, Closed> {
        if let Ok(buffer) = self.empty.try_recv() {
            return Ok(buffer);
        }
        if self.allocated < DEPTH + 2 {
            self.allocated += 1;
            return Ok(vec![0; BUFFER]);
        }
        self.empty.recv().map_err(|_| Closed)
    }

    fn take(&mut self, buffer: Vec<u8>, filled: usize) -> Result<(), Closed> {
        self.full.send(Message::Data(buffer, filled)).map_err(|_| Closed)
    }
}

impl Reader {
    /// The next bytes, without copying them; nothing at the end.
    pub(in crate::image) fn piece(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.fill()? {
            return Ok(None);
        }
        let start = std::mem::replace(&mut self.position, self.filled);
        Ok(Some(&self.current[start..self.filled]))
    }

    /// Waits for bytes; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        while self.position == self.filled {
            if self.ended {
                return Ok(false);
            }
            let used = std::mem::take(&mut self.current);
            if !used.is_empty() {
                // A writer that has gone needs no buffers.
                let _ = self.empty.send(used);
            }
            match self.full.recv() {
                Ok(Message::Data(buffer, filled)) => {
                    (self.current, self.position, self.filled) = (buffer, 0, filled);
                }
                Ok(Message::End) => (self.ended, self.position, self.filled) = (true, 0, 0),
                Err(_) => return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the stream was given up")),
            }
        }
        Ok(true)
    }
}

impl Read for Reader {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if !self.fill()? {
            return Ok(0);
        }
        let count = target.len().min(self.filled - self.position);
        target[..count].copy_from_slice(&self.current[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order_and_buffers_go_round() {
        let (mut writer, mut reader) = pipe();
        let sum = std::thread::scope(|scope| {
            let read = scope.spawn(move || {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).unwrap();
                all
            });
            for i in 0..100_u8 {
                let mut buffer = writer.buffer().unwrap();
                buffer[..3].fill(i);
                writer.take(buffer, 3).unwrap();
            }
            assert!(writer.allocated <= DEPTH + 2);
            writer.finish().unwrap();
            read.join().unwrap()
        });
        assert_eq!(sum, (0..100_u8).flat_map(|i| [i; 3]).collect::<Vec<_>>());
    }

    #[test]
    fn an_end_that_was_not_announced_is_an_error() {
        let (mut writer, mut reader) = pipe();
        let buffer = writer.buffer().unwrap();
        writer.take(buffer, 5).unwrap();
        drop(writer);
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let (mut writer, reader) = pipe();
        drop(reader);
        assert!(writer.take(Vec::new(), 0).is_err());
    }
}
