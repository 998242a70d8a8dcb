//! `exec`.

use std::os::fd::AsFd;
use std::path::PathBuf;

use oci_spec::runtime::{Capability, Process as SpecProcess};

use super::Context;
use super::bundle::{drop_absent_labels, read_process};
use super::create::{preserved, send_terminal, write_pid_file};
use super::relay::{self, Relay};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::values::go_bool;
use crate::kernel::process::Pid;
use crate::runtime::instance::{Error, Status};
use crate::runtime::{self, ExecCgroup, ExecPlan, Io, Streams, UserLookup};

/// Arguments of `exec`.
#[derive(Debug, clap::Args)]
pub(super) struct ExecArgs {
    /// File with the `process` section of a spec, instead of a command; - is stdin
    #[arg(long, short, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Socket to send the terminal's master to
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// File to write the pid to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Give the program a terminal
    #[arg(long, short, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    tty: Option<bool>,
    /// Return as soon as the program runs
    #[arg(long, short)]
    detach: bool,
    /// USER[:GROUP] to run as, by name or number
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,
    /// Group to run with as well (can be repeated)
    #[arg(long, short = 'g', value_name = "GID")]
    additional_gids: Vec<u32>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// NAME=VALUE to add to the environment (can be repeated)
    #[arg(long, short, value_name = "ENV")]
    env: Vec<String>,
    /// Capability to add (can be repeated)
    #[arg(long, short, value_name = "CAP")]
    cap: Vec<String>,
    /// No exec gains privileges
    #[arg(long)]
    no_new_privs: bool,
    /// Pass this many descriptors, from 3 on, to the program
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// AppArmor profile to run under, in place of the container's
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// SELinux label to run under, in place of the container's
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// Start in this cgroup below the container's, which must exist; / is the container's own
    #[arg(long, value_name = "PATH")]
    cgroup: Option<String>,
    /// Enter also a paused container, and wait until it is resumed
    #[arg(long)]
    ignore_paused: bool,
    /// Id of the container
    id: String,
    /// The command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(super) fn exec(context: &mut Context, args: &ExecArgs) -> Result<ExitStatus> {
    let instances = context.instances()?;
    let record = instances.load(&args.id)?;
    let target = record.open()?.ok_or_else(|| Error::Stopped { id: args.id.clone() })?;
    if !args.ignore_paused && instances.status(&record)? == Status::Paused {
        let what = format!(
            "cannot exec in a paused container (`{}`): resume it, or wait by --ignore-paused",
            args.id
        );
        return Err(CommandError::new(what));
    }
    let spec = instances.spec(&args.id)?;
    let mut process = process(context, args, spec.process().clone())?;
    runtime::complete_process(&mut process, &spec)?;
    process.plain_line_ends = relay::is_plain(args.console_socket.is_some());
    let streams = if process.terminal {
        Streams::Terminal { size: process.console_size.or_else(relay::terminal_size) }
    } else {
        Streams::Inherit
    };
    if process.terminal && args.detach && args.console_socket.is_none() {
        return Err(CommandError::new("a terminal needs --console-socket with --detach"));
    }
    let target_pid = Pid::from_raw(record.pid).ok_or_else(|| Error::Stopped { id: args.id.clone() })?;
    let cgroup = match (&args.cgroup, &record.cgroup) {
        (Some(path), Some(container)) => ExecCgroup::below(container, path)?,
        (Some(_), None) => return Err(Error::NoCgroup { id: args.id.clone() }.into()),
        (None, Some(container)) => ExecCgroup::Container(container.clone()),
        (None, None) => ExecCgroup::OfFirst,
    };
    let io = Io { streams, extra: preserved(args.preserve_fds)? };
    context.ui.flush()?;
    let relay = Relay::begin()?;
    let running = runtime::exec(
        &ExecPlan {
            target,
            target_pid,
            process,
            // Its streams are the caller's.
            mount_label: None,
            identity: record.identity(),
            cgroup,
            restored: false,
        },
        io,
    )?;
    if let (Some(path), Some(master)) = (&args.console_socket, &running.terminal) {
        send_terminal(path, master)?;
    }
    write_pid_file(args.pid_file.as_deref(), running.pid)?;
    if args.detach {
        return Ok(ExitStatus::SUCCESS);
    }
    let terminal = if args.console_socket.is_some() { None } else { running.terminal.as_ref() };
    Ok(relay::exit_status(relay.until_end(running.pidfd.as_fd(), terminal.map(AsFd::as_fd))?))
}

/// The process file, or the container's own process with another command.
fn process(
    context: &mut Context,
    args: &ExecArgs,
    own: Option<SpecProcess>,
) -> Result<runtime::plan::Process> {
    let mut spec = match &args.process {
        Some(path) => read_process(context, path)?,
        None => own.unwrap_or_default(),
    };
    if args.process.is_none() {
        spec.set_args(Some(args.command.clone())).set_terminal(Some(args.tty.unwrap_or(false)));
    } else if let Some(terminal) = args.tty {
        spec.set_terminal(Some(terminal));
    }
    if let Some(cwd) = &args.cwd {
        spec.set_cwd(cwd.clone());
    }
    if args.no_new_privs {
        spec.set_no_new_privileges(Some(true));
    }
    let mut environment = spec.env().clone().unwrap_or_default();
    for entry in &args.env {
        // Of two entries programs take the first.
        let name = entry.split_inclusive('=').next().unwrap_or_default();
        environment.retain(|old| !old.starts_with(name));
        environment.push(entry.clone());
    }
    spec.set_env(Some(environment));
    if args.apparmor.is_some() {
        spec.set_apparmor_profile(args.apparmor.clone());
    }
    if args.process_label.is_some() {
        spec.set_selinux_label(args.process_label.clone());
    }
    drop_absent_labels(context, &mut spec);
    add_capabilities(&mut spec, &args.cap)?;
    let mut process = runtime::process_from_spec(&spec)?;
    process.create_cwd = false;
    process.processors = runtime::exec_processors(&spec)?;
    process.groups.extend(&args.additional_gids);
    if let Some(user) = &args.user {
        // Replaces the groups.
        let groups = args.additional_gids.iter().map(u32::to_string).collect();
        process.lookup = Some(UserLookup { user: user.clone(), groups, ..UserLookup::default() });
    }
    Ok(process)
}

fn add_capabilities(spec: &mut SpecProcess, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut sets = spec.capabilities().clone().unwrap_or_default();
    for name in names {
        let short = name.to_ascii_uppercase();
        let short = short.strip_prefix("CAP_").unwrap_or(&short);
        let capability: Capability = serde_json::from_value(format!("CAP_{short}").into())
            .map_err(|_| CommandError::new(format!("unknown capability `{name}`")))?;
        let with = |set: &Option<std::collections::HashSet<Capability>>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(capability);
            Some(set)
        };
        let (bounding, effective, permitted) =
            (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
        sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
        if sets.inheritable().as_ref().is_some_and(|set| set.contains(&capability)) {
            sets.set_ambient(with(sets.ambient()));
        }
    }
    spec.set_capabilities(Some(sets));
    Ok(())
}
