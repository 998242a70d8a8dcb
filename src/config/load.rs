//! Finds, reads and merges containers.conf.
//!
//! Order, later files win field by field:
//! /usr/share/containers/containers.conf, /etc/containers/containers.conf and its `.d/*.conf`,
//! then for users /etc/containers/containers.rootless.conf, its `.d/*.conf` and
//! `.d/UID/*.conf`, then $XDG_CONFIG_HOME/containers/containers.conf and its `.d/*.conf`,
//! then each `--module`, then `$CONTAINERS_CONF_OVERRIDE`. `$CONTAINERS_CONF` stands for
//! everything before the modules.
//!
//! A list that ends in `{append=true}` is added to what is there, and so are later lists of
//! the same key until one says `{append=false}`. Tables of names (such as runtimes) are merged
//! by name. Keys are case-insensitive, as Go's parser has them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::{Table, Value};

use super::env::name;
use super::{Config, Env, Error, Result, paths, subid};
use crate::kernel;

/// Name of the file below a configuration directory.
const FILE: &str = "containers/containers.conf";

/// Where the files of the system and of the user are.
#[derive(Debug, Clone)]
struct Places {
    vendor: PathBuf,
    admin: PathBuf,
    user: Option<PathBuf>,
    uid: u32,
}

impl Config {
    /// Loads the configuration of the user of `env` and the modules asked for.
    pub fn load(env: &Env, modules: &[PathBuf]) -> Result<Self> {
        let places = Places {
            vendor: Path::new("/usr/share").join(FILE),
            admin: Path::new("/etc").join(FILE),
            user: user_dir(env).map(|dir| dir.join(FILE)),
            uid: subid::login_uid(env),
        };
        load(env, &places, modules)
    }

    /// The directories in which `--module NAME` is looked for.
    #[must_use]
    pub fn module_dirs(env: &Env) -> Vec<PathBuf> {
        let user = user_dir(env).filter(|_| subid::login_uid(env) != 0);
        user.into_iter()
            .chain(["/etc".into(), "/usr/share".into()])
            .map(|dir| dir.join(format!("{FILE}.modules")))
            .collect()
    }
}

/// The user's configuration directory; a user without a home has none.
fn user_dir(env: &Env) -> Option<PathBuf> {
    let home = paths::home_dir(env).unwrap_or_default();
    Some(paths::config_home(env, &home)).filter(|dir| dir.is_absolute())
}

fn load(env: &Env, places: &Places, modules: &[PathBuf]) -> Result<Config> {
    let mut merged = Merged::default();
    match env.path(name::CONTAINERS_CONF) {
        Some(path) => merged.require(path)?,
        None => {
            for path in places.files() {
                merged.add_if_there(&path)?;
            }
        }
    }
    let mut loaded_modules = Vec::new();
    for module in modules {
        let path = places.resolve_module(module)?;
        merged.require(&path)?;
        loaded_modules.push(path);
    }
    if let Some(path) = env.path(name::CONTAINERS_CONF_OVERRIDE) {
        merged.add_if_there(path)?;
    }
    merged.finish(loaded_modules)
}

impl Places {
    /// Every file that may exist, in order.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.vendor.clone(), self.admin.clone()];
        files.extend(drop_ins(&with_suffix(&self.admin, ".d")));
        if self.uid != 0 {
            let rootless = self.admin.with_file_name("containers.rootless.conf");
            let dir = with_suffix(&rootless, ".d");
            files.push(rootless);
            files.extend(drop_ins(&dir));
            files.extend(drop_ins(&dir.join(self.uid.to_string())));
        }
        if let Some(user) = &self.user {
            files.push(user.clone());
            files.extend(drop_ins(&with_suffix(user, ".d")));
        }
        files
    }

    fn resolve_module(&self, module: &Path) -> Result<PathBuf> {
        let user = self.user.iter().filter(|_| self.uid != 0);
        let candidates: Vec<PathBuf> = if module.is_absolute() {
            vec![module.to_owned()]
        } else {
            user.chain([&self.admin, &self.vendor])
                .map(|file| with_suffix(file, ".modules").join(module))
                .collect()
        };
        candidates.iter().find(|path| path.exists()).cloned().ok_or_else(|| Error::ModuleNotFound {
            name: module.display().to_string(),
            searched: candidates.iter().map(|path| path.display().to_string()).collect(),
        })
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(suffix);
    PathBuf::from(text)
}

/// The `*.conf` files of a directory, sorted by name; none if there is no such directory.
fn drop_ins(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf") && !path.is_dir())
        .collect();
    files.sort_unstable();
    files
}

/// What the files read so far say together.
#[derive(Debug, Default)]
struct Merged {
    tables: BTreeMap<String, Table>,
    /// Lists that later files add to, as `table.key`.
    appending: BTreeMap<String, bool>,
    /// The file that set a field, by table and key.
    origins: BTreeMap<(String, String), PathBuf>,
    sources: Vec<PathBuf>,
    unknown: Vec<String>,
}

impl Merged {
    fn add_if_there(&mut self, path: &Path) -> Result<()> {
        self.require(path).or_else(|error| match &error {
            Error::Read { source, .. }
                if matches!(source.io().kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                Ok(())
            }
            _ => Err(error),
        })
    }

    fn require(&mut self, path: &Path) -> Result<()> {
        let text = fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source: kernel::Error::path("open", path, source),
        })?;
        self.add(path, &text)
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<()> {
        let parse_error = |message: String| Error::Parse { path: path.to_owned(), message };
        let text = without_comments(text);
        let tables: Table =
            text.parse().map_err(|error: toml::de::Error| parse_error(describe(&error, &text)))?;
        for (table, value) in tables {
            let table = table.to_lowercase();
            let Some(keys) = Config::keys(&table) else { continue };
            let Value::Table(fields) = value else {
                return Err(parse_error(format!("`{table}` is not a table")));
            };
            for (key, value) in fields {
                let key = key.to_lowercase();
                if !keys.contains(&key.as_str()) {
                    self.unknown.push(format!("{}: {table}.{key}", path.display()));
                    continue;
                }
                let value = self.resolve(&table, &key, value).map_err(parse_error)?;
                self.origins.insert((table.clone(), key.clone()), path.to_owned());
                self.tables.entry(table.clone()).or_default().insert(key, value);
            }
        }
        self.sources.push(path.to_owned());
        Ok(())
    }

    /// The new value of a field: itself, or joined with what is there.
    fn resolve(&mut self, table: &str, key: &str, value: Value) -> Result<Value, String> {
        let earlier = self.tables.get(table).and_then(|fields| fields.get(key));
        match value {
            Value::Array(items) => {
                let field = format!("{table}.{key}");
                let (items, append) =
                    split_attributes(items).map_err(|error| format!("`{field}`: {error}"))?;
                if let Some(append) = append {
                    self.appending.insert(field.clone(), append);
                }
                if self.appending.get(&field) != Some(&true) {
                    return Ok(Value::Array(items));
                }
                let mut all = match earlier {
                    Some(Value::Array(earlier)) => earlier.clone(),
                    _ => default_list(table, key),
                };
                all.extend(items);
                Ok(Value::Array(all))
            }
            Value::Table(entries) => {
                let mut all = match earlier {
                    Some(Value::Table(earlier)) => earlier.clone(),
                    _ => Table::new(),
                };
                all.extend(entries);
                Ok(Value::Table(all))
            }
            other => Ok(other),
        }
    }

    fn finish(self, modules: Vec<PathBuf>) -> Result<Config> {
        let tables: Table =
            self.tables.into_iter().map(|(name, fields)| (name, Value::Table(fields))).collect();
        let mut config =
            Config::deserialize(tables.clone()).map_err(|error| wrong_type(&tables, self.origins, &error))?;
        for capability in &mut config.containers.default_capabilities {
            // Distributions write both `CHOWN` and `CAP_CHOWN`.
            let name = capability.to_uppercase();
            *capability = if name.starts_with("CAP_") { name } else { format!("CAP_{name}") };
        }
        Ok(Config { sources: self.sources, modules, unknown: self.unknown, ..config })
    }
}

/// Empties the lines that are only comments: distributions ship the whole manual in the file, and
/// the parser would take most of the time of a start for it. Line numbers stay.
fn without_comments(text: &str) -> Cow<'_, str> {
    if text.contains("\"\"\"") || text.contains("'''") {
        return Cow::Borrowed(text);
    }
    let lines = text.split_inclusive('\n');
    Cow::Owned(lines.map(|line| if line.trim_start().starts_with('#') { "\n" } else { line }).collect())
}

/// Takes `{append=…}` out of a list.
fn split_attributes(items: Vec<Value>) -> Result<(Vec<Value>, Option<bool>), String> {
    let mut append = None;
    let mut plain = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Value::Table(attributes) => {
                for (attribute, value) in attributes {
                    match (attribute.as_str(), value) {
                        ("append", Value::Boolean(value)) => append = Some(value),
                        (other, _) => return Err(format!("unsupported attribute {other:?} in a list")),
                    }
                }
            }
            item => plain.push(item),
        }
    }
    Ok((plain, append))
}

fn default_list(table: &str, key: &str) -> Vec<Value> {
    let defaults = Table::try_from(Config::default()).expect("the defaults are plain tables");
    match defaults.get(table).and_then(|fields| fields.get(key)) {
        Some(Value::Array(items)) => items.clone(),
        _ => Vec::new(),
    }
}

/// Which field of `tables` has the wrong type: each is tried in a configuration of its own, so that the error names
/// its file. One pass over all of them would not say more, and a start has no time to try each that is right.
fn wrong_type(
    tables: &Table,
    origins: BTreeMap<(String, String), PathBuf>,
    error: &toml::de::Error,
) -> Error {
    let alone = |table: &str, key: &str| {
        let value = tables.get(table)?.get(key)?.clone();
        let fields = Table::from_iter([(key.to_owned(), value)]);
        let tables = Table::from_iter([(table.to_owned(), Value::Table(fields))]);
        Config::deserialize(tables).err().map(|error| error.message().trim_end().to_owned())
    };
    origins
        .into_iter()
        .find_map(|((table, key), path)| {
            alone(&table, &key)
                .map(|message| Error::Parse { path, message: format!("`{table}.{key}`: {message}") })
        })
        .unwrap_or_else(|| Error::Parse { path: PathBuf::new(), message: error.to_string() })
}

/// A syntax error in one line: where, and what.
fn describe(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().replace('\n', ", ");
    match error.span() {
        Some(span) => {
            let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
            format!("line {line}: {message}")
        }
        None => message,
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
