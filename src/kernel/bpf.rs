//! Programs of the kernel's machine (eBPF) that decide which devices the processes of a cgroup may use.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use super::{Error, Result};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const AT_CGROUP_DEVICE: u32 = 6;
/// Those of the cgroups above are asked as well.
const ALLOW_MULTI: u32 = 2;

/// One instruction, `bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What it does.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high ones.
    pub registers: u8,
    /// Distance of a jump or of an operand in memory.
    pub offset: i16,
    /// The number that it works with.
    pub immediate: i32,
}

#[repr(C)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Attaches `program` to a cgroup: from now on it is asked for each use of a device by its processes.
///
/// # Errors
/// `EPERM` in any user namespace but the first; when the kernel cannot prove that the program ends.
pub fn attach_to_cgroup(program: &[Instruction], cgroup: impl AsFd) -> Result<()> {
    let license = c"GPL";
    let count = u32::try_from(program.len()).map_err(|_| fail("BPF_PROG_LOAD", libc::E2BIG))?;
    let load = LoadAttributes {
        kind: TYPE_CGROUP_DEVICE,
        count,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the attributes have the layout of the head of `union bpf_attr`; what they point to outlives the call.
    let loaded = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of_val(&load)) };
    if loaded < 0 {
        return Err(Error::call("bpf", "BPF_PROG_LOAD", io::Error::last_os_error()));
    }
    // SAFETY: the call has returned a new descriptor, which nobody else owns.
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded as libc::c_int) };
    let attach = AttachAttributes {
        target: cgroup.as_fd().as_raw_fd() as u32,
        program: loaded.as_raw_fd() as u32,
        kind: AT_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: as above; both descriptors are open.
    let attached =
        unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attach, size_of_val(&attach)) };
    if attached < 0 {
        return Err(Error::call("bpf", "BPF_PROG_ATTACH", io::Error::last_os_error()));
    }
    Ok(())
}

fn fail(what: &str, errno: i32) -> Error {
    Error::call("bpf", what, io::Error::from_raw_os_error(errno))
}
