//! auth.json and Docker's config.json: `auths`, `credHelpers`, `credsStore`.
//!
//! The file is kept as JSON, so that fields of other tools survive a change.

use std::path::Path;

use base64::Engine as _;
use rustix::fs::Mode;
use serde_json::{Map, Value};

use super::{AuthError, AuthFile, BASE64, Format, Secret};
use crate::image::request::Credentials;
use crate::kernel::file::{self, Durability};

const FILE_MAX: u64 = 4 << 20;

/// The content of a credentials file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Content {
    root: Map<String, Value>,
    format: Format,
}

/// What a file says about a registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// The secret itself.
    Secret(Secret),
    /// Ask this helper.
    Helper(String),
    /// Nothing.
    Nothing,
}

/// Reads a file; nothing where there is none.
pub(super) fn read(from: &AuthFile) -> Result<Option<Content>, AuthError> {
    let path = &from.path;
    let bytes = match file::read_limited(path, FILE_MAX) {
        Ok(bytes) => bytes,
        // Not a directory: a part of the default paths is a file.
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(None),
        Err(source) => return Err(AuthError::Read { path: path.clone(), source }),
    };
    match parse(&bytes, from.format) {
        Ok(content) => Ok(Some(content)),
        Err(source) => Err(AuthError::Json { path: path.clone(), source }),
    }
}

fn parse(bytes: &[u8], format: Format) -> Result<Content, serde_json::Error> {
    Ok(Content { root: serde_json::from_slice(bytes)?, format })
}

/// Writes a file, readable by its owner only.
pub(super) fn write(to: &AuthFile, content: &Content) -> Result<(), AuthError> {
    let path = &to.path;
    let failed = |source| AuthError::Write { path: path.clone(), source };
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(crate::kernel::Error::path("open", path, std::io::ErrorKind::IsADirectory)));
    };
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    create_private_dirs(dir).map_err(failed)?;
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(&content.root, &mut serializer).expect("JSON values serialise");
    file::write_atomic(dir, name, &bytes, Mode::RUSR | Mode::WUSR, Durability::Sync).map_err(failed)
}

fn create_private_dirs(dir: &Path) -> crate::kernel::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| crate::kernel::Error::path("mkdir", dir, error))
}

impl Content {
    /// A file without entries.
    pub(super) fn empty(format: Format) -> Self {
        Self { root: Map::new(), format }
    }

    fn auths(&self) -> Option<&Map<String, Value>> {
        match self.format {
            Format::Legacy => Some(&self.root),
            Format::Containers | Format::Docker => self.root.get("auths")?.as_object(),
        }
    }

    /// Looks for `key` or, less and less specific, the names that contain it down to `host`.
    pub(super) fn lookup(&self, key: &str, host: &str) -> Lookup {
        if let Some(helper) = self.helper_for(host) {
            return Lookup::Helper(helper);
        }
        match self.entry(key, host).map(secret_of) {
            Some(secret) if secret != Secret::None => Lookup::Secret(secret),
            // Docker leaves empty entries behind for what its store holds.
            _ => match self.root.get("credsStore").and_then(Value::as_str) {
                Some(helper) if !helper.is_empty() => Lookup::Helper(helper.to_owned()),
                _ => Lookup::Nothing,
            },
        }
    }

    /// The helper that `credHelpers` names for the registry.
    pub(super) fn helper_for(&self, host: &str) -> Option<String> {
        Some(self.root.get("credHelpers")?.as_object()?.get(host)?.as_str()?.to_owned())
    }

    /// The helper that keeps the registry's credentials: its own, or the one for all.
    pub(super) fn keeper_of(&self, host: &str) -> Option<String> {
        let for_all = || Some(self.root.get("credsStore")?.as_str()?.to_owned());
        self.helper_for(host).or_else(for_all).filter(|name| !name.is_empty())
    }

    /// The registries whose credentials a helper may have: those with helpers of their own, and with empty entries.
    pub(super) fn kept_elsewhere(&self) -> Vec<String> {
        let helpers = self.root.get("credHelpers").and_then(Value::as_object);
        let own = helpers.into_iter().flat_map(|table| table.keys());
        let empty = self.auths().into_iter().flatten().filter(|(_, entry)| secret_of(entry) == Secret::None);
        let names = own.chain(empty.map(|(name, _)| name));
        names.map(|name| host_of(name).split('/').next().unwrap_or_default().to_owned()).collect()
    }

    /// Leaves an empty entry for what a helper keeps; false where there is one.
    pub(super) fn mark(&mut self, key: &str) -> bool {
        let auths = self.root.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        match auths {
            Value::Object(auths) if auths.get(key).is_none_or(|entry| secret_of(entry) != Secret::None) => {
                auths.insert(key.to_owned(), Value::Object(Map::new()));
                true
            }
            _ => false,
        }
    }

    fn entry(&self, key: &str, host: &str) -> Option<&Value> {
        let auths = self.auths()?;
        let mut name = key;
        loop {
            if let Some(entry) = auths.get(name) {
                return Some(entry);
            }
            match name.rsplit_once('/') {
                Some((shorter, _)) => name = shorter,
                None => break,
            }
        }
        // docker login once wrote URLs, and still does for Docker Hub.
        let wanted = canonical_host(host);
        auths.iter().find(|(name, _)| canonical_host(host_of(name)) == wanted).map(|(_, entry)| entry)
    }

    /// Adds or replaces the entry of `key`.
    pub(super) fn set(&mut self, key: &str, credentials: &Credentials) {
        let auth = BASE64.encode(format!("{}:{}", credentials.username, credentials.password));
        let auths = self.root.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        if !auths.is_object() {
            *auths = Value::Object(Map::new());
        }
        if let Value::Object(auths) = auths {
            auths.insert(key.to_owned(), serde_json::json!({ "auth": auth }));
        }
    }

    /// Removes the entry of `key`; false where there is none.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        let Some(Value::Object(auths)) = self.root.get_mut("auths") else { return false };
        if auths.shift_remove(key).is_some() {
            return true;
        }
        let wanted = canonical_host(key);
        let found = auths.keys().find(|name| canonical_host(host_of(name)) == wanted).cloned();
        found.is_some_and(|name| auths.shift_remove(&name).is_some())
    }

    /// Removes all entries.
    pub(super) fn clear(&mut self) {
        self.root.insert("auths".to_owned(), Value::Object(Map::new()));
    }
}

fn secret_of(entry: &Value) -> Secret {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    if !text("identitytoken").is_empty() {
        return Secret::IdentityToken(text("identitytoken").to_owned());
    }
    let decoded = BASE64.decode(text("auth")).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|auth| auth.split_once(':')) {
        Some((username, password)) => Secret::Password(Credentials {
            username: username.to_owned(),
            // Docker once padded with NUL.
            password: password.trim_end_matches('\0').to_owned(),
        }),
        None if !text("username").is_empty() => Secret::Password(Credentials {
            username: text("username").to_owned(),
            password: text("password").to_owned(),
        }),
        None => Secret::None,
    }
}

/// The host of a key that is a URL; other keys as they are.
fn host_of(key: &str) -> &str {
    match key.strip_prefix("https://").or(key.strip_prefix("http://")) {
        Some(rest) => rest.split('/').next().unwrap_or(rest),
        None => key.strip_suffix("/v1/").unwrap_or(key),
    }
}

/// One name for the several of Docker Hub.
fn canonical_host(host: &str) -> &str {
    match host {
        "registry-1.docker.io" | "index.docker.io" | "docker.io" => "docker.io",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> Content {
        parse(text.as_bytes(), Format::Containers).unwrap()
    }

    fn password(lookup: Lookup) -> String {
        match lookup {
            Lookup::Secret(Secret::Password(credentials)) => credentials.password,
            other => format!("{other:?}"),
        }
    }

    fn auth(text: &str) -> String {
        BASE64.encode(format!("u:{text}"))
    }

    #[test]
    fn the_most_specific_key_wins() {
        let file = content(&format!(
            r#"{{"auths":{{"q.io":{{"auth":"{}"}},"q.io/ns":{{"auth":"{}"}},"q.io/ns/repo":{{"auth":"{}"}},
            "https://index.docker.io/v1/":{{"auth":"{}"}},"http://old.io:5000":{{"auth":"{}"}},"empty.io":{{}}}}}}"#,
            auth("host"),
            auth("ns"),
            auth("repo"),
            auth("hub"),
            auth("old")
        ));
        for (key, expected) in [
            ("q.io", "host"),
            ("q.io/other", "host"),
            ("q.io/ns", "ns"),
            ("q.io/ns/x/y", "ns"),
            ("q.io/ns/repo", "repo"),
            ("docker.io/library/alpine", "hub"),
            ("old.io:5000/x", "old"),
            ("empty.io", "Nothing"),
            ("x.io", "Nothing"),
        ] {
            let host = key.split('/').next().unwrap();
            assert_eq!(password(file.lookup(key, host)), expected, "{key}");
        }
    }

    #[test]
    fn helpers_and_tokens() {
        let file = content(
            r#"{"auths":{"t.io":{"identitytoken":"tok","auth":"dTp4"},"s.io":{}},"credHelpers":{"h.io":"pass"},"credsStore":"desktop"}"#,
        );
        assert_eq!(file.lookup("h.io/x", "h.io"), Lookup::Helper("pass".into()));
        assert_eq!(file.lookup("s.io", "s.io"), Lookup::Helper("desktop".into()));
        assert_eq!(file.lookup("t.io", "t.io"), Lookup::Secret(Secret::IdentityToken("tok".into())));
    }

    #[test]
    fn changes_keep_what_others_wrote() {
        let mut file =
            content(r#"{"HttpHeaders":{"a":"b"},"auths":{"https://index.docker.io/v1/":{"auth":"eDp5"}}}"#);
        file.set("q.io/ns", &Credentials { username: "me".into(), password: "a:b".into() });
        assert_eq!(password(file.lookup("q.io/ns/x", "q.io")), "a:b");
        assert!(file.remove("docker.io") && !file.remove("docker.io"));
        assert!(file.remove("q.io/ns"));
        assert_eq!(serde_json::to_string(&file.root).unwrap(), r#"{"HttpHeaders":{"a":"b"},"auths":{}}"#);
    }

    #[test]
    fn broken_entries_are_no_secret() {
        for entry in [r#"{"auth":"!!"}"#, r#"{"auth":"bm9jb2xvbg=="}"#, "3", "null", r#"{"auth":3}"#] {
            let file = content(&format!(r#"{{"auths":{{"a.io":{entry}}}}}"#));
            assert_eq!(file.lookup("a.io", "a.io"), Lookup::Nothing, "{entry}");
        }
        assert!(parse(b"[]", Format::Containers).is_err());
        assert!(parse(b"", Format::Containers).is_err());
    }
}
