//! pasta: user-mode networking by a helper process of the passt project.
//!
//! pasta runs in H and in the host's network namespace, is given the container's namespace as
//! a file, configures an interface there, puts itself into namespaces of its own and then
//! forwards. It forks once it is ready: the end of the started process is the signal to go
//! on, and the pid of the process that stays is in the file named by `--pid`.
//!
//! pasta opens the namespace by path after dropping the descriptors it inherits, so the path
//! is that of a descriptor which the monitor holds: `/proc/MONITOR/fd/N`. The process in the
//! container would be no good, as nobody may look into it before it executes its program. When
//! the monitor goes, the path goes, and pasta, which looks once a second, ends by itself.

mod arguments;
mod features;
mod lender;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::address::addresses_of;
use super::driver::{Context, Driver};
use super::{Error, Helper, PortMapping, Result, Status, port};
use crate::config::{Config, Env};
use crate::kernel::ns::{self, Namespace};
use crate::kernel::prctl;
use crate::kernel::process::{self, Pid};
use arguments::Arguments;
use features::Features;
use lender::Lender;

/// Milliseconds within which a killed pasta is expected to have closed its sockets.
const PORTS_PATIENCE: u32 = 200;

/// The program's name.
pub const PROGRAM: &str = "pasta";

/// Finds pasta in the helper directories of containers.conf, then in `$PATH`.
#[must_use]
pub fn find(config: &Config, env: &Env) -> Option<PathBuf> {
    let extra = env.absolute("CONTAINERS_HELPER_BINARY_DIR");
    let dirs = extra.iter().chain(&config.engine.helper_binaries_dir).map(PathBuf::as_path);
    env.find_program(PROGRAM, dirs)
}

/// Whether this process is root outside of all user namespaces, as beside a container from a checkpoint.
fn is_host_root() -> bool {
    rustix::process::geteuid().is_root() && ns::in_initial_user_namespace()
}

/// One container's pasta.
#[derive(Debug)]
pub struct Pasta {
    program: PathBuf,
    arguments: Arguments,
    ports: Vec<PortMapping>,
    pid_file: PathBuf,
    features: Features,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    Starting { child: Child, init: Pid, namespace: OwnedFd, _lender: Option<Lender> },
    Running { pidfd: OwnedFd, _namespace: OwnedFd },
    Ending { pidfd: OwnedFd },
}

impl Pasta {
    /// Plans the pasta of a container; `options` are those of `--network=pasta:…`.
    pub fn new(options: &[String], ports: &[PortMapping], context: Context<'_>) -> Result<Self> {
        let program = find(context.config, context.env).ok_or(Error::NoPasta)?;
        let features = features::of(&program, context.paths);
        let configured = &context.config.network.pasta_options;
        let pid_file = context.state_dir.join("pasta.pid");
        let arguments = Arguments::new(configured, options, ports, features, &pid_file);
        Ok(Self { program, arguments, ports: ports.to_vec(), pid_file, features, state: State::Idle })
    }

    fn spawn(&self, namespace: &OwnedFd, lender: Option<&Lender>) -> Result<Child> {
        let holder = lender.map_or_else(|| std::process::id().to_string(), |lender| lender.pid.to_string());
        let path = format!("/proc/{holder}/fd/{}", namespace.as_raw_fd());
        Command::new(&self.program)
            .args(self.arguments.with_namespace(&path, is_host_root()))
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| Error::Spawn { path: self.program.clone(), source })
    }

    /// The process that stays, found by the file that it wrote.
    fn find_daemon(&self) -> Result<(Helper, OwnedFd)> {
        let file = self.arguments.pid_file.as_deref().unwrap_or(&self.pid_file);
        let text =
            fs::read_to_string(file).map_err(|source| Error::Read { path: file.to_owned(), source })?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw).ok_or_else(|| Error::Read {
            path: file.to_owned(),
            source: io::Error::from(io::ErrorKind::InvalidData),
        })?;
        let pidfd = process::pidfd_open(pid)?;
        let start_time = process::start_time(pid)?;
        Ok((Helper { pid: pid.as_raw_nonzero().get().unsigned_abs(), start_time }, pidfd))
    }

    /// The published ports are free again when the container counts as ended: the next one may
    /// want them at once. pasta closes its sockets early in its end, within a few milliseconds.
    fn wait_for_ports(&self) {
        for _ in 0..PORTS_PATIENCE {
            if port::check_free(&self.ports).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn status(&self, init: Pid, helper: Helper) -> Status {
        let addresses = addresses_of(&init.to_string());
        let reaches = |address: &IpAddr| addresses.iter().any(|own| own.is_ipv4() == address.is_ipv4());
        let reachable = |given: &[IpAddr]| given.iter().filter(|address| reaches(address)).copied().collect();
        let host_addresses: Vec<IpAddr> = reachable(&self.arguments.map_guest);
        Status {
            ipv6: addresses.iter().any(IpAddr::is_ipv6),
            dns_servers: reachable(&self.arguments.dns_forward),
            host_address: host_addresses.first().copied(),
            addresses,
            helper: Some(helper),
        }
    }
}

impl Driver for Pasta {
    fn validate(&self) -> Result<()> {
        if let Some(port) = self.ports.iter().find(|port| port.protocol == super::Protocol::Sctp) {
            return Err(Error::Protocol(port.protocol));
        }
        fs::File::options().read(true).write(true).open("/dev/net/tun").map(drop).map_err(Error::NoTun)?;
        port::check_free(&self.ports)
    }

    fn setup(&mut self, init: Pid) -> Result<()> {
        self.validate()?;
        let namespace = ns::open(init, Namespace::Network)?;
        // pasta must be able to open the files of this process; see above.
        prctl::set_dumpable(true)?;
        let lender = if self.features.opens_any { None } else { Some(Lender::start()?) };
        let child = self.spawn(&namespace, lender.as_ref())?;
        self.state = State::Starting { child, init, namespace, _lender: lender };
        Ok(())
    }

    fn wait(&mut self) -> Result<Status> {
        let State::Starting { child, init, namespace, _lender } =
            std::mem::replace(&mut self.state, State::Idle)
        else {
            return Ok(Status::default());
        };
        let output =
            child.wait_with_output().map_err(|source| Error::Spawn { path: self.program.clone(), source })?;
        if !output.status.success() {
            let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
            let output = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::Pasta { code, output });
        }
        let (helper, pidfd) = self.find_daemon()?;
        self.state = State::Running { pidfd, _namespace: namespace };
        Ok(self.status(init, helper))
    }

    fn watch(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Running { pidfd, .. } => Some(pidfd.as_fd()),
            State::Idle | State::Starting { .. } | State::Ending { .. } => None,
        }
    }

    fn lost(&mut self) -> Option<String> {
        if !matches!(self.state, State::Running { .. }) {
            return None;
        }
        self.state = State::Idle;
        let _ = fs::remove_file(&self.pid_file);
        Some(format!("the container has lost its network: {} has ended", self.program.display()))
    }

    fn teardown(&mut self) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => return,
            State::Starting { mut child, .. } => {
                // It may have forked already: let it come up, then end what stays.
                let _ = child.wait();
                if let Ok((helper, _)) = self.find_daemon() {
                    end(helper);
                }
            }
            State::Running { pidfd, .. } => {
                // It keeps nothing that would want tidying, and has no children. Its namespaces
                // take the kernel some 20 ms, so nobody waits for its end here.
                let _ = process::pidfd_send_signal(&pidfd, libc::SIGKILL);
                self.wait_for_ports();
                self.state = State::Ending { pidfd };
            }
            // The file may be that of the next run by now.
            State::Ending { pidfd } => return self.state = State::Ending { pidfd },
        }
        let _ = fs::remove_file(&self.pid_file);
    }
}

impl Drop for Pasta {
    fn drop(&mut self) {
        self.teardown();
        if let State::Ending { pidfd } = &self.state {
            // A monitor is subreaper: the orphan is its child. Elsewhere this fails, and init reaps.
            let _ = process::wait_pidfd(pidfd);
        }
    }
}

/// Ends the process of `helper`, if it is still that one.
pub fn end(helper: Helper) {
    let Some(pid) = i32::try_from(helper.pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(pidfd) = process::pidfd_open(pid) else { return };
    if process::start_time(pid).is_ok_and(|start_time| start_time == helper.start_time) {
        let _ = process::pidfd_send_signal(&pidfd, libc::SIGKILL);
    }
}

/// What `info` shows about pasta: its path and version.
#[must_use]
pub fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").env_clear().stdin(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
