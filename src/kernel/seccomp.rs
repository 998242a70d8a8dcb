//! Loading a seccomp filter.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use super::{Error, Result};

/// One instruction of a classic BPF program, laid out as the kernel's `sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "u64", from = "u64")]
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

/// One number an instruction, in the order of the fields: programs are written down often.
impl From<Instruction> for u64 {
    fn from(instruction: Instruction) -> Self {
        let Instruction { code, jump_true, jump_false, operand } = instruction;
        Self::from(code) << 48
            | Self::from(jump_true) << 40
            | Self::from(jump_false) << 32
            | Self::from(operand)
    }
}

impl From<u64> for Instruction {
    fn from(number: u64) -> Self {
        let [a, b, jump_true, jump_false, operand @ ..] = number.to_be_bytes();
        Self { code: u16::from_be_bytes([a, b]), jump_true, jump_false, operand: u32::from_be_bytes(operand) }
    }
}

/// Log what the filter refuses.
pub const FLAG_LOG: u64 = libc::SECCOMP_FILTER_FLAG_LOG;
/// Do not turn on speculative store bypass mitigation.
pub const FLAG_SPEC_ALLOW: u64 = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
/// Apply to all threads.
pub const FLAG_TSYNC: u64 = libc::SECCOMP_FILTER_FLAG_TSYNC;
/// Return a descriptor on which `SCMP_ACT_NOTIFY` calls are reported.
pub const FLAG_NEW_LISTENER: u64 = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
/// A notifying call can only be interrupted by fatal signals.
pub const FLAG_WAIT_KILLABLE_RECV: u64 = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_survive_as_numbers() {
        let instruction = Instruction { code: 0x15, jump_true: 1, jump_false: 254, operand: 0xc000_003e };
        assert_eq!(Instruction::from(u64::from(instruction)), instruction);
    }
}
