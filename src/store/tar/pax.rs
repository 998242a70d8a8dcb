//! Extended headers: the records of pax, and what they change.

use super::header::Raw;

/// The records of one extended header that mean something to us; the last of a key counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<i64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) mtime: Option<(i64, u32)>,
    /// As it stands there: nothing is unpacked with it.
    pub(super) atime: Vec<u8>,
    /// Likewise.
    pub(super) ctime: Vec<u8>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Sparse,
}

/// The `GNU.sparse.*` records, uninterpreted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sparse {
    pub(super) major: Vec<u8>,
    pub(super) minor: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) size: Vec<u8>,
    pub(super) real_size: Vec<u8>,
    pub(super) blocks: Vec<u8>,
    pub(super) map: Vec<u8>,
}

const MALFORMED: &str = "an extended header is malformed";

/// Parses the body of an extended header.
pub(super) fn parse(mut body: &[u8]) -> Result<Pax, &'static str> {
    let mut pax = Pax::default();
    // Version 0.0 of sparse files repeats two keys, in turns, for each piece.
    let mut pieces: Vec<&[u8]> = Vec::new();
    while !body.is_empty() {
        let (key, value, rest) = record(body)?;
        body = rest;
        match key {
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let turn = if pieces.len().is_multiple_of(2) {
                    &b"GNU.sparse.offset"[..]
                } else {
                    b"GNU.sparse.numbytes"
                };
                if key != turn || value.contains(&b',') {
                    return Err(MALFORMED);
                }
                pieces.push(value);
            }
            _ => pax.set(key, value)?,
        }
    }
    if !pieces.is_empty() {
        pax.sparse.map = pieces.join(&b","[..]);
    }
    Ok(pax)
}

impl Pax {
    /// An empty value keeps what the plain header says.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let number = || (!value.is_empty()).then(|| decimal(value)).transpose();
        let name = || (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = name(),
            b"linkpath" => self.link = name(),
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" => self.mtime = (!value.is_empty()).then(|| time(value)).transpose()?,
            b"atime" => self.atime = value.to_vec(),
            b"ctime" => self.ctime = value.to_vec(),
            b"GNU.sparse.major" => self.sparse.major = value.to_vec(),
            b"GNU.sparse.minor" => self.sparse.minor = value.to_vec(),
            b"GNU.sparse.name" => self.sparse.name = value.to_vec(),
            b"GNU.sparse.size" => self.sparse.size = value.to_vec(),
            b"GNU.sparse.realsize" => self.sparse.real_size = value.to_vec(),
            b"GNU.sparse.numblocks" => self.sparse.blocks = value.to_vec(),
            b"GNU.sparse.map" => self.sparse.map = value.to_vec(),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.retain(|(known, _)| known != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }

    /// Whether anything in it would change an entry, if a reader applied it.
    pub(super) fn changes_entries(&self) -> bool {
        let Self { path, link, size, uid, gid, mtime: _, atime: _, ctime: _, xattrs, sparse } = self;
        path.is_some()
            || link.is_some()
            || size.is_some()
            || uid.is_some()
            || gid.is_some()
            || !xattrs.is_empty()
            || *sparse != Sparse::default()
    }

    /// Applies the records to a header.
    pub(super) fn apply(&self, raw: &mut Raw) {
        if let Some(path) = &self.path {
            raw.name.clone_from(path);
        }
        if let Some(link) = &self.link {
            raw.link.clone_from(link);
        }
        raw.size = self.size.unwrap_or(raw.size);
        raw.uid = self.uid.unwrap_or(raw.uid);
        raw.gid = self.gid.unwrap_or(raw.gid);
    }
}

/// The key and the value of a record, and what follows it.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Splits `LENGTH KEY=VALUE\n` off the front.
fn record(body: &[u8]) -> Result<Record<'_>, &'static str> {
    let space = body.iter().position(|b| *b == b' ').ok_or(MALFORMED)?;
    let length = usize::try_from(decimal(&body[..space])?).map_err(|_| MALFORMED)?;
    // The shortest record, `5 k=\n`, and no overlap of length and newline.
    if length < 5 || length > body.len() || space + 1 >= length - 1 || body[length - 1] != b'\n' {
        return Err(MALFORMED);
    }
    let line = &body[space + 1..length - 1];
    let equals = line.iter().position(|b| *b == b'=').ok_or(MALFORMED)?;
    let (key, value) = (&line[..equals], &line[equals + 1..]);
    let has_nul = match key {
        b"path" | b"linkpath" | b"uname" | b"gname" => value.contains(&0),
        _ => key.contains(&0),
    };
    if key.is_empty() || has_nul {
        return Err(MALFORMED);
    }
    Ok((key, value, &body[length..]))
}

/// A number without a sign. (Go also takes a `+`, which nobody writes.)
pub(super) fn decimal(text: &[u8]) -> Result<i64, &'static str> {
    const BAD: &str = "a decimal number is malformed";
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(BAD)
}

/// `[-]SECONDS[.FRACTION]`, as seconds and nanoseconds after them.
pub(super) fn time(text: &[u8]) -> Result<(i64, u32), &'static str> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (seconds, fraction) = match digits.iter().position(|b| *b == b'.') {
        Some(dot) => (&digits[..dot], &digits[dot + 1..]),
        None => (digits, &[][..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err("a time is malformed");
    }
    let seconds = decimal(seconds)?;
    let nanos = (0..9).fold(0, |n, at| n * 10 + fraction.get(at).map_or(0, |b| u32::from(b - b'0')));
    Ok(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        // The kernel counts nanoseconds upwards from the second before.
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_parse_strictly() {
        let good = b"12 path=a/b\n20 SCHILY.xattr.u=v\n9 size=7\n";
        let pax = parse(good).unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!(pax.size, Some(7));
        assert_eq!(pax.xattrs, [(b"u".to_vec(), b"v".to_vec())]);
        for bad in [
            &b"12 path=a/b"[..],
            b"13 path=a/b\n",
            b"11 path=a/b\n",
            b"+12 path=a/b\n",
            b"path=a/b\n",
            b"99999999999999999999 path=a\n",
            b"12 path=a\0b\n",
            b"5 ==\n",
            b"7 =ab\n\n",
            b"10 size=-7\n",
            b"10 size=+7\n",
            b"1\n",
            b" ",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_keep_nanoseconds() {
        for (text, expected) in [
            (&b"0"[..], Some((0, 0))),
            (b"1.5", Some((1, 500_000_000))),
            (b"1.0000000019", Some((1, 1))),
            (b"-1", Some((-1, 0))),
            (b"-1.5", Some((-2, 500_000_000))),
            (b"1.", Some((1, 0))),
            (b"", None),
            (b".5", None),
            (b"1.x", None),
            (b"1e5", None),
        ] {
            assert_eq!(time(text).ok(), expected, "{text:?}");
        }
    }
}
