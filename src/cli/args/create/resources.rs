//! Flags of cgroups and pods; those of limits are shared with other commands.
//!
//! They parse as podman's, so that a script gets one clear answer about what is not
//! supported yet instead of "unknown flag"; [`ResourceArgs::unsupported`] is that answer.

use super::super::limits::LimitArgs;
use crate::cli::error::{CommandError, Result};
use crate::config::Config;
use crate::container::create::Resources;

/// Flags of resource limits and pods.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ResourceArgs {
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Configure cgroup v2 (key=value)
    #[arg(long, value_name = "strings")]
    pub cgroup_conf: Vec<String>,
    /// Optional parent cgroup for the container
    #[arg(long, value_name = "string")]
    pub cgroup_parent: Option<String>,
    /// Control container cgroup configuration ("enabled"|"disabled"|"no-conmon"|"split")
    #[arg(long, value_name = "string")]
    pub cgroups: Option<String>,
    /// DEPRECATED: only here for compatibility with Docker
    #[arg(long, value_name = "string", hide = true)]
    pub kernel_memory: Option<String>,
    /// Disable OOM Killer
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// Class of Service (COS) that the container should be assigned to
    #[arg(long, value_name = "string")]
    pub rdt_class: Option<String>,

    /// Run container in an existing pod
    #[arg(long, value_name = "string")]
    pub pod: Option<String>,
    /// Read the pod ID from the file
    #[arg(long, value_name = "string")]
    pub pod_id_file: Option<String>,
    /// Control sd-notify behavior ("container"|"conmon"|"healthy"|"ignore")
    #[arg(long, value_name = "string")]
    pub sdnotify: Option<String>,
}

impl ResourceArgs {
    /// The first flag that this version cannot honour.
    #[must_use]
    pub fn unsupported(&self) -> Option<&'static str> {
        let texts =
            [(&self.rdt_class, "--rdt-class"), (&self.pod, "--pod"), (&self.pod_id_file, "--pod-id-file")];
        let asks = |value: &str| !value.is_empty();
        texts.iter().find(|(value, _)| value.as_deref().is_some_and(asks)).map(|(_, flag)| *flag)
    }

    /// The limits, with those of containers.conf.
    ///
    /// # Errors
    /// In podman's words for values that make no sense.
    pub fn resources(&self, config: &Config) -> Result<Resources> {
        if self.oom_kill_disable {
            return Err(CommandError::new("cannot disable OOM killer with cgroup v2"));
        }
        let mut resources = self.limits.resources()?;
        for entry in &config.containers.cgroup_conf {
            let (key, value) = entry.split_once('=').ok_or_else(|| {
                CommandError::new(format!(
                    "CgroupConf {entry} from containers.conf invalid, must be name=value"
                ))
            })?;
            resources.conf.insert(key.to_owned(), value.to_owned());
        }
        for entry in super::super::csv::split(&self.cgroup_conf).map_err(CommandError::new)? {
            let (key, value) = entry
                .split_once('=')
                .ok_or_else(|| CommandError::new("--cgroup-conf must be formatted KEY=VALUE"))?;
            resources.conf.insert(key.to_owned(), value.to_owned());
        }
        Ok(resources)
    }
}
