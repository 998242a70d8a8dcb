//! The environment of this process, read once.
//!
//! Everything below `cli` takes an [`Env`] instead of asking the process, so that tests can
//! pass another one and no code depends on a variable that its caller cannot see.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{Error, Result};

/// Between the last use of the user's namespace and the end of the process that holds it, unless [`name::LINGER`] says
/// otherwise: scripts start container after container, people do not.
const LINGER_DEFAULT: Duration = Duration::from_secs(60);

/// The variables that rbox itself reads.
pub mod name {
    /// Home directory; /etc/passwd is asked when it is unset.
    pub const HOME: &str = "HOME";
    /// Login name, the first place to look for the owner of sub-id ranges.
    pub const USER: &str = "USER";
    /// Where programs (pasta, newuidmap, credential helpers) are searched.
    pub const PATH: &str = "PATH";
    /// Base of the store: `$XDG_DATA_HOME/rbox`.
    pub const XDG_DATA_HOME: &str = "XDG_DATA_HOME";
    /// Base of volatile state: `$XDG_RUNTIME_DIR/rbox`.
    pub const XDG_RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
    /// Base of the user's configuration: `$XDG_CONFIG_HOME/containers`.
    pub const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
    /// The only containers.conf to read; /dev/null means none.
    pub const CONTAINERS_CONF: &str = "CONTAINERS_CONF";
    /// A containers.conf that is read last and wins.
    pub const CONTAINERS_CONF_OVERRIDE: &str = "CONTAINERS_CONF_OVERRIDE";
    /// The only storage.conf to read.
    pub const CONTAINERS_STORAGE_CONF: &str = "CONTAINERS_STORAGE_CONF";
    /// The registries.conf to read instead of the usual ones.
    pub const CONTAINERS_REGISTRIES_CONF: &str = "CONTAINERS_REGISTRIES_CONF";
    /// Its old name.
    pub const REGISTRIES_CONFIG_PATH: &str = "REGISTRIES_CONFIG_PATH";
    /// Registry credentials file.
    pub const REGISTRY_AUTH_FILE: &str = "REGISTRY_AUTH_FILE";
    /// Directory of Docker's config.json.
    pub const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
    /// Directory for big temporary files.
    pub const TMPDIR: &str = "TMPDIR";
    /// Set for processes inside `rbox unshare`; scripts written for podman look at it.
    pub const USERNS_CONFIGURED: &str = "_CONTAINERS_USERNS_CONFIGURED";
    /// The uid outside of the user namespace, beside [`USERNS_CONFIGURED`].
    pub const ROOTLESS_UID: &str = "_CONTAINERS_ROOTLESS_UID";
    /// The gid outside of the user namespace, beside [`USERNS_CONFIGURED`].
    pub const ROOTLESS_GID: &str = "_CONTAINERS_ROOTLESS_GID";
    /// Any value switches colours off.
    pub const NO_COLOR: &str = "NO_COLOR";
    /// Name of the terminal type.
    pub const TERM: &str = "TERM";
    /// Time zone of printed times.
    pub const TZ: &str = "TZ";
    /// Address of the session bus.
    pub const DBUS_SESSION_BUS_ADDRESS: &str = "DBUS_SESSION_BUS_ADDRESS";
    /// systemd's readiness socket.
    pub const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
    /// systemd's passed sockets: how many.
    pub const LISTEN_FDS: &str = "LISTEN_FDS";
    /// systemd's passed sockets: for which process.
    pub const LISTEN_PID: &str = "LISTEN_PID";
    /// For how many seconds the user's namespace is held open for the next command; 0 is not at all.
    pub const LINGER: &str = "RBOX_LINGER";
}

/// The variables of this process and who runs it.
#[derive(Clone)]
pub struct Env {
    variables: BTreeMap<OsString, OsString>,
    uid: u32,
    gid: u32,
}

/// Names only: values may be secrets.
impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env")
            .field("uid", &self.uid)
            .field("gid", &self.gid)
            .field("names", &self.variables.keys())
            .finish()
    }
}

impl Env {
    /// Reads the environment and the effective ids of this process.
    #[must_use]
    pub fn capture() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }

    /// Builds an environment from values, for tests and for children with another one.
    #[must_use]
    pub fn from_values<N, V>(uid: u32, gid: u32, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables, uid, gid }
    }

    /// The same environment with another value of `name`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// The value of `name`, also when it is empty.
    #[must_use]
    pub fn get(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.variables.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// The value of `name` as text, unless it is unset, empty or not UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(OsStr::to_str).filter(|value| !value.is_empty())
    }

    /// The value of `name` as a path, unless it is unset or empty.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.get(name).filter(|value| !value.is_empty()).map(Path::new)
    }

    /// The value of `name` as an absolute path; the XDG specification says to ignore others.
    #[must_use]
    pub fn absolute(&self, name: &str) -> Option<PathBuf> {
        self.path(name).filter(|path| path.is_absolute()).map(Path::to_owned)
    }

    /// This environment with `NAME=VALUE` texts (`[engine] env` of containers.conf) for the
    /// variables that are unset or empty.
    #[must_use]
    pub fn with_defaults(&self, assignments: &[String]) -> Self {
        let mut env = self.clone();
        for (name, value) in assignments.iter().filter_map(|text| text.split_once('=')) {
            let variable = env.variables.entry(name.into()).or_default();
            if variable.is_empty() {
                *variable = value.into();
            }
        }
        env
    }

    /// How long the user's namespace is held open for further commands: `RBOX_LINGER`, in seconds. `None` is not at all.
    ///
    /// # Errors
    /// When the variable is not a number.
    pub fn linger(&self) -> Result<Option<Duration>> {
        let Some(text) = self.get(name::LINGER).filter(|value| !value.is_empty()) else {
            return Ok(Some(LINGER_DEFAULT));
        };
        let seconds =
            text.to_str().and_then(|text| text.parse::<u32>().ok()).ok_or_else(|| Error::Variable {
                name: name::LINGER,
                value: text.to_string_lossy().into_owned(),
                wanted: "a number of seconds",
            })?;
        Ok((seconds > 0).then(|| Duration::from_secs(seconds.into())))
    }

    /// All variables, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// The effective uid when the process started: 0 inside of the user's namespace.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The effective gid when the process started.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Finds a program in `extra` directories, then in `$PATH`.
    ///
    /// Relative directories of `$PATH` are passed over: what runs must not depend on where
    /// the caller stands.
    #[must_use]
    pub fn find_program<'a>(&self, name: &str, extra: impl IntoIterator<Item = &'a Path>) -> Option<PathBuf> {
        let executable = |dir: &Path| {
            let path = dir.join(name);
            (path.is_absolute()
                && path.is_file()
                && rustix::fs::access(&path, rustix::fs::Access::EXEC_OK).is_ok())
            .then_some(path)
        };
        extra.into_iter().find_map(executable).or_else(|| {
            let path = self.get(name::PATH).unwrap_or(OsStr::new(DEFAULT_PATH));
            std::env::split_paths(path).find_map(|dir| executable(&dir))
        })
    }
}

/// Searched when `$PATH` is unset, as by the shells.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_and_relative_values_count_as_unset_where_the_rules_say_so() {
        let env = Env::from_values(1, 2, [("A", ""), ("B", "x/y"), ("C", "/z")]);
        assert_eq!(env.get("A"), Some(OsStr::new("")));
        assert_eq!(env.text("A"), None);
        assert_eq!(env.path("B"), Some(Path::new("x/y")));
        assert_eq!(env.absolute("B"), None);
        assert_eq!(env.absolute("C"), Some(PathBuf::from("/z")));
    }

    #[test]
    fn debug_shows_no_values() {
        let env = Env::from_values(1, 2, [("TOKEN", "hush")]);
        let text = format!("{env:?}");
        assert!(text.contains("TOKEN") && !text.contains("hush"), "{text}");
    }

    #[test]
    fn programs_are_found_in_extra_directories_first() {
        let env = Env::from_values(0, 0, [("PATH", ".:/usr/bin:/bin")]);
        assert_eq!(env.find_program("sh", []), Some(PathBuf::from("/usr/bin/sh")));
        assert_eq!(env.find_program("sh", [Path::new("/bin")]), Some(PathBuf::from("/bin/sh")));
        assert_eq!(env.find_program("no-such-program", [Path::new("/bin")]), None);
    }
}
