//! Priorities of the calling process: of the processor, and of disks.

use std::io;

use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// How the processor is shared, as the kernel's `sched_attr` has it (sched_setattr(2)).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduling {
    /// Of this struct, by which the kernel knows its version.
    pub size: u32,
    /// `SCHED_…`.
    pub policy: u32,
    /// `SCHED_FLAG_…`.
    pub flags: u64,
    /// For the policies `OTHER` and `BATCH`.
    pub nice: i32,
    /// For the policies `FIFO` and `RR`.
    pub priority: u32,
    /// For the policy `DEADLINE`, in nanoseconds, like the next two.
    pub runtime: u64,
    /// When the runtime must have been given.
    pub deadline: u64,
    /// How often.
    pub period: u64,
}

impl Default for Scheduling {
    fn default() -> Self {
        Self {
            size: size_of::<Self>() as u32,
            policy: 0,
            flags: 0,
            nice: 0,
            priority: 0,
            runtime: 0,
            deadline: 0,
            period: 0,
        }
    }
}

/// Sets how the processor is shared with this process.
pub fn set(scheduling: &Scheduling) -> Result<()> {
    // SAFETY: the struct has the kernel's layout, tells its own size, and outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(scheduling), 0) };
    if result != 0 {
        let detail = format!("policy {} nice {}", scheduling.policy, scheduling.nice);
        return Err(Error::call("sched_setattr", detail, io::Error::last_os_error()));
    }
    Ok(())
}

/// Lets this process run on the processors `numbers`, as far as its cgroup has them; on all of those without any.
pub fn set_processors(numbers: &[u32]) -> Result<()> {
    /// More than any kernel can be built for.
    const MOST: usize = 8192;
    let mut mask = [0_u64; MOST / 64];
    if numbers.is_empty() {
        mask.fill(u64::MAX);
    }
    for number in numbers.iter().map(|number| *number as usize).filter(|number| *number < MOST) {
        mask[number / 64] |= 1 << (number % 64);
    }
    // SAFETY: the kernel reads as many bytes as it is told, all of which are the mask's.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&mask), mask.as_ptr().cast()) };
    if result != 0 {
        return Err(Error::call("sched_setaffinity", format!("{numbers:?}"), io::Error::last_os_error()));
    }
    Ok(())
}

/// Priority at disks: a class (1 real time, 2 best effort, 3 idle) and a level in it, 0 the highest of 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoPriority {
    /// The class.
    pub class: u8,
    /// The level.
    pub level: u8,
}

/// Sets this process's priority at disks.
pub fn set_io_priority(priority: IoPriority) -> Result<()> {
    const WHO_PROCESS: i32 = 1;
    const CLASS_SHIFT: i32 = 13;
    let value = i32::from(priority.class) << CLASS_SHIFT | i32::from(priority.level);
    // SAFETY: plain numbers.
    if unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) } != 0 {
        let detail = format!("class {} level {}", priority.class, priority.level);
        return Err(Error::call("ioprio_set", detail, io::Error::last_os_error()));
    }
    Ok(())
}
