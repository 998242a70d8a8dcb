//! `update`: what of a container can be changed afterwards, and what is refused.

use super::support::TestEnv;
use super::support::env::wait_until;

const IMAGE: &str = "localhost/busybox";

#[test]
fn policies_and_checks_change_at_once() {
    let env = TestEnv::new("update-live");
    env.busybox();
    let work = env.work();
    std::fs::write(work.join("stay"), "").unwrap();
    let mount = format!("{}:/w", work.display());
    let script = "echo >> /w/runs; while test -e /w/stay; do sleep 0.05; done";
    env.ok(["run", "-d", "--network=none", "--name=c", "-v", &mount, IMAGE, "sh", "-c", script]);
    env.ok(["update", "--health-cmd=true", "--health-interval=100ms", "c"]);
    env.ok(["wait", "--condition=healthy", "c"]);
    env.ok(["update", "--health-cmd=false", "--health-retries=1", "c"]);
    env.ok(["wait", "--condition=unhealthy", "c"]);
    env.ok(["update", "--no-healthcheck", "c"]);
    assert_eq!(
        env.ok(["inspect", "--format={{.Config.Healthcheck.Test}} {{.Config.StartupHealthCheck}}", "c"]),
        "[NONE] <nil>"
    );
    env.ok(["update", "--restart=always", "c"]);
    assert_eq!(env.ok(["inspect", "--format={{.HostConfig.RestartPolicy.Name}}", "c"]), "always");
    std::fs::remove_file(work.join("stay")).unwrap();
    wait_until("restarts", || std::fs::read_to_string(work.join("runs")).unwrap().lines().count() > 1);
    env.ok(["update", "--restart=no", "c"]);
    wait_until("the end", || {
        env.ok(["inspect", "--format={{.State.Status}} {{.State.Restarting}}", "c"]) == "exited false"
    });
}

#[test]
fn variables_and_limits_change_with_the_next_start() {
    let env = TestEnv::new("update-start");
    env.busybox();
    let script = "echo $A $B $(ulimit -n)";
    env.ok(["create", "--network=none", "--name=c", "-e", "A=1", "-e", "B=2", IMAGE, "sh", "-c", script]);
    env.ok(["update", "-e", "A=one", "--unsetenv=B", "--ulimit=nofile=77:88", "c"]);
    assert_eq!(env.ok(["start", "-a", "c"]), "one 77");
    let told = env.ok(["events", "--stream=false", "--filter=event=update", "--format={{.Name}}"]);
    assert_eq!(told, "c");
}

#[test]
fn what_cannot_be_changed_changes_nothing() {
    let env = TestEnv::new("update-bad");
    env.busybox();
    env.ok(["create", "--network=none", "--name=c", IMAGE, "true"]);
    let before = env.ok(["inspect", "c"]);
    for (flags, text) in [
        (&["--memory=64m"][..], "controller \"memory\" is not available"),
        (&["--cpus=1"], "controller \"cpu\""),
        (&["--device-read-bps=/dev/zero:1mb"], "/dev/zero: not a block device"),
        (&["--restart=sometimes"], "not a valid restart policy"),
        (&["--ulimit=nofile:1"], "invalid ulimit argument"),
        (&["--ulimit=nofile=9:1"], "soft limit must be less than or equal to hard limit"),
        (&["--health-interval=1s"], "healthcheck command is not set"),
        (&["--health-startup-retries=1"], "healthcheck command is not set"),
        (&["--health-on-failure=kill"], "without a health check"),
    ] {
        let error = env.fails(125, ["update"].iter().chain(flags).chain(&["c"]));
        assert!(error.contains(text), "{flags:?}: {error}");
    }
    assert_eq!(env.ok(["inspect", "c"]), before);
    assert!(env.fails(125, ["update", "--restart=no", "nobody"]).contains("no such container"));
    assert!(env.fails(125, ["update", "--restart=no"]).contains("requires a name"));
}
