//! Writing the id maps of a new user namespace.
//!
//! A process that holds the ids (root of the user's namespace) writes the maps
//! itself; anybody may map just herself; everything else is done by newuidmap
//! and newgidmap, which check /etc/subuid and run side by side: one after the
//! other they would cost twice as much.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::process::{Child, Command, Stdio};

use crate::kernel::cap::{self, Capability};
use crate::kernel::idmap::{IdMaps, IdRange, to_proc_text};
use crate::kernel::process::Pid;
use crate::kernel::{self, cred};

use super::error::{Error, Result};

/// Writes the maps of `pid`, the first process of a new user namespace.
pub(super) fn write(pid: Pid, maps: &IdMaps) -> Result<()> {
    let (effective, _) = cap::current()?;
    if effective.contains(Capability::SETUID) && effective.contains(Capability::SETGID) {
        write_file(pid, "uid_map", &to_proc_text(&maps.uid))?;
        return write_file(pid, "gid_map", &to_proc_text(&maps.gid));
    }
    let only = |map: &[IdRange], id: u32| matches!(map, [range] if range.count == 1 && range.outside == id);
    if only(&maps.uid, cred::effective_uid()) && only(&maps.gid, cred::effective_gid()) {
        // Without this a process could drop a group that denies it something.
        write_file(pid, "setgroups", "deny")?;
        write_file(pid, "uid_map", &to_proc_text(&maps.uid))?;
        return write_file(pid, "gid_map", &to_proc_text(&maps.gid));
    }
    let uid = spawn_helper("newuidmap", pid, &maps.uid)?;
    let gid = spawn_helper("newgidmap", pid, &maps.gid);
    let uid = finish_helper("newuidmap", uid);
    finish_helper("newgidmap", gid?)?;
    uid
}

fn write_file(pid: Pid, name: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{}/{name}", pid.as_raw_nonzero());
    // One write: the kernel takes a map whole or not at all.
    let result =
        OpenOptions::new().write(true).open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    result.map_err(|source| kernel::Error::path("write", path, source).into())
}

fn spawn_helper(program: &'static str, pid: Pid, map: &[IdRange]) -> Result<Child> {
    let mut command = Command::new(program);
    command.arg(pid.as_raw_nonzero().to_string());
    for IdRange { inside, outside, count } in map {
        command.args([inside, outside, count].map(u32::to_string));
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().map_err(|source| Error::Step { doing: format!("cannot run {program}"), source })
}

fn finish_helper(program: &'static str, child: Child) -> Result<()> {
    let output = child
        .wait_with_output()
        .map_err(|source| Error::Step { doing: format!("cannot wait for {program}"), source })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    Err(Error::Step { doing: program.to_owned(), source: io::Error::other(message) })
}

/// Sets the score by which the out-of-memory killer chooses; only raising it is allowed to users.
pub(super) fn set_oom_score(pid: Pid, score: i32) -> Result<()> {
    write_file(pid, "oom_score_adj", &score.to_string())
}
