//! Names with a transport, as `docker://HOST/NAME`, `oci:DIR:NAME` and their like, for everything that reads or writes
//! images.

use std::path::PathBuf;

use super::archive::Source;
use super::error::{Error, Result};
use super::reference::Reference;

/// What a name with a transport means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// `docker://`: a registry.
    Docker(Reference),
    /// A file or folder.
    Files(Source),
    /// `containers-storage:`: podman's store.
    Storage {
        /// Where it is, if the name says so.
        root: Option<PathBuf>,
        /// A name or id in it.
        name: String,
    },
}

impl Transport {
    /// Reads a name; nothing where it has no transport.
    ///
    /// # Errors
    /// When it has one that rbox does not know, or what follows is malformed.
    pub fn parse(name: &str) -> Result<Option<Self>> {
        if let Some(rest) = name.strip_prefix("docker://") {
            let reference = Reference::parse(rest)
                .map_err(|source| Error::Reference { text: name.to_owned(), source })?;
            return Ok(Some(Self::Docker(reference.with_default_tag())));
        }
        let Some((transport, rest)) = name.split_once(':') else { return Ok(None) };
        let path_and_reference = || match rest.split_once(':') {
            Some((path, reference)) if !reference.is_empty() => {
                (PathBuf::from(path), Some(reference.to_owned()))
            }
            _ => (PathBuf::from(rest.trim_end_matches(':')), None),
        };
        let (path, reference) = path_and_reference();
        let source = match transport {
            "oci" => Source::OciLayout { path, reference },
            "oci-archive" => Source::OciArchive { path, reference },
            "docker-archive" => Source::DockerArchive { path, reference },
            "dir" => Source::Dir { path: PathBuf::from(rest) },
            "containers-storage" => {
                // `[DRIVER@ROOT+RUNROOT:OPTIONS]NAME`; without brackets the store is at its usual place.
                let (place, name) =
                    rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).unwrap_or(("", rest));
                let place = place.split_once('@').map_or(place, |(_, place)| place);
                let root = place.split(['+', ':']).next().filter(|root| root.starts_with('/'));
                return Ok(Some(Self::Storage { root: root.map(PathBuf::from), name: name.to_owned() }));
            }
            "docker-daemon" | "ostree" | "sif" | "tarball" => return Err(Error::Transport(name.to_owned())),
            _ => return Ok(None),
        };
        if source.path().as_os_str().is_empty() {
            return Err(Error::Options("the name has a transport, but no path"));
        }
        Ok(Some(Self::Files(source)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_transports() {
        let parse = |name: &str| Transport::parse(name).unwrap();
        assert_eq!(parse("alpine:3"), None);
        assert_eq!(parse("localhost:5000/x"), None);
        let Some(Transport::Docker(reference)) = parse("docker://alpine") else { panic!("a registry") };
        assert_eq!(reference.to_string(), "docker.io/library/alpine:latest");
        let layout = |path: &str, reference: Option<&str>| {
            let (path, reference) = (path.into(), reference.map(ToOwned::to_owned));
            Some(Transport::Files(Source::OciLayout { path, reference }))
        };
        assert_eq!(parse("oci:/a/b"), layout("/a/b", None));
        assert_eq!(parse("oci:/a/b:t:1"), layout("/a/b", Some("t:1")));
        assert_eq!(parse("dir:/a:b"), Some(Transport::Files(Source::Dir { path: "/a:b".into() })));
        let storage = |root: Option<&str>, name: &str| {
            Some(Transport::Storage { root: root.map(PathBuf::from), name: name.to_owned() })
        };
        assert_eq!(parse("containers-storage:x"), storage(None, "x"));
        assert_eq!(parse("containers-storage:[overlay@/a+/b:o=1]x:1"), storage(Some("/a"), "x:1"));
        for wrong in ["docker://UPPER", "docker-daemon:x", "oci:", "dir:"] {
            assert!(Transport::parse(wrong).is_err(), "{wrong}");
        }
    }
}
