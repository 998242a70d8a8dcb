//! How a process gets into H.
//!
//! The maps of a new user namespace can only be written from outside of it (for more than one
//! id), so a child is forked first: it stays outside, waits until its parent has unshared, and
//! runs newuidmap and newgidmap at the same time. The parent waits for its answer.
//!
//! Supplementary groups are kept as they are: dropping them would take away access to the
//! user's own files, and `--group-add keep-groups` needs them. What a container's processes
//! get is set by the runtime.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Error, MapKind, MapWriter, Membership, Result, UserMaps, cause, holder, inside};
use crate::config::Paths;
use crate::kernel::idmap::{IdMaps, IdRange, to_proc_text};
use crate::kernel::ns::{self, Namespace, NamespaceSet};
use crate::kernel::process::{self, Fork};
use crate::kernel::{self, cred, prctl};

const USER: NamespaceSet = NamespaceSet::EMPTY.with(Namespace::User);

/// Moves this process into H and makes it root there; it must have one thread.
///
/// The namespace of a living holder recorded in `paths` is joined, if its maps are `maps`.
/// Otherwise the namespace is made.
pub fn enter(paths: &Paths, maps: &UserMaps) -> Result<Membership> {
    begin(paths, maps)?.finish()
}

/// As [`enter`], but without waiting for the helpers, which take most of the time.
///
/// Until [`Entering::finish`] the process is in the namespace, its ids may read as 65534, and it
/// cannot make further namespaces. It can open what its user can, and compute.
pub fn begin(paths: &Paths, maps: &UserMaps) -> Result<Entering> {
    if inside() {
        return Ok(Entering { membership: Membership::Already, outsider: None });
    }
    if let Some(pid) = join(paths, maps)? {
        return Ok(Entering { membership: Membership::Joined { pid }, outsider: None });
    }
    let outsider = match &maps.kind {
        MapKind::Single { .. } => {
            unshare()?;
            write_single_maps(&maps.maps)?;
            None
        }
        MapKind::Full(writer) => Some(start_outsider(&maps.maps, writer)?),
    };
    Ok(Entering { membership: Membership::Made, outsider })
}

/// As [`begin`], but joins the namespace that one process is in: those of other holders are as
/// good for everything but joining further namespaces of its containers.
pub fn begin_beside(pid: u32, pidfd: BorrowedFd<'_>) -> Result<Entering> {
    if inside() {
        return Ok(Entering { membership: Membership::Already, outsider: None });
    }
    ns::enter_process(pidfd, USER)?;
    Ok(Entering { membership: Membership::Joined { pid }, outsider: None })
}

/// A process on its way into H.
#[must_use = "the process is not root in the namespace before `finish`"]
#[derive(Debug)]
pub struct Entering {
    membership: Membership,
    outsider: Option<Outsider>,
}

/// The child that writes the maps, and the pipe on which it answers.
#[derive(Debug)]
struct Outsider {
    pidfd: OwnedFd,
    answer: OwnedFd,
}

impl Entering {
    /// Waits until the maps are written and becomes root.
    pub fn finish(self) -> Result<Membership> {
        if self.membership == Membership::Already {
            return Ok(self.membership);
        }
        if let Some(Outsider { pidfd, answer }) = self.outsider {
            let mut text = Vec::new();
            let read = File::from(answer).read_to_end(&mut text);
            process::wait_pidfd(pidfd)?;
            read.map_err(|_| Error::HelperVanished)?;
            serde_json::from_slice::<Answer>(&text).map_err(|_| Error::HelperVanished)?.result()?;
        }
        // Our host ids are 0 inside already; this also settles the saved ids.
        cred::set_gid(0)?;
        cred::set_uid(0)?;
        // Gaining capabilities made the process non-dumpable, and with that its own files in
        // /proc belong to the host's root: it could not write the id maps of its children.
        prctl::set_dumpable(true)?;
        Ok(self.membership)
    }
}

/// Joins the first holder that lets us; one that ends meanwhile is passed over.
fn join(paths: &Paths, maps: &UserMaps) -> Result<Option<u32>> {
    for (pid, pidfd) in holder::living(paths, maps) {
        match ns::enter_process(pidfd.as_fd(), USER) {
            Ok(()) => return Ok(Some(pid)),
            // EINVAL: we have threads, and making a namespace will say so as well.
            Err(error) if matches!(error.errno(), Some(libc::ESRCH | libc::EPERM | libc::EINVAL)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn unshare() -> Result<()> {
    ns::unshare(USER).map_err(cause::of_unshare)?;
    // newuidmap checks that it maps a process of its caller, by the owner of /proc/PID, and
    // that is root for a process that is not dumpable.
    prctl::set_dumpable(true)?;
    Ok(())
}

/// Without privileges, a map of the caller's own id may be written, once setgroups is given up
/// (otherwise groups that *deny* access could be dropped: CVE-2014-8989).
fn write_single_maps(maps: &IdMaps) -> Result<()> {
    write_proc("/proc/self/setgroups", "deny")?;
    write_proc("/proc/self/uid_map", &to_proc_text(&maps.uid))?;
    write_proc("/proc/self/gid_map", &to_proc_text(&maps.gid))
}

/// The kernel takes a map in one write only.
fn write_proc(path: &str, text: &str) -> Result<()> {
    let written = File::options().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| Error::Map(kernel::Error::path("write", path, source)))
}

fn start_outsider(maps: &IdMaps, writer: &MapWriter) -> Result<Outsider> {
    let (go_reader, go_writer) = pipe()?;
    let (answer_reader, answer_writer) = pipe()?;
    match process::fork()? {
        Fork::Child => {
            drop(go_writer);
            drop(answer_reader);
            outsider(maps, writer, go_reader, answer_writer);
        }
        Fork::Parent { pidfd, .. } => {
            // On failure the child reads the end of the pipe and leaves.
            if let Err(error) = unshare() {
                drop(go_writer);
                process::wait_pidfd(pidfd)?;
                return Err(error);
            }
            // The child cannot be gone: nothing ends it before it has read this.
            File::from(go_writer).write_all(b"g").map_err(|_| Error::HelperVanished)?;
            Ok(Outsider { pidfd, answer: answer_reader })
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| Error::Kernel(kernel::Error::call("pipe", "", errno)))
}

/// What the process outside tells: the helper that failed, or nothing.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Answer {
    failed: Option<(PathBuf, u32, String)>,
}

impl Answer {
    fn result(self) -> Result<()> {
        match self.failed {
            None => Ok(()),
            Some((helper, pid, message)) => Err(Error::Helper { helper, pid, message }),
        }
    }
}

/// The body of the process that stays outside.
fn outsider(maps: &IdMaps, writer: &MapWriter, go: OwnedFd, answer: OwnedFd) -> ! {
    let target = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
    let mut byte = [0];
    if !matches!(File::from(go).read(&mut byte), Ok(1)) {
        process::exit_now(0);
    }
    let failed = match writer {
        MapWriter::Helpers { newuidmap, newgidmap } => run_helpers(target, maps, newuidmap, newgidmap),
        MapWriter::Privileged | MapWriter::Inherited => write_maps_of(target, maps),
    };
    let text = serde_json::to_vec(&Answer { failed }).expect("a path and a text are always JSON");
    let _ = File::from(answer).write_all(&text);
    process::exit_now(0);
}

type Failure = Option<(PathBuf, u32, String)>;

/// Starts both helpers before waiting for either: they do not depend on each other.
fn run_helpers(target: u32, maps: &IdMaps, newuidmap: &Path, newgidmap: &Path) -> Failure {
    let children = [(newuidmap, &maps.uid), (newgidmap, &maps.gid)]
        .map(|(helper, map)| (helper, start_helper(helper, target, map)));
    let mut failure = None;
    for (helper, child) in children {
        let message = match child.and_then(Child::wait_with_output) {
            Ok(output) if output.status.success() => continue,
            Ok(output) => failure_text(&output),
            Err(error) => error.to_string(),
        };
        failure.get_or_insert((helper.to_owned(), target, message));
    }
    failure
}

fn start_helper(helper: &Path, target: u32, map: &[IdRange]) -> io::Result<Child> {
    let numbers = map.iter().flat_map(|line| [line.inside, line.outside, line.count]);
    Command::new(helper)
        .arg(target.to_string())
        .args(numbers.map(|number| number.to_string()))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

fn failure_text(output: &std::process::Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    match text.trim() {
        "" => output.status.to_string(),
        text => text.to_owned(),
    }
}

fn write_maps_of(target: u32, maps: &IdMaps) -> Failure {
    for (name, map) in [("uid_map", &maps.uid), ("gid_map", &maps.gid)] {
        let path = PathBuf::from(format!("/proc/{target}/{name}"));
        let written = File::options()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(to_proc_text(map).as_bytes()));
        if let Err(error) = written {
            return Some((path, target, error.to_string()));
        }
    }
    None
}
