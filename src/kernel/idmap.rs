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

/// The same map with lines that each lie within one line of `parent`, the map of the namespace in which the
/// outside ids are counted: the kernel refuses (EPERM) a line that spans two of them.
#[must_use]
pub fn split_along(map: &[IdRange], parent: &[IdRange]) -> Vec<IdRange> {
    let mut lines = Vec::with_capacity(map.len());
    for range in map {
        let mut rest = *range;
        while rest.count > 0 {
            let within =
                parent.iter().find(|p| rest.outside >= p.inside && rest.outside - p.inside < p.count);
            // What the parent does not map is left to the kernel to refuse.
            let count = within.map_or(rest.count, |p| rest.count.min(p.count - (rest.outside - p.inside)));
            lines.push(IdRange { count, ..rest });
            rest = IdRange {
                inside: rest.inside.saturating_add(count),
                outside: rest.outside.saturating_add(count),
                count: rest.count - count,
            };
        }
    }
    lines
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_along_those_of_the_parent() {
        let line = |inside, outside, count| IdRange { inside, outside, count };
        let parent = [line(0, 1001, 1), line(1, 100_000, 65_536)];
        assert_eq!(split_along(&[line(0, 0, 65_537)], &parent), [line(0, 0, 1), line(1, 1, 65_536)]);
        assert_eq!(split_along(&[line(5, 1, 10)], &parent), [line(5, 1, 10)]);
        assert_eq!(split_along(&[line(0, 65_536, 2)], &parent), [line(0, 65_536, 1), line(1, 65_537, 1)]);
    }
}
