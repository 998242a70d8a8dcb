//! The id maps of the user's namespace H: 0 is the caller, 1 and up are her sub-ids.

use std::fmt;
use std::path::PathBuf;

use crate::config::{Env, subid};
use crate::kernel::idmap::{IdMaps, IdRange};

/// The kernel takes at most this many lines in an id map (`UID_GID_MAP_MAX_EXTENTS`).
const MAX_LINES: usize = 340;

/// The id maps of H and how they are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserMaps {
    /// From ids in H to ids of the host.
    pub maps: IdMaps,
    /// Whether there are sub-ids, and who writes the maps.
    pub kind: MapKind,
}

/// Whether there are sub-ids, and who writes the maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapKind {
    /// Many ids.
    Full(MapWriter),
    /// Only the caller's own ids.
    Single {
        /// Why there are no more.
        why: SingleReason,
    },
}

/// Who may write the maps of H.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapWriter {
    /// The setuid helpers.
    Helpers {
        /// Path of newuidmap.
        newuidmap: PathBuf,
        /// Path of newgidmap.
        newgidmap: PathBuf,
    },
    /// rbox itself: the caller is root.
    Privileged,
    /// Nobody needs to: this process is inside already.
    Inherited,
}

/// Why a user has only the ids of her own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SingleReason {
    /// No usable line in /etc/subuid or /etc/subgid.
    NoSubIds {
        /// The file without ranges.
        file: &'static str,
        /// The user.
        user: String,
        /// The administrator's command that grants some.
        fix: String,
    },
    /// newuidmap or newgidmap is not installed.
    NoHelper {
        /// The missing program.
        program: &'static str,
    },
    /// The no_new_privs flag keeps setuid programs from working.
    NoNewPrivileges,
    /// rbox was started in a user namespace that has one id only.
    Nested,
}

impl fmt::Display for SingleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSubIds { file, user, .. } => write!(f, "{file} has no range for {user}"),
            Self::NoHelper { program } => write!(f, "{program} is not installed"),
            Self::NoNewPrivileges => {
                f.write_str("this process runs with no_new_privs, so newuidmap and newgidmap cannot work")
            }
            Self::Nested => f.write_str("the user namespace around this process has a single id"),
        }
    }
}

impl SingleReason {
    /// The command that an administrator runs to change it.
    #[must_use]
    pub fn fix(&self) -> Option<&str> {
        match self {
            Self::NoSubIds { fix, .. } => Some(fix),
            Self::NoHelper { .. } => {
                Some("sudo apt-get install uidmap (Debian, Ubuntu) or sudo dnf install shadow-utils (Fedora)")
            }
            Self::NoNewPrivileges | Self::Nested => None,
        }
    }
}

impl UserMaps {
    /// The ids of H as they are inside of it, where those on disk are the same.
    #[must_use]
    pub fn inside(&self) -> IdMaps {
        let inside =
            |map: &[IdRange]| map.iter().map(|range| IdRange { outside: range.inside, ..*range }).collect();
        IdMaps { uid: inside(&self.maps.uid), gid: inside(&self.maps.gid) }
    }

    /// Whether H has sub-ids.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.kind, MapKind::Full(_))
    }
}

/// Works out the maps of H for the user of `env`.
#[must_use]
pub fn user_maps(env: &Env) -> UserMaps {
    if super::inside() {
        return inherited();
    }
    if env.uid() == 0 { root_maps() } else { unprivileged_maps(env) }
}

/// The maps of the namespace that this process is root of.
fn inherited() -> UserMaps {
    let maps = current_maps();
    let many = |lines: &[IdRange]| lines.iter().map(|line| u64::from(line.count)).sum::<u64>() > 1;
    let kind = if many(&maps.uid) && many(&maps.gid) {
        MapKind::Full(MapWriter::Inherited)
    } else {
        MapKind::Single { why: SingleReason::Nested }
    };
    UserMaps { maps, kind }
}

/// The maps of the namespace that this process is in.
fn current_maps() -> IdMaps {
    let read = |file| std::fs::read_to_string(file).map(|text| parse_proc_map(&text)).unwrap_or_default();
    IdMaps { uid: read("/proc/self/uid_map"), gid: read("/proc/self/gid_map") }
}

/// Root's maps: the ranges granted to root or to `containers`, else every id that there is, as
/// it is (in a container that need not be all).
fn root_maps() -> UserMaps {
    let grants = |file| subid::parse(&read_or_empty(file), &["root", "containers"], 0).ranges;
    let (uids, gids) = (grants(subid::SUBUID_FILE), grants(subid::SUBGID_FILE));
    let maps = if uids.is_empty() || gids.is_empty() {
        // One id less than all: the full map is by what programs (pasta among them) know the host's
        // own namespace, where root is not to be trusted with itself.
        let same = |IdRange { inside, count, .. }| IdRange {
            inside,
            outside: inside,
            count: count.min(u32::MAX - 1),
        };
        let IdMaps { uid, gid } = current_maps();
        IdMaps { uid: uid.into_iter().map(same).collect(), gid: gid.into_iter().map(same).collect() }
    } else {
        IdMaps { uid: with_ranges(0, &uids), gid: with_ranges(0, &gids) }
    };
    UserMaps { maps, kind: MapKind::Full(MapWriter::Privileged) }
}

fn unprivileged_maps(env: &Env) -> UserMaps {
    let single = |why| UserMaps {
        maps: IdMaps { uid: with_ranges(env.uid(), &[]), gid: with_ranges(env.gid(), &[]) },
        kind: MapKind::Single { why },
    };
    let names = subid::login_names(env, env.uid());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (subuid, subgid) = (read_or_empty(subid::SUBUID_FILE), read_or_empty(subid::SUBGID_FILE));
    let uids = subid::parse(&subuid, &names, env.uid()).ranges;
    let gids = subid::parse(&subgid, &names, env.uid()).ranges;
    for (file, ranges) in [(subid::SUBUID_FILE, &uids), (subid::SUBGID_FILE, &gids)] {
        if ranges.is_empty() {
            let user = names.first().map_or_else(|| env.uid().to_string(), |&name| name.to_owned());
            return single(no_sub_ids(file, user, &[&subuid, &subgid]));
        }
    }
    if rustix::thread::no_new_privs().unwrap_or(false) {
        return single(SingleReason::NoNewPrivileges);
    }
    let Some(newuidmap) = env.find_program("newuidmap", []) else {
        return single(SingleReason::NoHelper { program: "newuidmap" });
    };
    let Some(newgidmap) = env.find_program("newgidmap", []) else {
        return single(SingleReason::NoHelper { program: "newgidmap" });
    };
    UserMaps {
        maps: IdMaps { uid: with_ranges(env.uid(), &uids), gid: with_ranges(env.gid(), &gids) },
        kind: MapKind::Full(MapWriter::Helpers { newuidmap, newgidmap }),
    }
}

fn no_sub_ids(file: &'static str, user: String, texts: &[&str]) -> SingleReason {
    const COUNT: u32 = 65_536;
    let first = subid::first_free(texts, COUNT);
    let last = first.saturating_add(COUNT - 1);
    let fix = format!("sudo usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {user}");
    SingleReason::NoSubIds { file, user, fix }
}

/// 0 is `own`, the ids from 1 on are those of `ranges` in their order.
fn with_ranges(own: u32, ranges: &[subid::SubIdRange]) -> Vec<IdRange> {
    let mut map = vec![IdRange { inside: 0, outside: own, count: 1 }];
    let mut inside: u32 = 1;
    for range in ranges.iter().take(MAX_LINES - 1) {
        let count = range.count.min(u32::MAX - inside);
        if count == 0 {
            break;
        }
        map.push(IdRange { inside, outside: range.start, count });
        inside += count;
    }
    map
}

fn read_or_empty(file: &str) -> String {
    std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Reads the text of `/proc/PID/uid_map`.
fn parse_proc_map(text: &str) -> Vec<IdRange> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(str::parse);
            let (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(count))) =
                (fields.next(), fields.next(), fields.next())
            else {
                return None;
            };
            Some(IdRange { inside, outside, count })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::subid::SubIdRange;

    #[test]
    fn ranges_follow_each_other_inside() {
        let map = with_ranges(
            1001,
            &[SubIdRange { start: 100_000, count: 10 }, SubIdRange { start: 300_000, count: 5 }],
        );
        assert_eq!(crate::kernel::idmap::to_proc_text(&map), "0 1001 1\n1 100000 10\n11 300000 5\n");
    }

    #[test]
    fn endless_ranges_stop_at_the_largest_id() {
        let half = SubIdRange { start: 1, count: u32::MAX - 1 };
        let map = with_ranges(0, &[half, half]);
        assert_eq!(map.len(), 2, "the first range leaves no id");
        assert_eq!(map.iter().map(|line| u64::from(line.count)).sum::<u64>(), u64::from(u32::MAX));
    }

    #[test]
    fn proc_text_is_read_back() {
        let map = with_ranges(7, &[SubIdRange { start: 10, count: 3 }]);
        assert_eq!(
            parse_proc_map("         0          7          1\n         1         10          3\n"),
            map
        );
    }
}
