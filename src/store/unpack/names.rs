//! Names in layer archives: cleaned, confined, and the whiteouts among them.

use std::borrow::Cow;

/// How the name of a whiteout starts: `.wh.x` removes `x` of the layers below.
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// Hides everything that the layers below have in this directory.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Bookkeeping of aufs that old archives still hold at their root.
const AUFS: [&[u8]; 3] = [b".wh..wh.aufs", b".wh..wh.orph", b".wh..wh.plnk"];

/// What the last part of a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// An ordinary entry.
    Plain,
    /// The entry of this name is removed.
    Whiteout(&'a [u8]),
    /// The directory is opaque.
    Opaque,
    /// To be passed over.
    Aufs,
}

/// The path relative to the root without `.`, empty parts and `..`; empty for the root itself. A relative
/// path that climbs out of the root is refused, as Go's extractors do; an absolute one stops at it.
pub(crate) fn clean(path: &[u8]) -> Result<Cow<'_, [u8]>, &'static str> {
    if path.contains(&0) {
        return Err("its name contains a NUL");
    }
    let is_clean = path.split(|b| *b == b'/').all(|part| !matches!(part, b"" | b"." | b".."));
    if is_clean {
        return Ok(Cow::Borrowed(path));
    }
    let absolute = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() && !absolute {
                    return Err("its name leads out of the root");
                }
            }
            part => parts.push(part),
        }
    }
    Ok(Cow::Owned(parts.join(&b'/')))
}

/// The directory part (empty for the root) and the last part of a clean path.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// `dir/name`, where an empty `dir` is the root.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

/// Tells whiteouts from ordinary entries, and refuses names that only look like one: nothing of that name
/// could be packed again, and other tools disagree on what it means.
pub(super) fn meaning<'a>(dir: &[u8], name: &'a [u8]) -> Result<Meaning<'a>, &'static str> {
    const ODD: &str = "its name is not a valid whiteout";
    if dir.is_empty() && AUFS.contains(&name) || AUFS.iter().any(|aufs| is_below(dir, aufs)) {
        return Ok(Meaning::Aufs);
    }
    if dir.split(|b| *b == b'/').any(|part| part.starts_with(WHITEOUT)) {
        return Err("a directory of its name is a whiteout");
    }
    if name == OPAQUE {
        return Ok(Meaning::Opaque);
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Meaning::Plain),
        Some(b"" | b"." | b"..") => Err(ODD),
        Some(target) if target.starts_with(WHITEOUT) => Err(ODD),
        Some(target) => Ok(Meaning::Whiteout(target)),
    }
}

/// Whether `path` is `dir` or below it.
fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_or_refused() {
        for (path, expected) in [
            (&b"a/b"[..], Some(&b"a/b"[..])),
            (b"./a//b/", Some(b"a/b")),
            (b"/a", Some(b"a")),
            (b"//a", Some(b"a")),
            (b"", Some(b"")),
            (b".", Some(b"")),
            (b"/", Some(b"")),
            (b"./", Some(b"")),
            (b"a/../b", Some(b"b")),
            (b"/../b", Some(b"b")),
            (b"..", None),
            (b"../x", None),
            (b"a/../../x", None),
            (b"./../x", None),
            (b"a\0b", None),
        ] {
            let text = String::from_utf8_lossy(path);
            assert_eq!(clean(path).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn whiteouts_are_told_from_odd_names() {
        for (dir, name, expected) in [
            (&b"a"[..], &b"b"[..], Ok(Meaning::Plain)),
            (b"a", b".wh.b", Ok(Meaning::Whiteout(b"b"))),
            (b"a", b".wh..b", Ok(Meaning::Whiteout(b".b"))),
            (b"a", b".wh..wh..opq", Ok(Meaning::Opaque)),
            (b"", b".wh..wh.aufs", Ok(Meaning::Aufs)),
            (b".wh..wh.plnk", b"12", Ok(Meaning::Aufs)),
            (b"a", b".wh..wh.aufs", Err(())),
            (b"a", b".wh.", Err(())),
            (b"a", b".wh..", Err(())),
            (b"a", b".wh...", Err(())),
            (b"a", b".wh..wh.x", Err(())),
            (b".wh.a", b"b", Err(())),
            (b"a", b".whx", Ok(Meaning::Plain)),
        ] {
            let text = String::from_utf8_lossy(name);
            assert_eq!(meaning(dir, name).map_err(|_| ()), expected, "{text}");
        }
    }
}
