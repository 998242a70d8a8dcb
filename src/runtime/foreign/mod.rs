//! Other OCI runtimes, such as crun, driven by their command line: create, start, kill, delete.
//!
//! What the OCI spec has no words for (users by name, overlays, files of the engine) is done here before the
//! runtime is called. Its first process outlives it and becomes a child of this process, which must be a
//! subreaper.
//!
//! ```text
//! DIRECTORY/config.json     the bundle: the whole spec
//! DIRECTORY/state/          the runtime's own state (--root)
//! DIRECTORY/log             what it says (--log)
//! DIRECTORY/pid             the first process
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `spec` | the spec that the runtime gets |
//! | `root` | the root file system, mounted and filled |
//! | `call` | one call of the runtime's command line |

mod call;
mod root;
mod spec;

use std::fs::{self, DirBuilder};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::runtime::{LinuxSeccomp, Spec};

use crate::kernel::idmap::to_inside;
use crate::kernel::process::{self, Pid};
use crate::kernel::{self, poll, socket};

use super::cgroup::{self, Cgroup};
use super::error::{Error, Result};
use super::launch::Host;
use super::plan::{MountSource, Plan, UserNamespace};
use super::streams::{Io, Passed, Streams};
use call::Call;
use root::Root;

/// The most of a pid file or log that is read.
const MAX_FILE: u64 = 64 << 10;

/// A container for another runtime.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// The runtime.
    pub program: PathBuf,
    /// What comes before its options and its command.
    pub arguments: Vec<String>,
    /// The spec that the plan was made from.
    pub spec: Spec,
    /// The system call filter as the spec has it.
    pub seccomp: Option<LinuxSeccomp>,
    /// A directory for the bundle and for what the runtime keeps; it is made, and removed at the end.
    pub directory: PathBuf,
    /// Where a socket with a short path can be made.
    pub sockets: PathBuf,
}

/// What is left to do for a container once it has ended. Dropping it does that.
#[derive(Debug)]
pub struct Rest {
    foreign: Foreign,
    id: String,
    options: Vec<String>,
    /// Mounted for as long as the container lives.
    _root: Root,
}

/// A container that the runtime has created.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) init: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) rest: Rest,
}

impl Foreign {
    /// Creates the container of `plan`.
    pub(super) fn create(&self, plan: &Plan, io: Io, host: &mut dyn Host) -> Result<Made> {
        refuse(plan, &io)?;
        make_dir(&self.directory)?;
        let mut process = plan.process.clone();
        if let Streams::Terminal { size: Some(size) } = io.streams {
            process.console_size = Some(size);
        }
        let root = root::prepare(plan, &mut process)?;
        let cgroup = cgroup::path_for_other(plan)?;
        let spec = spec::complete(self, plan, &process, root.path(), cgroup.as_deref())?;
        let bytes = serde_json::to_vec(&spec).expect("a spec has only strings as keys");
        let path = self.directory.join("config.json");
        fs::File::create(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, &bytes))
            .map_err(|source| kernel::Error::path("write", &path, source))?;
        let options = self.options(cgroup.is_some());
        let id = plan.identity.id.clone();
        // From here on the runtime may know the container.
        let rest = Rest { foreign: self.clone(), id, options, _root: root };
        let (terminal, extra) = self.call_create(&rest, io)?;
        let init = self.read_pid()?;
        let pidfd = process::pidfd_open(init)?;
        let made = Made { init, pidfd, terminal, cgroup: cgroup::open_of(init), rest };
        drop(extra);
        let surroundings = host.namespaces_ready(init).and_then(|()| host.before_start(init));
        let surroundings =
            surroundings.and_then(|()| host.entering(init, made.cgroup.as_ref())).map_err(Error::Host);
        match surroundings {
            Ok(()) => Ok(made),
            Err(error) => {
                made.end();
                Err(error)
            }
        }
    }

    fn call_create(&self, rest: &Rest, io: Io) -> Result<(Option<OwnedFd>, Vec<Passed>)> {
        let mut call = self.call(&rest.options, "create");
        call.option("--bundle", &self.directory).option("--pid-file", &self.directory.join("pid"));
        let mut console = None;
        match io.streams {
            Streams::Terminal { .. } => {
                let path = self.sockets.join(format!("tty-{}", std::process::id()));
                let listener = socket::listen(&path)?;
                call.option("--console-socket", &path);
                console = Some((listener, path));
            }
            Streams::Given { stdin, stdout, stderr } => call.streams = Some([stdin, stdout, stderr]),
            Streams::Inherit => call.inherit = true,
        }
        if !io.extra.is_empty() {
            call.word("--preserve-fds").word(&io.extra.len().to_string());
        }
        call.word(&rest.id);
        let outcome = call.run(&io.extra);
        let Some((listener, path)) = console else { return outcome.map(|()| (None, io.extra)) };
        let terminal = outcome.and_then(|()| receive_terminal(&listener));
        let _ = fs::remove_file(path);
        Ok((Some(terminal?), io.extra))
    }

    fn call(&self, options: &[String], command: &str) -> Call<'_> {
        let mut call = Call::new(&self.program, self.directory.join("log"));
        self.arguments.iter().chain(options).for_each(|word| {
            call.word(word);
        });
        call.word(command);
        call
    }

    /// Options before the command.
    fn options(&self, has_cgroup: bool) -> Vec<String> {
        let text = |name: &str| self.directory.join(name).display().to_string();
        let mut options = vec!["--root".to_owned(), text("state"), "--log".to_owned(), text("log")];
        options.extend(["--log-format".to_owned(), "json".to_owned()]);
        let knows_managers = self.is("crun") || self.is_own();
        if !has_cgroup && knows_managers {
            options.push("--cgroup-manager=disabled".to_owned());
        }
        options
    }

    /// Whether the program has this name.
    fn is(&self, name: &str) -> bool {
        self.program.file_name().is_some_and(|file| file.to_string_lossy().contains(name))
    }

    /// Whether it is this runtime in another process.
    fn is_own(&self) -> bool {
        self.arguments.first().is_some_and(|word| word == "oci")
    }

    fn read_pid(&self) -> Result<Pid> {
        let path = self.directory.join("pid");
        let bytes = kernel::file::read_limited(&path, MAX_FILE)?;
        let pid = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
        pid.and_then(Pid::from_raw).ok_or_else(|| Error::Foreign {
            program: self.program.clone(),
            what: format!("it wrote no process id to {}", path.display()),
        })
    }
}

impl Made {
    /// Starts the program.
    pub(super) fn start(&self) -> Result<()> {
        let Rest { foreign, id, options, .. } = &self.rest;
        let mut call = foreign.call(options, "start");
        call.word(id);
        call.run(&[])
    }

    /// Ends the container.
    fn end(&self) {
        let _ = process::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        let _ = process::wait_pidfd(&self.pidfd);
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let mut call = self.foreign.call(&self.options, "delete");
        call.word("--force").word(&self.id);
        // What it leaves behind, such as a cgroup, is in nobody's way.
        let _ = call.run(&[]);
        let _ = fs::remove_dir_all(&self.foreign.directory);
    }
}

/// What only rbox's own runtime does.
fn refuse(plan: &Plan, io: &Io) -> Result<()> {
    let other = |what: &str| Err(Error::unsupported(format!("{what} with another runtime than rbox's own")));
    if plan.init {
        return other("--init without --init-path");
    }
    if plan.mounts.iter().any(|mount| mount.chown) {
        return other("the mount option U");
    }
    if plan.mounts.iter().any(|mount| matches!(mount.source, MountSource::Joined { .. })) {
        return other("--ipc=container");
    }
    if plan.mounts.iter().any(|mount| matches!(mount.source, MountSource::File(_))) {
        return other("--mount type=artifact");
    }
    if let UserNamespace::New(maps) = &plan.namespaces.user
        && to_inside(&maps.uid, kernel::cred::effective_uid()).is_none()
    {
        // Nobody in it could reach the bundle.
        return other("a user namespace without the caller's own id");
    }
    if io.extra.iter().zip(3..).any(|(passed, number)| passed.number != number) {
        return other("--preserve-fd with numbers that do not follow each other from 3 on");
    }
    Ok(())
}

/// Takes the master of the terminal, which the runtime has sent while it created the container.
fn receive_terminal(listener: &OwnedFd) -> Result<OwnedFd> {
    let none = || Error::ChildDied { how: "the runtime sent no terminal".to_owned() };
    if !poll::readable(listener.as_fd(), Some(Duration::from_secs(5)))? {
        return Err(none());
    }
    let connection = socket::accept(listener.as_fd())?.ok_or_else(none)?;
    if !poll::readable(connection.as_fd(), Some(Duration::from_secs(5)))? {
        return Err(none());
    }
    let (_, mut fds) = socket::recv_with_fds(connection.as_fd(), &mut [0; 256])?;
    fds.pop().ok_or_else(none)
}

fn make_dir(path: &Path) -> Result<()> {
    // What a dead monitor left there belongs to a container that is gone.
    let _ = fs::remove_dir_all(path);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    Ok(made.map_err(|source| kernel::Error::path("mkdir", path, source))?)
}
