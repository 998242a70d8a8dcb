//! Ids of the calling process.
//!
//! The C library's `setuid` tells all threads by signals; a process that
//! changes its ids here has one thread, so the bare system calls are right.

use rustix::process::{Gid, Uid};

use super::{Error, Result};

/// Sets the supplementary groups.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups)
        .map_err(|errno| Error::call("setgroups", format!("{} groups", groups.len()), errno))
}

/// Sets the real, effective and saved group id.
pub fn set_gid(gid: u32) -> Result<()> {
    let id = Gid::from_raw(gid);
    rustix::thread::set_thread_res_gid(id, id, id)
        .map_err(|errno| Error::call("setresgid", gid.to_string(), errno))
}

/// Sets the real, effective and saved user id.
pub fn set_uid(uid: u32) -> Result<()> {
    let id = Uid::from_raw(uid);
    rustix::thread::set_thread_res_uid(id, id, id)
        .map_err(|errno| Error::call("setresuid", uid.to_string(), errno))
}

/// The effective user id.
#[must_use]
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The effective group id.
#[must_use]
pub fn effective_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// Keeps the permitted capabilities when the user id leaves 0; the next exec
/// clears this again.
pub fn set_keep_capabilities(keep: bool) -> Result<()> {
    rustix::thread::set_keep_capabilities(keep)
        .map_err(|errno| Error::call("prctl(PR_SET_KEEPCAPS)", "", errno))
}

/// Makes files by other ids from now on, and keeps every capability: some file systems take new files only of ids
/// that their own user namespace has. For processes that end soon: there is no way back.
pub fn make_files_as(uid: u32, gid: u32) -> Result<()> {
    /// `SECBIT_NO_SETUID_FIXUP`
    const NO_FIXUP: libc::c_ulong = 1 << 2;
    // SAFETY: PR_SET_SECUREBITS takes a number and touches no memory.
    if unsafe { libc::prctl(libc::PR_SET_SECUREBITS, NO_FIXUP, 0, 0, 0) } != 0 {
        return Err(Error::call("prctl(PR_SET_SECUREBITS)", "", std::io::Error::last_os_error()));
    }
    // These two report no failure; the second call tells what is set.
    // SAFETY: both take a number and touch no memory.
    let (now_gid, now_uid) = unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
        (libc::setfsgid(gid), libc::setfsuid(uid))
    };
    if (now_uid.cast_unsigned(), now_gid.cast_unsigned()) != (uid, gid) {
        let detail = format!("{uid}:{gid}");
        return Err(Error::call("setfsuid", detail, std::io::Error::from_raw_os_error(libc::EPERM)));
    }
    Ok(())
}
