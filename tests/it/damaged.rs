//! Containers whose files were damaged while they run: everybody says so, and `rm --force` leaves nothing of them.

use std::fs;
use std::path::Path;

use super::support::TestEnv;
use super::support::env::wait_until;

const IMAGE: &str = "localhost/busybox";

/// What may happen to a file.
const DAMAGES: [&str; 4] = ["truncated", "newer", "empty", "missing"];

fn damage(path: &Path, how: &str) {
    let text = fs::read_to_string(path).unwrap();
    match how {
        "truncated" => fs::write(path, &text[..30]).unwrap(),
        "newer" => fs::write(path, text.replacen('{', "{\"version\":99,", 1).replace(",\"version\":1,", ","))
            .unwrap(),
        "empty" => fs::write(path, "").unwrap(),
        _ => fs::remove_file(path).unwrap(),
    }
}

fn is_dead(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.rsplit(") ").next().unwrap().starts_with(['Z', 'X'])
}

fn left(env: &TestEnv) -> usize {
    let count = |path: &Path| fs::read_dir(path).map_or(0, Iterator::count);
    let data = env.data();
    count(&data.join("containers"))
        + count(&data.join("names"))
        + count(&data.join("tmp"))
        + count(&env.run_dir().join("containers"))
}

fn damaged_while_it_runs(name: &str, file: &str, check: impl Fn(&TestEnv, &str)) {
    let env = TestEnv::new(name);
    env.busybox();
    for how in DAMAGES {
        let id = env.ok(["run", "-d", "--name=c", IMAGE, "sleep", "1000"]);
        let pids = env.ok(["inspect", "--format={{.State.Pid}} {{.State.ConmonPid}}", "c"]);
        damage(&env.data().join("containers").join(&id).join(file), how);
        check(&env, how);
        assert_eq!(env.ok(["rm", "--force", "-t0", "c"]), "c", "{how}");
        for pid in pids.split(' ') {
            wait_until("the end of all processes", || is_dead(pid));
        }
        assert_eq!(left(&env), 0, "{how}");
    }
}

#[test]
fn record_damaged() {
    damaged_while_it_runs("damaged-record", "record.json", |env, how| {
        for command in [&["inspect", "c"][..], &["start", "c"], &["stop", "c"], &["rm", "c"], &["logs", "c"]]
        {
            let error = env.fails(125, command);
            assert!(error.contains("is damaged: ") && error.contains("rm --force"), "{how}: {error}");
        }
        assert_eq!(env.ok(["ps", "-a", "--format={{.Names}} {{.Status}}"]), "c Unknown", "{how}");
        env.ok(["create", "--name=other", "--network=none", IMAGE]);
        env.ok(["rm", "other"]);
    });
}

#[test]
fn state_damaged() {
    damaged_while_it_runs("damaged-state", "state.json", |env, how| {
        for command in [&["start", "c"][..], &["stop", "c"], &["rm", "c"]] {
            let error = env.fails(125, command);
            assert!(error.contains("state.json "), "{how}: {error}");
        }
        assert_eq!(env.ok(["ps", "-a", "--format={{.Names}} {{.Status}}"]), "c Unknown", "{how}");
        assert_eq!(env.ok(["inspect", "--format={{.State.Status}}", "c"]), "unknown", "{how}");
    });
}

#[test]
fn spec_damaged() {
    damaged_while_it_runs("damaged-spec", "spec.json", |env, how| {
        for code_command in [(125, &["exec", "c", "true"][..]), (125, &["inspect", "c"])] {
            let error = env.fails(code_command.0, code_command.1);
            assert!(error.contains("spec.json "), "{how}: {error}");
        }
        assert!(env.ok(["ps", "--format={{.Names}} {{.Status}}"]).starts_with("c Up "), "{how}");
        env.ok(["stop", "-t0", "c"]);
        assert!(env.fails(125, ["start", "c"]).contains("spec.json "), "{how}");
    });
}

#[test]
fn a_damaged_container_is_in_nobodys_way() {
    let env = TestEnv::new("damaged-beside");
    env.busybox();
    let bad = env.ok(["run", "-d", "--name=bad", "--network=none", IMAGE, "sleep", "1000"]);
    env.ok(["run", "-d", "--name=good", "--network=none", IMAGE, "sleep", "1000"]);
    damage(&env.data().join("containers").join(&bad).join("record.json"), "truncated");
    assert_eq!(env.ok(["ps", "--format={{.Names}}"]), "good");
    let outcome = env.run(["inspect", "--format={{.Name}}", "good", "bad"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (125, "good\n"));
    assert!(env.fails(125, ["create", "--name=bad", IMAGE]).contains("is damaged"));
    env.ok(["rm", "-f", "-t0", "good"]);
    assert_eq!(env.ok(["rm", "--all", "--force", "-t0"]), bad);
    assert_eq!(left(&env), 0);
    let bad = env.ok(["run", "-d", "--name=bad", "--network=none", IMAGE, "sleep", "1000"]);
    damage(&env.data().join("containers").join(&bad).join("record.json"), "truncated");
    env.ok(["run", "--rm", "--replace", "--name=bad", "--network=none", IMAGE, "true"]);
    let last = env.ok(["run", "-d", "--name=last", "--network=none", IMAGE, "sleep", "1000"]);
    damage(&env.data().join("containers").join(&last).join("state.json"), "truncated");
    env.ok(["system", "reset", "--force"]);
    assert_eq!(left(&env), 0);
}

#[test]
fn system_check_names_and_repairs_what_is_damaged() {
    let env = TestEnv::new("system-check");
    env.busybox();
    assert_eq!(env.ok(["system", "check"]), "");
    let id = env.ok(["create", "--name=c", "--network=none", "--volume=v:/v", IMAGE, "true"]);
    assert_eq!(env.ok(["system", "check", "--quick", "--max=1h"]), "");
    let dir = env.data().join("containers").join(&id);
    // Without loss: the name, the volume's record, what a killed monitor left.
    fs::remove_file(env.data().join("names/c")).unwrap();
    fs::write(env.data().join("volumes/v/volume.json"), "{").unwrap();
    let checked = env.run(["system", "check"]);
    assert_eq!(checked.code, 125);
    assert!(checked.stderr.contains("damage detected in local storage"), "{checked:?}");
    assert!(checked.stdout.contains(&format!("Damaged container {id}:")), "{checked:?}");
    assert!(checked.stdout.contains("its name \"c\" does not lead to it"), "{checked:?}");
    assert!(checked.stdout.contains("Damaged volume v:"), "{checked:?}");
    let repaired = env.ok(["system", "check", "--repair"]);
    assert!(repaired.contains(&format!("Repaired container: {id}")), "{repaired}");
    assert_eq!(env.ok(["system", "check"]), "");
    env.ok(["start", "--attach", "c"]);
    // With loss.
    damage(&dir.join("spec.json"), "truncated");
    assert!(env.run(["system", "check"]).stdout.contains("spec.json is damaged"));
    let left = env.fails(125, ["system", "check", "--repair"]);
    assert!(left.contains("still present after repair attempt"), "{left}");
    assert!(env.ok(["system", "check", "--repair", "--force"]).contains("Deleted damaged container: "));
    assert_eq!(env.ok(["system", "check"]), "");
    env.fails(1, ["container", "exists", "c"]);
    env.ok(["volume", "exists", "v"]);
    assert!(env.fails(125, ["system", "check", "--max=x"]).contains('x'));
}

#[test]
fn there_are_no_connections() {
    let env = TestEnv::new("connections");
    assert_eq!(env.ok(["system", "connection", "ls", "--format=json"]), "[]");
    assert_eq!(env.ok(["system", "connection", "list", "-q"]), "");
    assert!(env.fails(125, ["system", "connection", "add", "x", "ssh://y"]).contains("not supported yet"));
}

/// The state is gone, and with the run directory the socket that would tell of the monitor.
#[test]
fn f25_state_missing_and_run_directory_wiped() {
    let env = TestEnv::new("damaged-wiped");
    env.busybox();
    for log in ["k8s-file", "none"] {
        let driver = format!("--log-driver={log}");
        let id = env.ok(["run", "-d", "--name=c", "--network=none", &driver, IMAGE, "sleep", "1000"]);
        let pids = env.ok(["inspect", "--format={{.State.Pid}} {{.State.ConmonPid}}", "c"]);
        fs::remove_file(env.data().join("containers").join(&id).join("state.json")).unwrap();
        fs::remove_dir_all(env.run_dir()).unwrap();
        assert!(env.ok(["ps", "-a", "--format={{.Names}} {{.State}}"]).starts_with("c unknown"), "{log}");
        assert!(env.fails(125, ["start", "c"]).contains("state.json"), "{log}");
        assert_eq!(env.ok(["rm", "--force", "-t0", "c"]), "c", "{log}");
        for pid in pids.split(' ') {
            wait_until("the end of all processes", || is_dead(pid));
        }
        assert_eq!(left(&env), 0, "{log}");
    }
    // One that was never started is what it is.
    env.ok(["create", "--name=c", "--network=none", IMAGE, "true"]);
    assert_eq!(env.ok(["ps", "-a", "--format={{.Names}} {{.State}}"]), "c created");
    env.ok(["rm", "c"]);
}

#[test]
fn volumes_of_a_damaged_container_go_with_it_if_that_is_asked_for() {
    let env = TestEnv::new("damaged-volumes");
    env.busybox();
    env.ok(["volume", "create", "named"]);
    for (flags, left) in [(&["--force"][..], 2), (&["--force", "--volumes"], 1)] {
        let id =
            env.ok(["create", "-v", "/anonymous", "-v", "named:/named", "--network=none", IMAGE, "true"]);
        let record = env.data().join("containers").join(&id).join("record.json");
        fs::write(record, "{").unwrap();
        env.ok([&["rm"][..], flags, &[&id]].concat());
        let volumes = env.ok(["volume", "ls", "-q"]);
        assert_eq!(volumes.lines().count(), left, "{flags:?}: {volumes}");
        assert!(volumes.contains("named"), "{volumes}");
        env.ok(["volume", "prune", "-f"]);
        env.run(["volume", "create", "named"]);
    }
}
