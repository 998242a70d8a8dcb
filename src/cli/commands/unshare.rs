//! `rbox unshare`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::config::env::name;
use crate::config::{Env, subid};
use crate::engine::Engine;
use crate::kernel::mount;
use crate::kernel::ns::{self, Namespace, NamespaceSet};

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
    private_mounts()?;
    ui.flush()?;
    let path = resolve(env, &program)?;
    let mut command = Command::new(path);
    command
        .args(words)
        .env(name::USERNS_CONFIGURED, "done")
        .env("CONTAINERS_GRAPHROOT", &paths.data)
        .env("CONTAINERS_RUNROOT", &paths.run);
    // Inside of an outer `unshare` the values are there already, and ours would be 0.
    if env.uid() != 0 {
        command.env(name::ROOTLESS_UID, uid.to_string()).env(name::ROOTLESS_GID, gid.to_string());
    }
    command.arg0(&program);
    Err(refused(&program, &command.exec()))
}

/// Searches `$PATH` for a bare name. The kernel's answer for a directory that may not be
/// entered would hide that there is no such program.
fn resolve(env: &Env, program: &OsStr) -> Result<PathBuf> {
    let name = program.to_string_lossy();
    if name.contains('/') {
        return Ok(program.into());
    }
    env.find_program(&name, []).ok_or_else(|| {
        CommandError::new(format!("exec: {name:?}: executable file not found in $PATH"))
            .with_status(ExitStatus::NOT_FOUND)
    })
}

/// A mount namespace of its own: what the command mounts goes away with it, and what the host
/// mounts meanwhile is seen.
fn private_mounts() -> Result<()> {
    ns::unshare(NamespaceSet::EMPTY.with(Namespace::Mount))?;
    Ok(mount::make_all(libc::MS_SLAVE)?)
}

fn refused(program: &OsStr, error: &io::Error) -> CommandError {
    let program = program.to_string_lossy();
    match error.kind() {
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
