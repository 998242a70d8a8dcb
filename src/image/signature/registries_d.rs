//! registries.d: where the signatures of a registry's images are.
//!
//! Read: all `*.yaml` of `~/.config/containers/registries.d`, or where there is no such folder of
//! `/etc/containers/registries.d`. The most specific namespace that has a setting counts; without one for the lookaside it
//! is `~/.local/share/containers/sigstore`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::SignatureError;
use crate::config::Paths;
use crate::image::policy::scopes;
use crate::image::reference::Reference;
use crate::kernel::file::read_limited;

const FILE_MAX: u64 = 4 << 20;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Namespace {
    lookaside: String,
    lookaside_staging: String,
    /// The old names of both.
    sigstore: String,
    sigstore_staging: String,
    use_sigstore_attachments: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    default_docker: Option<Namespace>,
    docker: Option<BTreeMap<String, Namespace>>,
}

/// All settings, merged.
#[derive(Debug, Clone, Default)]
pub(crate) struct SignaturePlaces {
    default: Option<(Namespace, PathBuf)>,
    namespaces: BTreeMap<String, (Namespace, PathBuf)>,
    home: PathBuf,
}

impl SignaturePlaces {
    /// Reads the files.
    pub(crate) fn load(paths: &Paths) -> Result<Self, SignatureError> {
        let own = paths.config_home.join("containers/registries.d");
        let folder = if own.is_dir() { own } else { PathBuf::from("/etc/containers/registries.d") };
        let mut all = Self { home: paths.home.clone(), ..Self::default() };
        let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(all) };
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut files: Vec<PathBuf> =
            files.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
        files.sort();
        for path in files {
            let bytes = read_limited(&path, FILE_MAX).map_err(SignatureError::Read)?;
            all.add(&String::from_utf8_lossy(&bytes), &path)?;
        }
        Ok(all)
    }

    fn add(&mut self, text: &str, path: &Path) -> Result<(), SignatureError> {
        let invalid = |message: String| SignatureError::File { path: path.to_owned(), message };
        if text.trim().is_empty() {
            return Ok(());
        }
        let file: Option<File> = serde_saphyr::from_str(text).map_err(|error| invalid(error.to_string()))?;
        let file = file.unwrap_or_default();
        if let Some(namespace) = file.default_docker {
            if let Some((_, other)) = &self.default {
                return Err(invalid(format!("\"default-docker\" is also defined in {}", other.display())));
            }
            self.default = Some((namespace, path.to_owned()));
        }
        for (name, namespace) in file.docker.unwrap_or_default() {
            if let Some((_, other)) = self.namespaces.get(&name) {
                return Err(invalid(format!("namespace {name:?} is also defined in {}", other.display())));
            }
            self.namespaces.insert(name, (namespace, path.to_owned()));
        }
        Ok(())
    }

    /// The settings that apply, the most specific first.
    fn matching(&self, reference: &Reference) -> Vec<&Namespace> {
        let named = scopes(reference).into_iter().filter_map(|scope| self.namespaces.get(&scope));
        named.chain(&self.default).map(|(namespace, _)| namespace).collect()
    }

    /// Whether signatures of sigstore are looked for and written beside the image.
    pub(crate) fn has_attachments(&self, reference: &Reference) -> bool {
        self.matching(reference).iter().find_map(|found| found.use_sigstore_attachments).unwrap_or_default()
    }

    /// The URL below which a repository's signatures are read or written.
    pub(crate) fn lookaside(&self, reference: &Reference, write: bool) -> String {
        let setting = |namespace: &&Namespace| {
            let staging = [&namespace.lookaside_staging, &namespace.sigstore_staging];
            let staging = staging.into_iter().filter(|_| write);
            let mut all = staging.chain([&namespace.lookaside, &namespace.sigstore]);
            all.find(|text| !text.is_empty()).cloned()
        };
        let base = self.matching(reference).iter().find_map(setting).unwrap_or_else(|| {
            format!("file://{}", self.home.join(".local/share/containers/sigstore").display())
        });
        format!("{}/{}", base.trim_end_matches('/'), reference.path())
    }

    /// Where signatures of a scope of policy.json are read, as far as a file says so.
    pub(crate) fn shown(&self, scope: &str) -> Option<String> {
        let mut name = scope;
        let found = loop {
            if let Some((namespace, _)) = self.namespaces.get(name) {
                break Some(namespace);
            }
            match name.rsplit_once('/') {
                Some((shorter, _)) => name = shorter,
                None => break self.default.as_ref().map(|(namespace, _)| namespace),
            }
        }?;
        [&found.lookaside, &found.sigstore].into_iter().find(|text| !text.is_empty()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_setting_counts() {
        let mut all = SignaturePlaces { home: "/h".into(), ..SignaturePlaces::default() };
        let reference = |text: &str| Reference::parse(text).unwrap();
        assert_eq!(
            all.lookaside(&reference("a.io/b/c:1"), false),
            "file:///h/.local/share/containers/sigstore/b/c"
        );
        let text = "default-docker:\n  sigstore: file:///d\n  use-sigstore-attachments: true\ndocker:\n  a.io/b:\n    lookaside: https://l.io/x/\n    lookaside-staging: file:///s\n  a.io:\n    use-sigstore-attachments: false\n";
        all.add(text, Path::new("/1.yaml")).unwrap();
        assert_eq!(all.lookaside(&reference("a.io/b/c:1"), false), "https://l.io/x/b/c");
        assert_eq!(all.lookaside(&reference("a.io/b/c:1"), true), "file:///s/b/c");
        assert_eq!(all.lookaside(&reference("a.io/d:1"), true), "file:///d/d");
        assert!(
            !all.has_attachments(&reference("a.io/b/c:1")) && all.has_attachments(&reference("o.io/c:1"))
        );
        assert!(all.add("docker:\n  a.io: {}\n", Path::new("/2.yaml")).is_err(), "twice");
        assert!(all.add("default-docker: {}\n", Path::new("/2.yaml")).is_err(), "twice");
        assert!(all.add("docker: [1]\n", Path::new("/2.yaml")).is_err());
        assert_eq!(all.shown("a.io/b/c").as_deref(), Some("https://l.io/x/"));
        assert_eq!(all.shown("").as_deref(), Some("file:///d"));
        all.add("# nothing\n", Path::new("/3.yaml")).unwrap();
    }
}
