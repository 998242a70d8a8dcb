//! Session keyrings.

use std::ffi::CStr;
use std::io;

use super::{Error, Result};

/// What the possessor and processes of the user may do with the shared keyring: everything, and
/// find it (which the kernel's default leaves out: each process would make another one).
const SHARED_PERMISSIONS: u32 = 0x3f1f_0000;

/// Replaces the session keyring of this process by a new, empty, anonymous one.
pub fn join_new_session() -> Result<()> {
    join(std::ptr::null()).map(drop)
}

/// Replaces the session keyring of this process by the one called `name` in this user namespace,
/// which is made where it does not exist. All processes that ask for it share it.
pub fn join_shared_session(name: &CStr) -> Result<()> {
    let id = join(name.as_ptr())?;
    // SAFETY: plain integers.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, id, SHARED_PERMISSIONS) };
    check(result, "keyctl(SETPERM)").map(drop)
}

fn join(name: *const libc::c_char) -> Result<libc::c_long> {
    // SAFETY: keyctl reads the name, a C string or null, during the call.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name) };
    check(result, "keyctl(JOIN_SESSION_KEYRING)")
}

fn check(result: libc::c_long, call: &'static str) -> Result<libc::c_long> {
    if result == -1 {
        return Err(Error::call(call, "", io::Error::last_os_error()));
    }
    Ok(result)
}
