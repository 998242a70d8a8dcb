//! `rbox doctor`, on this host and on what looks like a lesser one.

use std::process::Command;

use serde_json::Value;

use crate::support::env::{TestEnv, outcome, rbox_binary};

/// The finding of check `id`.
fn finding<'a>(findings: &'a Value, id: &str) -> &'a Value {
    let mut all = findings.as_array().expect("a list").iter();
    all.find(|finding| finding["ID"] == id).unwrap_or_else(|| panic!("no {id} in {findings}"))
}

#[test]
fn a_host_on_which_containers_run_has_no_problem() {
    let env = TestEnv::new("doctor-good");
    let findings: Value = serde_json::from_str(&env.ok(["doctor", "--format", "json"])).expect("JSON");
    for id in ["kernel", "userns", "subids", "config", "runtime-dir", "store", "pasta"] {
        assert_eq!(finding(&findings, id)["Status"], "ok", "{findings}");
    }
    let table = env.ok(["doctor", "--format", "table {{.ID}} {{.Status}}", "kernel", "store"]);
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(env.fails(125, ["doctor", "teeth"]).contains("checks are kernel, userns"));
}

#[test]
fn what_is_missing_is_a_problem_that_the_error_names() {
    let env = TestEnv::new("doctor-bad");
    std::fs::create_dir_all(env.config().join("containers")).expect("config");
    let conf = env.config().join("containers/containers.conf");
    std::fs::write(&conf, "[engine]\nhelper_binaries_dir=[\"/nonexistent\"]\n").expect("containers.conf");
    let text = outcome(env.command(["doctor"]).env("PATH", "/nonexistent"));
    assert_eq!(text.code, 1, "{text:?}");
    let pasta = text.stdout.lines().find(|line| line.contains(" pasta ")).expect("a line on pasta");
    assert!(pasta.starts_with("problem"), "{pasta}");
    assert!(text.stdout.contains("fix: sudo apt-get install passt"), "{}", text.stdout);

    std::fs::write(&conf, "[engine\n").expect("containers.conf");
    let text = env.fails(1, ["doctor", "config"]);
    assert!(text.is_empty(), "findings go to stdout: {text}");
    std::fs::remove_file(&conf).expect("containers.conf");
}

/// A process that can gain no rights cannot use newuidmap: a few things work less well, none breaks.
#[test]
fn no_new_privileges_cost_the_sub_ids() {
    let env = TestEnv::new("doctor-nnp");
    let mut command = Command::new("setpriv");
    command.arg("--no-new-privs").arg(rbox_binary()).args(["doctor", "subids"]).env_clear();
    for name in ["HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"] {
        command.env(name, env.work());
    }
    let text = outcome(&mut command);
    assert_eq!(text.code, 0, "{text:?}");
    assert!(text.stdout.starts_with("warning  subids"), "{text:?}");
    assert!(text.stdout.contains("no_new_privs"), "{text:?}");
}
