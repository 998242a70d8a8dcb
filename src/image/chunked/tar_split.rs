//! tar-split: all of an archive but the content of its files, as lines of JSON.
//!
//! Whoever has the files can put the very same archive together again. A line is a segment (type 2: headers of an entry
//! and what stands before them, in base64) or a file (type 1: name, size, and the CRC-64 of the content).

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use crate::store::{Digest, Hasher};

#[derive(Serialize)]
struct Line<'l> {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'l str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    payload: Option<String>,
    position: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Writes lines, compressed.
pub(super) struct TarSplit {
    encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
    position: u64,
    size: u64,
}

/// What was written.
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
    pub(super) uncompressed: u64,
}

impl TarSplit {
    pub(super) fn new(level: i32) -> io::Result<Self> {
        let encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
        Ok(Self { encoder, position: 0, size: 0 })
    }

    /// Bytes that are no content.
    pub(super) fn segment(&mut self, bytes: &[u8]) -> io::Result<()> {
        let payload = Some(BASE64.encode(bytes));
        self.line(&Line { kind: 2, name: "", size: 0, payload, position: self.position })
    }

    /// An entry, whether it has content or not.
    pub(super) fn file(&mut self, name: &str, size: u64, checksum: Option<u64>) -> io::Result<()> {
        let payload = checksum.map(|sum| BASE64.encode(sum.to_be_bytes()));
        self.line(&Line { kind: 1, name, size, payload, position: self.position })
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.position += 1;
        self.size += text.len() as u64;
        self.encoder.write_all(&text)
    }

    pub(super) fn finish(self) -> io::Result<Written> {
        let bytes = self.encoder.finish()?;
        let mut hasher = Hasher::sha256();
        hasher.update(&bytes);
        Ok(Written { digest: hasher.finish(), uncompressed: self.size, bytes })
    }
}

/// CRC-64 with the polynomial of ISO 3309, as Go's `hash/crc64` computes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crc64(u64);

impl Crc64 {
    pub(super) const NEW: Self = Self(0);

    pub(super) fn update(&mut self, bytes: &[u8]) {
        let sum = bytes.iter().fold(!self.0, |sum, byte| {
            let [low, ..] = sum.to_le_bytes();
            TABLE[usize::from(low ^ byte)] ^ (sum >> 8)
        });
        self.0 = !sum;
    }

    pub(super) fn sum(self) -> u64 {
        self.0
    }
}

static TABLE: [u64; 256] = table();

const fn table() -> [u64; 256] {
    const POLYNOMIAL: u64 = 0xD800_0000_0000_0000;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_go() {
        // From the tests of hash/crc64.
        for (text, sum) in [
            ("", 0),
            ("a", 0x3420_0000_0000_0000),
            ("ab", 0x36c4_2000_0000_0000),
            ("abc", 0x3776_c420_0000_0000),
        ] {
            let mut crc = Crc64::NEW;
            crc.update(text.as_bytes());
            assert_eq!(crc.sum(), sum, "{text}");
        }
        let (mut whole, mut parts) = (Crc64::NEW, Crc64::NEW);
        whole.update(b"abcdefghij");
        parts.update(b"abc");
        parts.update(b"defghij");
        assert_eq!(whole.sum(), parts.sum());
    }

    #[test]
    fn lines() {
        let mut split = TarSplit::new(3).unwrap();
        split.segment(b"headers").unwrap();
        split.file("a/\"b\"", 3, Some(1)).unwrap();
        split.file("dir/", 0, None).unwrap();
        let written = split.finish().unwrap();
        let text = String::from_utf8(zstd::decode_all(&*written.bytes).unwrap()).unwrap();
        assert_eq!(written.uncompressed, text.len() as u64);
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                r#"{"type":2,"payload":"aGVhZGVycw==","position":0}"#,
                r#"{"type":1,"name":"a/\"b\"","size":3,"payload":"AAAAAAAAAAE=","position":1}"#,
                r#"{"type":1,"name":"dir/","payload":null,"position":2}"#,
            ]
        );
    }
}
