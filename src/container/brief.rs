//! The part of a container's record that lists show: a third of it, read in half of the time.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::health::Health;
use super::record::Port;
use super::{ContainerId, Time};

/// Part of a [`Record`](super::Record), whose field names it shares.
#[derive(Debug, Clone, Deserialize)]
pub struct Brief {
    /// The container's id.
    pub id: ContainerId,
    /// The container's name.
    pub name: String,
    /// When it was created.
    pub created: Time,
    /// Where its root file system comes from.
    pub root: Root,
    /// Its first process.
    pub process: Process,
    /// How it ends and what happens then.
    pub lifecycle: Lifecycle,
    /// Network and ports.
    pub network: Network,
    /// Mounts and volumes.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Labels of the image and of the command line.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its health checks, if it has any.
    #[serde(default)]
    pub health: Option<Health>,
}

/// Part of [`record::Root`](super::record::Root).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Root {
    /// Image id, empty for `--rootfs`.
    pub image_id: String,
    /// The image's full name as resolved.
    pub image_name: String,
}

/// Part of [`record::Process`](super::record::Process).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Entry point and command.
    pub args: Vec<String>,
}

/// Part of [`record::Lifecycle`](super::record::Lifecycle).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Lifecycle {
    /// `--rm`.
    pub auto_remove: bool,
    /// `--cidfile`.
    pub cid_file: Option<PathBuf>,
}

/// Part of [`record::Network`](super::record::Network).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Network {
    /// As `--network` resolved it.
    pub mode: String,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Ports that are only exposed: `80/tcp`, `80-90/udp`.
    pub exposed: Vec<String>,
}

/// Part of [`record::Mount`](super::record::Mount).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// Path in the container.
    pub destination: String,
}
