//! Making a container from a checkpoint in an archive or an image, and going on with it.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::archive;
use super::restore::go_on;
use crate::cli::apart::in_user_namespace;
use crate::cli::args::create::CreateArgs;
use crate::cli::args::csv;
use crate::cli::ensure;
use crate::cli::error::{CommandError, Result};
use crate::cli::ui::Ui;
use crate::container::checkpoint::{ANNOTATION, Adoption, Import, RestoreRequest};
use crate::container::create::{self, CreateRequest, Created, RootFs};
use crate::container::remove::RemoveOptions;
use crate::container::{self, Containers, Record};
use crate::engine::Engine;
use crate::image::inflate::Inflated;
use crate::kernel;
use crate::network;
use crate::runtime::criu::Statistics;
use crate::store::{self, Digest};
use crate::volume::Source;

/// Where a checkpoint comes from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// An archive.
    File(PathBuf),
    /// A layer of an image.
    Image {
        /// As it was named.
        name: String,
        layer: Digest,
    },
}

/// What the user wants otherwise than it was.
#[derive(Debug)]
pub(super) struct Wishes<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) publish: &'a [String],
    /// The archive of the first part.
    pub(super) first_part: Option<&'a Path>,
    /// With changes of the root file system.
    pub(super) root: bool,
    /// With the content of volumes.
    pub(super) volumes: bool,
}

/// The checkpoint in the image that `reference` names; nothing if it names a container.
pub(super) fn image_of(engine: &Engine, containers: &Containers, reference: &str) -> Result<Option<Origin>> {
    let reference = reference.strip_prefix('/').unwrap_or(reference);
    match containers.lookup(reference) {
        Err(container::Error::NotFound { .. }) => {}
        // Errors come again where the container is looked for.
        _ => return Ok(None),
    }
    let found = match engine.store()?.find_image(reference) {
        Err(store::Error::NotFound { .. }) => {
            return Err(CommandError::new(format!("no such container or image: {reference}")));
        }
        found => found?,
    };
    let id = &found.record.id;
    let annotations = archive::annotations(engine, &found.record)?;
    let runtime = annotations.get(&format!("{ANNOTATION}runtime.name"));
    let runtime = runtime.ok_or_else(|| CommandError::new(format!("image is not a checkpoint: {id}")))?;
    if runtime != "rbox" {
        return Err(CommandError::new(format!(
            "container image {:?} requires runtime: {runtime:?}",
            id.as_str()
        )));
    }
    let blob = found.record.layers.last().and_then(|layer| layer.blob.clone());
    let layer = blob.ok_or_else(|| CommandError::new(format!("the layer of image {id} is not here")))?;
    Ok(Some(Origin::Image { name: reference.to_owned(), layer }))
}

/// Makes the container and goes on with it. Nothing is left where that fails.
pub(super) fn restore(
    ui: &mut Ui,
    engine: &Engine,
    origin: &Origin,
    wishes: &Wishes<'_>,
    request: &RestoreRequest,
) -> Result<(Record, Statistics)> {
    match origin {
        Origin::File(path) => {
            let import = read(engine, open(path)?)
                .map_err(|e| e.context(format_args!("checkpoint archive {}", path.display())))?;
            make(ui, engine, &import, wishes, request)
        }
        Origin::Image { name, layer } => {
            let blob = engine.store()?.blob(layer)?;
            let gone = || CommandError::new(format!("the layer {layer} is not here"));
            let doing =
                |e: CommandError| e.context(format_args!("unable to import checkpoint from image: {name:?}"));
            let import = blob.ok_or_else(gone).and_then(|blob| read(engine, blob)).map_err(doing)?;
            make(ui, engine, &import, wishes, request).map_err(doing)
        }
    }
}

fn open(path: &Path) -> Result<File> {
    let failed = |e| CommandError::from(kernel::Error::path("open", path, e));
    File::open(path).map_err(|e| failed(e).context("failed to open checkpoint archive for import"))
}

fn read(engine: &Engine, file: File) -> Result<Import> {
    Ok(Import::read(engine.store()?, Inflated::new(file))?)
}

fn make(
    ui: &mut Ui,
    engine: &Engine,
    import: &Import,
    wishes: &Wishes<'_>,
    restore: &RestoreRequest,
) -> Result<(Record, Statistics)> {
    if let Some(path) = wishes.first_part {
        import.add_first_part(Inflated::new(open(path)?)).map_err(|e| {
            CommandError::from(e).context(format_args!("checkpoint archive {}", path.display()))
        })?;
    }
    import.check_parts()?;
    let containers = engine.containers()?;
    let mut request = wanted(import, wishes)?;
    let table = containers.volumes();
    if wishes.volumes {
        for name in import.volumes() {
            if table.get(name)?.is_some() {
                return Err(CommandError::new(format!(
                    "volume with name {name} already exists. Use --ignore-volumes to not restore content of volumes"
                )));
            }
        }
    }
    let mut fresh = Vec::new();
    for mount in &request.mounts {
        if let Source::Volume { name: Some(name), .. } = &mount.source
            && table.get(name)?.is_none()
        {
            fresh.push(name.clone());
        }
    }
    find_image(ui, engine, import, &mut request)?;
    let created = create::create(engine, request)?;
    for warning in &created.warnings {
        ui.warn(warning);
    }
    let Created { record, lock, .. } = created;
    let done = (|| {
        import.check_maps(&record)?;
        containers.adopt_checkpoint(&record, import)?;
        let what = Adoption { root: wishes.root, volumes: wishes.volumes };
        in_user_namespace(ui, engine, |_| {
            let ids = engine.user_maps().inside();
            containers.adopt_files(engine.store()?, &record, import, what, &ids)?;
            Ok(String::new())
        })?;
        go_on(ui, engine, &containers, &record, lock, restore)
    })();
    match done {
        Ok(numbers) => Ok((record, numbers)),
        Err(error) => {
            // The error that counts is the one above.
            let _ = undo(ui, engine, &containers, &record, &fresh);
            Err(error)
        }
    }
}

/// What the container is made from here.
fn wanted(import: &Import, wishes: &Wishes<'_>) -> Result<CreateRequest> {
    let mut request = import.request();
    if let Some(name) = wishes.name {
        request.identity.name = Some(name.to_owned());
        request.identity.id = None;
    }
    if !wishes.publish.is_empty() {
        request.network.ports.clear();
        for value in csv::split(wishes.publish).map_err(CommandError::new)? {
            request.network.ports.extend(network::port::parse(&value)?);
        }
    }
    Ok(request)
}

/// Takes the image that the container had, or brings one of its name.
fn find_image(ui: &mut Ui, engine: &Engine, import: &Import, request: &mut CreateRequest) -> Result<()> {
    let (had, name) = import.image();
    let RootFs::Image { reference, id } = &mut request.rootfs else { return Ok(()) };
    if engine.store()?.find_image(had).is_ok() {
        *id = Some(had.to_owned());
        return Ok(());
    }
    if !name.is_empty() {
        name.clone_into(reference);
    }
    *id = None;
    ensure::image(ui, engine, &CreateArgs::default(), request)?;
    let RootFs::Image { reference, id } = &request.rootfs else { return Ok(()) };
    let found = engine.store()?.find_image(id.as_deref().unwrap_or(reference))?;
    if found.record.id.as_str() != had {
        ui.warn(format_args!(
            "the container had the image {had}, and {reference} is {} here: processes may not find what they were made from",
            found.record.id
        ));
    }
    Ok(())
}

/// Removes the container and the volumes that were made for it.
fn undo(
    ui: &mut Ui,
    engine: &Engine,
    containers: &Containers,
    record: &Record,
    volumes: &[String],
) -> Result<()> {
    in_user_namespace(ui, engine, |_| {
        containers.remove(record, RemoveOptions { force: true, timeout: None, volumes: true })?;
        for name in volumes {
            containers.remove_volume(name, false, None)?;
        }
        Ok(String::new())
    })?;
    Ok(())
}
