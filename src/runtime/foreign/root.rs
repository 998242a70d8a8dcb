//! The root file system for another runtime: a directory that it finds mounted and filled.

use std::ffi::CString;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use crate::kernel::idmap::{IdMaps, to_outside};
use crate::kernel::mount;
use crate::kernel::ns::{self, Namespace, NamespaceSet};
use crate::kernel::path::RootDir;
use crate::runtime::error::{Error, Result};
use crate::runtime::plan::{MountSource, Plan, Process, RootSource, UserNamespace};
use crate::runtime::{files, stage, user};

/// A root file system. Dropping it unmounts what was mounted.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    mounted: bool,
}

impl Root {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.mounted
            && let Ok(path) = CString::new(self.path.as_os_str().as_bytes())
        {
            let _ = mount::detach_at(&path);
        }
    }
}

/// Mounts the root of `plan` in a mount namespace of this process's own, finds the user of `process`, and makes
/// what the engine wants to be there.
pub(super) fn prepare(plan: &Plan, process: &mut Process) -> Result<Root> {
    ns::unshare(NamespaceSet::EMPTY.with(Namespace::Mount))?;
    mount::make_all(mount::SLAVE)?;
    let root = match &plan.root {
        RootSource::Bind(path) => Root { path: path.clone(), mounted: false },
        RootSource::Overlay(overlay) => {
            let path = plan.identity.bundle.join("merged");
            let tree = stage::mount_overlay(overlay, plan.mount_label.as_ref())?;
            mount::attach(&tree, RootDir::open(&path)?.open_path("")?)?;
            Root { path, mounted: true }
        }
    };
    let directory = RootDir::open(&root.path)?;
    let maps = match &plan.namespaces.user {
        UserNamespace::New(maps) => Some(maps),
        UserNamespace::Host | UserNamespace::Join(_) => None,
    };
    files::write(&plan.files, &directory)?;
    if let Some(lookup) = process.lookup.take() {
        user::apply(&lookup, &directory, maps, process)?;
    }
    make_working_directory(&directory, process, maps, &plan.identity.id)?;
    fill_volumes(plan, &directory)?;
    Ok(root)
}

fn make_working_directory(root: &RootDir, process: &Process, maps: Option<&IdMaps>, id: &str) -> Result<()> {
    if root.exists(&process.cwd)? {
        return Ok(());
    }
    if !process.create_cwd {
        // Runtimes differ in whether they make it.
        let doing = format!("workdir {:?} does not exist on container {id}", process.cwd);
        return Err(Error::Step { doing, source: std::io::Error::from_raw_os_error(libc::ENOENT) });
    }
    root.create_dir_all(&process.cwd, Mode::from_raw_mode(0o755))?;
    let outside = |map: Option<&[_]>, id| map.and_then(|map| to_outside(map, id)).unwrap_or(id);
    let uid = outside(maps.map(|maps| &maps.uid[..]), process.uid);
    let gid = outside(maps.map(|maps| &maps.gid[..]), process.gid);
    Ok(root.set_owner(&process.cwd, uid, gid)?)
}

/// Fills volumes that are used for the first time.
fn fill_volumes(plan: &Plan, root: &RootDir) -> Result<()> {
    for mount in plan.mounts.iter().filter(|mount| mount.copy_up) {
        let MountSource::Bind { path, below, .. } = &mount.source else { continue };
        if let Ok(from) = root.open_dir(&mount.destination) {
            let volume = RootDir::open(path)?.open_dir(below.as_deref().unwrap_or(Path::new("")))?;
            stage::fill(from.as_fd(), volume.as_fd(), true)?;
        }
    }
    Ok(())
}
