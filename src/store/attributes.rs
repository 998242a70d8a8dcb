//! The layer that repairs directories which layer archives only imply.
//!
//! An archive with the entry `usr/bin/tool` but none for `usr` and `usr/bin` means: these directories as the
//! layers below have them. Overlay shows the attributes of the uppermost layer that has the directory, so
//! unpacked as it is, the layer would reset their owner and mode. Others copy the attributes from the layers
//! below while unpacking, which makes the unpacked layer depend on them and forbids to unpack in parallel.
//! Here a layer is unpacked without looking at others, and remembers what it implied
//! ([`LayerRecord::implied`]). When an image is put together, the attributes of those directories are looked
//! up, and where they differ from what overlay would show, one more layer, holding nothing but these
//! directories, goes on top. Most images need none.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::layer::{Layer, Stage};
use super::record::{LayerRecord, VERSION};
use super::{Digest, ImageRecord, Store};
use crate::kernel;
use crate::kernel::xattr;

/// What one layer has at a path.
enum Seen {
    /// Nothing; look further down.
    Nothing,
    /// Something that hides what lower layers have.
    Hidden,
    /// The directory itself; `last` if lower layers do not count.
    Directory { fd: OwnedFd, stat: Box<Stat>, last: bool },
}

/// A layer with its lists as sets.
struct View<'a> {
    layer: &'a Layer,
    implied: HashSet<&'a str>,
    opaque: HashSet<&'a str>,
}

impl<'a> View<'a> {
    fn new(layer: &'a Layer) -> Self {
        let record = layer.record();
        let implied = record.implied.iter().map(String::as_str).collect();
        let opaque = record.opaque.iter().map(String::as_str).collect();
        Self { layer, implied, opaque }
    }

    /// What the layer has at `path`, and whether it hides lower layers there.
    fn look(&self, path: &str) -> Result<Seen> {
        let diff = self.layer.diff();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&diff, flags, Mode::empty()).map_err(|e| failed("open", &diff, e))?;
        let last = ancestors(path).any(|dir| self.opaque.contains(dir));
        let at = if path.is_empty() { "." } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let fd = match rustix::fs::openat2(&root, at, flags, Mode::empty(), resolve) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(if last { Seen::Hidden } else { Seen::Nothing }),
            // A whiteout, a file, or a link.
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Seen::Hidden),
            Err(e) => return Err(failed("openat2", diff.join(path), e)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|e| failed("fstat", diff.join(path), e))?;
        Ok(Seen::Directory { fd, stat: Box::new(stat), last })
    }
}

/// `path` and its parents, down to the root.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| {
        (!path.is_empty()).then(|| path.rfind('/').map_or("", |slash| &path[..slash]))
    })
}

impl Store {
    /// Finds or makes the layer that repairs the directories of an image; none if nothing needs repair.
    pub(super) fn ensure_attributes(&self, record: &ImageRecord) -> Result<Option<Digest>> {
        let mut layers = Vec::with_capacity(record.layers.len());
        for image_layer in record.layers.iter().rev() {
            let id = &image_layer.diff_id;
            let layer = self.layer(id)?;
            layers.push(layer.ok_or_else(|| Error::NotFound { what: "layer", text: id.to_string() })?);
        }
        let layers: Vec<View<'_>> = layers.iter().map(View::new).collect();
        let repairs = repairs(&layers)?;
        if repairs.is_empty() {
            return Ok(None);
        }
        let mut text = String::from("rbox attributes 1\n");
        for view in &layers {
            text.push_str(&format!("{}\n", view.layer.record().id));
        }
        let id = Digest::of(text.as_bytes());
        let lock = self.lock_layer(&id)?;
        if lock.present().is_none() {
            self.make_attributes(&id, &layers, &repairs)?;
        }
        Ok(Some(id))
    }

    fn make_attributes(
        &self,
        id: &Digest,
        layers: &[View<'_>],
        repairs: &BTreeMap<String, usize>,
    ) -> Result<()> {
        let stage = Stage::new(self, "attributes")?;
        let diff = stage.make_diff()?;
        for path in repairs.keys().filter(|path| !path.is_empty()) {
            rustix::fs::mkdirat(&diff, path.as_str(), Mode::RWXU).map_err(|e| failed("mkdirat", path, e))?;
        }
        // The deepest first, or a parent without write permission would forbid it.
        for (path, index) in repairs.iter().rev() {
            let source = layers.get(*index).map(|view| view.look(path)).transpose()?;
            copy_attributes(&diff, path, source)?;
        }
        let squashed = layers.iter().any(|view| view.layer.record().squashed);
        let record = LayerRecord {
            version: VERSION,
            id: id.clone(),
            size: 0,
            disk: 0,
            archive_size: 0,
            entries: repairs.len() as u64,
            implied: Vec::new(),
            opaque: Vec::new(),
            squashed,
            max_uid: 0,
            max_gid: 0,
            devices: 0,
            dropped_xattrs: 0,
        };
        self.publish(&stage, diff, record).map(drop)
    }
}

/// The directories of the repairing layer, with the index of the layer (the uppermost is 0) that has their
/// attributes: those that overlay would show wrongly, and the parents of these.
fn repairs(layers: &[View<'_>]) -> Result<BTreeMap<String, usize>> {
    let mut sources: BTreeMap<&str, Option<usize>> = BTreeMap::new();
    for view in layers {
        for path in &view.layer.record().implied {
            if !sources.contains_key(path.as_str()) {
                sources.insert(path, source_of(layers, path)?);
            }
        }
    }
    let mut repairs = BTreeMap::new();
    for (path, source) in sources {
        let Some(index) = source else { continue };
        repairs.insert(path.to_owned(), index);
        // The parents appear in the layer too, so they need their own attributes again.
        for parent in ancestors(path).skip(1) {
            if !repairs.contains_key(parent) {
                repairs.insert(parent.to_owned(), first_explicit(layers, parent)?);
            }
        }
    }
    Ok(repairs)
}

/// The layer whose attributes `path` should have, if overlay would show others.
fn source_of(layers: &[View<'_>], path: &str) -> Result<Option<usize>> {
    let mut shown: Option<Box<Stat>> = None;
    for (index, view) in layers.iter().enumerate() {
        match view.look(path)? {
            Seen::Nothing => {}
            Seen::Hidden => return Ok(None),
            Seen::Directory { stat, last, fd } => {
                let implied = view.implied.contains(path);
                match &shown {
                    // The uppermost layer with the directory has its real attributes: overlay is right.
                    None if !implied => return Ok(None),
                    None => shown = Some(stat),
                    Some(shown) if !implied => {
                        let same = (shown.st_mode, shown.st_uid, shown.st_gid)
                            == (stat.st_mode, stat.st_uid, stat.st_gid);
                        let plain = xattr::list(&fd).map_err(|e| failed("flistxattr", path, e))?.is_empty();
                        return Ok((!same || !plain).then_some(index));
                    }
                    Some(_) => {}
                }
                if last {
                    return Ok(None);
                }
            }
        }
    }
    Ok(None)
}

/// The layer with the attributes of a directory that is there: the uppermost that does not only imply it,
/// else past the end.
fn first_explicit(layers: &[View<'_>], path: &str) -> Result<usize> {
    for (index, view) in layers.iter().enumerate() {
        match view.look(path)? {
            Seen::Directory { last, .. } => {
                if !view.implied.contains(path) {
                    return Ok(index);
                }
                if last {
                    break;
                }
            }
            Seen::Hidden => break,
            Seen::Nothing => {}
        }
    }
    Ok(usize::MAX)
}

/// Gives the directory `path` below `diff` the attributes of `source`, or those of an implied directory.
fn copy_attributes(diff: &OwnedFd, path: &str, source: Option<Seen>) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let at = if path.is_empty() { "." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let dir = rustix::fs::openat2(diff, at, flags, Mode::empty(), resolve)
        .map_err(|e| failed("openat2", path, e))?;
    let Some(Seen::Directory { fd, stat, .. }) = source else {
        let mode = Mode::from_raw_mode(super::unpack::implied_mode(path.as_bytes()));
        return rustix::fs::fchmod(&dir, mode).map_err(|e| failed("fchmod", path, e));
    };
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(&dir, Some(uid), Some(gid)).map_err(|e| failed("fchown", path, e))?;
    for name in xattr::list(&fd).map_err(|e| failed("flistxattr", path, e))? {
        if name.starts_with(b"user.overlay.") {
            continue;
        }
        if let Some(value) = xattr::get(&fd, &name).map_err(|e| failed("fgetxattr", path, e))? {
            xattr::set(&dir, &name, &value).map_err(|e| failed("fsetxattr", path, e))?;
        }
    }
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    rustix::fs::fchmod(dir.as_fd(), mode).map_err(|e| failed("fchmod", path, e))?;
    let nanos = |nsec: u64| i64::try_from(nsec).unwrap_or(0);
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: nanos(stat.st_atime_nsec) },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: nanos(stat.st_mtime_nsec) },
    };
    rustix::fs::futimens(&dir, &times).map_err(|e| failed("utimensat", path, e))
}

fn failed(call: &'static str, path: impl AsRef<Path>, errno: Errno) -> Error {
    Error::Kernel { action: "repair directory attributes", source: kernel::Error::path(call, path, errno) }
}
