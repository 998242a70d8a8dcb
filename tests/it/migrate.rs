//! `system migrate`, `system renumber` and `container runlabel`.

use std::fs;

use serde_json::json;

use super::support::TestEnv;
use super::support::env::wait_until;
use super::support::image::{busybox_config, busybox_entries};

const IMAGE: &str = "localhost/busybox";

#[test]
fn migration_stops_containers_and_ends_the_namespace() {
    let mut env = TestEnv::new("migrate");
    env.set("RBOX_LINGER", "60");
    env.busybox();
    env.ok(["run", "-d", "--name=c", "--network=none", IMAGE, "sleep", "1000"]);
    env.ok(["run", "-d", "--rm", "--name=gone", "--network=none", IMAGE, "sleep", "1000"]);
    env.ok(["create", "--name=made", "--network=none", IMAGE, "true"]);
    let holders = || {
        let found = fs::read_dir(env.run_dir().join("userns")).into_iter().flatten().flatten();
        found.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).collect::<Vec<_>>()
    };
    let before = holders();
    assert_eq!(before.len(), 1, "one process holds the namespace: {before:?}");
    assert_eq!(env.ok(["system", "renumber"]), "");
    assert_eq!(env.ok(["ps", "--format={{.Names}}"]).lines().count(), 2);
    let stopped = env.run(["system", "migrate"]);
    assert!(stopped.code == 0 && stopped.stderr.matches("stopped ").count() == 2, "{stopped:?}");
    assert_eq!(env.ok(["ps", "-a", "--format={{.Names}} {{.State}}"]), "c exited\nmade created");
    let is_gone = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    wait_until("the end of the holder", || before.iter().all(is_gone));
    assert!(!holders().iter().any(|pid| before.contains(pid)));
    // What was stopped starts again, in a new one.
    env.ok(["start", "c"]);
    env.ok(["rm", "-a", "-f", "-t0"]);
    assert!(env.fails(125, ["system", "migrate", "--migrate-db"]).contains("no database"));
    assert!(env.fails(125, ["system", "migrate", "--new-runtime=nonesuch"]).contains("nonesuch"));
    // The namespace of the last commands.
    env.ok(["system", "migrate"]);
}

#[test]
fn labels_are_run_as_commands() {
    let env = TestEnv::new("runlabel");
    let mut config = busybox_config();
    config["Labels"] = json!({
        "RUN": "podman run --rm --network=none --name NAME -e CONF=/etc/${NAME} IMAGE echo ${OPT1} ${NAME} $IMAGE",
        "detach": "podman run -d --network=none --name NAME IMAGE sleep 1000",
        "fail": "false",
    });
    env.load_image("localhost/labelled:latest", &busybox_entries(), &config);
    let runlabel = |more: &[&str]| env.run([&["container", "runlabel"][..], more].concat());
    let shown = runlabel(&["--display", "--name=x", "--opt1=1", "run", "labelled", "more"]);
    let expected = " run --rm --network=none --name x -e CONF=/etc/x localhost/labelled:latest echo 1 x localhost/labelled:latest more\n";
    assert!(shown.stdout.starts_with("command: ") && shown.stdout.ends_with(expected), "{shown:?}");
    let ran = runlabel(&["--opt1=1", "run", "labelled"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "1 labelled localhost/labelled:latest\n"), "{ran:?}");
    assert_eq!(runlabel(&["--quiet", "run", "labelled"]).stdout, "");
    // The second one is in the way of the third, unless it is replaced.
    assert_eq!(runlabel(&["--quiet", "detach", "labelled"]).code, 0);
    let first = env.ok(["inspect", "--format={{.Id}}", "labelled"]);
    assert_eq!(runlabel(&["--quiet", "detach", "labelled"]).code, 125);
    assert_eq!(runlabel(&["--quiet", "--replace", "detach", "labelled"]).code, 0);
    assert_ne!(env.ok(["container", "inspect", "--format={{.Id}}", "labelled"]), first);
    env.ok(["rm", "-f", "-t0", "labelled"]);
    for (words, said) in [
        (&["nothing", "labelled"][..], "cannot find the value of label: nothing in image: labelled"),
        (&["fail", "labelled"], "exit status 1"),
        (&["--pull=false", "run", "missing"], "image not known"),
    ] {
        let failed = runlabel(words);
        assert!(failed.code == 125 && failed.stderr.contains(said), "{failed:?}");
    }
}
