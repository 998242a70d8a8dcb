//! Flags of the first process: command, environment, user, terminal, end.

use std::path::PathBuf;

use super::super::{csv, go};
use crate::cli::error::{CommandError, Result};
use crate::cli::values::go_bool;
use crate::config::{Config, Env};
use crate::container::create::{
    self, CreateRequest, EnvRequest, Init, RestartPolicy, SecurityProfile, Systemd, UserRequest, env, limits,
};
use crate::kernel::{self, signal};

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

/// Puts these flags into `request`.
pub(super) fn request(
    args: &ProcessArgs,
    config: &Config,
    caller: &Env,
    profile: SecurityProfile,
    request: &mut CreateRequest,
) -> Result<()> {
    let containers = &config.containers;
    request.entrypoint = args.entrypoint.as_deref().map(entrypoint);
    request.env = environment(args, config, caller)?;
    if profile.is_strict() {
        request.env.http_proxy = args.http_proxy.unwrap_or(false);
    }
    request.user = user(args)?;
    request.workdir = args.workdir.as_ref().filter(|dir| !dir.is_empty()).map(PathBuf::from);
    request.terminal = args.tty;
    request.interactive = args.interactive;
    request.attach = csv::split(&args.attach).map_err(CommandError::new)?;
    request.init = init(args, config)?;
    request.systemd = match args.systemd.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "true") => Systemd::Auto,
        Some("always") => Systemd::Always,
        Some("false") => Systemd::Never,
        Some(_) => {
            return Err(CommandError::new(
                "invalid config provided: --systemd values must be one of \"true, false, always\": invalid configuration",
            ));
        }
    };
    request.stop_signal = args.stop_signal.as_deref().map(stop_signal).transpose()?;
    request.stop_timeout = Some(args.stop_timeout.unwrap_or(config.engine.stop_timeout));
    request.timeout = args.timeout.unwrap_or(0);
    request.restart = args.restart.as_deref().map(restart_policy).transpose()?;
    request.umask = args.umask.as_deref().map(create::parse_umask).transpose()?;
    request.timezone = args.tz.clone();
    request.oom_score_adj = args.oom_score_adj;
    request.personality = args.personality.clone().filter(|text| !text.is_empty());
    let ulimits = csv::split(&args.ulimit).map_err(CommandError::new)?;
    request.ulimits = limits::parse(if ulimits.is_empty() { &containers.default_ulimits } else { &ulimits })?;
    Ok(())
}

/// A JSON list of words, or one word.
fn entrypoint(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| vec![text.to_owned()])
}

fn environment(args: &ProcessArgs, config: &Config, caller: &Env) -> Result<EnvRequest> {
    let mut set = Vec::new();
    for file in &args.env_file {
        set.extend(env::parse_file(file, caller)?);
    }
    for entry in &args.env {
        set.extend(env::parse_entry(entry, caller)?);
    }
    let merge = |text: &String| {
        let (name, template) = text
            .split_once('=')
            .ok_or_else(|| CommandError::new(format!("missing `=` for --env-merge substitution {text}")))?;
        Ok::<_, CommandError>((name.to_owned(), template.to_owned()))
    };
    Ok(EnvRequest {
        set,
        host: args.env_host.unwrap_or(config.containers.env_host),
        merge: args.env_merge.iter().map(merge).collect::<Result<_>>()?,
        unset: args.unsetenv.clone(),
        unset_all: args.unsetenv_all,
        http_proxy: args.http_proxy.unwrap_or(config.containers.http_proxy),
    })
}

fn user(args: &ProcessArgs) -> Result<UserRequest> {
    let groups = csv::split(&args.group_add).map_err(CommandError::new)?;
    let keep_groups = groups.iter().any(|group| group == "keep-groups");
    if keep_groups && groups.len() > 1 {
        return Err(CommandError::new(
            "the '--group-add keep-groups' option is not allowed with any other --group-add options",
        ));
    }
    Ok(UserRequest {
        user: args.user.clone(),
        groups: if keep_groups { Vec::new() } else { groups },
        keep_groups,
        passwd_entry: args.passwd_entry.clone(),
        group_entry: args.group_entry.clone(),
        host_users: csv::split(&args.hostuser).map_err(CommandError::new)?,
        ..UserRequest::default()
    })
}

fn init(args: &ProcessArgs, config: &Config) -> Result<Option<Init>> {
    if !args.init.unwrap_or(config.containers.init) {
        return Ok(None);
    }
    let configured =
        [&config.containers.init_path, &config.engine.init_path].into_iter().find(|p| !p.is_empty());
    let path = args.init_path.clone().filter(|path| !path.as_os_str().is_empty());
    let path = path.or_else(|| configured.map(PathBuf::from));
    if let Some(path) = &path {
        std::fs::metadata(path).map_err(|source| {
            CommandError::from(kernel::Error::path("stat", path, source))
                .context("container-init binary not found on the host")
        })?;
    }
    Ok(Some(Init { path }))
}

fn stop_signal(text: &str) -> Result<i32> {
    signal::parse(text.strip_prefix('-').unwrap_or(text))
        .ok_or_else(|| CommandError::new(format!("invalid signal: {text}")))
}

pub(in crate::cli) fn restart_policy(text: &str) -> Result<RestartPolicy> {
    let (name, retries) = match text.split_once(':') {
        Some((name, retries)) => (name, Some(retries)),
        None => (text, None),
    };
    let fail = |text: String| Err(CommandError::new(text));
    let retries = match retries {
        None => 0,
        Some(_) if name != "on-failure" => {
            return fail("restart policy retries can only be specified with on-failure restart policy: invalid argument".to_owned());
        }
        Some(text) => {
            match text.parse::<i64>() {
                Ok(count) if count >= 0 => u32::try_from(count).unwrap_or(u32::MAX),
                Ok(_) => return fail(
                    "must specify restart policy retry count as a number greater than 0: invalid argument"
                        .to_owned(),
                ),
                Err(_) => {
                    return fail(format!(
                        "parsing restart policy retry count: strconv.Atoi: parsing {text:?}: invalid syntax"
                    ));
                }
            }
        }
    };
    match name {
        "" | "no" | "never" => Ok(RestartPolicy::No),
        "always" => Ok(RestartPolicy::Always),
        "unless-stopped" => Ok(RestartPolicy::UnlessStopped),
        "on-failure" => Ok(RestartPolicy::OnFailure(retries)),
        _ => fail(format!("{name:?} is not a valid restart policy: invalid argument")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies_parse() {
        for (text, policy) in [
            ("", RestartPolicy::No),
            ("no", RestartPolicy::No),
            ("never", RestartPolicy::No),
            ("always", RestartPolicy::Always),
            ("unless-stopped", RestartPolicy::UnlessStopped),
            ("on-failure", RestartPolicy::OnFailure(0)),
            ("on-failure:3", RestartPolicy::OnFailure(3)),
        ] {
            assert_eq!(restart_policy(text).unwrap(), policy, "{text}");
        }
        for text in ["sometimes", "always:3", "on-failure:x", "on-failure:-1"] {
            assert!(restart_policy(text).is_err(), "{text}");
        }
    }

    #[test]
    fn entry_points_are_lists_or_words() {
        assert_eq!(entrypoint(r#"["/bin/echo","a b"]"#), ["/bin/echo", "a b"]);
        assert_eq!(entrypoint("/bin/sh -c"), ["/bin/sh -c"]);
        assert_eq!(entrypoint(""), [""]);
        assert_eq!(entrypoint("[]"), Vec::<String>::new());
    }
}
