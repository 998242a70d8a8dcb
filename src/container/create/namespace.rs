//! The grammar of namespace modes: `host`, `private`, `container:ID`, `ns:PATH`.

use std::path::{Component, PathBuf};

use super::{CgroupMode, IpcMode, NamespaceMode};
use crate::container::{Error, Result};

/// Reads a mode of `--pid`, `--uts` or `--cgroupns`.
///
/// # Errors
/// In podman's words.
pub fn parse(text: &str) -> Result<NamespaceMode> {
    match text {
        "" | "private" => Ok(NamespaceMode::Private),
        "host" => Ok(NamespaceMode::Host),
        "pod" => Err(Error::Unsupported { what: "pods".to_owned() }),
        _ => {
            if let Some(id) = text.strip_prefix("container:") {
                requires("container", id)?;
                Ok(NamespaceMode::Container(id.to_owned()))
            } else if let Some(path) = text.strip_prefix("ns:") {
                requires("path", path)?;
                Ok(NamespaceMode::Path(file(path)?))
            } else {
                Err(Error::Invalid { what: format!("unrecognized namespace mode {text} passed") })
            }
        }
    }
}

/// Reads the mode of `--ipc`.
///
/// # Errors
/// In podman's words.
pub fn parse_ipc(text: &str) -> Result<IpcMode> {
    match text {
        "" | "shareable" => return Ok(IpcMode::Shareable),
        "none" => return Ok(IpcMode::None),
        _ => {}
    }
    Ok(match parse(text)? {
        NamespaceMode::Private => IpcMode::Private,
        NamespaceMode::Host => IpcMode::Host,
        NamespaceMode::Container(id) => IpcMode::Container(id),
        NamespaceMode::Path(path) => IpcMode::Path(path),
    })
}

/// Reads the mode of `--cgroups`.
///
/// # Errors
/// In podman's words.
pub fn parse_cgroups(text: &str) -> Result<CgroupMode> {
    match text {
        "" | "default" | "enabled" => Ok(CgroupMode::Enabled),
        "no-conmon" => Ok(CgroupMode::NoConmon),
        "disabled" => Ok(CgroupMode::Disabled),
        "split" => Ok(CgroupMode::Split),
        _ => Err(Error::Invalid {
            what: "invalid cgroup mode, must be one of: \"disabled\", \"enabled\", \"no-conmon\", \"split\""
                .to_owned(),
        }),
    }
}

impl CgroupMode {
    /// The text form, as `inspect` shows it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Enabled => "default",
            Self::NoConmon => "no-conmon",
            Self::Disabled => "disabled",
            Self::Split => "split",
        }
    }
}

fn requires(mode: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return Err(Error::Invalid { what: format!("namespace mode {mode} requires a value") });
    }
    Ok(())
}

/// A namespace file by a plain absolute path; another process opens it later, from elsewhere.
fn file(text: &str) -> Result<PathBuf> {
    let path = PathBuf::from(text);
    let plain =
        path.is_absolute() && !path.components().any(|c| c == Component::ParentDir) && !text.contains('\0');
    if plain {
        return Ok(path);
    }
    Err(Error::Invalid { what: format!("invalid namespace path {text:?}, must be an absolute path") })
}

impl NamespaceMode {
    /// The text form, as `inspect` shows it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Private => "private".to_owned(),
            Self::Host => "host".to_owned(),
            Self::Container(id) => format!("container:{id}"),
            Self::Path(path) => format!("ns:{}", path.display()),
        }
    }
}

impl IpcMode {
    /// The text form, as `inspect` shows it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Shareable => "shareable".to_owned(),
            Self::Private => "private".to_owned(),
            Self::None => "none".to_owned(),
            Self::Host => "host".to_owned(),
            Self::Container(id) => format!("container:{id}"),
            Self::Path(path) => format!("ns:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_parse_and_print() {
        for text in ["private", "host", "container:x", "ns:/proc/1/ns/pid"] {
            assert_eq!(parse(text).unwrap().text(), text);
            assert_eq!(parse_ipc(text).unwrap().text(), text);
        }
        assert_eq!(parse_ipc("").unwrap(), IpcMode::Shareable);
        assert_eq!(parse_ipc("none").unwrap().text(), "none");
    }

    #[test]
    fn s112_other_words_and_paths_are_refused() {
        for text in
            ["none", "shareable", "x", "container:", "ns:", "ns:a", "ns:/a/../b", "Host", "pod", "ns:/a\0"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
