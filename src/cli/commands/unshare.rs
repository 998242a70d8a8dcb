//! `rbox unshare`.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::config::env::name;
use crate::config::subid;
use crate::engine::Engine;
use crate::kernel::mount;
use crate::kernel::ns::{self, Namespace, NamespaceSet};
use crate::userns;

/// Run a command in a modified user namespace
///
/// Runs a command in a modified user namespace.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] [COMMAND [ARG...]]",
    after_help = "rbox unshare id\n  rbox unshare cat /proc/self/uid_map\n  rbox unshare script.sh"
)]
pub struct Args {
    /// Join the rootless network namespace used for netavark networking
    #[arg(long, alias = "rootless-cni")]
    rootless_netns: bool,
    /// Without one, $SHELL
    #[arg(trailing_var_arg = true)]
    command: Vec<OsString>,
}

/// Runs the command. It replaces this process, so signals and exit codes are its own.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.rootless_netns {
        return Err(CommandError::new("not supported yet: --rootless-netns"));
    }
    let env = engine.env();
    let mut words = args.command.into_iter();
    let program = match words.next() {
        Some(program) => program,
        None => env
            .get("SHELL")
            .ok_or_else(|| CommandError::new("no command specified and no $SHELL specified"))?
            .to_owned(),
    };
    let paths = engine.paths()?;
    let gid = env.gid();
    let uid = subid::login_uid(env);
    crate::cli::enter_user_namespace(ui, engine)?;
    // The record outlives exec: pid and start time stay the same. A dead one is cleaned by its finder.
    std::mem::forget(userns::register_holder(paths, engine.user_maps())?);
    private_mounts()?;
    ui.flush()?;
    let mut command = Command::new(&program);
    command
        .args(words)
        .env(name::USERNS_CONFIGURED, "done")
        .env("CONTAINERS_GRAPHROOT", &paths.data)
        .env("CONTAINERS_RUNROOT", &paths.run);
    // Inside of an outer `unshare` the values are there already, and ours would be 0.
    if env.uid() != 0 {
        command.env(name::ROOTLESS_UID, uid.to_string()).env(name::ROOTLESS_GID, gid.to_string());
    }
    Err(refused(&program, &command.exec()))
}

/// A mount namespace of its own: what the command mounts goes away with it, and what the host
/// mounts meanwhile is seen.
fn private_mounts() -> Result<()> {
    ns::unshare(NamespaceSet::EMPTY.with(Namespace::Mount))?;
    Ok(mount::make_all(libc::MS_SLAVE)?)
}

fn refused(program: &OsString, error: &io::Error) -> CommandError {
    let program = program.to_string_lossy();
    match error.kind() {
        io::ErrorKind::NotFound if !program.contains('/') => {
            CommandError::new(format!("exec: {program:?}: executable file not found in $PATH"))
                .with_status(ExitStatus::NOT_FOUND)
        }
        io::ErrorKind::NotFound => {
            CommandError::new(format!("fork/exec {program}: no such file or directory"))
                .with_status(ExitStatus::NOT_FOUND)
        }
        io::ErrorKind::PermissionDenied => {
            CommandError::new(format!("fork/exec {program}: permission denied"))
                .with_status(ExitStatus::NOT_EXECUTABLE)
        }
        _ => CommandError::new(format!("fork/exec {program}: {error}")),
    }
}
