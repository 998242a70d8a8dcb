//! `create` and `run`.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::process::geteuid;

use super::lifecycle::warn;
use super::relay::{self, Relay};
use super::{Cgroups, Context, bundle};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::config::Env;
use crate::container::create::cgroup::address;
use crate::kernel::ns;
use crate::kernel::process::{Pid, adopt_descriptor};
use crate::kernel::socket;
use crate::runtime::cgroup::{Address, SLICE, SYSTEM_SLICE, Scope};
use crate::runtime::instance::{Record, Reservation};
use crate::runtime::plan::{Processors, UserNamespace};
use crate::runtime::{self, Io, NoHost, Passed, Plan, Streams};
use crate::userns;

/// What `create` and `run` have in common.
#[derive(Debug, clap::Args)]
pub(super) struct BundleArgs {
    /// Directory with config.json and the root file system
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Spec to use instead of the bundle's config.json
    #[arg(long, short = 'f', value_name = "FILE")]
    config: Option<PathBuf>,
    /// File to write the pid of the first process to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Socket to send the terminal's master to
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Pass this many descriptors, from 3 on, to the program
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Use chroot instead of pivot_root
    #[arg(long)]
    no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// Ignored: orphans are never given to the runtime
    #[arg(long, hide = true)]
    no_subreaper: bool,
    /// Id of the container
    id: String,
}

/// Arguments of `create`.
#[derive(Debug, clap::Args)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    bundle: BundleArgs,
}

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Return as soon as the program runs
    #[arg(long, short)]
    detach: bool,
    /// Do not delete the container when its program has ended
    #[arg(long)]
    keep: bool,
}

/// A container about to be made.
struct Prepared {
    plan: Plan,
    spec: Vec<u8>,
    reservation: Reservation,
    io: Io,
}

pub(super) fn create(context: &mut Context, args: &CreateArgs, cgroups: Cgroups) -> Result<ExitStatus> {
    let args = &args.bundle;
    let prepared = prepare(context, args, cgroups)?;
    if prepared.plan.process.terminal && args.console_socket.is_none() {
        return Err(CommandError::new("a terminal needs --console-socket"));
    }
    let listener = prepared.reservation.listen()?;
    let created = runtime::create_detached(&prepared.plan, prepared.io, &mut NoHost, listener)?;
    let cgroup = created.cgroup.as_ref().map(|cgroup| cgroup.path().to_owned());
    let record = Record::new(&prepared.plan, created.init, cgroup, Timestamp::now().to_string())?;
    if let (Some(path), Some(master)) = (&args.console_socket, &created.terminal) {
        send_terminal(path, master)?;
    }
    write_pid_file(args.pid_file.as_deref(), created.init)?;
    prepared.reservation.commit(&record, &prepared.spec)?;
    let _ = created.detach();
    Ok(ExitStatus::SUCCESS)
}

pub(super) fn run(context: &mut Context, args: &RunArgs, cgroups: Cgroups) -> Result<ExitStatus> {
    let bundle = &args.bundle;
    let prepared = prepare(context, bundle, cgroups)?;
    if prepared.plan.process.is_absent() {
        return Err(CommandError::new("the spec has no `process` section, so there is nothing to run"));
    }
    let instances = context.instances()?;
    context.ui.flush()?;
    if args.detach && prepared.plan.process.terminal && bundle.console_socket.is_none() {
        return Err(CommandError::new("a terminal needs --console-socket with --detach"));
    }
    let relay = Relay::begin()?;
    let created = runtime::create(&prepared.plan, prepared.io, &mut NoHost)?;
    let cgroup = created.cgroup.as_ref().map(|cgroup| cgroup.path().to_owned());
    let record = Record::new(&prepared.plan, created.init, cgroup, Timestamp::now().to_string())?;
    if let (Some(path), Some(master)) = (&bundle.console_socket, &created.terminal) {
        send_terminal(path, master)?;
    }
    write_pid_file(bundle.pid_file.as_deref(), created.init)?;
    prepared.reservation.commit(&record, &prepared.spec)?;
    let running = match created.start() {
        Ok(running) => running,
        Err(error) => {
            let _ = instances.delete(&bundle.id, true);
            return Err(error.into());
        }
    };
    if args.detach {
        return Ok(ExitStatus::SUCCESS);
    }
    let terminal = if bundle.console_socket.is_some() { None } else { running.terminal.as_ref() };
    let status = relay.until_end(running.pidfd.as_fd(), terminal.map(AsFd::as_fd))?;
    if !args.keep {
        let warnings = instances.delete(&bundle.id, true)?;
        warn(context, &warnings);
    }
    Ok(relay::exit_status(status))
}

fn prepare(context: &mut Context, args: &BundleArgs, cgroups: Cgroups) -> Result<Prepared> {
    if args.no_pivot {
        return Err(CommandError::new("not supported yet: --no-pivot (a chroot can be left)"));
    }
    let bundle = absolute(&args.bundle)?;
    let config = args.config.clone().unwrap_or_else(|| bundle.join("config.json"));
    let (spec, bytes) = bundle::read(context, &config)?;
    let mut plan = Plan::from_spec(&spec, &bundle, None)?;
    if plan.namespaces.user == UserNamespace::Host && !geteuid().is_root() {
        // As crun has it: a user can make the other namespaces in one of her own only.
        plan.namespaces.user = UserNamespace::New(userns::user_maps(&Env::capture()).maps);
    }
    plan.identity.id.clone_from(&args.id);
    plan.new_keyring = !args.no_new_keyring;
    // Engines and what runs in the container find what runc and crun give them.
    plan.cgroup.all_controllers = true;
    plan.process.processors = Processors::All;
    plan.process.plain_line_ends = relay::is_plain(args.console_socket.is_some());
    if cgroups == Cgroups::None {
        if !plan.cgroup.settings.is_empty() {
            return Err(CommandError::new("resource limits need a cgroup, but --cgroup-manager is disabled"));
        }
        plan.cgroup.disabled = true;
    }
    let activation = bundle::activation(&mut plan.process)?;
    let io = io(&plan, args.preserve_fds.saturating_add(activation))?;
    let of_host = geteuid().is_root() && ns::in_initial_user_namespace();
    if cgroups == Cgroups::Own && of_host && plan.cgroup.path.is_none() {
        // Nobody's processes are in the way there, and it is where runc and crun put it.
        plan.cgroup.path = Some(Path::new("/").join(&args.id));
    }
    if cgroups == Cgroups::Systemd && !plan.cgroup.disabled {
        let (address, slice) =
            if of_host { (Address::of_machine(), SYSTEM_SLICE) } else { (address(&Env::capture()), SLICE) };
        let scope = Scope::ask_by_path(&address, plan.cgroup.path.as_deref(), slice, &args.id)?;
        plan.cgroup.path = Some(scope.wait()?.container());
        plan.cgroup.required = true;
    }
    Ok(Prepared { reservation: context.instances()?.reserve(&args.id)?, plan, spec: bytes, io })
}

fn io(plan: &Plan, preserve_fds: u32) -> Result<Io> {
    let streams = if plan.process.terminal {
        Streams::Terminal { size: plan.process.console_size.or_else(relay::terminal_size) }
    } else {
        Streams::Inherit
    };
    Ok(Io { streams, extra: preserved(preserve_fds)? })
}

/// The caller's descriptors from 3 on, as far as they are open.
pub(super) fn preserved(count: u32) -> Result<Vec<Passed>> {
    if count > 1024 {
        return Err(CommandError::new("--preserve-fds is above 1024"));
    }
    (3..3 + count as i32)
        .filter_map(|number| match adopt_descriptor(number) {
            Ok(descriptor) => Some(Ok(Passed { number, descriptor })),
            Err(error) if error.errno() == Some(libc::EBADF) => None,
            Err(error) => {
                Some(Err(CommandError::from(error).context(format!("--preserve-fds: descriptor {number}"))))
            }
        })
        .collect()
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| CommandError::new(format!("{}: {error}", path.display())))
}

/// Sends the master of a terminal as runc and crun do: with one message that names it.
pub(super) fn send_terminal(path: &Path, master: &OwnedFd) -> Result<()> {
    let socket = socket::connect(path)?;
    Ok(socket::send_with_fds(socket.as_fd(), b"/dev/ptmx", &[master.as_fd()])?)
}

/// Written beside and renamed, because the reader may be waiting for it.
pub(super) fn write_pid_file(path: Option<&Path>, pid: Pid) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let path = absolute(path)?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let text = pid.as_raw_nonzero().to_string();
    let written = fs::File::create_new(&temporary)
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        .and_then(|()| fs::rename(&temporary, &path));
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        CommandError::new(format!("cannot write the pid file {}: {error}", path.display()))
    })
}
