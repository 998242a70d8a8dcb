//! A further process in a running container.
//!
//! A process in between enters the container's namespaces by the pidfd of its
//! first process, the user namespace before all others (it gives the right to
//! enter them), and clones the child beside itself into the pid namespace.
//! The caller may be inside or outside of the user's namespace: in both it is
//! the owner of what lies below.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use crate::kernel::idmap::{IdMaps, IdRange};
use crate::kernel::ns::{self, Namespace, NamespaceSet};
use crate::kernel::process::{CloneOptions, Pid};
use crate::kernel::{self, keyring, prctl, schedule, socket};

use super::agent::Connection;
use super::cgroup::{self, ExecCgroup};
use super::created::Running;
use super::error::{Error, Result};
use super::launch;
use super::network_devices::NetworkDevices;
use super::plan::{Identity, Process, Processors};
use super::stage::{self, Protection, Setup, StartSignal, Trees};
use super::streams::{self, Io};

/// How long the kernel may take from the moment that a process loses its namespaces to the one in which its end is told.
const LONGEST_END: Duration = Duration::from_millis(100);

/// A process in a running container is described by this much.
#[derive(Debug)]
pub struct ExecPlan {
    /// Handle to the container's first process.
    pub target: OwnedFd,
    /// Pid of the container's first process.
    pub target_pid: Pid,
    /// What to run.
    pub process: Process,
    /// The SELinux label of pipes that are made for it.
    pub mount_label: Option<String>,
    /// What the agent is told about the container, if the process has one.
    pub identity: Identity,
    /// In which cgroup the process starts.
    pub cgroup: ExecCgroup,
    /// The container was restored: its cgroup namespace belongs to the host's user namespace.
    pub restored: bool,
}

/// Runs a further process in a running container, and returns once it runs.
///
/// # Errors
/// When the container is gone or the program cannot be run.
pub fn exec(plan: &ExecPlan, io: Io) -> Result<Running> {
    enter_and_run(plan, io).map_err(|error| match error {
        // Namespaces without their first process fail with ENOMEM, EPERM, ESRCH: whatever it looks like, this is why.
        Error::Kernel(_) | Error::Step { .. } | Error::ChildDied { .. } | Error::Invalid { .. }
            if kernel::poll::readable(plan.target.as_fd(), Some(LONGEST_END)).unwrap_or(false) =>
        {
            Error::ChildDied { how: "the container is gone".to_owned() }
        }
        other => other,
    })
}

fn enter_and_run(plan: &ExecPlan, io: Io) -> Result<Running> {
    let kinds = foreign_namespaces(plan.target_pid)?;
    let maps = maps_of(plan.target_pid)?;
    let needed = stage::is_needed(Some(&maps));
    streams::open(&io.streams, Some(&maps), &plan.process, plan.mount_label.as_deref());
    let cgroup = cgroup::for_exec(plan.target_pid, &plan.cgroup)?;
    let agent = Connection::open(plan.process.agent())?;
    let _ = keyring::join_shared_session(launch::SHARED_KEYRING);
    let (channel, far_end) = socket::pair()?;
    let setup = Setup {
        plan: None,
        process: plan.process.clone(),
        channel: far_end,
        start: StartSignal::None,
        streams: io.streams,
        extra: io.extra,
        maps: Some(maps),
        trees: Trees::default(),
        procfs: stage::label_files(&plan.process)?,
        protection: Protection::Unneeded,
        cgroup_namespace: None,
        devices: NetworkDevices::default(),
    };
    if let Processors::Given { first, .. } = &plan.process.processors
        && !first.is_empty()
    {
        // Inherited by the process, from before it is in the container's cgroup.
        schedule::set_processors(first)?;
    }
    let own = cgroup.as_ref().map(std::os::fd::AsFd::as_fd);
    let options = CloneOptions { cgroup: own.filter(|_| !plan.restored), ..CloneOptions::default() };
    let child = launch::clone_beside(options, channel, setup, |setup| {
        if plan.restored {
            cgroup.as_ref().map_or(Ok(()), cgroup::join)?;
        }
        enter(plan, kinds, needed, setup)
    })?;
    launch::finish_exec(child, plan, agent.as_ref())
}

/// In the process in between.
fn enter(plan: &ExecPlan, kinds: NamespaceSet, protect: bool, setup: &mut Setup<'_>) -> Result<()> {
    // From the pid namespace of the container on, its processes see this one and the child.
    prctl::set_dumpable(false)?;
    // One that is not the container's can be joined only by whoever is its owner outside, so both at once.
    let at_once = kinds.contains(Namespace::Cgroup) && plan.restored;
    if kinds.contains(Namespace::User) {
        let user = NamespaceSet::EMPTY.with(Namespace::User);
        ns::enter_process(&plan.target, if at_once { user.with(Namespace::Cgroup) } else { user })?;
    }
    if protect {
        // Copying a mount takes rights over the mount namespace that it is in.
        ns::unshare(NamespaceSet::EMPTY.with(Namespace::Mount))?;
        setup.protection = Protection::Made(stage::read_only_executable()?);
    }
    if kinds.contains(Namespace::Cgroup) && !at_once {
        let target = plan.target.try_clone().map_err(|source| kernel::Error::call("dup", "", source))?;
        setup.cgroup_namespace = Some(target);
    }
    let rest = kinds.without(Namespace::User).without(Namespace::Cgroup);
    if !rest.is_empty() {
        ns::enter_process(&plan.target, rest)?;
    }
    Ok(())
}

/// The kinds in which the container differs from this process: entering one's own user
/// namespace again is an error.
fn foreign_namespaces(target: Pid) -> Result<NamespaceSet> {
    let own = rustix::process::getpid();
    let mut foreign = NamespaceSet::EMPTY;
    for kind in Namespace::ALL {
        if ns::name_of(target, kind)? != ns::name_of(own, kind)? {
            foreign = foreign.with(kind);
        }
    }
    Ok(foreign)
}

/// The maps of the container's user namespace, with outside ids as this process sees them.
fn maps_of(target: Pid) -> Result<IdMaps> {
    let read = |name: &str| {
        let path = format!("/proc/{}/{name}", target.as_raw_nonzero());
        let text = kernel::file::read_small(Path::new(&path))?;
        let text = String::from_utf8_lossy(&text);
        Ok::<_, Error>(text.lines().filter_map(parse_line).collect::<Vec<_>>())
    };
    Ok(IdMaps { uid: read("uid_map")?, gid: read("gid_map")? })
}

fn parse_line(line: &str) -> Option<IdRange> {
    let mut fields = line.split_ascii_whitespace().map(str::parse);
    let mut next = || fields.next()?.ok();
    Some(IdRange { inside: next()?, outside: next()?, count: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps_are_read() {
        let range = parse_line("         0       1001          1").unwrap();
        assert_eq!((range.inside, range.outside, range.count), (0, 1001, 1));
        assert!(parse_line("0 1").is_none() && parse_line("").is_none());
    }
}
