//! `rbox rmi`.

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::config::ErrorKind;
use crate::container::remove::RemoveOptions;
use crate::engine::Engine;
use crate::events::Event;
use crate::image::local;
use crate::store::{self, Found, ImageId, ImageRecord, Partials, Removed, Store};

/// Remove one or more images from local storage
///
/// Removes one or more previously pulled or locally created images.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] IMAGE [IMAGE...]",
    after_help = "rbox rmi imageID\n  rbox rmi --force alpine\n  rbox rmi c4dfb1609ee2 93fd78260bd1 c0ed59d05ff7"
)]
pub struct Args {
    /// Remove all images
    #[arg(long, short)]
    all: bool,
    /// Force Removal of the image
    #[arg(long, short)]
    force: bool,
    /// Ignore errors if a specified image does not exist
    #[arg(long, short)]
    ignore: bool,
    /// Do not remove dangling images
    #[arg(long)]
    no_prune: bool,
    image: Vec<String>,
}

/// Removes images or names of them.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.image.is_empty() && !args.all {
        return Err(CommandError::new("image name or ID must be specified"));
    }
    if !args.image.is_empty() && args.all {
        return Err(CommandError::new(
            "when using the --all switch, you may not pass any images names or IDs",
        ));
    }
    let store = engine.store()?;
    let mut removal =
        Removal { engine, store, force: args.force, prune: !args.no_prune, removed: Removed::default() };
    let mut deleted = Vec::new();
    let mut errors: Vec<CommandError> = Vec::new();
    let targets = targets(store, &args, &mut errors)?;
    for target in targets {
        if let Err(error) = removal.remove(&target, &mut deleted) {
            errors.push(error);
        }
    }
    if !deleted.is_empty() {
        store.gc(Partials::Keep)?;
    }
    for name in &removal.removed.untagged {
        ui.data(format_args!("Untagged: {name}"))?;
    }
    for id in deleted {
        ui.data(format_args!("Deleted: {id}"))?;
    }
    joined(errors)
}

/// Removes lists of images; the images stay.
pub(in crate::cli) fn remove_lists(
    ui: &mut Ui,
    engine: &Engine,
    image: Vec<String>,
    ignore: bool,
) -> Result<ExitStatus> {
    exec(ui, engine, Args { all: false, force: false, ignore, no_prune: true, image })
}

/// What to remove: an image, under the name that it was found by.
fn targets(store: &Store, args: &Args, errors: &mut Vec<CommandError>) -> Result<Vec<Target>> {
    if args.all {
        let images = local::list(store)?;
        return Ok(images.into_iter().map(|image| Target { record: image.record, by: By::All }).collect());
    }
    let mut targets = Vec::new();
    for text in &args.image {
        match store.find_any(text) {
            Ok(Found { record, name: Some(name) }) => targets.push(Target { record, by: By::Name(name) }),
            Ok(Found { record, name: None }) if text.contains('@') || text.starts_with("sha256:") => {
                targets.push(Target { record, by: By::Digest });
            }
            Ok(Found { record, name: None }) => targets.push(Target { record, by: By::Id }),
            Err(store::Error::NotFound { .. }) if args.ignore || args.force => {}
            Err(error) => errors.push(error.into()),
        }
    }
    Ok(targets)
}

struct Target {
    record: ImageRecord,
    by: By,
}

enum By {
    All,
    Name(String),
    Id,
    Digest,
}

struct Removal<'r> {
    engine: &'r Engine,
    store: &'r Store,
    force: bool,
    prune: bool,
    removed: Removed,
}

impl Removal<'_> {
    fn remove(&mut self, target: &Target, deleted: &mut Vec<ImageId>) -> Result<()> {
        let id = &target.record.id;
        if deleted.contains(id) {
            return Ok(());
        }
        let names: Vec<String> = self.store.names_of(id)?.into_iter().map(|tag| tag.name).collect();
        // With one name left, `rmi NAME` means the image: it must fail where a container uses it.
        if names.len() > 1 {
            let how = match &target.by {
                By::Name(name) => {
                    if self.store.untag(name)? {
                        self.tell("untag", id, name)?;
                        self.removed.untagged.push(name.clone());
                    }
                    return Ok(());
                }
                By::Id if !self.force => Some("ID"),
                By::Digest if !self.force => Some("digest"),
                By::Id | By::Digest | By::All => None,
            };
            if let Some(how) = how {
                let names = names.join(" ");
                return Err(CommandError::new(format!(
                    "unable to delete image {:?} by {how} with more than one tag ([{names}]): please force removal",
                    id.to_string()
                )));
            }
        }
        if self.force {
            self.remove_containers(id)?;
        }
        let parents = if self.prune { self.parents(&target.record)? } else { Vec::new() };
        self.delete(id, deleted)?;
        for parent in parents {
            // It is only tidied up: an image that is in use stays.
            match self.delete(&parent, deleted) {
                Err(error) if error.kind() == Some(ErrorKind::Conflict) => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn delete(&mut self, id: &ImageId, deleted: &mut Vec<ImageId>) -> Result<()> {
        let engine = self.engine;
        let users = |id: &ImageId| {
            // Without knowing the users nothing may be removed.
            super::users(engine).map_or_else(
                |_| vec!["?".to_owned()],
                |users| users.get(id.as_str()).cloned().unwrap_or_default(),
            )
        };
        let removed = self.store.remove_image(id, None, users)?;
        for name in &removed.untagged {
            self.tell("untag", id, name)?;
        }
        if let Some(id) = &removed.deleted {
            self.tell("remove", id, &id.to_string())?;
        }
        self.removed.untagged.extend(removed.untagged);
        deleted.extend(removed.deleted);
        Ok(())
    }

    fn tell(&self, status: &str, id: &ImageId, name: &str) -> Result<()> {
        self.engine.events()?.emit(&[Event::image(status, &id.to_string(), name)]);
        Ok(())
    }

    fn remove_containers(&self, id: &ImageId) -> Result<()> {
        let containers = self.engine.containers()?;
        for user in super::users(self.engine)?.remove(id.as_str()).unwrap_or_default() {
            let record = containers.lookup(&user)?;
            containers.remove(&record, RemoveOptions { force: true, ..RemoveOptions::default() })?;
        }
        Ok(containers.sync_removals()?)
    }

    /// Untagged images that only this one builds on, the nearest first.
    fn parents(&self, record: &ImageRecord) -> Result<Vec<ImageId>> {
        let layers = |record: &ImageRecord| -> Vec<_> {
            record.layers.iter().map(|layer| layer.diff_id.clone()).collect()
        };
        let own = layers(record);
        let all = local::list(self.store)?;
        let builds_on = |other: &ImageRecord, base: &[store::Digest]| {
            let other = layers(other);
            other.len() > base.len() && other.starts_with(base)
        };
        let mut parents: Vec<&ImageRecord> = all
            .iter()
            .filter(|image| image.tags.is_empty())
            .map(|image| &image.record)
            .filter(|parent| {
                let base = layers(parent);
                !base.is_empty() && own.len() > base.len() && own.starts_with(&base)
            })
            .filter(|parent| {
                let base = layers(parent);
                // Other parents on the way do not count: they go with this one.
                all.iter().all(|image| {
                    image.record.id == record.id
                        || !builds_on(&image.record, &base)
                        || (image.tags.is_empty() && own.starts_with(&layers(&image.record)))
                })
            })
            .collect();
        parents.sort_by_key(|parent| std::cmp::Reverse(parent.layers.len()));
        Ok(parents.into_iter().map(|parent| parent.id.clone()).collect())
    }
}

/// One error as it is, several as a list; an image in use decides the exit code, then what is none of podman's cases.
fn joined(mut errors: Vec<CommandError>) -> Result<ExitStatus> {
    let kinds: Vec<Option<ErrorKind>> = errors.iter().map(CommandError::kind).collect();
    let status = if kinds.contains(&Some(ErrorKind::Conflict)) {
        ExitStatus::IN_USE
    } else if kinds.iter().all(|kind| *kind == Some(ErrorKind::NotFound)) {
        ExitStatus::NO
    } else {
        ExitStatus::ERROR
    };
    match errors.len() {
        0 => Ok(ExitStatus::SUCCESS),
        1 => Err(errors.remove(0).with_status(status)),
        count => {
            let list: String = errors.iter().map(|error| format!("\n\t* {}", error.message())).collect();
            Err(CommandError::new(format!("{count} errors occurred:{list}")).with_status(status))
        }
    }
}
