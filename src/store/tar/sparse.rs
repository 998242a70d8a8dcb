//! Sparse files: where the pieces of stored data belong.

use super::header::{Block, number};
use super::pax::{self, Sparse};

/// A piece of data: its place in the file, and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// How a pax header describes a sparse file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Description {
    /// It does not, or in a version that Go ignores.
    None,
    /// The map is in the header (versions 0.0 and 0.1).
    Map(Vec<Piece>),
    /// The map is at the start of the data (version 1.0).
    InData,
}

const MALFORMED: &str = "a sparse map is malformed";

/// Interprets the `GNU.sparse.*` records.
pub(super) fn describe(sparse: &Sparse) -> Result<Description, &'static str> {
    match (&sparse.major[..], &sparse.minor[..]) {
        (b"0", b"0" | b"1") => {}
        (b"1", b"0") => return Ok(Description::InData),
        (b"", b"") if !sparse.map.is_empty() => {}
        _ => return Ok(Description::None),
    }
    let count = usize::try_from(pax::decimal(&sparse.blocks)?).map_err(|_| MALFORMED)?;
    let numbers: Vec<&[u8]> =
        if sparse.map.is_empty() { Vec::new() } else { sparse.map.split(|b| *b == b',').collect() };
    if count.checked_mul(2) != Some(numbers.len()) {
        return Err(MALFORMED);
    }
    numbers
        .chunks_exact(2)
        .map(|pair| piece(pax::decimal(pair[0])?, pax::decimal(pair[1])?))
        .collect::<Result<_, _>>()
        .map(Description::Map)
}

/// The entries of one GNU sparse block (`fields`: 24 bytes each, then the flag that another block follows).
pub(super) fn gnu_entries(fields: &[u8], pieces: &mut Vec<Piece>) -> Result<bool, &'static str> {
    let (entries, more) = fields.split_at(fields.len() - 1);
    for entry in entries.chunks_exact(24) {
        if entry[0] == 0 {
            break;
        }
        pieces.push(piece(number(&entry[..12])?, number(&entry[12..])?)?);
    }
    Ok(more[0] > 0)
}

/// The sparse part of a GNU header, and the real size of the file.
pub(super) fn gnu_header(block: &Block) -> Result<(&[u8], u64), &'static str> {
    let size = u64::try_from(number(&block[483..495])?).map_err(|_| MALFORMED)?;
    Ok((&block[386..483], size))
}

/// The sparse part of a GNU extension block.
pub(super) fn gnu_extension(block: &Block) -> &[u8] {
    &block[..505]
}

pub(super) fn piece(offset: i64, length: i64) -> Result<Piece, &'static str> {
    match (u64::try_from(offset), u64::try_from(length)) {
        (Ok(offset), Ok(length)) => Ok(Piece { offset, length }),
        _ => Err(MALFORMED),
    }
}

/// The pieces must be in order, apart, inside the file, and together as long as the stored data: Go notices
/// the last only while reading, we before the file is made.
pub(super) fn check(pieces: &[Piece], size: u64, stored: u64) -> Result<(), &'static str> {
    let (mut end, mut total) = (0_u64, 0_u64);
    for piece in pieces {
        let next = piece.offset.checked_add(piece.length).ok_or(MALFORMED)?;
        if piece.offset < end || next > size {
            return Err(MALFORMED);
        }
        end = next;
        total += piece.length;
    }
    if total == stored { Ok(()) } else { Err("a sparse map does not fit its data") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_must_be_ordered_and_complete() {
        let p = |offset, length| Piece { offset, length };
        assert!(check(&[p(0, 1), p(1, 2), p(9, 0)], 9, 3).is_ok());
        assert!(check(&[], 9, 0).is_ok());
        for (pieces, size, stored) in [
            (vec![p(2, 2), p(0, 1)], 9, 3),
            (vec![p(0, 3), p(2, 1)], 9, 4),
            (vec![p(8, 2)], 9, 2),
            (vec![p(u64::MAX, 2)], 9, 2),
            (vec![p(0, 2)], 9, 3),
            (vec![p(0, 3)], 9, 2),
        ] {
            assert!(check(&pieces, size, stored).is_err(), "{pieces:?}");
        }
    }
}
