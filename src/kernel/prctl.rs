//! Small properties of the calling process set by `prctl` and its like.

use std::ffi::CStr;
use std::fs;
use std::io;

use rustix::process::DumpableBehavior;

use super::process::Signal;
use super::{Error, Result};

/// Whether other processes of the user may trace this one and open its
/// `/proc/PID` files. A fork inherits it; a successful exec sets it again.
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    let behavior = if dumpable { DumpableBehavior::Dumpable } else { DumpableBehavior::NotDumpable };
    rustix::process::set_dumpable_behavior(behavior)
        .map_err(|errno| Error::call("prctl(PR_SET_DUMPABLE)", "", errno))
}

/// Whether this process is dumpable now.
pub fn is_dumpable() -> Result<bool> {
    rustix::process::dumpable_behavior()
        .map(|behavior| behavior == DumpableBehavior::Dumpable)
        .map_err(|errno| Error::call("prctl(PR_GET_DUMPABLE)", "", errno))
}

/// From now on no exec of this process and its children gains privileges.
pub fn set_no_new_privileges() -> Result<()> {
    rustix::thread::set_no_new_privs(true)
        .map_err(|errno| Error::call("prctl(PR_SET_NO_NEW_PRIVS)", "", errno))
}

/// Asks for `signal` when the parent thread ends.
pub fn set_parent_death_signal(signal: Option<Signal>) -> Result<()> {
    rustix::process::set_parent_process_death_signal(signal)
        .map_err(|errno| Error::call("prctl(PR_SET_PDEATHSIG)", "", errno))
}

/// Makes orphaned descendants become children of this process.
pub fn set_child_subreaper(enabled: bool) -> Result<()> {
    let pid = enabled.then(rustix::process::getpid);
    rustix::process::set_child_subreaper(pid)
        .map_err(|errno| Error::call("prctl(PR_SET_CHILD_SUBREAPER)", "", errno))
}

/// Sets the command name (at most 15 bytes) that `ps` and `top` show.
pub fn set_name(name: &CStr) -> Result<()> {
    rustix::thread::set_name(name).map_err(|errno| Error::call("prctl(PR_SET_NAME)", "", errno))
}

/// Overwrites the command line that `/proc/PID/cmdline` shows to everyone with
/// `title`, cut to the room that the original arguments take. The original may
/// name host paths and values of environment variables.
pub fn set_command_line(title: &[u8]) -> Result<()> {
    let path = "/proc/self/stat";
    let stat = fs::read_to_string(path).map_err(|source| Error::path("read", path, source))?;
    let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(45);
    let mut next = || fields.next().and_then(|field| field.parse::<usize>().ok()).unwrap_or(0);
    let (start, end) = (next(), next());
    if start == 0 || end <= start {
        return Err(Error::path("parse", path, io::Error::from(io::ErrorKind::InvalidData)));
    }
    // SAFETY: the kernel says that the argument strings of this process lie in
    // start..end on its own writable stack. Nothing keeps references to them:
    // the standard library copies arguments when it is asked for them.
    let arguments = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, end - start) };
    arguments.fill(0);
    // The last byte stays 0: otherwise the kernel goes on into the environment.
    let length = title.len().min(arguments.len() - 1);
    arguments[..length].copy_from_slice(&title[..length]);
    Ok(())
}

/// Sets the execution domain, such as `PER_LINUX32`.
pub fn set_personality(persona: u64) -> Result<()> {
    // SAFETY: personality takes one integer.
    if unsafe { libc::personality(persona as libc::c_ulong) } == -1 {
        return Err(Error::call("personality", format!("{persona:#x}"), io::Error::last_os_error()));
    }
    Ok(())
}

/// Sets the host name of this UTS namespace.
pub fn set_host_name(name: &str) -> Result<()> {
    rustix::system::sethostname(name.as_bytes()).map_err(|errno| Error::call("sethostname", name, errno))
}

/// Sets the domain name of this UTS namespace.
pub fn set_domain_name(name: &str) -> Result<()> {
    rustix::system::setdomainname(name.as_bytes()).map_err(|errno| Error::call("setdomainname", name, errno))
}
