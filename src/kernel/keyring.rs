//! Session keyrings.

use std::ffi::CStr;
use std::io;

use super::{Error, Result};

/// Replaces the session keyring of this process: by a new, empty, anonymous
/// one, or by the one called `name`, which is made when it does not exist.
pub fn join_session(name: Option<&CStr>) -> Result<()> {
    let pointer = name.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: keyctl reads the name, a C string or null, during the call.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, pointer) };
    if result == -1 {
        return Err(Error::call("keyctl(JOIN_SESSION_KEYRING)", "", io::Error::last_os_error()));
    }
    Ok(())
}
