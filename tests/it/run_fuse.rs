//! Root file systems by fuse-overlayfs, for hosts whose kernel has no overlay for users.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::support::TestEnv;
use super::support::env::wait_until;

const IMAGE: &str = "localhost/busybox";

/// An environment whose storage.conf wants `program`.
fn loaded(name: &str, program: &str) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    fs::create_dir_all(env.config().join("containers")).unwrap();
    let text = format!("[storage]\n[storage.options.overlay]\nmount_program = \"{program}\"\n");
    fs::write(env.config().join("containers/storage.conf"), text).unwrap();
    env
}

fn find_program() -> String {
    let found = ["/usr/bin", "/usr/local/bin", "/bin"].map(|dir| format!("{dir}/fuse-overlayfs"));
    found.into_iter().find(|path| fs::metadata(path).is_ok()).expect("fuse-overlayfs is installed")
}

/// Processes of fuse-overlayfs for this environment.
fn programs(env: &TestEnv) -> usize {
    let data = env.data().display().to_string();
    let lines = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).into_owned())
    });
    lines.filter(|line| line.contains("fuse-overlayfs") && line.contains(&data)).count()
}

#[test]
fn a_container_runs_writes_and_starts_again_on_it() {
    let env = loaded("fuse", &find_program());
    let script = "mount | grep ' on / '; rm /etc/passwd; mkdir -p /new/dir; echo kept > /new/dir/file; \
                  chown 5:7 /new/dir/file; test -e /etc/passwd || echo removed";
    let text = env.ok(["run", "--name", "f", "--network=none", IMAGE, "sh", "-c", script]);
    assert!(text.contains("fuse.fuse-overlayfs") && text.ends_with("removed"), "{text}");
    assert_eq!(programs(&env), 0, "the program stays behind");
    // What was written is in the container's directory, with ids of the user's namespace.
    let id = env.ok(["inspect", "--format", "{{.Id}}", "f"]);
    let file = env.data().join("containers").join(id).join("upper/new/dir/file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept\n");
    assert!(fs::metadata(&file).unwrap().uid() != rustix::process::getuid().as_raw());
    let text = env.ok(["start", "-a", "f"]);
    assert!(text.ends_with("removed"), "{text}");
    let mut args = vec!["run", "--rm", "--network=none"];
    args.extend([
        "--userns=auto",
        IMAGE,
        "sh",
        "-c",
        "echo x > /written && stat -c %u:%a /written /bin/busybox",
    ]);
    assert_eq!(env.ok(args), "0:644\n0:755");
    let volume = format!("{}:/work:O", env.work().display());
    let args =
        ["run", "--rm", "--network=none", "-v", &volume, IMAGE, "sh", "-c", "echo x > /work/x; ls /work"];
    assert_eq!(env.ok(args), "x");
    assert!(!env.work().join("x").exists(), "an overlay must leave its source alone");
    assert_eq!(programs(&env), 0);
}

#[test]
fn info_tells_which_program_is_in_use() {
    let program = find_program();
    let env = loaded("fuseinfo", &program);
    let format = "{{.Store.GraphDriverName}} {{index .Store.GraphStatus \"Native Overlay Diff\"}}";
    assert_eq!(env.ok(["info", "--format", format]), "overlay false");
    assert!(env.ok(["info"]).contains(&format!("Executable: {program}")));
    let native = env.ok(["--storage-opt", "overlay.mount_program=", "info", "--format", format]);
    assert_eq!(native, "overlay true");
}

#[test]
fn a_program_that_fails_is_told_and_leaves_nothing() {
    for (number, program) in ["/bin/false", "/nosuch/fuse-overlayfs"].into_iter().enumerate() {
        let env = loaded(&format!("fusefail{number}"), program);
        let text = env.fails(126, ["run", "--rm", "--network=none", IMAGE, "true"]);
        assert!(text.contains(&format!("mounting by {program}: ")), "{text}");
        assert_eq!(env.ok(["ps", "-aq"]), "");
    }
}

#[test]
fn a_killed_monitor_does_not_keep_the_program_for_ever() {
    let env = loaded("fusekill", &find_program());
    env.ok(["run", "-d", "--name", "k", "--network=none", IMAGE, "sleep", "1000"]);
    assert_eq!(programs(&env), 1);
    let pid: i32 = env.ok(["inspect", "--format", "{{.State.ConmonPid}}", "k"]).parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(env.ok(["exec", "k", "cat", "/etc/hostname"]).len(), 12, "the container stays");
    env.ok(["rm", "-f", "-t", "0", "k"]);
    wait_until("the program has ended", || programs(&env) == 0);
}
