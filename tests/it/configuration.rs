//! containers.conf as commands see it, and what `info`, `network` and `pod` say on a fresh store.

use std::fs;

use super::support::TestEnv;

fn write(env: &TestEnv, name: &str, text: &str) -> String {
    let path = env.config().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_user_s_file_its_drop_ins_and_modules_apply_in_order() {
    let env = TestEnv::new("conf-order");
    let driver = |args: &[&str]| env.ok(args.iter().copied().chain(["info", "-f", "{{.Host.LogDriver}}"]));
    write(&env, "containers/containers.conf", "[containers]\nlog_driver = \"none\"\n");
    assert_eq!(driver(&[]), "none");
    write(&env, "containers/containers.conf.d/a.conf", "[containers]\nlog_driver = \"json-file\"\n");
    assert_eq!(driver(&[]), "json-file");
    write(&env, "containers/containers.conf.modules/m.conf", "[containers]\nlog_driver = \"k8s-file\"\n");
    assert_eq!(driver(&["--module", "m.conf"]), "k8s-file");
}

#[test]
fn a_wrong_file_is_one_clear_error() {
    let env = TestEnv::new("conf-wrong");
    let path = write(&env, "containers/containers.conf", "[containers]\npids_limit = \"many\"\n");
    let error = env.fails(125, ["info"]);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains(&path) && error.contains("containers.pids_limit"), "{error}");
    fs::remove_file(path).unwrap();
    let error = env.fails(125, ["--module", "nosuch", "info"]);
    assert!(error.contains("could not resolve module \"nosuch\""), "{error}");
}

#[test]
fn the_whole_configuration_can_be_replaced() {
    let mut env = TestEnv::new("conf-replaced");
    write(&env, "containers/containers.conf", "[containers]\nlog_driver = \"none\"\n");
    env.set("CONTAINERS_CONF", "/dev/null");
    assert_eq!(env.ok(["info", "-f", "{{.Host.LogDriver}}"]), "k8s-file");
    let over = write(&env, "over.conf", "[containers]\nlog_driver = \"json-file\"\n");
    env.set("CONTAINERS_CONF_OVERRIDE", over);
    assert_eq!(env.ok(["info", "-f", "{{.Host.LogDriver}}"]), "json-file");
    env.set("CONTAINERS_CONF", "/nosuch");
    assert!(env.fails(125, ["info"]).contains("/nosuch"));
    // Cleaning up needs a configuration that can be read.
    env.set("CONTAINERS_CONF", "/dev/null");
}

#[test]
fn info_has_podman_s_fields() {
    let env = TestEnv::new("info");
    let info: serde_json::Value = serde_json::from_str(&env.ok(["info", "--format", "json"])).unwrap();
    assert_eq!(info["store"]["graphRoot"], env.data().to_str().unwrap());
    assert_eq!(info["store"]["graphDriverName"], "overlay");
    assert_eq!(info["store"]["imageStore"]["number"], 0);
    assert_eq!(info["host"]["security"]["rootless"], true);
    assert_eq!(info["host"]["idMappings"]["uidmap"][0]["container_id"], 0);
    assert!(info["host"]["pasta"]["executable"].as_str().unwrap().ends_with("/pasta"));
    let yaml = env.ok(["info"]);
    assert!(yaml.contains("\n  graphDriverName: overlay\n"), "{yaml}");
    assert_eq!(env.ok(["info", "-f", "{{.Host.CgroupsVersion}}"]).len(), 2);
}

#[test]
fn there_is_one_network_and_no_pod() {
    let env = TestEnv::new("one-network");
    assert_eq!(env.ok(["network", "ls", "-q"]), "podman");
    env.ok(["network", "exists", "podman"]);
    env.fails(1, ["network", "exists", "other"]);
    env.fails(125, ["network", "rm", "podman"]);
    env.fails(1, ["network", "rm", "other"]);
    assert!(env.fails(125, ["network", "create", "other"]).contains("not supported yet"));
    env.ok(["pod", "rm", "--all", "--force"]);
    assert_eq!(env.ok(["pod", "ps", "-q"]), "");
    env.fails(1, ["pod", "rm", "p"]);
}

#[test]
fn reset_leaves_an_empty_store_and_nothing_else_is_touched() {
    let env = TestEnv::new("reset");
    env.busybox();
    fs::write(env.data().join("somebody-else"), "x").unwrap();
    assert_ne!(env.ok(["system", "df", "--format", "{{.Total}}"]).lines().next(), Some("0"));
    env.ok(["system", "reset", "-f"]);
    assert_eq!(env.ok(["system", "df", "--format", "{{.Total}}"]).lines().next(), Some("0"));
    assert!(env.data().join("somebody-else").exists());
}
