//! Flags of the first process: command, environment, user, terminal, end.

use std::path::PathBuf;

use super::super::go;
use crate::cli::values::go_bool;

/// Flags of the first process.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ProcessArgs {
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(long, short, value_name = "strings")]
    pub attach: Vec<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "string")]
    pub entrypoint: Option<String>,
    /// Set environment variables in container
    #[arg(long, short, value_name = "stringArray")]
    pub env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "stringArray")]
    pub env_file: Vec<PathBuf>,
    /// Use all current host environment variables in container
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub env_host: Option<bool>,
    /// Preprocess environment variables from image before injecting them into the container
    #[arg(long, value_name = "stringArray")]
    pub env_merge: Vec<String>,
    /// Unset environment default variables in container
    #[arg(long, value_name = "stringArray")]
    pub unsetenv: Vec<String>,
    /// Unset all default environment variables in container
    #[arg(long)]
    pub unsetenv_all: bool,
    /// Set proxy environment variables in the container based on the host proxy vars
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub http_proxy: Option<bool>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(long, short, value_name = "string")]
    pub user: Option<String>,
    /// Add additional groups to the primary container process. 'keep-groups' allows container processes to use supplementary groups
    #[arg(long, value_name = "strings")]
    pub group_add: Vec<String>,
    /// Host user account to add to /etc/passwd within container
    #[arg(long, value_name = "strings")]
    pub hostuser: Vec<String>,
    /// Entry to write to /etc/passwd
    #[arg(long, value_name = "string")]
    pub passwd_entry: Option<String>,
    /// Entry to write to /etc/group
    #[arg(long, value_name = "string")]
    pub group_entry: Option<String>,
    /// Run an init binary inside the container that forwards signals and reaps processes
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub init: Option<bool>,
    /// Path to the container-init binary
    #[arg(long, value_name = "string")]
    pub init_path: Option<PathBuf>,
    /// Make STDIN available to the contained process
    #[arg(long, short)]
    pub interactive: bool,
    /// Allocate a pseudo-TTY for container
    #[arg(long, short)]
    pub tty: bool,
    /// Tune the host's OOM preferences (-1000 to 1000)
    #[arg(long, value_name = "int", value_parser = go::parse_i32)]
    pub oom_score_adj: Option<i32>,
    /// Configure execution domain using personality (e.g., LINUX/LINUX32)
    #[arg(long, value_name = "string")]
    pub personality: Option<String>,
    /// Restart policy to apply when a container exits ("always"|"no"|"never"|"on-failure"|"unless-stopped")
    #[arg(long, value_name = "string")]
    pub restart: Option<String>,
    /// Signal to stop a container. Default is SIGTERM
    #[arg(long, value_name = "string")]
    pub stop_signal: Option<String>,
    /// Timeout (in seconds) that containers stopped by user command have to exit. If exceeded, the container will be forcibly stopped via SIGKILL
    #[arg(long, value_name = "uint", value_parser = go::parse_u32)]
    pub stop_timeout: Option<u32>,
    /// Run container in systemd mode ("true"|"false"|"always")
    #[arg(long, value_name = "string")]
    pub systemd: Option<String>,
    /// Maximum length of time a container is allowed to run. The container will be killed automatically after the time expires
    #[arg(long, value_name = "uint", value_parser = go::parse_u32)]
    pub timeout: Option<u32>,
    /// Set timezone in container
    #[arg(long, value_name = "string")]
    pub tz: Option<String>,
    /// Ulimit options
    #[arg(long, value_name = "strings")]
    pub ulimit: Vec<String>,
    /// Set umask in container
    #[arg(long, value_name = "string")]
    pub umask: Option<String>,
    /// Working directory inside the container
    #[arg(long, short, value_name = "string")]
    pub workdir: Option<String>,
}
