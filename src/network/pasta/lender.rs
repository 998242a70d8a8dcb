//! A process without rights that holds a namespace file for versions of pasta before 2024.
//!
//! Those give up CAP_SYS_PTRACE before they open the namespace, and the kernel lets them look
//! into `/proc/PID/fd` only of processes whose capabilities are a subset of theirs. So a fork
//! drops all of its own, and the path leads through it while pasta starts.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use crate::kernel;
use crate::kernel::cap::{self, CapabilitySet};
use crate::kernel::process::{self, Fork, Pid};
use crate::network::Result;

/// The process; dropping this ends it.
#[derive(Debug)]
pub(super) struct Lender {
    /// Its id.
    pub(super) pid: Pid,
    pidfd: OwnedFd,
    /// When this closes, the process leaves.
    channel: Option<UnixStream>,
}

impl Lender {
    /// Forks; the child has every descriptor that this process has.
    pub(super) fn start() -> Result<Self> {
        let error = |call| move |source| kernel::Error::call(call, "", source);
        let (mut channel, mut far) = UnixStream::pair().map_err(error("socketpair"))?;
        match process::fork()? {
            Fork::Child => {
                drop(channel);
                let none = CapabilitySet::EMPTY;
                if cap::set(none, none, none).is_ok() && far.write_all(b"r").is_ok() {
                    let _ = far.read(&mut [0]);
                }
                process::exit_now(0);
            }
            Fork::Parent { pid, pidfd } => {
                drop(far);
                // Only without its capabilities can others look into it.
                channel.read_exact(&mut [0]).map_err(error("read"))?;
                Ok(Self { pid, pidfd, channel: Some(channel) })
            }
        }
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        self.channel = None;
        let _ = process::wait_pidfd(&self.pidfd);
    }
}
