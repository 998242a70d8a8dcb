//! `rbox container restore`.

use std::path::PathBuf;

use super::checkpoint::{Done, for_each, program, statistics};
use super::import::{self, Origin};
use crate::cli::args::containers::Named;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::session::{self, Inheritance};
use crate::cli::ui::Ui;
use crate::container::checkpoint::RestoreRequest;
use crate::container::list::Selected;
use crate::container::{Containers, Record};
use crate::engine::Engine;
use crate::kernel::file::Flock;
use crate::monitor::client::Wanted;
use crate::runtime::criu::{self, Statistics};

/// Restore one or more containers from a checkpoint
///
/// Goes on with containers that `rbox container checkpoint` has written to disk. That takes CRIU 3.17 or later and the rights of the host's root; where something is missing the error says what. An archive or image of a checkpoint becomes a container first; it is a program that runs as root, so it must come from somebody whom you trust.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER|IMAGE [CONTAINER|IMAGE...]",
    after_help = "rbox container restore ctrID\n  rbox container restore imageID\n  rbox container restore --all\n  rbox container restore --import /tmp/ctr.tar.zst --name copy"
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
    /// Do not restore content of volumes associated with container
    #[arg(long)]
    ignore_volumes: bool,
    /// Restore from exported checkpoint archive
    #[arg(long, short, value_name = "string")]
    import: Option<PathBuf>,
    /// Restore from exported pre-checkpoint archive
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
    check_words(&args)?;
    let containers = engine.containers()?;
    let mut origins = Vec::new();
    let mut references = Vec::new();
    for reference in &args.containers {
        match import::image_of(engine, &containers, reference)? {
            Some(origin) => origins.push(origin),
            None => references.push(reference.clone()),
        }
    }
    origins.extend(args.import.clone().map(Origin::File));
    check_import(&args, !origins.is_empty())?;
    let named = Named { references, all: args.all, latest: args.latest, ..Named::default() };
    let selected = if origins.is_empty() || !named.references.is_empty() {
        named.check()?;
        named.find(&containers)?
    } else {
        Vec::new()
    };
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
    let mut work: Vec<Work> = selected.into_iter().map(|each| Work::Container(Box::new(each))).collect();
    work.extend(origins.into_iter().map(Work::Origin));
    for_each(ui, work, measured, |ui, work| {
        let wishes = import::Wishes {
            name: args.name.as_deref(),
            publish: &args.publish,
            first_part: args.import_previous.as_deref(),
            root: !args.ignore_rootfs,
            volumes: !args.ignore_volumes,
        };
        let (given, record, numbers) = match work {
            Work::Container(selected) => {
                let Selected { given, record } = *selected;
                let Some(record) = record else { return Ok(None) };
                if ended.contains(&record.id) {
                    return Ok(None);
                }
                let lock = containers.lock(&record.id)?;
                let numbers = go_on(ui, engine, &containers, &record, lock, &request)?;
                (given, record, numbers)
            }
            Work::Origin(origin) => {
                let (record, numbers) = import::restore(ui, engine, &origin, &wishes, &request)?;
                (record.id.to_string(), record, numbers)
            }
        };
        if !args.keep {
            containers.remove_checkpoint(&record)?;
        }
        containers.tell(&record, "restore");
        Ok(Some(Done { given, id: record.id, numbers }))
    })
}

/// One thing to restore.
enum Work {
    Container(Box<Selected>),
    Origin(Origin),
}

/// Goes on with a container whose lock is held.
pub(super) fn go_on(
    ui: &mut Ui,
    engine: &Engine,
    containers: &Containers,
    record: &Record,
    lock: Flock,
    request: &RestoreRequest,
) -> Result<Statistics> {
    containers.check_restore(record)?;
    let inheritance = Inheritance { restore: Some(request.clone()), ..Inheritance::default() };
    session::start(ui, engine, record, lock, Wanted::NOTHING, inheritance)
        .map_err(|error| error.with_status(ExitStatus::ERROR))?;
    Ok(statistics(containers, record, criu::of_restore))
}

/// Flags that do not go together, whatever is restored.
fn check_words(args: &Args) -> Result<()> {
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
        () if args.containers.len() > 1 && args.name.is_some() => {
            refuse("--name can only be used with one checkpoint image")
        }
        () if args.pod.is_some() => refuse("not supported yet: --pod"),
        () => Ok(()),
    }
}

/// Flags of archives and images.
fn check_import(args: &Args, imports: bool) -> Result<()> {
    let flags = [
        ("publish", !args.publish.is_empty()),
        ("name", args.name.is_some()),
        ("import-previous", args.import_previous.is_some()),
        ("ignore-rootfs", args.ignore_rootfs),
        ("ignore-volumes", args.ignore_volumes),
    ];
    match flags.iter().find(|(_, given)| *given && !imports) {
        Some((flag, _)) => {
            Err(CommandError::new(format!("--{flag} can only be used with image or --import")))
        }
        None => Ok(()),
    }
}
