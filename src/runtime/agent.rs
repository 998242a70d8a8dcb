//! The other side of `SCMP_ACT_NOTIFY`: a program of the administrator gets the descriptor on which a container's
//! calls wait for an answer, together with the runtime specification's description of the process.

use std::os::fd::{AsFd, OwnedFd};

use crate::kernel::socket;

use super::error::{Error, Result};
use super::hooks;
use super::plan::{Agent, Identity};

/// The name that the specification gives to the descriptor.
const DESCRIPTOR: &str = "seccompFd";

/// The version of the description, the specification's own in its example. Its form has never changed.
const VERSION: &str = "0.2.0";

/// A connection to the agent.
#[derive(Debug)]
pub(super) struct Connection<'a> {
    agent: &'a Agent,
    socket: OwnedFd,
}

/// A process about to run under the filter.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    /// The container.
    pub(super) identity: &'a Identity,
    /// The state in which that is.
    pub(super) status: &'a str,
    /// Its first process.
    pub(super) init: u32,
    /// The process itself.
    pub(super) pid: u32,
}

impl<'a> Connection<'a> {
    /// Connects, if there is an agent: before the process starts, whose calls would find nobody.
    pub(super) fn open(agent: Option<&'a Agent>) -> Result<Option<Self>> {
        let Some(agent) = agent else { return Ok(None) };
        match socket::connect(&agent.path) {
            Ok(socket) => Ok(Some(Self { agent, socket })),
            Err(_) if !agent.needed => Ok(None),
            Err(error) => Err(failed("failed to connect with seccomp agent", agent, &error)),
        }
    }

    /// Gives the agent `calls`, the descriptor on which calls of `subject` wait.
    pub(super) fn send(&self, subject: &Subject<'_>, calls: &OwnedFd) -> Result<()> {
        let mut message = serde_json::json!({
            "ociVersion": VERSION,
            "fds": [DESCRIPTOR],
            "pid": subject.pid,
            "state": hooks::state_value(subject.identity, subject.status, subject.init),
        });
        if !self.agent.metadata.is_empty() {
            message["metadata"] = self.agent.metadata.clone().into();
        }
        socket::send_with_fds(self.socket.as_fd(), message.to_string().as_bytes(), &[calls.as_fd()])
            .map_err(|error| failed("cannot send to the seccomp agent", self.agent, &error))
    }
}

/// Gives the agent, if there is one, the descriptor on which calls wait.
pub(super) fn introduce(
    agent: Option<&Connection<'_>>,
    subject: &Subject<'_>,
    descriptors: &[OwnedFd],
) -> Result<()> {
    match (agent, descriptors) {
        (Some(agent), [calls]) => agent.send(subject, calls),
        (None, [_]) => Ok(()),
        _ => Err(Error::ChildDied { how: "it sent no descriptor".to_owned() }),
    }
}

fn failed(doing: &str, agent: &Agent, error: &crate::kernel::Error) -> Error {
    Error::Step {
        doing: format!("{doing} `{}`", agent.path.display()),
        source: std::io::Error::from_raw_os_error(error.errno().unwrap_or(libc::EIO)),
    }
}
