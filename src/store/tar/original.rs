//! The headers of one entry word by word, for tables of contents that lie beside an archive.
//!
//! Whoever reads such a table compares it with what Go's `archive/tar` makes of the same headers, so nothing is cut down
//! here to what an image may have: modes keep their upper bits, links their sizes, and all three times are there.

use super::header::{self, BLOCK, Block, Format};
use super::{Kind, pax, reader};

/// A time: seconds, and nanoseconds after them.
pub type Time = (i64, u32);

/// An entry as its headers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// Name.
    pub name: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Type.
    pub kind: Kind,
    /// All bits of the mode.
    pub mode: i64,
    /// The size that is stated, also of what has no content.
    pub size: i64,
    /// Owner.
    pub uid: i64,
    /// Group.
    pub gid: i64,
    /// Time of the last change of the content.
    pub mtime: Time,
    /// Time of the last access.
    pub atime: Option<Time>,
    /// Time of the last change of the attributes.
    pub ctime: Option<Time>,
    /// Major and minor number, also of what is no device.
    pub device: (i64, i64),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Original {
    /// Reads all headers of an entry, from the first block to the one before the content. Nothing for what such tables
    /// cannot describe: sparse files, global headers, types that nobody knows.
    #[must_use]
    pub fn read(mut headers: &[u8]) -> Option<Self> {
        let mut pax = pax::Pax::default();
        let (mut name, mut link) = (None, None);
        loop {
            let (block, rest) = headers.split_first_chunk::<BLOCK>()?;
            let raw = header::parse(block).ok()?;
            if !matches!(raw.type_flag, b'x' | b'L' | b'K') {
                return rest.is_empty().then(|| Self::put_together(block, raw, &pax, name, link))?;
            }
            let size = usize::try_from(raw.size).ok()?;
            let content = rest.get(..size)?;
            headers = rest.get(size.checked_next_multiple_of(BLOCK)?..)?;
            let text = Some(header::text(content)).filter(|text| !text.is_empty()).map(<[u8]>::to_vec);
            match raw.type_flag {
                b'L' => name = text,
                b'K' => link = text,
                _ => pax = pax::parse(content).ok()?,
            }
        }
    }

    fn put_together(
        block: &Block,
        mut raw: header::Raw,
        pax: &pax::Pax,
        name: Option<Vec<u8>>,
        link: Option<Vec<u8>>,
    ) -> Option<Self> {
        pax.apply(&mut raw);
        raw.name = name.unwrap_or(raw.name);
        raw.link = link.unwrap_or(raw.link);
        if raw.type_flag == b'S' || pax.sparse != pax::Sparse::default() {
            return None;
        }
        let (atime, ctime) = times(block, raw.format)?;
        let or = |text: &[u8], plain: Option<Time>| match text {
            [] => Some(plain),
            text => pax::time(text).ok().map(Some),
        };
        Some(Self {
            kind: reader::kind(&raw)?,
            mode: raw.mode,
            size: raw.size,
            uid: raw.uid,
            gid: raw.gid,
            mtime: pax.mtime.unwrap_or((raw.mtime, 0)),
            atime: or(&pax.atime, atime)?,
            ctime: or(&pax.ctime, ctime)?,
            device: (raw.major, raw.minor),
            name: raw.name,
            link: raw.link,
            xattrs: pax.xattrs.clone(),
        })
    }
}

/// The times that GNU's and Schilling's blocks have, of access and change.
fn times(block: &Block, format: Format) -> Option<(Option<Time>, Option<Time>)> {
    let number = |field: &[u8]| header::number(field).ok().map(|seconds| Some((seconds, 0)));
    let gnu = |field: &[u8]| if field[0] == 0 { Some(None) } else { number(field) };
    match format {
        Format::Gnu => Some((gnu(&block[345..357])?, gnu(&block[357..369])?)),
        Format::Star => Some((number(&block[476..488])?, number(&block[488..500])?)),
        Format::V7 | Format::Ustar => Some((None, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gnu(kind: tar::EntryType, name: &str) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_path(name).unwrap();
        header.set_mode(0o100_644);
        header.set_size(5);
        header.set_mtime(7);
        header.set_cksum();
        header
    }

    #[test]
    fn nothing_is_cut_down() {
        let read = Original::read(gnu(tar::EntryType::Regular, "a").as_bytes()).unwrap();
        assert_eq!((read.kind, read.mode, read.size, read.mtime), (Kind::File, 0o100_644, 5, (7, 0)));
        assert_eq!((read.atime, read.ctime), (None, None));
        let link = Original::read(gnu(tar::EntryType::Link, "a").as_bytes()).unwrap();
        assert_eq!((link.kind, link.size), (Kind::HardLink, 5));
        let mut timed = gnu(tar::EntryType::Regular, "a");
        timed.as_gnu_mut().unwrap().set_atime(9);
        timed.set_cksum();
        assert_eq!(Original::read(timed.as_bytes()).unwrap().atime, Some((9, 0)));
    }

    #[test]
    fn extended_headers_come_first() {
        let records = b"13 atime=1.5\n20 SCHILY.xattr.u=v\n";
        let mut extended = gnu(tar::EntryType::XHeader, "x");
        extended.set_size(records.len() as u64);
        extended.set_cksum();
        let mut bytes = [extended.as_bytes(), &records[..]].concat();
        bytes.resize(2 * BLOCK, 0);
        bytes.extend(gnu(tar::EntryType::Regular, "a").as_bytes());
        let read = Original::read(&bytes).unwrap();
        assert_eq!(read.atime, Some((1, 500_000_000)));
        assert_eq!(read.xattrs, [(b"u".to_vec(), b"v".to_vec())]);
        // Something follows, or something lacks.
        bytes.push(0);
        assert_eq!(Original::read(&bytes), None);
        assert_eq!(Original::read(&bytes[..BLOCK * 2]), None);
        assert_eq!(Original::read(gnu(tar::EntryType::XGlobalHeader, "g").as_bytes()), None);
        assert_eq!(Original::read(gnu(tar::EntryType::GNUSparse, "s").as_bytes()), None);
    }
}
