//! Errors of the runtime.

use std::io;
use std::path::PathBuf;

use crate::config::ErrorKind;
use crate::kernel;

/// Shorthand for results of the runtime.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a [`super::Host`] may fail with.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

/// The file by which systemd hands controllers to users, and what podman's documentation puts there.
const DROP_IN: &str = "/etc/systemd/system/user@.service.d/delegate.conf";
const CONTROLLERS: &str = "cpu cpuset io memory pids";

/// Why a container or a process in it could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spec asks for something that is wrong or forbidden.
    #[error("invalid {what}: {why}")]
    Invalid {
        /// The part of the spec.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The spec asks for something that rbox cannot do yet.
    #[error("not supported yet: {what}")]
    Unsupported {
        /// The feature.
        what: String,
    },
    /// The program does not exist.
    #[error("{}", if *searched { format!("executable file `{program}` not found in $PATH: No such file or directory") } else { format!("exec: `{program}`: No such file or directory") })]
    ProgramNotFound {
        /// The program as named.
        program: String,
        /// Whether `$PATH` was searched.
        searched: bool,
    },
    /// The program exists but cannot be run.
    #[error("exec: `{program}`")]
    ProgramNotExecutable {
        /// The program as named.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// The program cannot get the label.
    #[error("cannot run under the SELinux label {label:?}")]
    SelinuxLabel {
        /// As asked for.
        label: String,
        /// Why not: EINVAL for one that the policy does not know.
        source: io::Error,
    },
    /// A user has no entry in the container's /etc/passwd, or the text is no user.
    #[error("unable to find user {user}: no matching entries in passwd file")]
    UnknownUser {
        /// As given.
        user: String,
    },
    /// A group has no entry in the container's /etc/group.
    #[error("unable to find group {group}: no matching entries in group file")]
    UnknownGroup {
        /// As given.
        group: String,
    },
    /// A number that is no id.
    #[error("{text}: uids and gids must be in range 0-2147483647")]
    IdRange {
        /// As given.
        text: String,
    },
    /// The container's user namespace does not have the id.
    #[error("requested {what} {id} is not mapped in the user namespace of the container")]
    UnmappedId {
        /// `uid` or `gid`.
        what: &'static str,
        /// The id inside.
        id: u32,
    },
    /// A step inside the container failed.
    #[error("{doing}")]
    Step {
        /// What was being done, with its operands.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The container's process ended before its program could start.
    #[error("the container's first process ended before its program started ({how})")]
    ChildDied {
        /// How it ended.
        how: String,
    },
    /// A hook failed.
    #[error("error running {which}: {}: {why}", path.display())]
    Hook {
        /// Its point and its number there.
        which: String,
        /// Its program.
        path: PathBuf,
        /// Its exit status and what it wrote.
        why: String,
    },
    /// Another runtime failed.
    #[error("OCI runtime error: {}: {what}", program.file_name().unwrap_or(program.as_os_str()).display())]
    Foreign {
        /// The runtime.
        program: PathBuf,
        /// What it said.
        what: String,
    },
    /// A limit needs a controller that the container's cgroup cannot have.
    #[error("cannot set {file}: the cgroup controller {controller:?} is not available: {why}")]
    NoController {
        /// The controller.
        controller: String,
        /// The file of the limit, such as `memory.max`.
        file: String,
        /// Why not.
        why: NoController,
    },
    /// The user's service manager does not do what it was asked for.
    #[error("systemd: {what}")]
    Manager {
        /// D-Bus's name of the error, if it has said one.
        name: String,
        /// In its words.
        what: String,
    },
    /// The caller could not prepare its part, such as the network.
    #[error("cannot prepare the container's surroundings")]
    Host(#[source] HostError),
    /// A system call outside the container failed.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
}

/// Why there is no controller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoController {
    /// Version 1 is mounted, alone or beside version 2.
    #[error("this host does not use cgroup v2 alone")]
    Version1,
    /// The administrator has not handed it on.
    #[error("it is not delegated to you in {}", cgroup.display())]
    NotDelegated {
        /// Where it was looked for.
        cgroup: PathBuf,
    },
    /// A cgroup with processes hands out no controllers.
    #[error("there are processes in {}", cgroup.display())]
    Occupied {
        /// That cgroup.
        cgroup: PathBuf,
    },
    /// There is no cgroup at all.
    #[error("the container has no cgroup of its own")]
    NoCgroup,
}

impl Error {
    /// Builds an [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), why: why.into() }
    }

    /// Builds an [`Error::Unsupported`].
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let Self::NoController { controller, why, .. } = self else { return None };
        Some(match why {
            NoController::Version1 => {
                "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line".to_owned()
            }
            NoController::NotDelegated { .. } | NoController::NoCgroup => format!(
                "root lets users have {controller:?} by {DROP_IN} with the lines `[Service]` and `Delegate={CONTROLLERS}`, \
                 then `systemctl daemon-reload`, and a new login"
            ),
            NoController::Occupied { .. } => {
                "`systemd-run --user --scope -p Delegate=yes rbox ...` gives rbox a cgroup of its own"
                    .to_owned()
            }
        })
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } => ErrorKind::InvalidInput,
            Self::Unsupported { .. } | Self::NoController { .. } => ErrorKind::Unsupported,
            Self::ProgramNotFound { .. } | Self::UnknownUser { .. } | Self::UnknownGroup { .. } => {
                ErrorKind::NotFound
            }
            Self::IdRange { .. } | Self::UnmappedId { .. } => ErrorKind::InvalidInput,
            Self::ProgramNotExecutable { .. } => ErrorKind::Denied,
            Self::SelinuxLabel { source, .. } => kind_of(source),
            Self::Step { source, .. } => kind_of(source),
            Self::Kernel(error) => kind_of(error.io()),
            Self::ChildDied { .. }
            | Self::Hook { .. }
            | Self::Host(_)
            | Self::Foreign { .. }
            | Self::Manager { .. } => ErrorKind::Internal,
        }
    }

    /// The exit code of a command that ran this container or process: 127
    /// where the program was not found, 126 where it cannot be invoked, 125
    /// for everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::ProgramNotFound { .. } => 127,
            // In the words of runc, crun and this runtime.
            Self::Foreign { what, .. } if what.contains("executable file") && what.contains("not found") => {
                127
            }
            Self::Foreign { what, .. } if what.contains("No such file or directory") => 127,
            Self::Foreign { .. } => 126,
            Self::ProgramNotExecutable { .. }
            | Self::SelinuxLabel { .. }
            | Self::UnknownUser { .. }
            | Self::UnknownGroup { .. }
            | Self::IdRange { .. }
            | Self::UnmappedId { .. } => 126,
            _ => 125,
        }
    }

    /// The exit code of `exec`: what the kernel did not find or did not allow counts as the program; `other` is everything
    /// else, of which the caller says how it counts.
    #[must_use]
    pub fn exec_exit_code(&self, other: u8) -> u8 {
        match self {
            Self::ProgramNotFound { .. } | Self::ProgramNotExecutable { .. } => self.exit_code(),
            Self::Step { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => 127,
                io::ErrorKind::PermissionDenied => 126,
                _ => other,
            },
            _ => other,
        }
    }
}

fn kind_of(error: &io::Error) -> ErrorKind {
    match error.raw_os_error() {
        Some(libc::ENOENT) => ErrorKind::NotFound,
        Some(libc::EEXIST) => ErrorKind::Conflict,
        Some(libc::EINVAL | libc::ENOTDIR | libc::ENAMETOOLONG | libc::ELOOP) => ErrorKind::InvalidInput,
        Some(libc::EPERM | libc::EACCES | libc::EROFS) => ErrorKind::Denied,
        Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::ENODEV) => ErrorKind::Unsupported,
        Some(libc::EBUSY | libc::EAGAIN) => ErrorKind::Busy,
        _ => ErrorKind::Internal,
    }
}
