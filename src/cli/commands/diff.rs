//! `rbox diff`, `container diff` and `image diff`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::commit::ENGINE_PATHS;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::format::{Layout, is_json, print_json};
use crate::cli::ui::Ui;
use crate::container::list::Selection;
use crate::container::views::{compare, image_root};
use crate::container::{Containers, Error, Record};
use crate::engine::Engine;
use crate::kernel::path::RootDir;
use crate::store::{Change, Digest};

/// Display the changes to the object's file system
///
/// Displays changes to the container or image filesystem's'.  The container or image will be compared to its parent layer or the second argument when given.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] {CONTAINER|IMAGE} [{CONTAINER|IMAGE}]",
    after_help = "rbox diff imageID\n  rbox diff ctrID\n  rbox diff --format json redis:alpine"
)]
pub struct Args {
    /// Change the output format (json)
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Act on the latest container podman is aware of
    #[arg(long, short)]
    latest: bool,
    names: Vec<String>,
}

/// Which objects are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Container,
    Image,
}

/// Of containers only.
pub mod container {
    use super::{Engine, ExitStatus, Kind, Result, Ui};

    /// Inspect changes to the container's file systems
    ///
    /// Displays changes to the container filesystem's'.  The container will be compared to its parent layer or the second argument when given.
    #[derive(Debug, clap::Args)]
    #[command(
        override_usage = "[options] CONTAINER [{CONTAINER|IMAGE}]",
        after_help = "rbox container diff myCtr\n  rbox container diff -l --format json myCtr"
    )]
    pub struct Args {
        /// Change the output format (json)
        #[arg(long, value_name = "string")]
        format: Option<String>,
        /// Act on the latest container podman is aware of
        #[arg(long, short)]
        latest: bool,
        containers: Vec<String>,
    }

    /// Prints the changes.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
        let Args { format, latest, containers } = args;
        super::run(ui, engine, super::Args { format, latest, names: containers }, Kind::Container)
    }
}

/// Of images only.
pub mod image {
    use super::{Engine, ExitStatus, Kind, Result, Ui};

    /// Inspect changes to the image's file systems
    ///
    /// Displays changes to the image filesystem's'.  The image will be compared to its parent layer or the second argument when given.
    #[derive(Debug, clap::Args)]
    #[command(
        override_usage = "[options] IMAGE [{CONTAINER|IMAGE}]",
        after_help = "rbox image diff myImage\n  rbox image diff --format json redis:alpine"
    )]
    pub struct Args {
        /// Change the output format (json)
        #[arg(long, value_name = "string")]
        format: Option<String>,
        images: Vec<String>,
    }

    /// Prints the changes.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
        let Args { format, images } = args;
        super::run(ui, engine, super::Args { format, latest: false, names: images }, Kind::Image)
    }
}

/// Prints the changes of a container or an image.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    run(ui, engine, args, Kind::Any)
}

#[derive(Debug, Default, Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changed: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    added: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deleted: Vec<PathBuf>,
}

fn run(ui: &mut Ui, engine: &Engine, args: Args, kind: Kind) -> Result<ExitStatus> {
    let Args { format, latest, names } = args;
    let format = format.unwrap_or_default();
    if !format.is_empty() && !is_json(&format) {
        return Err(CommandError::new("only supported value for '--format' is 'json'"));
    }
    let (object, other) = operands(engine, latest, &names, kind)?;
    let hidden: Vec<PathBuf> =
        [Some(&object), other.as_ref()].into_iter().flatten().flat_map(hidden).collect();
    crate::cli::enter_user_namespace(ui, engine)?;
    let mut changes = match other {
        None => alone(engine, object)?,
        Some(other) => {
            let (old, new) = (tree(engine, &other)?, tree(engine, &object)?);
            compare(&old, &new, &hidden)?.into_iter().map(|(path, change)| (change, path)).collect()
        }
    };
    changes.retain(|(_, path)| !hidden.iter().any(|other| path == other));
    print(ui, &format, changes)
}

fn print(ui: &mut Ui, format: &str, changes: Vec<(Change, PathBuf)>) -> Result<ExitStatus> {
    if format.is_empty() {
        for (change, path) in changes {
            ui.data(format_args!("{} {}", change.letter(), path.display()))?;
        }
        return Ok(ExitStatus::SUCCESS);
    }
    let mut report = Report::default();
    for (change, path) in changes {
        match change {
            Change::Changed => report.changed.push(path),
            Change::Added => report.added.push(path),
            Change::Deleted => report.deleted.push(path),
        }
    }
    print_json(ui, &report, Layout::marshal(5))?;
    Ok(ExitStatus::SUCCESS)
}

/// What is compared.
enum Object {
    Container(Box<Record>),
    Image { name: String, layers: Vec<Digest> },
}

/// The object, and the one that it is compared with where that is not its own parent.
fn operands(engine: &Engine, latest: bool, names: &[String], kind: Kind) -> Result<(Object, Option<Object>)> {
    let containers = engine.containers()?;
    match (names, latest) {
        ([_, ..], true) => Err(CommandError::new("--latest and containers cannot be used together")),
        ([], true) => {
            let selection = Selection { latest: true, ..Selection::default() };
            let found = containers.select(&selection)?.into_iter().find_map(|selected| selected.record);
            let record = found.ok_or_else(|| CommandError::new("no containers to inspect"))?;
            Ok((Object::Container(Box::new(record)), None))
        }
        ([], false) => Err(CommandError::new("\"rbox diff\" requires a name, id, or the \"--latest\" flag")),
        ([name], false) => Ok((find(engine, &containers, name, kind)?, None)),
        ([name, other], false) => {
            let object = find(engine, &containers, name, kind)?;
            Ok((object, Some(find(engine, &containers, other, Kind::Any)?)))
        }
        (many, false) => {
            Err(CommandError::new(format!("accepts between 1 and 2 arg(s), received {}", many.len())))
        }
    }
}

fn find(engine: &Engine, containers: &Containers, name: &str, kind: Kind) -> Result<Object> {
    if kind != Kind::Image {
        match containers.lookup(name.strip_prefix('/').unwrap_or(name)) {
            Ok(record) => return Ok(Object::Container(Box::new(record))),
            Err(Error::NotFound { .. }) if kind == Kind::Any => {}
            Err(error) => return Err(error.into()),
        }
    }
    let found = match engine.store()?.find_image(name) {
        Err(crate::store::Error::NotFound { .. }) if kind == Kind::Any => {
            return Err(CommandError::new(format!("{name} not found: no such container or image")));
        }
        found => found?,
    };
    let layers = found.record.layers.into_iter().map(|layer| layer.diff_id).collect();
    Ok(Object::Image { name: name.to_owned(), layers })
}

/// What the object's uppermost layer changes.
fn alone(engine: &Engine, object: Object) -> Result<Vec<(Change, PathBuf)>> {
    let store = engine.store()?;
    let (layers, top) = match object {
        Object::Container(record) => {
            if record.root.directory.is_some() {
                return Err(CommandError::new("not supported yet: changes of a container without an image"));
            }
            let layers = record.root.layers.iter().map(|layer| layer.parse());
            let layers = layers.collect::<std::result::Result<_, _>>().map_err(|_| {
                CommandError::new(format!("the record of container {} names layers that are none", record.id))
            })?;
            (layers, engine.containers()?.dir(&record.id).join("upper"))
        }
        Object::Image { name, mut layers } => {
            let Some(top) = layers.pop() else {
                return Err(CommandError::new(format!("image {name} has no layers")));
            };
            let top = store
                .layer(&top)?
                .ok_or_else(|| CommandError::new(format!("layer {top} of image {name} is missing")))?;
            (layers, top.diff())
        }
    };
    Ok(store.changes(&layers, &top)?)
}

/// The object's root with everything that is in it.
fn tree(engine: &Engine, object: &Object) -> Result<RootDir> {
    let fd = match object {
        Object::Container(record) => engine.containers()?.snapshot(engine.store()?, record)?,
        Object::Image { layers, .. } => image_root(engine.store()?, layers)?,
    };
    Ok(RootDir::from_fd(fd, "/"))
}

/// Paths that are nobody's change.
fn hidden(object: &Object) -> Vec<PathBuf> {
    let Object::Container(record) = object else { return Vec::new() };
    let engine = ENGINE_PATHS.into_iter().chain(["run", "run/secrets", "run/notify"]);
    let mounts = record.mounts.iter().map(|mount| PathBuf::from(&mount.destination));
    engine.map(|path| Path::new("/").join(path)).chain(mounts).collect()
}
