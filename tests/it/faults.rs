//! Processes that are killed, stopped or cut off at a bad moment, and hosts that come back from a crash.
//! Names of tests carry the numbers of the fault catalogue. The sweep over every point is `tests/faults`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::support::TestEnv;
use super::support::env::{finish, spawn_captured, wait_until};
use super::support::fake::{Answer, FakeRegistry};
use super::support::image::{
    Entry, OciImage, TAR_GZIP, busybox_config, busybox_entries, dir, file, gzip, layer,
};

const IMAGE: &str = "localhost/busybox";

fn loaded(name: &str) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    env
}

fn pid(number: &str) -> Pid {
    Pid::from_raw(number.trim().parse().unwrap()).unwrap()
}

fn init_of(env: &TestEnv, name: &str) -> Pid {
    pid(&env.ok(["inspect", "--format", "{{.State.Pid}}", name]))
}

fn parent_of(process: Pid) -> Pid {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).unwrap();
    pid(status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap())
}

fn is_there(process: Pid) -> bool {
    Path::new(&format!("/proc/{}/stat", process.as_raw_nonzero())).exists()
}

fn status(env: &TestEnv, name: &str) -> String {
    env.ok(["inspect", "--format", "{{.State.Status}}", name])
}

/// Every process whose command line has `text`.
fn processes_with(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(text) && entry.file_name() != *std::process::id().to_string() {
            found.push(line);
        }
    }
    found
}

fn container_dir(env: &TestEnv, name: &str) -> PathBuf {
    let id = env.ok(["inspect", "--format", "{{.Id}}", name]);
    env.data().join("containers").join(id)
}

/// What a power cut or a reboot leaves: no process, another boot, no run folder.
fn reboot(env: &TestEnv, names: &[&str]) {
    for name in names {
        let state = container_dir(env, name).join("state.json");
        let init = init_of(env, name);
        kill_process(parent_of(init), Signal::KILL).unwrap();
        let _ = kill_process(init, Signal::KILL);
        wait_until("the container's process is gone", || !is_there(init));
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let text = fs::read_to_string(&state).unwrap();
        assert!(text.contains(boot.trim()), "{text}");
        fs::write(&state, text.replace(boot.trim(), "00000000-0000-4000-8000-000000000000")).unwrap();
    }
    fs::remove_dir_all(env.run_dir()).unwrap();
}

#[test]
fn f02_interrupted_pulls_say_so_and_leave_whole_images_or_none() {
    let env = TestEnv::new("f02");
    let plain = [layer(&busybox_entries()), layer(&[file("two", &"2".repeat(500_000))])];
    let mut oci = OciImage::new(&plain, &busybox_config());
    for (slot, plain) in oci.layers.iter_mut().zip(&plain) {
        *slot = (gzip(plain), TAR_GZIP);
    }
    oci.describe();
    let slow = |_: &_, _, mut answer: Answer| {
        answer.pause = Some((64 << 10, Duration::from_millis(4)));
        answer
    };
    let registry = FakeRegistry::serve(&oci, Box::new(slow));
    let args = ["pull", "-q", "--tls-verify=false", "--retry=0", &registry.image()];
    let mut interrupted = 0;
    for round in 0..20 {
        let mut command = env.command(args);
        let child = spawn_captured(command.stdin(Stdio::null()));
        std::thread::sleep(Duration::from_millis(3 + round * 9));
        let _ = kill_process(Pid::from_child(&child), Signal::INT);
        if round % 2 == 1 {
            let _ = kill_process(Pid::from_child(&child), Signal::INT);
        }
        let outcome = finish(child, &command);
        match outcome.code {
            130 => interrupted += 1,
            0 => {}
            _ => panic!("{round}: {outcome:#?}"),
        }
        assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
        if env.run(["image", "exists", &registry.image()]).code == 0 {
            let look = ["run", "--rm", "--network=none", &registry.image(), "wc", "-c", "/two"];
            assert_eq!(env.ok(look), "500000 /two");
            env.ok(["rmi", &registry.image()]);
        }
    }
    assert!(interrupted >= 5, "only {interrupted} of the pulls were interrupted");
    env.ok(args);
    assert_eq!(env.ok(["run", "--rm", "--network=none", &registry.image(), "echo", "whole"]), "whole");
    assert!(env.leaks().is_empty(), "{:?}", env.leaks());
}

#[test]
fn f10_f23_after_a_reboot_containers_have_ended_for_a_reason_and_start_again() {
    let env = loaded("f23");
    let volume = format!("-v={}:/shared", env.work().display());
    for name in ["a", "b"] {
        let script = "echo begun >> /kept; cat /kept; sleep 1000";
        env.ok(["run", "-d", "--name", name, "--network=none", &volume, IMAGE, "sh", "-c", script]);
        wait_until("it has begun", || !env.ok(["logs", name]).is_empty());
    }
    // What the kernel marks a mounted overlay with, and refuses to mount again until somebody removes it.
    let mark = "work/work/incompat/volatile/dirty";
    reboot(&env, &["a", "b"]);
    for name in ["a", "b"] {
        let seen =
            env.ok(["inspect", "--format", "{{.State.Status}} {{.State.Running}} {{.State.Pid}}", name]);
        assert_eq!(seen, "exited false 0");
        let reason = env.ok(["inspect", "--format", "{{.State.Error}}", name]);
        assert!(reason.contains("restarted"), "{reason}");
        assert_ne!(env.ok(["inspect", "--format", "{{.State.ExitCode}}", name]), "0");
    }
    assert!(env.ok(["ps", "-a", "--format", "{{.Status}}"]).lines().all(|line| line.starts_with("Exited")));
    // That is no damage.
    assert_eq!(env.ok(["system", "check", "--quick"]), "");
    // Its folder is closed to everybody but root of the user's namespace.
    let marked = container_dir(&env, "a").join(mark);
    env.ok(["unshare", "test", "-e", marked.to_str().unwrap()]);
    // One is used again, the other removed.
    env.ok(["start", "a"]);
    assert_eq!(status(&env, "a"), "running");
    wait_until("what was written is kept", || env.ok(["exec", "a", "cat", "/kept"]) == "begun\nbegun");
    env.ok(["rm", "b"]);
    env.ok(["rm", "-f", "-t", "0", "a"]);
}

#[test]
fn f25_the_run_folder_of_others_is_left_alone() {
    let env = loaded("f25other");
    let above = env.run_dir().parent().unwrap().to_owned();
    fs::write(above.join("bus"), "of somebody else").unwrap();
    env.ok(["run", "-d", "--name", "c", "--network=none", IMAGE, "sleep", "1000"]);
    fs::remove_dir_all(env.run_dir()).unwrap();
    // The container is as usable as before.
    assert_eq!(env.ok(["exec", "c", "echo", "in"]), "in");
    assert_eq!(env.ok(["ps", "--format", "{{.Names}}"]), "c");
    env.ok(["stop", "-t", "0", "c"]);
    env.ok(["start", "c"]);
    assert_eq!(env.ok(["exec", "c", "echo", "again"]), "again");
    env.ok(["rm", "-f", "-t", "0", "c"]);
    env.ok(["system", "reset", "--force"]);
    assert_eq!(fs::read_to_string(above.join("bus")).unwrap(), "of somebody else");
}

#[test]
fn f29_a_stop_that_is_killed_with_the_monitor_blocks_nothing() {
    let env = loaded("f29");
    let script = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    for next in ["stop", "start", "rm"] {
        env.ok(["run", "-d", "--name", "c", "--network=none", IMAGE, "sh", "-c", script]);
        wait_until("it ignores the signal", || env.ok(["logs", "c"]).contains("ready"));
        let init = init_of(&env, "c");
        let mut stop = env.command(["stop", "-t", "60", "c"]).stdin(Stdio::null()).spawn().unwrap();
        wait_until("it is being stopped", || status(&env, "c") == "stopping");
        kill_process(parent_of(init), Signal::KILL).unwrap();
        stop.kill().unwrap();
        stop.wait().unwrap();
        assert_ne!(status(&env, "c"), "stopping", "nobody is at it any more");
        match next {
            "stop" => {
                let outcome = env.run(["stop", "-t", "0", "c"]);
                assert!(outcome.code == 0 || outcome.stderr.contains("exited prematurely"), "{outcome:#?}");
                wait_until("its process is gone", || !is_there(init));
                assert_ne!(status(&env, "c"), "running");
            }
            "start" => {
                let outcome = env.run(["start", "c"]);
                assert_eq!(outcome.code, 0, "{outcome:#?}");
                assert_eq!(status(&env, "c"), "running");
            }
            _ => {}
        }
        env.ok(["rm", "-f", "-t", "0", "c"]);
        assert_eq!(env.ok(["ps", "-aq"]), "");
        wait_until("its process is gone", || !is_there(init));
    }
}

#[test]
fn f36_many_execs_leave_no_record_and_no_process() {
    /// No other test has it in a command line.
    const NAME: &str = "f36-many-execs";
    let env = loaded("f36");
    env.ok(["run", "-d", "--name", NAME, "--network=none", IMAGE, "sleep", "1000"]);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let env = &env;
            scope.spawn(move || {
                for round in 0..25 {
                    let (command, code) =
                        if (worker + round) % 2 == 0 { ("true", 0) } else { ("/nosuch", 127) };
                    let outcome = env.run(["exec", NAME, command]);
                    assert_eq!(outcome.code, code, "{outcome:#?}");
                }
            });
        }
    });
    assert_eq!(env.ok(["exec", "-d", NAME, "true"]).len(), 64);
    wait_until("no record is left", || {
        env.ok(["inspect", "--format", "{{len .ExecIDs}}", NAME]) == "0"
            && fs::read_dir(container_dir(&env, NAME).join("exec")).unwrap().count() == 0
    });
    // Who stood beside the detached one ends a moment after its record.
    wait_until("no process is left", || !processes_with(NAME).iter().any(|line| line.contains(" exec ")));
    assert_eq!(env.ok(["exec", NAME, "ls", "/proc"]).lines().filter(|l| l.parse::<u32>().is_ok()).count(), 2);
    env.ok(["rm", "-f", "-t", "0", NAME]);
}

#[test]
fn f38_a_killed_exec_client_holds_nothing_up() {
    let env = loaded("f38");
    env.ok(["run", "-d", "--name", "c", "--network=none", "--init", IMAGE, "sleep", "1000"]);
    let mut command = env.command(["exec", "c", "sh", "-c", "echo ready; sleep 2"]);
    let mut client = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    client.kill().unwrap();
    client.wait().unwrap();
    wait_until("its process and its record are gone", || {
        env.ok(["inspect", "--format", "{{len .ExecIDs}}", "c"]) == "0"
            && !env.ok(["exec", "c", "ps", "-o", "args"]).contains("sleep 2")
    });
    assert!(!env.ok(["exec", "c", "ps", "-o", "stat"]).contains('Z'), "a zombie is left in the container");
    // One that runs for ever does not keep the container from being removed.
    let mut command = env.command(["exec", "c", "sh", "-c", "echo ready; sleep 1000"]);
    let mut client = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    client.kill().unwrap();
    client.wait().unwrap();
    let begin = Instant::now();
    env.ok(["rm", "-f", "-t", "0", "c"]);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

#[test]
fn f45_records_of_a_later_version_are_refused_and_block_nobody_else() {
    let env = loaded("f45");
    for name in ["new", "old"] {
        env.ok(["create", "--name", name, "--network=none", IMAGE, "echo", name]);
    }
    let record = container_dir(&env, "new").join("record.json");
    let kept = fs::read_to_string(&record).unwrap();
    assert!(kept.contains("\"version\":1"), "{kept}");
    for damaged in
        [kept.replace("\"version\":1", "\"version\":99"), kept[..kept.len() / 2].to_owned(), String::new()]
    {
        fs::write(&record, &damaged).unwrap();
        assert!(env.ok(["ps", "-a", "--format", "{{.Names}}"]).lines().any(|name| name == "old"));
        assert_eq!(env.ok(["start", "-a", "old"]), "old");
        let outcome = env.run(["start", "new"]);
        assert_eq!(outcome.code, 125, "{outcome:#?}");
        assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
        if damaged.contains("\"version\":99") {
            assert!(outcome.stderr.contains("99"), "the version is named: {outcome:#?}");
        }
    }
    fs::write(&record, kept).unwrap();
    assert_eq!(env.ok(["start", "-a", "new"]), "new");
}

#[test]
fn f46_files_of_any_owner_and_mode_are_removed() {
    let env = TestEnv::new("f46");
    let sealed = |name: &str| Entry::Owned(33, 34, Box::new(Entry::Dir(name.into(), 0)));
    let mut entries = busybox_entries();
    entries.extend([
        dir("srv"),
        sealed("srv/sealed"),
        Entry::Owned(33, 34, Box::new(file("srv/sealed/file", "x"))),
        sealed("srv/sealed/deep"),
        Entry::Owned(99, 99, Box::new(file("srv/sealed/deep/file", "x"))),
    ]);
    env.load_image("localhost/busybox:latest", &entries, &busybox_config());
    let script = "mkdir -p /d/e/f && touch /d/e/f/x && chown -R 1000:1000 /d && chmod 0 /d/e/f /d/e /d; \
                  mkdir /r && touch /r/x && chmod 0555 /r";
    env.ok(["run", "--name", "c", "--network=none", IMAGE, "sh", "-c", script]);
    let dir = container_dir(&env, "c");
    env.ok(["rm", "c"]);
    assert!(!dir.exists());
    env.ok(["run", "--rm", "--network=none", IMAGE, "sh", "-c", script]);
    env.ok(["rmi", IMAGE]);
    assert_eq!(fs::read_dir(env.data().join("layers")).unwrap().count(), 0);
    assert!(env.leaks().is_empty(), "{:?}", env.leaks());
    // The same by one command.
    env.load_image("localhost/busybox:latest", &entries, &busybox_config());
    env.ok(["run", "--name", "c", "--network=none", IMAGE, "sh", "-c", script]);
    env.ok(["system", "reset", "--force"]);
    assert_eq!(env.ok(["images", "-q"]), "");
    assert!(!dir.exists());
}

#[test]
fn f48_killing_the_whole_process_group_leaves_nothing() {
    let env = loaded("f48");
    let marker = env.run_dir().display().to_string();
    for round in 0..15_u64 {
        let mut command = env.command(["run", "-d", "--name", "c", IMAGE, "sleep", "1000"]);
        let child = spawn_captured(command.stdin(Stdio::null()).process_group(0));
        std::thread::sleep(Duration::from_millis(round * 9));
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        finish(child, &command);
        // The next command works, whatever there is by now.
        env.ok(["ps", "-a"]);
        env.ok(["rm", "-f", "--ignore", "-t", "0", "c"]);
    }
    env.ok(["run", "--rm", "--name", "c", IMAGE, "true"]);
    env.ok(["rm", "--all", "--force", "-t", "0"]);
    wait_until("pasta is gone", || processes_with(&marker).is_empty());
}

#[test]
fn f54_a_terminal_that_closes_leaves_the_container_and_one_that_stays_is_restored() {
    let env = loaded("f54");
    let rbox = env.command([""; 0]);
    let program = rbox.get_program().to_str().unwrap().to_owned();
    let in_terminal = |line: &str| {
        let mut script = Command::new("script");
        script.args(["-qec", line, "/dev/null"]).env_clear().current_dir(env.work());
        script.envs(rbox.get_envs().filter_map(|(k, v)| Some((k, v?)))).stdin(Stdio::piped());
        script
    };
    // Settings of the terminal are as before, however the container ends.
    for end in ["true", "kill -9 $$", "stty raw -echo; exit 3"] {
        let line = format!(
            "before=$(stty -g); {program} run -it --rm --network=none {IMAGE} sh -c '{end}'; test \"$before\" = \"$(stty -g)\" && echo same"
        );
        let mut command = in_terminal(&line);
        let child = spawn_captured(&mut command);
        let outcome = finish(child, &command);
        assert!(outcome.stdout.contains("same"), "{end}: {outcome:#?}");
    }
    // The terminal goes away: the container stays, and can be used and removed.
    let line = format!("{program} run -it --name c --network=none {IMAGE} sh -c 'echo ready; sleep 1000'");
    let mut command = in_terminal(&line);
    let mut child = spawn_captured(&mut command);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap().trim(), "ready");
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the client has gone", || processes_with("run -it --name c").is_empty());
    assert_eq!(status(&env, "c"), "running");
    assert_eq!(env.ok(["exec", "c", "echo", "in"]), "in");
    env.ok(["rm", "-f", "-t", "0", "c"]);
}

#[test]
fn f19_commands_at_once_on_the_same_names_never_wedge() {
    let env = loaded("f19");
    let begin = Instant::now();
    let last = Duration::from_secs(12);
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let env = &env;
            scope.spawn(move || {
                // A generator of its own, so that a run can be repeated.
                let mut seed = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(worker + 1);
                while begin.elapsed() < last {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    let name = ["a", "b", "c"][(seed % 3) as usize];
                    let args: &[&str] = match (seed >> 8) % 10 {
                        0 | 1 => &["run", "-d", "--name", name, "--network=none", IMAGE, "sleep", "1000"],
                        2 => &["create", "--name", name, "--network=none", IMAGE, "true"],
                        3 => &["start", name],
                        4 => &["stop", "-t", "0", name],
                        5 => &["kill", name],
                        6 => &["rm", "-f", "-t", "0", name],
                        7 => &["exec", name, "true"],
                        8 => &["ps", "-a"],
                        _ => &["run", "--rm", "--name", name, "--network=none", IMAGE, "true"],
                    };
                    let asked = Instant::now();
                    let outcome = env.run(args);
                    assert!(asked.elapsed() < Duration::from_secs(30), "{args:?} took {:?}", asked.elapsed());
                    assert!(!outcome.stderr.contains("panicked"), "{args:?}: {outcome:#?}");
                    // 137: another worker has killed it.
                    assert!(
                        outcome.code == 0 || outcome.code == 137 || !outcome.stderr.is_empty(),
                        "{args:?}: {outcome:#?}"
                    );
                    assert!(args[0] != "ps" || outcome.code == 0, "{outcome:#?}");
                }
            });
        }
    });
    env.ok(["rm", "--all", "--force", "-t", "0"]);
    assert_eq!(env.ok(["ps", "-aq"]), "");
    assert_eq!(fs::read_dir(env.data().join("names")).unwrap().count(), 0, "a name is left");
    assert_eq!(fs::read_dir(env.data().join("containers")).unwrap().count(), 0, "a container is left");
    assert_eq!(env.ok(["run", "--rm", "--name", "a", "--network=none", IMAGE, "echo", "fine"]), "fine");
}

#[test]
fn s101_other_users_see_no_secrets_of_containers() {
    let env = loaded("s101");
    let secret = format!("SECRET-{}", std::process::id());
    let variable = format!("PASSWORD={secret}");
    env.ok(["run", "-d", "--name", "c", "-e", &variable, "--network=none", IMAGE, "sleep", "1000"]);
    env.ok(["exec", "-d", "-e", &variable, "c", "sleep", "1000"]);
    assert_eq!(env.ok(["exec", "c", "sh", "-c", "echo $PASSWORD"]), secret, "the test shows nothing");
    wait_until("no argument has it", || processes_with(&secret).is_empty());
    // Nor can others read any file in which it stands.
    for base in [env.data(), env.run_dir()] {
        let mode = fs::metadata(&base).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", base.display());
    }
    env.ok(["rm", "-f", "-t", "0", "c"]);
}
