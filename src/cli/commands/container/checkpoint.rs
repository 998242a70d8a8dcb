//! `rbox container checkpoint` and `restore`.
//!
//! Both are CRIU's work. It cannot dump or restore the processes of a user without rights on the host, not even from
//! inside of the user's namespace (it looks into all namespaces of the host first), so what is here finds out what
//! exactly is missing and says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::args::containers::Named;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;

/// Checkpoint one or more containers
///
/// Writes the state of running containers to disk with CRIU, which needs rights on the host that users without them do not have: the error says what is missing.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [CONTAINER...]",
    after_help = "rbox container checkpoint --keep ctrID\n  rbox container checkpoint --all"
)]
pub struct Args {
    /// Checkpoint all running containers
    #[arg(long, short)]
    all: bool,
    /// Select compression algorithm (gzip, none, zstd) for checkpoint archive
    #[arg(long, short, value_name = "string")]
    compress: Option<String>,
    /// Create checkpoint image with specified name
    #[arg(long, value_name = "string")]
    create_image: Option<String>,
    /// Export the checkpoint image to a tar.gz
    #[arg(long, short, value_name = "string")]
    export: Option<PathBuf>,
    /// Checkpoint a container with file locks
    #[arg(long)]
    file_locks: bool,
    /// Do not include root file-system changes when exporting
    #[arg(long)]
    ignore_rootfs: bool,
    /// Do not export volumes associated with container
    #[arg(long)]
    ignore_volumes: bool,
    /// Keep all temporary checkpoint files
    #[arg(long, short)]
    keep: bool,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    /// Leave the container running after writing checkpoint to disk
    #[arg(long, short = 'R')]
    leave_running: bool,
    /// Dump container's memory information only, leave the container running
    #[arg(long, short = 'P')]
    pre_checkpoint: bool,
    /// Display checkpoint statistics
    #[arg(long)]
    print_stats: bool,
    /// Checkpoint a container with established TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// Checkpoint container with pre-checkpoint images
    #[arg(long)]
    with_previous: bool,
    containers: Vec<String>,
}

/// Says why a container cannot be checkpointed.
///
/// # Errors
/// Always: when the arguments are wrong, and with what is missing.
pub fn exec(_ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let refuse = |text: &str| Err(CommandError::new(text));
    if let Some(compress) = &args.compress {
        if args.export.is_none() {
            return refuse("--compress can only be used with --export");
        }
        if !["none", "gzip", "zstd"].contains(&compress.to_lowercase().as_str()) {
            return Err(CommandError::new(format!(
                "selected compression algorithm ({compress:?}) not supported. Please select one from: gzip, none, zstd"
            )));
        }
    }
    match () {
        () if args.export.is_none() && args.ignore_rootfs => {
            return refuse("--ignore-rootfs can only be used with --export");
        }
        () if args.export.is_none() && args.ignore_volumes => {
            return refuse("--ignore-volumes can only be used with --export");
        }
        () if args.with_previous && args.pre_checkpoint => {
            return refuse("--with-previous can not be used with --pre-checkpoint");
        }
        () => {}
    }
    find(engine, args.containers, args.all, args.latest)?;
    Err(missing(engine, "checkpointing"))
}

fn find(engine: &Engine, references: Vec<String>, all: bool, latest: bool) -> Result<()> {
    let named = Named { references, all, latest, ..Named::default() };
    named.check()?;
    named.find(&engine.containers()?).map(drop)
}

/// What is missing for the work of CRIU.
fn missing(engine: &Engine, doing: &str) -> CommandError {
    let error = |why: String| CommandError::new(format!("{doing} a container requires root: {why}"));
    let Some(program) = engine.env().find_program("criu", []) else {
        return error("the program criu is not installed".to_owned());
    };
    let name = program.display();
    match check(&program) {
        Ok(()) => error(format!(
            "{name} works here, but rbox cannot use it for a user without rights on the host yet"
        )),
        Err(why) => error(format!("{name} cannot work for this user on this kernel: {why}"))
            .with_hint(format!("`{name} check` shows all that it misses")),
    }
}

/// Whether CRIU says that it can work, or the first thing that it misses.
fn check(program: &Path) -> std::result::Result<(), String> {
    let mut why = String::new();
    // Before version 4 it knows of no unprivileged work.
    for arguments in [&["check", "--unprivileged"][..], &["check"]] {
        let mut command = Command::new(program);
        let output = command.args(arguments).env_clear().stdin(Stdio::null()).output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let text =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        let reason = |line: &&str| line.contains("Error") && !line.contains("exited, ");
        let line = text.lines().find(reason).or(text.lines().next());
        why = line.unwrap_or("it does not say why").trim().to_owned();
    }
    Err(why)
}

/// The other way round.
pub mod restore {
    use super::{CommandError, Engine, ExitStatus, PathBuf, Result, Ui, find, missing};

    /// Restore one or more containers from a checkpoint
    ///
    /// Restores containers from a checkpoint with CRIU, which needs rights on the host that users without them do not have: the error says what is missing.
    #[derive(Debug, clap::Args)]
    #[command(
        override_usage = "[options] CONTAINER [CONTAINER...]",
        after_help = "rbox container restore ctrID\n  rbox container restore --all"
    )]
    pub struct Args {
        /// Restore all checkpointed containers
        #[arg(long, short)]
        all: bool,
        /// Restore a container with file locks
        #[arg(long)]
        file_locks: bool,
        /// Do not apply root file-system changes when importing from exported checkpoint
        #[arg(long)]
        ignore_rootfs: bool,
        /// Ignore IP address set via --static-ip
        #[arg(long)]
        ignore_static_ip: bool,
        /// Ignore MAC address set via --mac-address
        #[arg(long)]
        ignore_static_mac: bool,
        /// Do not export volumes associated with container
        #[arg(long)]
        ignore_volumes: bool,
        /// Restore from exported checkpoint archive (tar.gz)
        #[arg(long, short, value_name = "string")]
        import: Option<PathBuf>,
        /// Restore from exported pre-checkpoint archive (tar.gz)
        #[arg(long, value_name = "string")]
        import_previous: Option<PathBuf>,
        /// Keep all temporary checkpoint files
        #[arg(long, short)]
        keep: bool,
        /// Act on the latest container podman is aware of
        #[arg(long, short)]
        latest: bool,
        /// Specify new name for container restored from exported checkpoint (only works with image or --import)
        #[arg(long, short, value_name = "string")]
        name: Option<String>,
        /// Restore container into existing Pod (only works with image or --import)
        #[arg(long, value_name = "string")]
        pod: Option<String>,
        /// Display restore statistics
        #[arg(long)]
        print_stats: bool,
        /// Publish a container's port, or a range of ports, to the host
        #[arg(long, short, value_name = "strings")]
        publish: Vec<String>,
        /// Restore a container and close all TCP connections
        #[arg(long)]
        tcp_close: bool,
        /// Restore a container with established TCP connections
        #[arg(long)]
        tcp_established: bool,
        containers: Vec<String>,
    }

    /// Says why a container cannot be restored.
    ///
    /// # Errors
    /// Always: when the arguments are wrong, and with what is missing.
    pub fn exec(_ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
        let refuse = |text: &str| Err(CommandError::new(text));
        let given = !args.containers.is_empty();
        match () {
            () if args.name.is_some() && args.tcp_established => {
                return refuse("--tcp-established cannot be used with --name");
            }
            () if args.import.is_some() && (args.all || args.latest) => {
                return refuse("cannot use --import with --all or --latest");
            }
            () if args.import.is_some() && given => {
                return refuse("cannot use --import with positional arguments");
            }
            () if (args.all || args.latest) && given => {
                return refuse("--all or --latest and containers cannot be used together");
            }
            () => {}
        }
        if let Some(path) = &args.import {
            std::fs::metadata(path).map_err(|e| crate::kernel::Error::path("open", path, e))?;
        } else {
            find(engine, args.containers, args.all, args.latest)?;
        }
        Err(missing(engine, "restoring"))
    }
}
