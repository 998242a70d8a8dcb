//! storage.conf: only what says where things are.
//!
//! rbox has a store of its own and reads this file of podman's for hints: a user who moved the
//! image store to a bigger disk wants rbox there as well. Files: `$CONTAINERS_STORAGE_CONF`
//! alone; else the user's $XDG_CONFIG_HOME/containers/storage.conf; else the system's, of
//! which users take `rootless_storage_path` only, since its graphroot is root's.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::env::name;
use super::{Env, subid};

/// Where storage.conf wants things.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageHints {
    /// The file that was read.
    pub source: Option<PathBuf>,
    /// Persistent data.
    pub graphroot: Option<PathBuf>,
    /// Volatile data.
    pub runroot: Option<PathBuf>,
    /// The program that mounts overlays in the kernel's place.
    pub mount_program: Option<PathBuf>,
    /// Read-only stores of podman's form, which rbox does not look into by itself.
    pub additional_stores: Vec<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    storage: Storage,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Storage {
    graphroot: String,
    runroot: String,
    rootless_storage_path: String,
    options: Options,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Options {
    additionalimagestores: Vec<String>,
    mount_program: String,
    overlay: Overlay,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Overlay {
    mount_program: String,
}

impl Storage {
    /// The newer place of the option counts for more.
    fn mount_program(&self, env: &Env) -> Option<PathBuf> {
        [&self.options.overlay.mount_program, &self.options.mount_program]
            .into_iter()
            .find_map(|text| expand(text, env))
    }

    fn additional_stores(&self, env: &Env) -> Vec<PathBuf> {
        self.options.additionalimagestores.iter().filter_map(|text| expand(text, env)).collect()
    }
}

impl StorageHints {
    /// Reads the file that applies. One that cannot be read or parsed gives no hints: it is
    /// another tool's file.
    #[must_use]
    pub fn load(env: &Env, config_home: &Path) -> Self {
        let expand = |text: &str| expand(text, env);
        if let Some(path) = env.path(name::CONTAINERS_STORAGE_CONF) {
            let Some(storage) = read(path) else { return Self::default() };
            return Self {
                source: Some(path.to_owned()),
                graphroot: expand(&storage.graphroot),
                runroot: expand(&storage.runroot),
                mount_program: storage.mount_program(env),
                additional_stores: storage.additional_stores(env),
            };
        }
        let user = config_home.join("containers/storage.conf");
        if let Some(storage) = read(&user) {
            // podman's directory holds podman's files under the same names: stay beside them.
            let below = |path: PathBuf| path.join("rbox");
            return Self {
                source: Some(user),
                graphroot: expand(&storage.graphroot).map(below),
                runroot: expand(&storage.runroot).map(below),
                mount_program: storage.mount_program(env),
                additional_stores: storage.additional_stores(env),
            };
        }
        for path in ["/etc/containers/storage.conf", "/usr/share/containers/storage.conf"] {
            if let Some(storage) = read(Path::new(path)) {
                let is_user = subid::login_uid(env) != 0;
                let graphroot = if is_user { expand(&storage.rootless_storage_path) } else { None };
                let graphroot = graphroot.map(|path| path.join("rbox"));
                let mount_program = storage.mount_program(env);
                let additional_stores = storage.additional_stores(env);
                let source = Some(path.into());
                return Self { source, graphroot, runroot: None, mount_program, additional_stores };
            }
        }
        Self::default()
    }
}

fn read(path: &Path) -> Option<Storage> {
    let text = fs::read_to_string(path).ok()?;
    toml::from_str::<File>(&text).ok().map(|file| file.storage)
}

/// Replaces `$HOME`, `$UID` and `$USER`; relative paths and empty ones say nothing.
fn expand(text: &str, env: &Env) -> Option<PathBuf> {
    let text = text
        .replace("$HOME", env.text(name::HOME).unwrap_or("$HOME"))
        .replace("$UID", &subid::login_uid(env).to_string())
        .replace("$USER", env.text(name::USER).unwrap_or("$USER"));
    let path = PathBuf::from(text);
    path.is_absolute().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_user_s_file_moves_the_store_beside_podman_s() {
        let dir = crate::kernel::scratch::path("storage");
        fs::create_dir_all(dir.join("containers")).unwrap();
        let file = dir.join("containers/storage.conf");
        let text =
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"/big/$USER/$UID\"\n[storage.options]\nx = 1\n";
        fs::File::create(&file).unwrap().write_all(text.as_bytes()).unwrap();
        let env = Env::from_values(1001, 1001, [("USER", "alice"), ("HOME", "/home/alice")]);
        let hints = StorageHints::load(&env, &dir);
        assert_eq!(hints.graphroot, Some("/big/alice/1001/rbox".into()));
        assert_eq!((hints.runroot, hints.source), (None, Some(file.clone())));
        let variables = [("USER", "alice".as_ref()), ("CONTAINERS_STORAGE_CONF", file.as_os_str())];
        let env = Env::from_values(1001, 1001, variables);
        assert_eq!(StorageHints::load(&env, Path::new("/")).graphroot, Some("/big/alice/1001".into()));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn senseless_paths_say_nothing() {
        let env = Env::from_values(1001, 1001, [("USER", "alice")]);
        assert_eq!(expand("", &env), None);
        assert_eq!(expand("$HOME/x", &env), None);
        assert_eq!(expand("/x/$USER", &env), Some("/x/alice".into()));
    }
}
