//! Opens the handles that commands work with, and nothing else.

use std::path::PathBuf;

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
    /// `--cdi-spec-dir`, in order.
    pub cdi_spec_dirs: Vec<PathBuf>,
}

/// The handles of one process.
#[derive(Debug)]
pub struct Engine {
    /// The options before the command name.
    pub options: Options,
}

impl Engine {
    /// Takes the options; everything else opens on demand.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }
}
