//! `rbox volume …`.

pub mod create;
pub mod exists;
pub mod inspect;
pub mod list;
pub mod mount;
pub mod prune;
pub mod reload;
pub mod rm;
pub mod transfer;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::error::Result;
use crate::cli::units::{Time, parse_input_time, parse_rfc3339};
use crate::container::Containers;
use crate::engine::Engine;
use crate::volume::filter::Filters;
use crate::volume::{Volume, Volumes};

/// A volume as `ls` and `inspect` show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase", rename = "define.InspectVolumeData")]
pub(in crate::cli) struct View {
    name: String,
    driver: &'static str,
    mountpoint: String,
    created_at: Time,
    labels: BTreeMap<String, String>,
    scope: &'static str,
    options: BTreeMap<String, String>,
    #[serde(rename = "UID")]
    uid: u32,
    #[serde(rename = "GID")]
    gid: u32,
    anonymous: bool,
    mount_count: usize,
    needs_copy_up: bool,
    needs_chown: bool,
    timeout: u32,
}

impl View {
    /// What is known of `volume`; `running` are the names of volumes that running containers have, one for each.
    fn of(table: &Volumes, volume: Volume, running: &[String]) -> Self {
        let fresh = table.is_fresh(&volume);
        Self {
            mountpoint: table.data(&volume.name).to_string_lossy().into_owned(),
            created_at: parse_rfc3339(&volume.created).unwrap_or_else(Time::zero),
            mount_count: running.iter().filter(|name| **name == volume.name).count(),
            needs_copy_up: fresh,
            needs_chown: fresh && volume.uid.is_none() && volume.gid.is_none(),
            uid: volume.uid.unwrap_or(0),
            gid: volume.gid.unwrap_or(0),
            timeout: volume.timeout,
            anonymous: volume.anonymous,
            labels: volume.labels,
            options: volume.options,
            name: volume.name,
            driver: "local",
            scope: "local",
        }
    }
}

/// The views of volumes.
fn views(engine: &Engine, volumes: Vec<Volume>) -> Result<Vec<View>> {
    let containers = engine.containers()?;
    let table = containers.volumes();
    let mut running = Vec::new();
    for id in containers.ids()? {
        // A damaged record must not hide the volumes.
        let Ok(Some(record)) = containers.record(&id) else { continue };
        if record.mounts.iter().any(|mount| !mount.name.is_empty())
            && containers.state_or_unknown(&id).status.is_alive()
        {
            let names: BTreeSet<String> = record.mounts.into_iter().map(|mount| mount.name).collect();
            running.extend(names.into_iter().filter(|name| !name.is_empty()));
        }
    }
    Ok(volumes.into_iter().map(|volume| View::of(&table, volume, &running)).collect())
}

/// What templates can name, for completion.
pub(in crate::cli) fn fields() -> crate::cli::format::Value {
    let volume = Volume::new("", String::new());
    crate::cli::format::Value::of(&View::of(&Volumes::new("/".as_ref()), volume, &[]))
}

/// The volume that `rbox inspect` finds.
pub(in crate::cli) fn named(engine: &Engine, name: &str) -> Result<Option<View>> {
    let volume = engine.containers()?.volumes().find(name).ok();
    Ok(views(engine, volume.into_iter().collect())?.pop())
}

/// All volumes that pass `--filter`.
pub(in crate::cli) fn filtered(containers: &Containers, texts: &[String]) -> Result<Vec<Volume>> {
    let table = containers.volumes();
    let now = Timestamp::now();
    let filters = Filters::parse(texts, &table, |text| parse_input_time(text, true, now).ok())?;
    let used = used(containers)?;
    let all = table.list()?;
    Ok(all.into_iter().filter(|volume| filters.matches(volume, |v| used.contains(&v.name))).collect())
}

/// The names of volumes that a container has, running or not.
fn used(containers: &Containers) -> Result<BTreeSet<String>> {
    let records = containers.ids()?.into_iter().filter_map(|id| containers.record(&id).ok().flatten());
    Ok(records.flat_map(|record| record.mounts).map(|mount| mount.name).collect())
}
