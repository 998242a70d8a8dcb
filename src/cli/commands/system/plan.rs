//! What `rbox system prune` is about to remove, and what that frees.
//!
//! The plan is made of the records alone, so that `--dry-run` and `--keep-storage` know the outcome beforehand. What it
//! names is asked for again, under its lock, when it is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;

use super::{is_over, volumes};
use crate::cli::args::containers::parse_filters;
use crate::cli::commands::image::list as images;
use crate::cli::commands::volume::filtered as filtered_volumes;
use crate::cli::error::{CommandError, Result};
use crate::cli::units::parse_input_time;
use crate::container::{Record, State};
use crate::engine::Engine;
use crate::image::filter::passes;
use crate::image::local::{self, Image, Users};
use crate::kernel::disk;
use crate::store::{ImageRecord, Object, Store, Usage};

/// The filter by last use.
const UNUSED_FOR: &str = "unused-for=";

/// What may be removed.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// Images that have names, too.
    pub(super) all: bool,
    /// Volumes.
    pub(super) volumes: bool,
    /// `--filter`
    pub(super) filters: Vec<String>,
    /// Remove no more than brings the store down to that.
    pub(super) keep: Option<u64>,
}

/// Something to remove.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) what: What,
    last_use: SystemTime,
    /// What is its own alone.
    pub(super) bytes: u64,
}

/// A kind of thing to remove.
#[derive(Debug, Clone)]
pub(super) enum What {
    Container(Box<Record>),
    Image(Box<ImageRecord>),
    Volume(String),
}

/// What is going to happen.
#[derive(Debug)]
pub(super) struct Plan {
    /// In this order.
    pub(super) items: Vec<Item>,
    /// Bytes that will be free afterwards, garbage included.
    pub(super) bytes: u64,
    /// Bytes that the store will take then; known only with a size to keep.
    pub(super) left: Option<u64>,
}

/// Makes the plan.
pub(super) fn plan(engine: &Engine, wanted: &Wanted) -> Result<Plan> {
    let (cutoff, filters) = split_filters(&wanted.filters)?;
    if wanted.volumes && cutoff.is_some() {
        return Err(CommandError::new(
            "when a volume was used last is not known: do without --volumes or unused-for=",
        ));
    }
    let store = engine.store()?;
    let is_old = |time: SystemTime| cutoff.is_none_or(|cutoff| time < cutoff);
    let mut items = containers(engine, &filters)?;
    items.retain(|item| is_old(item.last_use));
    let gone: BTreeMap<String, SystemTime> = items.iter().filter_map(Item::container).collect();
    items.extend(images_without(engine, wanted.all, &filters, &gone, &is_old)?);
    // By last use; volumes hold what cannot be brought again, so they are the last to go.
    items.sort_by_key(|item| (item.last_use, !matches!(item.what, What::Container(_))));
    if wanted.volumes {
        items.extend(unused_volumes(engine, &filters, &gone)?);
    }
    let total = match wanted.keep {
        Some(_) => Some(disk::tree(&engine.paths()?.data)),
        None => None,
    };
    let mut accounts = Accounts::new(store)?;
    let mut bytes = accounts.garbage();
    let is_enough = |bytes: u64| match (total, wanted.keep) {
        (Some(total), Some(keep)) => total.saturating_sub(bytes) <= keep,
        _ => false,
    };
    let mut chosen = Vec::new();
    for item in items {
        if is_enough(bytes) {
            break;
        }
        bytes += item.bytes;
        if let What::Image(record) = &item.what {
            bytes += accounts.remove(record);
        }
        chosen.push(item);
    }
    Ok(Plan { items: chosen, bytes, left: total.map(|total| total.saturating_sub(bytes)) })
}

impl Item {
    fn container(&self) -> Option<(String, SystemTime)> {
        match &self.what {
            What::Container(record) => Some((record.id.to_string(), self.last_use)),
            _ => None,
        }
    }
}

/// Takes the filter by last use out of the others: it means the same for everything.
fn split_filters(texts: &[String]) -> Result<(Option<SystemTime>, Vec<String>)> {
    let (mut cutoff, mut others) = (None, Vec::new());
    for text in texts {
        let Some(value) = text.strip_prefix(UNUSED_FOR) else {
            others.push(text.clone());
            continue;
        };
        let time = parse_input_time(value, true, Timestamp::now())
            .map_err(|error| CommandError::new(format!("invalid filter {text:?}: {error}")))?;
        cutoff = Some(SystemTime::from(time));
    }
    Ok((cutoff, others))
}

/// Containers that have ended or were never started, unless others need them.
fn containers(engine: &Engine, filters: &[String]) -> Result<Vec<Item>> {
    let containers = engine.containers()?;
    let mut items = Vec::new();
    for listed in containers.list(&parse_filters(filters, &containers)?)? {
        let (record, state) = (listed.record, listed.state);
        if !is_over(&state) || !containers.dependents(&record.id)?.is_empty() {
            continue;
        }
        let name = engine.paths()?.data.join("names").join(&record.name);
        let bytes = disk::tree(&containers.dir(&record.id)) + disk::tree(&name);
        items.push(Item { last_use: ended(&record, &state), what: What::Container(Box::new(record)), bytes });
    }
    Ok(items)
}

fn ended(record: &Record, state: &State) -> SystemTime {
    let finished = state.stored.as_ref().and_then(|stored| stored.finished);
    SystemTime::from(finished.map_or(record.created.0, |time| time.0))
}

/// Images that nothing uses once the containers `gone` are removed, and then those that only these build on.
fn images_without(
    engine: &Engine,
    all: bool,
    filters: &[String],
    gone: &BTreeMap<String, SystemTime>,
    is_old: &dyn Fn(SystemTime) -> bool,
) -> Result<Vec<Item>> {
    let store = engine.store()?;
    let filters = images::parse_filters(filters, store)?;
    let users = crate::cli::commands::image::users(engine)?;
    let is_free = |image: &Image| {
        users
            .get(image.record.id.as_str())
            .is_none_or(|users| users.iter().all(|user| gone.contains_key(user)))
    };
    // What filters say of containers is meant of those that stay.
    let staying: Users = users
        .iter()
        .map(|(image, users)| {
            let stay = users.iter().filter(|user| !gone.contains_key(*user)).cloned();
            (image.clone(), stay.collect::<Vec<_>>())
        })
        .filter(|(_, users)| !users.is_empty())
        .collect();
    let mut left = local::list(store)?;
    let mut items = Vec::new();
    loop {
        let (removed, rest): (Vec<Image>, Vec<Image>) = left.into_iter().partition(|image| {
            let is_wanted = all && (!image.record.list || image.tags.is_empty());
            is_free(image)
                && !image.has_children
                && (is_wanted || image.is_dangling())
                && passes(image, &filters, &staying, store)
                && is_old(last_use(store, image, &users, gone))
        });
        left = rest;
        if removed.is_empty() {
            return Ok(items);
        }
        for image in removed {
            let last_use = last_use(store, &image, &users, gone);
            let bytes = store.records_size(&image.record.id, &image.tags);
            items.push(Item { what: What::Image(Box::new(image.record)), last_use, bytes });
        }
        local::mark_children(&mut left);
    }
}

/// An image was used as long as a container of it was.
fn last_use(store: &Store, image: &Image, users: &Users, gone: &BTreeMap<String, SystemTime>) -> SystemTime {
    let own = store.last_use(&image.record.id).unwrap_or(SystemTime::UNIX_EPOCH);
    let users = users.get(image.record.id.as_str()).into_iter().flatten();
    users.filter_map(|user| gone.get(user)).copied().fold(own, SystemTime::max)
}

fn unused_volumes(
    engine: &Engine,
    filters: &[String],
    gone: &BTreeMap<String, SystemTime>,
) -> Result<Vec<Item>> {
    let (containers, table) = (engine.containers()?, volumes(engine)?);
    let mut used = BTreeSet::new();
    for id in containers.ids()? {
        if !gone.contains_key(id.as_str())
            && let Ok(Some(record)) = containers.record(&id)
        {
            used.extend(record.mounts.into_iter().map(|mount| mount.name));
        }
    }
    let unused =
        filtered_volumes(&containers, filters)?.into_iter().filter(|volume| !used.contains(&volume.name));
    let item = |name: String| {
        let data = table.data(&name);
        let bytes = disk::tree(data.parent().unwrap_or(Path::new(&data)));
        Item { what: What::Volume(name), last_use: SystemTime::UNIX_EPOCH, bytes }
    };
    Ok(unused.map(|volume| item(volume.name)).collect())
}

/// Who needs which part of the store.
struct Accounts {
    usage: Usage,
    users: BTreeMap<Object, usize>,
    staging: u64,
}

impl Accounts {
    fn new(store: &Store) -> Result<Self> {
        let mut users = BTreeMap::new();
        for image in store.images()? {
            for object in distinct(&image) {
                *users.entry(object).or_default() += 1;
            }
        }
        let left = crate::store::abandoned_staging(store.data());
        let staging = left.iter().map(|path| disk::tree(path)).sum();
        Ok(Self { usage: store.usage()?, users, staging })
    }

    /// What nobody needs already.
    fn garbage(&mut self) -> u64 {
        let unused: BTreeSet<Object> =
            self.usage.objects.keys().filter(|object| !self.users.contains_key(*object)).cloned().collect();
        self.usage.take(&unused) + self.staging
    }

    /// What the removal of an image frees.
    fn remove(&mut self, image: &ImageRecord) -> u64 {
        let mut free = BTreeSet::new();
        for object in distinct(image) {
            let Some(count) = self.users.get_mut(&object) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                free.insert(object);
            }
        }
        self.usage.take(&free)
    }
}

fn distinct(image: &ImageRecord) -> BTreeSet<Object> {
    Store::objects_of(image).into_iter().collect()
}
