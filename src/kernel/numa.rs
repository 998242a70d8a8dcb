//! On which memory nodes the calling process allocates.

use std::io;

use super::{Error, Result};

/// Sets the policy for memory that this process allocates from now on; children and programs that it executes inherit
/// it. `mode` is one of the kernel's `MPOL_…` with its flags; `nodes` has one bit a node, the lowest first.
///
/// # Errors
/// When the kernel has no such mode, or takes these nodes or flags not with it.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<()> {
    let (mask, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        // The kernel reads one bit less than it is told.
        words => (words.as_ptr(), words.len() * 64 + 1),
    };
    // SAFETY: the mask is an array of at least that many bits, or none; the kernel only reads it.
    if unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) } != 0 {
        return Err(Error::call("set_mempolicy", format!("mode {mode:#x}"), io::Error::last_os_error()));
    }
    Ok(())
}
