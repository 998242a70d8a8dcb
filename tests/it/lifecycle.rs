//! `init`, `container clone|cleanup`, `image mount`, `diff` of two, `commit --config`: what comes after and beside `run`.

use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::support::TestEnv;
use super::support::env::wait_until;

const IMAGE: &str = "localhost/busybox";

fn status(env: &TestEnv, name: &str) -> String {
    env.ok(["inspect", "--format={{.State.Status}}", name])
}

#[test]
fn an_initialized_container_has_everything_but_its_program() {
    let env = TestEnv::new("init");
    env.busybox();
    let script = "echo out; exit 3";
    env.ok(["create", "--network=none", "--name=c", IMAGE, "sh", "-c", script]);
    assert_eq!(env.ok(["init", "c"]), "c");
    assert_eq!(status(&env, "c"), "initialized");
    assert_eq!(env.ok(["ps", "-a", "--format={{.Status}}"]), "Initialized");
    let pid = env.ok(["inspect", "--format={{.State.Pid}}", "c"]);
    let namespaces = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    assert_ne!(namespaces(&pid), namespaces("self"));
    assert!(env.fails(125, ["init", "c"]).contains("has already been created in runtime"));
    assert!(env.fails(255, ["exec", "c", "true"]).contains("can only create exec sessions on running"));
    assert!(env.fails(125, ["kill", "c"]).contains("can only kill running"));
    let outcome = env.run(["start", "--attach", "c"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (3, "out\n"));
    assert_eq!(env.ok(["logs", "c"]), "out");
    let told = env.ok(["events", "--stream=false", "--filter=container=c", "--format={{.Status}}"]);
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told[..4], ["create", "init", "attach", "start"], "{told:?}");
}

#[test]
fn an_initialized_container_can_be_dropped_at_any_moment() {
    let env = TestEnv::new("init-end");
    env.busybox();
    env.ok(["create", "--network=none", "--name=c", IMAGE, "sleep", "100"]);
    env.ok(["init", "c"]);
    let monitor = env.ok(["inspect", "--format={{.State.ConmonPid}}", "c"]);
    assert!(Command::new("kill").args(["-9", &monitor]).status().unwrap().success());
    // Nothing has happened yet.
    wait_until("the end", || status(&env, "c") == "created");
    env.ok(["start", "c"]);
    assert_eq!(status(&env, "c"), "running");
    assert_eq!(env.ok(["init", "--all"]), "");
    env.ok(["stop", "-t0", "c"]);
    env.ok(["init", "c"]);
    env.ok(["stop", "c"]);
    assert_eq!(status(&env, "c"), "exited");
    env.ok(["init", "--all"]);
    assert_eq!(env.ok(["rm", "c"]), "c");
    env.ok(["create", "--network=none", "--name=bad", IMAGE, "nosuch"]);
    assert!(env.fails(125, ["init", "bad"]).contains("nosuch"));
    assert_eq!(status(&env, "bad"), "created");
    env.ok(["rm", "bad"]);
}

#[test]
fn what_depends_on_an_initialized_container_starts_it() {
    let env = TestEnv::new("init-depends");
    env.busybox();
    env.ok(["create", "--network=none", "--name=a", IMAGE, "sleep", "100"]);
    env.ok(["init", "a"]);
    env.ok(["run", "-d", "--network=container:a", "--name=b", IMAGE, "sleep", "100"]);
    assert_eq!(status(&env, "a"), "running");
    env.ok(["rm", "-f", "-t0", "b", "a"]);
}

#[test]
fn a_clone_is_made_as_the_other_was() {
    let env = TestEnv::new("clone");
    env.busybox();
    let command = ["create", "--network=none", "--name=o", "-e", "A=1", "--label=x=y", "--volume=v:/v"];
    env.ok(command.iter().copied().chain([IMAGE, "sh", "-c", "echo $A; cat /own; echo 1 >> /v/f; cat /v/f"]));
    env.ok(["start", "-a", "o"]);
    env.ok(["container", "clone", "o"]);
    env.ok(["container", "clone", "o"]);
    let shown = "--format={{.Name}} {{.Config.Labels}}";
    assert_eq!(env.ok(["inspect", shown, "o-clone", "o-clone1"]), "o-clone map[x:y]\no-clone1 map[x:y]");
    // The volume is the same, the root is not.
    assert_eq!(env.ok(["start", "-a", "o-clone"]), "1\n1\n1");
    env.ok(["tag", IMAGE, "localhost/other"]);
    env.ok(["container", "clone", "--destroy", "o", "new", "localhost/other"]);
    assert_eq!(env.ok(["inspect", "--format={{.ImageName}}", "new"]), "localhost/other:latest");
    env.fails(1, ["container", "exists", "o"]);
    assert!(env.fails(125, ["container", "clone", "-f", "new"]).contains("cannot set --force without"));
    assert!(env.fails(125, ["container", "clone", "o"]).contains("no such container"));
    assert!(env.fails(125, ["container", "clone", "new", "o-clone"]).contains("already in use"));
    env.ok(["run", "-d", "--network=none", "--name=r", IMAGE, "sleep", "100"]);
    assert!(!env.fails(125, ["container", "clone", "--destroy", "r"]).is_empty());
    env.ok(["container", "clone", "--destroy", "--force", "--run", "r", "r2"]);
    assert_eq!(status(&env, "r2"), "running");
    env.ok(["rm", "-f", "-t0", "r2"]);
}

#[test]
fn cleanup_is_for_what_does_not_run() {
    let env = TestEnv::new("cleanup");
    env.busybox();
    let id = env.ok(["run", "-d", "--network=none", "--name=c", IMAGE, "sleep", "100"]);
    assert!(env.fails(125, ["container", "cleanup", "c"]).contains("refusing to clean up"));
    assert_eq!(env.ok(["container", "cleanup", "--all"]), "");
    let monitor = env.ok(["inspect", "--format={{.State.ConmonPid}}", "c"]);
    let init = env.ok(["inspect", "--format={{.State.Pid}}", "c"]);
    assert!(Command::new("kill").args(["-9", &monitor, &init]).status().unwrap().success());
    wait_until("the end", || status(&env, "c") == "exited");
    assert!(env.run_dir().join("containers").join(&id).exists());
    assert_eq!(env.ok(["container", "cleanup", "c"]), id);
    assert!(!env.run_dir().join("containers").join(&id).exists());
    assert_eq!(env.ok(["container", "cleanup", "--rm", "c"]), id);
    env.fails(1, ["container", "exists", "c"]);
}

/// Starts a container that is to be removed at its end, and takes it down with its monitor.
fn abandon(env: &TestEnv, name: &str) -> String {
    let id =
        env.ok(["run", "-d", "--rm", "--network=none", "--name", name, "-v/data", IMAGE, "sleep", "100"]);
    let monitor = env.ok(["inspect", "--format={{.State.ConmonPid}}", name]);
    let init = env.ok(["inspect", "--format={{.State.Pid}}", name]);
    assert!(Command::new("kill").args(["-9", &monitor, &init]).status().unwrap().success());
    wait_until("the end", || status(env, name) == "exited");
    id
}

#[test]
fn f30_a_container_that_cannot_remove_itself_is_removed_by_the_next_command() {
    let env = TestEnv::new("abandoned");
    env.busybox();
    let is_gone = |how: &[&str]| {
        assert_eq!(env.ok(["ps", "-aq"]), "", "{how:?}");
        assert_eq!(env.ok(["volume", "ls", "-q"]), "", "{how:?}");
        assert!(env.leaks().is_empty(), "{how:?}");
    };
    let others: [(&[&str], &str); 4] = [
        (&["stop", "c"], "c"),
        (&["wait", "c"], "-1"),
        (&["rm", "-f", "--ignore", "other"], ""),
        (&["run", "--rm", "--network=none", "--name=c", IMAGE, "echo", "again"], "again"),
    ];
    for (command, said) in others {
        let id = abandon(&env, "c");
        // Who only looks changes nothing, and is told what happened.
        assert_eq!(env.ok(["ps", "-aq", "--no-trunc"]), id);
        assert!(env.ok(["inspect", "--format={{.State.Error}}", "c"]).contains("monitor ended"));
        assert_eq!(env.ok(["volume", "ls", "-q"]).lines().count(), 1);
        assert_eq!(env.ok(command), said);
        is_gone(command);
    }
    let events = env.ok(["events", "--stream=false", "--filter=event=remove", "--filter=type=container"]);
    assert_eq!(events.lines().count(), 5, "{events}");

    // With only its monitor gone it runs until somebody ends it, whose business it is.
    for (command, code) in [(["stop", "-t0", "c"], 125), (["kill", "-sKILL", "c"], 0)] {
        env.ok(["run", "-d", "--rm", "--network=none", "--name=c", "-v/data", IMAGE, "sleep", "100"]);
        let monitor = env.ok(["inspect", "--format={{.State.ConmonPid}}", "c"]);
        assert!(Command::new("kill").args(["-9", &monitor]).status().unwrap().success());
        let stat = || std::fs::read_to_string(format!("/proc/{monitor}/stat")).unwrap_or_default();
        wait_until("its end", || stat().is_empty() || stat().contains(") Z "));
        let outcome = env.run(command);
        assert_eq!(outcome.code, code, "{outcome:#?}");
        is_gone(&command);
    }

    // The command that started it has lost it, and takes it along.
    let script = "echo up; exec sleep 100";
    let mut client = env.command(["run", "--rm", "--network=none", "--name=c", IMAGE, "sh", "-c", script]);
    let client = client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("it runs", || env.run(["logs", "c"]).stdout == "up\n");
    let monitor = env.ok(["inspect", "--format={{.State.ConmonPid}}", "c"]);
    let init = env.ok(["inspect", "--format={{.State.Pid}}", "c"]);
    assert!(Command::new("kill").args(["-9", &monitor, &init]).status().unwrap().success());
    let ended = client.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(125), "{ended:?}");
    is_gone(&["run"]);

    // All at once.
    abandon(&env, "c");
    let commands: [&[&str]; 5] = [
        &["stop", "--ignore", "c"],
        &["wait", "--ignore", "c"],
        &["rm", "--ignore", "c"],
        &["rm", "--ignore", "other"],
        &["stop", "-a"],
    ];
    let running = commands.map(|command| {
        let mut command = env.command(command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for (child, command) in running.into_iter().zip(commands) {
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{command:?}: {ended:?}");
    }
    is_gone(&["all"]);
}

#[test]
fn f30_who_is_to_go_on_stays_without_a_monitor() {
    let env = TestEnv::new("kept");
    env.busybox();
    // One that runs, whatever has become of its monitor.
    let id = env.ok(["run", "-d", "--rm", "--network=none", "--name=c", IMAGE, "sleep", "100"]);
    let monitor = env.ok(["inspect", "--format={{.State.ConmonPid}}", "c"]);
    assert!(Command::new("kill").args(["-9", &monitor]).status().unwrap().success());
    env.ok(["rm", "--ignore", "other"]);
    assert_eq!(status(&env, "c"), "running");
    assert!(env.fails(125, ["run", "--name=c", IMAGE]).contains("already in use"));
    env.ok(["restart", "-t0", "c"]);
    assert_eq!(status(&env, "c"), "running");
    assert_eq!(env.ok(["inspect", "--format={{.Id}}", "c"]), id);
    // One that nobody asked to remove itself.
    env.ok(["run", "-d", "--network=none", "--name=stays", IMAGE, "sleep", "100"]);
    let pids = env.ok(["inspect", "--format={{.State.ConmonPid}} {{.State.Pid}}", "stays"]);
    assert!(Command::new("kill").arg("-9").args(pids.split(' ')).status().unwrap().success());
    wait_until("the end", || status(&env, "stays") == "exited");
    env.ok(["stop", "stays"]);
    env.ok(["rm", "--ignore", "other"]);
    assert_eq!(status(&env, "stays"), "exited");
    env.ok(["rm", "-f", "-t0", "c", "stays"]);
}

#[test]
fn images_are_mounted_for_reading() {
    let env = TestEnv::new("image-mount");
    env.busybox();
    assert!(env.fails(125, ["image", "mount", IMAGE]).contains("must execute `podman unshare` first"));
    let program = env.command(["version"]).get_program().to_str().unwrap().to_owned();
    let script = format!(
        "set -e; m=$({program} image mount {IMAGE}); test -x $m/bin/busybox; ! touch $m/x 2>&-; \
         {program} image mount; {program} image unmount {IMAGE}; test ! -e $m/bin; {program} image mount"
    );
    let text = env.ok(["unshare", "sh", "-c", &script]);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.starts_with("localhost/busybox:latest  /"), "{text}");
    assert!(env.fails(125, ["image", "unmount"]).contains("must be specified"));
}

#[test]
fn any_two_objects_can_be_compared() {
    let env = TestEnv::new("diff-two");
    env.busybox();
    env.ok(["run", "--network=none", "--name=c", IMAGE, "sh", "-c", "mkdir /d; echo 1 > /d/f; rm /bin/cat"]);
    let lines = |args: &[&str]| -> Vec<String> {
        let text = env.ok(["diff"].iter().chain(args));
        text.lines()
            .filter(|line| !line.contains("/etc") && !line.ends_with("/run"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(lines(&["c", IMAGE]), ["C /bin", "D /bin/cat", "A /d", "A /d/f"]);
    env.ok(["commit", "-q", "c", "i"]);
    assert_eq!(lines(&[IMAGE, "i"]), ["C /bin", "A /bin/cat", "D /d"]);
    assert_eq!(lines(&["c", "i"]), [""; 0]);
    assert!(env.fails(125, ["diff", "a", "b", "c"]).contains("accepts between 1 and 2 arg(s), received 3"));
}

#[test]
fn a_file_is_merged_into_the_config_of_a_commit() {
    let env = TestEnv::new("commit-config");
    env.busybox();
    env.ok(["create", "--network=none", "--name=c", "-e", "A=1", IMAGE, "true"]);
    let file = env.work().join("config.json");
    std::fs::write(&file, r#"{"Cmd":["/bin/x"],"Env":["B=2"],"Labels":{"a":"b"},"User":"7"}"#).unwrap();
    let flag = format!("--config={}", file.display());
    env.ok(["commit", "-q", &flag, "--change=USER=8", "c", "i"]);
    let shown = "--format={{.Config.Cmd}} {{.Config.Labels}} {{.User}} {{json .Config.Env}}";
    let text = env.ok(["image", "inspect", shown, "i"]);
    assert!(
        text.starts_with("[/bin/x] map[a:b] 8 ") && text.contains("A=1") && text.contains("B=2"),
        "{text}"
    );
    std::fs::write(&file, "{").unwrap();
    assert!(env.fails(125, ["commit", "-q", &flag, "c", "j"]).contains("reading configuration file"));
    env.fails(1, ["image", "exists", "j"]);
}

#[test]
fn a_container_says_itself_when_it_is_ready() {
    let mut env = TestEnv::new("notify-container");
    env.busybox();
    let path = env.work().join("n.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    env.set("NOTIFY_SOCKET", path.to_str().unwrap());
    let script = "echo $NOTIFY_SOCKET; test -S $NOTIFY_SOCKET && echo there; sleep 1000";
    let id = env.ok([
        "run",
        "-d",
        "--sdnotify=container",
        "--network=none",
        "--name=c",
        IMAGE,
        "sh",
        "-c",
        script,
    ]);
    let heard = || {
        let mut buffer = [0; 512];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let monitor = env.ok(["inspect", "--format={{.State.ConmonPid}}", "c"]);
    assert_eq!(heard(), format!("MAINPID={monitor}"));
    wait_until("the output", || env.ok(["logs", "c"]) == "/run/notify/notify.sock\nthere");
    // As the container would: the directory is the one that it sees.
    let inside = env.run_dir().join("containers").join(&id).join("notify/notify.sock");
    // Addresses are short.
    let dir = std::fs::File::open(inside.parent().unwrap()).unwrap();
    let address = format!("/proc/self/fd/{}/notify.sock", dir.as_raw_fd());
    let client = UnixDatagram::unbound().unwrap();
    for text in ["MAINPID=1", "FDSTORE=1", "STATUS=half\nMAINPID=1", "READY=1"] {
        client.send_to(text.as_bytes(), &address).unwrap();
    }
    assert_eq!(heard(), "STATUS=half");
    assert_eq!(heard(), "READY=1");
    assert_eq!(env.ok(["exec", "c", "sh", "-c", "echo $NOTIFY_SOCKET"]), "");
    env.ok(["stop", "-t0", "c"]);
    assert!(!inside.exists());
    env.ok(["start", "c"]);
    assert!(heard().starts_with("MAINPID="));
    env.ok(["rm", "-f", "-t0", "c"]);
    env.ok([
        "run",
        "--rm",
        "--sdnotify=ignore",
        "--network=none",
        IMAGE,
        "sh",
        "-c",
        "test -z \"$NOTIFY_SOCKET\"",
    ]);
}

/// Scripts that were written for docker ask for these; JSON leaves them out as podman's does.
#[test]
fn fields_that_are_always_empty_are_known_to_templates() {
    let env = TestEnv::new("unfilled");
    env.busybox();
    env.ok(["create", "--name", "c", "--network=none", IMAGE, "true"]);
    let template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}|{{json .NetworkSettings.Networks}}|\
                    {{.Config.Secrets}}|{{.State.CheckpointLog}}|{{.HostConfig.IntelRdtClosID}}";
    assert_eq!(env.ok(["inspect", "--format", template, "c"]), "|null|||");
    let all = env.ok(["inspect", "c"]);
    assert!(
        !all.contains("\"Networks\"") && !all.contains("\"Secrets\"") && !all.contains("CheckpointLog"),
        "{all}"
    );
    env.ok(["rm", "c"]);
}
