//! Flags of confinement: namespaces, capabilities, security options.

use crate::cli::values::go_bool;

/// Flags of confinement.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SecurityArgs {
    /// Add capabilities to the container
    #[arg(long, value_name = "strings")]
    pub cap_add: Vec<String>,
    /// Drop capabilities from the container
    #[arg(long, value_name = "strings")]
    pub cap_drop: Vec<String>,
    /// Cgroup namespace to use
    #[arg(long, value_name = "string")]
    pub cgroupns: Option<String>,
    /// GID map to use for the user namespace
    #[arg(long, value_name = "strings")]
    pub gidmap: Vec<String>,
    /// IPC namespace to use
    #[arg(long, value_name = "string")]
    pub ipc: Option<String>,
    /// PID namespace to use
    #[arg(long, value_name = "string")]
    pub pid: Option<String>,
    /// Give extended privileges to container
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub privileged: Option<bool>,
    /// Policy for selecting a seccomp profile (experimental)
    #[arg(long, value_name = "string")]
    pub seccomp_policy: Option<String>,
    /// Security Options
    #[arg(long, value_name = "stringArray")]
    pub security_opt: Vec<String>,
    /// Name of range listed in /etc/subgid for use in user namespace
    #[arg(long, value_name = "string")]
    pub subgidname: Option<String>,
    /// Name of range listed in /etc/subuid for use in user namespace
    #[arg(long, value_name = "string")]
    pub subuidname: Option<String>,
    /// Sysctl options
    #[arg(long, value_name = "strings")]
    pub sysctl: Vec<String>,
    /// UID map to use for the user namespace
    #[arg(long, value_name = "strings")]
    pub uidmap: Vec<String>,
    /// User namespace to use
    #[arg(long, value_name = "string")]
    pub userns: Option<String>,
    /// UTS namespace to use
    #[arg(long, value_name = "string")]
    pub uts: Option<String>,
}
