//! Lexical rules of paths in mount flags.

use std::path::{Component, Path, PathBuf};

use super::error::{Error, Result};

/// A target inside the container: absolute, without `.`, `..` and repeated slashes.
///
/// `..` is resolved by text here, as podman does; symbolic links are resolved below the
/// container's root only when the mount is made.
pub(super) fn container(text: &str) -> Result<PathBuf> {
    absolute(text).ok_or_else(|| Error::Destination { path: text.to_owned() })
}

/// An absolute path, cleaned; `None` for any other.
pub(super) fn absolute(text: &str) -> Option<PathBuf> {
    (text.starts_with('/') && !text.contains('\0')).then(|| clean(Path::new(text)))
}

/// A path on the host, taken below `cwd` when it is relative.
pub(super) fn host(text: &str, cwd: &Path) -> PathBuf {
    clean(&cwd.join(text))
}

/// Removes `.`, `..` and repeated slashes of an absolute path by its text.
#[must_use]
pub fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (text, expected) in
            [("/", "/"), ("/a//b/./c/", "/a/b/c"), ("/../..", "/"), ("/a/../../b", "/b"), ("/a/b/..", "/a")]
        {
            assert_eq!(container(text).unwrap(), Path::new(expected), "{text}");
        }
        for text in ["", "a", "./a", "~", "/a\0b"] {
            assert!(container(text).is_err(), "{text:?}");
        }
        assert_eq!(host("x/../y", Path::new("/c")), Path::new("/c/y"));
    }
}
