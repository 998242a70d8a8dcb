//! `--network`: which network namespace a container gets and what connects it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// The network of a container. Its text form is that of `--network`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Mode {
    /// A namespace of its own, connected through pasta with these options.
    Pasta(Vec<String>),
    /// A namespace of its own with a loopback interface only.
    None,
    /// The host's namespace.
    Host,
    /// The namespace of another container.
    Container(String),
    /// The namespace behind a file.
    Path(PathBuf),
}

impl Default for Mode {
    fn default() -> Self {
        Self::Pasta(Vec::new())
    }
}

impl Mode {
    /// Reads the values of `--network`; without any, `default` (`netns` of containers.conf) counts.
    pub fn parse<S: AsRef<str>>(values: &[S], default: &str) -> Result<Self> {
        let first = values.first().map_or(default, AsRef::as_ref);
        let mode = Self::parse_one(first)?;
        if values.len() > 1 {
            return Err(Error::Syntax(format!(
                "cannot set multiple networks without bridge network mode, selected mode {}: invalid argument",
                mode.name()
            )));
        }
        Ok(mode)
    }

    fn parse_one(value: &str) -> Result<Self> {
        let (name, rest) = match value.split_once(':') {
            Some((name, rest)) => (name, Some(rest)),
            None => (value, None),
        };
        match (name, rest) {
            ("" | "default" | "private", None) => Ok(Self::Pasta(Vec::new())),
            ("pasta", None) => Ok(Self::Pasta(Vec::new())),
            ("pasta", Some(options)) => Ok(Self::Pasta(options.split(',').map(str::to_owned).collect())),
            ("none", None) => Ok(Self::None),
            ("host", None) => Ok(Self::Host),
            ("container", Some("")) => {
                Err(Error::Syntax("must provide name or ID of the container to join".to_owned()))
            }
            ("container", Some(id)) => Ok(Self::Container(id.to_owned())),
            ("ns", Some(path)) => Self::parse_path(path),
            ("pod", None) => Err(Error::NotYet("pods")),
            ("slirp4netns", _) => Err(Error::NotYet("slirp4netns; use pasta")),
            ("bridge" | "podman", _) => Err(Error::NotYet("bridge networks")),
            ("", Some(_)) => Err(Error::Syntax("network name cannot be empty".to_owned())),
            (name, _) => {
                let name = name.split(',').next().unwrap_or(name).to_owned();
                Err(Error::NoSuchNetwork { name })
            }
        }
    }

    /// Only plain absolute paths: a path with `..` or a relative one would mean something else
    /// in the monitor than where the user typed it.
    fn parse_path(path: &str) -> Result<Self> {
        let problem = |problem: &str| Error::Namespace { path: path.into(), problem: problem.to_owned() };
        if path.contains('\0') {
            return Err(problem("the path contains a NUL"));
        }
        let path = PathBuf::from(path);
        if !path.is_absolute() {
            return Err(problem("the path is not absolute"));
        }
        if path.components().any(|part| part == std::path::Component::ParentDir) {
            return Err(problem("the path contains \"..\""));
        }
        Ok(Self::Path(path))
    }

    /// The mode without its options.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pasta(_) => "pasta",
            Self::None => "none",
            Self::Host => "host",
            Self::Container(_) => "container",
            Self::Path(_) => "ns",
        }
    }

    /// Whether the container gets a network namespace of its own.
    #[must_use]
    pub fn is_own_namespace(&self) -> bool {
        matches!(self, Self::Pasta(_) | Self::None)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pasta(options) if !options.is_empty() => write!(f, "pasta:{}", options.join(",")),
            Self::Container(id) => write!(f, "container:{id}"),
            Self::Path(path) => write!(f, "ns:{}", path.display()),
            Self::Pasta(_) | Self::None | Self::Host => f.write_str(self.name()),
        }
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse_one(text)
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}

impl TryFrom<String> for Mode {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_their_meaning() {
        let pasta = |options: &[&str]| Mode::Pasta(options.iter().map(|&o| o.to_owned()).collect());
        let cases: [(&[&str], Mode); 11] = [
            (&[], pasta(&[])),
            (&[""], pasta(&[])),
            (&["private"], pasta(&[])),
            (&["default"], pasta(&[])),
            (&["pasta"], pasta(&[])),
            (&["pasta:--mtu,1280"], pasta(&["--mtu", "1280"])),
            (&["pasta:--tcp-ports,192.0.2.1%eth0/80:81"], pasta(&["--tcp-ports", "192.0.2.1%eth0/80:81"])),
            (&["none"], Mode::None),
            (&["host"], Mode::Host),
            (&["container:a-b"], Mode::Container("a-b".to_owned())),
            (&["ns:/run/netns/x"], Mode::Path("/run/netns/x".into())),
        ];
        for (values, expected) in cases {
            assert_eq!(Mode::parse(values, "private").unwrap(), expected, "{values:?}");
        }
        assert_eq!(Mode::parse::<&str>(&[], "none").unwrap(), Mode::None);
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let cases: [(&[&str], &str); 9] = [
            (&["nosuch"], "unable to find network with name or ID nosuch: network not found"),
            (&["a,b"], "unable to find network with name or ID a: network not found"),
            (&[":x"], "network name cannot be empty"),
            (&["bridge"], "not supported yet: bridge networks"),
            (&["container:"], "must provide name or ID of the container to join"),
            (&["ns:run/x"], "cannot use network namespace run/x: the path is not absolute"),
            (&["ns:/run/../x"], "cannot use network namespace /run/../x: the path contains \"..\""),
            (&["pod"], "not supported yet: pods"),
            (
                &["none", "x"],
                "cannot set multiple networks without bridge network mode, selected mode none: invalid argument",
            ),
        ];
        for (values, expected) in cases {
            assert_eq!(Mode::parse(values, "").unwrap_err().to_string(), expected, "{values:?}");
        }
    }

    #[test]
    fn text_form_is_read_back() {
        for text in ["pasta", "pasta:-m,1280", "none", "host", "container:x", "ns:/proc/7/ns/net"] {
            assert_eq!(text.parse::<Mode>().unwrap().to_string(), text);
        }
    }
}
