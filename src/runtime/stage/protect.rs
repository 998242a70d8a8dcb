//! Protection of the rbox executable (CVE-2019-5736).
//!
//! Until its exec, the child runs rbox's own executable. An image whose program
//! is `/proc/self/exe`, by a link or a `#!` line, would make the kernel run that
//! file inside the container, and code there could open it again for writing:
//! in a rootless container root *is* the caller, who owns her binary unless an
//! administrator installed it. (Other processes of the container cannot reach it:
//! the child is not dumpable.)
//!
//! So where the container's ids could write the file, the child first executes
//! it once more from a detached, read-only copy of its mount. That copy is all
//! that /proc/self/exe leads to from then on, and it belongs to no mount
//! namespace any more, so nobody can change its flags. This costs one exec of a
//! static binary; a copy into a sealed memfd, the fall-back, costs
//! ten times as much.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};

use crate::kernel::cap;
use crate::kernel::idmap::{IdMaps, to_inside};
use crate::kernel::mount::{self, Attributes};
use crate::kernel::process::{CStringArray, Pid, execveat, exit_now};
use crate::kernel::{self, prctl};

use super::super::error::{Error, Result};
use super::super::network_devices::NetworkDevices;
use super::super::plan::{Plan, Process};
use super::super::steps::Step;
use super::super::streams::Streams;
use super::rootfs::c_bytes;
use super::trees::{Place, Trees};
use super::{Setup, Stage, StartSignal};

/// The name under which rbox runs as the stage of a container.
const STAGE_NAME: &str = "rbox-stage";

/// The overflow id: how a file looks whose owner has no id here.
const OVERFLOW_ID: u32 = 65534;

/// Whether and how the executable is protected.
#[derive(Debug)]
pub(in crate::runtime) enum Protection {
    /// The container's ids cannot write it.
    Unneeded,
    /// By a copy of its mount, made in the mount namespace of this process.
    Make,
    /// By this copy.
    Made(OwnedFd),
}

/// Whether an id of a container with `maps` may write, or may make writable, the file that runs now.
/// `maps` lead to the ids that this process sees.
pub(in crate::runtime) fn is_needed(maps: Option<&IdMaps>) -> bool {
    let Ok(stat) = rustix::fs::stat(c"/proc/self/exe") else { return true };
    // In H, the host's root looks like the overflow id; then only the permissions tell.
    let known = |id: u32| id != OVERFLOW_ID;
    let owned = maps.is_none_or(|maps| known(stat.st_uid) && to_inside(&maps.uid, stat.st_uid).is_some());
    owned || rustix::fs::accessat(CWD, c"/proc/self/exe", Access::WRITE_OK, AtFlags::empty()).is_ok()
}

/// A handle to the running executable that nobody can write through.
pub(in crate::runtime) fn read_only_executable() -> Result<OwnedFd> {
    match clone_of_mount() {
        Ok(tree) => Ok(tree),
        Err(_) => sealed_copy(),
    }
}

fn clone_of_mount() -> Result<OwnedFd> {
    // The link leads to the mount of another namespace, which cannot be cloned: the same file is
    // looked up in this one.
    let fail =
        |call| move |errno| Error::from(kernel::Error::path(call, "/proc/self/exe", io::Error::from(errno)));
    let running = rustix::fs::stat(c"/proc/self/exe").map_err(fail("stat"))?;
    let path = rustix::fs::readlink(c"/proc/self/exe", Vec::new()).map_err(fail("readlink"))?;
    let file =
        rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(fail("open"))?;
    let found = rustix::fs::fstat(&file).map_err(fail("fstat"))?;
    if (found.st_dev, found.st_ino) != (running.st_dev, running.st_ino) {
        return Err(fail("find")(rustix::io::Errno::STALE));
    }
    let tree = mount::clone_tree(&file, c"", false)?;
    mount::set_attributes(
        &tree,
        false,
        Attributes::setting(mount::READ_ONLY | mount::NO_SUID | mount::NO_DEV),
    )?;
    // Not the tree itself: until its last handle is closed, which an exec does only after the new
    // program can be seen, a privileged container could make it writable again.
    Ok(mount::reopen(&tree)?)
}

fn sealed_copy() -> Result<OwnedFd> {
    let fail = |call| move |error: io::Error| Error::from(kernel::Error::path(call, "/proc/self/exe", error));
    let mut source = File::open("/proc/self/exe").map_err(fail("open"))?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Since Linux 6.3 a memfd must say whether it is for programs; before that the flag is unknown.
    let copy = rustix::fs::memfd_create(c"rbox", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create(c"rbox", flags))
        .map_err(|errno| fail("memfd_create")(errno.into()))?;
    let mut copy = File::from(copy);
    io::copy(&mut source, &mut copy).map_err(fail("copy"))?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).map_err(|errno| fail("seal")(errno.into()))?;
    Ok(copy.into())
}

/// What a stage takes along through its own exec. Descriptors are numbers: they stay open.
#[derive(Debug, Serialize, Deserialize)]
struct Luggage {
    plan: Option<Plan>,
    process: Process,
    channel: RawFd,
    listener: Option<RawFd>,
    wait_on_channel: bool,
    terminal: bool,
    terminal_size: Option<(u16, u16)>,
    extra: Vec<RawFd>,
    trees: Vec<(Place, RawFd)>,
    devices: NetworkDevices,
    procfs: Option<RawFd>,
    maps: Option<IdMaps>,
    outer_pid: u32,
}

impl Stage<'_> {
    pub(super) fn protect_executable(&mut self) -> Result<()> {
        let executable = match std::mem::replace(&mut self.protection, Protection::Unneeded) {
            Protection::Unneeded => return Ok(()),
            Protection::Make => read_only_executable()?,
            Protection::Made(executable) => executable,
        };
        let luggage = self.pack()?;
        keep_capabilities()?;
        let arguments = [STAGE_NAME.to_owned(), luggage.as_raw_fd().to_string()];
        let arguments =
            arguments.into_iter().map(|text| c_bytes(text.into_bytes())).collect::<Result<_>>()?;
        let error = execveat(&executable, &CStringArray::new(arguments), &CStringArray::new(Vec::new()));
        Err(kernel::Error::call("execveat", "", error).into())
    }

    /// Writes everything down and lets the descriptors pass the exec.
    fn pack(&self) -> Result<OwnedFd> {
        let listener = match &self.start {
            StartSignal::Listener(listener) => Some(pass(listener)?),
            StartSignal::Channel | StartSignal::None => None,
        };
        let luggage = Luggage {
            plan: self.plan.cloned(),
            process: self.process.clone(),
            channel: pass(&self.channel)?,
            listener,
            wait_on_channel: matches!(self.start, StartSignal::Channel),
            terminal: matches!(self.streams, Streams::Terminal { .. }),
            terminal_size: match self.streams {
                Streams::Terminal { size } => size,
                Streams::Inherit | Streams::Given { .. } => None,
            },
            extra: self.kept.clone(),
            trees: self.trees.pack(pass)?,
            devices: self.devices.clone(),
            procfs: self.procfs.as_ref().map(pass).transpose()?,
            maps: self.maps.clone(),
            outer_pid: self.outer_pid,
        };
        let text = serde_json::to_vec(&luggage).map_err(|error| Error::invalid("plan", error.to_string()))?;
        let file = rustix::fs::memfd_create(c"rbox-plan", MemfdFlags::empty())
            .map_err(|errno| kernel::Error::call("memfd_create", "", errno))?;
        let mut file = File::from(file);
        io::Write::write_all(&mut file, &text)
            .and_then(|()| io::Seek::rewind(&mut file))
            .map_err(|error| kernel::Error::call("write", "memfd", error))?;
        Ok(file.into())
    }
}

/// Lets a descriptor pass the exec.
fn pass(descriptor: &OwnedFd) -> Result<RawFd> {
    rustix::io::fcntl_setfd(descriptor, FdFlags::empty())
        .map_err(|errno| kernel::Error::call("fcntl(F_SETFD)", "", errno))?;
    Ok(descriptor.as_raw_fd())
}

/// An exec gives all capabilities to root; to a container without an id 0 only ambient ones stay.
fn keep_capabilities() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (_, permitted) = cap::current()?;
    cap::set(permitted, permitted, permitted)?;
    Ok(cap::set_ambient(permitted)?)
}

/// Whether `pid`, which has executed something and runs, goes on as the stage of a container. A program of that name is
/// taken for one as well: nobody can join a container that calls itself so.
pub(super) fn is_stage(pid: Pid) -> bool {
    let arguments = kernel::file::read_small(Path::new(&format!("/proc/{}/cmdline", pid.as_raw_nonzero())));
    arguments.is_ok_and(|text| may_name_stage(&text))
}

/// Whether these are the arguments of a stage, or may become that: an exec shows the process as one that has executed
/// (`begin_new_exec`) before it has written the new arguments (`create_elf_tables`), and until then there are none.
fn may_name_stage(arguments: &[u8]) -> bool {
    arguments.is_empty() || arguments.split(|&byte| byte == 0).next() == Some(STAGE_NAME.as_bytes())
}

/// Goes on as the stage of a container if this process was started as one. To be called first
/// in `main`; returns at once in any other process.
pub fn resume() {
    let mut arguments = std::env::args_os();
    if arguments.next().is_none_or(|name| name != STAGE_NAME) {
        return;
    }
    let descriptor = arguments.next().and_then(|text| text.to_str()?.parse::<RawFd>().ok());
    let Some(luggage) = descriptor.and_then(unpack) else { exit_now(125) };
    run(luggage)
}

fn unpack(descriptor: RawFd) -> Option<Luggage> {
    // An exec makes a process dumpable; until the ids are final nobody may look into this one.
    prctl::set_dumpable(false).ok()?;
    let file = File::from(kernel::process::adopt_descriptor(descriptor).ok()?);
    serde_json::from_reader(io::BufReader::new(file)).ok()
}

fn run(luggage: Luggage) -> ! {
    let adopt = |number: RawFd| match kernel::process::adopt_descriptor(number) {
        Ok(descriptor) => descriptor,
        Err(_) => exit_now(125),
    };
    let start = match (luggage.listener, luggage.wait_on_channel) {
        (Some(listener), _) => StartSignal::Listener(adopt(listener)),
        (None, true) => StartSignal::Channel,
        (None, false) => StartSignal::None,
    };
    let mut stage = Stage::new(Setup {
        plan: luggage.plan.as_ref(),
        process: luggage.process,
        channel: adopt(luggage.channel),
        start,
        streams: if luggage.terminal {
            Streams::Terminal { size: luggage.terminal_size }
        } else {
            Streams::Inherit
        },
        extra: Vec::new(),
        maps: luggage.maps,
        protection: Protection::Unneeded,
        trees: Trees::unpack(luggage.trees, adopt),
        devices: luggage.devices,
        procfs: luggage.procfs.map(adopt),
        cgroup_namespace: None,
    });
    stage.kept = luggage.extra;
    stage.outer_pid = luggage.outer_pid;
    stage.run_after(Step::ProtectExecutable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_arguments_is_in_the_midst_of_its_exec() {
        for (arguments, expected) in [
            (&b""[..], true),
            (b"rbox-stage\x003\0", true),
            (b"sleep\x001000\0", false),
            (b"sleep\0rbox-stage\0", false),
            // A program whose name is empty.
            (b"\0", false),
        ] {
            assert_eq!(may_name_stage(arguments), expected, "{}", arguments.escape_ascii());
        }
    }
}
