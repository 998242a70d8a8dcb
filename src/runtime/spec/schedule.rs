//! `process.scheduler` and `process.ioPriority`.

use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxSchedulerFlag, LinuxSchedulerPolicy, Scheduler,
};

use super::super::error::{Error, Result};
use crate::kernel::schedule::{IoPriority, Scheduling};

pub(super) fn scheduling(spec: &Scheduler) -> Result<Scheduling> {
    let what = "process.scheduler";
    let nice = spec.nice().unwrap_or_default();
    if !(-20..=19).contains(&nice) {
        return Err(Error::invalid(what, format!("nice {nice} is not between -20 and 19")));
    }
    let priority = spec.priority().unwrap_or_default();
    let priority = u32::try_from(priority)
        .map_err(|_| Error::invalid(what, format!("priority {priority} is negative")))?;
    Ok(Scheduling {
        policy: policy(*spec.policy()),
        flags: spec.flags().iter().flatten().fold(0, |flags, each| flags | flag(*each)),
        nice,
        priority,
        runtime: spec.runtime().unwrap_or_default(),
        deadline: spec.deadline().unwrap_or_default(),
        period: spec.period().unwrap_or_default(),
        ..Scheduling::default()
    })
}

/// The numbers of the kernel's `SCHED_…`.
const fn policy(policy: LinuxSchedulerPolicy) -> u32 {
    match policy {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    }
}

/// The bits of the kernel's `SCHED_FLAG_…`.
const fn flag(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

pub(super) fn io_priority(spec: &LinuxIOPriority) -> Result<IoPriority> {
    let level = spec.priority();
    let level = u8::try_from(level)
        .ok()
        .filter(|level| *level < 8)
        .ok_or_else(|| Error::invalid("process.ioPriority", format!("{level} is not between 0 and 7")))?;
    let class = match spec.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    Ok(IoPriority { class, level })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_the_kernel_has_no_room_for_are_refused() {
        let level = |level: i64| {
            let spec = serde_json::json!({"class": "IOPRIO_CLASS_BE", "priority": level});
            io_priority(&serde_json::from_value(spec).unwrap()).map(|priority| priority.level)
        };
        assert_eq!(level(7).unwrap(), 7);
        assert!(level(8).is_err() && level(-1).is_err());
        let mut spec = Scheduler::default();
        assert_eq!(scheduling(&spec).unwrap(), Scheduling::default());
        spec.set_nice(Some(20));
        assert!(scheduling(&spec).is_err());
    }
}
