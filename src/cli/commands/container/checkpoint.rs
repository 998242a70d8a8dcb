//! `rbox container checkpoint`.

use std::path::PathBuf;
use std::time::Instant;

use super::archive::{self, Compression, Output};
use crate::cli::args::containers::{Named, report_earlier};
use crate::cli::commands::image::tag::local_name;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::container::checkpoint::CheckpointRequest;
use crate::container::list::Selected;
use crate::container::{ContainerId, Containers, Record, Status};
use crate::engine::Engine;
use crate::kernel::ns;
use crate::runtime::criu::{self, Statistics};

/// Checkpoint one or more containers
///
/// Writes the processes of running containers to disk with CRIU, and ends them; `rbox container restore` goes on from there. That takes CRIU 3.17 or later and the rights of the host's root; where something is missing the error says what. With --export it goes to an archive as well, from which `rbox container restore --import` makes the container anew, on another machine or under another name.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [CONTAINER...]",
    after_help = "rbox container checkpoint --keep ctrID\n  rbox container checkpoint --all\n  rbox container checkpoint --export /tmp/ctr.tar.zst ctrID"
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
    /// Export the checkpoint image to an archive
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

/// Writes containers to disk.
///
/// # Errors
/// When the arguments are wrong, something is missing, or CRIU fails.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let compression = check(&args)?;
    let containers = engine.containers()?;
    let named = Named { references: args.containers, all: args.all, latest: args.latest, ..Named::default() };
    named.check()?;
    let selected = named.find(&containers)?;
    let request = CheckpointRequest {
        program: program(engine, "checkpointing")?,
        leave_running: args.leave_running,
        first_part: args.pre_checkpoint,
        with_previous: args.with_previous,
        tcp_established: args.tcp_established,
        file_locks: args.file_locks,
        keep: args.keep,
    };
    let image = args.create_image.as_deref().map(local_name).transpose()?;
    let (root, volumes) = (!args.ignore_rootfs, !args.ignore_volumes);
    let parts = archive::request(engine, &request.program, root, volumes, args.pre_checkpoint);
    let runs =
        |record: &Record| containers.state(&record.id).is_ok_and(|state| state.status == Status::Running);
    let count =
        selected.iter().filter_map(|each| each.record.as_ref()).filter(|r| !args.all || runs(r)).count();
    if count > 1 && (args.export.is_some() || image.is_some()) {
        let flag = if args.export.is_some() { "--export" } else { "--create-image" };
        return Err(CommandError::new(format!("{flag} takes one container, and these are {count}")));
    }
    for_each(ui, selected, args.print_stats.then_some("checkpoint"), |ui, Selected { given, record }| {
        let Some(record) = &record else { return Ok(None) };
        if args.all && !runs(record) {
            return Ok(None);
        }
        let goes_on = args.leave_running || args.pre_checkpoint;
        if record.lifecycle.auto_remove && args.export.is_none() && !goes_on {
            return Err(CommandError::new(
                "cannot checkpoint containers that have been started with '--rm' unless '--export' is used",
            ));
        }
        let output = match &args.export {
            Some(path) => Some(Output::open(path)?),
            None => None,
        };
        if output.is_some() || image.is_some() {
            containers.check_export(record, &parts)?;
        }
        containers
            .checkpoint(record, &request)
            .map_err(|error| CommandError::from(error).with_status(ExitStatus::ERROR))?;
        let numbers = statistics(&containers, record, criu::of_dump);
        let stays = |error: CommandError| {
            let hint = "the checkpoint itself is whole: `rbox container restore` goes on from it";
            if goes_on { error } else { error.with_hint(hint) }
        };
        if let Some(output) = output {
            archive::export(ui, engine, record, &parts, (output, compression)).map_err(stays)?;
            if record.lifecycle.auto_remove && !goes_on {
                archive::remove(ui, engine, &containers, record)?;
            }
        } else if let Some(name) = &image {
            archive::create_image(ui, engine, record, &parts, name).map_err(stays)?;
        }
        Ok(Some(Done { given, id: record.id.clone(), numbers }))
    })
}

fn check(args: &Args) -> Result<Compression> {
    let refuse = |text: &str| Err(CommandError::new(text));
    let mut compression = Compression::default();
    if let Some(compress) = &args.compress {
        if args.export.is_none() {
            return refuse("--compress can only be used with --export");
        }
        compression = Compression::parse(compress).ok_or_else(|| {
            CommandError::new(format!(
                "selected compression algorithm ({compress:?}) not supported. Please select one from: gzip, none, zstd"
            ))
        })?;
    }
    match () {
        () if args.export.is_none() && args.ignore_rootfs => {
            refuse("--ignore-rootfs can only be used with --export")
        }
        () if args.export.is_none() && args.ignore_volumes => {
            refuse("--ignore-volumes can only be used with --export")
        }
        () if args.with_previous && args.pre_checkpoint => {
            refuse("--with-previous can not be used with --pre-checkpoint")
        }
        () if args.create_image.is_some() && (args.pre_checkpoint || args.with_previous) => {
            refuse("--create-image can not be used with --pre-checkpoint or --with-previous")
        }
        () => Ok(compression),
    }
}

/// CRIU, where it can work.
pub(super) fn program(engine: &Engine, doing: &str) -> Result<PathBuf> {
    let is_root = engine.env().uid() == 0 && ns::in_initial_user_namespace();
    let program = engine.env().find_program("criu", []);
    match (criu::missing(program.as_deref(), is_root), program) {
        (None, Some(program)) => Ok(program),
        (why, _) => {
            let why = why.unwrap_or_default();
            let text = if is_root {
                format!("{doing} a container: {why}")
            } else {
                format!("{doing} a container requires root: {why}")
            };
            Err(CommandError::new(text).with_hint("`rbox doctor checkpoint` looks at it again"))
        }
    }
}

pub(super) fn statistics(
    containers: &Containers,
    record: &Record,
    read: fn(&std::path::Path) -> Statistics,
) -> Statistics {
    let state = containers.state(&record.id).ok();
    state.and_then(|state| state.checkpoint()).map_or_else(Vec::new, |path| read(&path))
}

/// A container that was dealt with.
#[derive(Debug)]
pub(super) struct Done {
    /// As it was named.
    pub(super) given: String,
    pub(super) id: ContainerId,
    pub(super) numbers: Statistics,
}

/// Does it to each of them, and prints how it was named, or with `measured` how long it took. `None` is one that was
/// left out.
pub(super) fn for_each<T>(
    ui: &mut Ui,
    all: Vec<T>,
    measured: Option<&str>,
    mut act: impl FnMut(&mut Ui, T) -> Result<Option<Done>>,
) -> Result<ExitStatus> {
    let begin = Instant::now();
    let mut reports = Vec::new();
    let mut last = None;
    for each in all {
        let begin = Instant::now();
        match (act(ui, each), measured) {
            (Ok(None), _) => {}
            (Ok(Some(done)), None) => ui.data(done.given)?,
            (Ok(Some(Done { id, numbers, .. })), Some(verb)) => {
                let numbers: serde_json::Map<_, _> =
                    numbers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
                let duration = format!("runtime_{verb}_duration");
                reports.push(serde_json::json!({
                    "Id": id.as_str(), duration: micros(begin), "criu_statistics": numbers,
                }));
            }
            (Err(error), _) => report_earlier(ui, &mut last, error),
        }
    }
    if let Some(verb) = measured {
        let duration = format!("podman_{verb}_duration");
        let document = serde_json::json!({ duration: micros(begin), "container_statistics": reports });
        ui.data(serde_json::to_string_pretty(&document).expect("numbers and texts are always JSON"))?;
    }
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
