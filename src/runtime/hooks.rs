//! Hooks: programs of the administrator, run at fixed points with the
//! container's state on standard input.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::kernel::poll;
use crate::kernel::process::{Pid, pidfd_open};

use super::error::{Error, Result};
use super::plan::{Hook, Identity};
use super::spec::SPEC_VERSION;

/// How much of a hook's error output is repeated.
const MAX_OUTPUT: u64 = 512;

/// Runs `hooks` in order, until one fails. One that has no environment of its own gets the caller's.
pub(super) fn run(point: &str, hooks: &[Hook], identity: &Identity, status: &str, pid: u32) -> Result<()> {
    run_all(point, None, hooks, identity, status, pid)
}

/// As [`run`], but a hook without an environment of its own gets `environment`.
pub(super) fn run_in(
    environment: &[String],
    point: &str,
    hooks: &[Hook],
    identity: &Identity,
    status: &str,
    pid: u32,
) -> Result<()> {
    run_all(point, Some(environment), hooks, identity, status, pid)
}

fn run_all(
    point: &str,
    environment: Option<&[String]>,
    hooks: &[Hook],
    identity: &Identity,
    status: &str,
    pid: u32,
) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state = state_value(identity, status, pid).to_string();
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, environment, &state).map_err(|error| match error {
            Error::Hook { path, why, .. } => {
                Error::Hook { which: format!("{point} hook #{index}"), path, why }
            }
            other => other,
        })?;
    }
    Ok(())
}

/// Runs the hooks for a container whose first process has ended; one that fails does not keep the others from
/// running. Returns what went wrong.
pub fn run_post_stop(hooks: &[Hook], identity: &Identity) -> Vec<String> {
    if hooks.is_empty() {
        return Vec::new();
    }
    let state = state_value(identity, "stopped", 0).to_string();
    let warning = |error| match error {
        Error::Hook { path, why, .. } => format!("poststop hook {why} ({})", path.display()),
        error => format!("poststop hook: {error}"),
    };
    hooks.iter().filter_map(|hook| run_one(hook, None, &state).err()).map(warning).collect()
}

/// The state document of the runtime spec.
pub(super) fn state_value(identity: &Identity, status: &str, pid: u32) -> serde_json::Value {
    let annotations: serde_json::Map<String, serde_json::Value> =
        identity.annotations.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    serde_json::json!({
        "ociVersion": SPEC_VERSION,
        "id": identity.id,
        "status": status,
        "pid": pid,
        "bundle": identity.bundle,
        "annotations": annotations,
    })
}

fn run_one(hook: &Hook, environment: Option<&[String]>, state: &str) -> Result<()> {
    let fail = |why: String| Error::Hook { which: String::new(), path: hook.path.clone(), why };
    let mut child = command(hook, environment).spawn().map_err(|error| fail(error.to_string()))?;
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    match stdin.write_all(state.as_bytes()) {
        // A hook need not read its input.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(fail(error.to_string())),
        _ => drop(stdin),
    }
    let ended = wait(&mut child, hook.timeout).map_err(|error| fail(error.to_string()))?;
    if !ended {
        return Err(fail(format!("it did not end within {} s", hook.timeout.unwrap_or_default())));
    }
    let status = child.wait().map_err(|error| fail(error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    let mut output = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(MAX_OUTPUT).read_to_string(&mut output);
    }
    let how = match status.code() {
        Some(code) => format!("failed with exit code {code}"),
        None => format!("was ended by {status}"),
    };
    Err(fail(format!("{how}: {}", output.trim_end()).trim_end_matches([':', ' ']).to_owned()))
}

fn command(hook: &Hook, environment: Option<&[String]>) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(&hook.path);
    let (name, rest) = match hook.arguments.split_first() {
        Some((name, rest)) => (name.as_str(), rest),
        None => (hook.path.to_str().unwrap_or("hook"), &[][..]),
    };
    command.arg0(name).args(rest).current_dir(Path::new("/"));
    let own = (!hook.environment.is_empty()).then_some(hook.environment.as_slice());
    let environment = own.or(environment);
    if environment.is_some() {
        command.env_clear();
    }
    for entry in environment.unwrap_or_default() {
        if let Some((name, value)) = entry.split_once('=') {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Waits for the end, and kills a hook that takes too long.
fn wait(child: &mut Child, timeout: Option<u32>) -> io::Result<bool> {
    let Some(timeout) = timeout else { return Ok(true) };
    let deadline = Instant::now() + Duration::from_secs(timeout.into());
    let pid = Pid::from_raw(child.id() as i32).expect("a child has a pid");
    let pidfd = pidfd_open(pid).map_err(io::Error::other)?;
    use std::os::fd::AsFd as _;
    let left = deadline.saturating_duration_since(Instant::now());
    if poll::readable(pidfd.as_fd(), Some(left)).map_err(io::Error::other)? {
        return Ok(true);
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}
