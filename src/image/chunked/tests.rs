//! What is written can be read back: as a layer, by its table, and with tar-split.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::table::{Format, Piece, pieces};
use super::write::write;
use super::{Annotations, TABLE_DIGEST, TABLE_POSITION, TAR_SPLIT_POSITION};
use crate::store::Digest;

fn noise(size: usize, mut state: u32) -> Vec<u8> {
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..size).map(|_| next()).collect()
}

fn header(kind: tar::EntryType, name: &str, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_mtime(1_600_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    header
}

/// An archive of files, with so many zeros at its end.
fn archive(files: &[(&str, Vec<u8>)], zeros: usize) -> Vec<u8> {
    let mut bytes = header(tar::EntryType::Directory, "dir/", 0).as_bytes().to_vec();
    for (name, content) in files {
        bytes.extend(header(tar::EntryType::Regular, name, content.len() as u64).as_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + zeros, 0);
    bytes
}

/// Reads in pieces of odd sizes, as a decompressor does.
struct Odd<'b>(&'b [u8]);

impl std::io::Read for Odd<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(70_001);
        self.0.read(&mut buffer[..most])
    }
}

fn written(archive: &[u8]) -> (Vec<u8>, Annotations) {
    let mut blob = Vec::new();
    let annotations = write(&mut Odd(archive), 3, &mut |piece| blob.write_all(&piece)).unwrap();
    assert!(zstd::decode_all(&*blob).unwrap() == archive, "it is a layer like any other");
    (blob, annotations)
}

/// What an annotation says of a part of the blob, decompressed.
fn part(blob: &[u8], annotations: &Annotations, key: &str) -> (Vec<u8>, Vec<u8>) {
    let numbers: Vec<usize> = annotations[key].split(':').map(|number| number.parse().unwrap()).collect();
    let compressed = blob[numbers[0]..numbers[0] + numbers[1]].to_vec();
    let plain = zstd::decode_all(&*compressed).unwrap();
    assert_eq!(plain.len(), numbers[2]);
    (compressed, plain)
}

fn sample() -> Vec<(&'static str, Vec<u8>)> {
    let mut holes = noise(100_000, 7);
    holes.splice(50_000..50_000, vec![0; 3_000_000]);
    vec![
        ("a", b"hello".to_vec()),
        ("empty", Vec::new()),
        ("block", noise(512, 1)),
        ("large", noise(3 << 20, 2)),
        ("holes", holes),
        ("zeros", vec![0; 5000]),
        ("z", b"!".to_vec()),
    ]
}

#[test]
fn tar_split_and_the_pieces_make_the_archive_again() {
    for zeros in [0, 512, 1024, 10_240, 3 << 20] {
        let archive = archive(&sample(), zeros);
        let (blob, annotations) = written(&archive);
        let (compressed, table) = part(&blob, &annotations, TABLE_POSITION);
        assert_eq!(annotations[TABLE_DIGEST], Digest::of(&compressed).to_string());
        let table: Value = serde_json::from_slice(&table).unwrap();
        let (compressed, split) = part(&blob, &annotations, TAR_SPLIT_POSITION);
        assert_eq!(table["tarSplitDigest"], Digest::of(&compressed).to_string());
        let mut again = Vec::new();
        for line in std::str::from_utf8(&split).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if line["type"] == 2 {
                again.extend(BASE64.decode(line["payload"].as_str().unwrap()).unwrap());
            } else if line["size"].is_u64() {
                let entries = table["entries"].as_array().unwrap();
                let entry = entries.iter().find(|entry| entry["name"] == line["name"]).unwrap();
                let place = |key: &str| usize::try_from(entry[key].as_u64().unwrap()).unwrap();
                let content = zstd::decode_all(&blob[place("offset")..place("endOffset")]).unwrap();
                assert_eq!(entry["digest"], Digest::of(&content).to_string());
                again.extend(content);
            }
        }
        assert!(again == archive, "{zeros}");
    }
}

#[test]
fn pieces_cover_the_blob_and_are_known_again() {
    let (one, annotations) = written(&archive(&sample(), 1024));
    let mut changed = sample();
    changed[3].1[1_000_000] ^= 1;
    let (two, _) = written(&archive(&changed, 1024));
    let end: u64 = annotations[TABLE_POSITION].split(':').next().unwrap().parse::<u64>().unwrap() - 8;
    let read = |blob: &[u8]| {
        let end = u64::from_le_bytes(*blob[blob.len() - 64..].first_chunk().unwrap()) - 8;
        let mut annotations = annotations.clone();
        let footer: Vec<u64> = blob[blob.len() - 64..]
            .chunks_exact(8)
            .map(|number| u64::from_le_bytes(*number.first_chunk().unwrap()))
            .collect();
        let position = format!("{}:{}:{}:1", footer[0], footer[1], footer[2]);
        annotations.insert(TABLE_POSITION.to_owned(), position);
        pieces(&part(blob, &annotations, TABLE_POSITION).1, Format::Zstd, end).unwrap()
    };
    let (first, second) = (read(&one), read(&two));
    assert_eq!((first[0].start, first[first.len() - 1].end), (0, end));
    assert!(first.windows(2).all(|pair| pair[0].end == pair[1].start));
    assert!(first.len() > 30, "{}", first.len());
    let bytes = |blob: &[u8], piece: &Piece| {
        let at = |place| usize::try_from(place).unwrap();
        blob[at(piece.start)..at(piece.end)].to_vec()
    };
    let mut other = 0;
    for piece in &second {
        match first.iter().find(|known| known.key == piece.key) {
            Some(known) => assert!(bytes(&one, known) == bytes(&two, piece), "what has one name is the same"),
            None => other += 1,
        }
    }
    assert_eq!(other, 1, "one chunk was changed");
}

#[test]
fn what_no_table_describes_is_a_layer_without_one() {
    let file = |name| (name, b"x".to_vec());
    let twice = archive(&[file("a"), file("./a")], 1024);
    let not_text = {
        let mut bytes = header(tar::EntryType::Directory, "d", 0);
        bytes.as_old_mut().name[0] = 0xff;
        bytes.set_cksum();
        [bytes.as_bytes(), &[0; 1024][..]].concat()
    };
    let rubbish = [archive(&[file("a")], 1024), b"rubbish".to_vec()].concat();
    let odd_end = archive(&[file("a")], 1025);
    let sized_link = [header(tar::EntryType::Link, "l", 5).as_bytes(), &[0; 1024][..]].concat();
    for archive in [twice, not_text, rubbish, odd_end, sized_link] {
        let (_, annotations) = written(&archive);
        assert_eq!(annotations, Annotations::new());
    }
    let (_, annotations) = written(&archive(&[file("a")], 0));
    assert_eq!(annotations.len(), 3);
}

#[test]
fn tables_without_sense_have_no_pieces() {
    let read = |format, entries: &str| {
        let table = format!("{{\"version\":1,\"entries\":[{entries}]}}");
        pieces(table.as_bytes(), format, 1000)
            .map(|found| found.iter().map(|piece| (piece.start, piece.end)).collect::<Vec<_>>())
    };
    let zstd = |entries: &str| read(Format::Zstd, entries);
    let a = r#"{"type":"reg","name":"a","size":5,"digest":"x","offset":10,"endOffset":20}"#;
    let b =
        r#"{"type":"reg","name":"b","size":9,"offset":30,"endOffset":90,"chunkSize":4,"chunkDigest":"y"}"#;
    let chunk = r#"{"type":"chunk","name":"b","offset":60,"chunkOffset":4,"chunkSize":5,"chunkDigest":"z"}"#;
    assert_eq!(
        zstd(&format!("{a},{b},{chunk}")).unwrap(),
        [(0, 10), (10, 20), (20, 30), (30, 60), (60, 90), (90, 1000)]
    );
    assert_eq!(zstd("").unwrap(), [(0, 1000)]);
    for senseless in [
        format!("{b},{chunk},{a}"),
        format!("{a},{a}"),
        r#"{"type":"reg","name":"a","offset":10,"endOffset":5}"#.to_owned(),
        r#"{"type":"reg","name":"a","offset":10,"endOffset":1001}"#.to_owned(),
        r#"{"type":"reg","name":"a","offset":-10}"#.to_owned(),
        r#"{"type":"reg","name":"a","offset":1,"offset":2}"#.to_owned(),
        "\"x\"".to_owned(),
        "5".to_owned(),
    ] {
        assert_eq!(zstd(&senseless), None, "{senseless}");
    }
    let stargz = r#"{"type":"dir","name":"d/"},{"type":"reg","name":"a","size":5,"digest":"x","offset":10},
        {"type":"reg","name":"b","size":5,"digest":"y","offset":10,"innerOffset":99},
        {"type":"reg","name":"c","size":9,"offset":30,"chunkSize":4,"chunkDigest":"y"},
        {"type":"chunk","name":"c","offset":60,"chunkOffset":4,"chunkSize":5,"chunkDigest":"z"}"#;
    assert_eq!(read(Format::Stargz, stargz).unwrap(), [(0, 10), (10, 30), (30, 60), (60, 1000)]);
    assert_eq!(pieces(b"{\"version\":2,\"entries\":[]}", Format::Zstd, 5), None);
    assert_eq!(pieces(b"{\"version\":1,\"entries\":[]}x", Format::Zstd, 5), None);
}
