//! A CRIU process that serves requests of this one over a socket (`criu swrk`).
//!
//! It is a child of this process, so that a restored container becomes one as well: CRIU makes it as its sibling. Requests
//! and answers are `criu_req` and `criu_resp` of CRIU's `images/rpc.proto`, one a packet; while a request is at work
//! CRIU sends notices, each of which waits for its answer.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};

use super::wire::{Fields, Message};
use crate::kernel::process::{self, Fork};
use crate::kernel::signal::{self, SignalSet};
use crate::kernel::{self, socket};
use crate::runtime::error::{Error, Result};
use crate::runtime::protocol;
use crate::runtime::steps::Step;

/// Descriptor of the socket in CRIU.
const SOCKET: RawFd = 3;
/// The first descriptor beside it.
pub(super) const FIRST_EXTRA: RawFd = 10;
/// The longest packet; CRIU's own buffers are shorter.
const MAX_PACKET: usize = 64 << 10;
/// What CRIU calls: ip, tar, iptables.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Kinds of requests (`criu_req_type`).
pub(super) mod kind {
    pub(in crate::runtime::criu) const DUMP: u64 = 1;
    pub(in crate::runtime::criu) const RESTORE: u64 = 2;
    pub(super) const NOTIFY: u64 = 6;
    pub(in crate::runtime::criu) const SINGLE_PRE_DUMP: u64 = 13;
}

/// What CRIU tells while it is at work.
#[derive(Debug)]
pub(super) struct Notice {
    /// The point that is reached.
    pub(super) point: String,
    /// The first process of the container.
    pub(super) pid: i32,
    /// Descriptors that came along.
    pub(super) descriptors: Vec<OwnedFd>,
}

/// A CRIU process; dropping it ends and reaps it.
#[derive(Debug)]
pub(super) struct Worker {
    socket: Option<OwnedFd>,
    pidfd: OwnedFd,
    program: PathBuf,
}

impl Worker {
    /// Starts CRIU. `prepare` runs in the new process before and gives the descriptors that CRIU finds from
    /// [`FIRST_EXTRA`] on. This process has one thread.
    pub(super) fn start(program: &Path, prepare: impl FnOnce() -> Result<Vec<OwnedFd>>) -> Result<Self> {
        let (ours, theirs) = socket::packet_pair()?;
        let (channel, far_end) = socket::pair()?;
        match process::fork()? {
            Fork::Child => {
                drop((ours, channel));
                let error = prepare().and_then(|extra| execute(program, &theirs, extra, &far_end));
                if let Err(error) = error {
                    protocol::send_failure(far_end.as_fd(), Step::Execute, &error);
                }
                process::exit_now(127)
            }
            Fork::Parent { pidfd, .. } => {
                drop((theirs, far_end));
                let worker = Self { socket: Some(ours), pidfd, program: program.to_owned() };
                match protocol::receive(channel.as_fd())? {
                    None => Ok(worker),
                    Some(report) => Err(report.error.unwrap_or_else(|| worker.failed("it did not start"))),
                }
            }
        }
    }

    /// Sends a request and gives its answer; `notify` answers what comes in between.
    pub(super) fn request(
        &self,
        kind: u64,
        options: Option<&Message>,
        notify: &mut dyn FnMut(Notice) -> Result<()>,
    ) -> Result<Vec<u8>> {
        let mut request = Message::default();
        request.number(1, kind);
        if let Some(options) = options {
            request.message(2, options);
        }
        self.send(&request)?;
        loop {
            let (packet, descriptors) = self.receive()?;
            let answer = Fields(&packet);
            if answer.number(1) != Some(kind::NOTIFY) {
                if answer.number(2) != Some(1) {
                    return Err(self.failed(&answer.text(9).unwrap_or_default()));
                }
                return Ok(packet);
            }
            let notice = answer.message(5).unwrap_or(Fields(&[]));
            let told = notify(Notice {
                point: notice.text(1).unwrap_or_default(),
                pid: notice.number(2).and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0),
                descriptors,
            });
            let mut reply = Message::default();
            reply.number(1, kind::NOTIFY).flag(3, told.is_ok());
            self.send(&reply)?;
            told?;
        }
    }

    pub(super) fn failed(&self, what: &str) -> Error {
        let what = if what.is_empty() { "it failed" } else { what };
        Error::Foreign { program: self.program.clone(), what: what.to_owned() }
    }

    fn socket(&self) -> &OwnedFd {
        self.socket.as_ref().expect("it is taken only when the worker is dropped")
    }

    fn send(&self, message: &Message) -> Result<()> {
        Ok(socket::send_with_fds(self.socket().as_fd(), message.as_bytes(), &[])?)
    }

    fn receive(&self) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
        let mut packet = vec![0; MAX_PACKET];
        let (length, descriptors) = socket::recv_with_fds(self.socket().as_fd(), &mut packet)?;
        if length == 0 {
            return Err(self.failed("it ended without an answer"));
        }
        packet.truncate(length);
        Ok((packet, descriptors))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Without its client it ends by itself, after it has undone what was half done.
        self.socket = None;
        let _ = process::wait_pidfd(&self.pidfd);
    }
}

/// In the new process: becomes CRIU. Returns only on failure.
fn execute(program: &Path, socket: &OwnedFd, extra: Vec<OwnedFd>, report: &OwnedFd) -> Result<()> {
    signal::reset_dispositions();
    signal::set_mask(&SignalSet::empty())?;
    let first_free = FIRST_EXTRA + i32::try_from(extra.len()).unwrap_or(i32::MAX - FIRST_EXTRA);
    // Above all targets first, since these may be sources.
    let above = |fd: &OwnedFd| {
        rustix::io::fcntl_dupfd_cloexec(fd, first_free)
            .map_err(|errno| kernel::Error::call("fcntl", "", errno))
    };
    let (socket, _report) = (above(socket)?, above(report)?);
    for (number, descriptor) in (FIRST_EXTRA..).zip(&extra) {
        process::duplicate_to(above(descriptor)?, number)?;
    }
    process::duplicate_to(&socket, SOCKET)?;
    let mut command = Command::new(program);
    command.args(["swrk", &SOCKET.to_string()]).env_clear().env("PATH", PATH).current_dir("/");
    let source = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).exec();
    Err(kernel::Error::path("exec", program, source).into())
}

/// A directory that CRIU reaches by the number that it has here.
pub(super) fn open_directory(path: &Path) -> Result<(OwnedFd, u64)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| kernel::Error::path("open", path, errno))?;
    let number = fd.as_raw_fd();
    Ok((fd, u64::from(number.unsigned_abs())))
}
