//! The root file system of a container, from its record to what the runtime mounts.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::record::Root;
use super::{Error, Result};
use crate::kernel::idmap::IdMaps;
use crate::kernel::ns::{self, Namespace, NamespaceSet};
use crate::kernel::{self, mount};
use crate::runtime::plan::Overlay;
use crate::runtime::{self, RootSource};
use crate::store::{Digest, RootMount, Store};

/// The layers, lowest first.
pub(super) fn layers(root: &Root) -> Result<Vec<Digest>> {
    let invalid = |text| Error::Invalid { what: format!("{text:?} is not a layer id") };
    root.layers.iter().map(|text| text.parse().map_err(|_| invalid(text))).collect()
}

/// The root file system as the runtime wants it. Where fuse-overlayfs is in use, [`super::fuse`] mounts the
/// overlay in the runtime's place.
pub(super) fn source(store: &Store, dir: &Path, root: &Root) -> Result<RootSource> {
    let (upper, work) = (dir.join("upper"), dir.join("work"));
    if let Some(directory) = &root.directory {
        if !root.directory_overlay {
            return Ok(RootSource::Bind(directory.clone()));
        }
        return Ok(RootSource::Overlay(Overlay {
            lower_base: PathBuf::from("/"),
            lowers: vec![directory.strip_prefix("/").unwrap_or(directory).to_owned()],
            upper_base: dir.to_owned(),
            upper: Some("upper".into()),
            work: Some("work".into()),
            user_xattr: true,
            volatile: true,
            options: Vec::new(),
        }));
    }
    Ok(convert(store.root_mount(&layers(root)?, Some(&upper), Some(&work), &root.maps)?))
}

/// Mounts a root for this process alone, which has one thread and gets a mount namespace of its own; the directory is
/// open for reading.
pub(super) fn mount_alone(source: &RootSource) -> Result<OwnedFd> {
    ns::unshare(NamespaceSet::EMPTY.with(Namespace::Mount))?;
    mount::make_all(mount::SLAVE)?;
    let root = runtime::mount_root(source)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(&root, ".", flags, Mode::empty())
        .map_err(|errno| kernel::Error::path("open", "/", errno).into())
}

/// The root file system of an image as it is, read-only.
pub(super) fn of_image(store: &Store, layers: &[Digest]) -> Result<RootSource> {
    let mount = store.root_mount(layers, None, None, &IdMaps::default())?;
    if matches!(mount, RootMount::FuseOverlay { .. }) {
        let what = "files of an image, where fuse-overlayfs mounts its root".to_owned();
        return Err(Error::Unsupported { what });
    }
    let mut source = convert(mount);
    if let RootSource::Overlay(overlay) = &mut source {
        overlay.volatile = false;
    }
    Ok(source)
}

fn convert(mount: RootMount) -> RootSource {
    let (base, lowers, upper, work, mut options) = match mount {
        RootMount::Bind { source } => return RootSource::Bind(source),
        RootMount::Overlay { base, lowers, upper, work, options }
        | RootMount::FuseOverlay { base, lowers, upper, work, options, .. } => {
            (base, lowers, upper, work, options)
        }
    };
    let given = options.len();
    options.retain(|(key, _)| key != "userxattr");
    RootSource::Overlay(Overlay {
        lower_base: base.clone(),
        lowers,
        upper_base: base,
        upper,
        work,
        user_xattr: options.len() < given,
        // A sync of the whole file system at each exit is not worth what a crash could lose.
        volatile: true,
        options,
    })
}

/// Overlay refuses an upper directory that was mounted `volatile` and leaves this mark for ever. The data of the
/// last run may be incomplete after a power cut; that is what `volatile` means, and no reason not to start.
pub(super) fn clear_volatile(dir: &Path) {
    let _ = std::fs::remove_dir_all(dir.join("work/work/incompat"));
}
