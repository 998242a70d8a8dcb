//! `--userns`: the grammar of its modes and the id maps that they mean.
//!
//! Maps lead from ids inside the container to ids of the user's namespace, in which 0 is
//! the caller and the following ids are her sub-ids.

use super::idmap::{self, Kind};
use super::{UserNsMode, namespace};
use crate::container::{Error, Result};
use crate::kernel::idmap::{IdMaps, IdRange};

/// How many ids `--userns=auto` gives without a size, as podman does at least.
const AUTO_SIZE: u32 = 1024;

/// What the maps depend on.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Her uid on the host.
    pub uid: u32,
    /// Her gid on the host.
    pub gid: u32,
    /// The map of her namespace, from its ids to those of the host.
    pub maps: &'a IdMaps,
}

/// Reads the value of `--userns`.
///
/// # Errors
/// In podman's words.
pub fn parse(text: &str, caller: Caller<'_>) -> Result<UserNsMode> {
    let (mode, options) = match text.split_once(':') {
        Some((mode, options)) => (mode, Some(options)),
        None => (text, None),
    };
    match (mode, options) {
        // Every container has a user namespace of its own in any case.
        ("" | "host" | "private" | "default", None) => Ok(UserNsMode::Host),
        ("nomap", None) => Ok(UserNsMode::NoMap),
        ("keep-id", options) => keep_id(options),
        ("auto", options) => auto(options, caller),
        _ => match namespace::parse(text)? {
            super::NamespaceMode::Container(id) => Ok(UserNsMode::Container(id)),
            super::NamespaceMode::Path(path) => Ok(UserNsMode::Path(path)),
            super::NamespaceMode::Host | super::NamespaceMode::Private => Ok(UserNsMode::Host),
        },
    }
}

fn options(text: Option<&str>) -> impl Iterator<Item = Result<(&str, &str)>> {
    text.into_iter().flat_map(|text| text.split(',')).map(|option| {
        option
            .split_once('=')
            .ok_or_else(|| Error::Invalid { what: format!("invalid option specified: {option:?}") })
    })
}

fn number(text: &str) -> Result<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| Error::Invalid {
        what: format!("strconv.ParseUint: parsing {text:?}: invalid syntax"),
    })
}

fn unknown(key: &str) -> Error {
    Error::Invalid { what: format!("unknown option specified: {key:?}") }
}

fn keep_id(text: Option<&str>) -> Result<UserNsMode> {
    let (mut uid, mut gid, mut size) = (None, None, None);
    for option in options(text) {
        let (key, value) = option?;
        match key {
            "uid" => uid = Some(number(value)?),
            "gid" => gid = Some(number(value)?),
            "size" => size = Some(number(value)?),
            _ => return Err(unknown(key)),
        }
    }
    Ok(UserNsMode::KeepId { uid, gid, size })
}

fn auto(text: Option<&str>, caller: Caller<'_>) -> Result<UserNsMode> {
    let mut size = None;
    let mut maps = IdMaps::default();
    for option in options(text) {
        let (key, value) = option?;
        match key {
            "size" => size = Some(number(value)?),
            "uidmapping" => maps.uid.extend(idmap::parse_one(value, Kind::Uid, &caller.maps.uid)?),
            "gidmapping" => maps.gid.extend(idmap::parse_one(value, Kind::Gid, &caller.maps.gid)?),
            _ => return Err(unknown(key)),
        }
    }
    Ok(UserNsMode::Auto { size, maps })
}

/// The values of `--uidmap` and `--gidmap`; one of them stands for both when the other is absent.
///
/// # Errors
/// When a value is malformed.
pub fn explicit(uidmap: &[String], gidmap: &[String], caller: Caller<'_>) -> Result<UserNsMode> {
    let (uids, gids) = match (uidmap.is_empty(), gidmap.is_empty()) {
        (true, false) => (gidmap, gidmap),
        (false, true) => (uidmap, uidmap),
        _ => (uidmap, gidmap),
    };
    let uid = idmap::parse(uids, Kind::Uid, &caller.maps.uid)?;
    let gid = idmap::parse(gids, Kind::Gid, &caller.maps.gid)?;
    Ok(UserNsMode::Explicit(IdMaps { uid, gid }))
}

/// The id maps of a mode; `None` where the namespace is somebody else's.
///
/// `taken` are the ranges of the user's namespace that other `auto` containers use.
///
/// # Errors
/// When the user does not have the ids.
pub fn maps(mode: &UserNsMode, caller: Caller<'_>, taken: &IdMaps) -> Result<Option<IdMaps>> {
    let (uids, gids) = (total(&caller.maps.uid), total(&caller.maps.gid));
    let maps = match mode {
        UserNsMode::Container(_) | UserNsMode::Path(_) => return Ok(None),
        UserNsMode::Host => IdMaps { uid: identity(uids), gid: identity(gids) },
        UserNsMode::KeepId { uid, gid, size } => IdMaps {
            uid: keep(uid.unwrap_or(caller.uid), uids, *size),
            gid: keep(gid.unwrap_or(caller.gid), gids, *size),
        },
        UserNsMode::NoMap => {
            if uids < 2 || gids < 2 {
                return Err(Error::Invalid {
                    what: "nomap requires additional UIDs or GIDs defined in /etc/subuid and /etc/subgid to function correctly".to_owned(),
                });
            }
            IdMaps { uid: without_caller(uids), gid: without_caller(gids) }
        }
        UserNsMode::Explicit(maps) => maps.clone(),
        UserNsMode::Auto { size, maps } => IdMaps {
            uid: free_range(size.unwrap_or(AUTO_SIZE), &maps.uid, uids, &taken.uid)?,
            gid: free_range(size.unwrap_or(AUTO_SIZE), &maps.gid, gids, &taken.gid)?,
        },
    };
    check("uid", &maps.uid, uids)?;
    check("gid", &maps.gid, gids)?;
    Ok(Some(maps))
}

/// How many ids the user's namespace has; they are 0 to this one less.
fn total(map: &[IdRange]) -> u32 {
    map.iter().map(|range| range.inside.saturating_add(range.count)).max().unwrap_or(0)
}

fn identity(count: u32) -> Vec<IdRange> {
    vec![IdRange { inside: 0, outside: 0, count }]
}

fn without_caller(total: u32) -> Vec<IdRange> {
    vec![IdRange { inside: 0, outside: 1, count: total - 1 }]
}

/// The caller is `id` inside; sub-ids take the places around.
fn keep(id: u32, total: u32, size: Option<u32>) -> Vec<IdRange> {
    let mut others = total.saturating_sub(1);
    if let Some(size) = size.filter(|size| *size > 0) {
        others = others.min(size - 1);
    }
    let mut map = Vec::new();
    let below = id.min(others);
    if below > 0 {
        map.push(IdRange { inside: 0, outside: 1, count: below });
    }
    map.push(IdRange { inside: id, outside: 0, count: 1 });
    if others > id {
        map.push(IdRange { inside: id + 1, outside: id + 1, count: others - id });
    }
    map
}

/// A range of `size` ids that nobody uses and that is not the caller, around the fixed parts.
fn free_range(size: u32, fixed: &[IdRange], total: u32, taken: &[IdRange]) -> Result<Vec<IdRange>> {
    let size = fixed.iter().map(|r| r.inside.saturating_add(r.count)).max().unwrap_or(0).max(size);
    let mut start: u32 = 1;
    let mut used: Vec<&IdRange> = taken.iter().chain(fixed).filter(|r| r.count > 0).collect();
    used.sort_by_key(|range| range.outside);
    for range in used {
        if start.checked_add(size).is_none_or(|end| end > range.outside) {
            start = start.max(range.outside.saturating_add(range.count));
        } else {
            break;
        }
    }
    if start.checked_add(size).is_none_or(|end| end > total) {
        return Err(Error::Invalid { what: "not enough unused IDs in user namespace".to_owned() });
    }
    // Fixed parts stand in the way of the range inside.
    let mut map = Vec::new();
    let mut at = 0;
    let mut sorted = fixed.to_vec();
    sorted.sort_by_key(|range| range.inside);
    for range in sorted {
        if range.inside > at {
            map.push(IdRange { inside: at, outside: start + at, count: range.inside - at });
        }
        at = range.inside.saturating_add(range.count);
        map.push(range);
    }
    if size > at {
        map.push(IdRange { inside: at, outside: start + at, count: size - at });
    }
    Ok(map)
}

fn check(what: &'static str, map: &[IdRange], total: u32) -> Result<()> {
    let outside = |r: &&IdRange| r.outside.checked_add(r.count).is_none_or(|end| end > total);
    if let Some(range) = map.iter().find(outside) {
        let IdRange { inside, outside, count } = range;
        return Err(Error::Invalid {
            what: format!(
                "cannot map {what} {inside}:{outside}:{count}: this user has {total} ids (0 is the user, the others come from /etc/sub{what})"
            ),
        });
    }
    if map.is_empty() {
        return Err(Error::Invalid {
            what: "must provide at least one UID or GID mapping to configure a user namespace".to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(list: &[(u32, u32, u32)]) -> Vec<IdRange> {
        list.iter().map(|&(inside, outside, count)| IdRange { inside, outside, count }).collect()
    }

    fn user() -> IdMaps {
        let map = ranges(&[(0, 1001, 1), (1, 100_000, 65_536)]);
        IdMaps { uid: map.clone(), gid: map }
    }

    fn uid_map(text: &str, taken: &[(u32, u32, u32)]) -> Result<Vec<IdRange>> {
        let maps_of_user = user();
        let caller = Caller { uid: 1001, gid: 1001, maps: &maps_of_user };
        let mode = parse(text, caller)?;
        let taken = IdMaps { uid: ranges(taken), gid: ranges(taken) };
        Ok(maps(&mode, caller, &taken)?.expect("an own namespace").uid)
    }

    #[test]
    fn modes_become_maps() {
        for (text, expected) in [
            ("", &[(0, 0, 65_537)][..]),
            ("host", &[(0, 0, 65_537)]),
            ("keep-id", &[(0, 1, 1001), (1001, 0, 1), (1002, 1002, 64_535)]),
            ("keep-id:uid=0", &[(0, 0, 1), (1, 1, 65_536)]),
            ("keep-id:uid=200,gid=210", &[(0, 1, 200), (200, 0, 1), (201, 201, 65_336)]),
            ("keep-id:uid=70000", &[(0, 1, 65_536), (70_000, 0, 1)]),
            ("keep-id:size=1024", &[(0, 1, 1001), (1001, 0, 1), (1002, 1002, 22)]),
            ("nomap", &[(0, 1, 65_536)]),
            ("auto", &[(0, 1, 1024)]),
            ("auto:size=100", &[(0, 1, 100)]),
            ("auto:uidmapping=1:@100000:1,gidmapping=1:@100000:1", &[(0, 2, 1), (1, 1, 1), (2, 4, 1022)]),
        ] {
            assert_eq!(uid_map(text, &[]).unwrap(), ranges(expected), "{text}");
        }
        let taken = [(0, 1, 1024), (0, 2000, 100)];
        assert_eq!(uid_map("auto:size=900", &taken).unwrap(), ranges(&[(0, 1025, 900)]));
        assert_eq!(uid_map("auto:size=1024", &taken).unwrap(), ranges(&[(0, 2100, 1024)]));
    }

    #[test]
    fn s103_ids_of_others_are_refused() {
        for (text, message) in [
            ("bogus", "unrecognized namespace mode bogus passed"),
            ("keep-id:foo=1", "unknown option specified: \"foo\""),
            ("keep-id:uid", "invalid option specified: \"uid\""),
            ("auto:size=70000", "not enough unused IDs in user namespace"),
        ] {
            assert_eq!(uid_map(text, &[]).unwrap_err().to_string(), message);
        }
        let maps_of_user = user();
        let caller = Caller { uid: 1001, gid: 1001, maps: &maps_of_user };
        let mode = explicit(&["0:0:65538".to_owned()], &[], caller).unwrap();
        assert!(maps(&mode, caller, &IdMaps::default()).is_err());
        let mode = explicit(&[], &["0:1:10".to_owned()], caller).unwrap();
        assert_eq!(maps(&mode, caller, &IdMaps::default()).unwrap().unwrap().uid, ranges(&[(0, 1, 10)]));
    }

    #[test]
    fn a_user_without_sub_ids_keeps_her_one() {
        let single = ranges(&[(0, 1001, 1)]);
        let single = IdMaps { uid: single.clone(), gid: single };
        let caller = Caller { uid: 1001, gid: 1001, maps: &single };
        let map = |text: &str| maps(&parse(text, caller).unwrap(), caller, &IdMaps::default());
        assert_eq!(map("").unwrap().unwrap().uid, ranges(&[(0, 0, 1)]));
        assert_eq!(map("keep-id").unwrap().unwrap().uid, ranges(&[(1001, 0, 1)]));
        assert!(map("nomap").is_err());
        assert!(map("auto").is_err());
    }
}
