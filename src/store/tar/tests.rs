//! The reader against archives that two readers could see differently, against random damage, and against
//! other writers and readers.

use std::io::Read as _;

use proptest::prelude::*;

use super::*;

/// A header block by hand.
fn block(name: &[u8], type_flag: u8, size: &[u8], magic: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..124 + size.len()].copy_from_slice(size);
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = type_flag;
    block[257..257 + magic.len()].copy_from_slice(magic);
    seal(&mut block);
    block
}

fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

const USTAR: &[u8] = b"ustar\x0000";
const GNU: &[u8] = b"ustar  \0";

fn plain(name: &str, type_flag: u8, size: u64) -> Vec<u8> {
    block(name.as_bytes(), type_flag, format!("{size:011o}\0").as_bytes(), USTAR)
}

fn padded(content: &[u8]) -> Vec<u8> {
    let mut bytes = content.to_vec();
    bytes.resize(content.len().next_multiple_of(512), 0);
    bytes
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    extended(b'x', records)
}

fn extended(type_flag: u8, records: &[(&str, &str)]) -> Vec<u8> {
    let mut body = String::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (1..).find(|digits| (rest + digits).to_string().len() == *digits).unwrap() + rest;
        body.push_str(&format!("{length} {key}={value}\n"));
    }
    [plain("x", type_flag, body.len() as u64), padded(body.as_bytes())].concat()
}

fn long(type_flag: u8, text: &str) -> Vec<u8> {
    let size = format!("{:011o}\0", text.len() + 1);
    [block(b"././@LongLink", type_flag, size.as_bytes(), GNU), padded(&[text.as_bytes(), b"\0"].concat())]
        .concat()
}

/// Names, and contents as text.
fn list(archive: &[u8]) -> Result<Vec<(String, String)>, Error> {
    let mut archive = Archive::new(archive, Limits::NONE);
    let mut list = Vec::new();
    while let Some(mut entry) = archive.next_entry()? {
        let content = entry.read_all(1 << 20)?;
        list.push((
            String::from_utf8_lossy(&entry.header.path).into_owned(),
            String::from_utf8_lossy(&content).into_owned(),
        ));
    }
    Ok(list)
}

fn strings(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect()
}

/// An archive in the content of a file: what another reader takes for entries.
fn smuggled() -> Vec<u8> {
    [plain("smuggled", b'0', 0), vec![0; 512]].concat()
}

#[test]
fn s52_every_size_is_go_s() {
    let inner = smuggled();
    let text = String::from_utf8_lossy(&inner).into_owned();
    let size = inner.len().to_string();
    let file = |name: &str| plain(name, b'0', 0);
    for (case, archive, expected) in [
        (
            "pax size, header 0",
            [pax(&[("size", &size)]), file("a"), inner.clone(), file("b")].concat(),
            vec![("a", text.as_str()), ("b", "")],
        ),
        (
            "pax size, header another",
            [pax(&[("size", &size)]), plain("a", b'0', 512), inner.clone(), file("b")].concat(),
            vec![("a", &text), ("b", "")],
        ),
        (
            "pax size before a long name, which keeps its own",
            [pax(&[("size", &size)]), long(b'L', "long"), file("a"), inner.clone(), file("b")].concat(),
            vec![("long", &text), ("b", "")],
        ),
        (
            "two pax headers: the last counts",
            [pax(&[("size", "512")]), pax(&[("size", &size)]), file("a"), inner.clone()].concat(),
            vec![("a", &text)],
        ),
        (
            "two of a key: the last counts",
            [pax(&[("size", "1"), ("size", &size)]), file("a"), inner.clone()].concat(),
            vec![("a", &text)],
        ),
        (
            "an empty value keeps the header's",
            [pax(&[("size", "")]), plain("a", b'0', 2), padded(b"hi"), file("b")].concat(),
            vec![("a", "hi"), ("b", "")],
        ),
        (
            "a link or directory has no content, whatever its size",
            [pax(&[("size", "512")]), plain("d", b'5', 512), plain("l", b'1', 512), file("b")].concat(),
            vec![("d", ""), ("l", ""), ("b", "")],
        ),
        (
            "a long name wins over pax, and pax over the header",
            [pax(&[("path", "p")]), long(b'L', "l"), file("a"), pax(&[("path", "p")]), file("a")].concat(),
            vec![("l", ""), ("p", "")],
        ),
        ("one zero block and the end", [file("a"), vec![0; 512]].concat(), vec![("a", "")]),
        ("no end at all", file("a"), vec![("a", "")]),
        ("after the end", [file("a"), vec![0; 1024], file("b")].concat(), vec![("a", "")]),
        ("missing padding", [plain("a", b'0', 2), b"hi".to_vec()].concat(), vec![("a", "hi")]),
        (
            "a harmless global header",
            [extended(b'g', &[("comment", "0f")]), file("a")].concat(),
            vec![("a", "")],
        ),
        ("the oldest directory", block(b"d/", 0, b"", b""), vec![("d/", "")]),
    ] {
        assert_eq!(list(&archive).unwrap(), strings(&expected), "{case}");
    }
}

#[test]
fn s52_where_readers_differ_the_archive_is_refused() {
    let file = plain("a", b'0', 0);
    for (case, archive) in [
        ("global size", [extended(b'g', &[("size", "512")]), file.clone()].concat()),
        ("global path", [extended(b'g', &[("path", "b")]), file.clone()].concat()),
        ("pax before global", [pax(&[("size", "512")]), extended(b'g', &[]), file.clone()].concat()),
        ("negative pax size", [pax(&[("size", "-1")]), file.clone()].concat()),
        ("signed pax size", [pax(&[("size", "+0")]), file.clone()].concat()),
        ("hexadecimal pax size", [pax(&[("size", "0x10")]), file.clone()].concat()),
        ("huge pax size", [pax(&[("size", "9223372036854775808")]), file.clone()].concat()),
        ("negative base-256 size", block(b"a", b'0', &[0xff; 12], USTAR)),
        ("huge base-256 size", block(b"a", b'0', &[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], USTAR)),
        ("a single zero block", [vec![0; 512], file.clone()].concat()),
        ("cut header", file[..300].to_vec()),
        ("cut content", [plain("a", b'0', 600), vec![0; 512]].concat()),
        ("cut pax header", plain("x", b'x', 600)),
        ("huge pax header", plain("x", b'x', 2 << 20)),
        ("unknown type", plain("a", b'Z', 0)),
        ("contiguous file", plain("a", b'7', 0)),
        ("wrong checksum", {
            let mut bad = file.clone();
            bad[0] = b'b';
            bad
        }),
        ("digits that are none", block(b"a", b'0', b"0000000008\0", USTAR)),
        ("a NUL in a pax path", [pax(&[("path", "a\0b")]), file.clone()].concat()),
    ] {
        assert!(list(&archive).is_err(), "{case}");
    }
}

#[test]
fn sparse_files_of_every_form() {
    let map = |text: &str| padded(text.as_bytes());
    let one = |version: &[(&str, &str)], content: Vec<u8>| {
        let mut records = vec![("GNU.sparse.name", "s"), ("GNU.sparse.realsize", "10")];
        records.extend(version);
        [pax(&records), plain("GNUSparseFile/s", b'0', content.len() as u64), padded(&content)].concat()
    };
    let expected = strings(&[("s", "\0\0ab\0\0\0cd\0"), ("next", "")]);
    let next = plain("next", b'0', 0);
    let v1 = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")];
    for (form, archive) in [
        ("1.0", one(&v1, [map("2\n2\n2\n7\n2\n"), b"abcd".to_vec()].concat())),
        (
            "0.1",
            one(
                &[
                    ("GNU.sparse.major", "0"),
                    ("GNU.sparse.minor", "1"),
                    ("GNU.sparse.numblocks", "2"),
                    ("GNU.sparse.map", "2,2,7,2"),
                ],
                b"abcd".to_vec(),
            ),
        ),
        (
            "0.0",
            one(
                &[
                    ("GNU.sparse.size", "10"),
                    ("GNU.sparse.numblocks", "2"),
                    ("GNU.sparse.offset", "2"),
                    ("GNU.sparse.numbytes", "2"),
                    ("GNU.sparse.offset", "7"),
                    ("GNU.sparse.numbytes", "2"),
                ],
                b"abcd".to_vec(),
            ),
        ),
        ("old GNU", [old_gnu(4, &[(2, 2), (7, 2)], 10), padded(b"abcd")].concat()),
    ] {
        assert_eq!(list(&[archive, next.clone()].concat()).unwrap(), expected, "{form}");
    }
    for (case, archive) in [
        ("overlap", one(&v1, [map("2\n2\n2\n3\n2\n"), b"abcd".to_vec()].concat())),
        ("past the end", one(&v1, [map("1\n9\n2\n"), b"ab".to_vec()].concat())),
        ("too little data", one(&v1, [map("1\n0\n4\n"), b"ab".to_vec()].concat())),
        ("too much data", one(&v1, [map("1\n0\n1\n"), b"ab".to_vec()].concat())),
        ("a count without numbers", one(&v1, map("900\n"))),
        ("no newline at all", one(&v1, vec![b'1'; 600])),
        ("a huge count", one(&v1, map("9223372036854775807\n"))),
        ("negative", one(&v1, map("1\n-1\n1\n"))),
        ("sparse type without the format", plain("s", b'S', 0)),
        (
            "sparse directory",
            [pax(&[("GNU.sparse.map", "0,1"), ("GNU.sparse.numblocks", "1")]), plain("d", b'5', 0)].concat(),
        ),
    ] {
        assert!(list(&archive).is_err(), "{case}");
    }
}

fn old_gnu(stored: u64, pieces: &[(u64, u64)], size: u64) -> Vec<u8> {
    let mut bytes = block(b"s", b'S', format!("{stored:011o}\0").as_bytes(), GNU);
    for (at, (offset, length)) in pieces.iter().enumerate() {
        let field = 386 + at * 24;
        bytes[field..field + 24].copy_from_slice(format!("{offset:011o}\0{length:011o}\0").as_bytes());
    }
    bytes[483..495].copy_from_slice(format!("{size:011o}\0").as_bytes());
    seal(&mut bytes);
    bytes
}

#[test]
fn holes_are_given_as_places_and_read_as_zeros() {
    let archive = [old_gnu(4, &[(2, 2), (7, 2)], 10), padded(b"abcd")].concat();
    let mut reader = Archive::new(archive.as_slice(), Limits::NONE);
    let mut entry = reader.next_entry().unwrap().unwrap();
    assert!(entry.header.sparse);
    let mut pieces = Vec::new();
    while let Some((offset, bytes)) = entry.next_piece().unwrap() {
        pieces.push((offset, bytes.to_vec()));
    }
    assert_eq!(pieces, [(2, b"ab".to_vec()), (7, b"cd".to_vec())]);
    let mut reader = Archive::new(archive.as_slice(), Limits::NONE);
    let mut entry = reader.next_entry().unwrap().unwrap();
    let mut one = [0; 1];
    let mut all = Vec::new();
    while entry.read(&mut one).unwrap() == 1 {
        all.push(one[0]);
    }
    assert_eq!(all, b"\0\0ab\0\0\0cd\0");
}

#[test]
fn the_digest_covers_what_follows_the_end() {
    let bytes = [plain("a", b'0', 0), vec![0; 1024], b"trailing".to_vec()].concat();
    let mut archive = Archive::new(bytes.as_slice(), Limits::NONE);
    while archive.next_entry().unwrap().is_some() {}
    let (digest, size) = archive.finish().unwrap();
    assert_eq!((digest, size), (crate::store::Digest::of(&bytes), bytes.len() as u64));
}

prop_compose! {
    fn any_header()(
        kind in prop::sample::select(vec![
            Kind::File, Kind::HardLink, Kind::Symlink, Kind::Directory, Kind::Fifo, Kind::CharDevice,
        ]),
        path in "[a-zü]{1,40}(/[a-z.]{1,60}){0,4}",
        link in "[a-z/ü]{0,160}",
        mode in 0_u32..0o10000,
        (uid, gid) in (any::<u32>(), any::<u32>()),
        mtime in (-(1_i64 << 40)..1 << 40, 0_u32..1_000_000_000),
        content in prop::collection::vec(any::<u8>(), 0..1500),
        xattrs in prop::collection::btree_map("[a-z.]{1,20}", prop::collection::vec(any::<u8>(), 1..40), 0..3),
    ) -> (Header, Vec<u8>) {
        let is_link = matches!(kind, Kind::HardLink | Kind::Symlink);
        let content = if kind == Kind::File { content } else { Vec::new() };
        let header = Header {
            path: path.into_bytes(),
            kind,
            link: if is_link { link.into_bytes() } else { Vec::new() },
            mode,
            uid: uid.into(),
            gid: gid.into(),
            size: content.len() as u64,
            mtime,
            device: if kind == Kind::CharDevice { (uid % 4096, gid % 256) } else { (0, 0) },
            xattrs: xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect(),
            sparse: false,
        };
        (header, content)
    }
}

fn write(entries: &[(Header, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (header, content) in entries {
        writer.append(header, content.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(entries in prop::collection::vec(any_header(), 0..6)) {
        let bytes = write(&entries);
        let mut archive = Archive::new(bytes.as_slice(), Limits::NONE);
        for (header, content) in &entries {
            let mut entry = archive.next_entry().unwrap().unwrap();
            prop_assert_eq!(&entry.header, header);
            prop_assert_eq!(&entry.read_all(1 << 20).unwrap(), content);
        }
        prop_assert!(archive.next_entry().unwrap().is_none());
    }

    #[test]
    fn another_reader_sees_the_same(mut entries in prop::collection::vec(any_header(), 0..6)) {
        // The tar crate splits pax records at newlines, wherever these stand.
        for (name, value) in entries.iter_mut().flat_map(|(header, _)| &mut header.xattrs) {
            value.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b'-');
            prop_assert!(!name.contains(&b'\n'));
        }
        let bytes = write(&entries);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut seen = archive.entries().unwrap();
        for (header, content) in &entries {
            let mut entry = seen.next().unwrap().unwrap();
            prop_assert_eq!(&entry.path_bytes().into_owned(), &header.path);
            prop_assert_eq!(entry.header().mode().unwrap(), header.mode);
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            prop_assert_eq!(&bytes, content);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let _ = list(&bytes);
    }

    /// Damage with right checksums, which reaches the code behind them.
    #[test]
    fn no_damage_makes_it_panic(
        entries in prop::collection::vec(any_header(), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        magic in prop::sample::select(vec![USTAR, GNU, b"\0\0\0\0\0\0\0\0"]),
        type_flag in prop::sample::select(b"0123456xgLKS\0".to_vec()),
    ) {
        let mut bytes = write(&entries);
        for (at, value) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        bytes[257..265].copy_from_slice(magic);
        bytes[156] = type_flag;
        for start in (0..bytes.len() / 512).map(|block| block * 512) {
            seal(&mut bytes[start..start + 512]);
        }
        let _ = list(&bytes);
    }
}
