//! How the root file system of a container is put together from layers.

use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::derive::Method;
use super::error::{Error, Result};
use super::layer::Layer;
use super::pack::sorted_names;
use super::probe::Driver;
use super::unpack::implied_mode;
use super::{Digest, Store};
use crate::kernel;
use crate::kernel::idmap::{self, IdMaps, IdRange};

/// A root file system as a description: the runtime mounts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootMount {
    /// The kernel's overlay, mounted inside a user namespace.
    Overlay {
        /// The directory that relative paths (also in options) start from: the caller changes to it,
        /// because the mount API takes no value longer than 255 bytes.
        base: PathBuf,
        /// The layers, the uppermost first as overlay wants them.
        lowers: Vec<PathBuf>,
        /// Where writes go; none for a read-only root.
        upper: Option<PathBuf>,
        /// Overlay's work directory, with `upper`.
        work: Option<PathBuf>,
        /// Further options, such as `userxattr`, to be set after the layers and in this order.
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

/// Mode and owner (on disk) of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootAttributes {
    /// Permission bits.
    pub mode: u32,
    /// Owner, an id of the user's namespace.
    pub uid: u32,
    /// Group, an id of the user's namespace.
    pub gid: u32,
}

impl Store {
    /// Describes a root of `layers` (lowest first) with `upper` and `work` on top. `maps` are the
    /// container's ids in terms of the user's namespace; ids on disk are of that namespace.
    ///
    /// Where `maps` shift ids, the first call makes shifted trees of the layers: the caller must be inside
    /// the user's namespace. The first call ever tries out overlay: see [`Store::driver`].
    pub fn root_mount(
        &self,
        layers: &[Digest],
        upper: Option<&Path>,
        work: Option<&Path>,
        maps: &IdMaps,
    ) -> Result<RootMount> {
        let driver = self.driver()?;
        let layers = self.stack(layers)?;
        let mut lowers = Vec::with_capacity(layers.len());
        let mut options = Vec::new();
        let relative = |path: &Path| path.strip_prefix(self.data()).unwrap_or(path).to_owned();
        if is_identity(maps) {
            let (bottom, top) = layers.split_at(layers.len().saturating_sub(driver.max_layers));
            lowers.extend(top.iter().rev().map(|layer| relative(&layer.diff())));
            if !bottom.is_empty() {
                lowers.push(self.derive(bottom, Method::Links, None)?);
            }
        } else if driver.data_only {
            lowers.push(self.derive(&layers, Method::Stubs, Some(maps))?);
            options.push(("datadir+".to_owned(), Some("layers".to_owned())));
        } else if layers.len() <= driver.max_layers {
            for layer in layers.iter().rev() {
                lowers.push(self.derive(std::slice::from_ref(layer), Method::Copies, Some(maps))?);
            }
        } else {
            let problem =
                format!("not supported yet: more than {} layers with shifted ids", driver.max_layers);
            return Err(Error::Unsupported(problem));
        }
        if lowers.is_empty() || upper.is_none() && lowers.len() < 2 && options.is_empty() {
            // Overlay wants something below, and two directories where nothing is above.
            let empty = self.data().join("empty");
            match rustix::fs::mkdir(&empty, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(failed("mkdir", &empty, e)),
            }
            if upper.is_none() && lowers.is_empty() {
                return Ok(RootMount::Bind { source: empty });
            }
            lowers.push(PathBuf::from("empty"));
        }
        if let Some(upper) = upper.filter(|_| !is_identity(maps)) {
            self.adopt_upper(upper, &layers, maps)?;
        }
        let (base, upper, work) = (self.data().to_owned(), upper.map(relative), work.map(relative));
        match (driver.driver, driver.program) {
            (Driver::FuseOverlay, Some(program)) => {
                Ok(RootMount::FuseOverlay { program, base, lowers, upper, work, options })
            }
            _ => {
                options.push(("userxattr".to_owned(), None));
                Ok(RootMount::Overlay { base, lowers, upper, work, options })
            }
        }
    }

    /// What the root directory of `layers` (lowest first) has, as a container with `maps` needs it on disk.
    pub fn root_attributes(&self, layers: &[Digest], maps: &IdMaps) -> Result<RootAttributes> {
        Self::attributes_of(&self.stack(layers)?, maps)
    }

    fn attributes_of(stack: &[Layer], maps: &IdMaps) -> Result<RootAttributes> {
        let explicit = stack.iter().rev().find(|layer| !layer.record().implied.iter().any(String::is_empty));
        let attributes = match explicit {
            None => RootAttributes { mode: implied_mode(b""), uid: 0, gid: 0 },
            Some(layer) => {
                let diff = layer.diff();
                let stat = rustix::fs::stat(&diff).map_err(|e| failed("stat", &diff, e))?;
                RootAttributes { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid }
            }
        };
        let shift = |map: &[IdRange], id| idmap::to_outside(map, id).unwrap_or(id);
        let (uid, gid) = (shift(&maps.uid, attributes.uid), shift(&maps.gid, attributes.gid));
        Ok(RootAttributes { uid, gid, ..attributes })
    }

    /// Makes the upper and work directories of a new container, in a directory of its own. Overlay shows the
    /// upper directory's attributes as those of `/`. What is there already is taken.
    pub fn make_upper(&self, layers: &[Digest], maps: &IdMaps, upper: &Path, work: &Path) -> Result<()> {
        let attributes = self.root_attributes(layers, maps)?;
        for dir in [upper, work] {
            match rustix::fs::mkdir(dir, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(failed("mkdir", dir, e)),
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(upper, flags, Mode::empty()).map_err(|e| failed("open", upper, e))?;
        let stat = rustix::fs::fstat(&dir).map_err(|e| failed("fstat", upper, e))?;
        // Outside the user's namespace only its own id can be given, and that is what it has already.
        if (attributes.uid, attributes.gid) != (0, 0)
            && (stat.st_uid, stat.st_gid) != (attributes.uid, attributes.gid)
        {
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            rustix::fs::fchown(&dir, Some(uid), Some(gid)).map_err(|e| failed("fchown", upper, e))?;
        }
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(attributes.mode)).map_err(|e| failed("fchmod", upper, e))
    }

    /// Gives a new upper directory to the container's root. It was made outside of the user's namespace, where
    /// no other id than the user's can be given; one that was used already has the owner that the container
    /// wants.
    fn adopt_upper(&self, upper: &Path, stack: &[Layer], maps: &IdMaps) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(upper, flags, Mode::empty()).map_err(|e| failed("open", upper, e))?;
        let stat = rustix::fs::fstat(&dir).map_err(|e| failed("fstat", upper, e))?;
        let is_new = (stat.st_uid, stat.st_gid) == (0, 0) && sorted_names(&dir, b"upper")?.is_empty();
        if is_new {
            let RootAttributes { mode, uid, gid } = Self::attributes_of(stack, maps)?;
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::fchown(&dir, Some(uid), Some(gid)).map_err(|e| failed("fchown", upper, e))?;
            rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode)).map_err(|e| failed("fchmod", upper, e))?;
        }
        Ok(())
    }

    /// The layers, lowest first, without those that a layer above hides completely.
    fn stack(&self, layers: &[Digest]) -> Result<Vec<Layer>> {
        let mut stack = Vec::with_capacity(layers.len());
        for id in layers.iter().rev() {
            let layer =
                self.layer(id)?.ok_or_else(|| Error::NotFound { what: "layer", text: id.to_string() })?;
            let last = layer.hides_lower();
            stack.push(layer);
            if last {
                break;
            }
        }
        stack.reverse();
        Ok(stack)
    }
}

/// Whether the layers can be used as they are: every id that the container has is the same on disk, or it has
/// none but its user's own. Then there is no owner to shift to: what belongs to root is that one id's, as all
/// files are where the user has no sub-ids.
fn is_identity(maps: &IdMaps) -> bool {
    let is_callers_alone = |map: &[IdRange]| matches!(map, [range] if range.outside == 0 && range.count == 1);
    maps.uid.iter().chain(&maps.gid).all(|range| range.inside == range.outside)
        || is_callers_alone(&maps.uid) && is_callers_alone(&maps.gid)
}

fn failed(call: &'static str, path: &Path, errno: Errno) -> Error {
    Error::Kernel { action: "prepare a root file system", source: kernel::Error::path(call, path, errno) }
}

#[cfg(test)]
#[path = "root_tests.rs"]
mod tests;
