//! Making a container from a checkpoint. Its first process becomes a child of this one.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use super::dump::NETWORK;
use super::wire::Message;
use super::worker::{self, FIRST_EXTRA, Notice, Worker, kind};
use super::{Description, common_options, explain, field, mounts};
use crate::kernel::interface;
use crate::kernel::ns::{self, Namespace, NamespaceSet};
use crate::kernel::process::{self, Fork, Pid};
use crate::runtime::cgroup::{self, Cgroup};
use crate::runtime::created::Running;
use crate::runtime::error::{Error, Result};
use crate::runtime::launch::Host;
use crate::runtime::plan::{Membership, Plan};
use crate::runtime::streams::{Io, Streams};

/// What to restore, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// CRIU.
    pub program: PathBuf,
    /// The checkpoint.
    pub images: PathBuf,
    /// An empty directory, where the root file system is mounted for a moment.
    pub place: PathBuf,
    /// The ids of the container's root outside.
    pub owner: (u32, u32),
    /// With open TCP connections.
    pub tcp_established: bool,
    /// With TCP connections closed.
    pub tcp_close: bool,
    /// With locks of files.
    pub file_locks: bool,
}

/// Restores the container of `plan`. The caller is the host's root and has one thread.
///
/// # Errors
/// With what CRIU says; nothing is left behind then but the checkpoint.
pub fn restore(plan: &Plan, request: &Restore, io: Io, host: &mut dyn Host) -> Result<Running> {
    let cgroup = cgroup::create(plan)?;
    let mut attempt = Attempt { plan, request, cgroup, pid: None, terminal: None };
    match attempt.run(io, host) {
        Ok(pidfd) => {
            let pid = attempt.pid.expect("there is a handle to it");
            Ok(Running {
                pid,
                pidfd,
                terminal: attempt.terminal.take(),
                cgroup: attempt.cgroup.take(),
                rest: None,
            })
        }
        Err(error) => {
            attempt.undo();
            Err(explain(error, &request.images.join("restore.log")))
        }
    }
}

struct Attempt<'a> {
    plan: &'a Plan,
    request: &'a Restore,
    cgroup: Option<Cgroup>,
    pid: Option<Pid>,
    terminal: Option<OwnedFd>,
}

impl Attempt<'_> {
    fn run(&mut self, io: Io, host: &mut dyn Host) -> Result<OwnedFd> {
        let (plan, request) = (self.plan, self.request);
        let description = Description::read(&request.images)?;
        let (_images, number) = worker::open_directory(&request.images)?;
        let mut options = common_options(number, "restore.log");
        options.text(field::ROOT, &request.place.join("root").display().to_string());
        options.flag(field::RESTORE_SIBLING, true).flag(field::LINK_REMAP, true);
        options.flag(field::TCP_ESTABLISHED, request.tcp_established);
        options.flag(field::TCP_CLOSE, request.tcp_close).flag(field::FILE_LOCKS, request.file_locks);
        if plan.namespaces.network == Membership::New {
            options.number(field::EMPTY_NAMESPACES, NETWORK);
        }
        // Those of a container that was made anew are not those of the checkpoint.
        if let Some(label) = &plan.process.selinux_label {
            options.text(field::LSM_PROFILE, &format!("selinux:{label}"));
        }
        if let Some(label) = &plan.mount_label {
            options.text(field::LSM_MOUNT_CONTEXT, &label.context);
        }
        for (number, path) in description.mounts.iter().enumerate() {
            let source = request.place.join(format!("m{number}"));
            options.text(field::EXTERNAL, &format!("mnt[{}]:{}", path.display(), source.display()));
        }
        let extra = inherited(&description, io.streams, &mut options);
        let cgroup = self.cgroup.as_ref();
        let worker = Worker::start(&request.program, || {
            if let Some(cgroup) = cgroup {
                cgroup.write("cgroup.procs", "0")?;
            }
            if plan.namespaces.cgroup == Membership::New {
                ns::unshare(NamespaceSet::EMPTY.with(Namespace::Cgroup))?;
            }
            mounts::prepare(plan, &description.mounts, &request.place, request.owner)?;
            Ok(extra)
        })?;
        worker.request(kind::RESTORE, Some(&options), &mut |notice| {
            self.notice(notice, &description.mounts, host)
        })?;
        let pid = self.pid.ok_or_else(|| worker.failed("it does not tell what it has restored"))?;
        Ok(process::pidfd_open(pid)?)
    }

    fn notice(&mut self, notice: Notice, paths: &[PathBuf], host: &mut dyn Host) -> Result<()> {
        if let Some(pid) = Pid::from_raw(notice.pid).filter(|_| notice.pid > 0) {
            self.pid = Some(pid);
        }
        match (notice.point.as_str(), self.pid) {
            ("orphan-pts-master", _) => self.terminal = notice.descriptors.into_iter().next(),
            ("setup-namespaces", Some(pid)) => {
                if self.plan.namespaces.network == Membership::New {
                    bring_loopback_up(pid)?;
                }
                host.namespaces_ready(pid).map_err(Error::Host)?;
                host.before_start(pid).map_err(Error::Host)?;
            }
            ("post-restore", Some(pid)) => {
                mounts::verify(self.plan, paths, pid.as_raw_nonzero().get())?;
                host.entering(pid, self.cgroup.as_ref()).map_err(Error::Host)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends what CRIU may have left.
    fn undo(&mut self) {
        if let Some(pid) = self.pid
            && let Ok(pidfd) = process::pidfd_open(pid)
        {
            // It is a child of this process: nobody else has its number before it is reaped here.
            let _ = process::pidfd_send_signal(&pidfd, libc::SIGKILL);
            let _ = process::wait_pidfd(&pidfd);
        }
        if let Some(cgroup) = self.cgroup.take() {
            cgroup.clear();
        }
    }
}

/// The pipes of the standard streams, and what CRIU is to take them for.
fn inherited(description: &Description, streams: Streams, options: &mut Message) -> Vec<OwnedFd> {
    let Streams::Given { stdin, stdout, stderr } = streams else { return Vec::new() };
    let mut extra = Vec::new();
    for (name, stream) in description.streams.iter().zip([stdin, stdout, stderr]) {
        if !name.starts_with("pipe:[") {
            continue;
        }
        let mut entry = Message::default();
        entry.text(1, name).number(2, u64::from((FIRST_EXTRA + extra.len() as i32).unsigned_abs()));
        options.message(field::INHERIT_DESCRIPTOR, &entry);
        extra.push(stream);
    }
    extra
}

/// In the network namespace of `pid`.
fn bring_loopback_up(pid: Pid) -> Result<()> {
    let network = ns::open(pid, Namespace::Network)?;
    match process::fork()? {
        Fork::Child => {
            let done =
                ns::enter(network.as_fd(), Namespace::Network).and_then(|()| interface::bring_loopback_up());
            process::exit_now(i32::from(done.is_err()))
        }
        Fork::Parent { pidfd, .. } => match process::wait_pidfd(&pidfd)?.code() {
            0 => Ok(()),
            _ => Err(Error::invalid("network namespace", "its loopback interface cannot be brought up")),
        },
    }
}

/// Whether `directory` has a whole checkpoint.
#[must_use]
pub fn is_checkpoint(directory: &Path) -> bool {
    directory.join("inventory.img").exists()
}
