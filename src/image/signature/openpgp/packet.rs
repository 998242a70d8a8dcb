//! Packets of OpenPGP (RFC 4880, section 4; the same in RFC 9580), and the armour around keys.

use flate2::{Decompress, FlushDecompress, Status};

use super::Problem;
use crate::image::pem::Block;

/// The most that a message is after decompression; what is signed has a few hundred bytes.
const MESSAGE_MAX: usize = 4 << 20;

pub(super) const SIGNATURE: u8 = 2;
pub(super) const ONE_PASS_SIGNATURE: u8 = 4;
pub(super) const PUBLIC_KEY: u8 = 6;
pub(super) const COMPRESSED: u8 = 8;
pub(super) const MARKER: u8 = 10;
pub(super) const LITERAL: u8 = 11;
pub(super) const TRUST: u8 = 12;
pub(super) const USER_ID: u8 = 13;
pub(super) const PUBLIC_SUBKEY: u8 = 14;
pub(super) const USER_ATTRIBUTE: u8 = 17;
pub(super) const PADDING: u8 = 21;

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) tag: u8,
    pub(super) body: Vec<u8>,
}

/// Reads numbers and runs of bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// A number of `count` bytes, the highest first.
    pub(super) fn number(&mut self, count: usize) -> Option<u64> {
        Some(self.take(count)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// As many bytes as a number of `width` bytes says.
    pub(super) fn run(&mut self, width: usize) -> Option<&'a [u8]> {
        let count = usize::try_from(self.number(width)?).ok()?;
        self.take(count)
    }

    /// A multi-precision integer.
    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        let bits = usize::try_from(self.number(2)?).ok()?;
        self.take(bits.div_ceil(8))
    }
}

/// Splits bytes into packets.
pub(super) fn split(bytes: &[u8]) -> Result<Vec<Packet>, Problem> {
    let mut reader = Reader(bytes);
    let mut packets = Vec::new();
    while !reader.0.is_empty() {
        packets.push(next(&mut reader).ok_or(Problem::Malformed)?);
    }
    Ok(packets)
}

fn next(reader: &mut Reader<'_>) -> Option<Packet> {
    let head = reader.byte()?;
    if head & 0x80 == 0 {
        return None;
    }
    if head & 0x40 == 0 {
        let body = match head & 3 {
            0 => reader.run(1)?,
            1 => reader.run(2)?,
            2 => reader.run(4)?,
            // Of indeterminate length: to the end.
            _ => reader.take(reader.0.len())?,
        };
        return Some(Packet { tag: head >> 2 & 0x0f, body: body.to_vec() });
    }
    let mut body = Vec::new();
    loop {
        let (part, is_last) = match reader.byte()? {
            length @ 0..=191 => (reader.take(usize::from(length))?, true),
            first @ 192..=223 => {
                let length = ((usize::from(first) - 192) << 8) + usize::from(reader.byte()?) + 192;
                (reader.take(length)?, true)
            }
            255 => (reader.run(4)?, true),
            partial => (reader.take(1 << (partial & 0x1f))?, false),
        };
        body.extend_from_slice(part);
        if is_last {
            return Some(Packet { tag: head & 0x3f, body });
        }
    }
}

/// The packets in a compressed packet.
pub(super) fn decompress(body: &[u8]) -> Result<Vec<Packet>, Problem> {
    let (&method, content) = body.split_first().ok_or(Problem::Malformed)?;
    match method {
        0 => split(content),
        1 => split(&inflate(content, false)?),
        2 => split(&inflate(content, true)?),
        _ => Err(Problem::Unsupported("its compression")),
    }
}

fn inflate(content: &[u8], has_header: bool) -> Result<Vec<u8>, Problem> {
    let mut stream = Decompress::new(has_header);
    let mut output = Vec::with_capacity(4096);
    loop {
        if output.len() == output.capacity() {
            if output.len() >= MESSAGE_MAX {
                return Err(Problem::Malformed);
            }
            output.reserve(output.len().max(4096));
        }
        let at = usize::try_from(stream.total_in()).unwrap_or(content.len());
        let (before_in, before_out) = (stream.total_in(), stream.total_out());
        let status = stream.decompress_vec(&content[at..], &mut output, FlushDecompress::Finish);
        match status {
            Ok(Status::StreamEnd) => return Ok(output),
            Ok(Status::Ok | Status::BufError)
                if output.len() == output.capacity()
                    || (stream.total_in(), stream.total_out()) != (before_in, before_out) => {}
            _ => return Err(Problem::Malformed),
        }
    }
}

/// The binary form of keys, which may be in ASCII armour.
pub(super) fn dearmor(bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let is_armored = bytes.trim_ascii_start().starts_with(b"-----BEGIN PGP");
    if !is_armored {
        return Ok(bytes.to_vec());
    }
    // The sum behind the base64 is another line, which plain PEM does not have.
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('=')).collect();
    let blocks = crate::image::pem::blocks(lines.join("\n").as_bytes()).ok_or(Problem::Malformed)?;
    let keys = blocks.into_iter().filter(|Block { label, .. }| label == "PGP PUBLIC KEY BLOCK");
    Ok(keys.flat_map(|block| block.bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_both_formats() {
        let old = [0x80 | 2 << 2, 2, 7, 8, 0x80 | 13 << 2 | 1, 0, 1, 9, 0x80 | 11 << 2 | 3, 5, 6];
        let packet = |tag, body: &[u8]| Packet { tag, body: body.to_vec() };
        assert_eq!(
            split(&old).unwrap(),
            [packet(SIGNATURE, &[7, 8]), packet(USER_ID, &[9]), packet(LITERAL, &[5, 6])]
        );
        let mut new = vec![0xc0 | 11, 0xe1, 1, 2, 0xe0, 3, 1, 4, 0xc0 | 13, 192, 8];
        new.extend([1; 200]);
        assert_eq!(split(&new).unwrap(), [packet(LITERAL, &[1, 2, 3, 4]), packet(USER_ID, &[1; 200])]);
        for broken in [&[0x02_u8, 1][..], &[0x88], &[0x88, 2, 1], &[0xcb, 0xff, 0, 0], &[0xcb, 0xe1, 1]] {
            assert!(split(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn compressed_packets_are_bounded() {
        let plain = [0xcb, 1, 9];
        let mut zip = vec![1];
        let mut stream = flate2::Compress::new(flate2::Compression::fast(), false);
        let mut bytes = Vec::with_capacity(100);
        stream.compress_vec(&plain, &mut bytes, flate2::FlushCompress::Finish).unwrap();
        zip.extend(bytes);
        assert_eq!(decompress(&zip).unwrap(), [Packet { tag: LITERAL, body: vec![9] }]);
        assert!(decompress(&zip[..2]).is_err() && decompress(&[]).is_err() && decompress(&[3, 1]).is_err());
        let mut bomb = Vec::with_capacity(100_000);
        let mut stream = flate2::Compress::new(flate2::Compression::best(), false);
        stream.compress_vec(&vec![0; 20 << 20], &mut bomb, flate2::FlushCompress::Finish).unwrap();
        bomb.insert(0, 1);
        assert!(decompress(&bomb).is_err());
    }
}
