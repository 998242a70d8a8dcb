//! Zstd frames one after the other, each for itself.

use std::io;

use zstd::bulk::Compressor;
use zstd::stream::raw::{Encoder, InBuffer, Operation as _, OutBuffer};

/// Frames up to this length are compressed at once: small ones are much faster, and smaller, when their length is known.
const AT_ONCE: usize = 1 << 20;
/// Output leaves in pieces of about this size.
const OUTPUT: usize = 1 << 20;

/// Takes output.
pub(super) type Out<'o> = &'o mut dyn FnMut(Vec<u8>) -> io::Result<()>;

/// Writes frames.
pub(super) struct Frames<'o> {
    level: i32,
    compressor: Compressor<'static>,
    /// Of a frame that is longer than what is compressed at once.
    stream: Option<Encoder<'static>>,
    /// What the frame has so far and is not compressed.
    frame: Vec<u8>,
    ready: Vec<u8>,
    written: u64,
    out: Out<'o>,
}

impl<'o> Frames<'o> {
    pub(super) fn new(level: i32, out: Out<'o>) -> io::Result<Self> {
        let compressor = Compressor::new(level)?;
        let (frame, ready) = (Vec::new(), Vec::new());
        Ok(Self { level, compressor, stream: None, frame, ready, written: 0, out })
    }

    /// Adds to the frame; `seen` gets all bytes of it, in few pieces.
    pub(super) fn push(&mut self, bytes: &[u8], seen: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.frame.extend_from_slice(bytes);
        if self.frame.len() > AT_ONCE {
            seen(&self.frame);
            self.stream_frame()?;
        }
        Ok(())
    }

    /// Ends the frame, if there is anything in it; returns where the next one begins.
    pub(super) fn end(&mut self, seen: &mut dyn FnMut(&[u8])) -> io::Result<u64> {
        if !self.frame.is_empty() {
            seen(&self.frame);
        }
        if self.stream.is_some() {
            self.stream_frame()?;
            self.end_stream()?;
        } else if !self.frame.is_empty() {
            let compressed = self.compressor.compress(&self.frame)?;
            self.frame.clear();
            self.raw(&compressed)?;
        }
        Ok(self.written)
    }

    /// Adds bytes that are no frame of data.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.ready.extend_from_slice(bytes);
        if self.ready.len() >= OUTPUT {
            (self.out)(std::mem::take(&mut self.ready))?;
        }
        Ok(())
    }

    /// Passes on what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        match std::mem::take(&mut self.ready) {
            ready if ready.is_empty() => Ok(()),
            ready => (self.out)(ready),
        }
    }

    fn stream_frame(&mut self) -> io::Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => Encoder::new(self.level)?,
        };
        let frame = std::mem::take(&mut self.frame);
        let mut input = InBuffer::around(&frame);
        let mut output = vec![0; OUTPUT / 4];
        while input.pos() < frame.len() {
            let mut room = OutBuffer::around(output.as_mut_slice());
            stream.run(&mut input, &mut room)?;
            let count = room.pos();
            self.raw(&output[..count])?;
        }
        self.stream = Some(stream);
        self.frame = frame;
        self.frame.clear();
        Ok(())
    }

    fn end_stream(&mut self) -> io::Result<()> {
        let Some(mut stream) = self.stream.take() else { return Ok(()) };
        let mut output = vec![0; OUTPUT / 4];
        loop {
            let mut room = OutBuffer::around(output.as_mut_slice());
            let left = stream.finish(&mut room, true)?;
            let count = room.pos();
            self.raw(&output[..count])?;
            if left == 0 {
                return Ok(());
            }
        }
    }
}
