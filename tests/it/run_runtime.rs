//! `--runtime`: containers by another OCI runtime than rbox's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::env::{outcome, rbox_binary, wait_until};
use super::support::{Outcome, TestEnv};

const IMAGE: &str = "localhost/busybox";

fn loaded(name: &str) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    env
}

/// rbox under another name, which is an OCI runtime by its command `oci`.
fn copied(env: &TestEnv) -> PathBuf {
    let copy = env.work().join("my-runtime");
    fs::copy(rbox_binary(), &copy).unwrap();
    // A process that another test has just forked may have it open for writing until it executes something.
    wait_until("it can be executed", || Command::new(&copy).arg("--version").output().is_ok());
    copy
}

/// Runs rbox with crun, which works only where cgroup v2 is all that there is: on other hosts in namespaces that
/// show it so.
fn with_crun(env: &TestEnv, args: &[&str]) -> Outcome {
    let mut rbox = env.command(["--runtime", "crun"].iter().chain(args));
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return outcome(rbox.stdin(Stdio::null()));
    }
    let script = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--map-auto", "--mount", "--cgroup", "sh", "-c", script, "sh"]);
    command.arg(rbox.get_program()).args(rbox.get_args()).env_clear().current_dir(env.work());
    command.envs(rbox.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outcome(command.stdin(Stdio::null()))
}

#[test]
fn crun_runs_containers_to_their_end() {
    let env = loaded("crun");
    let script = "id -u; pwd; echo err >&2; exit 7";
    let options = ["run", "--rm", "--network=none", "--user", "worker", "-w", "/etc", "-e", "A=1"];
    let found = with_crun(&env, &[&options[..], &[IMAGE, "sh", "-c", script]].concat());
    assert_eq!(
        (found.code, found.stdout.as_str(), found.stderr.as_str()),
        (7, "1000\n/etc\n", "err\n"),
        "{found:#?}"
    );
    for (program, code, text) in
        [("/nosuch", 127, "crun: executable file"), ("/etc/passwd", 126, "OCI runtime error: crun: ")]
    {
        let found = with_crun(&env, &["run", "--rm", "--network=none", IMAGE, program]);
        assert_eq!(found.code, code, "{found:#?}");
        assert!(found.stderr.contains(text), "{found:#?}");
    }
    let found = with_crun(&env, &["--runtime-flag", "nosuchflag", "run", "--rm", IMAGE, "true"]);
    assert_eq!(found.code, 126);
    assert!(
        found.stderr.contains("OCI runtime error: crun: ") && found.stderr.contains("nosuchflag"),
        "{found:#?}"
    );
    assert_eq!(env.ok(["ps", "-aq"]), "");
}

#[test]
fn crun_runs_detached_containers_with_a_network() {
    let env = loaded("crund");
    let script = "echo started; trap 'exit 5' TERM; while :; do sleep 0.1; done";
    let found = with_crun(&env, &["run", "-d", "--name", "d", IMAGE, "sh", "-c", script]);
    assert_eq!(found.code, 0, "{found:#?}");
    wait_until("it says so", || env.run(["logs", "d"]).stdout == "started\n");
    assert_eq!(env.ok(["inspect", "--format", "{{.OCIRuntime}} {{.State.Status}}", "d"]), "crun running");
    assert!(env.ok(["exec", "d", "ip", "-o", "addr"]).lines().count() > 2);
    assert!(
        env.ok(["exec", "d", "cat", "/etc/hosts"]).ends_with(" d"),
        "{}",
        env.ok(["exec", "d", "cat", "/etc/hosts"])
    );
    env.ok(["stop", "-t", "5", "d"]);
    assert_eq!(env.ok(["inspect", "--format", "{{.State.ExitCode}}", "d"]), "5");
    env.ok(["rm", "d"]);
}

#[test]
fn a_runtime_is_named_by_its_path() {
    let env = loaded("runtimepath");
    let runtime = copied(&env);
    let with = |args: &[&str]| {
        let mut all = vec!["--runtime", runtime.to_str().unwrap()];
        all.extend(args);
        env.run(all)
    };
    let found =
        with(&["run", "--rm", "--network=none", "--userns=keep-id", IMAGE, "sh", "-c", "id -u; exit 3"]);
    let own = rustix::process::getuid().as_raw();
    assert_eq!((found.code, found.stdout), (3, format!("{own}\n")), "{}", found.stderr);
    let found =
        with(&["run", "-d", "--name", "r", "--network=none", "-v", "data:/etc", IMAGE, "sleep", "1000"]);
    assert_eq!(found.code, 0, "{found:#?}");
    let shown = env.ok(["inspect", "--format", "{{.OCIRuntime}}", "r"]);
    assert_eq!(Path::new(&shown), runtime);
    // The volume was filled from the image; kill, wait and a new start work by the record.
    assert!(env.ok(["exec", "r", "cat", "/etc/passwd"]).contains("worker"));
    env.ok(["kill", "r"]);
    assert_eq!(env.ok(["wait", "r"]), "137");
    env.ok(["start", "r"]);
    env.ok(["rm", "-f", "-t", "0", "r"]);
    for (options, text) in [
        (&["--init"][..], "--init without --init-path"),
        (&["--userns=auto"], "a user namespace without the caller's own id"),
        (&["-v", "/tmp:/x:U"], "the mount option U"),
    ] {
        let mut args = vec!["run", "--rm", "--network=none"];
        args.extend(options);
        args.extend([IMAGE, "true"]);
        let found = with(&args);
        assert_eq!(found.code, 126, "{found:#?}");
        assert!(found.stderr.contains(text), "{found:#?}");
    }
    let found = with(&["run", "--rm", "--network=none", "-w", "/nosuch", IMAGE, "true"]);
    assert!(found.stderr.contains("workdir \"/nosuch\" does not exist on container"), "{found:#?}");
    assert_eq!(env.ok(["ps", "-aq"]), "");
}

#[test]
fn another_runtime_gives_a_terminal() {
    let env = loaded("runtimetty");
    let runtime = copied(&env);
    let rbox = env.command(["--version"]).get_program().to_owned();
    let inner = format!(
        "stty rows 33 cols 77; {} --runtime {} run -it --rm --network=none {IMAGE} sh -c 'tty; stty size'",
        rbox.to_str().unwrap(),
        runtime.display()
    );
    let mut script = Command::new("script");
    script.args(["-qec", &inner, "/dev/null"]).env_clear().current_dir(env.work());
    let command = env.command([""; 0]);
    script.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?)))).stdin(Stdio::piped());
    let found = outcome(&mut script);
    assert_eq!(found.stdout.replace('\r', ""), "/dev/pts/0\n33 77\n", "{found:#?}");
}

#[test]
fn configuration_names_runtimes_and_their_flags() {
    let env = loaded("runtimeconf");
    let runtime = copied(&env);
    fs::create_dir_all(env.config().join("containers")).unwrap();
    let configure = |text: &str| fs::write(env.config().join("containers/containers.conf"), text).unwrap();
    let run = ["run", "--rm", "--network=none", IMAGE, "echo", "hi"];
    configure(&format!(
        "[engine]\nruntime = \"mine\"\n[engine.runtimes]\nmine = [\"/nosuch\", \"{}\"]\n",
        runtime.display()
    ));
    assert_eq!(env.ok(run), "hi");
    env.ok(["create", "--name", "c", IMAGE, "true"]);
    assert_eq!(env.ok(["inspect", "--format", "{{.OCIRuntime}}", "c"]), "mine");
    // The command line counts for more, and rbox's own runtime goes by its name.
    assert_eq!(env.ok(["--runtime", "rbox", "run", "--rm", "--network=none", IMAGE, "echo", "own"]), "own");
    configure("[engine]\nruntime = \"nosuch-runtime\"\n");
    let text = env.fails(125, run);
    assert!(text.contains("default OCI runtime \"nosuch-runtime\" not found"), "{text}");
    configure("[engine.runtimes_flags]\nrbox = [\"invalidflag\"]\n");
    let text = env.fails(126, run);
    assert!(text.contains("invalidflag"), "{text}");
    assert_eq!(env.run(["--runtime-flag", "log-level=debug", "--runtime=rbox", "ps"]).code, 0);
}
