//! SELinux labels of what a container is shown (`:z`, `:Z`), and of new volumes.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::config::selinux::container_contexts;
use crate::kernel::path::RootDir;
use crate::kernel::{self, selinux, walk};

use super::error::{Error, Result};

/// The level at which every container can use a file.
const SHARED_LEVEL: &str = "s0";

/// What belongs to the system or to everybody: services and logins stop working where their files have a container's label.
const SYSTEM: [&str; 33] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/run/user",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/home",
    "/var/lib",
    "/var/log",
    "/var/tmp",
];

/// The context that a mount with the container's `context` gets for all containers.
#[must_use]
pub fn shared(context: &str) -> String {
    match context.parse::<selinux::Context>() {
        Ok(context) if context.level.is_some() => context.with_level(SHARED_LEVEL).to_string(),
        _ => context.to_owned(),
    }
}

/// Gives `source` and everything below it `context`, the top last: a tree whose top has it was labelled to its end. Only
/// with `anew` it is looked through nevertheless, for files that were moved in. With `below` only that part, resolved in
/// it. `home` is the caller's.
///
/// # Errors
/// For directories of the system, and when a file belongs to somebody else.
pub fn relabel(
    (source, below): (&Path, Option<&Path>),
    context: &str,
    anew: bool,
    home: &Path,
) -> Result<()> {
    let failed = |call, errno: Errno| kernel::Error::path(call, source, errno);
    let mut top = rustix::fs::open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed("open", errno))?;
    if let Some(below) = below {
        top = RootDir::from_fd(top, source).open_path(below)?;
    }
    let stat = rustix::fs::fstat(&top).map_err(|errno| failed("fstat", errno))?;
    // By whatever name: /lib is /usr/lib, and a home may lie behind a link.
    let is_source = |path: &Path| {
        rustix::fs::stat(path).is_ok_and(|other| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino))
    };
    if is_source(home) || SYSTEM.iter().any(|path| is_source(Path::new(path))) {
        return Err(Error::NotToBeRelabelled { path: source.to_owned() });
    }
    if !anew && has(top.as_fd(), context, source)? {
        return Ok(());
    }
    let tree = RootDir::from_fd(top, source);
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        walk::below(&tree, &mut |directory, name| -> Result<()> {
            let file = match directory.open_path_nofollow(name) {
                Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(()),
                file => file?,
            };
            set(file.as_fd(), context, &source.join(name))
        })?;
    }
    set(tree.as_fd(), context, source)
}

/// Gives a directory with nothing in it the context with which every container can use it, where the policy has one.
///
/// # Errors
/// When the kernel does not take it.
pub(super) fn share_new(directory: &Path) -> Result<()> {
    if !selinux::is_enabled() {
        return Ok(());
    }
    let Some(policy) = container_contexts() else { return Ok(()) };
    relabel((directory, None), &shared(&policy.file.to_string()), false, Path::new("/"))
}

fn has(file: BorrowedFd<'_>, context: &str, path: &Path) -> Result<bool> {
    let known = selinux::file_context(file)
        .map_err(|errno| kernel::Error::path("getxattr security.selinux", path, errno))?;
    Ok(known.as_deref() == Some(context))
}

fn set(file: BorrowedFd<'_>, context: &str, path: &Path) -> Result<()> {
    if has(file, context, path)? {
        return Ok(());
    }
    match selinux::set_file_context(file, context) {
        // The file system has one label for all.
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(kernel::Error::path("setxattr security.selinux", path, errno).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::scratch;

    #[test]
    fn what_is_shared_has_no_categories() {
        for (context, expected) in [
            ("u:object_r:container_file_t:s0:c1,c2", "u:object_r:container_file_t:s0"),
            ("u:object_r:f_t:s0", "u:object_r:f_t:s0"),
            ("u:object_r:f_t", "u:object_r:f_t"),
        ] {
            assert_eq!(shared(context), expected);
        }
    }

    #[test]
    fn directories_of_the_system_are_left_alone() {
        let home = scratch::path("relabel-home");
        std::fs::create_dir_all(&home).unwrap();
        let link = home.with_extension("link");
        std::os::unix::fs::symlink("/usr", &link).unwrap();
        for path in [Path::new("/usr"), Path::new("/etc/../etc"), Path::new("/lib"), &link, &home] {
            let error = relabel((path, None), "u:object_r:f_t:s0", true, &home).unwrap_err();
            assert!(matches!(error, Error::NotToBeRelabelled { .. }), "{}: {error}", path.display());
        }
        std::fs::remove_file(link).unwrap();
        std::fs::remove_dir(home).unwrap();
    }
}
