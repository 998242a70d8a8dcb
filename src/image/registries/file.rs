//! One registries.conf file: its TOML form, checked.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{MirrorUse, RegistriesError, RegistryEntry, Remote, ShortNameMode};
use crate::image::reference::{Reference, is_short_name};

/// What one file says; `None` leaves the setting of an earlier file.
#[derive(Debug, Default)]
pub(super) struct FileSettings {
    pub(super) entries: Vec<RegistryEntry>,
    pub(super) search: Option<Vec<String>>,
    pub(super) helpers: Option<Vec<String>>,
    pub(super) mode: Option<ShortNameMode>,
    /// An empty value takes back the alias of an earlier file.
    pub(super) aliases: BTreeMap<String, Option<Reference>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FileToml {
    #[serde(default)]
    registry: Vec<RegistryToml>,
    unqualified_search_registries: Option<Vec<String>>,
    credential_helpers: Option<Vec<String>>,
    short_name_mode: Option<String>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    /// Only version 1 has this table.
    registries: Option<toml::Table>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[derive(Default)]
struct RegistryToml {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror: Vec<MirrorToml>,
    mirror_by_digest_only: bool,
    /// Belongs to mirrors only.
    pull_from_mirror: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct MirrorToml {
    location: String,
    insecure: bool,
    pull_from_mirror: String,
}

/// Parses and checks the text of the file at `path`.
pub(super) fn parse(text: &str, path: &Path) -> Result<FileSettings, RegistriesError> {
    let invalid = |message: String| RegistriesError::Invalid { path: path.to_owned(), message };
    let file: FileToml = toml::from_str(text).map_err(|error| invalid(error.message().to_owned()))?;
    if file.registries.is_some() {
        return Err(invalid("registries.conf must be in v2 format but is in v1".to_owned()));
    }
    let mut entries: Vec<RegistryEntry> = Vec::new();
    for entry in file.registry.into_iter().map(entry) {
        let entry = entry.map_err(invalid)?;
        check_agreement(&entries, &entry).map_err(invalid)?;
        // Of equal prefixes in one file the first counts.
        if !entries.iter().any(|other| other.prefix == entry.prefix) {
            entries.push(entry);
        }
    }
    for search in file.unqualified_search_registries.iter().flatten() {
        // Anything that is not the domain of a name would change the name's meaning.
        let probe = Reference::parse(&format!("{search}/x"));
        if !probe.is_ok_and(|r| r.domain() == search || search == "index.docker.io") {
            return Err(invalid(format!("invalid unqualified-search-registries entry {search:?}")));
        }
    }
    let aliases = file.aliases.into_iter().map(alias).collect::<Result<_, _>>().map_err(invalid)?;
    let mode = match file.short_name_mode.as_deref() {
        None | Some("") => None,
        Some("disabled") => Some(ShortNameMode::Disabled),
        Some("permissive") => Some(ShortNameMode::Permissive),
        Some("enforcing") => Some(ShortNameMode::Enforcing),
        Some(other) => return Err(invalid(format!("invalid short-name mode: {other:?}"))),
    };
    Ok(FileSettings {
        entries,
        search: file.unqualified_search_registries,
        helpers: file.credential_helpers,
        mode,
        aliases,
    })
}

/// Several prefixes may lead to one registry, which is insecure or blocked by all of them or by none.
fn check_agreement(others: &[RegistryEntry], entry: &RegistryEntry) -> Result<(), String> {
    let place = |entry: &RegistryEntry| match entry.remote.location.as_str() {
        "" => entry.prefix.clone(),
        location => location.to_owned(),
    };
    let own = place(entry);
    for other in others.iter().filter(|other| place(other) == own) {
        let setting = match () {
            () if other.remote.insecure != entry.remote.insecure => "insecure",
            () if other.blocked != entry.blocked => "blocked",
            () => continue,
        };
        return Err(format!(
            "registry '{own}' is defined multiple times with conflicting '{setting}' setting"
        ));
    }
    Ok(())
}

fn entry(toml: RegistryToml) -> Result<RegistryEntry, String> {
    let location = location(&toml.location)?;
    let prefix = match toml.prefix.trim_end_matches('/') {
        "" if location.is_empty() => return Err("a [[registry]] needs a location or a prefix".to_owned()),
        "" => location.clone(),
        prefix => self::location(prefix)?,
    };
    if !toml.pull_from_mirror.is_empty() {
        return Err(format!("pull-from-mirror must not be set for a non-mirror registry {prefix:?}"));
    }
    let is_wildcard = prefix.starts_with("*.");
    if is_wildcard && prefix.contains(['/', '@', ':']) {
        return Err(format!("wildcarded prefix {prefix:?} should be in the format: *.example.com"));
    }
    if location.is_empty() && !is_wildcard {
        return Err(format!(
            "invalid registry {prefix:?}: location is unset and prefix is not in the format: *.example.com"
        ));
    }
    let mut mirrors = Vec::new();
    for mirror in toml.mirror {
        let location = self::location(&mirror.location)?;
        if location.is_empty() {
            return Err(format!("a mirror of {prefix:?} has no location"));
        }
        let when = match mirror.pull_from_mirror.as_str() {
            "" if toml.mirror_by_digest_only => MirrorUse::Digests,
            _ if toml.mirror_by_digest_only && !mirror.pull_from_mirror.is_empty() => {
                return Err(format!(
                    "cannot set mirror usage mirror-by-digest-only for the registry {prefix:?} and pull-from-mirror for its mirror"
                ));
            }
            "" | "all" => MirrorUse::All,
            "digest-only" => MirrorUse::Digests,
            "tag-only" => MirrorUse::Tags,
            other => {
                return Err(format!("unsupported pull-from-mirror value {other:?} for mirror {location:?}"));
            }
        };
        mirrors.push((Remote { location, insecure: mirror.insecure }, when));
    }
    Ok(RegistryEntry {
        prefix,
        remote: Remote { location, insecure: toml.insecure },
        blocked: toml.blocked,
        mirrors,
    })
}

fn location(text: &str) -> Result<String, String> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err(format!("invalid location '{text}': URI schemes are not supported"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn alias((name, value): (String, String)) -> Result<(String, Option<Reference>), String> {
    let name_is_plain = is_short_name(&name)
        && Reference::parse(&name).is_ok_and(|r| r.tag().is_none() && r.digest().is_none());
    if !name_is_plain {
        return Err(format!(
            "invalid short name {name:?}: must be a repository without registry, tag and digest"
        ));
    }
    if value.is_empty() {
        return Ok((name, None));
    }
    match Reference::parse(&value) {
        Ok(target) if !is_short_name(&value) && target.tag().is_none() && target.digest().is_none() => {
            Ok((name, Some(target)))
        }
        _ => Err(format!(
            "invalid alias {value:?}: must contain registry and repository, and neither tag nor digest"
        )),
    }
}
