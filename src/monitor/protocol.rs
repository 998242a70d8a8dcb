//! The protocol between a monitor and its attached clients, over a stream socket.
//!
//! # Wire format
//!
//! A frame is an 8-byte header and a payload of at most [`MAX_PAYLOAD`] bytes:
//!
//! ```text
//! byte 0     kind
//! byte 1..4  zero (readers ignore them)
//! byte 4..8  length of the payload, little endian
//! ```
//!
//! Both sides begin with `Hello` and the highest version they speak; the lower one counts.
//! Frames of unknown kinds are skipped, so a kind can be added without a new version.
//! Standard input is sent only on credit: a client starts with [`STDIN_WINDOW`] bytes and gets more
//! by `Taken`. So input that the container does not read never holds up a signal or a resize.

use std::collections::VecDeque;

use super::Failure;
use crate::kernel::tty::WindowSize;

/// The version that this rbox speaks.
pub const VERSION: u32 = 1;

/// The longest payload.
pub const MAX_PAYLOAD: usize = 32 * 1024;

/// How many bytes of standard input may be on their way.
pub const STDIN_WINDOW: usize = 64 * 1024;

/// The size of a header.
pub const HEADER: usize = 8;

/// Which of the container's streams a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Client: what it wants. Monitor: what it has.
    Hello(Hello),
    /// Client: bytes for the container's standard input.
    Stdin(Vec<u8>),
    /// Client: the end of standard input.
    StdinEnd,
    /// Client: its terminal has another size.
    Resize(WindowSize),
    /// Client: a signal for the container's first process.
    Signal(i32),
    /// Client: the program of a container that is only made shall run now.
    Start,
    /// Monitor: output.
    Output(Stream, Vec<u8>),
    /// Monitor: that many bytes of standard input were taken.
    Taken(u32),
    /// Monitor: the process runs, or waits to be started if that was asked for; its pid as the client sees it.
    Started(i32),
    /// Monitor: the container could not be started.
    Failed(Failure),
    /// Monitor: the process ended with this code.
    Exit(i32),
    /// Monitor: output was lost, because the log was rotated before the client read it.
    Gap,
}

/// The first frame in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Highest version spoken.
    pub version: u32,
    /// Client: sends standard input. Monitor: takes it.
    pub stdin: bool,
    /// Client: wants standard output.
    pub stdout: bool,
    /// Client: wants standard error.
    pub stderr: bool,
    /// Monitor: the container has a terminal.
    pub terminal: bool,
}

const HELLO: u8 = 1;
const STDIN: u8 = 2;
const STDIN_END: u8 = 3;
const RESIZE: u8 = 4;
const SIGNAL: u8 = 5;
const START: u8 = 6;
const STDOUT: u8 = 16;
const STDERR: u8 = 17;
const TAKEN: u8 = 18;
const STARTED: u8 = 19;
const FAILED: u8 = 20;
const EXIT: u8 = 21;
const GAP: u8 = 22;

/// The header of an output frame, for callers that send payloads without a copy.
#[must_use]
pub fn output_header(stream: Stream, length: usize) -> [u8; HEADER] {
    let kind = match stream {
        Stream::Stdout => STDOUT,
        Stream::Stderr => STDERR,
    };
    header(kind, length)
}

fn header(kind: u8, length: usize) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[0] = kind;
    bytes[4..].copy_from_slice(&u32::try_from(length).expect("payloads are short").to_le_bytes());
    bytes
}

impl Frame {
    /// Appends the frame's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |kind: u8, payload: &[u8]| {
            out.extend_from_slice(&header(kind, payload.len()));
            out.extend_from_slice(payload);
        };
        match self {
            Self::Hello(hello) => put(HELLO, &hello.to_bytes()),
            Self::Stdin(bytes) => put(STDIN, bytes),
            Self::StdinEnd => put(STDIN_END, &[]),
            Self::Resize(size) => {
                let (rows, columns) = (size.rows.to_le_bytes(), size.columns.to_le_bytes());
                put(RESIZE, &[rows[0], rows[1], columns[0], columns[1]]);
            }
            Self::Signal(number) => put(SIGNAL, &number.to_le_bytes()),
            Self::Start => put(START, &[]),
            Self::Output(Stream::Stdout, bytes) => put(STDOUT, bytes),
            Self::Output(Stream::Stderr, bytes) => put(STDERR, bytes),
            Self::Taken(count) => put(TAKEN, &count.to_le_bytes()),
            Self::Started(pid) => put(STARTED, &pid.to_le_bytes()),
            Self::Failed(failure) => {
                // The code, then text and hints, each ended by a NUL.
                let mut payload = failure.code.to_le_bytes().to_vec();
                for text in std::iter::once(&failure.text).chain(&failure.hints) {
                    payload.extend(text.bytes().filter(|&b| b != 0));
                    payload.push(0);
                }
                payload.truncate(MAX_PAYLOAD);
                put(FAILED, &payload);
            }
            Self::Exit(code) => put(EXIT, &code.to_le_bytes()),
            Self::Gap => put(GAP, &[]),
        }
    }

    /// The frame's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }

    /// Reads a payload; `Ok(None)` for a kind of a later version.
    fn decode(kind: u8, payload: &[u8]) -> Result<Option<Self>, Malformed> {
        let number = || i32::from_le_bytes(payload.try_into().unwrap_or_default());
        let sized = |size: usize| if payload.len() == size { Ok(()) } else { Err(Malformed { kind }) };
        Ok(Some(match kind {
            HELLO => Self::Hello(Hello::from_bytes(payload).ok_or(Malformed { kind })?),
            STDIN => Self::Stdin(payload.to_vec()),
            STDIN_END => Self::StdinEnd,
            RESIZE => {
                sized(4)?;
                Self::Resize(WindowSize {
                    rows: u16::from_le_bytes([payload[0], payload[1]]),
                    columns: u16::from_le_bytes([payload[2], payload[3]]),
                })
            }
            SIGNAL => sized(4).map(|()| Self::Signal(number()))?,
            START => Self::Start,
            STDOUT => Self::Output(Stream::Stdout, payload.to_vec()),
            STDERR => Self::Output(Stream::Stderr, payload.to_vec()),
            TAKEN => sized(4).map(|()| Self::Taken(number().cast_unsigned()))?,
            STARTED => sized(4).map(|()| Self::Started(number()))?,
            FAILED => {
                let (code, texts) = payload.split_first_chunk::<4>().ok_or(Malformed { kind })?;
                let texts = String::from_utf8_lossy(texts);
                let mut texts = texts.split_terminator('\0').map(str::to_owned);
                let text = texts.next().unwrap_or_default();
                Self::Failed(Failure { code: i32::from_le_bytes(*code), text, hints: texts.collect() })
            }
            EXIT => sized(4).map(|()| Self::Exit(number()))?,
            GAP => Self::Gap,
            _ => return Ok(None),
        }))
    }
}

impl Hello {
    fn to_bytes(self) -> [u8; 8] {
        let flags = u32::from(self.stdin)
            | u32::from(self.stdout) << 1
            | u32::from(self.stderr) << 2
            | u32::from(self.terminal) << 3;
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.version.to_le_bytes());
        bytes[4..].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    /// A later version may append fields.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let version = u32::from_le_bytes(*bytes.first_chunk()?);
        let flags = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
        let flag = |bit: u32| flags & (1 << bit) != 0;
        Some(Self { version, stdin: flag(0), stdout: flag(1), stderr: flag(2), terminal: flag(3) })
    }
}

/// A frame that no version of the protocol has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame of kind {kind}")]
pub struct Malformed {
    kind: u8,
}

/// Puts frames together from whatever pieces the socket gives.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: VecDeque<u8>,
}

impl Decoder {
    /// Adds bytes as read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// Takes the next whole frame.
    ///
    /// # Errors
    /// On a frame that is too long or malformed; the connection is of no use then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Malformed> {
        loop {
            if self.bytes.len() < HEADER {
                return Ok(None);
            }
            let bytes = self.bytes.make_contiguous();
            let kind = bytes[0];
            let length = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
            if length > MAX_PAYLOAD {
                return Err(Malformed { kind });
            }
            let Some(payload) = bytes.get(HEADER..HEADER + length) else { return Ok(None) };
            let frame = Frame::decode(kind, payload);
            self.bytes.drain(..HEADER + length);
            if self.bytes.is_empty() {
                // Idle connections hold no memory.
                self.bytes.shrink_to(0);
            }
            if let Some(frame) = frame? {
                return Ok(Some(frame));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cutting() {
        let hello = Hello { version: 7, stdin: true, stdout: false, stderr: true, terminal: true };
        let frames = vec![
            Frame::Hello(hello),
            Frame::Stdin(b"abc".to_vec()),
            Frame::StdinEnd,
            Frame::Resize(WindowSize { rows: 24, columns: 300 }),
            Frame::Signal(15),
            Frame::Start,
            Frame::Output(Stream::Stdout, vec![0; 5]),
            Frame::Output(Stream::Stderr, Vec::new()),
            Frame::Taken(u32::MAX),
            Frame::Started(42),
            Frame::Failed(Failure { code: 127, text: "no such ü".to_owned(), hints: vec!["x".to_owned()] }),
            Frame::Exit(-1),
            Frame::Gap,
        ];
        let mut bytes = Vec::new();
        for frame in &frames {
            frame.encode(&mut bytes);
        }
        for step in [1, 3, 7, bytes.len()] {
            let mut decoder = Decoder::default();
            let mut read = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    read.push(frame);
                }
            }
            assert_eq!(read, frames);
        }
    }

    #[test]
    fn unknown_kinds_are_skipped_and_bad_frames_refused() {
        let mut decoder = Decoder::default();
        decoder.push(&[200, 0, 0, 0, 2, 0, 0, 0, 9, 9]);
        decoder.push(&Frame::Exit(3).to_bytes());
        assert_eq!(decoder.next_frame(), Ok(Some(Frame::Exit(3))));
        for bad in [vec![EXIT, 0, 0, 0, 1, 0, 0, 0, 9], vec![STDIN, 0, 0, 0, 255, 255, 255, 255]] {
            let mut decoder = Decoder::default();
            decoder.push(&bad);
            assert!(decoder.next_frame().is_err());
        }
    }
}
