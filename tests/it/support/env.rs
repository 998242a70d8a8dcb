//! A sealed environment: own data, run and config folders, and nothing of the caller's environment.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::image::{self, Entry};

/// No command of a test takes longer than this.
const LIMIT: Duration = Duration::from_secs(90);
/// How long the streams of a command may stay open after its end.
const STREAMS_LIMIT: Duration = Duration::from_secs(10);

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
        // Long enough for commands that follow each other, short enough to be gone at the end of all tests.
        command.env("RBOX_LINGER", "2");
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
        let mut command = self.command(args);
        let mut child = spawn_captured(command.stdin(Stdio::piped()));
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        std::thread::spawn(move || {
            // A reader that ends early is the test's business, not a failure here.
            let _ = stdin.write_all(&input);
        });
        finish(child, &command)
    }

    /// Loads an image of one layer.
    #[track_caller]
    pub fn load_image(&self, name: &str, entries: &[Entry], config: &Value) {
        self.load_layers(name, &[image::layer(entries)], config);
    }

    /// Loads an image.
    #[track_caller]
    pub fn load_layers(&self, name: &str, layers: &[Vec<u8>], config: &Value) {
        let outcome = self.try_load_layers(name, layers, config);
        assert_eq!(outcome.code, 0, "load {name}: {outcome:#?}");
    }

    /// Tries to load an image that may be refused.
    pub fn try_load_layers(&self, name: &str, layers: &[Vec<u8>], config: &Value) -> Outcome {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let archive = self.work().join(format!("image-{number}.tar"));
        image::docker_archive(&archive, name, layers, config);
        let outcome = self.run(["load", "-q", "-i", archive.to_str().unwrap()]);
        std::fs::remove_file(archive).unwrap();
        outcome
    }

    /// Loads the busybox system and returns its name.
    #[track_caller]
    pub fn busybox(&self) -> &'static str {
        let name = "localhost/busybox:latest";
        self.load_image(name, &image::busybox_entries(), &image::busybox_config());
        name
    }

    /// Runs a mode of the probe in a container made with `options` and returns what it says.
    #[track_caller]
    pub fn probe(&self, options: &[&str], mode: &[&str]) -> Value {
        let mut args = vec!["run", "--rm", "--network=none"];
        args.extend(options);
        args.push("localhost/busybox");
        args.push("/probe");
        args.extend(mode);
        let text = self.ok(args);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
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
    ///
    /// A monitor reports the end of its container a moment before its own: a slow machine gives it seconds.
    pub fn leaks(&self) -> Vec<PathBuf> {
        let folders = [self.data().join("tmp"), self.run_dir().join("containers")];
        let entries = |dir: &PathBuf| {
            std::fs::read_dir(dir)
                .into_iter()
                .flatten()
                .filter_map(|e| Some(e.ok()?.path()))
                .collect::<Vec<_>>()
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let left: Vec<_> = folders.iter().flat_map(entries).collect();
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        // A second panic on the way out of a failed test would end all tests.
        let clean = || (self.run(["rm", "--all", "--force", "--time", "0"]), self.leaks());
        let Ok((removed, leaks)) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(clean)) else {
            assert!(std::thread::panicking(), "{}: cleaning up failed", self.root.display());
            return;
        };
        // Files of sub-ids can only be deleted from inside the user namespace.
        // No new process must make its record there meanwhile.
        let mut remove = self.command(["unshare", "rm", "-rf"]);
        let _ = outcome(remove.arg(&self.root).env("RBOX_LINGER", "0").stdin(Stdio::null()));
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
#[track_caller]
pub fn outcome(command: &mut Command) -> Outcome {
    let child = spawn_captured(command);
    finish(child, command)
}

/// Starts `command` with its output captured.
#[track_caller]
pub fn spawn_captured(command: &mut Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Waits for `child`; one that hangs, or whose streams somebody holds open after its end, fails the test.
#[track_caller]
pub fn finish(mut child: Child, command: &Command) -> Outcome {
    fn collect(mut stream: impl std::io::Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            let _ = sender.send(bytes);
        });
        receiver
    }
    let streams = [collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap())];
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{command:?} did not end in {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let [stdout, stderr] = streams.map(|stream| {
        stream
            .recv_timeout(STREAMS_LIMIT)
            .unwrap_or_else(|_| panic!("{command:?} ended, its output is held open"))
    });
    Outcome::from(std::process::Output { status, stdout, stderr })
}

/// Asks `condition` until it holds; fails the test after 20 seconds.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not in 60 s");
        std::thread::sleep(Duration::from_millis(20));
    }
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
