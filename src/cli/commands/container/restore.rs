//! `rbox container restore`.

use std::path::PathBuf;

use super::checkpoint::{for_each, program, statistics};
use crate::cli::args::containers::Named;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::session::{self, Inheritance};
use crate::cli::ui::Ui;
use crate::container::checkpoint::RestoreRequest;
use crate::engine::Engine;
use crate::monitor::client::Wanted;
use crate::runtime::criu;

/// Restore one or more containers from a checkpoint
///
/// Goes on with containers that `rbox container checkpoint` has written to disk. That takes CRIU 3.17 or later and the rights of the host's root; where something is missing the error says what.
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

/// Goes on with containers.
///
/// # Errors
/// When the arguments are wrong, something is missing, or CRIU fails; the checkpoint stays then.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    check(&args)?;
    let containers = engine.containers()?;
    let named = Named { references: args.containers, all: args.all, latest: args.latest, ..Named::default() };
    named.check()?;
    let selected = named.find(&containers)?;
    let request = RestoreRequest {
        program: program(engine, "restoring")?,
        tcp_established: args.tcp_established,
        tcp_close: args.tcp_close,
        file_locks: args.file_locks,
    };
    let measured = args.print_stats.then_some("restore");
    let mut ended = Vec::new();
    if args.all {
        for each in &selected {
            if let Some(record) = &each.record
                && containers.state(&record.id)?.stored.is_none_or(|stored| stored.checkpointed.is_none())
            {
                ended.push(record.id.clone());
            }
        }
    }
    for_each(ui, selected, measured, |ui, record| {
        if ended.contains(&record.id) {
            return Ok(None);
        }
        let lock = containers.lock(&record.id)?;
        containers.check_restore(record)?;
        let inheritance = Inheritance { restore: Some(request.clone()), ..Inheritance::default() };
        session::start(ui, engine, record, lock, Wanted::NOTHING, inheritance)
            .map_err(|error| error.with_status(ExitStatus::ERROR))?;
        let numbers = statistics(&containers, record, criu::of_restore);
        if !args.keep {
            containers.remove_checkpoint(record)?;
        }
        containers.tell(record, "restore");
        Ok(Some(numbers))
    })
}

fn check(args: &Args) -> Result<()> {
    let refuse = |text: &str| Err(CommandError::new(text));
    let given = !args.containers.is_empty();
    let imports = args.import.is_some();
    match () {
        () if args.name.is_some() && args.tcp_established => {
            refuse("--tcp-established cannot be used with --name")
        }
        () if imports && (args.all || args.latest) => refuse("cannot use --import with --all or --latest"),
        () if imports && given => refuse("cannot use --import with positional arguments"),
        () if (args.all || args.latest) && given => {
            refuse("--all or --latest and containers cannot be used together")
        }
        () if args.pod.is_some() => refuse("not supported yet: --pod"),
        () if !args.publish.is_empty() && !imports => {
            refuse("--publish can only be used with image or --import")
        }
        () if args.name.is_some() && !imports => refuse("--name can only be used with image or --import"),
        () if args.import_previous.is_some() && !imports => {
            refuse("--import-previous can only be used with image or --import")
        }
        () if args.ignore_rootfs && !imports => {
            refuse("--ignore-rootfs can only be used with image or --import")
        }
        () if args.ignore_volumes && !imports => {
            refuse("--ignore-volumes can only be used with image or --import")
        }
        () if imports => refuse("not supported yet: --import"),
        () => Ok(()),
    }
}
