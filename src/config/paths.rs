//! Where rbox keeps its files.
//!
//! | directory | default | changed by |
//! |---|---|---|
//! | data: images, containers, volumes | `$XDG_DATA_HOME/rbox`, `~/.local/share/rbox` | `--root`, graphroot of storage.conf |
//! | run: what a reboot may forget | `$XDG_RUNTIME_DIR/rbox` | `--runroot`, `--tmpdir`, runroot of storage.conf |
//! | config | `$XDG_CONFIG_HOME`, `~/.config` | |
//!
//! Without a usable `$XDG_RUNTIME_DIR` the run directory is `/run/user/UID/rbox`, and without
//! that `/tmp/rbox-run-UID`. Anybody can make that last name first, so it is used only when it
//! is a directory, ours, and closed to others; then nobody else can have put anything into it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Env, Error, Result, StorageHints, env::name, subid};

/// The directories of one invocation. Nothing but the fall-back under /tmp is created here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Persistent state.
    pub data: PathBuf,
    /// Volatile state.
    pub run: PathBuf,
    /// The user's configuration directory (the parent of `containers/`).
    pub config_home: PathBuf,
    /// The user's home directory.
    pub home: PathBuf,
    /// The program that mounts overlays in the kernel's place, if one is configured.
    pub mount_program: Option<PathBuf>,
    /// Read-only stores of podman's form that storage.conf names; rbox does not look into them by itself.
    pub additional_stores: Vec<PathBuf>,
}

/// What the command line and storage.conf say about directories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathOptions {
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `--runroot`.
    pub runroot: Option<PathBuf>,
    /// `--tmpdir`, used where `--runroot` is not given.
    pub tmpdir: Option<PathBuf>,
    /// `--storage-opt mount_program=`; an empty path means the kernel.
    pub mount_program: Option<PathBuf>,
}

impl Paths {
    /// Finds the directories for the user of `env`.
    pub fn find(env: &Env, options: &PathOptions) -> Result<Self> {
        let home = home_dir(env)?;
        let config_home = config_home(env, &home);
        let mut hints = match (&options.root, options.runroot.as_ref().or(options.tmpdir.as_ref())) {
            (Some(_), Some(_)) => StorageHints::default(),
            _ => StorageHints::load(env, &config_home),
        };
        let additional_stores = std::mem::take(&mut hints.additional_stores);
        let data = match options.root.as_ref().or(hints.graphroot.as_ref()) {
            Some(root) => absolute(root)?,
            None => {
                env.absolute(name::XDG_DATA_HOME).unwrap_or_else(|| home.join(".local/share")).join("rbox")
            }
        };
        let run = match options.runroot.as_ref().or(options.tmpdir.as_ref()).or(hints.runroot.as_ref()) {
            Some(runroot) => absolute(runroot)?,
            None => run_dir(env)?,
        };
        let mount_program = options.mount_program.clone().or(hints.mount_program);
        let mount_program = mount_program.filter(|program| !program.as_os_str().is_empty());
        Ok(Self { data, run, config_home, home, mount_program, additional_stores })
    }
}

/// The user's configuration directory.
pub(super) fn config_home(env: &Env, home: &Path) -> PathBuf {
    env.absolute(name::XDG_CONFIG_HOME).unwrap_or_else(|| home.join(".config"))
}

/// The user's home: `$HOME`, else the entry of /etc/passwd.
pub(super) fn home_dir(env: &Env) -> Result<PathBuf> {
    if let Some(home) = env.absolute(name::HOME) {
        return Ok(home);
    }
    let uid = subid::login_uid(env);
    subid::passwd_entry(uid).map(|entry| entry.home).ok_or(Error::NoHome { uid })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|source| Error::RelativePath { path: path.to_owned(), source })
}

fn run_dir(env: &Env) -> Result<PathBuf> {
    if let Some(dir) = env.absolute(name::XDG_RUNTIME_DIR)
        && is_own_dir(&dir, env.uid())
    {
        return Ok(dir.join("rbox"));
    }
    let uid = subid::login_uid(env);
    let session = PathBuf::from(format!("/run/user/{uid}"));
    if is_own_dir(&session, env.uid()) {
        return Ok(session.join("rbox"));
    }
    let fallback = PathBuf::from(format!("/tmp/rbox-run-{uid}"));
    claim_dir(&fallback, env.uid())?;
    Ok(fallback)
}

/// Whether `dir` exists and belongs to `uid` (after su or sudo, `$XDG_RUNTIME_DIR` may be another user's).
fn is_own_dir(dir: &Path, uid: u32) -> bool {
    dir.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == uid)
}

/// Makes `dir` as a private directory, or checks that the existing one is.
fn claim_dir(dir: &Path, uid: u32) -> Result<()> {
    let untrusted = |problem| Error::UntrustedDir { path: dir.to_owned(), uid, problem };
    match rustix::fs::mkdir(dir, rustix::fs::Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(untrusted(format!("it cannot be created: {errno}"))),
    }
    // lstat: a symbolic link to a private directory elsewhere must not pass.
    let meta = dir.symlink_metadata().map_err(|err| untrusted(err.to_string()))?;
    if !meta.is_dir() {
        return Err(untrusted("it is not a directory".to_owned()));
    }
    if meta.uid() != uid {
        return Err(untrusted(format!("it belongs to uid {}", meta.uid())));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(untrusted(format!("its mode is {:o}, not 700", meta.mode() & 0o7777)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn scratch(test: &str) -> PathBuf {
        let dir = crate::kernel::scratch::path(&format!("paths-{test}"));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn xdg_variables_win_over_home() {
        let dir = scratch("xdg");
        let env = Env::from_values(
            me(),
            me(),
            [
                ("HOME", "/home/x".as_ref()),
                ("XDG_DATA_HOME", "/d".as_ref()),
                ("XDG_RUNTIME_DIR", dir.as_os_str()),
            ],
        );
        let paths = Paths::find(&env, &PathOptions::default()).unwrap();
        assert_eq!(paths.data, Path::new("/d/rbox"));
        assert_eq!(paths.run, dir.join("rbox"));
        assert_eq!(paths.config_home, Path::new("/home/x/.config"));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn options_win_and_tmpdir_yields_to_runroot() {
        let env = Env::from_values(me(), me(), [("HOME", "/home/x"), ("XDG_DATA_HOME", "relative")]);
        let mut options = PathOptions { tmpdir: Some("/t".into()), ..PathOptions::default() };
        let paths = Paths::find(&env, &options).unwrap();
        assert_eq!(
            (paths.data.as_path(), paths.run.as_path()),
            ("/home/x/.local/share/rbox".as_ref(), "/t".as_ref())
        );
        options.runroot = Some("/r".into());
        options.root = Some("/s".into());
        let paths = Paths::find(&env, &options).unwrap();
        assert_eq!((paths.data.as_path(), paths.run.as_path()), ("/s".as_ref(), "/r".as_ref()));
    }

    #[test]
    fn a_planted_fallback_directory_is_refused() {
        let dir = scratch("planted");
        let open = dir.join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(claim_dir(&open, me()).unwrap_err().to_string().contains("755"));
        let link = dir.join("link");
        symlink(&dir, &link).unwrap();
        assert!(claim_dir(&link, me()).unwrap_err().to_string().contains("not a directory"));
        assert!(claim_dir(&dir.join("open"), me() + 1).unwrap_err().to_string().contains("belongs to"));
        assert!(claim_dir(&dir.join("new"), me()).is_ok());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
