//! Ids beside the user's own: who grants them, and whether the helpers can map them.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Finding, id, read};
use crate::config::subid::{self, Grants, SubIdRange};
use crate::engine::Engine;
use crate::kernel::xattr;
use crate::userns::{MapKind, MapWriter, SingleReason};

/// What images expect: 65,536 ids, one of which is the user's own.
const ENOUGH: u32 = 65_535;

const BREAKS: &str = "images with files of several users (apt, databases), `USER` in images, --userns=auto: containers have one id only";

#[derive(Debug, Default)]
struct Facts {
    user: String,
    uids: Grants,
    gids: Grants,
    /// Ranges of others that overlap ours: file, owner.
    shared_with: Vec<(&'static str, String)>,
    /// Programs that could not map anything, and the capability that they need.
    weak_helpers: Vec<(PathBuf, &'static str)>,
}

pub(super) fn check(engine: &Engine) -> Finding {
    let maps = engine.user_maps();
    match &maps.kind {
        MapKind::Single { why } => missing(why),
        MapKind::Full(MapWriter::Privileged) => Finding::ok(id::SUBIDS, "root maps all ids itself"),
        MapKind::Full(MapWriter::Inherited) => {
            Finding::ok(id::SUBIDS, "the namespace around this process has several ids")
        }
        MapKind::Full(MapWriter::Helpers { newuidmap, newgidmap }) => {
            let env = engine.env();
            let names = subid::login_names(env, env.uid());
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (subuid, subgid) = (read(subid::SUBUID_FILE), read(subid::SUBGID_FILE));
            let (uids, gids) =
                (subid::parse(&subuid, &names, env.uid()), subid::parse(&subgid, &names, env.uid()));
            let mut shared_with = others(&subuid, &names, &uids.ranges, subid::SUBUID_FILE);
            shared_with.extend(others(&subgid, &names, &gids.ranges, subid::SUBGID_FILE));
            let helpers = [(newuidmap, "cap_setuid"), (newgidmap, "cap_setgid")];
            let weak = helpers.into_iter().filter(|(path, _)| !is_powerful(path));
            judge(&Facts {
                user: names.first().map_or_else(|| env.uid().to_string(), |&name| name.to_owned()),
                uids,
                gids,
                shared_with,
                weak_helpers: weak.map(|(path, capability)| (path.clone(), capability)).collect(),
            })
        }
    }
}

fn missing(why: &SingleReason) -> Finding {
    let finding = Finding::warning(id::SUBIDS, why.to_string(), BREAKS);
    match why.fix() {
        Some(fix) => finding.fix(fix),
        None => finding,
    }
}

fn judge(facts: &Facts) -> Finding {
    if let Some((helper, capability)) = facts.weak_helpers.first() {
        let path = helper.display();
        let found = format!("{path} is neither setuid root nor has {capability}");
        return Finding::problem(id::SUBIDS, found, "every container")
            .fix(format!("sudo chmod u-s {path} && sudo setcap {capability}+ep {path}"));
    }
    if let Some((file, owner)) = facts.shared_with.first() {
        let found = format!("{file} grants the same ids to {} and to {owner}", facts.user);
        return Finding::warning(
            id::SUBIDS,
            found,
            "the wall between the two: each can write files of the other's containers, and signal their processes",
        )
        .fix(format!("sudoedit {file}"));
    }
    for (file, grants) in [(subid::SUBUID_FILE, &facts.uids), (subid::SUBGID_FILE, &facts.gids)] {
        if let Some(line) = grants.skipped.first() {
            return Finding::warning(
                id::SUBIDS,
                format!("{file} {line}"),
                "the ids of that line are not used",
            )
            .fix(format!("sudoedit {file}"));
        }
        if count(grants) < ENOUGH {
            let found =
                format!("{file} grants {} ids to {}; images expect {ENOUGH}", count(grants), facts.user);
            return Finding::warning(
                id::SUBIDS,
                found,
                "images with files of high ids, such as nobody's (65534)",
            );
        }
    }
    let count = count(&facts.uids).min(count(&facts.gids));
    Finding::ok(id::SUBIDS, format!("{count} ids for {}, mapped by newuidmap and newgidmap", facts.user))
}

fn count(grants: &Grants) -> u32 {
    grants.ranges.iter().fold(0, |sum, range| sum.saturating_add(range.count))
}

/// The owners of ranges that overlap `own`, other than the user.
fn others(text: &str, names: &[&str], own: &[SubIdRange], file: &'static str) -> Vec<(&'static str, String)> {
    let owner = |line: &str| line.trim().split(':').next().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let owner = owner(line);
        if names.contains(&owner.as_str()) {
            continue;
        }
        // The uid only matters for ranges that contain the owner's own id.
        let ranges = subid::parse(line, &[&owner], u32::MAX).ranges;
        if ranges.iter().any(|theirs| own.iter().any(|ours| ours.overlaps(*theirs))) {
            found.push((file, owner));
        }
    }
    found
}

/// Whether a helper is setuid root or has file capabilities.
fn is_powerful(path: &Path) -> bool {
    const SETUID: u32 = 0o4000;
    let Ok(file) = std::fs::File::open(path) else { return true };
    let setuid = file.metadata().is_ok_and(|meta| meta.uid() == 0 && meta.mode() & SETUID != 0);
    setuid || xattr::get(&file, b"security.capability\0").is_ok_and(|value| value.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    fn grants(count: u32) -> Grants {
        Grants { ranges: vec![SubIdRange { start: 100_000, count }], skipped: Vec::new() }
    }

    #[test]
    fn what_is_wrong_with_ranges_is_told() {
        let good = || Facts {
            user: "alice".to_owned(),
            uids: grants(65_536),
            gids: grants(65_536),
            ..Facts::default()
        };
        assert_eq!(judge(&good()).status, Status::Ok);
        let few = judge(&Facts { gids: grants(1000), ..good() });
        assert_eq!(few.status, Status::Warning);
        assert!(few.found.starts_with("/etc/subgid grants 1000 ids to alice"), "{few:?}");
        let weak =
            judge(&Facts { weak_helpers: vec![("/usr/bin/newuidmap".into(), "cap_setuid")], ..good() });
        assert_eq!(weak.status, Status::Problem);
        assert!(weak.fix.contains("setcap cap_setuid+ep /usr/bin/newuidmap"), "{weak:?}");
        let shared = judge(&Facts { shared_with: vec![("/etc/subuid", "bob".to_owned())], ..good() });
        assert!(shared.found.contains("to alice and to bob"), "{shared:?}");
    }

    #[test]
    fn ranges_of_others_are_compared() {
        let text = "alice:100000:65536\n# bob:100000:65536\nbob:165535:65536\ncarol:231071:65536\n";
        let own = [SubIdRange { start: 100_000, count: 65_536 }];
        assert_eq!(others(text, &["alice"], &own, "/etc/subuid"), [("/etc/subuid", "bob".to_owned())]);
    }

    #[test]
    fn without_ranges_the_command_that_grants_some_is_told() {
        let why = SingleReason::NoHelper { program: "newuidmap" };
        assert!(missing(&why).fix.contains("uidmap"));
    }
}
