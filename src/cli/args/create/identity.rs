//! Flags that name a container, and those of its image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::{csv, go};
use super::storage::absolute;
use crate::cli::error::{CommandError, Result};
use crate::cli::values::go_bool;
use crate::config::Config;
use crate::container::create::{Identity, LogRequest, SecurityProfile, env, profile as usual, size};

/// Names, labels, files that identify the container.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct IdentityArgs {
    /// Add annotations to container (key=value)
    #[arg(long, value_name = "stringArray")]
    pub annotation: Vec<String>,
    /// Write the container ID to the file
    #[arg(long, value_name = "string")]
    pub cidfile: Option<PathBuf>,
    /// Path to the file that will receive the PID of the monitor
    #[arg(long, value_name = "string")]
    pub conmon_pidfile: Option<PathBuf>,
    /// Set metadata on container
    #[arg(long, short, value_name = "stringArray")]
    pub label: Vec<String>,
    /// Read in a line delimited file of labels
    #[arg(long, value_name = "stringArray")]
    pub label_file: Vec<PathBuf>,
    /// Logging driver for the container
    #[arg(long, value_name = "string")]
    pub log_driver: Option<String>,
    /// Logging driver options
    #[arg(long, value_name = "stringArray")]
    pub log_opt: Vec<String>,
    /// Assign a name to the container
    #[arg(long, value_name = "string")]
    pub name: Option<String>,
    /// Write the container process ID to the file
    #[arg(long, value_name = "string")]
    pub pidfile: Option<PathBuf>,
    /// If a container with the same name exists, replace it
    #[arg(long)]
    pub replace: bool,
    /// Add one or more requirement containers that must be started before this container will start
    #[arg(long, value_name = "strings")]
    pub requires: Vec<String>,
    /// Remove container and any anonymous unnamed volume associated with the container after exit
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub rm: Option<bool>,
}

/// Which image, and how it is pulled.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ImageArgs {
    /// Use ARCH instead of the architecture of the machine for choosing images
    #[arg(long, alias = "override-arch", value_name = "ARCH")]
    pub arch: Option<String>,
    /// Path of the authentication file. Use REGISTRY_AUTH_FILE environment variable to override
    #[arg(long, value_name = "string")]
    pub authfile: Option<PathBuf>,
    /// Pathname of a directory containing TLS certificates and keys
    #[arg(long, value_name = "Pathname")]
    pub cert_dir: Option<PathBuf>,
    /// Credentials (USERNAME:PASSWORD) to use for authenticating to a registry
    #[arg(long, value_name = "credentials")]
    pub creds: Option<String>,
    /// Key needed to decrypt the image (e.g. /path/to/key.pem)
    #[arg(long, value_name = "stringArray")]
    pub decryption_key: Vec<String>,
    /// This is a Docker specific option and is a NOOP
    #[arg(long)]
    pub disable_content_trust: bool,
    /// Use OS instead of the running OS for choosing images
    #[arg(long, alias = "override-os", value_name = "OS")]
    pub os: Option<String>,
    /// Specify the platform for selecting the image. (Conflicts with --arch and --os)
    #[arg(long, value_name = "string")]
    pub platform: Option<String>,
    /// Pull image policy ("always"|"missing"|"never"|"newer")
    #[arg(long, value_name = "string")]
    pub pull: Option<String>,
    /// Suppress output information when pulling images
    #[arg(long, short)]
    pub quiet: bool,
    /// Number of times to retry in case of failure when performing pull
    #[arg(long, value_name = "uint", value_parser = go::parse_u32)]
    pub retry: Option<u32>,
    /// Delay between retries in case of pull failures
    #[arg(long, value_name = "string")]
    pub retry_delay: Option<String>,
    /// The first argument is not an image but the rootfs to the exploded container
    #[arg(long)]
    pub rootfs: bool,
    /// Pathname of signature policy file (not usually used)
    #[arg(long, value_name = "Pathname", hide = true)]
    pub signature_policy: Option<PathBuf>,
    /// Require HTTPS and verify certificates when contacting registries for pulling images
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub tls_verify: Option<bool>,
    /// Use VARIANT instead of the running architecture variant for choosing images
    #[arg(long, alias = "override-variant", value_name = "VARIANT")]
    pub variant: Option<String>,
}

/// What these flags say about names and labels.
pub(super) fn request(args: &IdentityArgs) -> Result<Identity> {
    let mut identity = Identity {
        // Docker shows names with a slash, and scripts give them back so.
        name: args
            .name
            .as_deref()
            .filter(|name| !name.is_empty())
            .map(|name| name.strip_prefix('/').unwrap_or(name).to_owned()),
        replace: args.replace,
        cid_file: args.cidfile.as_deref().map(absolute).transpose()?,
        pid_file: args.pidfile.as_deref().map(absolute).transpose()?,
        monitor_pid_file: args.conmon_pidfile.as_deref().map(absolute).transpose()?,
        requires: csv::split(&args.requires).map_err(CommandError::new)?,
        ..Identity::default()
    };
    if identity.replace && identity.name.is_none() {
        return Err(CommandError::new("cannot replace container without --name being set"));
    }
    for file in &args.label_file {
        identity.labels.extend(env::parse_label_file(file)?);
    }
    for label in &args.label {
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        if name.is_empty() {
            return Err(CommandError::new(format!(
                "unable to process labels: invalid label format: {label:?}"
            )));
        }
        identity.labels.insert(name.to_owned(), value.to_owned());
    }
    Ok(identity)
}

/// `--annotation`.
pub(super) fn annotations(args: &IdentityArgs) -> Result<BTreeMap<String, String>> {
    let pair = |value: &String| {
        let (key, value) = value
            .split_once('=')
            .ok_or_else(|| CommandError::new("annotations must be formatted KEY=VALUE"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    args.annotation.iter().map(pair).collect()
}

/// Where the output shall go.
pub(super) fn log(args: &IdentityArgs, config: &Config, profile: SecurityProfile) -> Result<LogRequest> {
    let containers = &config.containers;
    let mut log = LogRequest {
        driver: args.log_driver.clone().or_else(|| Some(containers.log_driver.clone())),
        max_size: u64::try_from(containers.log_size_max).ok(),
        tag: Some(containers.log_tag.clone()).filter(|tag| !tag.is_empty()),
        ..LogRequest::default()
    };
    if profile.is_strict() {
        log.max_size = log.max_size.or(Some(usual::LOG_SIZE));
        log.max_files = Some(usual::LOG_FILES);
    }
    for option in &args.log_opt {
        let invalid = || CommandError::new(format!("invalid log option {option:?}"));
        let (key, value) = option.split_once('=').ok_or_else(invalid)?;
        match key.to_ascii_lowercase().as_str() {
            "driver" => log.driver = Some(value.to_owned()),
            "path" => log.path = Some(absolute(Path::new(value))?),
            "max-size" => log.max_size = Some(size::decimal(value).map_err(CommandError::new)?),
            "max-file" => {
                log.max_files = Some(value.parse().ok().filter(|count| *count > 0).ok_or_else(invalid)?);
            }
            "tag" => log.tag = Some(value.to_owned()),
            "label" => log.labels.push(value.to_owned()),
            _ => return Err(invalid()),
        }
    }
    Ok(log)
}
