//! The root file system: mounted where nobody sees it, filled, then entered.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::kernel::mount::{self, Attributes, FileSystemContext};
use crate::kernel::path::RootDir;
use crate::kernel::{self, prctl};

use super::super::error::{Error, Result};
use super::super::plan::{FileSource, MountLabel, Overlay, RootSource};
use super::Stage;
use super::label::label_file_system;
use super::trees::Place;

/// Makes every mount a slave: mounts made here stay here. What the host mounts
/// later still arrives, which bind mounts with `rslave` rely on.
pub(super) fn isolate_mounts() -> Result<()> {
    Ok(mount::make_all(mount::SLAVE)?)
}

impl Stage<'_> {
    pub(super) fn mount_root(&mut self) -> Result<()> {
        let plan = self.plan();
        let prepared = self.trees.take(Place::Root);
        let root = match (&plan.root, prepared) {
            (RootSource::Overlay(_), Some(tree)) => tree,
            (RootSource::Overlay(overlay), None) => mount_overlay(overlay, self.mount_label())?,
            (RootSource::Bind(path), prepared) => {
                let tree = match prepared {
                    Some(tree) => tree,
                    None => mount::clone_tree(open_host(path)?, c"", true)?,
                };
                mount::set_attributes(&tree, true, Attributes::propagating(mount::PRIVATE))?;
                tree
            }
        };
        if self.in_new_user_namespace() {
            // Device nodes come by bind mounts on /dev; a node in an image is not to be trusted.
            mount::set_attributes(&root, false, Attributes::setting(mount::NO_DEV))?;
        }
        // It needs a place in the tree to be pivoted to. On top of the old root it is in nobody's way:
        // this process goes on seeing the old one, from which bind mounts are taken.
        let old = rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| kernel::Error::path("open", "/", errno))?;
        mount::attach(&root, &old)?;
        self.root = Some(RootDir::from_fd(root, "/"));
        Ok(())
    }

    /// The last changes to the root mount, and to those that had to be writable until now.
    pub(super) fn restrict_root(&mut self) -> Result<()> {
        let plan = self.plan();
        for tree in std::mem::take(&mut self.read_only) {
            mount::set_attributes(&tree, false, Attributes::setting(mount::READ_ONLY))?;
        }
        if plan.root_read_only {
            mount::set_attributes(self.root(), false, Attributes::setting(mount::READ_ONLY))?;
        }
        Ok(())
    }

    pub(super) fn enter_root(&mut self) -> Result<()> {
        let plan = self.plan();
        mount::pivot_root(self.root())?;
        self.root = Some(open_root()?);
        if plan.root_propagation != mount::PRIVATE {
            mount::set_attributes(self.root(), true, Attributes::propagating(plan.root_propagation))?;
        }
        prctl::set_dumpable(false)?;
        Ok(())
    }
}

/// The root of this process as a handle.
pub(super) fn open_root() -> Result<RootDir> {
    Ok(RootDir::open(Path::new("/"))?)
}

/// Opens a path that the caller named, on the host.
pub(in crate::runtime) fn open_host(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| Error::Step {
        doing: format!("cannot find `{}`", path.display()),
        source: errno.into(),
    })
}

/// The same with a part of it, which is resolved in it.
pub(in crate::runtime) fn open_source(path: &Path, below: Option<&Path>) -> Result<OwnedFd> {
    let source = open_host(path)?;
    match below {
        None => Ok(source),
        Some(below) => Ok(RootDir::from_fd(source, path).open_path(below)?),
    }
}

/// Mounts the root file system of a container that does not run, detached, for this process alone. The process is
/// root of the user's namespace and in a mount namespace of its own; its working directory becomes `/`.
///
/// # Errors
/// When the kernel refuses the mount.
pub fn mount_root(source: &RootSource) -> Result<OwnedFd> {
    mount_labelled_root(source, None)
}

/// The same for one that is to run.
pub(in crate::runtime) fn mount_labelled_root(
    source: &RootSource,
    label: Option<&MountLabel>,
) -> Result<OwnedFd> {
    match source {
        RootSource::Bind(path) => Ok(mount::clone_tree(open_host(path)?, c"", false)?),
        RootSource::Overlay(overlay) => mount_overlay(overlay, label),
    }
}

/// Mounts an overlay, detached. Its directories are named relative to the
/// current directory: mountinfo shows them to the container as they are given.
pub(in crate::runtime) fn mount_overlay(overlay: &Overlay, label: Option<&MountLabel>) -> Result<OwnedFd> {
    let context = FileSystemContext::open(c"overlay")?;
    context.set(c"source", c"overlay")?;
    enter_directory(&overlay.lower_base)?;
    for (at, lower) in overlay.lowers.iter().enumerate() {
        match context.set(c"lowerdir+", &c_path(lower)?) {
            // Before Linux 6.8 there is only one list of all layers, and this API takes no text longer
            // than 255 bytes. Linux 6.5 to 6.7 say so here, older kernels when the mount is made.
            Err(error) if at == 0 && error.errno() == Some(libc::EINVAL) => {
                return mount_overlay_by_text(overlay, label);
            }
            result => result?,
        }
    }
    if let (Some(upper), Some(work)) = (&overlay.upper, &overlay.work) {
        enter_directory(&overlay.upper_base)?;
        context.set(c"upperdir", &c_path(upper)?)?;
        context.set(c"workdir", &c_path(work)?)?;
        if overlay.volatile {
            context.set_flag(c"volatile")?;
        }
    }
    if overlay.user_xattr {
        context.set_flag(c"userxattr")?;
    }
    for (key, value) in &overlay.options {
        super::mounts::set_option(&context, key, value.as_deref())?;
    }
    label_file_system(&context, label)?;
    let tree = match context.mount(0) {
        Err(error) if error.errno() == Some(libc::EINVAL) => return mount_overlay_by_text(overlay, label),
        tree => tree?,
    };
    enter_directory(Path::new("/"))?;
    Ok(tree)
}

/// Mounts one file of an overlay, detached. Before Linux 6.15 a detached mount cannot be copied: then it covers a place of
/// this namespace for a moment.
pub(in crate::runtime) fn mount_file(file: &FileSource, label: Option<&MountLabel>) -> Result<OwnedFd> {
    let tree = mount_overlay(&file.overlay, label)?;
    let entry = c_path(&file.entry)?;
    match mount::clone_tree(&tree, &entry, false) {
        Err(error) if error.errno() == Some(libc::EINVAL) => {}
        copy => return Ok(copy?),
    }
    mount::attach(&tree, open_host(Path::new("/proc"))?)?;
    let copy = mount::clone_tree(&tree, &entry, false);
    mount::detach_at(c"/proc")?;
    Ok(copy?)
}

/// The same by `mount`, whose text may be as long as a page. It mounts at a place, so one is covered for a
/// moment in this namespace of our own, and the mount is taken off it.
fn mount_overlay_by_text(overlay: &Overlay, label: Option<&MountLabel>) -> Result<OwnedFd> {
    enter_directory(&overlay.lower_base)?;
    let text = c_bytes(overlay_text(overlay, label))?;
    mount::mount_at(c"/proc", c"overlay", &text)?;
    let tree = open_host(Path::new("/proc")).and_then(|place| Ok(mount::clone_tree(&place, c"", false)?));
    mount::detach_at(c"/proc")?;
    let tree = tree?;
    enter_directory(Path::new("/"))?;
    Ok(tree)
}

/// An overlay's options as one text; the directories are relative to `lower_base` where they can be.
fn overlay_text(overlay: &Overlay, label: Option<&MountLabel>) -> Vec<u8> {
    let escape = |path: &Path, text: &mut Vec<u8>| {
        for byte in path.as_os_str().as_bytes() {
            if matches!(byte, b':' | b',' | b'\\') {
                text.push(b'\\');
            }
            text.push(*byte);
        }
    };
    let mut text = b"lowerdir=".to_vec();
    for (at, lower) in overlay.lowers.iter().enumerate() {
        if at > 0 {
            text.push(b':');
        }
        escape(lower, &mut text);
    }
    if let (Some(upper), Some(work)) = (&overlay.upper, &overlay.work) {
        for (key, path) in [(&b",upperdir="[..], upper), (b",workdir=", work)] {
            text.extend_from_slice(key);
            let is_same = overlay.upper_base == overlay.lower_base;
            escape(&if is_same { path.clone() } else { overlay.upper_base.join(path) }, &mut text);
        }
        if overlay.volatile {
            text.extend_from_slice(b",volatile");
        }
    }
    if overlay.user_xattr {
        text.extend_from_slice(b",userxattr");
    }
    for (key, value) in &overlay.options {
        text.push(b',');
        text.extend_from_slice(key.as_bytes());
        if let Some(value) = value {
            text.push(b'=');
            text.extend_from_slice(value.as_bytes());
        }
    }
    if let Some(label) = label {
        // A level has commas.
        text.extend_from_slice(format!(",{}=\"{}\"", label.option.as_str(), label.context).as_bytes());
    }
    text
}

fn enter_directory(path: &Path) -> Result<()> {
    rustix::process::chdir(path).map_err(|errno| kernel::Error::path("chdir", path, errno).into())
}

pub(super) fn c_path(path: &Path) -> Result<CString> {
    c_bytes(path.as_os_str().as_bytes().to_vec())
}

pub(super) fn c_bytes(bytes: Vec<u8>) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::invalid("path", "it has a NUL byte"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::plan::LabelOption;

    #[test]
    fn an_overlay_is_one_text_for_old_kernels() {
        let overlay = Overlay {
            lower_base: "/s".into(),
            lowers: vec!["a:b/diff".into(), "c,d".into()],
            upper_base: "/s".into(),
            upper: Some("up".into()),
            work: Some("work".into()),
            user_xattr: true,
            volatile: true,
            options: vec![("xino".into(), Some("off".into()))],
        };
        let text = String::from_utf8(overlay_text(&overlay, None)).unwrap();
        assert_eq!(text, "lowerdir=a\\:b/diff:c\\,d,upperdir=up,workdir=work,volatile,userxattr,xino=off");
        let elsewhere = Overlay { upper_base: "/u".into(), volatile: false, ..overlay };
        let text = String::from_utf8(overlay_text(&elsewhere, None)).unwrap();
        assert!(text.contains("upperdir=/u/up,workdir=/u/work,userxattr"), "{text}");
        let label = MountLabel { option: LabelOption::Context, context: "u:r:t:s0:c1,c2".into() };
        let text = String::from_utf8(overlay_text(&elsewhere, Some(&label))).unwrap();
        assert!(text.ends_with(",context=\"u:r:t:s0:c1,c2\""), "{text}");
    }
}
