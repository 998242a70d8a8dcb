//! Making a container: the side of the process that stays outside.

use std::os::fd::OwnedFd;

use crate::kernel::process::{ExitStatus, Pid, wait_pidfd};

use super::error::{Error, HostError, Result};
use super::plan::{Plan, Process};

/// Standard streams of a process in a container.
#[derive(Debug)]
pub enum Streams {
    /// The caller's own.
    Inherit,
    /// These three.
    Given {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A terminal made inside the container; its master comes back in
    /// [`Created::terminal`].
    Terminal {
        /// Columns and rows at the start.
        size: Option<(u16, u16)>,
    },
}

/// Descriptors of a process in a container.
#[derive(Debug)]
pub struct Io {
    /// Descriptors 0 to 2.
    pub streams: Streams,
    /// Descriptors 3 and following, in this order. Nothing else is passed on.
    pub extra: Vec<OwnedFd>,
}

/// What the caller does for a container while it is being made.
pub trait Host {
    /// The namespaces of `init` exist and its maps are written. Start what
    /// takes long (pasta) here; do not wait for it.
    ///
    /// # Errors
    /// Ends the creation.
    fn namespaces_ready(&mut self, init: Pid) -> Result<(), HostError> {
        let _ = init;
        Ok(())
    }

    /// The root file system is ready; the child enters it when this returns.
    /// Wait here for what was started.
    ///
    /// # Errors
    /// Ends the creation.
    fn before_start(&mut self, init: Pid) -> Result<(), HostError> {
        let _ = init;
        Ok(())
    }
}

/// A caller with nothing to prepare.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoHost;

impl Host for NoHost {}

/// A container whose program has not been started yet. Dropping it ends it.
#[derive(Debug)]
pub struct Created {
    /// Pid of the first process, as the caller sees it.
    pub init: Pid,
    /// Handle to that process, which is a child of the caller.
    pub pidfd: OwnedFd,
    /// Master side of the terminal, with [`Streams::Terminal`].
    pub terminal: Option<OwnedFd>,
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
}

/// A further process in a running container.
#[derive(Debug)]
pub struct ExecPlan {
    /// Handle to the container's first process.
    pub target: OwnedFd,
    /// Pid of the container's first process.
    pub target_pid: Pid,
    /// What to run.
    pub process: Process,
}

/// Makes the container that `plan` describes, up to the point where its
/// program can be started.
///
/// The caller must have one thread. It stays the parent of the container's
/// first process and reaps it.
///
/// # Errors
/// When any step fails; nothing is left behind then.
pub fn create(plan: &Plan, io: Io, host: &mut dyn Host) -> Result<Created> {
    let _ = (plan, io, host);
    Err(Error::unsupported("creating containers"))
}

impl Created {
    /// Starts the program, and returns once it runs.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn start(self) -> Result<Running> {
        Err(Error::unsupported("starting containers"))
    }
}

impl Running {
    /// Waits for the end of the process and reaps it.
    ///
    /// # Errors
    /// When somebody else has reaped it.
    pub fn wait(&self) -> Result<ExitStatus> {
        Ok(wait_pidfd(&self.pidfd)?)
    }
}

/// Runs a further process in a running container, and returns once it runs.
///
/// # Errors
/// When the container is gone or the program cannot be run.
pub fn exec(plan: &ExecPlan, io: Io) -> Result<Running> {
    let _ = (plan, io);
    Err(Error::unsupported("processes in running containers"))
}
