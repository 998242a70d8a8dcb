//! What kind of thing a name to pull is.

use std::path::PathBuf;

use crate::image::archive::Source;
use crate::image::error::Result;
use crate::image::reference::is_identifier;
use crate::image::transport::Transport;

/// A name to pull, by its transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// An id: only images that are here have one.
    Id(String),
    /// A name in a registry, without a tag where it has a digest.
    Docker(String),
    /// A file or folder.
    File(Source),
    /// An image in podman's store.
    Storage {
        /// Where that store is, if not at its usual place.
        root: Option<PathBuf>,
        /// The image's name or id.
        name: String,
    },
}

/// Tells transports, ids and names apart.
pub(super) fn classify(name: &str) -> Result<Named> {
    match Transport::parse(name)? {
        // A name with its transport is no short name.
        Some(Transport::Docker(reference)) => {
            return Ok(Named::Docker(strip_tag_before_digest(&reference.to_string())));
        }
        Some(Transport::Files(source)) => return Ok(Named::File(source)),
        Some(Transport::Storage { root, name }) => return Ok(Named::Storage { root, name }),
        None => {}
    }
    if name.starts_with("sha256:") || is_identifier(name) {
        return Ok(Named::Id(name.to_owned()));
    }
    Ok(Named::Docker(strip_tag_before_digest(name)))
}

/// With a tag and a digest the digest decides, as with Docker.
fn strip_tag_before_digest(name: &str) -> String {
    let Some((tagged, digest)) = name.split_once('@') else { return name.to_owned() };
    let start = tagged.rfind('/').map_or(0, |at| at + 1);
    let untagged = tagged[start..].find(':').map_or(tagged, |colon| &tagged[..start + colon]);
    format!("{untagged}@{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let docker = |text: &str| Named::Docker(text.to_owned());
        assert_eq!(classify("alpine").unwrap(), docker("alpine"));
        assert_eq!(classify("docker:latest").unwrap(), docker("docker:latest"));
        assert_eq!(classify("docker://alpine").unwrap(), docker("docker.io/library/alpine:latest"));
        assert_eq!(classify("localhost:5000/a:1").unwrap(), docker("localhost:5000/a:1"));
        assert_eq!(
            classify(&format!("localhost:5000/a:1@{digest}")).unwrap(),
            docker(&format!("localhost:5000/a@{digest}"))
        );
        assert_eq!(classify(&digest).unwrap(), Named::Id(digest.clone()));
        assert_eq!(classify(&digest[7..]).unwrap(), Named::Id(digest[7..].to_owned()));
        assert_eq!(
            classify("oci-archive:/tmp/x.tar:name:tag").unwrap(),
            Named::File(Source::OciArchive { path: "/tmp/x.tar".into(), reference: Some("name:tag".into()) })
        );
        assert_eq!(
            classify("oci:/tmp/x").unwrap(),
            Named::File(Source::OciLayout { path: "/tmp/x".into(), reference: None })
        );
        assert!(classify("docker-daemon:x").is_err());
    }
}
