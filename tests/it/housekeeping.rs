//! `image prune`, `system df`, races for volumes, and what is refused for want of CRIU.

use std::fs;

use super::support::TestEnv;

const IMAGE: &str = "localhost/busybox";

#[test]
fn image_prune_takes_what_nothing_needs() {
    let env = TestEnv::new("image-prune");
    env.busybox();
    env.ok(["create", "--network=none", "--name=c", IMAGE, "true"]);
    let nameless = env.ok(["commit", "-q", "c"]);
    env.ok(["commit", "-q", "--change=LABEL=a=b", "c", "named"]);
    // Without an answer nothing happens.
    assert!(env.run_with_input(["image", "prune"], b"n\n").stdout.contains("removes all dangling images"));
    assert_eq!(env.ok(["image", "prune", "--force", "--filter=label=x"]), "");
    assert!(env.fails(125, ["image", "prune", "-f", "--filter=x=y"]).contains("invalid image filter"));
    assert_eq!(env.ok(["image", "prune", "--force"]), nameless);
    assert_eq!(env.ok(["image", "prune", "--all", "--force", "--filter=label!=a"]), "");
    assert_eq!(env.ok(["image", "prune", "--all", "--force"]).lines().count(), 1);
    assert_eq!(env.ok(["images", "--format={{.Repository}}"]), IMAGE);
    assert_eq!(env.ok(["start", "--attach", "c"]), "");
}

#[test]
fn disk_usage_names_everything_when_asked_to() {
    let env = TestEnv::new("df-verbose");
    env.busybox();
    env.ok([
        "run",
        "--network=none",
        "--name=c",
        "--volume=v:/v",
        IMAGE,
        "sh",
        "-c",
        "echo 12345 > /v/f; echo 1 > /g",
    ]);
    let text = env.ok(["system", "df", "--verbose"]);
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 9, "{text}");
    assert!(lines[2].starts_with(IMAGE) && lines[2].ends_with('1'), "{text}");
    assert!(lines[5].contains("exited") && lines[5].contains("kB ") && lines[5].ends_with(" c"), "{text}");
    assert!(lines[8].starts_with("v ") && lines[8].ends_with("kB"), "{text}");
    assert!(env.fails(125, ["system", "df", "-v", "--format=json"]).contains("cannot combine"));
}

/// Whoever wins: a container that was made has its volume.
#[test]
fn a_volume_is_not_removed_under_a_container_that_is_being_made() {
    let env = TestEnv::new("volume-race");
    env.busybox();
    for number in 0..20 {
        let (name, mount) = (format!("v{number}"), format!("v{number}:/v"));
        env.ok(["volume", "create", &name]);
        let mut removal = env.command(["volume", "rm", &name]);
        let mut removal =
            removal.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        env.ok(["create", "--network=none", "--name", &name, "-v", &mount, IMAGE, "true"]);
        removal.wait().unwrap();
        env.ok(["volume", "exists", &name]);
        env.ok(["rm", &name]);
    }
}

#[test]
fn health_checks_are_no_events_where_the_configuration_says_so() {
    let env = TestEnv::new("health-events");
    env.busybox();
    let told = |env: &TestEnv| {
        env.ok([
            "run",
            "-d",
            "--network=none",
            "--name=c",
            "--health-cmd=true",
            "--health-interval=1h",
            IMAGE,
            "sleep",
            "100",
        ]);
        env.ok(["healthcheck", "run", "c"]);
        let text = env.ok(["events", "--stream=false", "--filter=event=health_status", "--format={{.Name}}"]);
        env.ok(["rm", "-f", "-t0", "c"]);
        text.lines().count()
    };
    let path = env.config().join("containers");
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("containers.conf"), "[engine]\nhealthcheck_events=false\n").unwrap();
    assert_eq!(told(&env), 0);
    fs::remove_file(path.join("containers.conf")).unwrap();
    assert!(told(&env) > 0);
}

#[test]
fn checkpoints_say_what_they_miss() {
    let env = TestEnv::new("checkpoint");
    env.busybox();
    env.ok(["create", "--network=none", "--name=c", IMAGE, "true"]);
    for verb in ["checkpoint", "restore"] {
        let error = env.fails(125, ["container", verb, "c"]);
        assert!(error.contains("ing a container requires root: ") && error.contains("criu"), "{error}");
        assert!(error.contains("rbox doctor checkpoint"), "{error}");
        assert!(env.fails(125, ["container", verb, "nobody"]).contains("no such container"));
        assert!(env.fails(125, ["container", verb]).contains("you must provide at least one name or id"));
    }
    assert!(
        env.fails(125, ["container", "checkpoint", "--compress=x", "-e=f", "c"]).contains("not supported")
    );
}

#[test]
fn a_container_starts_within_the_limits_that_its_caller_has_then() {
    let env = TestEnv::new("limits-later");
    env.busybox();
    env.ok(["create", "--network=none", "--name=c", IMAGE, "sh", "-c", "ulimit -Hn"]);
    assert_eq!(env.ok(["inspect", "--format={{json .HostConfig.Ulimits}}", "c"]), "[]");
    let first: u64 = env.ok(["start", "--attach", "c"]).parse().unwrap();
    let mut later = std::process::Command::new("sh");
    let program = env.command(["start", "--attach", "c"]);
    later.arg("-c").arg(format!("ulimit -n {}; exec \"$@\"", first - 1)).arg("sh").arg(program.get_program());
    later.args(program.get_args()).env_clear();
    later.envs(program.get_envs().filter_map(|(key, value)| value.map(|value| (key, value))));
    let output = later.output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim(),
        (first - 1).to_string(),
        "{:?}",
        output.stderr
    );
    let shown =
        "--format={{range .HostConfig.Ulimits}}{{if eq .Name \"RLIMIT_NOFILE\"}}{{.Hard}}{{end}}{{end}}";
    assert_eq!(env.ok(["inspect", shown, "c"]), (first - 1).to_string());
}
