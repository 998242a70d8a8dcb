//! Checkpoint and restore of containers through CRIU.
//!
//! CRIU does the work on processes. What it cannot know is said here: which mounts come from outside and what they are
//! made from, which pipes are whose, that the network is somebody else's, and in which cgroup everything is to be. It
//! needs the host's root; a restored container's user namespace is a child of the host's, not of the user's namespace,
//! so whoever stands beside it must be outside of that.
//!
//! A checkpoint is a directory: CRIU's images, and `rbox.json`, which says what was taken from outside.
//!
//! | file | owns |
//! |---|---|
//! | `wire` | CRIU's messages |
//! | `worker` | a CRIU process and talking to it |
//! | `mounts` | mounts from outside: found, and made again |
//! | `dump`, `restore` | the two requests |
//! | `stats` | what CRIU measures |
//! | `probe` | whether CRIU can work here |

mod dump;
mod mounts;
mod probe;
mod restore;
mod stats;
mod wire;
mod worker;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use crate::kernel;
use wire::Message;

pub use dump::{Dump, dump};
pub use probe::{missing, version};
pub use restore::{Restore, is_checkpoint, restore};
pub use stats::{Statistics, of_dump, of_restore};

/// CRIU older than this knows no way to lock the network without iptables, and fails at kernels of today.
pub const OLDEST: (u64, u64) = (3, 17);

/// The file of a checkpoint that is rbox's own.
const DESCRIPTION: &str = "rbox.json";
const VERSION: u32 = 1;
/// Fields of `criu_opts`.
mod field {
    pub(super) const IMAGES_DIRECTORY: u32 = 1;
    pub(super) const PID: u32 = 2;
    pub(super) const LEAVE_RUNNING: u32 = 3;
    pub(super) const TCP_ESTABLISHED: u32 = 5;
    pub(super) const EVASIVE_DEVICES: u32 = 6;
    pub(super) const FILE_LOCKS: u32 = 8;
    pub(super) const LOG_LEVEL: u32 = 9;
    pub(super) const LOG_FILE: u32 = 10;
    pub(super) const NOTIFY: u32 = 12;
    pub(super) const ROOT: u32 = 13;
    pub(super) const PARENT: u32 = 14;
    pub(super) const TRACK_MEMORY: u32 = 15;
    pub(super) const WORK_DIRECTORY: u32 = 17;
    pub(super) const LINK_REMAP: u32 = 18;
    pub(super) const RESTORE_SIBLING: u32 = 26;
    pub(super) const INHERIT_DESCRIPTOR: u32 = 27;
    pub(super) const MANAGE_CGROUPS: u32 = 34;
    pub(super) const EXTERNAL: u32 = 37;
    pub(super) const EMPTY_NAMESPACES: u32 = 38;
    pub(super) const TERMINAL_MASTER: u32 = 50;
    pub(super) const TCP_CLOSE: u32 = 52;
    pub(super) const LSM_PROFILE: u32 = 53;
    pub(super) const LSM_MOUNT_CONTEXT: u32 = 63;
    pub(super) const NETWORK_LOCK: u32 = 64;
}

/// What a checkpoint has taken from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    version: u32,
    /// Where mounts from outside are.
    mounts: Vec<PathBuf>,
    /// What the standard streams were.
    streams: [String; 3],
}

impl Description {
    fn write(&self, images: &Path) -> Result<()> {
        let path = images.join(DESCRIPTION);
        let bytes = serde_json::to_vec(self).expect("texts are always JSON");
        let written =
            fs::File::create(&path).and_then(|mut file| std::io::Write::write_all(&mut file, &bytes));
        Ok(written.map_err(|source| kernel::Error::path("write", &path, source))?)
    }

    fn read(images: &Path) -> Result<Self> {
        let path = images.join(DESCRIPTION);
        let foreign = |why| Error::invalid("checkpoint", why);
        if !path.exists() {
            return Err(foreign("it was not made by rbox"));
        }
        let bytes = kernel::file::read_limited(&path, 4 << 20)?;
        let description: Self =
            serde_json::from_slice(&bytes).map_err(|_| foreign("what rbox wrote into it is damaged"))?;
        if description.version != VERSION {
            return Err(foreign("it was made by a later rbox"));
        }
        Ok(description)
    }
}

/// What both requests say. CRIU finds the directories by their numbers in this process.
fn common_options(images: u64, log: &str) -> Message {
    let mut options = Message::default();
    options.number(field::IMAGES_DIRECTORY, images).number(field::WORK_DIRECTORY, images);
    options.number(field::LOG_LEVEL, 4).text(field::LOG_FILE, log).flag(field::NOTIFY, true);
    options.flag(field::EVASIVE_DEVICES, true).flag(field::TERMINAL_MASTER, true);
    // CRIU is started in the container's cgroup, and everything that it makes is there as well.
    options.number(field::MANAGE_CGROUPS, 0);
    /// `criu_network_lock_method`.
    const NFTABLES: u64 = 2;
    if !programs_exist(&["iptables-restore", "ip6tables-restore"]) {
        options.number(field::NETWORK_LOCK, NFTABLES);
    }
    options
}

fn programs_exist(names: &[&str]) -> bool {
    names.iter().all(|name| worker::PATH.split(':').any(|folder| Path::new(folder).join(name).exists()))
}

/// Adds what CRIU has written about its failure.
fn explain(error: Error, log: &Path) -> Error {
    let Error::Foreign { program, what } = error else { return error };
    let text = kernel::file::read_limited(log, 64 << 20).unwrap_or_default();
    let found = errors(&String::from_utf8_lossy(&text));
    Error::Foreign { program, what: if found.is_empty() { what } else { found } }
}

/// The first errors of a log; what follows from them comes later.
fn errors(log: &str) -> String {
    let lines = log.lines().filter_map(|line| line.split_once("Error (")?.1.split_once("): "));
    let mut found: Vec<&str> = lines.map(|(_, text)| text.trim()).collect();
    found.dedup();
    found.truncate(3);
    found.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_log_are_told_without_their_places() {
        let log = "(00.05) Lock network\n(00.06) Error (criu/util.c:642): exited, status=1\n\
                   Error (criu/net.c:3071): Locking network failed: x\n(00.1) Error (criu/cr-dump.c:2053): Dumping FAILED.\n";
        assert_eq!(errors(log), "exited, status=1; Locking network failed: x; Dumping FAILED.");
        assert_eq!(errors("nothing"), "");
    }
}
