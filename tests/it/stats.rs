//! `stats`: what containers use, without any cgroup controller.

use serde_json::Value;

use super::support::TestEnv;
use super::support::env::wait_until;

const IMAGE: &str = "localhost/busybox";

#[test]
fn use_is_counted() {
    let env = TestEnv::new("stats");
    env.busybox();
    env.ok(["run", "-d", "--network=none", "--name=idle", "--stop-timeout=0", IMAGE, "sleep", "1000"]);
    let busy = "while :; do :; done & sleep 1000";
    env.ok(["run", "-d", "--network=none", "--name=busy", "--stop-timeout=0", IMAGE, "sh", "-c", busy]);
    env.ok(["create", "--network=none", "--name=never", IMAGE, "true"]);
    let stats = |name: &str| -> Value {
        let text = env.ok(["stats", "--no-stream", "--format=json", name]);
        serde_json::from_str::<Value>(&text).unwrap()[0].clone()
    };
    let percent =
        |row: &Value| row["cpu_percent"].as_str().unwrap().trim_end_matches('%').parse::<f64>().unwrap();
    wait_until("a busy container", || percent(&stats("busy")) > 10.0);
    // Use is counted in ticks of 10 ms and told over the whole life: one tick is much in the first tenth of a second.
    wait_until("an idle container", || percent(&stats("idle")) < 10.0);
    let idle = stats("idle");
    assert_eq!((&idle["pids"], &idle["name"]), (&"1".into(), &"idle".into()));
    assert!(stats("busy")["pids"].as_str().unwrap().parse::<u32>().unwrap() >= 2);
    assert!(!idle["mem_usage"].as_str().unwrap().starts_with("0B"), "{idle}");
    let table = env.ok(["stats", "--no-stream"]);
    assert!(table.starts_with("ID ") && table.contains("MEM USAGE / LIMIT"), "{table}");
    assert_eq!(table.lines().count(), 3);
    assert_eq!(env.ok(["stats", "--no-stream", "--all", "--format={{.Name}}"]).lines().count(), 3);
    assert!(env.fails(125, ["stats", "--no-stream", "never"]).contains("is stopped"));
    assert!(env.fails(125, ["stats", "--no-stream", "nobody"]).contains("no such container"));
    assert!(env.fails(125, ["stats", "--all", "idle"]).contains("cannot be used together"));
    assert!(env.fails(125, ["stats", "--no-stream", "--format={{.Nothing}}"]).contains("Nothing"));
}
