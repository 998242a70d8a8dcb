//! Why a mount or a volume is refused. The texts are podman's where scripts look for them.

use std::path::PathBuf;

use crate::config::ErrorKind;
use crate::kernel;

/// Shorthand for results of this folder.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A mount or volume that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `-v` with more than three parts.
    #[error("{value}: incorrect volume format, should be [host-dir:]ctr-dir[:option]")]
    Format {
        /// The value of the flag.
        value: String,
    },
    /// `--mount` is no single CSV record.
    #[error(
        "incorrect mount format: should be --mount type=<bind|glob|tmpfs|volume>,[src=<host-dir|volume-name>,]target=<ctr-dir>[,options]: {why}"
    )]
    MountFormat {
        /// What is wrong.
        why: String,
    },
    /// `:z` of a directory of the system.
    #[error(
        "SELinux relabeling of {} is not allowed: its own services need its labels (`--security-opt label=disable` turns \
         labels off for one container)",
        path.display()
    )]
    NotToBeRelabelled {
        /// The directory.
        path: PathBuf,
    },
    /// `:/x`.
    #[error("host directory cannot be empty")]
    EmptySource,
    /// A target that is not an absolute path.
    #[error("invalid container path {path:?}, must be an absolute path")]
    Destination {
        /// The target.
        path: String,
    },
    /// `--mount` without a target.
    #[error("must set volume destination")]
    NoDestination,
    /// Two mounts on one target.
    #[error("{}: duplicate mount destination", path.display())]
    Duplicate {
        /// The target.
        path: PathBuf,
    },
    /// A word that is no option of this mount.
    #[error("{option}: invalid mount option")]
    Option {
        /// The word, and more about it.
        option: String,
    },
    /// An option that stands twice, or two that exclude each other.
    #[error("invalid options {options:?}, can only specify 1 {which} option")]
    Repeated {
        /// All options.
        options: String,
        /// Which of them.
        which: &'static str,
    },
    /// An option of `--mount` that stands twice.
    #[error("cannot pass {which} more than once: must provide an argument for option")]
    Again {
        /// The option.
        which: String,
    },
    /// An option of `--mount` without its argument.
    #[error("{option}: must provide an argument for option")]
    Argument {
        /// The option.
        option: String,
    },
    /// An option that another type of mount has.
    #[error("{option:?} option not supported for {kind:?} mount types")]
    WrongType {
        /// The option.
        option: String,
        /// The type of the mount.
        kind: &'static str,
    },
    /// Not a type of mount.
    #[error("invalid filesystem type {kind:?}")]
    Type {
        /// The word.
        kind: String,
    },
    /// Something whole that is wrong in podman's words.
    #[error("{0}")]
    Rule(&'static str),
    /// `O` together with what it excludes.
    #[error("can't use 'O' with other options")]
    OverlayOptions,
    /// Nothing matches a glob.
    #[error("no file paths matching glob {pattern:?}")]
    NoMatch {
        /// The pattern.
        pattern: String,
    },
    /// Mounts of containers.conf that do not parse.
    #[error("parsing containers.conf mounts")]
    Config(#[source] Box<Error>),
    /// The name does not follow the grammar.
    #[error("names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument")]
    BadName {
        /// The name.
        name: String,
    },
    /// No volume has the name.
    #[error("no volume with name {name:?} found: no such volume")]
    NotFound {
        /// The name.
        name: String,
    },
    /// Several volumes begin so.
    #[error("more than one result for volume name {name:?}: volume already exists")]
    Ambiguous {
        /// The beginning of a name.
        name: String,
    },
    /// A driver option whose value makes no sense.
    #[error("cannot convert {what} {value} to integer: {why}")]
    Number {
        /// What it should be.
        what: &'static str,
        /// The text.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// A key that the local driver does not know.
    #[error("invalid mount option {key} for driver 'local': invalid argument")]
    DriverOption {
        /// The key.
        key: String,
    },
    /// The directory to bind is not there.
    #[error("invalid volume option device for driver 'local': faccessat {}: no such file or directory", path.display())]
    NoDevice {
        /// The directory.
        path: PathBuf,
    },
    /// Something that needs more rights than a user has, or a plugin.
    #[error("not supported: {what}")]
    Unsupported {
        /// What was asked for.
        what: String,
    },
    /// A filter that is none.
    #[error("{0}")]
    Filter(String),
    /// Containers use the volume.
    #[error("volume {name} is being used by the following container(s): {}: volume is being used", users.join(", "))]
    InUse {
        /// The volume.
        name: String,
        /// Ids of the containers.
        users: Vec<String>,
    },
    /// The name is taken.
    #[error("volume with name {name} already exists: volume already exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// A record cannot be understood.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A record was written by a newer rbox.
    #[error("{} has version {found}, this rbox reads up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// What this rbox knows.
        known: u32,
    },
    /// The source does not exist.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
}

impl Error {
    /// Classifies the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoMatch { .. } | Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Exists { .. } | Self::Ambiguous { .. } => ErrorKind::Conflict,
            Self::InUse { .. } => ErrorKind::Busy,
            Self::Unsupported { .. } | Self::Newer { .. } => ErrorKind::Unsupported,
            Self::Damaged { .. } => ErrorKind::Internal,
            Self::Kernel(error) if error.io().kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Kernel(_) => ErrorKind::Denied,
            Self::Config(error) => error.kind(),
            _ => ErrorKind::InvalidInput,
        }
    }
}
