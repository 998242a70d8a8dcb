//! Which OCI runtime a container gets: rbox's own, or another one by `--runtime` and containers.conf.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::config::{Config, Env};
use crate::container::record::Runtime;
use crate::container::{Error, Result};
use crate::engine::Engine;

/// The name of rbox's own runtime.
pub const OWN: &str = "rbox";

/// Where runtimes are looked for besides `$PATH`; administrators' directories are not in every user's.
const DIRECTORIES: [&str; 6] =
    ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/sbin", "/bin"];

/// Finds the runtime that command line and configuration ask for.
///
/// # Errors
/// When there is none of that name, or it does not take a flag.
pub fn resolve(engine: &Engine) -> Result<Runtime> {
    named(engine, engine.options.runtime.as_ref().map(|path| path.display().to_string()))
}

/// Finds the runtime `given`, or that of the configuration.
///
/// # Errors
/// As [`resolve`].
pub fn named(engine: &Engine, given: Option<String>) -> Result<Runtime> {
    let config = engine.config()?;
    let given = given.or_else(|| config.engine.runtime.clone()).filter(|name| !name.is_empty());
    let name = given.as_deref().unwrap_or(OWN);
    let file = Path::new(name).file_name().map_or(name.into(), |file| file.to_string_lossy());
    let configured = config.engine.runtimes_flags.get(&*file).into_iter().flatten();
    let flags: Vec<&str> =
        configured.chain(&engine.options.runtime_flags).map(|flag| flag.trim_start_matches('-')).collect();
    if name == OWN && !config.engine.runtimes.contains_key(OWN) {
        return match flags.iter().find(|flag| !known_to_own(flag)) {
            Some(flag) => Err(Error::RuntimeFlag { flag: (*flag).to_owned() }),
            None => Ok(Runtime::default()),
        };
    }
    let program = find(name, config, engine.env()).ok_or_else(|| Error::Invalid {
        what: format!("default OCI runtime {name:?} not found: invalid argument"),
    })?;
    let mut arguments: Vec<String> = Vec::new();
    if is_rbox(&program) {
        arguments.push("oci".to_owned());
    }
    arguments.extend(flags.iter().map(|flag| format!("--{flag}")));
    Ok(Runtime { given: name.to_owned(), program: Some(program), arguments })
}

/// Flags of runtimes that change nothing about how rbox's own one works.
fn known_to_own(flag: &str) -> bool {
    let name = flag.split_once('=').map_or(flag, |(name, _)| name);
    matches!(name, "debug" | "log-level" | "log-format" | "rootless")
}

/// The program of a path or a name.
#[must_use]
pub fn find(name: &str, config: &Config, env: &Env) -> Option<PathBuf> {
    let executable = |path: &Path| {
        path.is_absolute() && path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| executable(path));
    }
    let configured = config.engine.runtimes.get(name).into_iter().flatten();
    let found = configured.map(PathBuf::as_path).find(|path| executable(path)).map(Path::to_owned);
    found.or_else(|| env.find_program(name, DIRECTORIES.iter().map(Path::new)))
}

/// Whether the program is an rbox, whose runtime is the command `oci`.
fn is_rbox(program: &Path) -> bool {
    let output = Command::new(program).args(["oci", "--version"]).env_clear().stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.stdout.starts_with(b"rbox version "))
}
