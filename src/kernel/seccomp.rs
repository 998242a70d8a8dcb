//! Loading a seccomp filter.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use super::{Error, Result};

/// One instruction of a classic BPF program, laid out as the kernel's `sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// How many instructions to skip where a condition holds.
    pub jump_true: u8,
    /// How many instructions to skip where it does not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

/// Log what the filter refuses.
pub const FLAG_LOG: u64 = libc::SECCOMP_FILTER_FLAG_LOG as u64;
/// Do not turn on speculative store bypass mitigation.
pub const FLAG_SPEC_ALLOW: u64 = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u64;
/// Apply to all threads.
pub const FLAG_TSYNC: u64 = libc::SECCOMP_FILTER_FLAG_TSYNC as u64;
/// Return a descriptor on which `SCMP_ACT_NOTIFY` calls are reported.
pub const FLAG_NEW_LISTENER: u64 = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u64;
/// A notifying call can only be interrupted by fatal signals.
pub const FLAG_WAIT_KILLABLE_RECV: u64 = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as u64;

/// Puts this process under `program` for good. Needs no_new_privs or
/// `CAP_SYS_ADMIN` in its user namespace.
pub fn load(program: &[Instruction], flags: u64) -> Result<Option<OwnedFd>> {
    let length = u16::try_from(program.len())
        .map_err(|_| Error::call("seccomp", "", io::Error::from_raw_os_error(libc::EINVAL)))?;
    let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: Instruction has sock_filter's layout; the kernel copies the
    // program during the call and does not write to it.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter) };
    match result {
        -1 => Err(Error::call("seccomp", "", io::Error::last_os_error())),
        // SAFETY: with NEW_LISTENER a positive result is a new descriptor that nobody else owns.
        fd if flags & FLAG_NEW_LISTENER != 0 => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
        _ => Ok(None),
    }
}
