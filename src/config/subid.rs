//! Sub-id ranges of a user: /etc/subuid and /etc/subgid, and /etc/passwd read as data.
//!
//! A line is `OWNER:START:COUNT`; the owner is a name or a uid. All lines of the user count,
//! those that make no sense are skipped with a reason, because newuidmap skips them too.
//! The C library is not asked: a static binary would load NSS modules for that.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Env, env::name};
use crate::kernel::ns;

/// /etc/subuid.
pub const SUBUID_FILE: &str = "/etc/subuid";
/// /etc/subgid.
pub const SUBGID_FILE: &str = "/etc/subgid";

/// Ids `start ..= start + count - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubIdRange {
    /// First id.
    pub start: u32,
    /// How many; never 0, and the last one fits.
    pub count: u32,
}

impl SubIdRange {
    /// Whether both ranges contain a same id.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let end = |range: Self| u64::from(range.start) + u64::from(range.count);
        u64::from(self.start) < end(other) && u64::from(other.start) < end(self)
    }
}

/// A line that was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedLine {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for SkippedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// What a sub-id file grants to one user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// The ranges in the order of the file, without overlaps.
    pub ranges: Vec<SubIdRange>,
    /// The lines that were passed over, of this user or of nobody.
    pub skipped: Vec<SkippedLine>,
}

/// Reads the ranges of the user `names` (any of the names, or `uid` in digits) from `text`.
#[must_use]
pub fn parse(text: &str, names: &[&str], uid: u32) -> Grants {
    let uid_text = uid.to_string();
    let mut grants = Grants::default();
    for (index, line) in text.lines().enumerate() {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let owner = content.split(':').next().unwrap_or_default();
        if !(names.contains(&owner) || owner == uid_text) {
            continue;
        }
        let range = parse_range(content).and_then(|range| {
            let own = SubIdRange { start: uid, count: 1 };
            if grants.ranges.iter().any(|&earlier| earlier.overlaps(range)) {
                Err("overlaps an earlier range of the same user")
            } else if range.overlaps(own) {
                Err("contains the user's own id")
            } else {
                Ok(range)
            }
        });
        match range {
            Ok(range) => grants.ranges.push(range),
            Err(reason) => grants.skipped.push(SkippedLine { line: index + 1, reason }),
        }
    }
    grants
}

fn parse_range(line: &str) -> Result<SubIdRange, &'static str> {
    let fields: Vec<&str> = line.split(':').collect();
    let &[_, start, count] = fields.as_slice() else {
        return Err("is not OWNER:START:COUNT");
    };
    let start: u32 = start.parse().map_err(|_| "the start is not an id")?;
    let count: u32 = count.parse().map_err(|_| "the count is not a number of ids")?;
    if count == 0 {
        return Err("grants no ids");
    }
    // 4294967295 is "no id" for the kernel, so the last usable one is one less.
    match start.checked_add(count) {
        Some(_) => Ok(SubIdRange { start, count }),
        None => Err("goes beyond the largest id"),
    }
}

/// The lowest start from which `count` ids are in no line of `texts`, for advice to the administrator.
#[must_use]
pub fn first_free(texts: &[&str], count: u32) -> u32 {
    /// SUB_UID_MIN of login.defs as every distribution has it.
    const LOWEST: u32 = 100_000;
    let mut taken: Vec<SubIdRange> =
        texts.iter().flat_map(|text| text.lines()).filter_map(|line| parse_range(line.trim()).ok()).collect();
    taken.sort_by_key(|range| range.start);
    taken.iter().fold(LOWEST, |start, &range| {
        if range.overlaps(SubIdRange { start, count }) {
            range.start.saturating_add(range.count)
        } else {
            start
        }
    })
}

/// An entry of /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswdEntry {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
    /// Login shell; empty means /bin/sh.
    pub shell: PathBuf,
}

/// The host's /etc/passwd entry of `uid`.
#[must_use]
pub fn passwd_entry(uid: u32) -> Option<PasswdEntry> {
    find_passwd_entry(&std::fs::read_to_string("/etc/passwd").ok()?, uid)
}

fn find_passwd_entry(text: &str, uid: u32) -> Option<PasswdEntry> {
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let &[name, _, entry_uid, gid, _, home, shell] = fields.as_slice() else { return None };
        (entry_uid.parse() == Ok(uid)).then_some(())?;
        Some(PasswdEntry {
            name: name.to_owned(),
            uid,
            gid: gid.parse().ok()?,
            home: PathBuf::from(home),
            shell: PathBuf::from(shell),
        })
    })
}

/// The host's /etc/passwd entry with the name `name` or, for a number, the uid.
#[must_use]
pub fn passwd_entry_of(name: &str) -> Option<PasswdEntry> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    let uid = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    });
    find_passwd_entry(&text, uid.or_else(|| name.parse().ok())?)
}

/// The name of group `gid` in the host's /etc/group.
#[must_use]
pub fn group_name(gid: u32) -> Option<String> {
    let text = std::fs::read_to_string("/etc/group").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    })
}

/// The names under which sub-ids of `uid` may be granted: the one of /etc/passwd, and `$USER`
/// where that file does not know the user (LDAP, SSSD).
#[must_use]
pub fn login_names(env: &Env, uid: u32) -> Vec<String> {
    match passwd_entry(uid) {
        Some(entry) => vec![entry.name],
        None => env.text(name::USER).map(str::to_owned).into_iter().collect(),
    }
}

/// The uid that the caller logged in with: the one behind root inside of a user namespace.
#[must_use]
pub fn login_uid(env: &Env) -> u32 {
    if env.uid() != 0 || ns::in_initial_user_namespace() {
        return env.uid();
    }
    own_map(Path::new("/proc/self/uid_map")).unwrap_or(0)
}

/// What id 0 of this namespace is in its parent.
fn own_map(file: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        (fields.next()? == "0").then(|| fields.next()?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u32, count: u32) -> SubIdRange {
        SubIdRange { start, count }
    }

    #[test]
    fn ranges_by_name_and_by_uid_are_all_taken() {
        let text = "# comment\nbob:100000:65536\nalice:200000:10\n\n1001:300000:5\nalicex:1:1\n";
        let grants = parse(text, &["alice"], 1001);
        assert_eq!(grants.ranges, [range(200_000, 10), range(300_000, 5)]);
        assert_eq!(grants.skipped, []);
    }

    #[test]
    fn senseless_lines_are_skipped_with_a_reason() {
        let cases = [
            ("alice:1:2:3", "is not OWNER:START:COUNT"),
            ("alice", "is not OWNER:START:COUNT"),
            ("alice:-1:2", "the start is not an id"),
            ("alice:5:x", "the count is not a number of ids"),
            ("alice:5:0", "grants no ids"),
            ("alice:4294967290:100", "goes beyond the largest id"),
            ("alice:99999:10", "overlaps an earlier range of the same user"),
            ("alice:1000:10", "contains the user's own id"),
        ];
        for (line, reason) in cases {
            let grants = parse(&format!("alice:100000:10\n{line}\n"), &["alice"], 1001);
            assert_eq!(grants.ranges, [range(100_000, 10)], "{line}");
            assert_eq!(grants.skipped, [SkippedLine { line: 2, reason }], "{line}");
        }
    }

    #[test]
    fn free_range_is_behind_or_between_the_taken_ones() {
        assert_eq!(first_free(&[""], 65536), 100_000);
        assert_eq!(first_free(&["a:100000:65536\n", "a:100000:65536\nb:165536:65536"], 65536), 231_072);
        assert_eq!(first_free(&["b:300000:65536\na:100000:65536"], 65536), 165_536);
        assert_eq!(first_free(&["b:200000:65536\na:100000:65536"], 65536), 265_536);
        assert_eq!(first_free(&["b:1000:5"], 65536), 100_000);
    }

    #[test]
    fn passwd_entries_are_found_by_uid() {
        let text = "root:x:0:0:root:/root:/bin/bash\nbad:x:1\nalice:x:1001:1002:,,,:/home/alice:\n";
        let entry = find_passwd_entry(text, 1001).unwrap();
        assert_eq!((entry.name.as_str(), entry.gid), ("alice", 1002));
        assert_eq!(entry.home, Path::new("/home/alice"));
        assert_eq!(find_passwd_entry(text, 7), None);
    }
}
