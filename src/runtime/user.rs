//! Who a process runs as: names looked up in the container's own files.
//!
//! `/etc/passwd` and `/etc/group` are read after all mounts are made, through a
//! [`RootDir`] on the finished root. At that point every kind of layer, overlay driver,
//! plain directory and mounted-over file looks the same, so there is one way to read
//! them; reading layer directories before the mount would have to repeat the kernel's
//! rules of whiteouts, opaque directories and redirects. They are data of the image: read
//! with a size limit, never through NSS (CVE-2024-9676, CVE-2026-47262).
//!
//! The grammar of user strings is strict (CVE-2024-40635, CVE-2026-30892): a decimal
//! number up to 2147483647 or a name that has an entry. Nothing else becomes an id, and
//! id 0 comes only from `0`, from an entry, or from no user at all (`:GROUP` as well).

use std::io::Write as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::plan::Process;
use crate::kernel::idmap::{IdMaps, IdRange, to_outside};
use crate::kernel::path::RootDir;

/// Larger files are refused; a million users fit.
const MAX_FILE: u64 = 64 << 20;
/// The largest id that a user string can name, as everywhere in this field.
const MAX_ID: u32 = i32::MAX as u32;
const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";

/// Who a process shall run as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserLookup {
    /// `USER[:GROUP]` by name or number; empty is root.
    pub user: String,
    /// Further groups by name or number.
    pub groups: Vec<String>,
    /// Entries to add to /etc/passwd unless it has the name or the id.
    pub passwd_entries: Vec<NewEntry>,
    /// Entries to add to /etc/group unless it has the name or the id.
    pub group_entries: Vec<NewEntry>,
}

/// A line for /etc/passwd or /etc/group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEntry {
    /// The name in the line.
    pub name: String,
    /// The id in the line.
    pub id: u32,
    /// The line, without its end.
    pub line: String,
}

/// Adds the entries of `lookup` to the container's files, then finds its user and puts
/// ids, groups, home directory and capabilities into `process`.
///
/// `maps` are those of the container's user namespace, where they are known: ids outside
/// of them are refused, supplementary groups outside of them are left out.
///
/// # Errors
/// When a name has no entry, a number is no id, or a file cannot be read.
pub fn apply(
    lookup: &UserLookup,
    root: &RootDir,
    maps: Option<&IdMaps>,
    process: &mut Process,
) -> Result<()> {
    let passwd = extended(root, PASSWD, &lookup.passwd_entries)?;
    let group = extended(root, GROUP, &lookup.group_entries)?;
    let found = find(lookup, &passwd, &group)?;
    check_mapped("uid", found.uid, maps.map(|maps| &maps.uid[..]))?;
    check_mapped("gid", found.gid, maps.map(|maps| &maps.gid[..]))?;
    process.uid = found.uid;
    process.gid = found.gid;
    process.groups = found.groups;
    if let Some(maps) = maps {
        process.groups.retain(|gid| to_outside(&maps.gid, *gid).is_some());
    }
    if process.variable("HOME").is_none() {
        process.environment.push(format!("HOME={}", found.home));
    }
    if found.uid != 0 {
        // Capabilities go with root; other users hold those that were made ambient for them.
        process.capabilities.effective = process.capabilities.ambient;
        process.capabilities.permitted = process.capabilities.ambient;
    }
    Ok(())
}

/// Sets `HOME`, as runc and crun do for a spec that leaves it out.
///
/// # Errors
/// When a file cannot be read.
pub fn add_home(root: &RootDir, process: &mut Process) -> Result<()> {
    let lookup = UserLookup { user: process.uid.to_string(), ..UserLookup::default() };
    let found = find(&lookup, &extended(root, PASSWD, &[])?, &extended(root, GROUP, &[])?)?;
    process.environment.push(format!("HOME={}", found.home));
    Ok(())
}

/// The user and group that `lookup` means in `root`; nothing is written.
///
/// # Errors
/// When a name has no entry, a number is no id, or a file cannot be read.
pub fn ids(lookup: &UserLookup, root: &RootDir) -> Result<(u32, u32)> {
    let text = |file, entries: &[NewEntry]| -> Result<String> {
        let lines = entries.iter().map(|entry| format!("\n{}", entry.line));
        Ok(read(root, file)? + &lines.collect::<String>())
    };
    let (passwd, group) = (text(PASSWD, &lookup.passwd_entries)?, text(GROUP, &lookup.group_entries)?);
    let found = find(lookup, &passwd, &group)?;
    Ok((found.uid, found.gid))
}

fn check_mapped(what: &'static str, id: u32, map: Option<&[IdRange]>) -> Result<()> {
    match map {
        Some(map) if to_outside(map, id).is_none() => Err(Error::UnmappedId { what, id }),
        _ => Ok(()),
    }
}

/// The text of a file with new entries, which are also written to the file.
fn extended(root: &RootDir, file: &'static str, entries: &[NewEntry]) -> Result<String> {
    let mut text = read(root, file)?;
    let mut added = String::new();
    for entry in entries {
        let known = |line: &str| {
            let mut fields = line.split(':');
            fields.next() == Some(&entry.name) || fields.nth(1).and_then(number) == Some(entry.id)
        };
        if !text.lines().chain(added.lines()).any(known) {
            added.push_str(&entry.line);
            added.push('\n');
        }
    }
    if added.is_empty() {
        return Ok(text);
    }
    if !text.is_empty() && !text.ends_with('\n') {
        added.insert(0, '\n');
    }
    text.push_str(&added);
    append(root, file, &added)?;
    Ok(text)
}

fn read(root: &RootDir, file: &'static str) -> Result<String> {
    match root.read_limited(file, MAX_FILE) {
        // Names in other encodings are kept apart by their replacement characters.
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => match error.io().kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Ok(String::new()),
            _ => Err(error.into()),
        },
    }
}

/// Appends to the file, in place: programs such as `useradd` replace it by renaming, which a
/// file of our own mounted over it would forbid.
fn append(root: &RootDir, file: &'static str, text: &str) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY;
    let parent = Path::new(file).parent().unwrap_or(Path::new(""));
    root.create_dir_all(parent, Mode::from_raw_mode(0o755))?;
    let mut open = root.open_file(file, flags, Mode::from_raw_mode(0o644))?;
    let failed = |source| crate::kernel::Error::path("write", Path::new("/").join(file), source);
    Ok(open.write_all(text.as_bytes()).map_err(failed)?)
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    home: String,
}

/// One usable line of /etc/passwd.
#[derive(Debug, Clone, Copy)]
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// One usable line of /etc/group.
#[derive(Debug, Clone, Copy)]
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn accounts(text: &str) -> impl Iterator<Item = Account<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1).unwrap_or("");
        Some(Account { name, uid: number(uid)?, gid: number(gid)?, home })
    })
}

fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Group { name, gid: number(gid)?, members: fields.next().unwrap_or("") })
    })
}

/// A decimal number that can be an id. A sign, a space or a `0x` makes it none.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id <= MAX_ID)
}

/// Whether `text` was meant as a number; one that is out of range is no name.
fn is_numeric(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn find(lookup: &UserLookup, passwd: &str, group: &str) -> Result<Found> {
    let (user, group_text) = match lookup.user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (lookup.user.as_str(), None),
    };
    let account = account(user, passwd)?;
    let uid = match (&account, user) {
        (Some(account), _) => account.uid,
        (None, "") => 0,
        (None, user) => number(user).ok_or_else(|| Error::UnknownUser { user: user.to_owned() })?,
    };
    let mut gid = account.map_or(0, |account| account.gid);
    let mut extra = Vec::new();
    match group_text {
        Some(text) => gid = group_id(text, group)?,
        // An explicit group replaces the memberships of the user.
        None => {
            if let Some(account) = &account {
                let member = |g: &Group<'_>| g.members.split(',').any(|name| name == account.name);
                extra.extend(groups(group).filter(member).map(|g| g.gid));
            }
        }
    }
    for text in &lookup.groups {
        extra.push(group_id(text, group)?);
    }
    // The primary group is always among the supplementary ones: without it a file whose mode denies
    // its group something could be used by dropping to another group (CVE-2022-2989).
    let mut all = vec![gid];
    for gid in extra {
        if !all.contains(&gid) {
            all.push(gid);
        }
    }
    let home = account.map(|account| account.home).filter(|home| !home.is_empty());
    Ok(Found { uid, gid, groups: all, home: home.unwrap_or("/").to_owned() })
}

/// The first entry that has the name or, for a number, the id.
fn account<'a>(user: &str, passwd: &'a str) -> Result<Option<Account<'a>>> {
    if is_numeric(user) && number(user).is_none() {
        return Err(Error::IdRange { text: user.to_owned() });
    }
    let id = if user.is_empty() { Some(0) } else { number(user) };
    Ok(accounts(passwd).find(|a| (!user.is_empty() && a.name == user) || Some(a.uid) == id))
}

fn group_id(text: &str, group: &str) -> Result<u32> {
    if is_numeric(text) && number(text).is_none() {
        return Err(Error::IdRange { text: text.to_owned() });
    }
    let id = number(text);
    let entry = groups(group).find(|g| g.name == text || Some(g.gid) == id);
    entry.map(|g| g.gid).or(id).ok_or_else(|| Error::UnknownGroup { group: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::cap::CapabilitySet;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nbin:x:1:1:bin:/bin:/sbin/nologin\n\
        ann:x:1000:100::/home/ann:/bin/sh\nlow:x:007:7::/low:\nbad:x:-5:0::/:\nwrap:x:4294967296:0::/:\nshort:x\n:x:0:0::/:\n";
    const GROUPS: &str = "root:x:0:root\nbin:x:1:root,bin,ann\nusers:x:100:\nwheel:x:10:root,ann\nbroken\n";

    fn of(user: &str, extra: &[&str]) -> Result<Found> {
        let groups = extra.iter().map(|g| (*g).to_owned()).collect();
        find(&UserLookup { user: user.to_owned(), groups, ..UserLookup::default() }, USERS, GROUPS)
    }

    #[test]
    fn s9_user_strings_are_strict() {
        for (user, uid, gid) in [
            ("", 0, 0),
            // Nothing before the colon is no user at all, to podman and Docker alike.
            (":", 0, 0),
            (":5", 0, 5),
            (":users", 0, 100),
            ("0", 0, 0),
            ("root", 0, 0),
            ("1", 1, 1),
            ("1:2", 1, 2),
            ("1000:", 1000, 100),
            ("ann", 1000, 100),
            ("ann:wheel", 1000, 10),
            ("4242", 4242, 0),
            ("4242:users", 4242, 100),
            ("010", 10, 0),
            ("low", 7, 7),
            ("2147483647", 2_147_483_647, 0),
        ] {
            let found = of(user, &[]).unwrap_or_else(|e| panic!("{user}: {e}"));
            assert_eq!((found.uid, found.gid), (uid, gid), "{user:?}");
        }
        for user in [
            ":nosuch",
            "::",
            "0x0",
            " 1",
            "1 ",
            "-1",
            "+1",
            "nosuch",
            "2147483648",
            "4294967295",
            "4294967296",
            "bad",
            "wrap",
            "short",
            "1:nosuch",
            "1:-1",
            "1:4294967295",
            "1:2:3",
            "root\n",
            "1.0",
            "١",
        ] {
            assert!(of(user, &[]).is_err(), "{user:?} became {:?}", of(user, &[]).unwrap());
        }
    }

    #[test]
    fn s8_the_primary_group_is_among_the_supplementary_ones() {
        for (user, extra, expected) in [
            ("", &[][..], &[0, 1, 10][..]),
            ("ann", &[], &[100, 1, 10]),
            ("1000:2000", &["3000"], &[2000, 3000]),
            ("ann:users", &["wheel", "wheel"], &[100, 10]),
            ("5", &[], &[0]),
        ] {
            assert_eq!(of(user, extra).unwrap().groups, expected, "{user} {extra:?}");
        }
        assert!(of("0", &["nosuch"]).is_err());
    }

    #[test]
    fn home_comes_from_the_entry() {
        for (user, home) in [("", "/root"), ("ann", "/home/ann"), ("1000", "/home/ann"), ("5", "/")] {
            assert_eq!(of(user, &[]).unwrap().home, home);
        }
    }

    fn root(test: &str) -> (std::path::PathBuf, RootDir) {
        let dir = crate::kernel::scratch::path(&format!("user-{test}"));
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        let root = RootDir::open(&dir).unwrap();
        (dir, root)
    }

    fn put(dir: &Path, file: &str, text: &str) {
        std::fs::File::create(dir.join(file)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn entries_are_added_once_and_can_be_looked_up() {
        let (dir, root) = root("add");
        put(&dir, PASSWD, "root:x:0:0:root:/root:/bin/sh");
        let entry = |name: &str, id: u32, line: &str| NewEntry { name: name.into(), id, line: line.into() };
        let lookup = UserLookup {
            user: "eve".to_owned(),
            passwd_entries: vec![
                entry("eve", 1001, "eve:*:1001:1001::/w:/bin/sh"),
                entry("twin", 1001, "twin:*:1001:1::/:/bin/sh"),
                entry("root", 5, "root:*:5:5::/:/bin/sh"),
            ],
            group_entries: vec![entry("eve", 1001, "eve:x:1001:eve")],
            ..UserLookup::default()
        };
        for _ in 0..2 {
            let mut process = Process { environment: vec!["A=b".to_owned()], ..Process::default() };
            process.capabilities.permitted =
                CapabilitySet::EMPTY.with(crate::kernel::cap::Capability::SYS_ADMIN);
            apply(&lookup, &root, None, &mut process).unwrap();
            assert_eq!((process.uid, process.gid, &process.groups[..]), (1001, 1001, &[1001][..]));
            assert_eq!(process.environment, ["A=b", "HOME=/w"]);
            assert_eq!(process.capabilities.permitted, CapabilitySet::EMPTY);
        }
        let text = std::fs::read_to_string(dir.join(PASSWD)).unwrap();
        assert_eq!(text, "root:x:0:0:root:/root:/bin/sh\neve:*:1001:1001::/w:/bin/sh\n");
        assert_eq!(std::fs::read_to_string(dir.join(GROUP)).unwrap(), "eve:x:1001:eve\n");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn s61_passwd_that_is_no_ordinary_file_is_refused_at_once() {
        let (dir, root) = root("odd");
        let lookup = UserLookup::default();
        let attempt = || apply(&lookup, &root, None, &mut Process::default());
        assert!(attempt().is_ok(), "no file is an empty file");
        for target in ["/dev/zero", "fifo", "/proc/self/fd/0", "self"] {
            let _ = std::fs::remove_file(dir.join(PASSWD));
            if target == "self" {
                std::fs::create_dir(dir.join(PASSWD)).unwrap();
            } else if target == "fifo" {
                let mode = Mode::from_raw_mode(0o600);
                root.mknod(PASSWD, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            } else {
                std::os::unix::fs::symlink(target, dir.join(PASSWD)).unwrap();
            }
            let outcome = attempt();
            // Links out of the root dangle inside of it, which is the same as no file.
            assert_eq!(outcome.is_ok(), target.starts_with('/'), "{target}: {outcome:?}");
        }
        std::fs::remove_dir(dir.join(PASSWD)).unwrap();
        std::fs::File::create(dir.join(PASSWD)).unwrap().set_len(4 << 30).unwrap();
        assert!(attempt().is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn unmapped_ids_are_refused_and_unmapped_groups_left_out() {
        let (dir, root) = root("map");
        put(&dir, GROUP, "big:x:70000:root\nlow:x:5:root\n");
        put(&dir, PASSWD, "root:x:0:0::/root:\n");
        let map = vec![IdRange { inside: 0, outside: 0, count: 65536 }];
        let maps = IdMaps { uid: map.clone(), gid: map };
        let mut process = Process::default();
        apply(&UserLookup::default(), &root, Some(&maps), &mut process).unwrap();
        assert_eq!(process.groups, [0, 5]);
        let far = UserLookup { user: "70000".to_owned(), ..UserLookup::default() };
        assert!(apply(&far, &root, Some(&maps), &mut process).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
