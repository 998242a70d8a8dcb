//! One 512-byte header block: checksum, format, numbers and names, as Go's `archive/tar` reads them.
//!
//! Go's reader is the reference because nearly every layer is written and read by it: two readers that
//! disagree on one size see two different archives (CVE-2025-62518, CVE-2026-33055).

/// The size of a block.
pub(super) const BLOCK: usize = 512;

/// A header block as raw bytes.
pub(super) type Block = [u8; BLOCK];

/// Which of the historic formats a block has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Before POSIX.
    V7,
    /// POSIX ustar, and pax by its extended headers.
    Ustar,
    /// Schilling's star.
    Star,
    /// GNU.
    Gnu,
}

/// The fields of one block, before extended headers are applied.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub(super) format: Format,
    pub(super) type_flag: u8,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) size: i64,
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) mtime: i64,
    pub(super) major: i64,
    pub(super) minor: i64,
}

/// Reads the fields of a block.
pub(super) fn parse(block: &Block) -> Result<Raw, &'static str> {
    let format = format(block).ok_or("wrong checksum")?;
    let mut raw = Raw {
        format,
        type_flag: block[156],
        name: text(&block[0..100]).to_vec(),
        link: text(&block[157..257]).to_vec(),
        size: number(&block[124..136])?,
        mode: number(&block[100..108])?,
        uid: number(&block[108..116])?,
        gid: number(&block[116..124])?,
        mtime: number(&block[136..148])?,
        major: 0,
        minor: 0,
    };
    if format != Format::V7 {
        raw.major = number(&block[329..337])?;
        raw.minor = number(&block[337..345])?;
    }
    let prefix = match format {
        Format::V7 => &[],
        Format::Ustar => text(&block[345..500]),
        Format::Star => {
            number(&block[476..488])?;
            number(&block[488..500])?;
            text(&block[345..476])
        }
        Format::Gnu => gnu_prefix(block),
    };
    if !prefix.is_empty() {
        raw.name = [prefix, b"/", &raw.name].concat();
    }
    Ok(raw)
}

/// GNU headers keep times where ustar has the prefix. Go before 1.8 wrote ustar prefixes into blocks with
/// GNU magic; such a block is known by times that are no numbers.
fn gnu_prefix(block: &Block) -> &[u8] {
    let broken = |field: &[u8]| field[0] != 0 && number(field).is_err();
    if broken(&block[345..357]) || broken(&block[357..369]) {
        let prefix = text(&block[345..500]);
        if prefix.is_ascii() {
            return prefix;
        }
    }
    &[]
}

/// The format, if the checksum is right.
fn format(block: &Block) -> Option<Format> {
    let stored = octal(&block[148..156]).ok()?;
    let sum = |value: fn(u8) -> i64| -> i64 {
        let field = 148..156;
        block.iter().enumerate().map(|(at, b)| if field.contains(&at) { 32 } else { value(*b) }).sum()
    };
    // Old implementations summed signed bytes.
    if stored != sum(i64::from) && stored != sum(|b| i64::from(b.cast_signed())) {
        return None;
    }
    Some(match (&block[257..263], &block[263..265], &block[508..512]) {
        (b"ustar\0", _, b"tar\0") => Format::Star,
        (b"ustar\0", _, _) => Format::Ustar,
        (b"ustar ", b" \0", _) => Format::Gnu,
        _ => Format::V7,
    })
}

/// A field's text: up to the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// A numeric field: octal text, or base 256 (two's complement, big endian) if the first bit is set.
pub(super) fn number(field: &[u8]) -> Result<i64, &'static str> {
    const RANGE: &str = "a number is out of range";
    let Some(first) = field.first().filter(|b| **b & 0x80 != 0) else { return octal(field) };
    let negative = first & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (at, byte) in field.iter().enumerate() {
        // The first bit only marks the form; the second is the sign.
        let byte = if at == 0 { if negative { byte | 0x80 } else { byte & 0x7f } } else { *byte };
        value = value << 8 | i128::from(byte);
        if i64::try_from(value).is_err() {
            return Err(RANGE);
        }
    }
    i64::try_from(value).map_err(|_| RANGE)
}

fn octal(field: &[u8]) -> Result<i64, &'static str> {
    const BAD: &str = "a number is malformed";
    let padding = |b: &u8| matches!(b, b' ' | 0);
    let start = field.iter().position(|b| !padding(b)).unwrap_or(field.len());
    let end = field.iter().rposition(|b| !padding(b)).map_or(start, |at| at + 1);
    let digits = text(&field[start..end]);
    let mut value: i64 = 0;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return Err(BAD);
        }
        value = value.checked_mul(8).and_then(|v| v.checked_add(i64::from(digit - b'0'))).ok_or(BAD)?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"", Some(0)),
            (b"7777777\x007", Some(0o7777777)),
            (b"0000648\0", None),
            (b"-1\0", None),
            (b"\x80\0\0\0\0\0\0\x01", Some(1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\x80\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\x80\0\0\0\0\0\0\0", None),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(field).ok(), value, "{field:?}");
        }
    }
}
