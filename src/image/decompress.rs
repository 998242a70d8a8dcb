//! Layers unpacked while they arrive: gzip, zstd or plain, told apart by their first bytes.
//!
//! The input is pushed in pieces of any size, the output leaves in buffers that the caller provides. Gzip's framing is
//! done here and only the deflate data is left to the library: several members are one stream (RFC 1952 section 2.2),
//! each trailer is checked, and anything after the last member that is no member is refused, as Go does. Otherwise
//! two tools could see different content in one blob.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

/// The largest window that is accepted, zstd's own default limit: it bounds the memory of one layer (S54).
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// The longest gzip header: file name, comment and extra field are of no use here.
const GZIP_HEADER_MAX: usize = 128 << 10;

/// Why a stream cannot be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// A format that images do not have.
    #[error("unsupported compression: {0}")]
    Format(&'static str),
    /// The data is damaged.
    #[error("invalid {format} data: {problem}")]
    Data {
        /// `gzip` or `zstd`.
        format: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The stream ends too early.
    #[error("the {0} data ends too early")]
    Truncated(&'static str),
}

/// Takes output in buffers.
pub trait Sink {
    /// Why output is not taken any more.
    type Error;
    /// An empty buffer of at least some KiB, all of it to be overwritten.
    fn buffer(&mut self) -> Result<Vec<u8>, Self::Error>;
    /// A buffer whose first `filled` bytes are output.
    fn take(&mut self, buffer: Vec<u8>, filled: usize) -> Result<(), Self::Error>;
}

/// Either the stream or its sink failed.
#[derive(Debug)]
pub enum Failure<E> {
    /// The stream is bad.
    Stream(DecompressError),
    /// The sink does not go on.
    Sink(E),
}

impl<E> From<DecompressError> for Failure<E> {
    fn from(error: DecompressError) -> Self {
        Self::Stream(error)
    }
}

/// A stream of unknown format that is being decompressed.
pub struct Decompressor {
    format: Format,
    /// Output buffer in use.
    output: Vec<u8>,
    filled: usize,
}

enum Format {
    /// Too few bytes for a decision.
    Unknown(Vec<u8>),
    Plain,
    Gzip(Box<Gzip>),
    Zstd(Zstd),
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").field("format", &self.format_name()).finish_non_exhaustive()
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self { format: Format::Unknown(Vec::new()), output: Vec::new(), filled: 0 }
    }
}

impl Decompressor {
    /// `gzip`, `zstd`, `tar`, or `unknown` before the first bytes.
    #[must_use]
    pub fn format_name(&self) -> &'static str {
        match self.format {
            Format::Unknown(_) => "unknown",
            Format::Plain => "tar",
            Format::Gzip(_) => "gzip",
            Format::Zstd(_) => "zstd",
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push<S: Sink>(&mut self, input: &[u8], sink: &mut S) -> Result<(), Failure<S::Error>> {
        if let Format::Unknown(start) = &mut self.format {
            start.extend_from_slice(input);
            let Some(format) = detect(start)? else { return Ok(()) };
            let start = std::mem::take(start);
            self.format = format;
            return self.decode(&start, sink);
        }
        self.decode(input, sink)
    }

    /// Ends the stream: passes on what is left and checks that it was complete.
    pub fn finish<S: Sink>(&mut self, sink: &mut S) -> Result<(), Failure<S::Error>> {
        if let Format::Unknown(start) = &mut self.format {
            // Fewer bytes than any magic number has: nothing compressed is that short.
            let start = std::mem::take(start);
            self.format = Format::Plain;
            self.decode(&start, sink)?;
        }
        match &self.format {
            Format::Gzip(gzip) if !gzip.is_complete() => {
                return Err(DecompressError::Truncated("gzip").into());
            }
            Format::Zstd(zstd) if !zstd.is_complete => return Err(DecompressError::Truncated("zstd").into()),
            _ => {}
        }
        self.flush(sink)
    }

    fn decode<S: Sink>(&mut self, mut input: &[u8], sink: &mut S) -> Result<(), Failure<S::Error>> {
        loop {
            if self.filled == self.output.len() {
                self.flush(sink)?;
                self.output = sink.buffer().map_err(Failure::Sink)?;
            }
            let room = &mut self.output[self.filled..];
            let (read, written) = match &mut self.format {
                Format::Gzip(gzip) => gzip.step(input, room)?,
                Format::Zstd(zstd) => zstd.step(input, room)?,
                Format::Plain | Format::Unknown(_) => {
                    let count = input.len().min(room.len());
                    room[..count].copy_from_slice(&input[..count]);
                    (count, count)
                }
            };
            let is_full = written == room.len();
            input = &input[read..];
            self.filled += written;
            // A full buffer may mean that more output waits inside of the decoder.
            if input.is_empty() && !is_full {
                return Ok(());
            }
        }
    }

    fn flush<S: Sink>(&mut self, sink: &mut S) -> Result<(), Failure<S::Error>> {
        let (buffer, filled) = (std::mem::take(&mut self.output), std::mem::take(&mut self.filled));
        if filled == 0 {
            return Ok(());
        }
        sink.take(buffer, filled).map_err(Failure::Sink)
    }
}

fn detect(start: &[u8]) -> Result<Option<Format>, DecompressError> {
    const MAGIC_MAX: usize = 6;
    Ok(Some(match start {
        [0x1f, 0x8b, ..] => Format::Gzip(Box::default()),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Zstd(Zstd::new()?),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => return Err(DecompressError::Format("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => return Err(DecompressError::Format("xz")),
        _ if start.len() < MAGIC_MAX => return Ok(None),
        _ => Format::Plain,
    }))
}

struct Gzip {
    inflate: Decompress,
    state: GzipState,
    /// Header or trailer bytes that arrived in pieces.
    pending: Vec<u8>,
    checksum: crc32fast::Hasher,
    /// Output of this member, modulo 2^32.
    length: u32,
    members: u64,
}

#[derive(PartialEq, Eq)]
enum GzipState {
    Header,
    Body,
    Trailer,
}

impl Default for Gzip {
    fn default() -> Self {
        Self {
            inflate: Decompress::new(false),
            state: GzipState::Header,
            pending: Vec::new(),
            checksum: crc32fast::Hasher::new(),
            length: 0,
            members: 0,
        }
    }
}

impl Gzip {
    fn is_complete(&self) -> bool {
        self.state == GzipState::Header && self.pending.is_empty() && self.members > 0
    }

    /// Reads some input, writes some output.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), DecompressError> {
        match self.state {
            GzipState::Header => self.header(input).map(|read| (read, 0)),
            GzipState::Body => self.body(input, output),
            GzipState::Trailer => self.trailer(input).map(|read| (read, 0)),
        }
    }

    fn header(&mut self, input: &[u8]) -> Result<usize, DecompressError> {
        let before = self.pending.len();
        self.pending.extend_from_slice(&input[..input.len().min(GZIP_HEADER_MAX + 1)]);
        match header_length(&self.pending)? {
            None if self.pending.len() > GZIP_HEADER_MAX => Err(gzip_error("the header is too long")),
            None => Ok(self.pending.len() - before),
            Some(length) => {
                self.pending.clear();
                self.state = GzipState::Body;
                self.inflate.reset(false);
                self.checksum = crc32fast::Hasher::new();
                self.length = 0;
                Ok(length - before)
            }
        }
    }

    fn body(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), DecompressError> {
        let (read_before, written_before) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(input, output, FlushDecompress::None)
            .map_err(|_| gzip_error("the deflate data is damaged"))?;
        let read = usize::try_from(self.inflate.total_in() - read_before).expect("at most the input");
        let written = usize::try_from(self.inflate.total_out() - written_before).expect("at most the output");
        self.checksum.update(&output[..written]);
        self.length = self.length.wrapping_add(u32::try_from(written % (1 << 32)).expect("below 2^32"));
        if status == Status::StreamEnd {
            self.state = GzipState::Trailer;
        } else if read == 0 && written == 0 && !input.is_empty() {
            return Err(gzip_error("the deflate data does not go on"));
        }
        Ok((read, written))
    }

    fn trailer(&mut self, input: &[u8]) -> Result<usize, DecompressError> {
        let count = input.len().min(8 - self.pending.len());
        self.pending.extend_from_slice(&input[..count]);
        if let Ok(trailer) = <[u8; 8]>::try_from(self.pending.as_slice()) {
            let [a, b, c, d, e, f, g, h] = trailer;
            if u32::from_le_bytes([a, b, c, d]) != std::mem::take(&mut self.checksum).finalize() {
                return Err(gzip_error("invalid checksum"));
            }
            if u32::from_le_bytes([e, f, g, h]) != self.length {
                return Err(gzip_error("invalid length"));
            }
            self.pending.clear();
            self.members += 1;
            self.state = GzipState::Header;
        }
        Ok(count)
    }
}

/// Flag bits of the gzip header.
const HEADER_CRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

/// The length of the header that `bytes` starts with, or nothing if more bytes are needed.
fn header_length(bytes: &[u8]) -> Result<Option<usize>, DecompressError> {
    let wrong_start = bytes.iter().zip([0x1f, 0x8b, 8]).any(|(byte, magic)| *byte != magic);
    if wrong_start {
        return Err(gzip_error("there is something else than gzip data after a member"));
    }
    let Some(&flags) = bytes.get(3) else { return Ok(None) };
    if flags & RESERVED != 0 {
        return Err(gzip_error("reserved flags are set"));
    }
    let mut length = 10;
    if flags & EXTRA != 0 {
        let Some(&[low, high]) = bytes.get(length..length + 2).and_then(|b| b.first_chunk()) else {
            return Ok(None);
        };
        length += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for flag in [NAME, COMMENT] {
        if flags & flag != 0 {
            let Some(rest) = bytes.get(length..) else { return Ok(None) };
            let Some(end) = rest.iter().position(|&byte| byte == 0) else { return Ok(None) };
            length += end + 1;
        }
    }
    if flags & HEADER_CRC != 0 {
        length += 2;
    }
    Ok((bytes.len() >= length).then_some(length))
}

fn gzip_error(problem: &str) -> DecompressError {
    DecompressError::Data { format: "gzip", problem: problem.to_owned() }
}

struct Zstd {
    decoder: Decoder<'static>,
    /// The input so far ends with a whole frame.
    is_complete: bool,
}

impl Zstd {
    fn new() -> Result<Self, DecompressError> {
        let mut decoder = Decoder::new().map_err(|error| zstd_error(&error))?;
        decoder
            .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
            .map_err(|error| zstd_error(&error))?;
        Ok(Self { decoder, is_complete: false })
    }

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), DecompressError> {
        if input.is_empty() && self.is_complete {
            return Ok((0, 0));
        }
        let mut source = InBuffer::around(input);
        let mut target = OutBuffer::around(output);
        let wanted = self.decoder.run(&mut source, &mut target).map_err(|error| zstd_error(&error))?;
        let (read, written) = (source.pos(), target.pos());
        if read > 0 || written > 0 {
            self.is_complete = wanted == 0;
        }
        Ok((read, written))
    }
}

fn zstd_error(error: &std::io::Error) -> DecompressError {
    DecompressError::Data { format: "zstd", problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    #[derive(Default)]
    struct Collect(Vec<u8>);

    impl Sink for Collect {
        type Error = std::convert::Infallible;
        fn buffer(&mut self) -> Result<Vec<u8>, Self::Error> {
            Ok(vec![0; 100])
        }
        fn take(&mut self, buffer: Vec<u8>, filled: usize) -> Result<(), Self::Error> {
            self.0.extend_from_slice(&buffer[..filled]);
            Ok(())
        }
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::GzBuilder::new()
            .filename("name")
            .comment("comment")
            .extra(vec![1, 2, 3])
            .write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::encode_all(data, 1).unwrap()
    }

    fn decompress(stream: &[u8], piece: usize) -> Result<Vec<u8>, DecompressError> {
        let mut sink = Collect::default();
        let mut decompressor = Decompressor::default();
        let outcome = stream
            .chunks(piece)
            .try_for_each(|chunk| decompressor.push(chunk, &mut sink))
            .and_then(|()| decompressor.finish(&mut sink));
        match outcome {
            Ok(()) => Ok(sink.0),
            Err(Failure::Stream(error)) => Err(error),
            Err(Failure::Sink(never)) => match never {},
        }
    }

    fn text() -> Vec<u8> {
        (0..3000_u32).flat_map(|i| format!("line {i}\n").into_bytes()).collect()
    }

    #[test]
    fn all_formats_in_pieces_of_any_size() {
        let data = text();
        let multi = [gzip(&data[..1000]), gzip(b""), gzip(&data[1000..])].concat();
        let frames =
            [zstd(&data[..1000]), vec![0x5a, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9], zstd(&data[1000..])]
                .concat();
        for stream in [gzip(&data), zstd(&data), multi, frames, data.clone()] {
            for piece in [1, 2, 7, 64, 4096, usize::MAX] {
                assert_eq!(decompress(&stream, piece).unwrap(), data, "pieces of {piece}");
            }
        }
        for short in [&b""[..], b"a", b"abcde", &gzip(b""), &zstd(b"")] {
            let plain = if short.len() < 6 { short } else { b"" };
            assert_eq!(decompress(short, 1).unwrap(), plain);
        }
    }

    #[test]
    fn s56_damaged_streams_are_refused() {
        let data = text();
        let (good_gzip, good_zstd) = (gzip(&data), zstd(&data));
        let changed = |stream: &[u8], at: usize| {
            let mut stream = stream.to_vec();
            stream[at] ^= 0xff;
            stream
        };
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("gzip cut", good_gzip[..good_gzip.len() / 2].to_vec()),
            ("gzip without trailer", good_gzip[..good_gzip.len() - 8].to_vec()),
            ("gzip with half a trailer", good_gzip[..good_gzip.len() - 3].to_vec()),
            ("gzip header only", good_gzip[..5].to_vec()),
            ("gzip wrong checksum", changed(&good_gzip, good_gzip.len() - 7)),
            ("gzip wrong length", changed(&good_gzip, good_gzip.len() - 1)),
            ("gzip garbage after", [good_gzip.clone(), b"garbage".to_vec()].concat()),
            ("gzip zeros after", [good_gzip.clone(), vec![0; 20]].concat()),
            ("gzip half a member after", [good_gzip.clone(), good_gzip[..20].to_vec()].concat()),
            ("gzip reserved flags", changed(&good_gzip, 3)),
            ("gzip damaged", changed(&good_gzip, good_gzip.len() / 2)),
            ("zstd cut", good_zstd[..good_zstd.len() / 2].to_vec()),
            ("zstd garbage after", [good_zstd.clone(), b"garbage".to_vec()].concat()),
            ("zstd header only", good_zstd[..5].to_vec()),
            ("bzip2", b"BZh91AY&SY".to_vec()),
            ("xz", b"\xfd7zXZ\0\0".to_vec()),
        ];
        for (name, stream) in cases {
            for piece in [1, 5, usize::MAX] {
                assert!(decompress(&stream, piece).is_err(), "{name} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn s54_a_huge_zstd_window_is_refused() {
        // A frame header with windowLog 31, by hand: descriptor 0, window byte (31-10)<<3.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 1, 0, 0];
        assert!(decompress(&frame, usize::MAX).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(stream in prop::collection::vec(any::<u8>(), 0..200), kind in 0..3_usize, piece in 1..50_usize) {
            let magic: &[u8] = [&b""[..], b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"][kind];
            let _ = decompress(&[magic, &stream].concat(), piece);
        }
    }
}
