//! The `mounts` section: options as mount(8) names them, sorted into mount
//! attributes, propagation and options of the file system.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount as SpecMount;

use crate::kernel::mount::{self, Attributes};

use super::super::error::{Error, Result};
use super::super::plan::{Mount, MountSource, Overlay};
use super::{inner_path, no_nul};

/// More than any honest spec has; a limit keeps a hostile one cheap.
const MAX_MOUNTS: usize = 20_000;

/// Options of the whole machine's cgroup tree, which a mount in a container cannot change.
const CGROUP_OPTIONS: [&str; 6] = [
    "favordynmods",
    "memory_hugetlb_accounting",
    "memory_localevents",
    "memory_recursiveprot",
    "nsdelegate",
    "pids_localevents",
];

pub(super) fn mounts(spec: &[SpecMount], bundle: &Path) -> Result<Vec<Mount>> {
    if spec.len() > MAX_MOUNTS {
        return Err(Error::invalid("mounts", format!("there are more than {MAX_MOUNTS}")));
    }
    spec.iter().map(|mount| one(mount, bundle)).collect()
}

fn one(spec: &SpecMount, bundle: &Path) -> Result<Mount> {
    let destination = inner_path("mounts", &absolute(spec.destination()))?;
    let what = || format!("mount at `{}`", destination.display());
    if spec.uid_mappings().is_some() || spec.gid_mappings().is_some() {
        return Err(Error::unsupported(format!("id-mapped {}", what())));
    }
    let options = parse_options(spec.options().as_deref().unwrap_or_default()).map_err(|option| {
        Error::invalid(what(), format!("unknown or bad option `{}`", option.escape_debug()))
    })?;
    let source = source(spec, bundle, &options, &what())?;
    Ok(Mount {
        destination,
        source,
        attributes: options.attributes,
        recursive_attributes: options.recursive,
        copy_up: options.copy_up,
        chown: false,
    })
}

/// Old engines write relative destinations; the spec lets runtimes read them below `/`.
fn absolute(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}

fn source(spec: &SpecMount, bundle: &Path, options: &Options, what: &str) -> Result<MountSource> {
    let kind = spec.typ().as_deref().unwrap_or("");
    if let Some(recursive) = options.bind.or((kind == "bind").then_some(false)) {
        let path = spec
            .source()
            .as_ref()
            .filter(|path| !path.as_os_str().is_empty())
            .ok_or_else(|| Error::invalid(what, "a bind mount needs a source"))?;
        no_nul(what, path)?;
        return Ok(MountSource::Bind { path: bundle.join(path), below: None, recursive });
    }
    no_nul(what, Path::new(kind))?;
    match kind {
        "" | "none" => Err(Error::invalid(what, "it has no type")),
        "cgroup" | "cgroup2" => {
            match options.data.iter().find(|(key, _)| !CGROUP_OPTIONS.contains(&key.as_str())) {
                Some((key, _)) => {
                    Err(Error::invalid(what, format!("unknown option `{}`", key.escape_debug())))
                }
                None => Ok(MountSource::Cgroup),
            }
        }
        "overlay" => overlay(options, what).map(MountSource::Overlay),
        _ => {
            let source = spec.source().as_ref().map_or(kind, |path| path.to_str().unwrap_or(kind));
            no_nul(what, Path::new(source))?;
            Ok(MountSource::FileSystem {
                kind: kind.to_owned(),
                source: source.to_owned(),
                options: options.data.clone(),
            })
        }
    }
}

/// An overlay's directories, made relative to held ones: mountinfo inside shows
/// them to the container as they were given to the kernel.
fn overlay(options: &Options, what: &str) -> Result<Overlay> {
    let mut overlay = Overlay { lower_base: PathBuf::from("/"), ..Overlay::default() };
    for (key, value) in &options.data {
        match (key.as_str(), value.as_deref()) {
            ("lowerdir", Some(list)) => overlay.lowers = split_lowers(list),
            ("upperdir", Some(path)) => overlay.upper = Some(PathBuf::from(path)),
            ("workdir", Some(path)) => overlay.work = Some(PathBuf::from(path)),
            ("userxattr", None) => overlay.user_xattr = true,
            ("volatile", None) => overlay.volatile = true,
            ("metacopy" | "redirect_dir" | "index" | "xino" | "nfs_export", Some(_)) => {
                overlay.options.push((key.clone(), value.clone()));
            }
            _ => return Err(Error::invalid(what, format!("unknown overlay option `{key}`"))),
        }
    }
    if overlay.lowers.is_empty() || overlay.upper.is_some() != overlay.work.is_some() {
        return Err(Error::invalid(what, "an overlay needs lowerdir, and upperdir together with workdir"));
    }
    if let [only] = overlay.lowers.as_slice() {
        overlay.lower_base.clone_from(only);
        overlay.lowers = vec![PathBuf::from(".")];
    }
    if let (Some(upper), Some(work)) = (&overlay.upper, &overlay.work)
        && let (Some(base), Some(upper_name), Some(work_name)) =
            (upper.parent(), upper.file_name(), work.file_name())
        && work.parent() == Some(base)
    {
        let (upper_name, work_name) = (PathBuf::from(upper_name), PathBuf::from(work_name));
        overlay.upper_base = base.to_owned();
        overlay.upper = Some(upper_name);
        overlay.work = Some(work_name);
    } else {
        overlay.upper_base = PathBuf::from("/");
    }
    Ok(overlay)
}

/// Splits at `:`; a backslash keeps the next character as it is.
fn split_lowers(list: &str) -> Vec<PathBuf> {
    let mut lowers = vec![String::new()];
    let mut characters = list.chars();
    while let Some(c) = characters.next() {
        match c {
            ':' => lowers.push(String::new()),
            '\\' => lowers.last_mut().expect("never empty").extend(characters.next()),
            _ => lowers.last_mut().expect("never empty").push(c),
        }
    }
    lowers.into_iter().filter(|lower| !lower.is_empty()).map(PathBuf::from).collect()
}

/// Mount options by what they act on.
#[derive(Debug, Default)]
struct Options {
    attributes: Attributes,
    recursive: Attributes,
    /// `bind` (false) or `rbind` (true).
    bind: Option<bool>,
    copy_up: bool,
    data: Vec<(String, Option<String>)>,
}

/// Parses mount options; the error is the option that makes no sense.
fn parse_options(list: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    for option in list {
        if option.contains('\0') {
            return Err(option.clone());
        }
        let name = option.as_str();
        match name {
            "" | "defaults" | "async" | "nomand" | "loud" | "silent" | "noiversion" | "nolazytime" => {}
            "bind" => options.bind = Some(false),
            "rbind" => options.bind = Some(true),
            // A read-only source of a bind mount stays so.
            "rw" => options.attributes.set &= !mount::READ_ONLY,
            "tmpcopyup" => options.copy_up = true,
            "remount" | "move" | "idmap" | "ridmap" => return Err(option.clone()),
            _ => {
                if let Some(propagation) = propagation(name) {
                    let recursive = name.starts_with('r');
                    let target = if recursive { &mut options.recursive } else { &mut options.attributes };
                    target.propagation = propagation;
                } else if let Some((set, clear)) = attribute(name) {
                    apply(&mut options.attributes, set, clear);
                } else if let Some((set, clear)) = name.strip_prefix('r').and_then(attribute) {
                    apply(&mut options.recursive, set, clear);
                } else {
                    options.data.push(match name.split_once('=') {
                        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                        None => (name.to_owned(), None),
                    });
                }
            }
        }
    }
    Ok(options)
}

/// A later option overrides an earlier one.
fn apply(attributes: &mut Attributes, set: u64, clear: u64) {
    attributes.set = attributes.set & !clear | set;
    attributes.clear = attributes.clear & !set | clear;
}

fn propagation(name: &str) -> Option<u64> {
    Some(match name {
        "private" | "rprivate" => mount::PRIVATE,
        "shared" | "rshared" => mount::SHARED,
        "slave" | "rslave" => mount::SLAVE,
        "unbindable" | "runbindable" => mount::UNBINDABLE,
        _ => return None,
    })
}

/// What an option sets and clears.
fn attribute(name: &str) -> Option<(u64, u64)> {
    Some(match name {
        "ro" => (mount::READ_ONLY, 0),
        "rw" => (0, mount::READ_ONLY),
        "nosuid" => (mount::NO_SUID, 0),
        "suid" => (0, mount::NO_SUID),
        "nodev" => (mount::NO_DEV, 0),
        "dev" => (0, mount::NO_DEV),
        "noexec" => (mount::NO_EXEC, 0),
        "exec" => (0, mount::NO_EXEC),
        "noatime" => (mount::NO_ATIME, mount::STRICT_ATIME),
        "strictatime" => (mount::STRICT_ATIME, mount::NO_ATIME),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => (0, mount::ATIME_MASK),
        "nodiratime" => (mount::NO_DIR_ATIME, 0),
        "diratime" => (0, mount::NO_DIR_ATIME),
        "nosymfollow" => (mount::NO_SYMLINK_FOLLOW, 0),
        "symfollow" => (0, mount::NO_SYMLINK_FOLLOW),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Options {
        parse_options(&list.split(',').map(str::to_owned).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn options_are_sorted_by_what_they_act_on() {
        let options = parse("rbind,ro,rnosuid,nodev,dev,rslave,size=64k,noswap");
        assert_eq!(options.bind, Some(true));
        assert_eq!(
            options.attributes,
            Attributes { set: mount::READ_ONLY, clear: mount::NO_DEV, propagation: 0 }
        );
        assert_eq!(
            options.recursive,
            Attributes { set: mount::NO_SUID, clear: 0, propagation: mount::SLAVE }
        );
        assert_eq!(options.data, [("size".into(), Some("64k".into())), ("noswap".into(), None)]);
        assert_eq!(parse("noatime,strictatime").attributes.set, mount::STRICT_ATIME);
        assert_eq!(parse("ro,rw").attributes.set, 0);
    }

    #[test]
    fn lower_directories_may_hold_colons() {
        assert_eq!(split_lowers(r"/a:/b\:c:/d\\"), [Path::new("/a"), Path::new("/b:c"), Path::new(r"/d\")]);
    }

    #[test]
    fn overlay_shows_no_host_path() {
        let options = parse("lowerdir=/home/u/x,upperdir=/s/c/upper,workdir=/s/c/work,userxattr");
        let overlay = overlay(&options, "x").unwrap();
        assert_eq!(overlay.lower_base, Path::new("/home/u/x"));
        assert_eq!(overlay.lowers, [Path::new(".")]);
        assert_eq!(overlay.upper_base, Path::new("/s/c"));
        assert_eq!((overlay.upper, overlay.work), (Some("upper".into()), Some("work".into())));
    }
}
