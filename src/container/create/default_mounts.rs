//! mounts.conf: directories of the host that every container sees, such as those with subscriptions.
//!
//! A line is `SOURCE:DESTINATION` or one path for both. podman copies the content, here it is a read-only
//! mount. `inspect` does not show it, as it is no wish of the user about this container.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, Spec};

use crate::container::Result;
use crate::kernel::file;

/// Larger files are refused.
const MAX_FILE: u64 = 1 << 20;

/// Puts the mounts of `path` into `spec`; neither the file nor what it names needs to be there.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn add(spec: &mut Spec, path: &Path) -> Result<()> {
    let text = match file::read_limited(path, MAX_FILE) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.io().kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for (source, destination) in text.lines().filter_map(parse) {
        let taken = mounts.iter().any(|mount| *mount.destination() == destination);
        if taken || !source.exists() {
            continue;
        }
        let options = ["rbind", "ro", "rprivate", "nosuid", "nodev"].map(str::to_owned);
        let mut mount = Mount::default();
        mount
            .set_destination(destination)
            .set_typ(Some("bind".to_owned()))
            .set_source(Some(source))
            .set_options(Some(options.to_vec()));
        mounts.push(mount);
    }
    spec.set_mounts(Some(mounts));
    Ok(())
}

fn parse(line: &str) -> Option<(PathBuf, PathBuf)> {
    let line = line.trim();
    let (source, destination) = line.split_once(':').unwrap_or((line, line));
    if !source.starts_with('/') || !destination.starts_with('/') {
        // A comment, or a path that would depend on where the caller stands.
        return None;
    }
    let destination = crate::volume::clean_path(Path::new(destination));
    // The engine's own file systems are not covered.
    let plain = destination != Path::new("/")
        && !["/proc", "/sys", "/dev"].iter().any(|own| destination.starts_with(own));
    plain.then_some((source.into(), destination))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_sources_and_destinations() {
        for (line, expected) in [
            ("/a:/b", Some(("/a", "/b"))),
            (" /a/b ", Some(("/a/b", "/a/b"))),
            ("# /a:/b", None),
            ("", None),
            ("a:/b", None),
            ("/a:b", None),
            ("/a:/", None),
            ("/a:/proc/x", None),
            ("/a:/b/../proc", None),
        ] {
            let expected = expected.map(|(source, target)| (source.into(), target.into()));
            assert_eq!(parse(line), expected, "{line:?}");
        }
    }
}
