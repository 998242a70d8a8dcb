//! `rbox commit`.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::cli::commands::image::tag::local_name;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::progress::PullProgress;
use crate::cli::ui::Ui;
use crate::container::create::CreateRequest;
use crate::container::{Containers, Record, Status, Time};
use crate::engine::Engine;
use crate::image::change;
use crate::image::commit::{CommitRequest, commit};
use crate::image::config::{Empty, HistoryEntry, ImageConfig, RunConfig};
use crate::image::manifest::DOCUMENT_MAX;
use crate::image::naming::give_name;
use crate::image::progress::{Event as Step, Progress as _};
use crate::kernel;
use crate::store::pack::{PackOptions, pack};
use crate::store::{ImageId, ImageRecord};

/// Create new image based on the changed container
///
/// Create an image from a container's changes. Optionally tag the image created, set the author with the --author flag, set the commit message with the --message flag, and make changes to the instructions with the --change flag.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] CONTAINER [IMAGE]",
    after_help = "rbox commit -q --message \"committing container to image\" reverent_golick image-committed\n  rbox commit -q --author \"firstName lastName\" reverent_golick image-committed\n  rbox commit -q --pause=false containerID image-committed\n  rbox commit containerID"
)]
pub struct Args {
    /// Set the author for the image committed
    #[arg(long, short, value_name = "string")]
    author: Option<String>,
    /// Apply the following possible instructions to the created image (default []): CMD | ENTRYPOINT | ENV | EXPOSE | LABEL | ONBUILD | STOPSIGNAL | USER | VOLUME | WORKDIR
    #[arg(long, short, value_name = "stringArray")]
    change: Vec<String>,
    /// file containing a container configuration to merge into the image
    #[arg(long, value_name = "file")]
    config: Option<PathBuf>,
    /// Format of the image manifest and metadata
    #[arg(long, short, value_name = "Format", default_value = "oci")]
    format: String,
    /// file to write the image ID to
    #[arg(long, value_name = "file")]
    iidfile: Option<PathBuf>,
    /// Include container volumes as image volumes
    #[arg(long)]
    include_volumes: bool,
    /// Set commit message for imported image
    #[arg(long, short, value_name = "string")]
    message: Option<String>,
    /// Pause container during commit
    #[arg(long, short)]
    pause: bool,
    /// Suppress output
    #[arg(long, short)]
    quiet: bool,
    /// squash newly built layers into a single new layer
    #[arg(long, short)]
    squash: bool,
    container: String,
    image: Option<String>,
}

/// Says what was written, as a copy of an image does.
fn tell(ui: &mut Ui, image: &ImageRecord) {
    let mut progress = PullProgress::new(ui);
    for layer in &image.layers {
        progress.event(Step::BlobSkipped(&layer.diff_id));
    }
    progress.event(Step::Config(&image.id.digest()));
    progress.event(Step::Manifest);
}

/// Paths that the engine makes in every root to mount its own on.
pub(super) const ENGINE_PATHS: [&str; 8] =
    ["dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", "run/.containerenv"];

/// Makes the image and prints its id.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    ui.set_quiet(args.quiet);
    let docker = match args.format.as_str() {
        "oci" => false,
        "docker" => true,
        other => return Err(CommandError::new(format!("unrecognized image format {other:?}"))),
    };
    if args.message.is_some() && !docker {
        return Err(CommandError::new(
            "messages are only compatible with the docker image format (-f docker)",
        ));
    }
    let name = args.image.as_deref().filter(|name| !name.is_empty()).map(local_name).transpose()?;
    let containers = engine.containers()?;
    let record = containers.lookup(args.container.strip_prefix('/').unwrap_or(&args.container))?;
    if record.root.directory.is_some() {
        return Err(CommandError::new("cannot commit a container that uses an exploded rootfs"));
    }
    let store = engine.store()?;
    let id: ImageId = record
        .root
        .image_id
        .parse()
        .map_err(|_| CommandError::new(format!("container {} has no image", record.id)))?;
    // The layers stay while the container does; the record itself may be gone.
    let base = store
        .image(&id)?
        .ok_or_else(|| CommandError::new(format!("the image {id} of container {} is gone", record.id)))?;
    let _guard = store.hold_image(&id)?;
    // Bad instructions are refused before anything is done.
    let config = run_config(engine, &containers, &record, &base, &args)?;
    crate::cli::enter_user_namespace(ui, engine)?;

    let paused = args.pause && containers.state(&record.id)?.status == Status::Running;
    if paused {
        containers.pause(&record)?;
    }
    PullProgress::new(ui).event(Step::Source);
    let layer = pack_layer(engine, &containers, &record, args.squash);
    if paused {
        containers.unpause(&record)?;
    }
    let request = CommitRequest {
        base: Some(&base),
        layer: layer?,
        squash: args.squash,
        config,
        author: args.author.clone(),
        history: HistoryEntry {
            created: Some(Time::now().to_string()),
            created_by: "/bin/sh".to_owned(),
            author: args.author.unwrap_or_default(),
            comment: args.message.unwrap_or_default(),
            empty_layer: false,
        },
        docker,
        platform: Default::default(),
        annotations: Default::default(),
    };
    let image = commit(store, request)?;
    tell(ui, &image);
    if let Some(name) = name
        && let Some(text) = give_name(store, &name.to_string(), &image.id, None)?
    {
        ui.status(text);
    }
    if let Some(path) = &args.iidfile {
        write_file(path, image.id.as_str())?;
    }
    containers.tell(&record, "commit");
    ui.data(&image.id)?;
    Ok(ExitStatus::SUCCESS)
}

/// Writes a file that the user named for an id or digest.
pub(super) fn write_file(path: &Path, text: &str) -> Result<()> {
    let failed = |e| kernel::Error::path("open", path, e);
    let mut file = std::fs::File::create(path).map_err(failed)?;
    Ok(file.write_all(text.as_bytes()).map_err(failed)?)
}

/// What the container changed as a layer, or with `squash` everything that it has.
fn pack_layer(
    engine: &Engine,
    containers: &Containers,
    record: &Record,
    squash: bool,
) -> Result<crate::store::Committed> {
    let store = engine.store()?;
    let tree: OwnedFd = if squash {
        containers.snapshot(store, record)?
    } else {
        let upper = containers.dir(&record.id).join("upper");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&upper, flags, Mode::empty()).map_err(|e| kernel::Error::path("open", upper, e))?
    };
    let options = PackOptions {
        maps: record.root.maps.clone(),
        overlay: !squash,
        without: ENGINE_PATHS.map(str::to_owned).into(),
        ..PackOptions::default()
    };
    Ok(store.commit_layer(engine.unpack(), |out| pack(&tree, &options, out))?)
}

/// The config of the image, with what the container was created with, and the changes that were asked for.
fn run_config(
    engine: &Engine,
    containers: &Containers,
    record: &Record,
    base: &ImageRecord,
    args: &Args,
) -> Result<RunConfig> {
    let bytes = engine.store()?.read_blob(&base.id.digest(), DOCUMENT_MAX)?;
    let parsed = ImageConfig::parse(&bytes)
        .map_err(|error| CommandError::new(format!("the config of image {}: {error}", base.id)))?;
    let mut config = parsed.config;
    let request: Option<CreateRequest> = containers.request(&record.id)?;
    config.entrypoint.clone_from(&record.process.entrypoint);
    config.cmd.clone_from(&record.process.command);
    for (key, value) in request.iter().flat_map(|request| &request.env.set) {
        change::set_env(&mut config.env, key, value);
    }
    for port in &record.network.exposed {
        config.exposed_ports.insert(port.clone(), Empty);
    }
    for port in &record.network.ports {
        for offset in 0..port.range.max(1) {
            let number = port.container_port.saturating_add(offset);
            config.exposed_ports.insert(format!("{number}/{}", port.protocol), Empty);
        }
    }
    config.labels.clone_from(&record.labels);
    if !record.process.user.is_empty() {
        config.user.clone_from(&record.process.user);
    }
    let kept = record.mounts.iter().filter(|mount| mount.anonymous || args.include_volumes);
    let kept = kept.filter(|mount| matches!(mount.kind.as_str(), "volume" | "bind"));
    config.volumes.extend(kept.map(|mount| (mount.destination.clone(), Empty)));
    config.working_dir.clone_from(&record.process.working_dir);
    if let Some(path) = &args.config {
        merge(&mut config, read_config(path)?);
    }
    for text in &args.change {
        change::apply(&mut config, text).map_err(|error| CommandError::new(error.to_string()))?;
    }
    Ok(config)
}

/// Reads the file of `--config`: what an image's own config has under `config`.
fn read_config(path: &Path) -> Result<RunConfig> {
    let failed =
        |why: String| CommandError::new(format!("reading configuration file {:?}: {why}", path.display()));
    let bytes = crate::kernel::file::read_given(path, DOCUMENT_MAX)
        .map_err(|error| failed(CommandError::from(error).message().to_owned()))?;
    serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))
}

/// Puts over `config` what `over` says. Sets grow, everything else is replaced.
fn merge(config: &mut RunConfig, over: RunConfig) {
    fn list(to: &mut Vec<String>, from: Vec<String>) {
        if !from.is_empty() {
            *to = from;
        }
    }
    fn text(to: &mut String, from: String) {
        if !from.is_empty() {
            *to = from;
        }
    }
    let RunConfig { user, working_dir, stop_signal, entrypoint, cmd, on_build, shell, .. } = over;
    for entry in over.env {
        match entry.split_once('=') {
            Some((key, value)) => change::set_env(&mut config.env, key, value),
            None => config.env.push(entry),
        }
    }
    config.exposed_ports.extend(over.exposed_ports);
    config.volumes.extend(over.volumes);
    config.labels.extend(over.labels);
    text(&mut config.user, user);
    text(&mut config.working_dir, working_dir);
    text(&mut config.stop_signal, stop_signal);
    list(&mut config.entrypoint, entrypoint);
    list(&mut config.cmd, cmd);
    list(&mut config.on_build, on_build);
    list(&mut config.shell, shell);
    config.args_escaped |= over.args_escaped;
    config.healthcheck = over.healthcheck.or(config.healthcheck.take());
    config.stop_timeout = over.stop_timeout.or(config.stop_timeout);
}
