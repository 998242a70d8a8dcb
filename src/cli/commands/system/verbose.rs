//! What `rbox system df --verbose` shows: every image, container and volume with what it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{links, volumes};
use crate::cli::error::Result;
use crate::cli::format::List;
use crate::cli::ui::Ui;
use crate::cli::units::{decimal_size, human_duration};
use crate::container::list::Listed;
use crate::engine::Engine;
use crate::image::Reference;
use crate::image::local;
use crate::kernel::disk;
use crate::store::{Object, Store};

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ImageUsage {
    repository: String,
    tag: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    created: String,
    size: String,
    shared_size: String,
    unique_size: String,
    containers: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerUsage {
    #[serde(rename = "ContainerID")]
    container_id: String,
    image: String,
    command: String,
    local_volumes: usize,
    #[serde(rename = "RWSize")]
    rw_size: String,
    created: String,
    status: &'static str,
    names: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct VolumeUsage {
    volume_name: String,
    links: usize,
    size: String,
}

const HEADERS: &[(&str, &str)] = &[
    ("ImageID", "image id"),
    ("SharedSize", "shared size"),
    ("UniqueSize", "unique size"),
    ("ContainerID", "container id"),
    ("LocalVolumes", "local volumes"),
    ("RWSize", "size"),
    ("VolumeName", "volume name"),
];

/// Prints the three tables.
pub(super) fn print(ui: &mut Ui, engine: &Engine, listed: &[Listed]) -> Result<()> {
    ui.data("Images space usage:\n")?;
    let row = "{{.Repository}}\t{{.Tag}}\t{{.ImageID}}\t{{.Created}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
    List::new("df", row).headers(HEADERS).print(ui, &images(engine, listed)?)?;
    ui.data("\nContainers space usage:\n")?;
    let row = "{{.ContainerID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.RWSize}}\t{{.Created}}\t{{.Status}}\t{{.Names}}";
    List::new("df", row).headers(HEADERS).print(ui, &containers(engine, listed)?)?;
    ui.data("\nLocal Volumes space usage:\n")?;
    let row = "{{.VolumeName}}\t{{.Links}}\t{{.Size}}";
    List::new("df", row).headers(HEADERS).print(ui, &volume_rows(engine, listed)?)
}

/// What an image needs is shared if another one needs it as well: layers, and the archives that they came in.
fn images(engine: &Engine, listed: &[Listed]) -> Result<Vec<ImageUsage>> {
    let store = engine.store()?;
    let images = local::list(store)?;
    let usage = store.usage()?;
    let mut users: BTreeMap<Object, usize> = BTreeMap::new();
    let objects =
        |image: &local::Image| -> BTreeSet<Object> { Store::objects_of(&image.record).into_iter().collect() };
    for object in images.iter().flat_map(objects) {
        *users.entry(object).or_default() += 1;
    }
    let mut rows = Vec::new();
    for image in &images {
        let (mut shared, mut unique) = (BTreeSet::new(), BTreeSet::new());
        for object in objects(image) {
            let is_shared = users.get(&object).is_some_and(|count| *count > 1);
            let _ = if is_shared { shared.insert(object) } else { unique.insert(object) };
        }
        let (shared, unique) = (usage.of(&shared), usage.of(&unique));
        let name = image.repo_tags().into_iter().find_map(|name| Reference::parse(&name).ok());
        let used = listed.iter().filter(|one| one.record.root.image_id == image.record.id.as_str());
        rows.push(ImageUsage {
            repository: name.as_ref().map_or_else(|| "<none>".to_owned(), Reference::repository),
            tag: name.as_ref().and_then(Reference::tag).unwrap_or("<none>").to_owned(),
            image_id: image.record.id.as_str().chars().take(12).collect(),
            created: age(image.created()),
            size: decimal_size(shared + unique),
            shared_size: decimal_size(shared),
            unique_size: decimal_size(unique),
            containers: used.count(),
        });
    }
    Ok(rows)
}

fn containers(engine: &Engine, listed: &[Listed]) -> Result<Vec<ContainerUsage>> {
    let table = engine.containers()?;
    let row = |Listed { record, state }: &Listed| ContainerUsage {
        container_id: record.id.as_str().chars().take(12).collect(),
        image: record.root.image_id.chars().take(12).collect(),
        command: record.process.args.join(" "),
        local_volumes: record.mounts.iter().filter(|mount| mount.kind == "volume").count(),
        rw_size: decimal_size(disk::tree(&table.dir(&record.id))),
        created: age(record.created.0),
        status: state.status.as_str(),
        names: record.name.clone(),
    };
    Ok(listed.iter().map(row).collect())
}

fn volume_rows(engine: &Engine, listed: &[Listed]) -> Result<Vec<VolumeUsage>> {
    let table = volumes(engine)?;
    let records: Vec<_> = listed.iter().map(|one| one.record.clone()).collect();
    let row = |volume: crate::volume::Volume| VolumeUsage {
        size: decimal_size(disk::tree(&table.data(&volume.name))),
        links: links(&volume, &records),
        volume_name: volume.name,
    };
    Ok(table.list()?.into_iter().map(row).collect())
}

fn age(then: Timestamp) -> String {
    let seconds = Timestamp::now().as_second().saturating_sub(then.as_second());
    human_duration(Duration::from_secs(seconds.try_into().unwrap_or(0)))
}
