//! `run`: which namespaces, cgroups, groups and descriptors a container shares with others.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Stdio;

use super::support::env::outcome;
use super::support::{Outcome, TestEnv};

const IMAGE: &str = "localhost/busybox";

fn loaded(name: &str) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    env
}

/// Runs a shell script in a container without a network, and expects success.
#[track_caller]
fn sh(env: &TestEnv, options: &[&str], script: &str) -> String {
    let mut args = vec!["run", "--rm", "--network=none"];
    args.extend(options);
    args.extend([IMAGE, "sh", "-c", script]);
    env.ok(args)
}

fn start(env: &TestEnv, name: &str, options: &[&str]) {
    let mut args = vec!["run", "-d", "--network=none", "--name", name];
    args.extend(options);
    args.extend([IMAGE, "sh", "-c", "echo from-first > /dev/shm/first; sleep 1000"]);
    env.ok(args);
    super::support::env::wait_until("the first one is up", || {
        env.run(["exec", name, "test", "-s", "/dev/shm/first"]).code == 0
    });
}

#[test]
fn a_shared_ipc_namespace_has_its_shared_memory_and_message_queues() {
    let env = loaded("ipc");
    start(&env, "first", &[]);
    let script = "cat /dev/shm/first; readlink /proc/self/ns/ipc; echo back > /dev/shm/second; \
                  mount | grep -c mqueue; df -P /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2";
    let found = sh(&env, &["--ipc=container:first"], script);
    let own = env.ok(["exec", "first", "sh", "-c", script]);
    assert_eq!(found, own);
    assert!(found.starts_with("from-first\nipc:[") && found.contains("\n1\n65536"), "{found}");
    assert_eq!(env.ok(["exec", "first", "cat", "/dev/shm/second"]), "back");
    // It stays the container's: the other one's options and ids have no part in it.
    assert_eq!(
        sh(&env, &["--ipc=container:first", "--read-only", "--user", "worker"], "cat /dev/shm/first"),
        "from-first"
    );
    // What the user mounts there counts for more.
    let other = env.work().join("other");
    std::fs::create_dir(&other).unwrap();
    let volume = format!("{}:/dev/shm", other.display());
    assert_eq!(sh(&env, &["--ipc=container:first", "-v", &volume], "ls -A /dev/shm"), "");
    // Others have their own.
    assert_eq!(sh(&env, &[], "ls -A /dev/shm"), "");
}

#[test]
fn only_shareable_ipc_namespaces_are_shared() {
    let env = loaded("ipcmodes");
    start(&env, "private", &["--ipc=private"]);
    let text = env.fails(125, ["run", "--rm", "--ipc=container:private", IMAGE, "true"]);
    assert!(text.contains("is not allowed: non-shareable IPC"), "{text}");
    start(&env, "shareable", &["--ipc=shareable"]);
    assert_eq!(sh(&env, &["--ipc=container:shareable"], "cat /dev/shm/first"), "from-first");
    // Without shared memory there is no mount; the directory is the image's or /dev's.
    assert_eq!(sh(&env, &["--ipc=none"], "mount | grep -c /dev/shm || true"), "0");
    assert_eq!(sh(&env, &["--ipc=host"], "mount | grep -c ' on /dev/shm type tmpfs'"), "1");
}

#[test]
fn the_hosts_pid_namespace_goes_with_every_other_choice() {
    let env = loaded("pidhost");
    let host = std::fs::read_link("/proc/self/ns/pid").unwrap();
    for options in [
        &["--pid=host"][..],
        &["--pid=host", "--privileged"],
        &["--pid=host", "--userns=keep-id"],
        &["--pid=host", "--userns=auto"],
        &["--pid=host", "--userns=nomap", "--read-only"],
        &["--pid=host", "--sysctl", "net.ipv4.ip_forward=1"],
    ] {
        let found = sh(&env, options, "readlink /proc/self/ns/pid; cat /proc/sys/net/ipv4/ip_forward");
        let forward = if options.contains(&"--sysctl") { "1" } else { "0" };
        assert_eq!(found, format!("{}\n{forward}", host.display()), "{options:?}");
    }
}

#[test]
fn joining_a_container_that_shares_the_hosts_namespaces_shares_them_too() {
    let env = loaded("joinhost");
    env.ok(["run", "-d", "--name", "h", "--pid=host", "--ipc=host", "--net=host", IMAGE, "sleep", "1000"]);
    env.ok(["create", "--name", "between", "--pid=container:h", "--net=container:h", IMAGE, "sleep", "1000"]);
    let links = "for kind in pid ipc net; do readlink /proc/self/ns/$kind; done";
    let host = ["pid", "ipc", "net"].map(|kind| {
        std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().to_str().unwrap().to_owned()
    });
    let run = |options: &[&str]| {
        let mut args = vec!["run", "--rm"];
        args.extend(options);
        args.extend([IMAGE, "sh", "-c", links]);
        env.ok(args)
    };
    assert_eq!(run(&["--pid=container:h", "--ipc=container:h", "--net=container:h"]), host.join("\n"));
    assert_eq!(run(&["--pid=container:between", "--ipc=host", "--net=container:between"]), host.join("\n"));
}

#[test]
fn cgroup_modes_are_obeyed_or_refused() {
    let env = loaded("cgroups");
    let text = env.fails(125, ["run", "--rm", "--cgroups=some", IMAGE, "true"]);
    assert!(text.contains("invalid cgroup mode, must be one of"), "{text}");
    // Version 2 of the caller's cgroup, where all of the host's cgroups are version 2.
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    let cgroup = |mode: &str| {
        let script = "grep ^0:: /proc/self/cgroup";
        env.run(["run", "--rm", "--network=none", "--cgroupns=host", mode, IMAGE, "sh", "-c", script])
    };
    let disabled = cgroup("--cgroups=disabled");
    assert_eq!(
        (disabled.code, disabled.stdout.trim_end()),
        (0, format!("0::{own}").as_str()),
        "{disabled:#?}"
    );
    let delegated = std::fs::metadata(format!("/sys/fs/cgroup{own}/cgroup.procs"))
        .is_ok_and(|file| file.uid() == rustix::process::getuid().as_raw());
    let split = cgroup("--cgroups=split");
    if delegated {
        assert!(split.stdout.starts_with(&format!("0::{own}/libpod-payload-")), "{split:#?}");
    } else {
        assert_eq!(split.code, 126, "{split:#?}");
        assert!(split.stderr.contains("cgroup"), "{split:#?}");
    }
    for mode in ["--cgroups=enabled", "--cgroups=no-conmon"] {
        assert_eq!(cgroup(mode).code, 0, "{mode}");
    }
    std::fs::create_dir_all(env.config().join("containers")).unwrap();
    let config = env.config().join("containers/containers.conf");
    std::fs::write(config, "[containers]\ncgroups = \"disabled\"\n").unwrap();
    env.ok(["create", "--name", "c", IMAGE, "true"]);
    assert_eq!(env.ok(["inspect", "--format", "{{.HostConfig.Cgroups}}", "c"]), "disabled");
}

/// Runs rbox from a shell that has opened further descriptors.
fn with_descriptors(env: &TestEnv, options: &str, script: &str) -> Outcome {
    let rbox = env.command(["--version"]).get_program().to_owned();
    let line = format!(
        "exec '{}' run --rm --network=none {options} {IMAGE} sh -c '{script}' 5<five 7<seven 9<nine",
        rbox.to_str().unwrap()
    );
    for name in ["five", "seven", "nine"] {
        std::fs::write(env.work().join(name), format!("{name}\n")).unwrap();
    }
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &line]).env_clear().current_dir(env.work()).stdin(Stdio::null());
    command.envs(env.command([""; 0]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    outcome(&mut command)
}

#[test]
fn listed_descriptors_keep_their_numbers() {
    let env = loaded("fds");
    let script =
        "for fd in 3 4 5 6 7 8 9 10; do test -e /proc/$$/fd/$fd && echo $fd; done; cat <&9 <&7 2>/dev/null";
    for options in [
        "--preserve-fd=9,7",
        "--preserve-fd=7 --preserve-fd=9",
        "--preserve-fd=7,9 --init",
        "--preserve-fd=9,7 --userns=keep-id",
    ] {
        let found = with_descriptors(&env, options, script);
        assert_eq!((found.code, found.stdout.as_str()), (0, "7\n9\nseven\n"), "{options}: {found:#?}");
    }
    for (options, text) in [
        ("--preserve-fd=6", "file descriptor 6 is not available"),
        ("--preserve-fd=1", "file descriptor 1 is not available"),
        ("--preserve-fd=x", "invalid file descriptor"),
        ("--preserve-fds=5", "file descriptor 3 is not available"),
        ("--preserve-fds=1 --preserve-fd=7", "cannot specify both"),
    ] {
        let refused = with_descriptors(&env, options, "true");
        assert_eq!(refused.code, 125, "{options}: {refused:#?}");
        assert!(refused.stderr.contains(text), "{options}: {refused:#?}");
    }
}

#[test]
fn kept_groups_open_what_they_open_outside() {
    let env = loaded("keepgroups");
    let own = rustix::process::getgid();
    let groups = rustix::process::getgroups().unwrap();
    let other = groups.into_iter().find(|gid| *gid != own).expect("the user of the tests has a second group");
    let file = env.work().join("secret");
    std::fs::write(&file, "for the group\n").unwrap();
    std::os::unix::fs::chown(&file, None, Some(other.as_raw())).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o040)).unwrap();
    let volume = format!("{}:/secret", file.display());
    let read = |options: &[&str]| {
        let mut args = vec!["run", "--rm", "--network=none", "-v", &volume];
        args.extend(options);
        args.extend([IMAGE, "cat", "/secret"]);
        env.run(args)
    };
    assert_eq!(read(&["--user", "worker"]).code, 1);
    assert_eq!(read(&["--user", "worker", "--group-add", "keep-groups"]).stdout, "for the group\n");
    assert_eq!(
        read(&["--user", "5:7", "--group-add=keep-groups", "--userns=auto"]).stdout,
        "for the group\n"
    );
    assert_eq!(read(&["--group-add", "keep-groups", "--group-add", "5"]).code, 125);
    env.ok([
        "run",
        "-d",
        "--name",
        "k",
        "--network=none",
        "--group-add=keep-groups",
        "-v",
        &volume,
        IMAGE,
        "sleep",
        "1000",
    ]);
    assert_eq!(env.ok(["exec", "--user", "worker", "k", "cat", "/secret"]), "for the group");
    let annotations = env.ok(["inspect", "--format", "{{json .Config.Annotations}}", "k"]);
    assert!(annotations.contains("\"run.oci.keep_original_groups\":\"1\""), "{annotations}");
}

/// The directories above the store and above a bound one may be closed to all ids that a container has.
#[test]
fn user_namespaces_work_where_the_store_is_closed_to_their_ids() {
    let env = loaded("closed");
    let root = env.work().parent().unwrap().to_owned();
    let own = rustix::process::getgid();
    let groups = rustix::process::getgroups().unwrap();
    let other = groups.into_iter().find(|gid| *gid != own).expect("the user of the tests has a second group");
    let shared = env.work().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).unwrap();
    let volume = format!("{}:/shared", shared.display());
    for (group, mode) in [(own, 0o700), (other, 0o700), (other, 0o750), (other, 0o710)] {
        std::os::unix::fs::chown(&root, None, Some(group.as_raw())).unwrap();
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(mode)).unwrap();
        for userns in ["keep-id", "keep-id:uid=5,gid=6", "nomap", "auto", "auto:size=2000"] {
            let option = format!("--userns={userns}");
            let script = "touch /shared/$$ && rm /shared/$$ && test -w / -o $(id -u) != 0 && cat /etc/hostname | wc -l";
            let found = sh(&env, &[&option, "-v", &volume, "-v", "named:/named"], script);
            assert_eq!(found, "1", "{userns} with {group:?} {mode:o}");
        }
    }
}
