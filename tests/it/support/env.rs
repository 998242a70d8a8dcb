//! A sealed environment: own data, run and config folders, and nothing of the caller's environment.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// What one call of rbox did.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Folders of one test; removed, and checked for leftovers, when dropped.
#[derive(Debug)]
pub struct TestEnv {
    root: PathBuf,
    /// Passed to rbox besides the sealed ones.
    extra: Vec<(String, String)>,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl TestEnv {
    /// Makes the folders of a test called `name`.
    pub fn new(name: &str) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let base = std::env::var_os("TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let root = base.join(format!("{name}-{}-{number}", std::process::id()));
        for dir in ["", "data", "run", "config", "home", "work"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        Self { root, extra: Vec::new() }
    }

    /// Adds an environment variable for every following call.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.extra.push((name.to_owned(), value.into()));
        self
    }

    /// A folder for the test's own files.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// `$HOME` of rbox.
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// rbox's data folder.
    pub fn data(&self) -> PathBuf {
        self.root.join("data/rbox")
    }

    /// rbox's run folder.
    pub fn run_dir(&self) -> PathBuf {
        self.root.join("run/rbox")
    }

    /// `$XDG_CONFIG_HOME` of rbox.
    pub fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    /// A command for rbox with the sealed environment.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(rbox_binary());
        command.args(args).env_clear().current_dir(self.work());
        command.envs([
            ("HOME", self.home()),
            ("XDG_DATA_HOME", self.root.join("data")),
            ("XDG_RUNTIME_DIR", self.root.join("run")),
            ("XDG_CONFIG_HOME", self.config()),
            ("TMPDIR", self.work()),
        ]);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LANG", "C.UTF-8");
        command.envs(self.extra.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs rbox to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Outcome {
        outcome(self.command(args).stdin(Stdio::null()))
    }

    /// Runs rbox with `input` on its standard input.
    pub fn run_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Outcome {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::Builder::new()
            .spawn(move || {
                // A reader that ends early is the test's business, not a failure here.
                let _ = stdin.write_all(&input);
            })
            .unwrap();
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Outcome::from(output)
    }

    /// Runs rbox, expects success, and returns its standard output without the last line end.
    #[track_caller]
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let args: Vec<_> = args.into_iter().map(|a| a.as_ref().to_owned()).collect();
        let outcome = self.run(&args);
        assert_eq!(outcome.code, 0, "rbox {args:?}\n{outcome:#?}");
        outcome.stdout.trim_end_matches('\n').to_owned()
    }

    /// Runs rbox, expects exit code `code`, and returns its standard error.
    #[track_caller]
    pub fn fails<S: AsRef<OsStr>>(&self, code: i32, args: impl IntoIterator<Item = S>) -> String {
        let args: Vec<_> = args.into_iter().map(|a| a.as_ref().to_owned()).collect();
        let outcome = self.run(&args);
        assert_eq!(outcome.code, code, "rbox {args:?}\n{outcome:#?}");
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        outcome.stderr
    }

    /// LEAK: what is left in the run folder and in staging that belongs to no container.
    pub fn leaks(&self) -> Vec<PathBuf> {
        let mut left = Vec::new();
        for dir in [self.data().join("tmp"), self.run_dir().join("containers"), self.run_dir().join("userns")]
        {
            if let Ok(entries) = std::fs::read_dir(&dir) {
                left.extend(entries.filter_map(|e| Some(e.ok()?.path())));
            }
        }
        left
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        let removed = self.run(["rm", "--all", "--force", "--time", "0"]);
        let leaks = self.leaks();
        // Files of sub-ids can only be deleted from inside the user namespace.
        let _ = self.run([OsStr::new("unshare"), OsStr::new("rm"), OsStr::new("-rf"), self.root.as_os_str()]);
        let _ = std::fs::remove_dir_all(&self.root);
        if !std::thread::panicking() {
            assert_eq!(removed.code, 0, "cleaning up: {removed:#?}");
            assert!(leaks.is_empty(), "left behind: {leaks:#?}");
        }
    }
}

impl From<std::process::Output> for Outcome {
    fn from(output: std::process::Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let code = output
            .status
            .code()
            .unwrap_or_else(|| 128 + output.status.signal().expect("ended by exit or by a signal"));
        Self {
            code,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `command` to its end and captures its streams.
pub fn outcome(command: &mut Command) -> Outcome {
    Outcome::from(command.output().unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

/// Runs a tool of the host that the test needs; its absence or failure fails the test.
#[track_caller]
pub fn tool<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Outcome {
    let mut command = Command::new(program);
    command.args(args);
    let outcome = outcome(&mut command);
    assert_eq!(outcome.code, 0, "{command:?}\n{outcome:#?}");
    outcome
}

/// The built rbox: `RBOX_TEST_BIN` where the runner staged it for another user, else cargo's.
pub fn rbox_binary() -> PathBuf {
    std::env::var_os("RBOX_TEST_BIN")
        .map_or_else(|| Path::new(env!("CARGO_BIN_EXE_rbox")).to_owned(), PathBuf::from)
}

/// The static probe that tests put into images.
pub fn probe_binary() -> PathBuf {
    std::env::var_os("RBOX_TEST_PROBE")
        .map_or_else(|| rbox_binary().with_file_name("examples").join("probe"), PathBuf::from)
}
