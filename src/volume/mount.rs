//! A mount as the user asked for it: typed, serialisable, independent of any container.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute, clean path inside the container.
    pub destination: PathBuf,
    /// What is mounted there.
    pub source: Source,
    /// How it is mounted.
    #[serde(default)]
    pub options: MountOptions,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Source {
    /// A host file or directory.
    Bind {
        /// Absolute host path.
        path: PathBuf,
    },
    /// An overlay whose lower directory is a host directory (`:O`); writes go to `upper`.
    Overlay {
        /// Absolute host path.
        path: PathBuf,
        /// Upper directory chosen by the user (`upperdir=`); otherwise one of the container's own.
        upper: Option<PathBuf>,
        /// Work directory that belongs to `upper`.
        work: Option<PathBuf>,
    },
    /// A named volume; without a name an anonymous one, made for this container.
    Volume {
        /// The volume's name.
        name: Option<String>,
        /// Directory inside the volume to show instead of its root.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subpath: Option<PathBuf>,
    },
    /// The root file system of an image.
    Image {
        /// The image as the user named it.
        reference: String,
        /// Directory inside the image to show instead of its root.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subpath: Option<PathBuf>,
    },
    /// The files of an artifact, each on its own and always read-only.
    Artifact {
        /// The artifact as the user named it.
        reference: String,
        /// Only the file with that digest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
        /// Only the file with that title.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// The name that a file gets in a directory, with a number where there are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// A fresh tmpfs.
    Tmpfs {
        /// Whether the image's content at the destination is copied into it.
        #[serde(default)]
        copy_up: bool,
    },
    /// A fresh ramfs.
    Ramfs,
    /// A fresh devpts instance.
    Devpts,
    /// Every host path that matches a pattern, each bound on its own.
    Glob {
        /// Shell pattern, absolute.
        pattern: String,
        /// Each match keeps its own path in the container; otherwise it goes below the destination.
        keep_paths: bool,
    },
}

/// How a mount is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountOptions {
    /// `ro` or `rw`.
    pub access: Access,
    /// Whether sub-mounts come along (`rbind`, the default) or not (`bind`).
    pub non_recursive: bool,
    /// Propagation, as far as the user chose one.
    pub propagation: Option<Propagation>,
    /// `dev` was given: device nodes work.
    pub dev: bool,
    /// `suid` was given: set-user-id bits work.
    pub suid: bool,
    /// `exec` or `noexec`, as far as the user chose.
    pub exec: Option<bool>,
    /// `U`: ownership of the source is changed to the container's user.
    pub chown: bool,
    /// `z` or `Z`.
    pub relabel: Option<Relabel>,
    /// `copy` or `nocopy` of a volume.
    pub copy: Option<bool>,
    /// `idmap` with its argument (empty: the container's own map).
    pub idmap: Option<String>,
    /// `nocreate` of a volume.
    pub no_create: bool,
    /// `no-dereference`: a symbolic link is shown as one.
    pub no_dereference: bool,
    /// `O` of a volume: writes go to an overlay over it.
    pub overlay: Option<VolumeOverlay>,
    /// `volume-opt` of a volume that is created by its first use.
    pub volume_options: Vec<String>,
    /// File system options passed on as they are (`size=`, `mode=`, `max=`, …).
    pub data: Vec<String>,
}

/// Where what is written to an overlay over a volume goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeOverlay {
    /// Upper directory chosen by the user (`upperdir=`); otherwise one of the container's own.
    pub upper: Option<PathBuf>,
    /// Work directory that belongs to `upper`.
    pub work: Option<PathBuf>,
}

/// Read-only or writable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Writable.
    #[default]
    ReadWrite,
    /// Read-only.
    ReadOnly,
}

/// Mount propagation; the recursive forms carry `r`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// `shared`
    Shared,
    /// `rshared`
    Rshared,
    /// `slave`
    Slave,
    /// `rslave`
    Rslave,
    /// `private`
    Private,
    /// `rprivate`
    Rprivate,
    /// `unbindable`
    Unbindable,
    /// `runbindable`
    Runbindable,
}

/// SELinux relabelling of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relabel {
    /// `z`: shared by several containers.
    Shared,
    /// `Z`: for this container only.
    Private,
}

impl Propagation {
    /// Parses the option word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "shared" => Self::Shared,
            "rshared" => Self::Rshared,
            "slave" => Self::Slave,
            "rslave" => Self::Rslave,
            "private" => Self::Private,
            "rprivate" => Self::Rprivate,
            "unbindable" => Self::Unbindable,
            "runbindable" => Self::Runbindable,
            _ => return None,
        })
    }

    /// The option word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Rshared => "rshared",
            Self::Slave => "slave",
            Self::Rslave => "rslave",
            Self::Private => "private",
            Self::Rprivate => "rprivate",
            Self::Unbindable => "unbindable",
            Self::Runbindable => "runbindable",
        }
    }
}
