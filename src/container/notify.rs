//! Telling systemd that a container is up (`sd_notify`): from its monitor, over `$NOTIFY_SOCKET`.
//!
//! The monitor is the main process of the unit. What ends it ends the container in an orderly way, and it
//! lives as long as the container.

use serde::{Deserialize, Serialize};

use super::{Containers, Record};
use crate::config::Env;
use crate::config::env::name;
use crate::kernel::socket;

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

/// What systemd has still to be told.
#[derive(Debug)]
pub(super) struct Notifier {
    socket: Option<String>,
    mode: SdNotify,
    told: bool,
}

impl Notifier {
    /// For a container that is started with this environment.
    pub(super) fn new(record: &Record, env: &Env) -> Self {
        let mode = record.lifecycle.sd_notify;
        let socket = env.text(name::NOTIFY_SOCKET).map(str::to_owned);
        let told = matches!(mode, SdNotify::Container | SdNotify::Ignore);
        Self { socket: socket.filter(|_| !told), mode, told }
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
