//! rbox's init: process 1 of a container with `--init`.
//!
//! It forks the program, passes signals on, reaps orphans, and ends as the
//! program ended. It has the program's ids and capabilities, no descriptor at
//! all, and stays non-dumpable: nobody in the container can open its
//! executable or read its memory, which is a copy of the caller's.

use std::ffi::CStr;
use std::os::fd::AsFd;

use crate::kernel::process::{self, CloneOptions, ExitStatus, Fork, Pid};
use crate::kernel::signal::{self, SignalFd, SignalSet};
use crate::kernel::{self, poll, prctl};

use super::super::error::Result;
use super::super::streams::Streams;
use super::{Stage, protect};

/// What the process calls itself.
const NAME: &CStr = c"rbox-init";

/// Whether the first process of a container still is the copy of rbox that prepares itself for the program. Nothing may
/// join it: it could be at the host's root. A process that is gone prepares nothing.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn is_preparing(first: Pid) -> kernel::Result<bool> {
    let stat = match process::stat(first) {
        Ok(stat) => stat,
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ESRCH)) => return Ok(false),
        Err(error) => return Err(error),
    };
    // What has ended has no arguments any more.
    if stat.name == NAME.to_bytes() || matches!(stat.state, b'Z' | b'X') {
        return Ok(false);
    }
    // Where its executable is protected, it executes itself once before it sees anything of the image.
    Ok(!stat.has_executed || protect::is_stage(first))
}

impl Stage<'_> {
    /// Returns in the child, which goes on to the program.
    pub(super) fn fork_init(&self) -> Result<()> {
        if self.plan.is_none_or(|plan| !plan.init) {
            return Ok(());
        }
        // Before the fork, so that no signal is lost between it and the loop.
        signal::block_all()?;
        match process::clone3(CloneOptions { in_child: true, ..CloneOptions::default() })? {
            Fork::Child => {
                self.take_foreground();
                Ok(())
            }
            Fork::Parent { pid, .. } => process::exit_now(run(pid)),
        }
    }

    /// Puts the program in a foreground process group of its own: otherwise the
    /// terminal's signals would reach it directly and once more through the init.
    fn take_foreground(&self) {
        let own = rustix::process::getpid();
        // Both can fail only where there is no terminal, and then they are not needed.
        let _ = rustix::process::setpgid(None, None);
        if matches!(self.streams, Streams::Terminal { .. }) {
            let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), own);
        }
    }
}

/// The loop; returns the exit code.
fn run(program: Pid) -> i32 {
    // The program's ends of pipes are closed when the program closes them, not when we end.
    let _ = process::close_range(0, u32::MAX);
    let _ = prctl::set_name(NAME);
    // The copied command line names paths of the host.
    let _ = prctl::set_command_line(NAME.to_bytes());
    let Ok(signals) = SignalFd::new(&SignalSet::all()) else { return 125 };
    loop {
        if let Some(status) = reap(program) {
            return status.code();
        }
        if poll::readable(signals.as_fd(), None).is_err() {
            return 125;
        }
        while let Ok(Some(received)) = signals.read() {
            if received.signal != libc::SIGCHLD {
                forward(program, received.signal);
            }
        }
    }
}

/// Reaps every child that has ended; the program's status, if it was among them.
fn reap(program: Pid) -> Option<ExitStatus> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = process::wait_any(false) {
        if pid == program {
            ended = Some(status);
        }
    }
    ended
}

fn forward(program: Pid, signal: i32) {
    // The program is a child that has not been reaped, so its pid is its own.
    let _ = process::pidfd_open(program).and_then(|pidfd| process::pidfd_send_signal(pidfd, signal));
}
