//! The maker: a child that makes a namespace for its parent and has it mapped from outside.
//!
//! It forks one *outsider* a map, unshares, and tells them to go: each executes newuidmap or newgidmap on it, or
//! writes the map itself where the caller is root. The maker collects what they say, tells it as JSON on one pipe,
//! and ends when the other end of a second pipe is closed everywhere.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::enter::{USER, unshare, write_map};
use super::{Error, MapWriter, Result, cause};
use crate::kernel;
use crate::kernel::descriptor;
use crate::kernel::idmap::{IdMaps, IdRange, to_proc_text};
use crate::kernel::ns;
use crate::kernel::process::{self, CStringArray, ExitStatus, Fork};

/// A child that makes a namespace.
#[derive(Debug)]
pub(super) struct Maker {
    pidfd: OwnedFd,
    answer: OwnedFd,
    /// Open as long as somebody may join.
    hold: OwnedFd,
    /// Who forked it.
    parent: u32,
}

impl Maker {
    /// Forks the maker of a namespace with these maps, which does `then` in it.
    pub(super) fn start(maps: &IdMaps, writer: &MapWriter, then: impl FnOnce()) -> Result<Self> {
        let (answer, tell) = pipe()?;
        let (wait, hold) = pipe()?;
        match process::fork()? {
            Fork::Child => {
                drop((answer, hold));
                run(maps, writer, tell, wait, then)
            }
            Fork::Parent { pidfd, .. } => Ok(Self { pidfd, answer, hold, parent: std::process::id() }),
        }
    }

    /// The process.
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Waits for the maps and moves this process into the namespace.
    pub(super) fn join(self) -> Result<()> {
        let mut text = Vec::new();
        let read = File::from(self.answer).read_to_end(&mut text);
        read.map_err(|_| Error::HelperVanished)?;
        let trouble: Option<Trouble> = serde_json::from_slice(&text).map_err(|_| Error::HelperVanished)?;
        let joined = match trouble {
            None => ns::enter_process(self.pidfd.as_fd(), USER).map_err(Error::from),
            Some(trouble) => Err(trouble.into()),
        };
        drop(self.hold);
        if self.parent == std::process::id() {
            process::wait_pidfd(self.pidfd)?;
        }
        joined
    }
}

/// What the maker could not do.
#[derive(Debug, Serialize, Deserialize)]
enum Trouble {
    /// The system call failed.
    Call { unshare: bool, errno: i32 },
    /// A map was not written.
    Map { helper: PathBuf, pid: u32, message: String },
}

impl From<kernel::Error> for Trouble {
    fn from(error: kernel::Error) -> Self {
        Self::Call { unshare: false, errno: error.errno().unwrap_or(libc::EIO) }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        let call = |name, errno| kernel::Error::call(name, "", io::Error::from_raw_os_error(errno));
        match trouble {
            Trouble::Call { unshare: true, errno } => {
                cause::of_unshare(call("unshare(CLONE_NEWUSER)", errno))
            }
            Trouble::Call { unshare: false, errno } => call("fork", errno).into(),
            Trouble::Map { helper, pid, message } => Self::Helper { helper, pid, message },
        }
    }
}

fn pipe() -> kernel::Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| kernel::Error::call("pipe", "", errno))
}

fn run(maps: &IdMaps, writer: &MapWriter, tell: OwnedFd, wait: OwnedFd, then: impl FnOnce()) -> ! {
    let trouble = make(maps, writer).err();
    let text = serde_json::to_vec(&trouble).expect("numbers, a path and a text are always JSON");
    let _ = File::from(tell).write_all(&text);
    if trouble.is_none() {
        then();
    }
    let _ = File::from(wait).read(&mut [0]);
    process::exit_now(0)
}

fn make(maps: &IdMaps, writer: &MapWriter) -> Result<(), Trouble> {
    let target = std::process::id();
    let (go, start) = pipe()?;
    let mut outsiders = Vec::with_capacity(2);
    for task in tasks(maps, writer, target) {
        outsiders.push(Outsider::fork(task, &go, &start)?);
    }
    // Where this fails the outsiders find the pipe closed, and leave.
    unshare().map_err(|error| Trouble::Call { unshare: true, errno: error.errno().unwrap_or(libc::EIO) })?;
    File::from(start)
        .write_all(&vec![b'g'; outsiders.len()])
        .map_err(|_| Trouble::Call { unshare: false, errno: libc::EPIPE })?;
    let mut result = Ok(());
    for outsider in outsiders {
        let (helper, outcome) = outsider.finish();
        if let Err(message) = outcome {
            result = result.and(Err(Trouble::Map { helper, pid: target, message }));
        }
    }
    result
}

/// How one map is written.
enum Task {
    Execute { program: PathBuf, arguments: CStringArray },
    Write { path: PathBuf, text: String },
}

fn tasks(maps: &IdMaps, writer: &MapWriter, target: u32) -> [Task; 2] {
    let write = |name: &str, map: &[IdRange]| Task::Write {
        path: PathBuf::from(format!("/proc/{target}/{name}")),
        text: to_proc_text(map),
    };
    match writer {
        MapWriter::Helpers { newuidmap, newgidmap } => {
            [execute(newuidmap, &maps.uid, target), execute(newgidmap, &maps.gid, target)]
        }
        MapWriter::Privileged | MapWriter::Inherited => {
            [write("uid_map", &maps.uid), write("gid_map", &maps.gid)]
        }
    }
}

fn execute(program: &Path, map: &[IdRange], target: u32) -> Task {
    let numbers = map.iter().flat_map(|line| [line.inside, line.outside, line.count]);
    let words = std::iter::once(target).chain(numbers).map(|number| number.to_string().into_bytes());
    let arguments = std::iter::once(program.as_os_str().as_bytes().to_vec()).chain(words);
    let arguments =
        arguments.map(|word| CString::new(word).expect("neither paths nor numbers have NUL bytes"));
    Task::Execute { program: program.to_owned(), arguments: CStringArray::new(arguments.collect()) }
}

/// A process outside of the new namespace.
struct Outsider {
    what: PathBuf,
    pidfd: OwnedFd,
    complaints: OwnedFd,
}

impl Outsider {
    fn fork(task: Task, go: &OwnedFd, start: &OwnedFd) -> Result<Self, Trouble> {
        let (complaints, complain) = pipe()?;
        match process::fork()? {
            Fork::Child => {
                // Else it would wait for a word of its own when the maker fails or is killed.
                let _ = descriptor::close(start.as_raw_fd());
                let message = task.carry_out(go, &complain);
                let _ = File::from(complain).write_all(message.as_bytes());
                process::exit_now(i32::from(!message.is_empty()))
            }
            Fork::Parent { pidfd, .. } => {
                let (Task::Execute { program: what, .. } | Task::Write { path: what, .. }) = task;
                Ok(Self { what, pidfd, complaints })
            }
        }
    }

    /// Waits for its end.
    fn finish(self) -> (PathBuf, Result<(), String>) {
        let mut text = Vec::new();
        let read = File::from(self.complaints).read_to_end(&mut text);
        let outcome = match (read, process::wait_pidfd(self.pidfd)) {
            (Err(error), _) => Err(error.to_string()),
            (_, Err(error)) => Err(error.to_string()),
            (_, Ok(ExitStatus::Exited(0))) => Ok(()),
            (_, Ok(status)) => Err(match String::from_utf8_lossy(&text).trim() {
                "" => format!("it ended with status {}", status.code()),
                text => text.to_owned(),
            }),
        };
        (self.what, outcome)
    }
}

impl Task {
    /// In the child: waits for the word and writes the map. Returns what went wrong.
    fn carry_out(&self, go: &OwnedFd, complain: &OwnedFd) -> String {
        if !matches!(rustix::io::read(go, &mut [0]), Ok(1)) {
            return "the namespace was not made".to_owned();
        }
        let failed = match self {
            Self::Write { path, text } => write_map(path, text).err().map(|error| error.to_string()),
            Self::Execute { program, arguments } => Some(run_helper(program, arguments, complain)),
        };
        failed.unwrap_or_default()
    }
}

/// Executes a helper, whose standard error is `complain`. It gets no other descriptor of ours.
fn run_helper(program: &Path, arguments: &CStringArray, complain: &OwnedFd) -> String {
    let prepare = || -> kernel::Result<()> {
        let null = File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(|source| kernel::Error::path("open", "/dev/null", source))?;
        process::close_range_cloexec(3, u32::MAX)?;
        process::duplicate_to(&null, 0)?;
        process::duplicate_to(&null, 1)?;
        process::duplicate_to(complain, 2)
    };
    if let Err(error) = prepare() {
        return error.to_string();
    }
    process::execve(&arguments.strings()[0], arguments, &CStringArray::new(Vec::new())).to_string()
        + &format!(" ({})", program.display())
}
