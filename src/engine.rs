//! Opens the handles that commands work with, and nothing else.

use std::cell::OnceCell;
use std::path::PathBuf;

use crate::config::{self, Config, Env, ErrorKind, PathOptions, Paths};
use crate::container::Containers;
use crate::events::Sink;
use crate::image;
use crate::store::{self, Store, UnpackOptions};
use crate::userns::{self, UserMaps};

/// What the options before the command name say.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--root`: where images, containers and volumes are.
    pub root: Option<PathBuf>,
    /// `--runroot`: where volatile state is.
    pub runroot: Option<PathBuf>,
    /// `--imagestore`: where images are, when not in the root.
    pub image_store: Option<PathBuf>,
    /// `--storage-driver`.
    pub storage_driver: Option<String>,
    /// `--storage-opt`, in order.
    pub storage_options: Vec<String>,
    /// `--tmpdir`.
    pub tmpdir: Option<PathBuf>,
    /// `--volumepath`.
    pub volume_path: Option<PathBuf>,
    /// `--network-config-dir`.
    pub network_config_dir: Option<PathBuf>,
    /// `--module`, in order.
    pub modules: Vec<PathBuf>,
    /// `--runtime`.
    pub runtime: Option<PathBuf>,
    /// `--runtime-flag`, in order.
    pub runtime_flags: Vec<String>,
    /// `--cgroup-manager`.
    pub cgroup_manager: Option<String>,
    /// `--events-backend`.
    pub events_backend: Option<String>,
    /// `--hooks-dir`, in order.
    pub hooks_dirs: Vec<PathBuf>,
    /// `--default-mounts-file`.
    pub default_mounts_file: Option<PathBuf>,
    /// `--cdi-spec-dir`, in order.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// `--config`: docker's name for `$DOCKER_CONFIG`.
    pub client_config: Option<PathBuf>,
}

impl Options {
    /// What `--storage-opt` says about the program that mounts overlays.
    fn mount_program(&self) -> Option<PathBuf> {
        let mut values = self.storage_options.iter().rev().filter_map(|option| {
            let (key, value) = option.split_once('=')?;
            is_mount_program(key).then(|| value.into())
        });
        values.next()
    }
}

/// Whether a key of `--storage-opt` names the program that mounts overlays.
#[must_use]
pub fn is_mount_program(key: &str) -> bool {
    matches!(key, "overlay.mount_program" | ".mount_program" | "mount_program")
}

/// The handles of one process, each opened when it is first asked for.
#[derive(Debug)]
pub struct Engine {
    /// The options before the command name.
    pub options: Options,
    env: OnceCell<Env>,
    paths: OnceCell<Paths>,
    user_maps: OnceCell<UserMaps>,
    config: OnceCell<Config>,
    store: OnceCell<Store>,
    unpack: OnceCell<UnpackOptions>,
}

/// A handle that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

/// No image has more entries in one layer; each costs memory while it is unpacked.
const LAYER_ENTRIES_MAX: u64 = 5_000_000;
/// The largest uncompressed layer.
const LAYER_BYTES_MAX: u64 = 1 << 40;

impl Engine {
    /// Takes the options; everything else opens on demand.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            env: OnceCell::new(),
            paths: OnceCell::new(),
            user_maps: OnceCell::new(),
            config: OnceCell::new(),
            store: OnceCell::new(),
            unpack: OnceCell::new(),
        }
    }

    /// Where devices are described (CDI), later ones first in rank.
    ///
    /// # Errors
    /// As [`Engine::config`] and [`Engine::paths`].
    pub fn cdi_directories(&self) -> config::Result<Vec<PathBuf>> {
        let configured = &self.config()?.engine.cdi_spec_dirs;
        let all =
            config::cdi::directories(&self.options.cdi_spec_dirs, configured, &self.paths()?.config_home);
        // Monitors leave the directory that a relative path is meant from.
        Ok(all.into_iter().map(|dir| std::path::absolute(&dir).unwrap_or(dir)).collect())
    }

    /// The environment of this process.
    pub fn env(&self) -> &Env {
        self.env.get_or_init(|| match &self.options.client_config {
            None => Env::capture(),
            Some(dir) => Env::capture().with(config::env::name::DOCKER_CONFIG, dir),
        })
    }

    /// Where rbox keeps its files.
    ///
    /// # Errors
    /// When there is no home, or no safe place for volatile state.
    pub fn paths(&self) -> config::Result<&Paths> {
        get_or_open(&self.paths, || {
            let options = PathOptions {
                root: self.options.root.clone(),
                runroot: self.options.runroot.clone(),
                tmpdir: self.options.tmpdir.clone(),
                mount_program: self.options.mount_program(),
            };
            Paths::find(self.env(), &options)
        })
    }

    /// The user's containers.
    ///
    /// # Errors
    /// As [`Self::paths`].
    pub fn containers(&self) -> config::Result<Containers> {
        let Paths { data, run, .. } = self.paths()?;
        Ok(Containers { data: data.clone(), run: run.clone(), events: self.events()? })
    }

    /// Where events go.
    ///
    /// # Errors
    /// When the configuration cannot be read.
    pub fn events(&self) -> config::Result<Sink> {
        Ok(Sink::new(self.config()?, self.options.events_backend.as_deref(), &self.paths()?.data))
    }

    /// The merged containers.conf.
    ///
    /// # Errors
    /// When a file cannot be read or makes no sense.
    pub fn config(&self) -> config::Result<&Config> {
        get_or_open(&self.config, || Config::load(self.env(), &self.options.modules))
    }

    /// The store of images and layers.
    ///
    /// # Errors
    /// When it cannot be opened or made.
    pub fn store(&self) -> Result<&Store, Error> {
        let paths = self.paths()?;
        Ok(get_or_open(&self.store, || Store::open(paths))?)
    }

    /// How layers are unpacked for this user.
    pub fn unpack(&self) -> &UnpackOptions {
        self.unpack.get_or_init(|| {
            let maps = self.user_maps();
            UnpackOptions {
                maps: maps.maps.clone(),
                squash: !maps.is_full(),
                max_entries: LAYER_ENTRIES_MAX,
                max_bytes: LAYER_BYTES_MAX,
            }
        })
    }

    /// What operations on images work with.
    ///
    /// # Errors
    /// When the configuration or the store cannot be opened.
    pub fn images(&self) -> Result<image::Context<'_>, Error> {
        Ok(image::Context {
            store: self.store()?,
            config: self.config()?,
            env: self.env(),
            paths: self.paths()?,
            unpack: self.unpack(),
            policy_file: None,
        })
    }

    /// The id maps of the user's namespace.
    pub fn user_maps(&self) -> &UserMaps {
        self.user_maps.get_or_init(|| userns::user_maps(self.env()))
    }
}

/// Opens what `cell` holds unless that was done before.
fn get_or_open<T, E>(cell: &OnceCell<T>, open: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = open()?;
    Ok(cell.get_or_init(|| value))
}
