//! Checkpoints in archives, and in images: what other machines go on from.
//!
//! The layout is podman's, so that tools which look into such archives find everything:
//!
//! ```text
//! config.dump            what the container is; under "rbox" what it takes to make it again
//! spec.dump              its OCI runtime specification
//! stats-dump  ctr.log    CRIU's numbers; the log
//! checkpoint/            CRIU's files (or pre-checkpoint/, the first part)
//! rootfs-diff.tar        files that differ from the image
//! deleted.files          a list of those that are gone
//! volumes/NAME.tar       content of volumes
//! ```
//!
//! An archive is read by these names only: regular files, one level deep, each once. The one link that CRIU needs is made
//! here and not taken from the archive. What CRIU's files say is believed, as podman does: they are a program to be run.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{FIRST_PART, WHOLE};
use crate::container::create::CreateRequest;
use crate::container::lookup::read_json;
use crate::container::{ContainerId, Containers, Error, Record, Result, Time};
use crate::kernel::idmap::IdMaps;
use crate::kernel::path::RootDir;
use crate::kernel::{self, disk, file};
use crate::runtime::criu;
use crate::store::tar::{Archive, Kind, Limits};
use crate::store::{self, Staging, Store};
use crate::volume::Source;

/// The version of what stands under "rbox".
const VERSION: u32 = 1;
/// The longest document that is read.
const MAX_DOCUMENT: u64 = 16 << 20;
/// CRIU has some ten files a process.
const MAX_ENTRIES: u64 = 1_000_000;

pub(super) const CONFIG: &str = "config.dump";
pub(super) const SPEC: &str = "spec.dump";
pub(super) const STATISTICS: &str = "stats-dump";
pub(super) const LOG: &str = "ctr.log";
pub(super) const DIFFERENCE: &str = "rootfs-diff.tar";
pub(super) const DELETED: &str = "deleted.files";
pub(super) const VOLUMES: &str = "volumes";
/// Where a second part finds its first one.
pub(super) const PARENT: &str = "parent";

/// `config.dump`: podman's fields, as far as they are of use to anybody, and rbox's own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Config {
    pub(super) id: ContainerId,
    pub(super) name: String,
    #[serde(rename = "rootfsImageID", default)]
    image: String,
    #[serde(rename = "rootfsImageName", default)]
    image_name: String,
    #[serde(rename = "rawImageName", default)]
    image_given: String,
    #[serde(default)]
    runtime: String,
    #[serde(rename = "createdTime")]
    created: Value,
    #[serde(rename = "checkpointedTime", default)]
    checkpointed: Value,
    #[serde(rename = "logDriver", default)]
    log_driver: String,
    #[serde(rename = "namedVolumes", default)]
    pub(super) volumes: Vec<NamedVolume>,
    pub(super) rbox: Own,
}

/// A volume of the container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NamedVolume {
    #[serde(rename = "volumeName")]
    pub(super) name: String,
    pub(super) dest: String,
}

/// What the container is made from again.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Own {
    version: u32,
    pub(super) request: CreateRequest,
    /// Its ids in terms of those of the user's namespace.
    maps: IdMaps,
    /// Volumes that had no name of their own.
    #[serde(default)]
    anonymous: Vec<String>,
}

impl Config {
    pub(super) fn of(containers: &Containers, record: &Record) -> Result<Self> {
        let missing = |name: &str| containers.missing(&record.id, name);
        let mut request = containers.request(&record.id)?.ok_or_else(|| missing("request.json"))?;
        // What was changed since.
        request.identity.name = Some(record.name.clone());
        request.restart = Some(record.lifecycle.restart);
        request.health.clone_from(&record.health);
        let volumes = record.mounts.iter().filter(|mount| !mount.name.is_empty());
        Ok(Self {
            id: record.id.clone(),
            name: record.name.clone(),
            image: record.root.image_id.clone(),
            image_name: record.root.image_name.clone(),
            image_given: record.root.image_given.clone(),
            runtime: "rbox".to_owned(),
            created: json!(record.created.to_string()),
            checkpointed: json!(Time::now().to_string()),
            log_driver: record.log.driver.as_str().to_owned(),
            volumes: volumes
                .clone()
                .map(|mount| NamedVolume { name: mount.name.clone(), dest: mount.destination.clone() })
                .collect(),
            rbox: Own {
                version: VERSION,
                request,
                maps: record.root.maps.clone(),
                anonymous: volumes.filter(|mount| mount.anonymous).map(|mount| mount.name.clone()).collect(),
            },
        })
    }

    /// What an image says about the checkpoint that it holds, under podman's names.
    pub(super) fn annotations(&self, criu_version: &str) -> BTreeMap<String, String> {
        let version = env!("CARGO_PKG_VERSION");
        let texts = [
            ("name", self.name.as_str()),
            ("rawImageName", &self.image_given),
            ("rootfsImageID", &self.image),
            ("rootfsImageName", &self.image_name),
            ("podman.version", version),
            ("criu.version", criu_version),
            ("runtime.name", "rbox"),
            ("runtime.version", version),
            ("host.arch", std::env::consts::ARCH),
            ("cgroups.version", "v2"),
        ];
        let named = |(key, text): (&str, &str)| (format!("{ANNOTATION}{key}"), text.to_owned());
        texts.into_iter().map(named).collect()
    }
}

/// What annotations of checkpoints begin with.
pub const ANNOTATION: &str = "io.podman.annotations.checkpoint.";

/// An archive that was read: its files are in staging, and have the right names.
#[derive(Debug)]
pub struct Import {
    stage: Staging,
    config: Config,
}

impl Import {
    /// Reads an archive, which is not compressed any more.
    ///
    /// # Errors
    /// When it is no checkpoint of a container of rbox; nothing is left behind then.
    pub fn read(store: &Store, input: impl Read) -> Result<Self> {
        let stage = store.staging("checkpoint")?;
        take(&stage, input, false)?;
        let dir = stage.path();
        let config = config(dir)?;
        let _: Spec = document(dir, SPEC)?;
        if !criu::is_checkpoint(&dir.join(WHOLE)) {
            let what = if dir.join(FIRST_PART).exists() {
                "it has the first part of a checkpoint only, which `--import-previous` takes"
            } else {
                "a complete checkpoint for this container cannot be found, cannot restore"
            };
            return Err(invalid(what));
        }
        Ok(Self { stage, config })
    }

    /// Adds the first part of the checkpoint, from an archive of its own.
    ///
    /// # Errors
    /// When the archive has none.
    pub fn add_first_part(&self, input: impl Read) -> Result<()> {
        take(&self.stage, input, true)?;
        if !self.dir().join(FIRST_PART).exists() {
            return Err(invalid("the archive for --import-previous has no pre-checkpoint"));
        }
        Ok(())
    }

    /// Fails where the first part is missing.
    ///
    /// # Errors
    /// If so.
    pub fn check_parts(&self) -> Result<()> {
        let needs = std::fs::symlink_metadata(self.dir().join(WHOLE).join(PARENT)).is_ok();
        if needs && !self.dir().join(FIRST_PART).exists() {
            return Err(invalid(
                "the checkpoint was made with --with-previous: its first part is missing, which --import-previous takes",
            ));
        }
        Ok(())
    }

    pub(super) fn dir(&self) -> &Path {
        self.stage.path()
    }

    /// What the container is to be made from, with its old name and id.
    #[must_use]
    pub fn request(&self) -> CreateRequest {
        let Own { request, anonymous, .. } = &self.config.rbox;
        let mut request = request.clone();
        request.identity.id = Some(self.config.id.clone());
        request.identity.replace = false;
        for mount in &mut request.mounts {
            // Volumes without a name of their own get another one.
            if let Source::Volume { name, .. } = &mut mount.source
                && name.as_ref().is_some_and(|name| anonymous.contains(name))
            {
                *name = None;
            }
        }
        request
    }

    /// Volumes with names whose content the archive has.
    #[must_use]
    pub fn volumes(&self) -> Vec<&str> {
        let own = self.config.volumes.iter().map(|volume| volume.name.as_str());
        own.filter(|name| !self.config.rbox.anonymous.iter().any(|other| other == name)).collect()
    }

    /// The archive with the content of the volume that is mounted at `destination`.
    pub(super) fn volume_at(&self, destination: &str) -> Option<PathBuf> {
        let volume = self.config.volumes.iter().find(|volume| volume.dest == destination)?;
        let path = self.dir().join(VOLUMES).join(format!("{}.tar", volume.name));
        path.exists().then_some(path)
    }

    /// The image that the container had.
    #[must_use]
    pub fn image(&self) -> (&str, &str) {
        (&self.config.image, &self.config.image_name)
    }

    /// Fails where the container would have other ids than its processes and files.
    ///
    /// # Errors
    /// If so.
    pub fn check_maps(&self, record: &Record) -> Result<()> {
        if record.root.maps == self.config.rbox.maps {
            return Ok(());
        }
        Err(invalid(
            "the container's user namespace would have other ids here than where it was checkpointed",
        ))
    }
}

fn invalid(what: &str) -> Error {
    Error::Invalid { what: what.to_owned() }
}

/// Reads `config.dump`.
fn config(dir: &Path) -> Result<Config> {
    let value: Value = document(dir, CONFIG)?;
    let own = value.get("rbox").ok_or_else(|| {
        let runtime = value.get("runtime").and_then(Value::as_str).unwrap_or("another engine");
        invalid(&format!(
            "the checkpoint was made with {runtime}, and only those that rbox has made can be restored"
        ))
    })?;
    match own.get("version").and_then(Value::as_u64) {
        Some(1) => {}
        Some(found) if found > u64::from(VERSION) => {
            return Err(Error::Newer {
                path: CONFIG.into(),
                found: u32::try_from(found).unwrap_or(u32::MAX),
                known: VERSION,
            });
        }
        _ => return Err(invalid("config.dump of the checkpoint has no version")),
    }
    let parsed = serde_json::from_value(value);
    let config: Config = parsed.map_err(|source| Error::Damaged { path: CONFIG.into(), source })?;
    if ContainerId::parse(config.id.as_str()).is_none() {
        return Err(invalid("config.dump of the checkpoint has no container ID"));
    }
    Ok(config)
}

fn document<T: serde::de::DeserializeOwned>(dir: &Path, name: &str) -> Result<T> {
    let path = dir.join(name);
    if !path.exists() {
        return Err(invalid(&format!("it is no checkpoint: it has no {name}")));
    }
    let bytes = file::read_limited(&path, MAX_DOCUMENT)?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Damaged { path: name.into(), source })
}

/// What an entry of an archive is.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// Of no use here.
    Nothing,
    /// A file, and where it goes.
    File(PathBuf),
    /// The link to the first part.
    Parent,
}

/// What an entry means; refused is everything that a checkpoint does not have.
fn meaning(path: &[u8], kind: Kind, link: &[u8]) -> std::result::Result<Meaning, &'static str> {
    let text = std::str::from_utf8(path).map_err(|_| "its name is no text")?;
    let text = text.strip_prefix("./").unwrap_or(text).trim_end_matches('/');
    let parts: Vec<&str> = text.split('/').collect();
    if !matches!(text, "" | ".") && parts.iter().any(|part| ["", ".", ".."].contains(part)) {
        return Err("its path leads elsewhere");
    }
    match (kind, parts.as_slice()) {
        (Kind::Directory, ["" | "." | "artifacts" | VOLUMES | WHOLE | FIRST_PART]) => Ok(Meaning::Nothing),
        (Kind::Symlink, [WHOLE, PARENT]) if link == b"../pre-checkpoint" => Ok(Meaning::Parent),
        (Kind::File, ["artifacts", ..] | ["network.status" | "pod.options" | "pod.dump"]) => {
            Ok(Meaning::Nothing)
        }
        (Kind::File, [CONFIG | SPEC | STATISTICS | LOG | DIFFERENCE | DELETED])
        | (Kind::File, [WHOLE | FIRST_PART | VOLUMES, _]) => Ok(Meaning::File(text.into())),
        (Kind::File | Kind::Directory, _) => Err("a checkpoint has no such file"),
        _ => Err("it is neither a file nor a directory"),
    }
}

/// Writes the files of an archive to staging; of `first` only the first part.
fn take(stage: &Staging, input: impl Read, first: bool) -> Result<()> {
    let dir = RootDir::open(stage.path())?;
    // What does not fit on the disk is not begun to be written.
    let max_bytes = disk::free(stage.path())?;
    let mut left = max_bytes;
    let mut archive = Archive::without_digest(input, Limits { max_entries: MAX_ENTRIES, max_bytes });
    while let Some(mut entry) = archive.next_entry().map_err(store::Error::from)? {
        let header = &entry.header;
        let name = String::from_utf8_lossy(&header.path).into_owned();
        let refuse = |problem: &str| store::Error::Entry { entry: name.clone(), problem: problem.to_owned() };
        let path = match meaning(&header.path, header.kind, &header.link).map_err(refuse)? {
            Meaning::Nothing => continue,
            Meaning::Parent if first => continue,
            Meaning::Parent => {
                dir.create_dir_all(WHOLE, rustix::fs::Mode::RWXU)?;
                dir.symlink(format!("../{FIRST_PART}"), Path::new(WHOLE).join(PARENT))
                    .map_err(|_| refuse("it is there twice"))?;
                continue;
            }
            Meaning::File(path) => path,
        };
        if first && !path.starts_with(FIRST_PART) {
            continue;
        }
        if header.sparse {
            // A few bytes could become any number.
            return Err(refuse("it has holes").into());
        }
        left = left
            .checked_sub(header.size)
            .ok_or_else(|| refuse("it is larger than what is free on the disk"))?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            dir.create_dir_all(parent, rustix::fs::Mode::RWXU)?;
        }
        if dir.exists(&path)? {
            return Err(refuse("it is there twice").into());
        }
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let mut target = dir.create_new(&path, mode)?;
        std::io::copy(&mut entry, &mut target).map_err(|error| written(error, &name))?;
    }
    archive.finish().map_err(store::Error::from)?;
    Ok(())
}

/// A failed copy: what the archive does not give, or the disk does not take.
fn written(error: std::io::Error, name: &str) -> Error {
    kernel::Error::path("copy", name, error).into()
}

impl Containers {
    pub(super) fn spec_of(&self, record: &Record) -> Result<Spec> {
        let path = self.dir(&record.id).join("spec.json");
        read_json(&path, 1)?.ok_or_else(|| self.missing(&record.id, "spec.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_read_by_known_names_only() {
        let file = |text: &str| Ok(Meaning::File(text.into()));
        for (path, expected) in [
            ("config.dump", file("config.dump")),
            ("./checkpoint/core-1.img", file("checkpoint/core-1.img")),
            ("volumes/v.tar", file("volumes/v.tar")),
            ("network.status", Ok(Meaning::Nothing)),
            ("artifacts/x/y", Ok(Meaning::Nothing)),
            ("checkpoint/../../x", Err("its path leads elsewhere")),
            ("/config.dump", Err("its path leads elsewhere")),
            ("checkpoint//x", Err("its path leads elsewhere")),
            ("checkpoint/a/b", Err("a checkpoint has no such file")),
            ("upper/etc/passwd", Err("a checkpoint has no such file")),
            ("record.json", Err("a checkpoint has no such file")),
            ("checkpoint", Err("a checkpoint has no such file")),
        ] {
            assert_eq!(meaning(path.as_bytes(), Kind::File, b""), expected, "{path}");
        }
        let link = |path: &str, target: &str| meaning(path.as_bytes(), Kind::Symlink, target.as_bytes());
        assert_eq!(link("checkpoint/parent", "../pre-checkpoint"), Ok(Meaning::Parent));
        for (path, target) in [
            ("checkpoint/parent", "/etc"),
            ("checkpoint", "/etc"),
            ("config.dump", "/etc/shadow"),
            ("checkpoint/core-1.img", "../pre-checkpoint"),
        ] {
            assert!(link(path, target).is_err(), "{path} -> {target}");
        }
        assert!(meaning(b"ctr.log", Kind::HardLink, b"/etc/shadow").is_err());
        assert!(meaning(b"ctr.log", Kind::Fifo, b"").is_err());
    }
}
