//! Mounts that come from outside: CRIU mounts file systems of the container's own by itself, all others have to be
//! found in it and given again.

use std::ffi::CString;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode};

use crate::kernel::mount::{self, Attributes, FileSystemContext};
use crate::kernel::ns::{self, Namespace, NamespaceSet};
use crate::kernel::path::RootDir;
use crate::kernel::{self, file};
use crate::runtime::error::{Error, Result};
use crate::runtime::plan::{Mount, MountSource, Plan};
use crate::runtime::stage;

/// File systems that CRIU mounts and fills again.
const OWN: [&str; 5] = ["tmpfs", "proc", "sysfs", "devpts", "mqueue"];
/// Files of an engine are short; a user may have given a longer one.
const MAX_COPY: u64 = 4 << 20;

/// A line of mountinfo.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    device: String,
    root: String,
    target: PathBuf,
    attributes: u64,
    kind: String,
}

/// The mounts that process `pid` sees.
fn mounts_of(pid: i32) -> Result<Vec<Line>> {
    let path = PathBuf::from(format!("/proc/{pid}/mountinfo"));
    let text = file::read_limited(&path, 16 << 20)?;
    Ok(String::from_utf8_lossy(&text).lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Line> {
    let (left, right) = line.split_once(" - ")?;
    let mut fields = left.split(' ').skip(2);
    let (device, root, target) = (fields.next()?, fields.next()?, fields.next()?);
    let bits = fields.next()?.split(',').map(|word| match word {
        "ro" => mount::READ_ONLY,
        "nosuid" => mount::NO_SUID,
        "nodev" => mount::NO_DEV,
        "noexec" => mount::NO_EXEC,
        "nosymfollow" => mount::NO_SYMLINK_FOLLOW,
        _ => 0,
    });
    Some(Line {
        device: device.to_owned(),
        root: root.to_owned(),
        target: unescape(target),
        attributes: bits.fold(0, |all, bit| all | bit),
        kind: right.split(' ').next()?.to_owned(),
    })
}

/// mountinfo writes blanks, tabs, line ends and backslashes as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut plain = text.to_owned();
    for (code, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(code, character);
    }
    plain.into()
}

/// Where the container of `plan`, whose first process is `pid`, has mounts from outside.
pub(super) fn find(plan: &Plan, pid: i32) -> Result<Vec<PathBuf>> {
    let lines = mounts_of(pid)?;
    let from_outside = |line: &&Line| {
        if line.target == Path::new("/") {
            return false;
        }
        let whole = |other: &Line| other.device == line.device && other.root == "/";
        let given = planned(plan, &line.target).is_some_and(|mount| !is_own(mount));
        given || !OWN.contains(&line.kind.as_str()) || !lines.iter().any(whole)
    };
    let found: Vec<_> = lines.iter().filter(from_outside).map(|line| line.target.clone()).collect();
    for path in &found {
        // CRIU has brackets around it.
        if path.to_string_lossy().contains([']', ':']) || path.to_str().is_none() {
            return Err(Error::unsupported(format!("a checkpoint with a mount at {}", path.display())));
        }
    }
    Ok(found)
}

/// The mount of the plan that `path` belongs to.
fn planned<'a>(plan: &'a Plan, path: &Path) -> Option<&'a Mount> {
    let of_it = plan.mounts.iter().filter(|mount| match &mount.source {
        MountSource::File(file) => path == mount.destination || path == mount.destination.join(&file.name),
        _ => path.starts_with(&mount.destination),
    });
    of_it.max_by_key(|mount| mount.destination.components().count())
}

fn is_own(mount: &Mount) -> bool {
    matches!(mount.source, MountSource::FileSystem { .. })
}

/// Mounts root file system and everything from outside below `place`, in a mount namespace of this process's own, and
/// says what CRIU is to take for what.
pub(super) fn prepare(plan: &Plan, paths: &[PathBuf], place: &Path, owner: (u32, u32)) -> Result<()> {
    ns::unshare(NamespaceSet::EMPTY.with(Namespace::Mount))?;
    // What was a slave of the host's in the container must be one here, or CRIU cannot make it so again.
    mount::make_all(mount::SLAVE)?;
    let context = FileSystemContext::open(c"tmpfs")?;
    context.set(c"source", c"restore")?;
    context.set(c"mode", c"0755")?;
    let own = context.mount(mount::NO_SUID)?;
    mount::attach(&own, RootDir::open(place)?.open_path("")?)?;
    let place = RootDir::from_fd(own, place);
    let tree = stage::mount_labelled_root(&plan.root, plan.mount_label.as_ref())?;
    attach(&place, "root", &tree)?;
    let root = RootDir::from_fd(tree, "/");
    for mount in plan.mounts.iter().filter(|mount| is_own(mount)) {
        make_target(plan, &root, &mount.destination, true, owner)?;
    }
    for (number, path) in paths.iter().enumerate() {
        let tree = source(plan, path, owner, &place)?;
        make_target(plan, &root, path, stage::is_dir(&tree)?, owner)?;
        attach(&place, &format!("m{number}"), &tree)?;
    }
    let read_only = if plan.root_read_only { mount::READ_ONLY } else { 0 };
    mount::set_attributes(root.as_fd(), false, Attributes::setting(mount::NO_DEV | read_only))?;
    rustix::process::chdir("/").map_err(|errno| kernel::Error::path("chdir", "/", errno).into())
}

/// Makes what a mount at `path` needs in the root file system, if that is one without what the container had written.
fn make_target(plan: &Plan, root: &RootDir, path: &Path, is_dir: bool, owner: (u32, u32)) -> Result<()> {
    let covers = |mount: &Mount| {
        path != mount.destination
            && mount.destination != Path::new("/")
            && path.starts_with(&mount.destination)
    };
    if plan.mounts.iter().any(covers) {
        return Ok(());
    }
    let inside = path.strip_prefix("/").unwrap_or(path);
    let mut prefixes: Vec<&Path> = inside.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
    prefixes.reverse();
    for prefix in prefixes {
        if root.exists(prefix)? {
            continue;
        }
        if prefix == inside && !is_dir {
            root.create_file(prefix, Mode::from_raw_mode(0o644))?;
        } else {
            root.create_dir_all(prefix, Mode::from_raw_mode(0o755))?;
        }
        root.set_owner(prefix, owner.0, owner.1)?;
    }
    Ok(())
}

fn attach(place: &RootDir, name: &str, tree: &OwnedFd) -> Result<()> {
    let target = if stage::is_dir(tree)? {
        place.create_dir_all(name, Mode::from_raw_mode(0o755))?
    } else {
        place.create_file(name, Mode::from_raw_mode(0o644))?
    };
    Ok(mount::attach(tree, &target)?)
}

/// What is mounted at `path`, with all that the mount restricts: CRIU does not set attributes on what it gets.
fn source(plan: &Plan, path: &Path, owner: (u32, u32), place: &RootDir) -> Result<OwnedFd> {
    let Some(mount) = planned(plan, path).filter(|mount| !is_own(mount)) else {
        let (tree, attributes) = cover(plan, path)?;
        mount::set_attributes(&tree, false, Attributes::setting(attributes))?;
        return Ok(tree);
    };
    let below = path.strip_prefix(&mount.destination).unwrap_or(Path::new(""));
    let tree = match &mount.source {
        MountSource::Bind { path, below: None, .. } => clone(&path.join(below))?,
        MountSource::Bind { path, below: Some(part), .. } => {
            mount::clone_tree(&stage::open_source(path, Some(&part.join(below)))?, c"", false)?
        }
        MountSource::Copy { path } => copy_of(path, owner, place)?,
        MountSource::Cgroup => {
            let context = FileSystemContext::open(c"cgroup2")?;
            context.set(c"source", c"cgroup")?;
            context.mount(0)?
        }
        MountSource::Overlay(overlay) => stage::mount_overlay(overlay, plan.mount_label.as_ref())?,
        MountSource::File(file) => stage::mount_file(file, plan.mount_label.as_ref())?,
        MountSource::Joined { .. } | MountSource::FileSystem { .. } => {
            return Err(Error::unsupported("restoring a container that shares mounts of another one"));
        }
    };
    let mut attributes = mount.attributes;
    let all = mount.recursive_attributes;
    (attributes.set, attributes.clear, attributes.propagation) =
        (attributes.set | all.set, attributes.clear & !all.set, 0);
    mount::set_attributes(&tree, false, attributes)?;
    Ok(tree)
}

fn clone(path: &Path) -> Result<OwnedFd> {
    let source = stage::open_host(path)?;
    Ok(mount::clone_tree(&source, c"", false)?)
}

/// A device, or what covers a masked file.
fn cover(plan: &Plan, path: &Path) -> Result<(OwnedFd, u64)> {
    let masked = plan.masked_paths.iter().any(|masked| path == masked);
    let node = if masked { Path::new("/dev/null") } else { path };
    let fail = || Error::unsupported(format!("a checkpoint with a mount at {}", path.display()));
    let known = masked || path.starts_with("/dev") || plan.devices.iter().any(|device| device.path == path);
    if !known {
        return Err(fail());
    }
    let tree = clone(node)?;
    let stat = rustix::fs::fstat(&tree).map_err(|errno| kernel::Error::path("fstat", node, errno))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice | FileType::BlockDevice => {}
        _ => return Err(fail()),
    }
    let restricted = if masked { mount::READ_ONLY } else { 0 };
    Ok((tree, restricted | mount::NO_SUID | mount::NO_EXEC))
}

/// A copy on a tmpfs, as the container had one; it is there as long as something is mounted from it.
fn copy_of(path: &Path, (uid, gid): (u32, u32), place: &RootDir) -> Result<OwnedFd> {
    let name = path.file_name().unwrap_or(path.as_os_str());
    let context = FileSystemContext::open(c"tmpfs")?;
    for (key, value) in [(c"source", c"files"), (c"size", c"16m"), (c"mode", c"0755")] {
        context.set(key, value)?;
    }
    let files = context.mount(mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC)?;
    // A detached mount cannot be copied before Linux 6.15.
    let target = place.create_dir_all("copy", Mode::from_raw_mode(0o755))?;
    mount::attach(&files, &target)?;
    let directory = RootDir::from_fd(files, "/");
    let mut copy = directory.create_new(name, Mode::from_raw_mode(0o644))?;
    kernel::path::set_owner_fd(copy.as_fd(), uid, gid)
        .map_err(|errno| kernel::Error::path("fchown", path, errno))?;
    let content = file::read_limited(path, MAX_COPY)?;
    copy.write_all(&content).map_err(|source| kernel::Error::path("write", path, source))?;
    let name = CString::new(name.as_encoded_bytes()).expect("a file that was read has no NUL in its name");
    let tree = mount::clone_tree(directory.as_fd(), &name, false)?;
    let path = CString::new(place.path().join("copy").into_os_string().into_encoded_bytes())
        .expect("a directory that was opened has no NUL in its path");
    mount::detach_at(&path)?;
    Ok(tree)
}

/// Sees that everything from outside is as restricted in `pid` as the plan has it.
pub(super) fn verify(plan: &Plan, paths: &[PathBuf], pid: i32) -> Result<()> {
    let lines = mounts_of(pid)?;
    for path in paths {
        let wanted = match planned(plan, path).filter(|mount| !is_own(mount)) {
            Some(mount) => (mount.attributes.set & !mount.attributes.clear) | mount.recursive_attributes.set,
            None if plan.masked_paths.iter().any(|masked| path == masked) => mount::READ_ONLY,
            None => 0,
        };
        // CRIU knows nothing of nosymfollow, which is a second lock only: what is mounted so is a file of the engine's.
        let known = mount::READ_ONLY | mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
        let found = lines.iter().rev().find(|line| line.target == *path);
        if found.is_none_or(|line| line.attributes & wanted & known != wanted & known) {
            let what = format!("mount at `{}`", path.display());
            return Err(Error::invalid(what, "CRIU has not restored it as it was"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo_are_read() {
        let line =
            "272 245 0:5 /null /proc/a\\040b ro,nosuid,noexec,relatime master:2 - devtmpfs udev rw,mode=755";
        let expected = Line {
            device: "0:5".to_owned(),
            root: "/null".to_owned(),
            target: "/proc/a b".into(),
            attributes: mount::READ_ONLY | mount::NO_SUID | mount::NO_EXEC,
            kind: "devtmpfs".to_owned(),
        };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("272 245 0:5"), None);
    }
}
