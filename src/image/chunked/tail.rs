//! The end of a blob, which says where everything else is.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use super::table::{self, Format, Piece};
use super::{FOOTER, FOOTER_MAGIC, SKIPPABLE, SKIPPABLE_HEADER, STARGZ_DIGEST, TABLE_DIGEST, TABLE_POSITION};
use crate::image::inflate::Inflated;
use crate::image::manifest::Descriptor;
use crate::store::tar::{Archive, Limits};
use crate::store::{Digest, Hasher};

/// The most that is read of the end of a blob.
const TAIL_MAX: u64 = 64 << 20;
/// The longest table.
const TABLE_MAX: u64 = 128 << 20;
/// The footer of eStargz.
pub(in crate::image) const STARGZ_FOOTER: u64 = 51;

/// Where a blob has its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) struct Tail {
    format: Format,
    /// The blob from here to its end: table, tar-split, footer. What comes before are pieces.
    pub(in crate::image) range: Range<u64>,
    /// The table in it.
    table: Range<usize>,
    /// The length of the table.
    uncompressed: u64,
    /// What the table must be.
    digest: Option<Digest>,
}

/// What a descriptor says about a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) enum Announced {
    /// Where it is.
    Tail(Tail),
    /// That there is one: the footer of the blob knows more.
    Stargz(Digest),
}

/// What the descriptor of a layer says about a table; nothing for one that has none, or none that can be read.
pub(in crate::image) fn announced(layer: &Descriptor) -> Option<Announced> {
    let annotation = |key| layer.annotations.get(key);
    match (annotation(TABLE_DIGEST), annotation(STARGZ_DIGEST)) {
        (Some(digest), None) => {
            let numbers = annotation(TABLE_POSITION)?.split(':').map(|number| number.parse().ok());
            let [offset, length, uncompressed, 1] = numbers.collect::<Option<Vec<u64>>>()?[..] else {
                return None;
            };
            let tail = Tail::zstd(layer.size, (offset, length, uncompressed))?;
            Some(Announced::Tail(Tail { digest: Some(digest.parse().ok()?), ..tail }))
        }
        (None, Some(digest)) if layer.size > STARGZ_FOOTER => Some(Announced::Stargz(digest.parse().ok()?)),
        // Whoever says both does not know.
        _ => None,
    }
}

impl Tail {
    fn zstd(size: u64, (offset, length, uncompressed): (u64, u64, u64)) -> Option<Self> {
        let start = offset.checked_sub(SKIPPABLE_HEADER)?;
        let end = offset.checked_add(length)?;
        if end > size || size - start > TAIL_MAX || uncompressed > TABLE_MAX {
            return None;
        }
        let within = |at: u64| usize::try_from(at - start).ok();
        let table = within(offset)?..within(end)?;
        Some(Self { format: Format::Zstd, range: start..size, table, uncompressed, digest: None })
    }

    /// Reads the footer of eStargz, the last bytes of a blob of `size` bytes.
    pub(in crate::image) fn stargz(footer: &[u8], size: u64, digest: Option<Digest>) -> Option<Self> {
        // A gzip header with an extra field: S G, its length, an offset of 16 digits, STARGZ.
        if footer.len() as u64 != STARGZ_FOOTER
            || !footer.starts_with(&[0x1f, 0x8b, 8, 4])
            || footer.get(12..14) != Some(b"SG")
            || footer.get(32..38) != Some(b"STARGZ")
        {
            return None;
        }
        let start = u64::from_str_radix(std::str::from_utf8(&footer[16..32]).ok()?, 16).ok()?;
        let end = size.checked_sub(STARGZ_FOOTER)?;
        if start >= end || size - start > TAIL_MAX {
            return None;
        }
        let table = 0..usize::try_from(end - start).ok()?;
        Some(Self { format: Format::Stargz, range: start..size, table, uncompressed: TABLE_MAX, digest })
    }

    /// Reads the footer of a blob of the store.
    pub(super) fn of(blob: &File) -> Option<Self> {
        const FRAME: usize = FOOTER + 8;
        let size = blob.metadata().ok()?.len();
        let mut end = [0; FRAME];
        blob.read_exact_at(&mut end, size.checked_sub(FRAME as u64)?).ok()?;
        let footer = &end[FRAME - FOOTER..];
        if end.starts_with(&SKIPPABLE) && footer.ends_with(FOOTER_MAGIC) {
            let number = |at: usize| footer[8 * at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
            return Self::zstd(size, (number(0)?, number(1)?, number(2)?));
        }
        let start = FRAME - usize::try_from(STARGZ_FOOTER).expect("it is small");
        Self::stargz(&end[start..], size, None)
    }

    /// Which format the blob has.
    pub(in crate::image) fn format(&self) -> Format {
        self.format
    }

    /// The pieces before the tail, whose bytes are `bytes`; nothing where there is anything odd.
    pub(in crate::image) fn pieces(&self, bytes: &[u8]) -> Option<Vec<Piece>> {
        let table = bytes.get(self.table.clone())?;
        let json = match self.format {
            Format::Zstd => {
                self.check(table)?;
                zstd::bulk::decompress(table, usize::try_from(self.uncompressed).ok()?).ok()?
            }
            Format::Stargz => {
                let json = unpack(table)?;
                self.check(&json)?;
                json
            }
        };
        table::pieces(&json, self.format, self.range.start)
    }

    fn check(&self, bytes: &[u8]) -> Option<()> {
        let Some(expected) = &self.digest else { return Some(()) };
        let mut hasher = Hasher::like(expected);
        hasher.update(bytes);
        (hasher.finish() == *expected).then_some(())
    }
}

/// The one file of an archive.
fn unpack(archive: &[u8]) -> Option<Vec<u8>> {
    let limits = Limits { max_entries: 16, max_bytes: TABLE_MAX };
    let mut archive = Archive::without_digest(Inflated::new(archive).take(TABLE_MAX), limits);
    let mut entry = archive.next_entry().ok()??;
    if entry.header.path != b"stargz.index.json" {
        return None;
    }
    entry.read_all(TABLE_MAX).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(size: u64, annotations: &[(&str, &str)]) -> Descriptor {
        let mut layer = Descriptor::new("x", Digest::of(b"blob"), size);
        let owned = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        layer.annotations = owned.collect();
        layer
    }

    #[test]
    fn positions_that_cannot_be_are_no_tables() {
        let digest = Digest::of(b"table").to_string();
        let read = |position: &str| {
            announced(&layer(1 << 40, &[(TABLE_DIGEST, &digest), (TABLE_POSITION, position)]))
        };
        let at = (1_u64 << 40) - 1000;
        let Some(Announced::Tail(tail)) = read(&format!("{at}:100:5000:1")) else { panic!() };
        assert_eq!((tail.range.start, tail.table), (at - 8, 8..108));
        for position in [
            "".to_owned(),
            "1".to_owned(),
            format!("{at}:100:5000:2"),
            format!("{at}:100:5000"),
            format!("{at}:100:5000:1:1"),
            format!("{at}:1001:5000:1"),
            format!("{at}:-1:5000:1"),
            format!("{at}:100:1073741824:1"),
            format!("{at}:{}:5000:1", u64::MAX),
            "7:100:5000:1".to_owned(),
            "1000:100:5000:1".to_owned(),
        ] {
            assert_eq!(read(&position), None, "{position}");
        }
        let both = [(TABLE_DIGEST, &*digest), (TABLE_POSITION, "9:1:1:1"), (STARGZ_DIGEST, &digest)];
        assert_eq!(announced(&layer(1000, &both)), None);
        assert_eq!(announced(&layer(1000, &[(TABLE_DIGEST, &digest)])), None);
        assert_eq!(announced(&layer(1000, &[(STARGZ_DIGEST, "x")])), None);
        assert_eq!(announced(&layer(1000, &[])), None);
    }

    #[test]
    fn footers_of_stargz() {
        let footer = |offset: &str| {
            let mut footer = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 26, 0, b'S', b'G', 22, 0];
            footer.extend(offset.bytes().chain(*b"STARGZ"));
            footer.extend([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
            footer
        };
        let tail = Tail::stargz(&footer("0000000000000064"), 1000, None).unwrap();
        assert_eq!((tail.range, tail.table), (100..1000, 0..849));
        for offset in ["00000000000003e8", "ffffffffffffffff", "0000000000000zzz"] {
            assert_eq!(Tail::stargz(&footer(offset), 1000, None), None, "{offset}");
        }
        assert_eq!(Tail::stargz(&[0; 51], 1000, None), None);
    }
}
