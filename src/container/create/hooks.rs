//! OCI hooks of the administrator: JSON files in hook directories say which program runs at which point of
//! which containers (oci-hooks(5), schema 1.0.0).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hook, Hooks, Spec};
use regex::Regex;
use serde::Deserialize;

use crate::container::{Error, Result};
use crate::kernel::file;

/// Larger files are refused.
const MAX_FILE: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    version: String,
    hook: Hook,
    when: When,
    stages: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct When {
    always: Option<bool>,
    annotations: BTreeMap<String, String>,
    commands: Vec<String>,
    has_bind_mounts: Option<bool>,
    or: bool,
}

/// Puts the hooks of `directories` that fit into `spec`; `binds` says whether the user has bind mounts. A file
/// stands for one of the same name in an earlier directory, and they run in the order of their names.
///
/// # Errors
/// When a file makes no sense: a hook that is left out may be the one that confines the container.
pub(super) fn add(spec: &mut Spec, directories: &[PathBuf], binds: bool) -> Result<()> {
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for directory in directories {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                files.insert(entry.file_name(), path);
            }
        }
    }
    let mut hooks = spec.hooks().clone().unwrap_or_default();
    for path in files.values() {
        let bad = |what: String| Error::Invalid { what: format!("parsing hook {}: {what}", path.display()) };
        let bytes = file::read_limited(path, MAX_FILE)?;
        let entry: Entry = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        if entry.version != "1.0.0" {
            return Err(bad(format!("unrecognized hook version: {:?}", entry.version)));
        }
        if !executable(entry.hook.path()) {
            return Err(bad(format!("{} is no program", entry.hook.path().display())));
        }
        if entry.when.fits(spec, binds).map_err(|error| bad(error.to_string()))? {
            for stage in &entry.stages {
                add_at(&mut hooks, stage, &entry.hook)
                    .ok_or_else(|| bad(format!("unknown stage {stage:?}")))?;
            }
        }
    }
    if hooks != Hooks::default() {
        spec.set_hooks(Some(hooks));
    }
    Ok(())
}

fn executable(path: &Path) -> bool {
    path.is_absolute() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Puts a hook behind those of its stage; nothing if there is no such stage.
pub(in crate::container) fn add_at(hooks: &mut Hooks, stage: &str, hook: &Hook) -> Option<()> {
    let with = |list: &Option<Vec<Hook>>| {
        let mut list = list.clone().unwrap_or_default();
        list.push(hook.clone());
        Some(list)
    };
    match stage {
        "prestart" => hooks.set_prestart(with(hooks.prestart())),
        "createRuntime" => hooks.set_create_runtime(with(hooks.create_runtime())),
        "createContainer" => hooks.set_create_container(with(hooks.create_container())),
        "startContainer" => hooks.set_start_container(with(hooks.start_container())),
        "poststart" => hooks.set_poststart(with(hooks.poststart())),
        "poststop" => hooks.set_poststop(with(hooks.poststop())),
        _ => return None,
    };
    Some(())
}

impl When {
    /// All conditions hold, or with `or` any; none at all is no match.
    fn fits(&self, spec: &Spec, binds: bool) -> Result<bool, regex::Error> {
        let mut found = Vec::new();
        found.extend(self.always);
        found.extend(self.has_bind_mounts.map(|wanted| wanted && binds));
        let annotations = spec.annotations().clone().unwrap_or_default();
        for (key, value) in &self.annotations {
            let (key, value) = (Regex::new(key)?, Regex::new(value)?);
            found.push(annotations.iter().any(|(k, v)| key.is_match(k) && value.is_match(v)));
        }
        if !self.commands.is_empty() {
            let process = spec.process().as_ref();
            let command = process.and_then(|process| process.args().clone()?.into_iter().next());
            let patterns =
                self.commands.iter().map(|text| Regex::new(text)).collect::<Result<Vec<_>, _>>()?;
            let command = command.unwrap_or_default();
            found.push(patterns.iter().any(|pattern| pattern.is_match(&command)));
        }
        let any = found.iter().any(|holds| *holds);
        Ok(if self.or { any } else { any && found.iter().all(|holds| *holds) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_joined() {
        let spec = Spec::default();
        for (text, binds, expected) in [
            (r#"{"always": true}"#, false, true),
            (r#"{"always": false}"#, false, false),
            ("{}", true, false),
            (r#"{"hasBindMounts": true}"#, true, true),
            (r#"{"hasBindMounts": true}"#, false, false),
            (r#"{"commands": ["^sh$"]}"#, false, true),
            (r#"{"commands": ["^bash$", "x"]}"#, false, false),
            (r#"{"always": true, "commands": ["bash"]}"#, false, false),
            (r#"{"always": true, "commands": ["bash"], "or": true}"#, false, true),
            (r#"{"annotations": {"^a$": "b"}}"#, false, false),
        ] {
            let when: When = serde_json::from_str(text).unwrap();
            assert_eq!(when.fits(&spec, binds).unwrap(), expected, "{text}");
        }
        let when: When = serde_json::from_str(r#"{"commands": ["("]}"#).unwrap();
        assert!(when.fits(&spec, false).is_err());
    }
}
