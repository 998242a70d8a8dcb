//! How the root file system of a container is put together from layers.

use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::{Digest, Store};
use crate::kernel::idmap::IdMaps;

/// A root file system as a description: the runtime mounts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootMount {
    /// The kernel's overlay, with `userxattr`, mounted inside the container's user namespace.
    Overlay {
        /// The directory that relative paths start from: the caller changes to it, because the mount API
        /// takes no path longer than 255 bytes.
        base: PathBuf,
        /// The layers, the uppermost first as overlay wants them.
        lowers: Vec<PathBuf>,
        /// Where writes go; none for a read-only root.
        upper: Option<PathBuf>,
        /// Overlay's work directory, with `upper`.
        work: Option<PathBuf>,
        /// Further options, such as `userxattr`.
        options: Vec<(String, Option<String>)>,
    },
    /// The same by fuse-overlayfs, for kernels and file systems whose overlay will not do.
    FuseOverlay {
        /// The program.
        program: PathBuf,
        /// The directory that relative paths start from.
        base: PathBuf,
        /// The layers, the uppermost first.
        lowers: Vec<PathBuf>,
        /// Where writes go; none for a read-only root.
        upper: Option<PathBuf>,
        /// Its work directory, with `upper`.
        work: Option<PathBuf>,
        /// Further options.
        options: Vec<(String, Option<String>)>,
    },
    /// A plain directory.
    Bind {
        /// The directory.
        source: PathBuf,
    },
}

impl Store {
    /// Describes a root of `layers` (lowest first) with `upper` and `work` on top. `maps` are the
    /// container's ids in terms of the user's namespace; ids on disk are of that namespace.
    pub fn root_mount(
        &self,
        layers: &[Digest],
        upper: Option<&Path>,
        work: Option<&Path>,
        maps: &IdMaps,
    ) -> Result<RootMount> {
        if !maps.uid.iter().chain(&maps.gid).all(|range| range.inside == range.outside) {
            return Err(Error::Unsupported("not supported yet: images with shifted ids".to_owned()));
        }
        let relative = |path: &Path| path.strip_prefix(self.data()).unwrap_or(path).to_owned();
        let mut lowers = Vec::with_capacity(layers.len());
        for id in layers.iter().rev() {
            let layer =
                self.layer(id)?.ok_or_else(|| Error::NotFound { what: "layer", text: id.to_string() })?;
            lowers.push(relative(&layer.diff()));
        }
        Ok(RootMount::Overlay {
            base: self.data().to_owned(),
            lowers,
            upper: upper.map(relative),
            work: work.map(relative),
            options: vec![("userxattr".to_owned(), None)],
        })
    }
}
