//! Devices by name: the specifications of the Container Device Interface, which vendors and administrators put into a
//! few directories, and the devices that they describe.
//!
//! | file | owns |
//! |---|---|
//! | `name` | `VENDOR/CLASS=NAME` |
//! | `spec` | one file: its format and versions |
//!
//! A later directory's device stands for one of the same name in an earlier one. Two files of one directory that name
//! the same device make it unusable. A file that is wrong is left out, and told about when a device is missed.

pub mod name;
pub mod spec;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use super::{Error, Result};
use crate::kernel::file;
pub use name::Name;
pub use spec::{Edits, Hook, Mount, Node, Specification};

/// Larger files are refused; those of a machine with many devices have some 100 KB.
const MAX_FILE: u64 = 8 << 20;

/// The name that means all devices of a kind, unless a file gives it to a device of its own.
const ALL: &str = "all";

/// Where a device is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Index of the directory.
    directory: usize,
    /// Index of the file.
    file: usize,
    /// Index of the device in it.
    device: usize,
}

/// A file, or several that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// All devices that are described on this host.
#[derive(Debug, Default)]
pub struct Registry {
    files: Vec<(PathBuf, Specification)>,
    /// By their full names; nothing where two files of one directory have the same.
    devices: BTreeMap<String, Option<Place>>,
    /// What was left out.
    pub problems: Vec<Problem>,
}

impl Registry {
    /// Reads the specifications in `directories`; those that do not exist have none.
    #[must_use]
    pub fn load(directories: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for (index, directory) in directories.iter().enumerate() {
            for path in files_in(directory) {
                match read(&path) {
                    Ok(specification) => registry.add(index, path, specification),
                    Err(reason) => registry.problems.push(Problem { path, reason }),
                }
            }
        }
        registry
    }

    fn add(&mut self, directory: usize, path: PathBuf, specification: Specification) {
        let file = self.files.len();
        for (device, described) in specification.devices.iter().enumerate() {
            let name = format!("{}={}", specification.kind, described.name);
            let place = Place { directory, file, device };
            match self.devices.entry(name) {
                Entry::Vacant(entry) => {
                    entry.insert(Some(place));
                }
                Entry::Occupied(mut entry) => match *entry.get() {
                    Some(other) if other.directory == directory => {
                        let other = &self.files[other.file].0;
                        let reason = format!("device {} is in {} too", entry.key(), other.display());
                        self.problems.push(Problem { path: path.clone(), reason });
                        entry.insert(None);
                    }
                    Some(_) => {
                        entry.insert(Some(place));
                    }
                    None => {}
                },
            }
        }
        self.files.push((path, specification));
    }

    /// The full names of the devices that can be used, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().filter(|(_, place)| place.is_some()).map(|(name, _)| name.as_str())
    }

    /// How many files were understood.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// What a container with the devices `names` needs: of each file first what it says of all of its devices, once.
    ///
    /// # Errors
    /// When there is no such device, with what there is.
    pub fn edits(&self, names: &[String]) -> Result<Edits> {
        let (mut places, mut missing) = (Vec::new(), Vec::new());
        for name in names {
            match self.find(name) {
                found if found.is_empty() => missing.push(name.clone()),
                found => places.extend(found),
            }
        }
        if !missing.is_empty() {
            let known = self.names().map(str::to_owned).collect();
            return Err(Error::UnknownDevices { devices: missing, known, problems: self.problems.clone() });
        }
        let (mut edits, mut seen) = (Edits::default(), Vec::new());
        for place in places {
            let (path, specification) = &self.files[place.file];
            let mut parts = vec![&specification.devices[place.device].container_edits];
            if !seen.contains(&place.file) {
                seen.push(place.file);
                parts.insert(0, &specification.container_edits);
            }
            for part in parts {
                if let Some(what) = part.unsupported() {
                    return Err(Error::UnsupportedDevice { path: path.clone(), what });
                }
                edits.append(part);
            }
        }
        Ok(edits)
    }

    fn find(&self, name: &str) -> Vec<Place> {
        match self.devices.get(name) {
            Some(place) => place.iter().copied().collect(),
            None => match name::parse(name) {
                Ok(Name { kind, device: ALL }) => {
                    let begin = format!("{kind}=");
                    let same = |(name, _): &(&String, &Option<Place>)| name.starts_with(&begin);
                    self.devices.iter().filter(same).filter_map(|(_, place)| *place).collect()
                }
                _ => Vec::new(),
            },
        }
    }
}

/// The directories in which this user's devices are described: those of containers.conf and her own, or else what
/// `--cdi-spec-dir` names.
#[must_use]
pub fn directories(given: &[PathBuf], configured: &[PathBuf], config_home: &Path) -> Vec<PathBuf> {
    if !given.is_empty() {
        return given.to_vec();
    }
    let mut all = configured.to_vec();
    all.push(config_home.join("cdi"));
    all
}

/// The specifications in a directory, by their names.
fn files_in(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let is_specification =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "json" || end == "yaml") && !path.is_dir();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_specification).collect();
    files.sort_unstable();
    files
}

fn read(path: &Path) -> Result<Specification, String> {
    let text = file::read_limited(path, MAX_FILE).map_err(|error| error.io().to_string())?;
    Specification::parse(&text, path.extension().is_some_and(|end| end == "json"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::kernel::scratch;

    fn put(directory: &Path, name: &str, text: &str) {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::File::create(directory.join(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn one(device: &str, value: &str) -> String {
        format!(
            "{{cdiVersion: 0.5.0, kind: v.com/c, devices: [{{name: {device}, containerEdits: {{env: [{value}]}}}}], \
             containerEdits: {{env: [OF_ALL={value}]}}}}"
        )
    }

    fn edits(registry: &Registry, names: &[&str]) -> Result<Vec<String>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        registry.edits(&names).map(|edits| edits.env)
    }

    #[test]
    fn later_directories_win_and_conflicts_make_unusable() {
        let base = scratch::path("cdi");
        let (system, user) = (base.join("system"), base.join("user"));
        put(&system, "a.yaml", &one("a", "A=1"));
        put(&system, "b.yaml", &one("b", "B=1"));
        put(&system, "c1.yaml", &one("c", "C=1"));
        put(&system, "c2.yaml", &one("c", "C=2"));
        put(&system, "ignored.txt", "x");
        put(&system, "broken.json", "{");
        put(&user, "b.yaml", &one("b", "B=2"));
        let registry = Registry::load(&[system.clone(), base.join("nothing"), user]);
        assert_eq!(registry.names().collect::<Vec<_>>(), ["v.com/c=a", "v.com/c=b"]);
        assert_eq!(edits(&registry, &["v.com/c=a"]).unwrap(), ["OF_ALL=A=1", "A=1"]);
        assert_eq!(edits(&registry, &["v.com/c=b"]).unwrap(), ["OF_ALL=B=2", "B=2"]);
        assert_eq!(edits(&registry, &["v.com/c=all"]).unwrap().len(), 4);
        let problems: Vec<_> = registry.problems.iter().map(|problem| problem.path.as_path()).collect();
        assert_eq!(problems, [system.join("broken.json"), system.join("c2.yaml")]);
        let error = edits(&registry, &["v.com/c=c", "v.com/c=a", "w.com/c=all"]).unwrap_err();
        assert_eq!(error.to_string(), "unresolvable CDI devices v.com/c=c, w.com/c=all");
        let hint = error.hint().unwrap();
        assert!(hint.contains("v.com/c=a, v.com/c=b") && hint.contains("broken.json"), "{hint}");
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn directories_of_the_command_line_stand_for_all() {
        let (given, configured) = (vec![PathBuf::from("/g")], vec![PathBuf::from("/etc/cdi")]);
        assert_eq!(directories(&given, &configured, Path::new("/home/a/.config")), given);
        let all = directories(&[], &configured, Path::new("/home/a/.config"));
        assert_eq!(all, [Path::new("/etc/cdi"), Path::new("/home/a/.config/cdi")]);
    }
}
