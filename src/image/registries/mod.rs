//! registries.conf (version 2): which registries exist under which names, and where short names lead.
//!
//! Read: `$CONTAINERS_REGISTRIES_CONF` if set, else the first of `~/.config/containers/registries.conf`,
//! `/etc/containers/registries.conf` and `/usr/share/containers/registries.conf`; then the `*.conf` of the
//! `registries.conf.d` folders, the system's before the user's, each in the order of their names. Where the user has a
//! `registries.conf`, the system's folders are not read either. Later files replace the settings of earlier
//! ones; `[[registry]]` and `[aliases]` are merged. Learned aliases in `~/.cache/containers/short-name-aliases.conf`
//! come first of all. Without any setting a short name means Docker Hub.

mod file;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::progress::Resolution;
use super::reference::{DOCKER_HUB, LOCALHOST, Reference, ReferenceError, is_short_name};
use crate::config::{Env, Paths, env::name};

const FILE_MAX: u64 = 1 << 20;

/// Why registries.conf cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistriesError {
    /// A file cannot be read.
    #[error("loading registries configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file has a wrong setting.
    #[error("loading registries configuration {}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The administrator blocked the registry.
    #[error("registry {0} is blocked in registries.conf")]
    Blocked(String),
    /// `short-name-mode = "enforcing"` with several candidates.
    #[error(
        "short-name {0:?} is ambiguous: short-name resolution is enforced, and {1} search registries are configured"
    )]
    Ambiguous(String, usize),
    /// A name that a location or search registry makes impossible.
    #[error("rewriting reference {name:?}")]
    Rewrite {
        /// The resulting name.
        name: String,
        /// Why it is none.
        source: ReferenceError,
    },
}

/// Where a name really leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Host, port and path that replace the prefix; empty keeps the name as it is.
    pub location: String,
    /// Plain HTTP and unverified certificates are allowed.
    pub insecure: bool,
}

/// When a mirror is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorUse {
    /// Always.
    All,
    /// Only for references with a digest.
    Digests,
    /// Only for references without one.
    Tags,
}

/// One `[[registry]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryEntry {
    prefix: String,
    remote: Remote,
    blocked: bool,
    mirrors: Vec<(Remote, MirrorUse)>,
}

/// What happens with a short name that several search registries may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ShortNameMode {
    /// Try each.
    Disabled,
    /// Try each (podman asks on a terminal).
    #[default]
    Permissive,
    /// Refuse.
    Enforcing,
}

/// All settings, merged.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    entries: Vec<RegistryEntry>,
    search: Vec<String>,
    search_origin: Option<PathBuf>,
    helpers: Vec<String>,
    mode: ShortNameMode,
    aliases: BTreeMap<String, (Option<Reference>, PathBuf)>,
}

/// What a name may mean, in the order to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// At least one.
    pub references: Vec<Reference>,
    /// How a short name was resolved.
    pub resolution: Option<Resolution>,
}

/// A place to ask for a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The reference, rewritten to the place.
    pub reference: Reference,
    /// Plain HTTP and unverified certificates are allowed.
    pub insecure: bool,
}

impl Registries {
    /// Reads all files that apply.
    pub fn load(env: &Env, paths: &Paths) -> Result<Self, RegistriesError> {
        let mut all = Self::default();
        let user = paths.config_home.join("containers");
        let system = [Path::new("/usr/share/containers"), Path::new("/etc/containers")];
        let named = env.path(name::CONTAINERS_REGISTRIES_CONF).or(env.path(name::REGISTRIES_CONFIG_PATH));
        let mut folders: Vec<&Path> = system.into_iter().chain([user.as_path()]).collect();
        if let Some(path) = named {
            let text = read(path)?.ok_or_else(|| RegistriesError::Read {
                path: path.to_owned(),
                source: std::io::ErrorKind::NotFound.into(),
            })?;
            all.merge(file::parse(&text, path)?, path);
        } else {
            for base in folders.clone().into_iter().rev() {
                let path = base.join("registries.conf");
                if let Some(text) = read(&path)? {
                    all.merge(file::parse(&text, &path)?, &path);
                    if base == user {
                        folders = vec![&user];
                    }
                    break;
                }
            }
        }
        for path in folders.into_iter().flat_map(drop_ins) {
            if let Some(text) = read(&path)? {
                all.merge(file::parse(&text, &path)?, &path);
            }
        }
        let cache = env.absolute("XDG_CACHE_HOME").unwrap_or_else(|| paths.home.join(".cache"));
        let learned = cache.join("containers/short-name-aliases.conf");
        if let Some(text) = read(&learned)? {
            let settings = file::parse(&text, &learned)?;
            all.merge(file::FileSettings { aliases: settings.aliases, ..Default::default() }, &learned);
        }
        Ok(all)
    }

    fn merge(&mut self, settings: file::FileSettings, path: &Path) {
        for entry in settings.entries {
            self.entries.retain(|old| old.prefix != entry.prefix);
            self.entries.push(entry);
        }
        if let Some(search) = settings.search {
            self.search = search;
            self.search_origin = Some(path.to_owned());
        }
        self.helpers = settings.helpers.unwrap_or(std::mem::take(&mut self.helpers));
        self.mode = settings.mode.unwrap_or(self.mode);
        for (name, target) in settings.aliases {
            self.aliases.insert(name, (target, path.to_owned()));
        }
    }

    /// The credential helpers to ask, in order; `containers-auth.json` means the auth files.
    #[must_use]
    pub fn credential_helpers(&self) -> &[String] {
        &self.helpers
    }

    /// The registries of `unqualified-search-registries`.
    #[must_use]
    pub fn search_registries(&self) -> &[String] {
        &self.search
    }

    /// What `name` may mean when it is pulled; tagged `latest` where it has no version.
    pub fn candidates(&self, name: &str) -> Result<Candidates, CandidateError> {
        let parsed = parse(name)?;
        if !is_short_name(name) {
            return Ok(Candidates { references: vec![parsed.with_default_tag()], resolution: None });
        }
        if let Some((target, origin)) = self.alias(&parsed) {
            let resolution = Resolution::Alias(origin.display().to_string());
            return Ok(Candidates {
                references: vec![target.with_default_tag()],
                resolution: Some(resolution),
            });
        }
        if self.search.is_empty() {
            let resolution = Resolution::SearchRegistries(None);
            return Ok(Candidates {
                references: vec![parsed.with_default_tag()],
                resolution: Some(resolution),
            });
        }
        if self.mode == ShortNameMode::Enforcing && self.search.len() > 1 {
            return Err(RegistriesError::Ambiguous(name.to_owned(), self.search.len()).into());
        }
        let references = self.search.iter().map(|host| qualify(host, name)).collect::<Result<_, _>>()?;
        let origin = self.search_origin.as_ref().map(|path| path.display().to_string());
        Ok(Candidates { references, resolution: Some(Resolution::SearchRegistries(origin)) })
    }

    /// What `name` may mean among the images that are here, best first.
    pub fn local_candidates(&self, name: &str) -> Result<Vec<Reference>, CandidateError> {
        let parsed = parse(name)?;
        if !is_short_name(name) {
            return Ok(vec![parsed.with_default_tag()]);
        }
        let mut found: Vec<Reference> =
            self.alias(&parsed).map(|(r, _)| r.with_default_tag()).into_iter().collect();
        // What was built or tagged here wins over registries.
        for host in
            std::iter::once(LOCALHOST).chain(self.search.iter().map(String::as_str)).chain([DOCKER_HUB])
        {
            let candidate = qualify(host, name)?;
            if !found.contains(&candidate) {
                found.push(candidate);
            }
        }
        Ok(found)
    }

    /// The alias target of a short name, with the name's tag and digest.
    fn alias(&self, parsed: &Reference) -> Option<(Reference, &Path)> {
        let repository = parsed.without_version();
        let official = repository.path().strip_prefix("library/");
        let key = [official, Some(repository.path())]
            .into_iter()
            .flatten()
            .find(|key| self.aliases.contains_key(*key))?;
        let (target, origin) = &self.aliases[key];
        let target = target.clone()?.with_version_of(parsed);
        Some((target, origin))
    }

    /// Where to ask for `reference`: its mirrors, then its own place.
    pub fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, RegistriesError> {
        let Some(entry) = self.entry(reference) else {
            return Ok(vec![Endpoint { reference: reference.clone(), insecure: false }]);
        };
        if entry.blocked {
            return Err(RegistriesError::Blocked(entry.prefix.clone()));
        }
        let by_digest = reference.digest().is_some();
        entry
            .mirrors
            .iter()
            .filter(|(_, when)| match when {
                MirrorUse::All => true,
                MirrorUse::Digests => by_digest,
                MirrorUse::Tags => !by_digest,
            })
            .map(|(remote, _)| remote)
            .chain([&entry.remote])
            .map(|remote| rewrite(reference, &entry.prefix, remote))
            .collect()
    }

    /// The table whose prefix matches most of the reference.
    fn entry(&self, reference: &Reference) -> Option<&RegistryEntry> {
        let text = reference.to_string();
        self.entries
            .iter()
            .filter(|entry| matching_prefix(&text, &entry.prefix).is_some())
            .max_by_key(|entry| entry.prefix.len())
    }

    /// Whether plain HTTP and unverified certificates are allowed for `host`.
    #[must_use]
    pub fn is_insecure(&self, host: &str) -> bool {
        self.entries
            .iter()
            .filter(|entry| matching_prefix(host, &entry.prefix).is_some())
            .max_by_key(|entry| entry.prefix.len())
            .is_some_and(|entry| entry.remote.insecure)
    }
}

/// Why a text cannot be looked up.
#[derive(Debug, thiserror::Error)]
pub enum CandidateError {
    /// It is no reference.
    #[error("parsing reference {text:?}")]
    Reference {
        /// The text.
        text: String,
        /// What is wrong.
        source: ReferenceError,
    },
    /// registries.conf stands against it.
    #[error(transparent)]
    Registries(#[from] RegistriesError),
}

fn parse(text: &str) -> Result<Reference, CandidateError> {
    Reference::parse(text).map_err(|source| CandidateError::Reference { text: text.to_owned(), source })
}

fn qualify(host: &str, name: &str) -> Result<Reference, CandidateError> {
    Ok(parse(&format!("{host}/{name}"))?.with_default_tag())
}

/// How many bytes of `text` the prefix covers, if it ends at a border of the name.
fn matching_prefix(text: &str, prefix: &str) -> Option<usize> {
    let end = match prefix.strip_prefix('*') {
        Some(suffix) => {
            let host_end = text.find('/').unwrap_or(text.len());
            let host = &text[..host_end];
            let host = host.split_once(':').map_or(host, |(host, _)| host);
            // At least one label stands in front of the suffix, which starts with a dot.
            (host.len() > suffix.len() && host.ends_with(suffix)).then_some(host.len())?
        }
        None => text.starts_with(prefix).then_some(prefix.len())?,
    };
    matches!(text.as_bytes().get(end), None | Some(b':' | b'/' | b'@')).then_some(end)
}

fn rewrite(reference: &Reference, prefix: &str, remote: &Remote) -> Result<Endpoint, RegistriesError> {
    if remote.location.is_empty() {
        return Ok(Endpoint { reference: reference.clone(), insecure: remote.insecure });
    }
    let text = reference.to_string();
    let end = matching_prefix(&text, prefix).unwrap_or(0);
    let name = format!("{}{}", remote.location, &text[end..]);
    // A location without a dot or port would be read as a path on Docker Hub.
    if is_short_name(&name) {
        return Err(RegistriesError::Rewrite { name, source: ReferenceError::Format });
    }
    match Reference::parse(&name) {
        Ok(reference) => Ok(Endpoint { reference, insecure: remote.insecure }),
        Err(source) => Err(RegistriesError::Rewrite { name, source }),
    }
}

/// The drop-in files of a folder, sorted by name.
fn drop_ins(base: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(base.join("registries.conf.d")) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "conf")).collect();
    found.sort();
    found
}

/// The text of a file, or nothing if there is none.
fn read(path: &Path) -> Result<Option<String>, RegistriesError> {
    let failed = |source| RegistriesError::Read { path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registries(texts: &[&str]) -> Registries {
        let mut all = Registries::default();
        for (i, text) in texts.iter().enumerate() {
            let path = PathBuf::from(format!("/f{i}"));
            all.merge(file::parse(text, &path).unwrap(), &path);
        }
        all
    }

    fn names(references: &[Reference]) -> Vec<String> {
        references.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn short_names_without_settings_mean_docker_hub() {
        let none = Registries::default();
        assert_eq!(
            names(&none.candidates("alpine").unwrap().references),
            ["docker.io/library/alpine:latest"]
        );
        assert_eq!(names(&none.candidates("q.io/a:1").unwrap().references), ["q.io/a:1"]);
        assert_eq!(names(&none.local_candidates("a/b:1").unwrap()), ["localhost/a/b:1", "docker.io/a/b:1"]);
    }

    #[test]
    fn aliases_and_search_registries() {
        let all = registries(&[
            "unqualified-search-registries = [\"a.io\", \"b.io:5000\"]\n[aliases]\nfedora = \"r.io/fedora\"\n\"x/y\" = \"r.io/z\"\ngone = \"r.io/gone\"",
            "[aliases]\ngone = \"\"",
        ]);
        assert_eq!(names(&all.candidates("fedora:40").unwrap().references), ["r.io/fedora:40"]);
        assert_eq!(all.candidates("fedora").unwrap().resolution, Some(Resolution::Alias("/f0".into())));
        assert_eq!(names(&all.candidates("x/y").unwrap().references), ["r.io/z:latest"]);
        let both = all.candidates("gone").unwrap();
        assert_eq!(names(&both.references), ["a.io/gone:latest", "b.io:5000/gone:latest"]);
        assert_eq!(both.resolution, Some(Resolution::SearchRegistries(Some("/f0".into()))));
        assert_eq!(
            names(&all.local_candidates("fedora").unwrap()),
            [
                "r.io/fedora:latest",
                "localhost/fedora:latest",
                "a.io/fedora:latest",
                "b.io:5000/fedora:latest",
                "docker.io/library/fedora:latest"
            ]
        );
        let enforcing = registries(&[
            "short-name-mode = \"enforcing\"\nunqualified-search-registries = [\"a.io\", \"b.io\"]",
        ]);
        assert!(enforcing.candidates("a").is_err());
    }

    #[test]
    fn longest_prefix_wins_and_rewrites() {
        let all = registries(&[r#"
            [[registry]]
            location = "q.io"
            insecure = true
            [[registry]]
            prefix = "q.io/deep"
            location = "inner.io:5000/x"
            [[registry.mirror]]
            location = "m1.io"
            pull-from-mirror = "digest-only"
            [[registry.mirror]]
            location = "m2.io/p"
            insecure = true
            [[registry]]
            prefix = "*.example.com"
            blocked = true
            [[registry]]
            prefix = "fine.example.com"
            location = "fine.example.com"
        "#]);
        let endpoints = |name: &str| -> Vec<(String, bool)> {
            let reference = Reference::parse(name).unwrap();
            all.endpoints(&reference)
                .unwrap()
                .into_iter()
                .map(|e| (e.reference.to_string(), e.insecure))
                .collect()
        };
        assert_eq!(endpoints("q.io/a:1"), [("q.io/a:1".into(), true)]);
        assert_eq!(endpoints("q.io/deeper:1"), [("q.io/deeper:1".into(), true)]);
        assert_eq!(
            endpoints("q.io/deep/a:1"),
            [("m2.io/p/a:1".into(), true), ("inner.io:5000/x/a:1".into(), false)]
        );
        let digest = format!("@sha256:{}", "0".repeat(64));
        assert_eq!(endpoints(&format!("q.io/deep/a{digest}"))[0].0, format!("m1.io/a{digest}"));
        assert_eq!(endpoints("other.io/a:1"), [("other.io/a:1".into(), false)]);
        let blocked = Reference::parse("x.y.example.com/a").unwrap();
        assert!(matches!(all.endpoints(&blocked), Err(RegistriesError::Blocked(_))));
        assert_eq!(endpoints("fine.example.com/a").len(), 1);
        assert_eq!(endpoints("example.com/a").len(), 1);
        assert!(all.is_insecure("q.io") && !all.is_insecure("q.iox"));
    }

    #[test]
    fn refuses_wrong_files() {
        for text in [
            "[registries.search]\nregistries = [\"a\"]",
            "[[registry]]\nlocation = \"https://a.io\"",
            "[[registry]]\nprefix = \"a.io\"",
            "[[registry]]\nprefix = \"*.a.io/x\"",
            "[[registry]]\nblocked = true",
            "[[registry]]\nlocation = \"a.io\"\npull-from-mirror = \"all\"",
            "[[registry]]\nlocation = \"a.io\"\n[[registry]]\nprefix = \"b.io\"\nlocation = \"a.io\"\ninsecure = true",
            "[[registry]]\nlocation = \"a.io\"\n[[registry]]\nprefix = \"b.io\"\nlocation = \"a.io\"\nblocked = true",
            "[[registry]]\nlocation = \"a.io\"\n[[registry.mirror]]\ninsecure = true",
            "[[registry]]\nlocation = \"a.io\"\n[[registry.mirror]]\nlocation = \"b.io\"\npull-from-mirror = \"x\"",
            "unqualified-search-registries = [\"a.io/x\"]",
            "unqualified-search-registries = [\"nodots\"]",
            "short-name-mode = \"x\"",
            "[aliases]\na = \"b\"",
            "[aliases]\na = \"b.io/c:1\"",
            "[aliases]\n\"a.io/b\" = \"b.io/c\"",
            "nonsense",
        ] {
            assert!(file::parse(text, Path::new("/f")).is_err(), "{text}");
        }
    }
}
