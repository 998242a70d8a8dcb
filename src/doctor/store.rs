//! The store: what its file system can do, and how much room there is.

use std::path::Path;

use super::{Finding, chain, id};
use crate::engine::Engine;
use crate::store::{Driver, DriverInfo};

/// Less than this is soon used up by one image.
const LITTLE: u64 = 2 << 30;

/// Magic numbers of statfs(2) of file systems that know nothing of the ids of a container.
const FOREIGN: [(u64, &str); 6] = [
    (0x6969, "nfs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x4d44, "vfat"),
    (0x2011_bab0, "exfat"),
    (0x0102_1997, "9p"),
];

pub(super) fn check(engine: &Engine) -> Vec<Finding> {
    let (paths, store) = match (engine.paths(), engine.store()) {
        (Ok(paths), Ok(store)) => (paths, store),
        (Err(error), _) => return vec![broken(&error)],
        (_, Err(error)) => return vec![broken(&error)],
    };
    let driver = match store.driver() {
        Ok(info) => judge_driver(&paths.data, &info),
        Err(error) => broken(&error),
    };
    match rustix::fs::statfs(&paths.data) {
        Ok(space) => {
            let free = space.f_bsize as u64 * space.f_bavail;
            let foreign = FOREIGN.iter().find(|(magic, _)| *magic == space.f_type as u64);
            let driver = foreign.map_or(driver, |(_, name)| of_foreign(&paths.data, name));
            vec![driver, judge_space(&paths.data, free, space.f_files > 0 && space.f_ffree < 10_000)]
        }
        Err(_) => vec![driver],
    }
}

fn broken(error: &dyn std::error::Error) -> Finding {
    Finding::problem(id::STORE, chain(error), "every command that uses images or containers")
}

fn of_foreign(data: &Path, name: &str) -> Finding {
    let found =
        format!("{} is on {name}, whose server knows nothing of the ids of containers", data.display());
    Finding::problem(id::STORE, found, "unpacking images whose files belong to several users")
        .fix("rbox --root DIR puts the store on a local disk (graphroot in storage.conf does so for good)")
}

fn judge_driver(data: &Path, info: &DriverInfo) -> Finding {
    let place = format!("{} on {}", data.display(), info.filesystem);
    match (info.driver, &info.reason) {
        (Driver::Overlay, _) => Finding::ok(id::STORE, format!("{place}, with the kernel's overlay")),
        (Driver::FuseOverlay, None) => {
            Finding::ok(id::STORE, format!("{place}, with fuse-overlayfs as configured"))
        }
        (Driver::FuseOverlay, Some(reason)) => Finding::warning(
            id::STORE,
            format!("{place}: the kernel's overlay does not work here ({reason}), so fuse-overlayfs is used"),
            "speed: every file access of a container goes through a program",
        ),
    }
}

fn judge_space(data: &Path, free: u64, few_inodes: bool) -> Finding {
    let place = data.display();
    let fix = "rbox system df; rbox system prune";
    if few_inodes {
        return Finding::warning(
            id::SPACE,
            format!("{place} has hardly an inode left"),
            "pull, build, commit",
        )
        .fix(fix);
    }
    let gigabytes = free as f64 / 1e9;
    if free < LITTLE {
        let found = format!("{place} has {gigabytes:.1} GB left");
        return Finding::warning(id::SPACE, found, "pull, build, commit").fix(fix);
    }
    Finding::ok(id::SPACE, format!("{gigabytes:.1} GB left for {place}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn room_and_drivers_are_judged() {
        let data = Path::new("/home/a/.local/share/rbox");
        assert_eq!(judge_space(data, 1 << 20, false).status, Status::Warning);
        assert_eq!(judge_space(data, 1 << 40, true).status, Status::Warning);
        assert_eq!(judge_space(data, 1 << 40, false).status, Status::Ok);
        let info = |driver, reason: Option<&str>| DriverInfo {
            driver,
            reason: reason.map(str::to_owned),
            filesystem: "extfs".to_owned(),
            data_only: true,
            max_layers: 400,
            program: None,
        };
        assert_eq!(judge_driver(data, &info(Driver::Overlay, None)).status, Status::Ok);
        let slow = judge_driver(data, &info(Driver::FuseOverlay, Some("no userxattr")));
        assert_eq!(slow.status, Status::Warning);
        assert!(slow.found.contains("(no userxattr)"), "{slow:?}");
        assert_eq!(of_foreign(data, "nfs").status, Status::Problem);
    }
}
