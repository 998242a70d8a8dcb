//! Limits where no cgroup can keep them, as on hosts with the old hierarchy: a clear refusal, and nothing is left.
//! That they hold where they can be kept is shown on a booted machine, by tests/vm.

use crate::support::TestEnv;

const IMAGE: &str = "localhost/busybox";

/// Whether this machine has only the new hierarchy.
fn unified() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

#[test]
fn a_limit_that_nobody_can_keep_is_refused() {
    if unified() {
        return;
    }
    let env = TestEnv::new("limits-refused");
    env.busybox();
    for (flag, controller) in [
        ("--memory=64m", "memory"),
        ("--memory-reservation=64m", "memory"),
        ("--cpus=1", "cpu"),
        ("-c=512", "cpu"),
        ("--cpu-quota=50000", "cpu"),
        ("--cpuset-cpus=0", "cpuset"),
        ("--pids-limit=100", "pids"),
        ("--blkio-weight=100", "io"),
        ("--cgroup-conf=memory.high=1000", "memory"),
    ] {
        for verb in ["run", "create"] {
            let error = env.fails(125, [verb, "--rm", "--network=none", flag, IMAGE, "true"]);
            let expected = format!("the cgroup controller \"{controller}\" is not available");
            assert!(error.contains(&expected) && error.contains("cgroup v2"), "{verb} {flag}: {error}");
        }
    }
    assert_eq!(env.ok(["ps", "-aq"]), "");
    assert_eq!(env.leaks(), Vec::<std::path::PathBuf>::new());
    // What asks for no limit needs nobody who keeps it.
    env.ok(["run", "--rm", "--network=none", "--pids-limit=-1", "--memory=0", IMAGE, "true"]);
}

#[test]
fn values_are_checked_before_anything_else() {
    let env = TestEnv::new("limits-bad");
    env.busybox();
    for (flags, text) in [
        (&["--memory=-1"][..], "invalid value for memory: invalid size: '-1'"),
        (&["--memory=64q"], "invalid value for memory: invalid suffix: 'q'"),
        (&["--memory=900000g"], "that this machine has"),
        (&["--memory-swap=64m"], "always set a memory limit when using a memoryswap limit"),
        (&["--memory=64m", "--memory-swap=32m"], "memoryswap limit should be larger than memory limit"),
        (&["--memory=64m", "--memory-reservation=65m"], "less than memory reservation limit"),
        (&["--memory-swappiness=50"], "cannot set memory swappiness with cgroup v2"),
        (&["--oom-kill-disable"], "cannot disable OOM killer with cgroup v2"),
        (&["--cpus=-1"], "invalid value for cpus: -1"),
        (&["--cpus=10000"], "CPUs available"),
        (&["--cpus=x"], "strconv.ParseFloat: parsing \"x\": invalid syntax"),
        (&["--cpus=1", "--cpu-period=5000"], "--cpu-period and --cpus cannot be set together"),
        (&["--cpus=1", "--cpu-quota=5000"], "--cpu-quota and --cpus cannot be set together"),
        (&["--cpu-shares=-1"], "strconv.ParseUint: parsing \"-1\": invalid syntax"),
        (&["--cpu-period=10"], "CPU cfs period cannot be less than 1ms"),
        (&["--cpu-quota=10"], "CPU cfs quota cannot be less than 1ms"),
        (&["--cpuset-cpus=9999"], "requested CPUs are not available - requested 9999"),
        (&["--cpuset-cpus=one"], "invalid value one for cpuset cpus"),
        (&["--cpuset-mems=99"], "requested memory nodes are not available"),
        (&["--pids-limit=-2"], "invalid value for pids-limit"),
        (&["--blkio-weight=5"], "range of blkio weight is from 10 to 1000"),
        (&["--blkio-weight-device=/dev/null:100"], "/dev/null: not a block device"),
        (&["--device-read-bps=/dev/nothing:1mb"], "/dev/nothing: no such file or directory"),
        (&["--device-write-iops=/dev/null:many"], "invalid rate for device: /dev/null:many"),
        (&["--cgroup-conf=memory.high"], "--cgroup-conf must be formatted KEY=VALUE"),
        (&["--cgroups=sometimes"], "invalid cgroup mode"),
        (&["--cgroups=disabled", "--memory=64m"], "--cgroups=disabled makes none"),
        (&["--rdt-class=a"], "not supported yet: --rdt-class"),
    ] {
        let words = ["create", "--network=none"].iter().chain(flags).chain(&[IMAGE, "true"]);
        let error = env.fails(125, words);
        assert!(error.contains(text), "{flags:?}: {error}");
    }
    assert_eq!(env.leaks(), Vec::<std::path::PathBuf>::new());
    // podman's warning for what only the old hierarchy has.
    let output = env.run(["create", "--network=none", "--cpu-rt-period=1000", IMAGE, "true"]);
    assert!(
        output.stderr.contains("Realtime period not supported on cgroups V2 systems"),
        "{}",
        output.stderr
    );
}

#[test]
fn the_parent_must_fit_the_manager() {
    let env = TestEnv::new("limits-parent");
    env.busybox();
    for (manager, parent, text) in [
        ("systemd", "/here", "did not receive systemd slice as cgroup parent"),
        ("cgroupfs", "my.slice", "systemd slice received as cgroup parent when using cgroupfs"),
    ] {
        let manager = format!("--cgroup-manager={manager}");
        let parent = format!("--cgroup-parent={parent}");
        let error = env.fails(125, [&manager, "create", "--network=none", &parent, IMAGE, "true"]);
        assert!(error.contains(text), "{error}");
    }
    // Nor is there a place below it where no cgroup is made for the container alone.
    for (mode, text) in [
        ("disabled", "cannot set cgroup parent if not creating cgroups"),
        ("split", "cannot specify --cgroup-mode=split with a cgroup-parent"),
    ] {
        let mode = format!("--cgroups={mode}");
        let words = ["--cgroup-manager=systemd", "create", "--network=none", "--cgroup-parent=my.slice"];
        let error = env.fails(125, words.into_iter().chain([mode.as_str(), IMAGE, "true"]));
        assert!(error.contains(text), "{error}");
    }
    assert!(env.fails(125, ["--cgroup-manager=nobody", "info"]).contains("cgroup"));
}
