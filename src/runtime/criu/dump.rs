//! Writing the processes of a container to disk.

use std::path::Path;

use super::worker::{self, Worker, kind};
use super::{Description, VERSION, common_options, explain, field, mounts};
use crate::kernel;
use crate::kernel::process::Pid;
use crate::runtime::error::{Error, Result};
use crate::runtime::plan::{Membership, Plan};

/// `CLONE_NEWNET`.
pub(super) const NETWORK: u64 = libc::CLONE_NEWNET as u64;

/// What to write, and how.
#[derive(Debug, Clone, Copy)]
pub struct Dump<'a> {
    /// CRIU.
    pub program: &'a Path,
    /// The first process.
    pub pid: Pid,
    /// An empty directory.
    pub images: &'a Path,
    /// The container goes on afterwards.
    pub leave_running: bool,
    /// Memory only, as a first part of a checkpoint that follows; the container goes on.
    pub memory_only: bool,
    /// Where the first part is, relative to `images`.
    pub previous: Option<&'a str>,
    /// With open TCP connections.
    pub tcp_established: bool,
    /// With locks of files.
    pub file_locks: bool,
}

/// Writes the container of `plan`. It has ended then, unless it is to go on.
///
/// # Errors
/// With what CRIU says; the container goes on.
pub fn dump(plan: &Plan, request: &Dump<'_>) -> Result<()> {
    let pid = request.pid.as_raw_nonzero().get();
    refuse(plan)?;
    let description =
        Description { version: VERSION, mounts: mounts::find(plan, pid)?, streams: streams_of(pid)? };
    description.write(request.images)?;
    let (_images, number) = worker::open_directory(request.images)?;
    let mut options = common_options(number, "dump.log");
    options.number(field::PID, u64::from(pid.unsigned_abs()));
    options.flag(field::LEAVE_RUNNING, request.leave_running).text(field::ROOT, "/");
    options.flag(field::TCP_ESTABLISHED, request.tcp_established);
    options.flag(field::FILE_LOCKS, request.file_locks).flag(field::LINK_REMAP, true);
    if request.memory_only || request.previous.is_some() {
        options.flag(field::TRACK_MEMORY, true);
    }
    if let Some(previous) = request.previous {
        options.text(field::PARENT, previous);
    }
    if plan.namespaces.network == Membership::New {
        // What is in it is made by whoever connects the container again.
        options.number(field::EMPTY_NAMESPACES, NETWORK);
    }
    for path in &description.mounts {
        options.text(field::EXTERNAL, &format!("mnt[{0}]:{0}", path.display()));
    }
    let worker = Worker::start(request.program, || Ok(Vec::new()))?;
    let kind = if request.memory_only { kind::SINGLE_PRE_DUMP } else { kind::DUMP };
    let answer = worker.request(kind, Some(&options), &mut |_| Ok(()));
    answer.map(drop).map_err(|error| explain(error, &request.images.join("dump.log")))
}

/// What nobody could restore.
fn refuse(plan: &Plan) -> Result<()> {
    let namespaces = &plan.namespaces;
    let joins = [&namespaces.pid, &namespaces.network, &namespaces.uts, &namespaces.ipc, &namespaces.cgroup]
        .into_iter()
        .any(|membership| matches!(membership, Membership::Join(_)));
    if joins {
        return Err(Error::unsupported("a checkpoint of a container in namespaces of another one"));
    }
    if namespaces.pid == Membership::Host {
        return Err(Error::unsupported("a checkpoint of a container without a pid namespace of its own"));
    }
    if plan.init {
        // Its first process runs a file that no mount of the container shows.
        return Err(Error::unsupported("a checkpoint of a container with --init"));
    }
    Ok(())
}

/// What descriptors 0 to 2 are, as `/proc` has it.
fn streams_of(pid: i32) -> Result<[String; 3]> {
    let mut streams = [String::new(), String::new(), String::new()];
    for (number, stream) in streams.iter_mut().enumerate() {
        let path = format!("/proc/{pid}/fd/{number}");
        match std::fs::read_link(&path) {
            Ok(target) => *stream = target.to_string_lossy().into_owned(),
            // The container may have closed it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(kernel::Error::path("readlink", path, source).into()),
        }
    }
    Ok(streams)
}
