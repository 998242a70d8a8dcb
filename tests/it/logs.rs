//! Log drivers: what they write, and that `logs` gives it back.

use std::io::Read as _;
use std::path::PathBuf;

use serde_json::Value;

use super::support::TestEnv;

const IMAGE: &str = "localhost/busybox";

fn run(env: &TestEnv, name: &str, flags: &[&str], script: &str) {
    let first = ["run", "--network=none", "--name", name];
    env.ok(first.iter().chain(flags).chain(&[IMAGE, "sh", "-c", script]));
}

fn log_path(env: &TestEnv, name: &str) -> PathBuf {
    env.ok(["inspect", "--format={{.HostConfig.LogConfig.Path}}", name]).into()
}

#[test]
fn json_file_is_that_of_docker() {
    let env = TestEnv::new("logs-json");
    env.busybox();
    run(&env, "j", &["--log-driver=json-file"], "echo 'a \"b\"'; echo err >&2; printf end");
    let text = std::fs::read_to_string(log_path(&env, "j")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let find = |log: &str| lines.iter().find(|line| line["log"] == log).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(find("a \"b\"\n")["stream"], "stdout");
    assert_eq!(find("err\n")["stream"], "stderr");
    assert_eq!(find("end")["stream"], "stdout");
    assert!(lines.iter().all(|line| line["time"].as_str().unwrap().ends_with('Z')));
    let logs = env.run(["logs", "j"]);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("a \"b\"\nend", "err\n"));
    assert_eq!(env.run(["logs", "--tail=1", "j"]).stdout, "end");
    assert_eq!(env.ok(["inspect", "--format={{.HostConfig.LogConfig.Type}}", "j"]), "json-file");
}

#[test]
fn local_keeps_so_many_files_and_compresses() {
    let env = TestEnv::new("logs-local");
    env.busybox();
    let script = "i=0; while [ $i -lt 3000 ]; do echo \"line $i of some length\"; i=$((i+1)); done";
    run(&env, "l", &["--log-driver=local", "--log-opt=max-size=40kb", "--log-opt=max-file=3"], script);
    let path = log_path(&env, "l");
    let mut names: Vec<String> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("ctr.log"))
        .collect();
    names.sort();
    assert_eq!(names, ["ctr.log", "ctr.log.1.gz", "ctr.log.2.gz"]);
    let mut text = String::new();
    let packed = std::fs::File::open(path.with_added_extension("1.gz")).unwrap();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    assert!(text.len() <= 40_000);
    // What is left is the end, without a hole.
    let all: Vec<String> = env.ok(["logs", "l"]).lines().map(str::to_owned).collect();
    let first = 3000 - all.len();
    // Two full files at least: the newest may have been begun just now.
    assert!(all.len() > 900 && first > 0, "{}", all.len());
    for (line, number) in all.iter().zip(first..) {
        assert_eq!(*line, format!("line {number} of some length"));
    }
    for tail in [1, 100, 500, 900] {
        let last: Vec<String> =
            env.ok(["logs", &format!("--tail={tail}"), "l"]).lines().map(str::to_owned).collect();
        assert_eq!(last, all[all.len() - tail..], "{tail}");
    }
}

#[test]
fn a_burst_is_whole_and_in_order() {
    let env = TestEnv::new("logs-burst");
    env.busybox();
    for driver in ["k8s-file", "json-file"] {
        let flag = format!("--log-driver={driver}");
        run(&env, driver, &["-d", &flag], "seq 1 10000");
        let followed = env.ok(["logs", "-f", driver]);
        let expected: Vec<String> = (1..=10_000).map(|number| number.to_string()).collect();
        assert_eq!(followed.lines().collect::<Vec<_>>(), expected, "{driver}");
    }
}

#[test]
fn bad_options_and_drivers_are_refused() {
    let env = TestEnv::new("logs-bad");
    env.busybox();
    for (flag, text) in [
        ("--log-driver=pigeon", "invalid log driver"),
        ("--log-opt=max-file=0", "invalid log option"),
        ("--log-opt=max-file=x", "invalid log option"),
        ("--log-opt=max-size=x", "x"),
        ("--log-opt=color=red", "invalid log option"),
    ] {
        let error = env.fails(125, ["create", flag, IMAGE, "true"]);
        assert!(error.contains(text), "{flag}: {error}");
    }
    for driver in ["none", "passthrough"] {
        let flag = format!("--log-driver={driver}");
        env.run(["run", "--network=none", "--name", driver, &flag, IMAGE, "echo", "hi"]);
        assert!(env.fails(125, ["logs", driver]).contains("cannot read logs"), "{driver}");
    }
    assert_eq!(env.ok(["ps", "-aq"]).lines().count(), 2);
}
