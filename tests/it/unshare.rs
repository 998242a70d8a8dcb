//! `rbox unshare`, and with it how a process gets into the user's namespace.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::support::TestEnv;

#[test]
fn the_caller_is_root_and_has_her_sub_ids() {
    let env = TestEnv::new("unshare-maps");
    assert_eq!(env.ok(["unshare", "id", "-u"]), "0");
    let maps = env.ok(["unshare", "cat", "/proc/self/uid_map"]);
    let lines: Vec<Vec<u64>> = maps
        .lines()
        .map(|line| line.split_whitespace().map(|field| field.parse().unwrap()).collect())
        .collect();
    let uid = u64::from(fs::metadata(env.work()).unwrap().uid());
    assert_eq!(lines[0], [0, uid, 1]);
    assert!(lines[1][0] == 1 && lines[1][2] >= 65_536, "{maps}");
    env.ok(["unshare", "sh", "-c", "echo x > file && chown 1000:1000 file"]);
    let file = env.work().join("file");
    assert_eq!(u64::from(fs::metadata(&file).unwrap().uid()), lines[1][1] + 999);
    env.ok(["unshare", "rm", "file"]);
}

#[test]
fn exit_codes_are_the_command_s() {
    let env = TestEnv::new("unshare-codes");
    env.fails(7, ["unshare", "sh", "-c", "exit 7"]);
    let missing = env.fails(127, ["unshare", "nosuch"]);
    assert_eq!(missing, "Error: exec: \"nosuch\": executable file not found in $PATH\n");
    env.fails(126, ["unshare", "/etc/passwd"]);
    env.fails(137, ["unshare", "sh", "-c", "kill -9 $$"]);
    assert_eq!(env.fails(125, ["unshare"]), "Error: no command specified and no $SHELL specified\n");
    env.fails(125, ["unshare", "--rootless-netns", "true"]);
}

#[test]
fn inside_of_the_namespace_nothing_is_nested() {
    let env = TestEnv::new("unshare-nested");
    let rbox = std::env::var("RBOX_TEST_BIN").unwrap();
    let script = format!("readlink /proc/self/ns/user; {rbox} unshare readlink /proc/self/ns/user");
    let output = env.ok(["unshare", "sh", "-c", &script]);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], lines[1], "{output}");
    let inner =
        format!("{rbox} unshare sh -c 'echo $_CONTAINERS_USERNS_CONFIGURED $_CONTAINERS_ROOTLESS_UID'");
    let uid = fs::metadata(env.work()).unwrap().uid();
    assert_eq!(env.ok(["unshare", "sh", "-c", &inner]), format!("done {uid}"));
    let paths = format!("{rbox} info -f '{{{{.Store.GraphRoot}}}} {{{{.Store.RunRoot}}}}'");
    assert_eq!(
        env.ok(["unshare", "sh", "-c", &paths]),
        format!("{} {}", env.data().display(), env.run_dir().display())
    );
}

#[test]
fn mounts_stay_inside() {
    let env = TestEnv::new("unshare-mounts");
    fs::create_dir(env.work().join("m")).unwrap();
    env.ok(["unshare", "sh", "-c", "mount -t tmpfs x m && echo secret > m/file"]);
    assert!(!env.work().join("m/file").exists());
}

#[test]
fn a_run_directory_of_others_is_not_used() {
    // R11: nothing that somebody else could have made first is trusted.
    let mut env = TestEnv::new("unshare-rundir");
    let uid = fs::metadata(env.work()).unwrap().uid();
    env.set("XDG_RUNTIME_DIR", "/");
    let chosen = env.ok(["info", "-f", "{{.Store.RunRoot}}"]);
    assert!(
        chosen == format!("/run/user/{uid}/rbox") || chosen == format!("/tmp/rbox-run-{uid}"),
        "{chosen}"
    );
    let fallback = format!("/tmp/rbox-run-{uid}");
    if chosen == fallback {
        let mode = fs::metadata(&fallback).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
        fs::set_permissions(&fallback, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = env.fails(125, ["info"]);
        fs::set_permissions(&fallback, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(refused.contains("its mode is 755"), "{refused}");
    }
}
