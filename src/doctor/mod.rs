//! What rbox needs of the host, looked at piece by piece: `rbox doctor`.
//!
//! A check gathers facts and judges them in a function of its own, so that hosts which nobody has at hand are tested
//! too. Each finding says what was seen, what does not work because of it, and the exact command that changes it.
//! Nothing is changed here, and nothing that cannot be looked at stops the other checks.

mod cdi;
mod cgroup;
mod kernel;
mod landlock;
mod network;
mod selinux;
mod session;
mod store;
mod subids;
mod userns;

use serde::Serialize;

use crate::engine::Engine;
use crate::kernel::ns;
use crate::runtime::criu;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing is missing.
    Ok,
    /// Containers run, but something that people use does not work.
    Warning,
    /// Ordinary containers do not run.
    Problem,
}

impl Status {
    /// The word that is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// The name of the check, by which messages refer to it.
    #[serde(rename = "ID")]
    pub id: &'static str,
    /// How bad it is.
    pub status: Status,
    /// What was seen.
    pub found: String,
    /// What does not work because of it; empty if nothing.
    pub breaks: String,
    /// The command that changes it; empty where there is nothing to change, or no command for it.
    pub fix: String,
}

impl Finding {
    fn ok(id: &'static str, found: impl Into<String>) -> Self {
        Self { id, status: Status::Ok, found: found.into(), breaks: String::new(), fix: String::new() }
    }

    fn warning(id: &'static str, found: impl Into<String>, breaks: &str) -> Self {
        Self { status: Status::Warning, breaks: breaks.to_owned(), ..Self::ok(id, found) }
    }

    fn problem(id: &'static str, found: impl Into<String>, breaks: &str) -> Self {
        Self { status: Status::Problem, ..Self::warning(id, found, breaks) }
    }

    fn fix(self, command: impl Into<String>) -> Self {
        Self { fix: command.into(), ..self }
    }
}

/// The names of checks that error messages refer to.
pub mod id {
    /// Whether the kernel is new enough.
    pub const KERNEL: &str = "kernel";
    /// Whether user namespaces can be made and used.
    pub const USERNS: &str = "userns";
    /// The ids that a user has beside her own.
    pub const SUBIDS: &str = "subids";
    /// Control groups and the controllers that are delegated.
    pub const CGROUP: &str = "cgroup";
    /// Whether containers outlive the login.
    pub const LINGER: &str = "linger";
    /// Where volatile state is.
    pub const RUNTIME_DIR: &str = "runtime-dir";
    /// The file system of the store, and how layers are put together on it.
    pub const STORE: &str = "store";
    /// Room on that file system.
    pub const SPACE: &str = "space";
    /// The program and the device that connect containers.
    pub const PASTA: &str = "pasta";
    /// Ports that only root may use.
    pub const PORTS: &str = "ports";
    /// Echo requests of containers.
    pub const PING: &str = "ping";
    /// Devices by name.
    pub const CDI: &str = "cdi";
    /// What keeps strict containers from what lies outside of their root.
    pub const LANDLOCK: &str = "landlock";
    /// Labels of containers, where the host has SELinux.
    pub const SELINUX: &str = "selinux";
    /// The configuration files.
    pub const CONFIG: &str = "config";
    /// Whether containers can be written to disk.
    pub const CHECKPOINT: &str = "checkpoint";
}

/// Looks at everything. The caller has one thread.
#[must_use]
pub fn examine(engine: &Engine) -> Vec<Finding> {
    let mut findings = vec![kernel::check(), userns::check(), subids::check(engine)];
    findings.push(configuration(engine));
    findings.push(session::runtime_dir(engine));
    findings.extend(store::check(engine));
    findings.push(network::pasta(engine));
    findings.push(network::ports());
    findings.push(network::ping(engine.env().gid()));
    findings.push(cgroup::check(engine));
    findings.push(session::linger(engine));
    findings.push(landlock::check());
    findings.extend(selinux::check());
    findings.push(cdi::check(engine));
    findings.push(checkpoint(engine));
    findings
}

/// Nobody but root can expect this to work, so that it does not is no more than worth to know.
fn checkpoint(engine: &Engine) -> Finding {
    let is_root = engine.env().uid() == 0 && ns::in_initial_user_namespace();
    let missing = criu::missing(engine.env().find_program("criu", []).as_deref(), is_root);
    let found = match (missing, is_root) {
        (None, _) => "containers can be checkpointed".to_owned(),
        (Some(why), true) => format!("containers cannot be checkpointed: {why}"),
        (Some(why), false) => {
            format!("containers cannot be checkpointed, which takes the host's root: {why}")
        }
    };
    Finding::ok(id::CHECKPOINT, found)
}

fn configuration(engine: &Engine) -> Finding {
    match engine.config() {
        Ok(_) => Finding::ok(id::CONFIG, "containers.conf and its drop-ins are understood"),
        Err(error) => {
            Finding::problem(id::CONFIG, chain(&error), "every command that reads the configuration")
        }
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut link = error.source();
    while let Some(cause) = link {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        link = cause.source();
    }
    text
}

/// A file of /proc or /sys, empty if it is not there.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
