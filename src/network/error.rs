//! Errors of the network layer.

use std::path::PathBuf;

use crate::config::ErrorKind;
use crate::kernel;

/// Shorthand for results of the network layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A network that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value of `--network`, `--publish`, `--dns`, … that makes no sense.
    #[error("{0}")]
    Syntax(String),
    /// A named network that does not exist.
    #[error("unable to find network with name or ID {name}: network not found")]
    NoSuchNetwork {
        /// As typed.
        name: String,
    },
    /// Something that rbox will do one day.
    #[error("not supported yet: {0}")]
    NotYet(&'static str),
    /// Two published ports collide.
    #[error("conflicting port mappings for host port {port} (protocol {protocol})")]
    PortConflict {
        /// The port of the host.
        port: u16,
        /// Its protocol.
        protocol: super::Protocol,
    },
    /// No port of the host is free for an unspecified `hostPort`.
    #[error("failed to find an open port to expose container port {container_port} on the host")]
    NoFreePort {
        /// The container's port.
        container_port: u16,
    },
    /// pasta is not installed.
    #[error("could not find pasta, the network namespace can't be configured")]
    NoPasta,
    /// The device that pasta needs does not work.
    #[error("pasta needs /dev/net/tun")]
    NoTun(#[source] std::io::Error),
    /// pasta forwards TCP and UDP only.
    #[error("can't forward protocol: {0}")]
    Protocol(super::Protocol),
    /// A published port cannot be listened on.
    #[error("cannot publish the port: listen {protocol} {address}: bind")]
    Bind {
        /// Its protocol.
        protocol: super::Protocol,
        /// Address and port of the host.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// pasta could not be started.
    #[error("failed to start {}", path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// pasta gave up.
    #[error("pasta failed with exit code {code}:\n{output}")]
    Pasta {
        /// Its exit code, 128+n for a signal.
        code: i32,
        /// What it wrote.
        output: String,
    },
    /// A namespace file cannot be joined.
    #[error("cannot use network namespace {}: {problem}", path.display())]
    Namespace {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// `host-gateway` was asked for where the host has no address for the container.
    #[error(
        "unable to replace \"host-gateway\" of host entry {entry:?}: host containers internal IP address is empty"
    )]
    NoHostGateway {
        /// The value of `--add-host`.
        entry: String,
    },
    /// A file of the host that becomes part of the container's cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A system call failed.
    #[error("cannot set up the network")]
    Kernel(#[from] kernel::Error),
}

impl Error {
    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Syntax(_) | Self::Protocol(_) | Self::NoHostGateway { .. } => ErrorKind::InvalidInput,
            Self::NoSuchNetwork { .. } | Self::NoPasta => ErrorKind::NotFound,
            Self::NotYet(_) | Self::NoTun(_) => ErrorKind::Unsupported,
            Self::PortConflict { .. } => ErrorKind::Conflict,
            Self::NoFreePort { .. } => ErrorKind::Busy,
            Self::Bind { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                ErrorKind::Denied
            }
            Self::Bind { .. } => ErrorKind::Busy,
            Self::Spawn { .. } | Self::Pasta { .. } | Self::Namespace { .. } | Self::Read { .. } => {
                ErrorKind::Denied
            }
            Self::Kernel(_) => ErrorKind::Internal,
        }
    }

    /// A command or setting that helps.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoPasta => Some(
                "install pasta: `sudo apt-get install passt` (Debian, Ubuntu) or `sudo dnf install passt` (Fedora), or use `--network none` or `--network host`",
            ),
            Self::NoTun(_) => Some(
                "ask the administrator for `sudo modprobe tun` and a /dev/net/tun of mode 0666, or use `--network none` or `--network host`",
            ),
            Self::Bind { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => Some(
                "ports below a limit are root's: the administrator lowers it with `sudo sysctl -w net.ipv4.ip_unprivileged_port_start=PORT`",
            ),
            _ => None,
        }
    }
}
