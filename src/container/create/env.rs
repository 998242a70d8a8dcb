//! The environment of the first process: grammar of entries and files, and the order of precedence.
//!
//! From weak to strong: built-in, containers.conf, image, `--env-merge`, `--unsetenv`,
//! the caller's (`--env-host`) or her proxy variables, `--env-file`, `--env`.
//! Only the caller's own flags can name variables of the caller; an entry of an image is
//! `NAME=VALUE` or nothing (CVE-2026-57231).

use std::collections::BTreeMap;
use std::path::Path;

use super::EnvRequest;
use crate::config::Env;
use crate::container::{Error, Result};
use crate::kernel;

/// The proxy variables that `--http-proxy` passes on, as podman lists them.
const PROXY: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
];

/// Search path of a container whose image names none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What `$container` says. systemd and others know this value and not ours, and scripts
/// compare with it.
const CONTAINER: &str = "podman";

/// Environment files larger than this are refused.
const MAX_FILE: u64 = 16 << 20;

/// Reads one entry of `--env`: `NAME=VALUE`, `NAME` (the caller's value), `PREFIX*` (all of the caller's that begin so).
///
/// # Errors
/// When there is no name.
pub fn parse_entry(entry: &str, caller: &Env) -> Result<Vec<(String, String)>> {
    let (name, value) = match entry.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (entry, None),
    };
    if name.is_empty() || entry.contains('\0') {
        return Err(Error::Invalid { what: format!("invalid variable: {entry:?}") });
    }
    let name = name.trim_start_matches([' ', '\t']);
    if let Some(value) = value {
        return Ok(vec![(name.to_owned(), value.to_owned())]);
    }
    if let Some(prefix) = name.strip_suffix('*') {
        return Ok(all_of(caller).filter(|(name, _)| name.starts_with(prefix)).collect());
    }
    let value = caller.get(name).map(|value| (name.to_owned(), value.to_string_lossy().into_owned()));
    Ok(value.into_iter().collect())
}

/// Reads a file of entries, one a line; blank lines and lines that begin with `#` are left out.
///
/// # Errors
/// When the file cannot be read, or a line has no name.
pub fn parse_file(path: &Path, caller: &Env) -> Result<Vec<(String, String)>> {
    let text = read(path)?;
    let mut entries = Vec::new();
    for line in entry_lines(&text) {
        let parsed = parse_entry(line, caller)
            .map_err(|error| Error::Invalid { what: format!("parsing file {path:?}: {error}") })?;
        entries.extend(parsed);
    }
    Ok(entries)
}

/// Reads a file of labels; the value of a line without `=` is empty.
///
/// # Errors
/// When the file cannot be read, or a name is empty or has blanks in it.
pub fn parse_label_file(path: &Path) -> Result<Vec<(String, String)>> {
    let text = read(path)?;
    let mut labels = Vec::new();
    for line in entry_lines(&text) {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        if name.is_empty() {
            return Err(Error::Invalid { what: format!("invalid environment variable: {line:?}") });
        }
        if name.contains([' ', '\t']) {
            let what = format!("name {name:?} has white spaces, poorly formatted name");
            return Err(Error::Invalid { what });
        }
        if line.contains('=') {
            labels.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(labels)
}

fn read(path: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&kernel::file::read_given(path, MAX_FILE)?).into_owned())
}

fn entry_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.trim_start_matches([' ', '\t']))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn all_of(caller: &Env) -> impl Iterator<Item = (String, String)> {
    caller
        .iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

/// What the environment is made from, beside the request.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// `env` of containers.conf.
    pub config: &'a [String],
    /// Entries of the image.
    pub image: &'a [String],
    /// The caller's environment.
    pub caller: &'a Env,
    /// Whether the process gets a terminal.
    pub terminal: bool,
}

/// Puts the environment together.
///
/// # Errors
/// When a template of `--env-merge` is wrong.
pub fn assemble(request: &EnvRequest, sources: Sources<'_>) -> Result<BTreeMap<String, String>> {
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("container".to_owned(), CONTAINER.to_owned()),
    ]);
    for entry in sources.config.iter().chain(sources.image) {
        // An entry without a value or a name is nothing; it is never looked up anywhere.
        if let Some((name, value)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) {
            env.insert(name.to_owned(), value.to_owned());
        }
    }
    if sources.terminal {
        env.entry("TERM".to_owned()).or_insert_with(|| "xterm".to_owned());
    }
    for (name, template) in &request.merge {
        let value =
            super::words::expand(template, |name| env.get(name).cloned()).map_err(|why| Error::Invalid {
                what: format!("unable to process variables for --env-merge {name}={template}: {why}"),
            })?;
        env.insert(name.clone(), value);
    }
    for name in &request.unset {
        env.remove(name);
    }
    if request.unset_all {
        env.clear();
    }
    if request.host {
        env.extend(all_of(sources.caller));
    } else if request.http_proxy {
        let proxies = all_of(sources.caller).filter(|(name, _)| PROXY.contains(&name.as_str()));
        env.extend(proxies);
    }
    env.extend(request.set.iter().cloned());
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Env {
        Env::from_values(1, 1, [("SECRET", "T"), ("SECOND", "2"), ("http_proxy", "http://p"), ("TERM", "vt")])
    }

    fn owned(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|e| (*e).to_owned()).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn entries_of_the_command_line() {
        for (entry, expected) in [
            ("A=b", vec![pair("A", "b")]),
            ("A=", vec![pair("A", "")]),
            ("A=b=c", vec![pair("A", "b=c")]),
            ("A= \"b\" ", vec![pair("A", " \"b\" ")]),
            (" A=b", vec![pair("A", "b")]),
            ("SECRET", vec![pair("SECRET", "T")]),
            ("NOSUCH", vec![]),
            ("SEC*", vec![pair("SECOND", "2"), pair("SECRET", "T")]),
            ("NOT*DEFINED", vec![]),
            ("we.ird*na#me!?=x", vec![pair("we.ird*na#me!?", "x")]),
        ] {
            assert_eq!(parse_entry(entry, &caller()).unwrap(), expected, "{entry}");
        }
        for entry in ["", "=", "=A"] {
            assert_eq!(
                parse_entry(entry, &caller()).unwrap_err().to_string(),
                format!("invalid variable: {entry:?}")
            );
        }
    }

    fn assembled(request: &EnvRequest, image: &[&str]) -> BTreeMap<String, String> {
        let (config, image) = (owned(&["FROM_CONFIG=1"]), owned(image));
        let caller = caller();
        let sources = Sources { config: &config, image: &image, caller: &caller, terminal: false };
        assemble(request, sources).unwrap()
    }

    #[test]
    fn s59_image_entries_never_name_variables_of_the_caller() {
        let env = assembled(
            &EnvRequest::default(),
            &["SECRET", "SEC*", "=x", "", " SECRET", "A=${SECRET}", "SEC*="],
        );
        assert!(!env.values().any(|value| value == "T"), "{env:?}");
        assert_eq!(env.get("A").map(String::as_str), Some("${SECRET}"));
        assert!(!env.contains_key("SECRET") && !env.contains_key(""));
    }

    #[test]
    fn precedence_is_podmans() {
        let image = ["A=image", "B=image", "C=image", "FROM_CONFIG=image"];
        let request = EnvRequest {
            set: vec![pair("A", "flag"), pair("SECOND", "flag")],
            merge: vec![pair("B", "${B}-merged")],
            unset: vec!["C".to_owned()],
            ..EnvRequest::default()
        };
        let env = assembled(&request, &image);
        assert_eq!(env["A"], "flag");
        assert_eq!(env["B"], "image-merged");
        assert_eq!(env["FROM_CONFIG"], "image");
        assert_eq!(env["container"], "podman");
        assert!(!env.contains_key("C") && !env.contains_key("http_proxy") && !env.contains_key("TERM"));

        let host = assembled(&EnvRequest { host: true, ..request.clone() }, &image);
        assert_eq!((host["SECRET"].as_str(), host["SECOND"].as_str()), ("T", "flag"));
        let proxy = assembled(&EnvRequest { http_proxy: true, ..EnvRequest::default() }, &image);
        assert_eq!(proxy["http_proxy"], "http://p");
        let none = assembled(
            &EnvRequest { unset_all: true, set: vec![pair("X", "1")], ..EnvRequest::default() },
            &image,
        );
        assert_eq!(none.into_iter().collect::<Vec<_>>(), [pair("X", "1")]);
    }

    #[test]
    fn files_are_read_line_by_line() {
        let path = crate::kernel::scratch::path("env");
        let text = "# comment\n\n  A=\"quoted\"\nSECRET\nB=1\n\t#x\nB=2\nweird*na#me!=x\n";
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
        let entries = parse_file(&path, &caller()).unwrap();
        assert_eq!(
            entries,
            [
                pair("A", "\"quoted\""),
                pair("SECRET", "T"),
                pair("B", "1"),
                pair("B", "2"),
                pair("weird*na#me!", "x")
            ]
        );
        std::fs::remove_file(&path).unwrap();
        assert!(parse_file(&path, &caller()).is_err());
    }
}
