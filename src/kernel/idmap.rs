//! Id maps as plain data: the lines of `/proc/PID/uid_map`.

use std::fmt::Write as _;

/// One line of an id map: `count` ids from `inside` on are `outside` and the following ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct IdRange {
    /// First id inside the user namespace.
    pub inside: u32,
    /// First id in the parent user namespace.
    pub outside: u32,
    /// How many ids.
    pub count: u32,
}

/// The uid map and the gid map of a user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct IdMaps {
    /// Lines of `uid_map`.
    pub uid: Vec<IdRange>,
    /// Lines of `gid_map`.
    pub gid: Vec<IdRange>,
}

/// Maps `id` from inside to outside, or `None` where no line covers it.
#[must_use]
pub fn to_outside(map: &[IdRange], id: u32) -> Option<u32> {
    map.iter()
        .find(|r| id >= r.inside && id - r.inside < r.count)
        .and_then(|r| r.outside.checked_add(id - r.inside))
}

/// Maps `id` from outside to inside, or `None` where no line covers it.
#[must_use]
pub fn to_inside(map: &[IdRange], id: u32) -> Option<u32> {
    map.iter()
        .find(|r| id >= r.outside && id - r.outside < r.count)
        .and_then(|r| r.inside.checked_add(id - r.outside))
}

/// The text that the kernel takes in `uid_map` and `gid_map`.
#[must_use]
pub fn to_proc_text(map: &[IdRange]) -> String {
    let mut text = String::new();
    for IdRange { inside, outside, count } in map {
        let _ = writeln!(text, "{inside} {outside} {count}");
    }
    text
}
