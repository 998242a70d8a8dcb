//! All mounts of one container: the three flags and containers.conf put together.

use std::path::Path;

use super::error::{Error, Result};
use super::mount::{Mount, Source};
use super::{glob, parse_mount, parse_tmpfs, parse_volume};

/// The values of the flags and of containers.conf.
#[derive(Debug, Clone, Copy)]
pub struct MountFlags<'a> {
    /// `--mount`, each split into its CSV fields.
    pub mounts: &'a [Vec<String>],
    /// `-v`
    pub volumes: &'a [String],
    /// `--tmpfs`
    pub tmpfs: &'a [String],
    /// `mounts` of containers.conf, split likewise.
    pub config_mounts: &'a [Vec<String>],
    /// `volumes` of containers.conf.
    pub config_volumes: &'a [String],
}

/// Puts the mounts of all flags together, in the order of their targets on the command line.
///
/// The same mount may be given twice; two different ones on one target are an error.
/// Those of containers.conf yield to the flags.
///
/// # Errors
/// When a value does not parse, a pattern matches nothing, or a target is taken.
pub fn collect(flags: MountFlags<'_>, cwd: &Path) -> Result<Vec<Mount>> {
    let mut all: Vec<Mount> = Vec::new();
    for fields in flags.mounts {
        for mount in glob::expand(parse_mount(fields, cwd)?)? {
            // Two equal values of --mount are refused as well, as podman does.
            if at(&all, &mount).is_some() {
                return Err(duplicate(&mount));
            }
            all.push(mount);
        }
    }
    for value in flags.volumes {
        add(&mut all, parse_volume(value, cwd)?)?;
    }
    for value in flags.tmpfs {
        add(&mut all, parse_tmpfs(value)?)?;
    }
    for fields in flags.config_mounts {
        let parsed = parse_mount(fields, cwd).and_then(glob::expand);
        for mount in parsed.map_err(|error| Error::Config(Box::new(error)))? {
            if at(&all, &mount).is_none() {
                all.push(mount);
            }
        }
    }
    for value in flags.config_volumes {
        let mount = parse_volume(value, cwd)?;
        if at(&all, &mount).is_none() {
            all.push(mount);
        }
    }
    Ok(all)
}

fn at<'a>(all: &'a [Mount], mount: &Mount) -> Option<&'a Mount> {
    all.iter().find(|other| other.destination == mount.destination)
}

fn duplicate(mount: &Mount) -> Error {
    Error::Duplicate { path: mount.destination.clone() }
}

fn add(all: &mut Vec<Mount>, mount: Mount) -> Result<()> {
    match at(all, &mount) {
        None => {
            all.push(mount);
            Ok(())
        }
        Some(other) if same(other, &mount) => Ok(()),
        Some(_) => Err(duplicate(&mount)),
    }
}

/// Whether the second of two mounts on one target says the same again.
fn same(first: &Mount, second: &Mount) -> bool {
    match (&first.source, &second.source) {
        // podman compares only the names of volumes.
        (Source::Volume { name: a, .. }, Source::Volume { name: b, .. }) => a == b,
        _ => first == second,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(volumes: &[&str], tmpfs: &[&str], config: &[&str]) -> Result<Vec<Mount>> {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let flags = MountFlags {
            mounts: &[],
            volumes: &owned(volumes),
            tmpfs: &owned(tmpfs),
            config_mounts: &[],
            config_volumes: &owned(config),
        };
        collect(flags, Path::new("/"))
    }

    #[test]
    fn equal_mounts_merge_and_different_ones_clash() {
        for (volumes, tmpfs) in [
            (&["/a:/x", "/a:/x"][..], &[][..]),
            (&["v:/x", "v:/x:ro"], &[]),
            (&[], &["/x", "/x"]),
            (&["/a:/x/", "/a:/x"], &[]),
        ] {
            assert_eq!(of(volumes, tmpfs, &[]).unwrap().len(), 1, "{volumes:?} {tmpfs:?}");
        }
        for (volumes, tmpfs) in [
            (&["/a:/x", "/b:/x"][..], &[][..]),
            (&["v:/x", "w:/x"], &[]),
            (&[], &["/x", "/x:ro"]),
            (&["v:/x"], &["/x"]),
            (&["/a:/x"], &["/x"]),
        ] {
            let error = of(volumes, tmpfs, &[]).unwrap_err();
            assert_eq!(error.to_string(), "/x: duplicate mount destination");
        }
    }

    #[test]
    fn configured_volumes_yield() {
        let mounts = of(&["/a:/x"], &[], &["/b:/x", "/c:/y"]).unwrap();
        let sources: Vec<_> = mounts.iter().map(|m| m.source.clone()).collect();
        let bind = |path: &str| Source::Bind { path: path.into() };
        assert_eq!(sources, [bind("/a"), bind("/c")]);
    }

    #[test]
    fn s18_many_mounts_are_taken() {
        let values: Vec<String> = (0..2000).map(|i| format!("/a:/x{i}")).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        assert_eq!(of(&values, &[], &[]).unwrap().len(), 2000);
    }
}
