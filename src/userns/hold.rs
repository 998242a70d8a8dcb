//! The process that keeps H open between commands.
//!
//! Making H costs two setuid programs, which is more than all the rest of a container's start. So whoever makes it
//! leaves a process behind that does nothing but wait inside, and commands that follow soon join it. It ends by itself
//! when nobody has joined for [`linger`](crate::config::Env::linger), with its record, or at any signal; nothing depends
//! on it. It holds no descriptor, directory, terminal or argument of the command that it came from.

use std::fs::File;
use std::os::fd::IntoRawFd as _;
use std::time::Duration;

use super::holder::{self, HolderRecord};
use super::{Result, UserMaps};
use crate::config::Paths;
use crate::kernel::process::{self, Fork};
use crate::kernel::{self, prctl, signal};

/// Forks the process from this one, which is inside of H and ends soon: nobody waits for its child.
pub(super) fn leave_behind(paths: &Paths, maps: &UserMaps, linger: Duration) -> Result<()> {
    match process::fork()? {
        Fork::Parent { .. } => Ok(()),
        Fork::Child => {
            if become_nobodys().is_ok()
                && let Ok(Some(record)) = holder::register(paths, maps)
            {
                wait_until_unused(&record, linger);
            }
            process::exit_now(0)
        }
    }
}

/// Parts from everything that came from the command: a pipe or terminal held open would never end for its reader.
fn become_nobodys() -> Result<()> {
    // Fails for the leader of a session only, and a child is none.
    let _ = rustix::process::setsid();
    signal::reset_dispositions();
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|source| kernel::Error::path("open", "/dev/null", source))?;
    for number in 0..3 {
        process::duplicate_to(&null, number)?;
    }
    // The next line closes it.
    let _ = null.into_raw_fd();
    process::close_range(3, u32::MAX)?;
    // Where these two are not possible it stays in the way of an unmount, or shows its origin.
    let _ = rustix::process::chdir("/");
    let _ = process::hide_arguments("rbox namespace");
    prctl::set_name(c"rbox-namespace")?;
    // Without this the kernel keeps the user herself from joining.
    prctl::set_dumpable(true)?;
    Ok(())
}

/// Returns when the record was not used for `linger`, or is gone.
fn wait_until_unused(record: &HolderRecord, linger: Duration) {
    let mut last_use = None;
    loop {
        let used = record.last_use();
        if used.is_none() || used == last_use {
            return;
        }
        last_use = used;
        std::thread::sleep(linger);
    }
}
