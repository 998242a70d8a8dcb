//! Telling systemd that a container is up (`sd_notify`): from its monitor, over `$NOTIFY_SOCKET`.
//!
//! The monitor is the main process of the unit. What ends it ends the container in an orderly way, and it
//! lives as long as the container. A container that says itself when it is ready gets a socket of its own: the
//! monitor reads it and passes on what is harmless.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use super::reserve::{make_dir, remove_dir};
use super::{Containers, Record, Result};
use crate::config::Env;
use crate::config::env::name;
use crate::kernel::{Error, socket};

/// `--sdnotify`: who says that the container is ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SdNotify {
    /// The container itself.
    #[default]
    Container,
    /// The monitor, once the program runs.
    Conmon,
    /// The monitor, once a health check has passed.
    Healthy,
    /// Nobody.
    Ignore,
}

impl SdNotify {
    /// Reads the word of the command line.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" | "container" => Self::Container,
            "conmon" => Self::Conmon,
            "healthy" => Self::Healthy,
            "ignore" => Self::Ignore,
            _ => return None,
        })
    }

    /// The word of the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Conmon => "conmon",
            Self::Healthy => "healthy",
            Self::Ignore => "ignore",
        }
    }
}

/// Where a container finds the socket.
const INSIDE: &str = "/run/notify";
/// The socket in that directory.
const SOCKET: &str = "notify.sock";

/// What a container may tell the service manager: not which process is the main one, and no descriptors to keep.
const PASSED: [&str; 9] = [
    "READY=1",
    "RELOADING=1",
    "STOPPING=1",
    "WATCHDOG=1",
    "MONOTONIC_USEC=",
    "EXTEND_TIMEOUT_USEC=",
    "STATUS=",
    "ERRNO=",
    "BUSERROR=",
];

/// The longest message that is read.
const MESSAGE_MAX: usize = 4096;

/// What systemd has still to be told.
#[derive(Debug)]
pub(super) struct Notifier {
    socket: Option<String>,
    mode: SdNotify,
    told: bool,
    /// Where the container's own messages arrive.
    proxy: Option<Proxy>,
}

/// A socket that the container takes for the service manager's.
#[derive(Debug)]
struct Proxy {
    socket: OwnedFd,
    dir: PathBuf,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It goes with the run directory at the latest.
        let _ = remove_dir(&self.dir);
    }
}

impl Notifier {
    /// For a container that is started with this environment.
    pub(super) fn new(record: &Record, env: &Env) -> Self {
        let mode = record.lifecycle.sd_notify;
        let socket = env.text(name::NOTIFY_SOCKET).map(str::to_owned);
        let ignored = mode == SdNotify::Ignore;
        Self { socket: socket.filter(|_| !ignored), mode, told: ignored, proxy: None }
    }

    /// Whether a service manager waits for word.
    pub(super) fn is_active(&self) -> bool {
        self.socket.is_some()
    }

    /// Makes the socket for the container below its run directory, where it is to have one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn open(&mut self, run_dir: &Path) -> Result<()> {
        if self.mode != SdNotify::Container || self.socket.is_none() {
            return Ok(());
        }
        let dir = run_dir.join("notify");
        make_dir(&dir)?;
        let path = dir.join(SOCKET);
        let socket = socket::receive_datagrams(&path)?;
        // Whoever the container runs as; from outside nobody gets past the run directory.
        for (path, mode) in [(&dir, 0o755), (&path, 0o777)] {
            rustix::fs::chmod(path, Mode::from_raw_mode(mode)).map_err(|e| Error::path("chmod", path, e))?;
        }
        self.proxy = Some(Proxy { socket, dir });
        Ok(())
    }

    /// Shows the socket to the container.
    pub(super) fn show(&self, spec: &mut Spec) {
        let Some(proxy) = &self.proxy else { return };
        let mut mount = oci_spec::runtime::Mount::default();
        mount.set_destination(INSIDE.into());
        mount.set_typ(Some("bind".to_owned()));
        mount.set_source(Some(proxy.dir.clone()));
        let options = ["bind", "rprivate", "nosuid", "nodev", "noexec"];
        mount.set_options(Some(options.map(str::to_owned).into()));
        spec.mounts_mut().get_or_insert_default().push(mount);
        if let Some(process) = spec.process_mut() {
            process
                .env_mut()
                .get_or_insert_default()
                .push(format!("{}={INSIDE}/{SOCKET}", name::NOTIFY_SOCKET));
        }
    }

    /// Readable when the container has said something.
    pub(super) fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.proxy.as_ref().map(|proxy| proxy.socket.as_fd())
    }

    /// Passes on what the container has said.
    pub(super) fn pass_on(&self) {
        let Some(proxy) = &self.proxy else { return };
        let mut buffer = [0; MESSAGE_MAX];
        while let Ok(Some(length)) = socket::receive_datagram(proxy.socket.as_fd(), &mut buffer) {
            let text = passed(&buffer[..length]);
            if !text.is_empty() {
                self.send(&text);
            }
        }
    }

    /// The container's socket is of no use any more.
    pub(super) fn close(&mut self) {
        self.proxy = None;
    }

    /// The program runs.
    pub(super) fn started(&mut self) {
        self.send(&format!("MAINPID={}", std::process::id()));
        if self.mode == SdNotify::Conmon {
            self.ready();
        }
    }

    /// Something about the container's health has changed.
    pub(super) fn health_changed(&mut self, containers: &Containers, record: &Record) {
        if self.mode == SdNotify::Healthy && !self.told && containers.health_status(record) == "healthy" {
            self.ready();
        }
    }

    fn ready(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            self.send("READY=1");
        }
    }

    fn send(&self, text: &str) {
        if let Some(address) = &self.socket {
            // A service manager that does not listen does not want to know.
            let _ = socket::send_datagram(address, text.as_bytes());
        }
    }
}

/// The lines of a message that may go on.
fn passed(message: &[u8]) -> String {
    let lines = message.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let may_pass = |line: &&str| {
        let fits =
            |known: &&str| if known.ends_with('=') { line.starts_with(*known) } else { *line == *known };
        PASSED.iter().any(fits)
    };
    lines.filter(may_pass).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::passed;

    #[test]
    fn a_container_cannot_say_everything() {
        for (message, expected) in [
            ("READY=1", "READY=1"),
            ("MAINPID=1\nREADY=1\nSTATUS=up\n", "READY=1\nSTATUS=up"),
            ("FDSTORE=1\nFDNAME=x\nBARRIER=1", ""),
            ("READY=12\nX_READY=1\n", ""),
            ("", ""),
        ] {
            assert_eq!(passed(message.as_bytes()), expected);
        }
        assert_eq!(passed(b"\xff\nREADY=1"), "READY=1");
    }
}
