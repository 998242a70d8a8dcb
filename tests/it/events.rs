//! `events`: what is told, to whom, and in which form.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use super::support::TestEnv;

const IMAGE: &str = "localhost/busybox";

fn statuses(env: &TestEnv, args: &[&str]) -> Vec<String> {
    let all = ["events", "--stream=false", "--format", "{{.Type}} {{.Status}}"];
    env.ok(all.iter().chain(args)).lines().map(str::to_owned).collect()
}

#[test]
fn a_run_is_told_from_its_creation_to_its_removal() {
    let env = TestEnv::new("events-run");
    env.busybox();
    let out = env.run([
        "run",
        "--rm",
        "--network=none",
        "--name=web",
        "--label=app=x y",
        IMAGE,
        "sh",
        "-c",
        "exit 3",
    ]);
    assert_eq!(out.code, 3, "{out:?}");
    let expected = ["create", "init", "start", "attach", "died", "cleanup", "remove"];
    let told = statuses(&env, &["--filter=container=web"]);
    assert_eq!(told, expected.map(|status| format!("container {status}")));
    let json = env.ok(["events", "--stream=false", "--format=json", "--filter=event=die"]);
    let died: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&died["ContainerExitCode"], &died["Attributes"]["app"]), (&3.into(), &"x y".into()));
    assert!(died["timeNano"].as_i64().unwrap() / 1_000_000_000 == died["time"].as_i64().unwrap());
    let line = env.ok(["events", "--stream=false", "--filter=event=died", "--no-trunc=false"]);
    assert!(
        line.contains(&format!(" container died {} (image=", &died["ID"].as_str().unwrap()[..12])),
        "{line}"
    );
    assert!(line.trim_end().ends_with("name=web, app=x y)"), "{line}");
    assert!(statuses(&env, &["--filter=type=image"]).contains(&"image loadfromarchive".to_owned()));
}

#[test]
fn a_creation_may_tell_everything() {
    let mut env = TestEnv::new("events-inspect");
    env.busybox();
    let conf = env.work().join("containers.conf");
    std::fs::write(&conf, "[engine]\nevents_container_create_inspect_data=true\n").unwrap();
    env.set("CONTAINERS_CONF_OVERRIDE", conf.to_str().unwrap());
    let id = env.ok(["create", "--network=none", IMAGE, "true"]);
    let format = "--format={{.ContainerInspectData}}";
    let text = env.ok(["events", "--stream=false", "--filter=event=create", format]);
    let data: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(data["Id"], id.as_str());
}

#[test]
fn verbs_are_told() {
    let env = TestEnv::new("events-verbs");
    env.busybox();
    env.ok(["run", "-d", "--network=none", "--name=a", "--stop-timeout=0", IMAGE, "sleep", "100"]);
    env.ok(["exec", "a", "true"]);
    env.ok(["rename", "a", "b"]);
    env.ok(["restart", "-t0", "b"]);
    env.ok(["kill", "b"]);
    env.ok(["rm", "-f", "b"]);
    env.ok(["tag", IMAGE, "localhost/other:1"]);
    env.ok(["untag", IMAGE, "localhost/other:1"]);
    env.ok(["rmi", "-f", IMAGE]);
    let told = statuses(
        &env,
        &[
            "--filter=event=exec",
            "--filter=event=exec_died",
            "--filter=event=rename",
            "--filter=event=restart",
            "--filter=event=kill",
            "--filter=event=remove",
            "--filter=event=tag",
            "--filter=event=untag",
        ],
    );
    let expected = [
        "container exec",
        "container exec_died",
        "container rename",
        "container restart",
        "container kill",
        "container remove",
        "image tag",
        "image untag",
        "image untag",
        "image remove",
    ];
    assert_eq!(told, expected);
}

#[test]
fn followers_see_events_as_they_happen() {
    let env = TestEnv::new("events-follow");
    env.busybox();
    let mut command = env.command(["events", "--format", "{{.Status}}", "--filter=type=container"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The follower may begin after the first events: those of some run come whole.
    let mut seen = Vec::new();
    for _ in 0..3 {
        std::thread::sleep(std::time::Duration::from_millis(300));
        env.ok(["run", "--rm", "--network=none", IMAGE, "true"]);
    }
    while seen.iter().filter(|status| *status == "remove").count() < 2 {
        seen.push(lines.next().unwrap().unwrap());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(seen.ends_with(&["start", "attach", "died", "cleanup", "remove"].map(str::to_owned)), "{seen:?}");
}

#[test]
fn bad_input_is_refused_and_no_file_is_no_error() {
    let env = TestEnv::new("events-bad");
    assert_eq!(env.ok(["events", "--stream=false"]), "");
    assert_eq!(env.ok(["events", "--until=-1s"]), "", "the end is over already");
    for args in
        [&["--filter=color=red"][..], &["--filter=x"], &["--since=the dawn of time"], &["--until=soon"]]
    {
        let error = env.fails(125, ["events", "--stream=false"].iter().chain(args));
        assert!(error.contains("failed to parse event filters"), "{error}");
    }
    let error = env.fails(125, ["--events-backend=none", "events", "--stream=false"]);
    assert!(error.contains("cannot read events with the \"none\" backend"), "{error}");
    let error = env.fails(125, ["--events-backend=pigeon", "events"]);
    assert!(error.contains("file, journald"), "{error}");
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let mut env = TestEnv::new("events-full");
    env.busybox();
    let conf = env.work().join("containers.conf");
    std::fs::write(&conf, "[engine]\nevents_logfile_path=\"/dev/full\"\n").unwrap();
    env.set("CONTAINERS_CONF_OVERRIDE", conf.to_str().unwrap());
    assert_eq!(env.ok(["run", "--rm", "--network=none", IMAGE, "echo", "hi"]), "hi");
}
