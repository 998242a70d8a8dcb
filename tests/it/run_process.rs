//! `run`: the command, its environment, its streams, its signals and its end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::env::{finish, outcome, spawn_captured, tool, wait_until};
use super::support::image::busybox_entries;
use super::support::{Outcome, TestEnv};

const IMAGE: &str = "localhost/busybox";

fn loaded(name: &str) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    env
}

fn run(env: &TestEnv, args: &[&str]) -> Outcome {
    env.run(["run", "--rm", "--network=none"].iter().chain(args))
}

#[test]
fn exit_codes_are_those_of_the_command() {
    let env = loaded("codes");
    for (args, code) in [
        (&[IMAGE, "true"][..], 0),
        (&[IMAGE, "sh", "-c", "exit 7"], 7),
        (&[IMAGE, "sh", "-c", "exit 255"], 255),
        (&["--init", IMAGE, "sh", "-c", "kill -KILL $$; sleep 5"], 137),
        (&["--init", IMAGE, "sh", "-c", "kill -TERM $$; sleep 5"], 143),
        (&[IMAGE, "/nosuch"], 127),
        (&[IMAGE, "nosuch"], 127),
        (&[IMAGE, "/etc"], 126),
        (&[IMAGE, "/etc/passwd"], 126),
        // What is closed to the user is passed over where programs are searched, and denied where it is named.
        (&["-u5", "--tmpfs=/closed:mode=700", "--env=PATH=/closed:/bin", IMAGE, "true"], 0),
        (&["-u5", "--tmpfs=/closed:mode=700", "--env=PATH=/closed:/bin", IMAGE, "nosuch"], 127),
        (&["-u5", "--tmpfs=/closed:mode=700", IMAGE, "/closed/nosuch"], 126),
        (&["--env=PATH=/etc:/bin", IMAGE, "passwd"], 126),
        (&["--nosuchflag", IMAGE, "true"], 125),
        (&["--workdir", "/etc/passwd", IMAGE, "true"], 126),
        (&["--workdir", "/nosuch", IMAGE, "true"], 126),
        (&["--name", "a/b", IMAGE, "true"], 125),
        (&["localhost/nosuch:1", "true"], 125),
    ] {
        let outcome = run(&env, args);
        assert_eq!(outcome.code, code, "{args:?}: {outcome:#?}");
        assert_eq!(outcome.stderr.is_empty(), !(125..=127).contains(&code), "{args:?}: {outcome:#?}");
        assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
    }
}

#[test]
fn streams_are_kept_apart_and_binary_safe() {
    let env = loaded("streams");
    let outcome = run(&env, &[IMAGE, "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
    let input: Vec<u8> = (0..=255_u8).cycle().take(300_000).collect();
    let command = &mut env.command(["run", "-i", "--rm", "--network=none", IMAGE, "cat"]);
    let mut child = spawn_captured(command.stdin(Stdio::piped()));
    let mut stdin = child.stdin.take().unwrap();
    let sent = input.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success() && output.stdout == input, "{} bytes came back", output.stdout.len());
}

#[test]
fn standard_input_is_empty_without_interactive() {
    let env = loaded("stdin");
    let args = ["run", "--rm", "--network=none", IMAGE, "sh", "-c", "cat; echo end"];
    assert_eq!(env.run_with_input(args, b"ignored").stdout, "end\n");
    let args = ["run", "-i", "--rm", "--network=none", IMAGE, "sh", "-c", "head -n 1; echo end"];
    assert_eq!(env.run_with_input(args, b"first\nsecond\n").stdout, "first\nend\n");
}

#[test]
fn a_gigantic_output_arrives_whole() {
    let env = loaded("output");
    let command = "dd if=/dev/zero bs=65536 count=800 2>/dev/null";
    let output = env.command(["run", "--rm", "--network=none", IMAGE, "sh", "-c", command]).output().unwrap();
    assert_eq!(output.stdout.len(), 65536 * 800);
}

#[test]
fn entry_point_command_and_environment_come_from_image_and_flags() {
    let mut env = loaded("config");
    env.set("FROM_HOST", "host").set("LEAKED", "no");
    let config = json!({
        "Env": ["PATH=/bin", "A=1", "B=2"], "Entrypoint": ["/bin/echo", "e"], "Cmd": ["c"], "WorkingDir": "/w/d",
    });
    env.load_image("localhost/config:1", &busybox_entries(), &config);
    for (args, output) in [
        (&["localhost/config:1"][..], "e c"),
        (&["localhost/config:1", "x", "y"], "e x y"),
        (&["--entrypoint", "pwd", "localhost/config:1"], "/w/d"),
        (&["--entrypoint", "", "localhost/config:1", "echo", "plain"], "plain"),
        (&["--entrypoint", "[\"echo\",\"-n\",\"list\"]", "localhost/config:1"], "list"),
        (&["-w", "/etc", "--entrypoint", "pwd", "localhost/config:1"], "/etc"),
        (&["--entrypoint", "sh", "localhost/config:1", "-c", "echo $A$B$C"], "12"),
        (
            &[
                "-e",
                "A=9",
                "--env",
                "C=3",
                "-e",
                "FROM_HOST",
                "--entrypoint",
                "sh",
                "localhost/config:1",
                "-c",
                "echo $A$B$C$FROM_HOST$LEAKED",
            ],
            "923host",
        ),
        (&["--unsetenv", "A", "--entrypoint", "sh", "localhost/config:1", "-c", "echo $A$B"], "2"),
        (&["--unsetenv-all", "--entrypoint", "/bin/sh", "localhost/config:1", "-c", "echo $A$B."], "."),
    ] {
        let outcome = run(&env, args);
        assert_eq!((outcome.stdout.trim_end(), outcome.code), (output, 0), "{args:?}: {outcome:#?}");
    }
}

#[test]
fn environment_files_are_read() {
    let mut env = loaded("envfile");
    env.set("COPIED", "from-host");
    let path = env.work().join("env");
    std::fs::write(&path, "# comment\n\nA=1\nB=two words\nCOPIED\nC='q'\n").unwrap();
    let script = "echo \"$A|$B|$COPIED|$C\"";
    let outcome = run(&env, &["--env-file", path.to_str().unwrap(), IMAGE, "sh", "-c", script]);
    assert_eq!(outcome.stdout, "1|two words|from-host|'q'\n", "{outcome:#?}");
    // As a shell's `<(command)` gives it.
    let pipe = env.work().join("pipe");
    tool("mkfifo", [&pipe]);
    let mut writer = Command::new("sh").args(["-c", "echo GIVEN=pipe > \"$0\""]).arg(&pipe).spawn().unwrap();
    let outcome = run(&env, &["--env-file", pipe.to_str().unwrap(), IMAGE, "env"]);
    writer.kill().and_then(|()| writer.wait()).unwrap();
    assert!(outcome.stdout.contains("GIVEN=pipe\n"), "{outcome:#?}");
    let outcome = run(&env, &["--env-file", "/nosuch/file", IMAGE, "true"]);
    assert_eq!(outcome.code, 125);
    assert!(outcome.stderr.contains("/nosuch/file"), "{}", outcome.stderr);
}

#[test]
fn container_environment_is_the_documented_one() {
    let env = loaded("defenv");
    let report = env.probe(&["--hostname", "box"], &["report"]);
    let found: Vec<_> =
        report["env"].as_object().unwrap().iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
    assert_eq!(
        found,
        [("HOME", "/root"), ("HOSTNAME", "box"), ("PATH", "/bin"), ("container", "podman")]
            .map(|(k, v)| (k, json!(v))),
    );
    assert_eq!(report["hostname"], "box");
    assert_eq!(report["cwd"], "/");
    assert_eq!(report["status"]["Umask"], "0022");
}

#[test]
fn host_name_is_the_short_id_by_default() {
    let env = loaded("hostname");
    env.ok(["run", "--name", "h", "--network=none", IMAGE, "sh", "-c", "hostname; cat /etc/hostname"]);
    let id = env.ok(["inspect", "--format", "{{.Id}}", "h"]);
    assert_eq!(env.ok(["logs", "h"]), format!("{0}\n{0}", &id[..12]));
}

#[test]
fn signals_to_rbox_reach_the_command() {
    let env = loaded("signals");
    let script = "trap 'echo got; exit 42' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = env
        .command(["run", "--rm", "--network=none", IMAGE, "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "got");
    assert_eq!(child.wait().unwrap().code(), Some(42));
}

#[test]
fn a_killed_client_does_not_take_the_container_along() {
    let env = loaded("clientkill");
    let mut child = env
        .command(["run", "--name", "stays", "--network=none", IMAGE, "sh", "-c", "echo ready; sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_eq!(env.ok(["inspect", "--format", "{{.State.Status}}", "stays"]), "running");
    env.ok(["rm", "-f", "-t", "0", "stays"]);
}

#[test]
fn a_detached_container_outlives_its_caller_and_keeps_its_output() {
    let env = loaded("detach");
    let id = env.ok([
        "run",
        "-d",
        "--name",
        "d",
        "--network=none",
        IMAGE,
        "sh",
        "-c",
        "echo one; echo two >&2; sleep 1000",
    ]);
    assert_eq!(id.len(), 64);
    assert!(id.bytes().all(|b| b.is_ascii_hexdigit()));
    wait_until("the log has both lines", || env.run(["logs", "d"]).stdout.contains("one"));
    let logs = env.run(["logs", "d"]);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("one\n", "two\n"));
    assert_eq!(env.ok(["exec", "d", "echo", "inside"]), "inside");
    assert_eq!(env.run(["exec", "d", "sh", "-c", "exit 9"]).code, 9);
    assert_eq!(env.run(["exec", "d", "/nosuch"]).code, 127);
    assert_eq!(env.run(["exec", "d", "/etc/passwd"]).code, 126);
    // podman's: what the kernel does not find is 127, what else goes wrong before the program 255, or 125.
    for (code, options) in [
        (255, &["--user=nosuch"][..]),
        (255, &["--user=0:nosuch"]),
        (255, &["--user=4294967295"]),
        (125, &["--user=nosuch", "--no-session"]),
        (125, &["--user=nosuch", "--detach"]),
        (127, &["--workdir=/nosuch"]),
        (127, &["--workdir=/nosuch", "--no-session"]),
        (125, &["--workdir=/nosuch", "--detach"]),
        (255, &["--workdir=/etc/passwd"]),
        (125, &["--workdir=/etc/passwd", "--no-session"]),
        (0, &["--workdir="]),
    ] {
        let words = ["exec"].iter().chain(options).chain(&["d", "true"]);
        assert_eq!(env.run(words).code, code, "{options:?}");
    }
    assert_eq!(env.ok(["ps", "--format", "{{.Names}}"]), "d");
    env.ok(["stop", "-t", "0", "d"]);
    assert_eq!(env.ok(["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "d"]), "exited 137");
    assert_eq!(env.run(["exec", "d", "true"]).code, 255);
    env.ok(["rm", "d"]);
    assert_eq!(env.ok(["ps", "-aq"]), "");
}

#[test]
fn f40_first_process_that_ends_ends_run_even_if_a_grandchild_holds_the_output() {
    let env = loaded("grandchild");
    let begin = Instant::now();
    let outcome = run(&env, &[IMAGE, "sh", "-c", "sleep 1000 & echo done"]);
    assert_eq!(outcome.stdout, "done\n");
    assert!(begin.elapsed() < Duration::from_secs(30), "waited for the grandchild");
}

#[test]
fn a_terminal_has_the_callers_size_and_line_discipline() {
    let env = loaded("tty");
    let rbox = env.command(["--version"]).get_program().to_owned();
    let inner = format!(
        "stty rows 33 cols 77; {} run -it --rm --network=none {IMAGE} sh -c 'tty; stty size; test -t 0 && test -t 2 && echo yes'",
        rbox.to_str().unwrap()
    );
    let command = env.command([""; 0]);
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &inner, "/dev/null"]).env_clear().current_dir(env.work());
    // Held open: at its end `script` would type ^D.
    script.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?)))).stdin(Stdio::piped());
    let outcome = outcome(&mut script);
    assert_eq!(outcome.stdout.replace('\r', ""), "/dev/pts/0\n33 77\nyes\n", "{outcome:#?}");
}

#[test]
fn a_terminal_is_refused_only_where_podman_refuses_it() {
    let env = loaded("notty");
    // Without a terminal outside, -t still makes one inside.
    let outcome = run(&env, &["-t", IMAGE, "sh", "-c", "test -t 1 && echo yes"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "yes\r\n"), "{outcome:#?}");
}

#[test]
fn f39_init_reaps_orphans_and_passes_signals() {
    let env = loaded("init");
    let script = "(sleep 0.1 &) ; sleep 0.5; ps -o pid,stat,comm | grep -c ' Z' ; test $$ != 1 && echo child";
    let outcome = run(&env, &["--init", IMAGE, "sh", "-c", script]);
    assert_eq!(outcome.stdout, "0\nchild\n", "{outcome:#?}");
}

#[test]
fn names_are_unique_and_free_again_after_rm() {
    let env = loaded("names");
    env.ok(["run", "--name", "n", "--network=none", IMAGE, "true"]);
    let outcome = env.run(["run", "--name", "n", "--network=none", IMAGE, "true"]);
    assert_eq!(outcome.code, 125);
    assert!(outcome.stderr.contains("already in use"), "{}", outcome.stderr);
    env.ok(["run", "--replace", "--name", "n", "--network=none", IMAGE, "true"]);
    env.ok(["rm", "n"]);
    env.ok(["run", "--rm", "--name", "n", "--network=none", IMAGE, "true"]);
    assert_eq!(env.ok(["ps", "-aq"]), "");
}

#[test]
fn id_files_are_replaced_and_go_with_the_container() {
    let env = loaded("cidfile");
    let path = env.work().join("cid");
    std::fs::write(&path, "x".repeat(500)).unwrap();
    env.ok(["run", "--cidfile", path.to_str().unwrap(), "--network=none", IMAGE, "true"]);
    let id = std::fs::read_to_string(&path).unwrap();
    assert_eq!(env.ok(["ps", "-aq", "--no-trunc"]), id.trim_end());
    env.ok(["rm", "--cidfile", path.to_str().unwrap()]);
    assert!(!path.exists(), "the file stayed behind");
    assert_eq!(env.ok(["ps", "-aq"]), "");
}

#[test]
fn a_plain_folder_runs_as_root_file_system() {
    let env = loaded("rootfs");
    let root = env.work().join("root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.join("bin/sh")).unwrap();
    let text = root.to_str().unwrap();
    let script = "busybox id -u; echo x > /written; busybox pwd";
    assert_eq!(env.ok(["run", "--rm", "--network=none", "--rootfs", text, "/bin/sh", "-c", script]), "0\n/");
    assert!(root.join("written").exists());
    std::fs::remove_file(root.join("written")).unwrap();
    let overlaid = format!("{text}:O");
    env.ok(["run", "--rm", "--network=none", "--rootfs", &overlaid, "/bin/sh", "-c", script]);
    assert!(!root.join("written").exists(), "an overlay must leave the folder alone");
}

#[test]
fn time_zone_host_name_and_limits_are_set() {
    let env = loaded("misc");
    let outcome = run(
        &env,
        &["--ulimit", "nofile=64:128", "--umask", "0077", IMAGE, "sh", "-c", "ulimit -Sn; ulimit -Hn; umask"],
    );
    assert_eq!(outcome.stdout, "64\n128\n0077\n", "{outcome:#?}");
    let outcome =
        run(&env, &["--sysctl", "net.ipv4.ip_forward=1", IMAGE, "cat", "/proc/sys/net/ipv4/ip_forward"]);
    assert_eq!(outcome.stdout, "1\n", "{outcome:#?}");
}

#[test]
fn twenty_at_once_all_succeed() {
    let env = loaded("twenty");
    let commands: Vec<_> = (0..20)
        .map(|number| {
            let mut command =
                env.command(["run", "--rm", "--network=none", IMAGE, "echo", &number.to_string()]);
            (spawn_captured(command.stdin(Stdio::null())), command, number)
        })
        .collect();
    for (child, command, number) in commands {
        let outcome = finish(child, &command);
        assert_eq!((outcome.code, outcome.stdout), (0, format!("{number}\n")), "{}", outcome.stderr);
    }
    assert_eq!(env.ok(["ps", "-aq"]), "");
}

#[test]
fn the_image_may_be_named_by_id_tag_or_short_name() {
    let env = loaded("byname");
    let id = env.ok(["images", "-q", "--no-trunc"]);
    let id = id.trim_start_matches("sha256:");
    for name in ["busybox", "localhost/busybox", "localhost/busybox:latest", id, &id[..12]] {
        assert_eq!(run(&env, &[name, "echo", "hi"]).stdout, "hi\n", "{name}");
    }
}

#[test]
fn hooks_of_directories_run_at_every_start() {
    let env = loaded("hooks");
    let dir = env.work().join("hooks.d");
    std::fs::create_dir(&dir).unwrap();
    let log = env.work().join("log");
    let script = env.work().join("hook");
    let text = format!("#!/bin/sh\ngrep -o '\"status\":\"[a-z]*\"' >> '{}'\n", log.display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let hook = |when: Value, stages: &[&str]| {
        json!({"version": "1.0.0", "hook": {"path": script}, "when": when, "stages": stages}).to_string()
    };
    let write = |name: &str, text: String| std::fs::write(dir.join(name), text).unwrap();
    write("a.json", hook(json!({"always": true}), &["prestart", "poststop"]));
    write("b.json", hook(json!({"commands": ["^nosuch$"]}), &["prestart"]));
    write("ignored.txt", "no hook".to_owned());
    let hooks = ["--hooks-dir", dir.to_str().unwrap()];
    let run = |args: &[&str]| env.run(hooks.iter().chain(args));
    let outcome = run(&["run", "--name", "h", "--network=none", IMAGE, "true"]);
    assert_eq!(outcome.code, 0, "{outcome:#?}");
    env.ok(["start", "-a", "h"]);
    let once = "\"status\":\"created\"\n\"status\":\"stopped\"\n";
    assert_eq!(std::fs::read_to_string(&log).unwrap(), once.repeat(2));
    for bad in [
        "{",
        "{}",
        &hook(json!({"always": true}), &["sometime"]),
        &hook(json!({"commands": ["("]}), &["prestart"]),
    ] {
        write("c.json", bad.to_owned());
        let outcome = run(&["run", "--rm", "--network=none", IMAGE, "true"]);
        assert_eq!(outcome.code, 125, "{outcome:#?}");
        assert!(outcome.stderr.contains("parsing hook") && outcome.stderr.contains("c.json"), "{outcome:#?}");
    }
    assert_eq!(env.ok(["ps", "-aq"]).lines().count(), 1);
}

/// Until its program is executed, the first process of a container may be at the host's root: nobody joins it there.
#[test]
fn who_comes_while_a_container_is_made_waits_for_its_program() {
    let env = loaded("early");
    let dir = env.work().join("hooks.d");
    std::fs::create_dir(&dir).unwrap();
    let (made, go) = (env.work().join("made"), env.work().join("go"));
    let script = env.work().join("hook");
    let text = format!(
        "#!/bin/sh\n: > '{}'; until [ -e '{}' ]; do sleep 0.05; done\n",
        made.display(),
        go.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let hook = json!({"version": "1.0.0", "hook": {"path": script}, "when": {"always": true},
                      "stages": ["createContainer"]});
    std::fs::write(dir.join("a.json"), hook.to_string()).unwrap();
    let run = [
        "--hooks-dir",
        dir.to_str().unwrap(),
        "run",
        "-d",
        "--name=h",
        "--network=none",
        IMAGE,
        "sleep",
        "1000",
    ];
    let mut started = env.command(run).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_until("the container is being made", || made.exists());
    wait_until("the state names it", || env.ok(["ps", "--format={{.Names}}"]) == "h");
    let own = env.work().join("file");
    std::fs::write(&own, "x").unwrap();
    // A directory that is only on the host.
    let target = format!("h:{}/copied", env.work().display());
    let outside = format!("test -e {}", env.work().display());
    let waiting = [
        env.command(["exec", "h", "sh", "-c", &format!("{outside} && echo outside || cat /proc/1/comm")]),
        env.command(["cp", own.to_str().unwrap(), &target]),
        env.command(["top", "h", "user,comm"]),
    ]
    .map(|mut command| {
        let streams = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        streams.spawn().unwrap()
    });
    std::thread::sleep(std::time::Duration::from_millis(500));
    std::fs::write(&go, "").unwrap();
    let [exec, copy, top] = waiting.map(|child| child.wait_with_output().unwrap());
    assert_eq!((exec.status.code(), exec.stdout.as_slice()), (Some(0), &b"sleep\n"[..]), "{exec:?}");
    assert!(!copy.status.success() && !env.work().join("copied").exists(), "{copy:?}");
    let rows = String::from_utf8(top.stdout).unwrap();
    let rows: Vec<Vec<&str>> = rows.lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows, [["root", "sleep"]]);
    assert!(started.wait().unwrap().success());
    env.ok(["rm", "-f", "-t", "0", "h"]);
}

#[test]
fn default_mounts_are_seen_by_every_container() {
    let env = loaded("mountsconf");
    let secrets = env.work().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    std::fs::write(secrets.join("key"), "value\n").unwrap();
    let file = env.work().join("mounts.conf");
    let given = ["--default-mounts-file", file.to_str().unwrap(), "run", "--rm", "--network=none", IMAGE];
    let run = |args: &[&str]| env.ok(given.iter().chain(args));
    assert_eq!(run(&["echo", "no file"]), "no file");
    std::fs::write(&file, format!("# comment\n/nosuch\n{}:/run/secrets\n", secrets.display())).unwrap();
    assert_eq!(
        run(&["sh", "-c", "cat /run/secrets/key; touch /run/secrets/x 2>/dev/null || echo ro"]),
        "value\nro"
    );
    std::fs::create_dir_all(env.config().join("containers")).unwrap();
    std::fs::copy(&file, env.config().join("containers/mounts.conf")).unwrap();
    assert_eq!(env.ok(["run", "--rm", "--network=none", IMAGE, "cat", "/run/secrets/key"]), "value");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let env = loaded("refused");
    for (args, why) in [
        (&["--rm", "--restart=always"][..], "the --rm option conflicts with --restart"),
        (&["--rm", "--restart=on-failure:3"], "the --rm option conflicts with --restart"),
        (&["--init", "--init-path=/nosuch"], "container-init binary not found on the host: stat /nosuch"),
    ] {
        let args = [&["run", "-d", "--network=none"], args, &[IMAGE, "true"]].concat();
        let stderr = env.fails(125, args);
        assert!(stderr.contains(why), "{why}: {stderr}");
    }
    assert_eq!(env.ok(["ps", "-aq"]), "");
    // Nobody is there to be asked.
    let stderr = env.fails(125, ["container", "prune"]);
    assert!(stderr.contains("EOF") && stderr.contains("--force"), "{stderr}");
    env.ok(["run", "--rm", "--restart=no", "--network=none", IMAGE, "true"]);
}
