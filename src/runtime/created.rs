//! A container that was made, before and after its program runs.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::kernel::process::{ExitStatus, Pid, wait_pidfd};

use super::cgroup::Cgroup;
use super::error::Result;
use super::foreign::{Made, Rest};
use super::hooks;
use super::launch::{Child, number, start_at};
use super::plan::{Agent, Hook, Identity};

/// A container whose program has not been started yet. Dropping it ends it.
#[derive(Debug)]
pub struct Created {
    /// Pid of the first process, as the caller sees it.
    pub init: Pid,
    /// Master side of the terminal, with [`Streams::Terminal`].
    pub terminal: Option<OwnedFd>,
    /// The container's cgroup, where it has one of its own.
    pub cgroup: Option<Cgroup>,
    pub(super) by: Maker,
}

/// Which runtime has made a container.
#[derive(Debug)]
pub(super) enum Maker {
    /// This one; hooks are still to be run.
    Own(Child, Vec<Hook>, Identity, Option<Agent>),
    /// Another one.
    Foreign(Box<Made>),
}

/// A container, or a process in one, whose program runs.
#[derive(Debug)]
pub struct Running {
    /// Pid as the caller sees it.
    pub pid: Pid,
    /// Handle to the process, which is a child of the caller.
    pub pidfd: OwnedFd,
    /// Master side of the terminal, if there is one.
    pub terminal: Option<OwnedFd>,
    /// The container's cgroup, where it has one of its own.
    pub cgroup: Option<Cgroup>,
    /// What is to be done at the end for a container of another runtime.
    pub(super) rest: Option<Rest>,
}

impl Running {
    /// Lets another runtime, if one made the container, clear up behind it. The process has ended.
    pub fn clear_up(&mut self) {
        self.rest = None;
    }

    /// Waits for the end of the process and reaps it.
    ///
    /// # Errors
    /// When somebody else has reaped it.
    pub fn wait(&self) -> Result<ExitStatus> {
        Ok(wait_pidfd(&self.pidfd)?)
    }
}

impl Created {
    /// Handle to the first process, which is a child of the caller.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        match &self.by {
            Maker::Own(child, ..) => child.pidfd.as_ref().expect("it is taken only with the child").as_fd(),
            Maker::Foreign(made) => made.pidfd.as_fd(),
        }
    }

    /// Starts the program, and returns once it runs.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn start(self) -> Result<Running> {
        let (init, terminal, cgroup) = (self.init, self.terminal, self.cgroup);
        match self.by {
            Maker::Own(child, post_start, identity, agent) => {
                start_at(child.channel.as_fd(), number(init), &identity, agent.as_ref())?;
                hooks::run("poststart", &post_start, &identity, "running", number(init))?;
                Ok(Running { pid: init, pidfd: child.release(), terminal, cgroup, rest: None })
            }
            Maker::Foreign(made) => {
                made.start()?;
                let Made { pidfd, rest, .. } = *made;
                Ok(Running { pid: init, pidfd, terminal, cgroup, rest: Some(rest) })
            }
        }
    }

    /// Leaves the container alone, waiting at its listener.
    #[must_use]
    pub fn detach(self) -> (Pid, Option<OwnedFd>) {
        if let Maker::Own(child, ..) = self.by {
            let _ = child.release();
        }
        (self.init, self.terminal)
    }
}
