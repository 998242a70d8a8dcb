//! The grammar of `--uidmap` and `--gidmap`: `[+ug]CONTAINER:[@]HOST[:SIZE]`.
//!
//! `HOST` counts ids of the user's namespace (0 is the caller, 1 and up her sub-ids), or
//! with `@` ids of the host. `u` and `g` restrict an entry to users or groups. `+` replaces
//! whatever conflicts; when it begins the list, all ids left over fill the gaps.

use std::ops::Range;

use crate::container::{Error, Result};
use crate::kernel::idmap::IdRange;

/// Which of the two maps is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The uid map.
    Uid,
    /// The gid map.
    Gid,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Uid => "UID",
            Self::Gid => "GID",
        }
    }
}

/// One parsed entry.
#[derive(Debug)]
struct Entry {
    extends: bool,
    ranges: Vec<IdRange>,
}

/// Makes a map from the values of a flag; `parent` is the map of the user's namespace.
///
/// # Errors
/// When a value is malformed, or an `@` id does not belong to the user.
pub fn parse(values: &[String], kind: Kind, parent: &[IdRange]) -> Result<Vec<IdRange>> {
    let mut map: Vec<IdRange> = Vec::new();
    let mut fill = false;
    for value in values.iter().filter(|value| !value.is_empty()) {
        let Some(entry) = entry(value, kind, parent)? else { continue };
        for range in entry.ranges.into_iter().filter(|range| range.count > 0) {
            if entry.extends {
                fill |= map.is_empty();
                map = map.iter().flat_map(|piece| without(piece, &range)).collect();
            }
            map.push(range);
        }
    }
    if fill {
        map = filled(map, parent);
    }
    Ok(merged(map))
}

/// Parses one `uidmapping=` or `gidmapping=` of `--userns=auto`.
///
/// # Errors
/// When it is malformed.
pub fn parse_one(value: &str, kind: Kind, parent: &[IdRange]) -> Result<Vec<IdRange>> {
    if value.starts_with(|c: char| !c.is_ascii_digit()) {
        return Err(malformed(value, kind));
    }
    parse(&[value.to_owned()], kind, parent)
}

fn malformed(value: &str, kind: Kind) -> Error {
    let name = kind.name();
    Error::Invalid {
        what: format!(
            "initializing ID mappings: {name} setting is malformed expected [\"[+ug]uint32:[@]uint32[:uint32]\"] : [{value:?}]"
        ),
    }
}

/// `None` for an entry that is about the other map.
fn entry(value: &str, kind: Kind, parent: &[IdRange]) -> Result<Option<Entry>> {
    let bad = || malformed(value, kind);
    let digits = value.find(|c: char| c.is_ascii_digit()).ok_or_else(bad)?;
    let flags = &value[..digits];
    if !flags.chars().all(|flag| matches!(flag, '+' | 'u' | 'g')) {
        return Err(bad());
    }
    let (users, groups) = (flags.contains('u'), flags.contains('g'));
    let number = |text: &str| -> Result<u32> {
        let fine = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| fine).ok_or_else(bad)
    };
    let fields: Vec<&str> = value[digits..].split(':').collect();
    let (inside, host, count) = match fields[..] {
        [inside, host] => (number(inside)?, host, 1),
        [inside, host, count] => (number(inside)?, host, number(count)?),
        _ => return Err(bad()),
    };
    let mine = match kind {
        Kind::Uid => users || !groups,
        Kind::Gid => groups || !users,
    };
    let ranges = match host.strip_prefix('@') {
        Some(host) if mine => of_host(inside, number(host)?, count, kind, parent)?,
        Some(host) => {
            number(host)?;
            Vec::new()
        }
        None => vec![IdRange { inside, outside: number(host)?, count }],
    };
    let fits =
        |r: &IdRange| r.inside.checked_add(r.count).is_some() && r.outside.checked_add(r.count).is_some();
    if !ranges.iter().all(fits) {
        return Err(bad());
    }
    Ok(mine.then_some(Entry { extends: flags.contains('+'), ranges }))
}

/// Ids of the host in terms of the user's namespace, which may have them in several pieces.
fn of_host(inside: u32, host: u32, count: u32, kind: Kind, parent: &[IdRange]) -> Result<Vec<IdRange>> {
    let mut ranges = Vec::new();
    let mut done = 0;
    while done < count {
        let id = host.checked_add(done);
        let piece = id.and_then(|id| parent.iter().find(|r| id >= r.outside && id - r.outside < r.count));
        let (Some(id), Some(piece)) = (id, piece) else {
            let id = u64::from(host) + u64::from(done);
            let what = format!("parent ID {} {id} is not mapped/delegated", kind.name());
            return Err(Error::Invalid { what });
        };
        let offset = id - piece.outside;
        let step = (piece.count - offset).min(count - done);
        let inside =
            inside.checked_add(done).ok_or_else(|| malformed(&format!("{inside}:@{host}:{count}"), kind))?;
        ranges.push(IdRange { inside, outside: piece.inside + offset, count: step });
        done += step;
    }
    Ok(ranges)
}

/// What remains of `piece` when neither its inside nor its outside ids may overlap `range`.
fn without(piece: &IdRange, range: &IdRange) -> Vec<IdRange> {
    let cut = |first: u32, other: u32| -> Range<u64> {
        let start = u64::from(other).saturating_sub(first.into()).min(piece.count.into());
        let end =
            (u64::from(other) + u64::from(range.count)).saturating_sub(first.into()).min(piece.count.into());
        start..end
    };
    let mut cuts = [cut(piece.inside, range.inside), cut(piece.outside, range.outside)];
    cuts.sort_by_key(|cut| cut.start);
    let mut kept = Vec::new();
    let mut at = 0;
    let mut keep = |from: u64, to: u64| {
        if from < to {
            let offset = from as u32;
            kept.push(IdRange {
                inside: piece.inside + offset,
                outside: piece.outside + offset,
                count: (to - from) as u32,
            });
        }
    };
    for cut in cuts.into_iter().filter(|cut| !cut.is_empty()) {
        keep(at, cut.start);
        at = at.max(cut.end);
    }
    keep(at, piece.count.into());
    kept
}

/// Gives the inside ids that the map leaves free, from 0 on, the ids of the user that it does not use.
fn filled(map: Vec<IdRange>, parent: &[IdRange]) -> Vec<IdRange> {
    let mut free: Vec<Range<u32>> =
        parent.iter().map(|range| range.inside..range.inside + range.count).collect();
    free.sort_by_key(|range| range.start);
    for used in &map {
        let used = used.outside..used.outside + used.count;
        free = free
            .into_iter()
            .flat_map(|range| [range.start..range.end.min(used.start), range.start.max(used.end)..range.end])
            .filter(|range| !range.is_empty())
            .collect();
    }
    let mut pieces = map;
    pieces.sort_by_key(|range| range.inside);
    let mut out = Vec::new();
    let mut next = 0;
    let mut free = free.into_iter();
    let mut current = free.next();
    let mut give = |upto: Option<u32>, next: &mut u32, out: &mut Vec<IdRange>| {
        while let Some(range) = current.take() {
            let room = upto.map_or(u32::MAX - *next, |upto| upto.saturating_sub(*next));
            let count = room.min(range.end - range.start);
            if count > 0 {
                out.push(IdRange { inside: *next, outside: range.start, count });
                *next += count;
            }
            current = if range.start + count < range.end {
                Some(range.start + count..range.end)
            } else {
                free.next()
            };
            if count == room {
                return;
            }
        }
    };
    for piece in pieces {
        give(Some(piece.inside), &mut next, &mut out);
        next = next.max(piece.inside.saturating_add(piece.count));
        out.push(piece);
    }
    give(None, &mut next, &mut out);
    out
}

/// Sorts by inside id and joins what continues on both sides.
fn merged(mut map: Vec<IdRange>) -> Vec<IdRange> {
    map.sort_by_key(|range| range.inside);
    let mut out: Vec<IdRange> = Vec::with_capacity(map.len());
    for range in map {
        match out.last_mut() {
            Some(last)
                if last.inside + last.count == range.inside && last.outside + last.count == range.outside =>
            {
                last.count += range.count;
            }
            _ => out.push(range),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(list: &[(u32, u32, u32)]) -> Vec<IdRange> {
        list.iter().map(|&(inside, outside, count)| IdRange { inside, outside, count }).collect()
    }

    fn map(values: &[&str], kind: Kind) -> Result<Vec<IdRange>> {
        let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        parse(&values, kind, &ranges(&[(0, 1001, 1), (1, 100_000, 65_536)]))
    }

    #[test]
    fn lists_become_maps() {
        for (values, expected) in [
            (&["0:1:1000"][..], &[(0, 1, 1000)][..]),
            (&["5:7"], &[(5, 7, 1)]),
            (&["0:2000:100", "100:2100:5"], &[(0, 2000, 105)]),
            (&["0:0:1", "10:@1001"], &[(0, 0, 1), (10, 0, 1)]),
            (&["0:@100010:3"], &[(0, 11, 3)]),
            (&["u1:3:1", "g2:4:2"], &[(1, 3, 1)]),
            (&["0:2000:100000", "+1:100:1"], &[(0, 2000, 1), (1, 100, 1), (2, 2002, 99_998)]),
            (&["0:0:20", "+10:1:1"], &[(0, 0, 1), (2, 2, 8), (10, 1, 1), (11, 11, 9)]),
            (&["0:20:10", "15:35:10", "+8:23:16"], &[(0, 20, 3), (8, 23, 16), (24, 44, 1)]),
            (
                &["0:0:20", "24:24:6", "+7:1000:2", "+12:2000:3", "+18:3000:7"],
                &[(0, 0, 7), (7, 1000, 2), (9, 9, 3), (12, 2000, 3), (15, 15, 3), (18, 3000, 7), (25, 25, 5)],
            ),
            // The caller keeps id 1000 inside; her sub-ids fill the rest.
            (&["+1000:0:1"], &[(0, 1, 1000), (1000, 0, 1), (1001, 1001, 64_536)]),
            (&["+1000:@1001"], &[(0, 1, 1000), (1000, 0, 1), (1001, 1001, 64_536)]),
        ] {
            assert_eq!(map(values, Kind::Uid).unwrap(), ranges(expected), "{values:?}");
        }
        assert_eq!(map(&["u1:3:1", "g2:4:2"], Kind::Gid).unwrap(), ranges(&[(2, 4, 2)]));
        assert_eq!(map(&["0:1:0", ""], Kind::Uid).unwrap(), []);
    }

    #[test]
    fn ids_left_over_fill_the_gaps() {
        let parent = ranges(&[(0, 5, 10), (10_000, 50, 10_000)]);
        let given = ranges(&[(1, 1000, 10), (30, 2000, 20)]);
        let expected = ranges(&[
            (0, 0, 1),
            (1, 1000, 10),
            (11, 1, 9),
            (20, 10_000, 10),
            (30, 2000, 20),
            (50, 10_010, 9_990),
        ]);
        assert_eq!(filled(given, &parent), expected);
    }

    #[test]
    fn s103_malformed_and_foreign_ids_are_refused() {
        for value in [
            "0",
            "0:",
            ":1:1",
            "0:1:2:3",
            "x0:1:1",
            "0:1:-1",
            "0:+1:1",
            "-0:1:1",
            "0:1:4294967296",
            "0:4294967295:2",
            "4294967295:0:2",
            "0:@999:1",
            "0:@1001:2",
            "0:@",
            "+",
            "0x1:1:1",
            " 0:1:1",
            "0:@165536:1",
        ] {
            assert!(map(&[value], Kind::Uid).is_err(), "{value}: {:?}", map(&[value], Kind::Uid));
        }
        let text = map(&["0:@999"], Kind::Uid).unwrap_err().to_string();
        assert_eq!(text, "parent ID UID 999 is not mapped/delegated");
        assert!(parse_one("+1:2:3", Kind::Uid, &[]).is_err());
    }
}
