//! Walks through directory trees by handles: no symbolic link is followed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Dir, FileType};
use rustix::io::Errno;

use super::path::RootDir;
use super::{Error, Result};

/// Each level holds a descriptor, and a stack frame.
const MAX_DEPTH: usize = 400;

/// Calls `visit` with a directory and a name in it, for everything below `directory`: what a directory has before the
/// directory itself. What disappears meanwhile is left out.
///
/// # Errors
/// Those of `visit`, what the file system says, and `ENAMETOOLONG` for more than 400 directories in each other.
pub fn below<E: From<Error>>(
    directory: &RootDir,
    visit: &mut impl FnMut(&RootDir, &Path) -> Result<(), E>,
) -> Result<(), E> {
    descend(directory, visit, 0)
}

fn descend<E: From<Error>>(
    directory: &RootDir,
    visit: &mut impl FnMut(&RootDir, &Path) -> Result<(), E>,
    depth: usize,
) -> Result<(), E> {
    if depth > MAX_DEPTH {
        return Err(Error::call("walk", "", Errno::NAMETOOLONG).into());
    }
    let failed = |errno: Errno| E::from(Error::call("readdir", "", errno));
    for entry in Dir::new(directory.open_dir("")?).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = Path::new(OsStr::from_bytes(entry.file_name().to_bytes()));
        if name == Path::new(".") || name == Path::new("..") {
            continue;
        }
        let is_dir = match directory.lstat(name) {
            Err(error) if error.errno() == Some(libc::ENOENT) => continue,
            stat => FileType::from_raw_mode(stat?.st_mode) == FileType::Directory,
        };
        if is_dir {
            descend(&directory.sub_root(name)?, visit, depth + 1)?;
        }
        visit(directory, name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::scratch;

    #[test]
    fn everything_is_visited_once_and_nothing_outside() {
        let scratch = scratch::path("walk");
        let at = |name: &str| scratch.join(name);
        std::fs::create_dir_all(at("tree/a/b")).unwrap();
        std::fs::File::create(at("tree/a/file")).unwrap();
        std::fs::create_dir(at("outside")).unwrap();
        std::fs::File::create(at("outside/secret")).unwrap();
        std::os::unix::fs::symlink(at("outside"), at("tree/link")).unwrap();
        let mut seen = Vec::new();
        let tree = RootDir::open(&at("tree")).unwrap();
        below::<Error>(&tree, &mut |_, name| {
            seen.push(name.to_string_lossy().into_owned());
            Ok(())
        })
        .unwrap();
        let position = |name: &str| seen.iter().position(|other| other == name).unwrap();
        assert!(position("b") < position("a") && position("file") < position("a"), "{seen:?}");
        seen.sort();
        assert_eq!(seen, ["a", "b", "file", "link"]);
        std::fs::remove_dir_all(scratch).unwrap();
    }

    #[test]
    fn a_tree_that_is_too_deep_is_an_error() {
        let scratch = scratch::path("deep-walk");
        let mut path = scratch.clone();
        for _ in 0..=MAX_DEPTH + 1 {
            path.push("d");
        }
        std::fs::create_dir_all(&path).unwrap();
        let tree = RootDir::open(&scratch).unwrap();
        let error = below::<Error>(&tree, &mut |_, _| Ok(())).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENAMETOOLONG));
        std::fs::remove_dir_all(scratch).unwrap();
    }
}
