//! The user's namespace between commands: who holds it, for how long, and what becomes of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::support::TestEnv;
use super::support::env::{tool, wait_until};

const IMAGE: &str = "localhost/busybox";
const RUN: [&str; 5] = ["run", "--rm", "--network=none", IMAGE, "true"];

fn loaded(name: &str, linger: &str) -> TestEnv {
    let mut env = TestEnv::new(name);
    env.set("RBOX_LINGER", "0");
    env.busybox();
    env.set("RBOX_LINGER", linger);
    env
}

/// The processes that announce themselves as holders.
fn holders(env: &TestEnv) -> Vec<PathBuf> {
    let names = std::fs::read_dir(env.run_dir().join("userns")).into_iter().flatten();
    names.map(|entry| PathBuf::from("/proc").join(entry.unwrap().file_name())).collect()
}

/// The holder, as soon as it has announced itself.
fn holder(env: &TestEnv) -> PathBuf {
    wait_until("somebody holds the namespace", || holders(env).len() == 1);
    holders(env).remove(0)
}

fn kill(process: &std::path::Path) {
    tool("kill", ["-KILL", process.file_name().unwrap().to_str().unwrap()]);
    wait_until("the holder has ended", || !process.exists());
}

/// Ends the holder, and has cleaning up leave none.
fn end(env: &mut TestEnv) {
    kill(&holder(env));
    env.set("RBOX_LINGER", "0");
}

#[test]
fn a_namespace_is_held_for_commands_that_follow_and_then_let_go() {
    let env = loaded("held", "3");
    env.ok(RUN);
    let first = holder(&env);
    env.ok(RUN);
    env.ok(["unshare", "true"]);
    assert_eq!(holders(&env), std::slice::from_ref(&first), "the namespace is joined, not made again");
    let held = std::fs::read_link(first.join("ns/user")).unwrap();
    assert_eq!(env.ok(["unshare", "readlink", "/proc/self/ns/user"]).trim(), held.to_str().unwrap());
    wait_until("the holder has ended", || holders(&env).is_empty() && !first.exists());
    env.ok(RUN);
}

#[test]
fn the_holder_has_nothing_of_the_command_it_came_from() {
    let mut env = loaded("nobodys", "30");
    let begun = Instant::now();
    // Captured streams end for their reader only when nobody has them open.
    env.ok(["run", "--rm", "--network=none", "-e", "PASSWORD=hunter2", IMAGE, "true"]);
    assert!(begun.elapsed() < Duration::from_secs(20));
    let process = holder(&env);
    let arguments = std::fs::read_to_string(process.join("cmdline")).unwrap();
    assert!(arguments.starts_with("rbox namespace") && !arguments.contains("hunter2"), "{arguments}");
    let open: Vec<PathBuf> = std::fs::read_dir(process.join("fd"))
        .unwrap()
        .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap())
        .collect();
    let own = env.run_dir().join("userns");
    assert!(open.iter().all(|path| path == &PathBuf::from("/dev/null") || path == &own), "{open:?}");
    assert_eq!(std::fs::read_link(process.join("cwd")).unwrap(), PathBuf::from("/"));
    end(&mut env);
}

#[test]
fn a_killed_holder_is_replaced() {
    let mut env = loaded("killed", "30");
    env.ok(RUN);
    let first = holder(&env);
    kill(&first);
    env.ok(RUN);
    wait_until("another one holds it", || holders(&env) != [first.clone()] && holders(&env).len() == 1);
    end(&mut env);
}

#[test]
fn commands_at_once_leave_one_holder() {
    let mut env = loaded("atonce", "30");
    let runs: Vec<_> = (0..4).map(|_| env.command(RUN).spawn().unwrap()).collect();
    for mut run in runs {
        assert!(run.wait().unwrap().success());
    }
    end(&mut env);
}

#[test]
fn nobody_holds_it_where_that_is_not_wanted() {
    let mut env = loaded("unheld", "0");
    env.ok(RUN);
    assert_eq!(holders(&env), Vec::<PathBuf>::new());
    env.set("RBOX_LINGER", "soon");
    let stderr = env.fails(125, RUN);
    assert!(stderr.contains("RBOX_LINGER=soon: it must be a number of seconds"), "{stderr}");
    env.set("RBOX_LINGER", "0");
}
