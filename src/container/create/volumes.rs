//! Volumes of a new container: those of the image, of other containers, and those that its use creates.

use std::path::{Path, PathBuf};

use super::build::Image;
use super::request::{CreateRequest, ImageVolumes};
use crate::container::{ContainerId, Containers, Error, Result, Time, lookup};
use crate::events::{Event, Sink};
use crate::kernel::file::Flock;
use crate::store::Store;
use crate::volume::{
    self, Access, Backing, DriverOptions, Mount, MountOptions, Propagation, Relabel, Source, Volume, Volumes,
};

/// Volumes that a container uses.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) table: Volumes,
    /// Volumes that hold nothing yet.
    pub(super) fresh: Vec<String>,
    /// Volumes that were given a name because they had none.
    pub(super) anonymous: Vec<String>,
    /// What the volumes show that are no directories of their own.
    pub(super) backings: Vec<(String, Backing)>,
    /// Volumes to make.
    missing: Vec<Volume>,
    /// Keeps the volumes until the record of the container names them.
    _lock: Option<Flock>,
}

impl Plan {
    /// Notes what the spec has to know of a volume.
    fn add(&mut self, volume: &Volume, is_new: bool) {
        let name = &volume.name;
        let takes_copy = !DriverOptions::forbids_copy(&volume.options)
            // Filling would give the directory the owner that the image has.
            && volume.uid.is_none()
            && volume.gid.is_none();
        if takes_copy && (is_new || self.table.is_fresh(volume)) && !self.fresh.contains(name) {
            self.fresh.push(name.clone());
        }
        let backing = volume.backing();
        if backing != Backing::Directory && !self.backings.iter().any(|(known, _)| known == name) {
            self.backings.push((name.clone(), backing));
        }
    }

    /// Makes what is missing. Another container may have been faster, which is fine.
    pub(super) fn create(&self, events: &Sink) -> Result<()> {
        for volume in &self.missing {
            match self.table.create(volume) {
                Err(volume::Error::Exists { .. }) => {}
                Ok(()) => events.emit(&[Event::volume("create", &volume.name)]),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Adds the mounts of `--volumes-from`; mounts of the command line come before them.
pub(super) fn of_others(containers: &Containers, request: &mut CreateRequest) -> Result<()> {
    for (reference, words) in request.volumes_from.clone() {
        let record = containers.lookup(&reference).map_err(|error| match error {
            Error::NotFound { reference } => Error::Invalid {
                what: format!(
                    "looking up container {reference:?} for volumes-from: no container with name or ID {reference:?} found: no such container"
                ),
            },
            other => other,
        })?;
        let path = containers.dir(&record.id).join("request.json");
        let Some(other) = lookup::read_json::<CreateRequest>(&path, 1)? else { continue };
        for mut mount in other.mounts {
            if !matches!(mount.source, Source::Bind { .. } | Source::Volume { .. }) {
                continue;
            }
            for word in &words {
                match word.as_str() {
                    "ro" => mount.options.access = Access::ReadOnly,
                    "rw" => mount.options.access = Access::ReadWrite,
                    _ => mount.options.relabel = Some(Relabel::Shared),
                }
            }
            add(&mut request.mounts, mount);
        }
    }
    Ok(())
}

fn add(mounts: &mut Vec<Mount>, mount: Mount) {
    if !mounts.iter().any(|other| other.destination == mount.destination) {
        mounts.push(mount);
    }
}

/// Adds the volumes of the image, gives anonymous volumes a name, and finds out what must be made.
pub(super) fn complete(store: &Store, request: &mut CreateRequest, image: Option<&Image>) -> Result<Plan> {
    for target in image.iter().flat_map(|image| image.config.config.volumes.keys()) {
        if let Some(mount) = of_image(target, request.image_volumes)? {
            add(&mut request.mounts, mount);
        }
    }
    let table = Volumes::new(store.data());
    let uses_volumes = request.mounts.iter().any(|mount| matches!(mount.source, Source::Volume { .. }));
    let lock = if uses_volumes { Some(table.keep()?) } else { None };
    let mut plan = Plan {
        table,
        fresh: Vec::new(),
        anonymous: Vec::new(),
        backings: Vec::new(),
        missing: Vec::new(),
        _lock: lock,
    };
    for mount in &mut request.mounts {
        let Source::Volume { name, .. } = &mut mount.source else { continue };
        let anonymous = name.is_none();
        let name = match name {
            Some(name) => name,
            None => name.insert(ContainerId::random()?.to_string()),
        };
        if anonymous {
            plan.anonymous.push(name.clone());
        }
        let known = if anonymous { None } else { plan.table.get(name)? };
        let made = plan.missing.iter().find(|volume| volume.name == *name).cloned();
        let is_new = known.is_none();
        let volume = match known.or(made) {
            Some(volume) => volume,
            None if mount.options.no_create => {
                return Err(volume::Error::NotFound { name: name.clone() }.into());
            }
            None => {
                let volume = new_volume(name, anonymous, &mount.options)?;
                plan.missing.push(volume.clone());
                volume
            }
        };
        plan.add(&volume, is_new);
    }
    Ok(plan)
}

fn new_volume(name: &str, anonymous: bool, options: &MountOptions) -> Result<Volume> {
    if !anonymous {
        // One grammar for everything that becomes a file name.
        crate::container::id::check_name(name)?;
    }
    let driver = DriverOptions::parse(&options.volume_options)?;
    Ok(Volume {
        options: driver.options,
        uid: driver.uid,
        gid: driver.gid,
        timeout: driver.timeout,
        anonymous,
        ..Volume::new(name, Time::now().to_string())
    })
}

/// The mount for a `VOLUME` of the image. Its path is content, not policy: cleaned by text, and
/// resolved below the container's root like any other (CVE-2022-23648).
fn of_image(target: &str, mode: ImageVolumes) -> Result<Option<Mount>> {
    let destination: PathBuf = volume::clean_path(&Path::new("/").join(target));
    let options = MountOptions {
        exec: Some(true),
        propagation: Some(Propagation::Rprivate),
        ..MountOptions::default()
    };
    let source = match mode {
        ImageVolumes::Ignore => return Ok(None),
        ImageVolumes::Tmpfs => Source::Tmpfs { copy_up: true },
        ImageVolumes::Anonymous => Source::Volume { name: None, subpath: None },
    };
    if target.contains('\0') {
        return Err(Error::Invalid {
            what: format!("the image has a volume at {target:?}, which is no path"),
        });
    }
    Ok(Some(Mount { destination, source, options }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s40_image_volumes_stay_inside() {
        for (target, expected) in [
            ("/data", "/data"),
            ("data", "/data"),
            ("/../../../home/x", "/home/x"),
            ("/a/../..", "/"),
            ("", "/"),
        ] {
            let mount = of_image(target, ImageVolumes::Anonymous).unwrap().unwrap();
            assert_eq!(mount.destination, Path::new(expected), "{target}");
        }
        assert!(of_image("/x", ImageVolumes::Ignore).unwrap().is_none());
        assert!(of_image("/a\0b", ImageVolumes::Anonymous).is_err());
    }
}
