//! Devices by name: specifications of the Container Device Interface.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::support::TestEnv;

const IMAGE: &str = "localhost/busybox";

fn loaded(name: &str) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    env
}

/// A folder of specifications.
fn folder(env: &TestEnv, name: &str) -> PathBuf {
    let dir = env.work().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A specification with one device that sets a variable.
fn simple(version: &str, device: &str, value: &str) -> Value {
    json!({"cdiVersion": version, "kind": "vendor.com/class", "devices":
        [{"name": device, "containerEdits": {"env": [format!("WHICH={value}")]}}]})
}

fn put(dir: &Path, name: &str, specification: &Value) {
    std::fs::write(dir.join(name), specification.to_string()).unwrap();
}

/// What a container with these options says of itself.
fn shell(env: &TestEnv, dir: &Path, options: &[&str], script: &str) -> String {
    let dir = format!("--cdi-spec-dir={}", dir.display());
    let mut args = vec![dir.as_str(), "run", "--rm", "--network=none"];
    args.extend(options);
    args.extend([IMAGE, "sh", "-c", script]);
    env.ok(args)
}

#[test]
fn a_device_brings_all_that_its_specification_says() {
    let env = loaded("cdi-edits");
    let dir = folder(&env, "cdi");
    let (told, program, data) = (env.work().join("told"), env.work().join("hook"), env.work().join("data"));
    std::fs::write(&data, "driver").unwrap();
    std::fs::write(&program, format!("#!/bin/sh\ncat > {}.$1\n", told.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let hook =
        |name: &str| json!({"hookName": name, "path": program, "args": ["hook", name], "env": ["PATH=/bin"]});
    put(
        &dir,
        "vendor.json",
        &json!({
            "cdiVersion": "0.7.0", "kind": "vendor.com/class", "annotations": {"a": "b"},
            "containerEdits": {"env": ["OF_ALL=1", "PATH=/bin:/vendor"], "hooks": [hook("poststop")]},
            "devices": [
                {"name": "0", "containerEdits": {
                    "env": ["FIRST=1"],
                    "deviceNodes": [
                        {"path": "/dev/vendor/0", "hostPath": "/dev/null", "permissions": "rw"},
                        {"path": "/dev/vendor/zero", "hostPath": "/dev/zero", "type": "c", "major": 1, "minor": 5},
                        {"path": "/dev/vendor/pipe", "type": "p", "fileMode": 0o620, "uid": 0, "gid": 5},
                        {"path": "/dev/full"},
                    ],
                    "mounts": [{"hostPath": data, "containerPath": "/usr/lib/driver", "options": ["ro", "nosuid", "bind"]}],
                    "hooks": [hook("createRuntime"), hook("createContainer")],
                    "additionalGids": [0, 7, 2000],
                }},
                {"name": "1", "containerEdits": {"env": ["SECOND=1"], "additionalGids": [7]}},
            ],
        }),
    );
    let script = "echo $OF_ALL $FIRST ${SECOND-none} $PATH; stat -c '%F %t:%T' /dev/vendor/0 /dev/vendor/zero; \
                  stat -c '%F %a %g' /dev/vendor/pipe; echo x > /dev/vendor/0; cat /usr/lib/driver; echo; id -G; \
                  echo y > /usr/lib/driver || echo read-only";
    let text = shell(&env, &dir, &["--device", "vendor.com/class=0"], script);
    let expected = [
        "1 1 none /bin:/vendor",
        "character special file 1:3",
        "character special file 1:5",
        "fifo 620 5",
        "driver",
        "0 7 2000",
        "read-only",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{text}");
    for stage in ["createRuntime", "createContainer", "poststop"] {
        let state = std::fs::read_to_string(format!("{}.{stage}", told.display())).unwrap();
        assert!(state.contains("\"ociVersion\""), "{stage}: {state}");
    }

    let both = ["--device", "vendor.com/class=0", "--device=vendor.com/class=1"];
    assert_eq!(shell(&env, &dir, &both, "echo $FIRST $SECOND; id -G"), "1 1\n0 7 2000");
    let all = ["--device", "vendor.com/class=all", "-u", "1000:2000", "--group-add", "3000"];
    assert_eq!(shell(&env, &dir, &all, "echo $FIRST $SECOND; id -G"), "1 1\n2000 7 3000");
    let over = ["--device", "vendor.com/class=0", "--device", "/dev/zero:/dev/vendor/0"];
    assert_eq!(shell(&env, &dir, &over, "stat -c %T /dev/vendor/0"), "3", "the specification's node stands");
}

#[test]
fn devices_are_looked_up_in_all_places_and_at_each_start() {
    let env = loaded("cdi-places");
    let (system, own) = (folder(&env, "system"), env.config().join("cdi"));
    std::fs::create_dir_all(&own).unwrap();
    std::fs::create_dir_all(env.config().join("containers")).unwrap();
    let conf =
        format!("[engine]\ncdi_spec_dirs = [{system:?}]\n[containers]\ndevices = [\"vendor.com/class=b\"]\n");
    std::fs::write(env.config().join("containers/containers.conf"), conf).unwrap();
    put(&system, "a.json", &simple("0.3.0", "a", "system"));
    put(&system, "b.json", &simple("1.0.0", "b", "default"));
    let yaml = "cdiVersion: \"0.8.0\"\nkind: vendor.com/class\ndevices:\n  - name: a\n    containerEdits:\n      env:\n      \
                - WHICH=own\n";
    let which = |options: &[&str]| {
        let mut args = vec!["run", "--rm", "--network=none"];
        args.extend(options);
        args.extend([IMAGE, "sh", "-c", "echo $WHICH"]);
        env.ok(args)
    };
    assert_eq!(which(&[]), "default", "of containers.conf");
    assert_eq!(which(&["--device=vendor.com/class=a"]), "system");
    std::fs::write(own.join("a.yaml"), yaml).unwrap();
    assert_eq!(which(&["--device=vendor.com/class=a"]), "own", "the user's folder is later");

    // What is described changes between starts, and may come after the container.
    env.ok([
        "create",
        "--name=late",
        "--network=none",
        "--device=vendor.com/class=late",
        IMAGE,
        "sh",
        "-c",
        "echo $WHICH",
    ]);
    let error = env.fails(125, ["start", "late"]);
    assert!(
        error.contains("setting up CDI devices: unresolvable CDI devices vendor.com/class=late"),
        "{error}"
    );
    for value in ["first", "second"] {
        put(&system, "late.json", &simple("0.5.0", "late", value));
        assert_eq!(env.ok(["start", "--attach", "late"]), value);
    }
    let shown: Value = serde_json::from_str(&env.ok(["inspect", "late"])).unwrap();
    let devices = shown[0]["HostConfig"]["Devices"].to_string();
    assert!(devices.contains("vendor.com/class=b") && devices.contains("vendor.com/class=late"), "{devices}");
}

#[test]
fn wrong_names_and_specifications_are_named() {
    let env = loaded("cdi-errors");
    let dir = folder(&env, "cdi");
    let flag = format!("--cdi-spec-dir={}", dir.display());
    let fails = |code: i32, device: &str| {
        let error =
            env.fails(code, [&flag, "run", "--rm", "--network=none", "--device", device, IMAGE, "true"]);
        assert_eq!(env.ok(["ps", "-aq"]), "", "{device}");
        error
    };
    let error = fails(126, "vendor.com/class=x");
    assert!(error.contains("rbox doctor cdi"), "{error}");
    put(&dir, "good.json", &simple("0.5.0", "x", "1"));
    std::fs::write(dir.join("broken.yaml"), "cdiVersion: [").unwrap();
    put(
        &dir,
        "old.json",
        &json!({"cdiVersion": "0.4.0", "kind": "old.com/class",
        "devices": [{"name": "0", "containerEdits": {"env": ["A=b"]}}]}),
    );
    let error = fails(126, "vendor.com/class=y");
    for part in [
        "unresolvable CDI devices vendor.com/class=y",
        "there are vendor.com/class=x",
        "broken.yaml",
        "old.json",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert!(fails(126, "old.com/class=0").contains("must be 0.5.0 at least"));
    // What is broken does not stand in the way of what is not.
    env.ok([&flag, "run", "--rm", "--network=none", "--device=vendor.com/class=x", IMAGE, "true"]);

    put(&dir, "same.json", &simple("0.5.0", "x", "2"));
    let error = fails(126, "vendor.com/class=x");
    assert!(error.contains("device vendor.com/class=x is in") && error.contains("good.json"), "{error}");
    std::fs::remove_file(dir.join("same.json")).unwrap();

    for (name, edits, reason) in [
        ("rdt", json!({"intelRdt": {"closID": "x"}}), "not supported yet: "),
        ("gone", json!({"deviceNodes": [{"path": "/dev/nosuch"}]}), "/dev/nosuch: no such file"),
        (
            "file",
            json!({"deviceNodes": [{"path": "/dev/x", "hostPath": "/etc/passwd"}]}),
            "not a device node",
        ),
        ("other", json!({"deviceNodes": [{"path": "/dev/null", "type": "b"}]}), "is c 1:3 on this host"),
        (
            "number",
            json!({"deviceNodes": [{"path": "/dev/null", "type": "c", "major": 1, "minor": 5}]}),
            "is c 1:3",
        ),
        ("mount", json!({"mounts": [{"hostPath": "/nosuch", "containerPath": "/x"}]}), "/nosuch"),
        ("up", json!({"mounts": [{"hostPath": "/etc", "containerPath": "/x/../../y"}]}), "has a `..`"),
    ] {
        put(
            &dir,
            "bad.json",
            &json!({"cdiVersion": "0.7.0", "kind": "bad.com/class",
            "devices": [{"name": name, "containerEdits": edits}]}),
        );
        let outcome = env.run([
            &flag,
            "run",
            "--rm",
            "--network=none",
            &format!("--device=bad.com/class={name}"),
            IMAGE,
            "true",
        ]);
        assert!(
            (125..=127).contains(&outcome.code) && outcome.stderr.contains(reason),
            "{name}: {outcome:#?}"
        );
        assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
        assert_eq!(env.ok(["ps", "-aq"]), "", "{name}");
    }
    for name in
        ["vendor.com/class=", "vendor.com/class=a b", "1vendor/class=x", "vendor.com/=x", "a/b=../../etc"]
    {
        assert!(fails(125, name).contains("invalid CDI device"), "{name}");
    }
}

#[test]
fn gpus_are_devices_by_name() {
    let env = loaded("cdi-gpus");
    let dir = folder(&env, "cdi");
    put(
        &dir,
        "nvidia.json",
        &json!({"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [
        {"name": "0", "containerEdits": {"env": ["ZERO=1"]}}, {"name": "1", "containerEdits": {"env": ["ONE=1"]}},
        {"name": "all", "containerEdits": {"env": ["ALL=1"]}}]}),
    );
    for (value, expected) in
        [("all", "--1"), ("0", "1--"), ("0,1", "11-"), ("device=1", "-1-"), ("\"device=0,1\"", "11-")]
    {
        let script = "echo ${ZERO--}${ONE--}${ALL--}";
        assert_eq!(shell(&env, &dir, &["--gpus", value], script), expected, "{value}");
    }
    let flag = format!("--cdi-spec-dir={}", dir.display());
    let error = env.fails(126, [&flag, "run", "--rm", "--gpus=2", IMAGE, "true"]);
    assert!(error.contains("unresolvable CDI devices nvidia.com/gpu=2"), "{error}");
    assert!(env.fails(125, ["run", "--rm", "--gpus=capabilities=gpu", IMAGE, "true"]).contains("--gpus"));

    let finding = |env: &TestEnv| env.run([&flag, "doctor", "cdi"]).stdout;
    assert!(finding(&env).contains("3 devices in 1 specifications"), "{}", finding(&env));
    std::fs::write(dir.join("broken.json"), "{").unwrap();
    let text = finding(&env);
    assert!(text.starts_with("warning") && text.contains("broken.json is left out"), "{text}");
}
