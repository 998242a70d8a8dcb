//! The short forms: `-v [SOURCE:]TARGET[:OPTIONS]` and `--tmpfs TARGET[:OPTIONS]`.

use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::mount::{Access, Mount, MountOptions, Propagation, Relabel, Source, VolumeOverlay};
use super::path;

/// Parses a value of `-v`; relative sources are taken below `cwd`.
///
/// # Errors
/// In podman's words for every value that it refuses.
pub fn parse_volume(value: &str, cwd: &Path) -> Result<Mount> {
    let parts: Vec<&str> = value.split(':').collect();
    let (source, target, words) = match parts[..] {
        [target] => ("", target, None),
        [source, target] => (source, target, None),
        [source, target, words] => (source, target, Some(words)),
        _ => return Err(Error::Format { value: value.to_owned() }),
    };
    let words: Vec<&str> = words.map(|w| w.split(',').collect()).unwrap_or_default();
    let mut parsed = Options::parse(&words)?;
    if parts.len() > 1 && source.is_empty() {
        return Err(Error::EmptySource);
    }
    let destination = path::container(target)?;
    if !source.starts_with(['/', '.']) {
        let name = (!source.is_empty()).then(|| source.to_owned());
        if parsed.overlay {
            parsed.check_overlay(&words)?;
            let (upper, work) = (parsed.upper.take(), parsed.work.take());
            parsed.options.overlay = Some(VolumeOverlay { upper, work });
        }
        let source = Source::Volume { name, subpath: None };
        return Ok(Mount { destination, source, options: parsed.options });
    }
    let host = path::host(source, cwd);
    let source =
        if parsed.overlay { parsed.overlay_source(host, &words)? } else { Source::Bind { path: host } };
    Ok(Mount { destination, source, options: parsed.options })
}

/// Options of `-v`, with those that change what is mounted.
#[derive(Debug, Default)]
struct Options {
    options: MountOptions,
    overlay: bool,
    upper: Option<PathBuf>,
    work: Option<PathBuf>,
}

/// Groups of words of which only one may be given.
const GROUPS: [(&[&str], &str); 9] = [
    (&["noexec", "exec"], "'noexec' or 'exec'"),
    (&["nodev", "dev"], "'nodev' or 'dev'"),
    (&["nosuid", "suid"], "'nosuid' or 'suid'"),
    (&["rw", "ro"], "'rw' or 'ro'"),
    (&["z", "Z", "O"], "'z', 'Z', or 'O'"),
    (&["U"], "'U'"),
    (
        &["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"],
        "'[r]shared', '[r]private', '[r]slave' or '[r]unbindable'",
    ),
    (&["bind", "rbind"], "'[r]bind'"),
    (&["copy", "nocopy"], "'copy' or 'nocopy'"),
];

impl Options {
    fn parse(words: &[&str]) -> Result<Self> {
        for (group, which) in GROUPS {
            if words.iter().filter(|word| group.contains(word)).count() > 1 {
                return Err(Error::Repeated { options: words.join(", "), which });
            }
        }
        let mut parsed = Self::default();
        for &word in words {
            parsed.word(word)?;
        }
        Ok(parsed)
    }

    fn word(&mut self, word: &str) -> Result<()> {
        let options = &mut self.options;
        let absolute = |value: &str| path::absolute(value).ok_or(Error::Option { option: word.to_owned() });
        match word {
            "O" => self.overlay = true,
            // Words of Docker for other systems, without a meaning here.
            "cached" | "delegated" | "consistent" => {}
            "nocreate" => options.no_create = true,
            "no-dereference" => options.no_dereference = true,
            _ => {
                if let Some(dir) = word.strip_prefix("upperdir=") {
                    self.upper = Some(absolute(dir)?);
                } else if let Some(dir) = word.strip_prefix("workdir=") {
                    self.work = Some(absolute(dir)?);
                } else if let Some(dir) = word.strip_prefix("subpath=") {
                    return Err(Error::Option { option: format!("subpath={dir}") });
                } else if !common(options, word) {
                    return Err(Error::Option { option: word.to_owned() });
                }
            }
        }
        Ok(())
    }

    /// An overlay mount takes an upper and a work directory, or neither, and beside them at most `U`.
    fn overlay_source(&self, path: PathBuf, words: &[&str]) -> Result<Source> {
        self.check_overlay(words)?;
        Ok(Source::Overlay { path, upper: self.upper.clone(), work: self.work.clone() })
    }

    fn check_overlay(&self, words: &[&str]) -> Result<()> {
        if self.upper.is_some() != self.work.is_some() {
            return Err(Error::Rule("must set both `upperdir` and `workdir`"));
        }
        let beside = words.iter().filter(|w| !matches!(**w, "O" | "U") && !w.contains("dir="));
        if beside.count() > 0 {
            return Err(Error::OverlayOptions);
        }
        Ok(())
    }
}

/// Applies an option word that all forms share; `false` when it is none.
pub(super) fn common(options: &mut MountOptions, word: &str) -> bool {
    match word {
        "rw" => options.access = Access::ReadWrite,
        "ro" => options.access = Access::ReadOnly,
        "exec" => options.exec = Some(true),
        "noexec" => options.exec = Some(false),
        "dev" => options.dev = true,
        "nodev" => options.dev = false,
        "suid" => options.suid = true,
        "nosuid" => options.suid = false,
        "bind" => options.non_recursive = true,
        "rbind" => options.non_recursive = false,
        "z" => options.relabel = Some(Relabel::Shared),
        "Z" => options.relabel = Some(Relabel::Private),
        "U" => options.chown = true,
        "copy" => options.copy = Some(true),
        "nocopy" => options.copy = Some(false),
        "idmap" => options.idmap = Some(String::new()),
        _ => {
            if let Some(propagation) = Propagation::parse(word) {
                options.propagation = Some(propagation);
            } else if let Some(map) = word.strip_prefix("idmap=") {
                options.idmap = Some(map.to_owned());
            } else {
                return false;
            }
        }
    }
    true
}

/// Parses a value of `--tmpfs`.
///
/// # Errors
/// In podman's words for every value that it refuses.
pub fn parse_tmpfs(value: &str) -> Result<Mount> {
    let (target, words) = value.split_once(':').unwrap_or((value, ""));
    let destination = path::container(target)?;
    let mut options = MountOptions::default();
    let mut copy_up = None;
    let mut seen: Vec<&str> = Vec::new();
    for word in words.split(',').filter(|word| !word.is_empty()) {
        let key = word.split_once('=').map_or(word, |(key, _)| key);
        let known = match key {
            "tmpcopyup" | "notmpcopyup" => {
                if copy_up.replace(key == "tmpcopyup").is_some() {
                    return Err(Error::Rule(
                        "the 'tmpcopyup' or 'notmpcopyup' option can only be set once: duplicate mount option passed",
                    ));
                }
                true
            }
            "size" | "mode" => {
                if seen.contains(&key) {
                    return Err(Error::Option { option: format!("only one tmpfs {key} can be specified") });
                }
                options.data.push(word.to_owned());
                word.len() > key.len() + 1
            }
            "noatime" => {
                options.data.push(word.to_owned());
                true
            }
            "noswap" => return Err(Error::Rule(NO_SWAP)),
            "bind" | "rbind" | "z" | "Z" | "copy" | "nocopy" => false,
            _ => common(&mut options, word),
        };
        if !known {
            return Err(Error::Option { option: format!("unknown mount option {word:?}") });
        }
        seen.push(key);
    }
    check_tmpfs_conflicts(&seen)?;
    Ok(Mount { destination, source: Source::Tmpfs { copy_up: copy_up.unwrap_or(true) }, options })
}

/// podman's refusal of `noswap`, which only the initial user namespace may set.
pub(super) const NO_SWAP: &str =
    "the 'noswap' option is only allowed with rootful tmpfs mounts: must provide an argument for option";

fn check_tmpfs_conflicts(seen: &[&str]) -> Result<()> {
    for (group, which) in GROUPS {
        if seen.iter().filter(|word| group.contains(word)).count() > 1 {
            return Err(Error::Repeated { options: seen.join(", "), which });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(value: &str) -> Result<Mount> {
        parse_volume(value, Path::new("/cwd"))
    }

    #[test]
    fn sources_tell_binds_from_volumes() {
        let bind = |path: &str| Source::Bind { path: path.into() };
        let named = |name: Option<&str>| Source::Volume { name: name.map(str::to_owned), subpath: None };
        for (value, source, target) in [
            ("/a:/b", bind("/a"), "/b"),
            ("./a:/b/", bind("/cwd/a"), "/b"),
            ("../a:/b//c", bind("/a"), "/b/c"),
            (".:/b", bind("/cwd"), "/b"),
            ("/a/../c:/b/../d", bind("/c"), "/d"),
            ("data:/b", named(Some("data")), "/b"),
            ("/b", named(None), "/b"),
        ] {
            let mount = volume(value).unwrap_or_else(|e| panic!("{value}: {e}"));
            assert_eq!((mount.source, mount.destination), (source, PathBuf::from(target)), "{value}");
        }
    }

    #[test]
    fn options_are_typed() {
        let options = volume("/a:/b:ro,Z,rslave,exec,U,bind,dev").unwrap().options;
        assert_eq!(options.access, Access::ReadOnly);
        assert_eq!(options.relabel, Some(Relabel::Private));
        assert_eq!(options.propagation, Some(Propagation::Rslave));
        assert!(options.chown && options.non_recursive && options.dev && !options.suid);
        assert_eq!(options.exec, Some(true));
        let overlay = volume("/a:/b:O,upperdir=/u,workdir=/w").unwrap();
        let expected =
            Source::Overlay { path: "/a".into(), upper: Some("/u".into()), work: Some("/w".into()) };
        assert_eq!(overlay.source, expected);
        assert!(volume("/a:/b:O,U").unwrap().options.chown);
        let over = volume("data:/b:O,U").unwrap();
        assert_eq!(over.source, Source::Volume { name: Some("data".to_owned()), subpath: None });
        assert_eq!((over.options.overlay, over.options.chown), (Some(VolumeOverlay::default()), true));
        let chosen = volume("data:/b:O,upperdir=/u,workdir=/w").unwrap().options.overlay.unwrap();
        assert_eq!((chosen.upper, chosen.work), (Some("/u".into()), Some("/w".into())));
    }

    #[test]
    fn s37_unknown_and_contradicting_options_are_refused() {
        for (value, text) in [
            ("a:b:c:d", "a:b:c:d: incorrect volume format, should be [host-dir:]ctr-dir[:option]"),
            ("/a:/b:rshared,ro,foo", "foo: invalid mount option"),
            ("/a:/b:", ": invalid mount option"),
            ("/a:/b:rshared ", "rshared : invalid mount option"),
            ("/a:/b:ro,rw", "invalid options \"ro, rw\", can only specify 1 'rw' or 'ro' option"),
            (
                "/a:/b:shared,slave",
                "invalid options \"shared, slave\", can only specify 1 '[r]shared', '[r]private', '[r]slave' or '[r]unbindable' option",
            ),
            ("/a:/b:z,Z", "invalid options \"z, Z\", can only specify 1 'z', 'Z', or 'O' option"),
            (":/b", "host directory cannot be empty"),
            ("/a:b", "invalid container path \"b\", must be an absolute path"),
            ("/a:", "invalid container path \"\", must be an absolute path"),
            ("/a:/b:O,ro", "can't use 'O' with other options"),
            ("a:/b:O,ro", "can't use 'O' with other options"),
            ("/a:/b:O,upperdir=/x", "must set both `upperdir` and `workdir`"),
            ("/a:/b:size=1", "size=1: invalid mount option"),
        ] {
            assert_eq!(volume(value).unwrap_err().to_string(), text, "{value}");
        }
    }

    #[test]
    fn tmpfs_values_are_parsed() {
        let mount = parse_tmpfs("/run:size=10m,mode=1777,exec,ro,noatime").unwrap();
        assert_eq!(mount.options.data, ["size=10m", "mode=1777", "noatime"]);
        assert_eq!((mount.options.exec, mount.options.access), (Some(true), Access::ReadOnly));
        assert_eq!(mount.source, Source::Tmpfs { copy_up: true });
        assert_eq!(parse_tmpfs("/a:notmpcopyup").unwrap().source, Source::Tmpfs { copy_up: false });
        for value in
            ["a", "/a:foo", "/a:size=", "/a:size=1,size=2", "/a:z", "/a:rbind", "/a:rw,ro", "/a:mode"]
        {
            assert!(parse_tmpfs(value).is_err(), "{value}");
        }
    }
}
