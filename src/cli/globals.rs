//! The options before (and after) the command name.
//!
//! They are podman's. What rbox has no counterpart for is refused as an unknown
//! flag; what nothing reads yet is hidden and refused (see `refuse_unread`).
//! Nothing is taken and then ignored.

use std::path::{Path, PathBuf};

use super::error::{CommandError, Result};
use super::exit::ExitStatus;
use super::ui::{Level, Ui};
use crate::engine::{Options, is_mount_program};

/// Manage pods, containers and images
#[derive(Debug, Clone, Default, clap::Args)]
pub struct GlobalArgs {
    /// Cgroup manager to use ("cgroupfs"|"systemd")
    #[arg(long, value_name = "string")]
    pub cgroup_manager: Option<String>,
    /// Set the CDI spec directory path (may be set multiple times)
    #[arg(long, value_name = "stringArray")]
    pub cdi_spec_dir: Vec<PathBuf>,
    /// Location of client config files: credentials are kept in config.json there, as by docker
    #[arg(long, value_name = "string", hide = true)]
    pub config: Option<PathBuf>,
    /// Connection to use for remote Podman service (CONTAINER_CONNECTION)
    #[arg(long, short, value_name = "string", hide = true)]
    pub connection: Option<String>,
    /// Name of the context to use to connect to the daemon (there is only the default one)
    #[arg(long, value_name = "string", hide = true)]
    pub context: Option<String>,
    /// Docker compatibility, force setting of log-level
    #[arg(long, short = 'D', hide = true)]
    pub debug: bool,
    /// Path to default mounts file
    #[arg(long, value_name = "string", hide = true)]
    pub default_mounts_file: Option<PathBuf>,
    /// Events backend to use ("file"|"journald"|"none")
    #[arg(long, value_name = "string")]
    pub events_backend: Option<String>,
    /// Set the OCI hooks directory path (may be set multiple times)
    #[arg(long, value_name = "stringArray")]
    pub hooks_dir: Vec<PathBuf>,
    /// Path to the 'image store', different from 'graph root'
    #[arg(long, value_name = "string", hide = true)]
    pub imagestore: Option<PathBuf>,
    /// Log messages above specified level (trace, debug, info, warn, warning, error, fatal, panic)
    #[arg(long, value_name = "string", default_value = LOG_LEVEL)]
    pub log_level: String,
    /// Load the containers.conf(5) module
    #[arg(long, value_name = "stringArray")]
    pub module: Vec<PathBuf>,
    /// Path of the configuration directory for networks
    #[arg(long, value_name = "string", alias = "cni-config-dir", hide = true)]
    pub network_config_dir: Option<PathBuf>,
    /// Do not output to stdout
    #[arg(long, hide = true)]
    pub noout: bool,
    /// Send output (stdout) to a file
    #[arg(long, value_name = "string")]
    pub out: Option<PathBuf>,
    /// Access remote Podman service
    #[arg(long, short, hide = true)]
    pub remote: bool,
    /// Path to the directory in which images, containers and volumes are stored
    #[arg(long, value_name = "string")]
    pub root: Option<PathBuf>,
    /// Path to the directory in which volatile state is stored
    #[arg(long, value_name = "string")]
    pub runroot: Option<PathBuf>,
    /// Path to an OCI-compatible binary that runs containers instead of rbox itself
    #[arg(long, value_name = "string")]
    pub runtime: Option<PathBuf>,
    /// Add global flags for the container runtime
    #[arg(long, value_name = "stringArray")]
    pub runtime_flag: Vec<String>,
    /// Select which storage driver is used to manage storage of images and containers
    #[arg(long, value_name = "string")]
    pub storage_driver: Option<String>,
    /// Used to pass an option to the storage driver (overlay.mount_program=PATH)
    #[arg(long, value_name = "stringArray")]
    pub storage_opt: Vec<String>,
    /// Path to the directory for volatile state of the engine
    #[arg(long, value_name = "string")]
    pub tmpdir: Option<PathBuf>,
    /// URL to access Podman service (CONTAINER_HOST)
    #[arg(long, value_name = "string", hide = true)]
    pub url: Option<String>,
    /// Path to the volume directory in which volume data is stored
    #[arg(long, value_name = "string", hide = true)]
    pub volumepath: Option<PathBuf>,
}

impl GlobalArgs {
    /// What a command line without any of them says, as clap would read it.
    #[must_use]
    pub fn none_given() -> Self {
        Self { log_level: LOG_LEVEL.to_owned(), ..Self::default() }
    }

    /// Applies what concerns the terminal to `ui`, and refuses what rbox cannot do.
    ///
    /// # Errors
    /// Fails on a log level that does not exist and on a file that cannot be written
    /// (exit code 1, as podman), and on every way to name a remote service.
    pub fn apply(&self, ui: &mut Ui) -> Result<()> {
        self.redirect(ui)?;
        ui.set_level(self.level()?);
        self.refuse_remote()?;
        self.refuse_unread()
    }

    /// Refuses what nothing reads yet. Whoever implements an option takes it out here.
    fn refuse_unread(&self) -> Result<()> {
        let is_store = |option: &&String| STORE_OPTIONS.iter().any(|key| option.starts_with(key));
        if let Some(option) = self.storage_opt.iter().find(is_store) {
            let path = option.split_once('=').map_or("", |(_, path)| path);
            return Err(CommandError::new(format!("not supported: --storage-opt {option}: rbox reads its own store only"))
                .with_hint(format!("`rbox pull 'containers-storage:[overlay@{path}]NAME'` brings an image over from a store of podman's")));
        }
        if self.imagestore.is_some() {
            return Err(CommandError::new(
                "not supported yet: --imagestore: images are kept with containers",
            )
            .with_hint("`--root DIR`, or graphroot in storage.conf, puts both elsewhere"));
        }
        let unread = [
            ("--network-config-dir", self.network_config_dir.is_some()),
            ("--storage-opt", self.storage_opt.iter().any(|option| !is_known_storage_option(option))),
            ("--volumepath", self.volumepath.is_some()),
        ];
        if let Some((flag, _)) = unread.iter().find(|(_, given)| *given) {
            return Err(CommandError::new(format!("not supported yet: {flag}")));
        }
        one_of("cgroup-manager", self.cgroup_manager.as_deref(), &["cgroupfs", "systemd"], &[])?;
        one_of("events-backend", self.events_backend.as_deref(), &["file", "journald", "none", "null"], &[])?;
        // There is one layout, which needs no driver's name; both names mean it.
        one_of("storage-driver", self.storage_driver.as_deref(), &["overlay", "vfs"], &[])
    }

    /// Sends stdout, also that of programs started from here, elsewhere.
    fn redirect(&self, ui: &mut Ui) -> Result<()> {
        let path = if self.noout { Some(Path::new("/dev/null")) } else { self.out.as_deref() };
        let Some(path) = path else { return Ok(()) };
        ui.redirect_stdout(path).map_err(|error| {
            let reason = CommandError::describe(&error);
            let text = format!("unable to open file for standard output: open {}: {reason}", path.display());
            CommandError::plain(text).with_status(ExitStatus::NO)
        })
    }

    fn level(&self) -> Result<Level> {
        let refuse = |text: String| Err(CommandError::plain(text).with_status(ExitStatus::NO));
        match (self.debug, self.log_level.to_lowercase().as_str()) {
            (true, "warn") | (false, "debug") => Ok(Level::Debug),
            (true, _) => refuse("Setting --log-level and --debug is not allowed".to_owned()),
            (false, "trace") => Ok(Level::Trace),
            (false, "info") => Ok(Level::Info),
            (false, "warn" | "warning") => Ok(Level::Warning),
            (false, "error" | "fatal" | "panic") => Ok(Level::Error),
            (false, _) => {
                refuse(format!("Log Level {:?} is not supported, choose from: {LOG_LEVELS}", self.log_level))
            }
        }
    }

    fn refuse_remote(&self) -> Result<()> {
        let remote = self.remote.then_some("--remote");
        let url = self.url.as_ref().map(|_| "--url");
        let connection = self.connection.as_ref().map(|_| "--connection");
        if let Some(flag) = remote.or(url).or(connection) {
            return Err(CommandError::new(format!("not supported yet: {flag}: rbox talks to no service")));
        }
        match self.context.as_deref() {
            None | Some("default") => Ok(()),
            Some(name) => Err(CommandError::new(format!("read cli flags: connection {name:?} not found"))),
        }
    }

    /// What the engine needs of them.
    #[must_use]
    pub fn into_options(self) -> Options {
        Options {
            root: self.root,
            runroot: self.runroot,
            image_store: self.imagestore,
            storage_driver: self.storage_driver,
            storage_options: self.storage_opt,
            tmpdir: self.tmpdir,
            volume_path: self.volumepath,
            network_config_dir: self.network_config_dir,
            modules: self.module,
            runtime: self.runtime,
            runtime_flags: self.runtime_flag,
            cgroup_manager: self.cgroup_manager,
            events_backend: self.events_backend,
            hooks_dirs: self.hooks_dir,
            default_mounts_file: self.default_mounts_file,
            cdi_spec_dirs: self.cdi_spec_dir,
            client_config: self.config,
        }
    }
}

/// What names additional stores.
const STORE_OPTIONS: [&str; 4] =
    ["additionalimagestore=", "overlay.imagestore=", "overlay.additionalimagestore=", "vfs.imagestore="];

fn is_known_storage_option(option: &str) -> bool {
    option.split_once('=').is_some_and(|(key, _)| is_mount_program(key))
}

/// Checks a value that podman knows: what rbox does is fine, what it may do later is said to be so.
fn one_of(flag: &str, value: Option<&str>, done: &[&str], later: &[&str]) -> Result<()> {
    match value {
        Some(value) if later.contains(&value) => {
            Err(CommandError::new(format!("not supported yet: --{flag}={value}")))
        }
        Some(value) if !done.contains(&value) => {
            let known = done.iter().chain(later).copied().collect::<Vec<_>>().join(", ");
            Err(CommandError::new(format!("invalid value {value:?} for --{flag}: choose from {known}")))
        }
        _ => Ok(()),
    }
}

const LOG_LEVEL: &str = "warn";
const LOG_LEVELS: &str = "trace, debug, info, warn, warning, error, fatal, panic";

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    #[test]
    fn no_words_are_read_as_by_clap() {
        let matches = crate::cli::tree::globals().try_get_matches_from_mut(["rbox"]).unwrap();
        let read = GlobalArgs::from_arg_matches(&matches).unwrap();
        assert_eq!(format!("{:?}", GlobalArgs::none_given()), format!("{read:?}"));
    }
}
