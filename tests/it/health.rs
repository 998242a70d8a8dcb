//! Health checks: their flags, the monitor that makes them, and what follows from them.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::TestEnv;
use super::support::env::wait_until;
use super::support::image::busybox_entries;

const IMAGE: &str = "localhost/busybox";

/// A check that passes until there is a file `/bad` in the container.
const CHECK: &str = "echo looked; test ! -e /bad";

fn start(env: &TestEnv, name: &str, flags: &[&str]) -> String {
    let first = ["run", "-d", "--network=none", "--stop-timeout=0", "--name", name];
    env.ok(first.iter().chain(flags).chain(&[IMAGE, "sleep", "1000"]))
}

fn health(env: &TestEnv, name: &str) -> Value {
    let text = env.ok(["inspect", "--format", "{{json .State.Health}}", name]);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_monitor_checks_on_its_own() {
    let env = TestEnv::new("health-monitor");
    env.busybox();
    start(&env, "web", &["--health-cmd", CHECK, "--health-interval=200ms", "--health-retries=2"]);
    wait_until("healthy", || health(&env, "web")["Status"] == "healthy");
    assert!(env.ok(["ps"]).contains("(healthy)"));
    assert_eq!(env.ok(["ps", "-q", "--filter=health=healthy"]).lines().count(), 1);
    env.ok(["exec", "web", "touch", "/bad"]);
    env.ok(["wait", "--condition=unhealthy", "web"]);
    let state = health(&env, "web");
    assert!(state["FailingStreak"].as_u64().unwrap() >= 2, "{state}");
    let log = state["Log"].as_array().unwrap();
    assert_eq!(
        (&log.last().unwrap()["ExitCode"], &log.last().unwrap()["Output"]),
        (&json!(1), &json!("looked\n"))
    );
    assert!(log.len() <= 5);
    let told =
        env.ok(["events", "--stream=false", "--filter=event=health_status", "--format={{.HealthStatus}}"]);
    assert!(told.starts_with("healthy") && told.ends_with("unhealthy"), "{told}");
    assert_eq!(env.ok(["ps", "--format={{.State}}"]), "running", "nothing follows");
    env.ok(["restart", "-t0", "web"]);
    // The file is still there, so it fails again, from zero.
    let told = env.ok([
        "inspect",
        "--format",
        "{{.Config.Healthcheck.Interval}} {{.Config.Healthcheck.Test}}",
        "web",
    ]);
    assert_eq!(told, format!("200ms [CMD-SHELL {CHECK}]"));
    // Nothing of the checks is left in the container's list of processes.
    assert_eq!(env.ok(["inspect", "--format={{len .ExecIDs}}", "web"]), "0");
}

#[test]
fn what_follows_from_failures() {
    let env = TestEnv::new("health-action");
    env.busybox();
    for action in ["kill", "stop", "restart", "none"] {
        let on_failure = format!("--health-on-failure={action}");
        start(
            &env,
            action,
            &["--health-cmd=false", "--health-interval=200ms", "--health-retries=2", &on_failure],
        );
    }
    for (action, code) in [("kill", "137"), ("stop", "137")] {
        assert_eq!(env.ok(["wait", action]), code, "{action}");
        assert_eq!(env.ok(["inspect", "--format={{.State.Status}}", action]), "exited");
    }
    wait_until("restarts", || env.ok(["inspect", "--format={{.RestartCount}}", "restart"]) != "0");
    assert_eq!(env.ok(["inspect", "--format={{.State.Status}}", "none"]), "running");
    env.ok(["wait", "--condition=unhealthy", "none"]);
    assert_eq!(env.ok(["inspect", "--format={{.State.Status}}", "none"]), "running");
    env.ok(["rm", "-f", "restart"]);
}

#[test]
fn checks_by_hand() {
    let env = TestEnv::new("health-run");
    env.busybox();
    start(&env, "c", &["--health-cmd", CHECK, "--health-interval=disable", "--health-retries=1"]);
    assert_eq!(health(&env, "c")["Status"], "starting");
    assert_eq!(env.ok(["healthcheck", "run", "c"]), "");
    env.ok(["exec", "c", "touch", "/bad"]);
    let failed = env.run(["healthcheck", "run", "c"]);
    assert_eq!((failed.code, failed.stdout.as_str()), (1, "unhealthy\n"));
    assert_eq!(env.run(["healthcheck", "run", "--ignore-result", "c"]).code, 0);
    start(&env, "slow", &["--health-cmd=sleep 100", "--health-interval=disable", "--health-timeout=300ms"]);
    let error = env.fails(125, ["healthcheck", "run", "slow"]);
    assert!(error.contains("exceeded timeout of 300ms"), "{error}");
    assert_eq!(health(&env, "slow")["Log"][0]["ExitCode"], -1);
    start(&env, "missing", &["--health-cmd=[\"/no-such\",\"x\"]", "--health-interval=disable"]);
    assert_eq!(env.run(["healthcheck", "run", "missing"]).code, 1);
    start(&env, "plain", &[]);
    assert!(env.fails(125, ["healthcheck", "run", "plain"]).contains("has no defined healthcheck"));
    assert!(env.fails(125, ["wait", "--condition=healthy", "plain"]).contains("has no healthcheck"));
    env.ok(["stop", "c"]);
    assert!(env.fails(125, ["healthcheck", "run", "c"]).contains("is not running"));
    assert!(env.fails(125, ["healthcheck", "run", "nobody"]).contains("no such container"));
}

#[test]
fn the_image_may_have_a_check_and_flags_change_it() {
    let env = TestEnv::new("health-image");
    let config =
        json!({"Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 100_000_000, "Retries": 7}});
    env.load_image("localhost/checked:1", &busybox_entries(), &config);
    let run = |name: &str, flags: &[&str]| {
        let first = ["run", "-d", "--network=none", "--stop-timeout=0", "--name", name];
        env.ok(first.iter().chain(flags).chain(&["localhost/checked:1", "sleep", "1000"]));
    };
    run("a", &[]);
    env.ok(["wait", "--condition=healthy", "a"]);
    run("b", &["--no-healthcheck"]);
    assert_eq!(
        env.ok(["inspect", "--format={{.Config.Healthcheck.Test}} {{.State.Health}}", "b"]),
        "[NONE] <nil>"
    );
    run("c", &["--health-retries=9"]);
    assert_eq!(env.ok(["inspect", "--format={{.Config.Healthcheck.Retries}}", "c"]), "9");
}

#[test]
fn the_start_has_a_check_of_its_own() {
    let env = TestEnv::new("health-startup");
    env.busybox();
    start(
        &env,
        "s",
        &[
            "--health-cmd=true",
            "--health-interval=100ms",
            "--health-startup-cmd=test -e /up",
            "--health-startup-interval=100ms",
            "--health-startup-success=2",
        ],
    );
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(health(&env, "s")["Status"], "starting");
    env.ok(["exec", "s", "touch", "/up"]);
    env.ok(["wait", "--condition=healthy", "s"]);
}

#[test]
fn bad_settings_create_nothing() {
    let env = TestEnv::new("health-bad");
    env.busybox();
    for (flags, text) in [
        (&["--health-on-failure=kill"][..], "without a health check"),
        (&["--health-on-failure=panic"], "invalid on-failure action"),
        (&["--health-cmd=x", "--no-healthcheck"], "cannot specify both"),
        (&["--health-cmd=x", "--health-retries=0"], "must be greater than 0"),
        (&["--health-cmd=x", "--health-retries=many"], "invalid syntax"),
        (&["--health-cmd=x", "--health-interval=often"], "invalid healthcheck-interval"),
        (&["--health-cmd=x", "--health-timeout=0s"], "at least 1 second"),
        (&["--health-cmd=x", "--health-log-destination=/no/such"], "destination error"),
        (&["--health-startup-cmd=x"], "no regular healthcheck"),
    ] {
        let error = env.fails(125, ["create"].iter().chain(flags).chain(&[IMAGE, "true"]));
        assert!(error.contains(text), "{flags:?}: {error}");
    }
    assert_eq!(env.ok(["ps", "-aq"]), "");
}

/// A container that waits for its next start is stopped at once, and not started once more.
#[test]
fn a_stop_between_two_starts_counts() {
    let env = TestEnv::new("health-between");
    env.busybox();
    for number in 0..6 {
        env.ok(["run", "-d", "--network=none", "--name=r", "--restart=always", IMAGE, "true"]);
        wait_until("restarts", || {
            env.ok(["inspect", "--format={{.RestartCount}}", "r"]).parse::<u32>().unwrap() > number % 3
        });
        let begin = std::time::Instant::now();
        env.ok(["stop", "-t0", "r"]);
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        assert_eq!(env.ok(["inspect", "--format={{.State.Status}}", "r"]), "exited");
        let count = env.ok(["inspect", "--format={{.RestartCount}}", "r"]);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(
            env.ok(["inspect", "--format={{.RestartCount}} {{.State.Status}}", "r"]),
            format!("{count} exited")
        );
        env.ok(["rm", "r"]);
    }
}

/// systemd is told by the monitor: at once, or when the container is healthy.
#[test]
fn systemd_is_told_when_the_container_is_ready() {
    use std::os::unix::net::UnixDatagram;
    let mut env = TestEnv::new("health-notify");
    env.busybox();
    let path = env.work().join("notify.sock");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    env.set("NOTIFY_SOCKET", path.to_str().unwrap());
    let next = || {
        let mut buffer = [0; 256];
        let n = systemd.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    };
    start(&env, "now", &["--sdnotify=conmon"]);
    let pid = env.ok(["inspect", "--format={{.State.ConmonPid}}", "now"]);
    assert!(next().starts_with("MAINPID="));
    assert_eq!(next(), "READY=1");
    assert!(pid.parse::<u32>().unwrap() > 0);
    start(&env, "later", &["--sdnotify=healthy", "--health-cmd=test -e /up", "--health-interval=100ms"]);
    assert!(next().starts_with("MAINPID="));
    systemd.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(systemd.recv(&mut [0; 8]).is_err(), "not healthy yet");
    systemd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    env.ok(["exec", "later", "touch", "/up"]);
    assert_eq!(next(), "READY=1");
    start(&env, "never", &["--sdnotify=ignore"]);
    systemd.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(systemd.recv(&mut [0; 8]).is_err());
    let error = env.fails(125, ["create", "--sdnotify=healthy", IMAGE, "true"]);
    assert!(error.contains("requires a healthcheck"), "{error}");
    assert!(env.fails(125, ["create", "--sdnotify=pigeon", IMAGE, "true"]).contains("invalid sdnotify"));
}
