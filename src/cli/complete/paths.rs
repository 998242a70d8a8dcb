//! Suggestions for paths inside of images and containers.
//!
//! Nothing is mounted: the directories of the layers are listed one after the
//! other, each as a root of its own, so that no link leads to the host. A name
//! that an upper layer deletes may be offered; completion can live with that.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{Directive, Suggestions};
use crate::container::Containers;
use crate::engine::Engine;
use crate::events::Sink;
use crate::kernel::path::RootDir;
use crate::store::{Digest, Store};

/// Paths that begin like `last` in an image.
pub(super) fn in_image(image: &str, last: &str, engine: &Engine) -> Suggestions {
    let roots = engine.store().ok().and_then(|store| {
        let record = store.find_image(image).ok()?.record;
        layers(store, &record.mount_layers())
    });
    suggestions(&roots.unwrap_or_default(), last, "")
}

/// `CONTAINER:PATH` for paths that begin like that of `last`.
pub(super) fn in_container(last: &str, engine: &Engine) -> Suggestions {
    let Some((name, path)) = last.split_once(':') else { return Suggestions::none() };
    suggestions(&container_roots(name, engine).unwrap_or_default(), path, &format!("{name}:"))
}

fn container_roots(name: &str, engine: &Engine) -> Option<Vec<PathBuf>> {
    let paths = engine.paths().ok()?;
    let containers = Containers { data: paths.data.clone(), run: paths.run.clone(), events: Sink::default() };
    let record = containers.lookup(name).ok()?;
    let mut roots: Vec<PathBuf> = record.root.directory.into_iter().collect();
    roots.push(containers.dir(&record.id).join("upper"));
    let digests: Vec<Digest> = record.root.layers.iter().filter_map(|layer| layer.parse().ok()).collect();
    roots.extend(layers(engine.store().ok()?, &digests)?);
    Some(roots)
}

fn layers(store: &Store, digests: &[Digest]) -> Option<Vec<PathBuf>> {
    digests.iter().map(|digest| Some(store.layer(digest).ok()??.diff())).collect()
}

fn suggestions(roots: &[PathBuf], last: &str, prefix: &str) -> Suggestions {
    let roots: Vec<RootDir> = roots.iter().filter_map(|root| RootDir::open(root).ok()).collect();
    let mut words = matching(&roots, last);
    // A whole directory name leads on to what is in it.
    if !last.is_empty() && !last.ends_with('/') {
        words.extend(matching(&roots, &format!("{last}/")));
    }
    let directive = Directive::NO_FILES.and(Directive::NO_SPACE);
    let items = words.into_iter().map(|word| (format!("{prefix}{word}"), String::new())).collect();
    Suggestions { items, directive }
}

/// The entries of the directory that `last` names, directories with a slash.
fn matching(roots: &[RootDir], last: &str) -> BTreeSet<String> {
    let typed = &last[..last.rfind('/').map_or(0, |at| at + 1)];
    // An empty word begins at the root, as the shell would show it.
    let shown = if last.is_empty() { "/" } else { typed };
    let inside = inside(typed);
    let mut found = BTreeSet::new();
    for root in roots {
        let Ok(dir) = root.open_dir(&inside) else { continue };
        let Ok(entries) = rustix::fs::Dir::read_from(&dir) else { continue };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            let slash = if entry.file_type().is_dir() { "/" } else { "" };
            found.insert(format!("{shown}{name}{slash}"));
        }
    }
    found
}

/// A path as it is found from the root of a container: `..` goes no further up than that.
fn inside(typed: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for component in Path::new(typed).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for (typed, expected) in
            [("", "."), ("/", "."), ("../../", "."), ("/etc/", "etc"), ("a/../b/./", "b"), ("../etc/", "etc")]
        {
            assert_eq!(inside(typed), Path::new(expected), "{typed}");
        }
    }

    #[test]
    fn entries_of_all_layers_are_suggested() {
        let base = crate::kernel::scratch::path("complete");
        for dir in ["lower/etc", "upper/etc/ssl", "upper/usr"] {
            std::fs::create_dir_all(base.join(dir)).expect("a directory");
        }
        std::fs::File::create(base.join("lower/etc/os-release")).expect("a file");
        std::os::unix::fs::symlink("/", base.join("lower/host")).expect("a link");
        let roots = [base.join("lower"), base.join("upper")];
        let words = |last: &str| {
            let found = suggestions(&roots, last, "").items.into_iter().map(|(word, _)| word);
            found.filter(|word| word.starts_with(last)).collect::<Vec<_>>()
        };
        assert_eq!(words(""), ["/etc/", "/host", "/usr/"]);
        assert_eq!(words("e"), ["etc/"]);
        assert_eq!(words("/etc"), ["/etc/", "/etc/os-release", "/etc/ssl/"]);
        assert_eq!(words("/etc/o"), ["/etc/os-release"]);
        assert_eq!(words("../../u"), ["../../usr/"]);
        // The link leads to the root of the layer, not to that of the host.
        assert_eq!(words("/host/"), ["/host/etc/", "/host/host"]);
        std::fs::remove_dir_all(base).expect("the files of this test");
    }
}
