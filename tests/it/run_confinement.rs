//! What a process in a container has and can do. Names of tests carry the numbers of the attack catalogue.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::support::TestEnv;
use super::support::env::{outcome, probe_binary};
use super::support::image::{busybox_config, busybox_entries};

const IMAGE: &str = "localhost/busybox";

/// chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service sys_chroot setfcap
const DEFAULT_CAPS: &str = "00000000800405fb";
const NO_CAPS: &str = "0000000000000000";

const EPERM: i64 = 1;
const ENOSYS: i64 = 38;

fn loaded(name: &str) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    env
}

/// The sets in the order inheritable, permitted, effective, bounding, ambient.
fn caps(report: &Value) -> [String; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
        .map(|name| report["status"][name].as_str().unwrap_or_default().to_owned())
}

#[test]
fn s06_capabilities_are_exactly_those_asked_for() {
    let env = loaded("s06");
    let all = caps(&env.probe(&["--privileged"], &["report"]))[3].clone();
    let net_admin = "00000000800415fb";
    for (options, permitted, bounding) in [
        (&[][..], DEFAULT_CAPS, DEFAULT_CAPS),
        (&["-u", "1000"], NO_CAPS, DEFAULT_CAPS),
        (&["--cap-drop=all"], NO_CAPS, NO_CAPS),
        (&["--cap-drop=ALL", "--cap-add=chown"], "0000000000000001", "0000000000000001"),
        (&["--cap-add=NET_ADMIN"], net_admin, net_admin),
        (&["--cap-add=CAP_NET_ADMIN", "--cap-drop=NET_ADMIN"], "", ""),
        (&["--privileged"], &all, &all),
        (&["--privileged", "-u", "1000"], NO_CAPS, &all),
    ] {
        let mut args = vec!["run", "--rm", "--network=none"];
        args.extend(options);
        args.extend([IMAGE, "/probe", "report"]);
        let outcome = env.run(&args);
        if permitted.is_empty() {
            assert_eq!(outcome.code, 125, "asked and not asked for: {outcome:#?}");
            continue;
        }
        let report: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:#?}"));
        assert_eq!(caps(&report), [NO_CAPS, permitted, permitted, bounding, NO_CAPS], "{options:?}");
    }
    assert!(
        env.fails(125, ["run", "--rm", "--cap-add=nosuch", IMAGE, "true"]).to_lowercase().contains("nosuch")
    );
}

#[test]
fn s06_added_capabilities_reach_a_user_only_as_podman_gives_them() {
    let env = loaded("s06user");
    // Asked for by name: the user gets it, in all sets but the inheritable of others.
    let report = env.probe(&["-u", "1000", "--cap-add=NET_ADMIN"], &["report"]);
    let bit = 1_u64 << 12;
    let found: Vec<u64> = caps(&report).iter().map(|set| u64::from_str_radix(set, 16).unwrap()).collect();
    assert_eq!(found[1], found[2], "{report:#}");
    assert_eq!(found[2] & !bit, 0, "more than was asked for: {report:#}");
    assert_eq!(found[3], u64::from_str_radix(DEFAULT_CAPS, 16).unwrap() | bit);
}

#[test]
fn s06_exec_has_no_more_than_run() {
    let env = loaded("s06exec");
    env.ok(["run", "-d", "--name", "c", "--network=none", IMAGE, "sleep", "1000"]);
    let probe = |options: &[&str]| -> Value {
        let mut args = vec!["exec"];
        args.extend(options);
        args.extend(["c", "/probe", "report"]);
        serde_json::from_str(&env.ok(args)).unwrap()
    };
    let report = probe(&[]);
    assert_eq!(caps(&report), [NO_CAPS, DEFAULT_CAPS, DEFAULT_CAPS, DEFAULT_CAPS, NO_CAPS]);
    assert_eq!(report["status"]["Seccomp"], "2", "the filter applies to exec as well");
    let report = probe(&["-u", "1000"]);
    assert_eq!(caps(&report), [NO_CAPS, NO_CAPS, NO_CAPS, DEFAULT_CAPS, NO_CAPS]);
    let report = probe(&["--privileged"]);
    let sets = caps(&report);
    assert_eq!((&sets[0], &sets[4]), (&NO_CAPS.to_owned(), &NO_CAPS.to_owned()));
    assert_eq!(sets[1], sets[3]);
    assert_ne!(sets[1], DEFAULT_CAPS);
    env.ok(["rm", "-f", "-t", "0", "c"]);
}

#[test]
fn s05_inherited_descriptors_do_not_reach_the_container() {
    let env = loaded("s05");
    env.ok(["run", "-d", "--name", "c", "--network=none", IMAGE, "sleep", "1000"]);
    let rbox = env.command([""; 0]);
    let through_shell = |line: &str| -> Value {
        let mut shell = Command::new("/bin/bash");
        let line = format!("exec 7</etc 9<{} 20</etc/passwd; exec \"$0\" {line}", env.home().display());
        shell.args(["-c", &line]).arg(rbox.get_program()).current_dir(env.work()).env_clear();
        shell.envs(rbox.get_envs().filter_map(|(k, v)| Some((k, v?)))).stdin(Stdio::null());
        let outcome = outcome(&mut shell);
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{line}: {outcome:#?}"))
    };
    let numbers = |report: &Value| report["fds"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for line in [
        format!("run --rm --network=none {IMAGE} /probe report"),
        format!("run -i --rm --network=none {IMAGE} /probe report"),
        format!("run -t --rm --network=none {IMAGE} /probe report"),
        format!("run --init --rm --network=none {IMAGE} /probe report"),
        "exec c /probe report".to_owned(),
        "exec -i c /probe report".to_owned(),
    ] {
        let report = through_shell(&line);
        assert_eq!(numbers(&report), ["0", "1", "2"], "{line}: {:#}", report["fds"]);
    }
    env.ok(["rm", "-f", "-t", "0", "c"]);
    let mut shell = Command::new("/bin/bash");
    let line = format!(
        "exec 3</etc/hostname 4</etc; exec \"$0\" run --preserve-fds=1 --rm --network=none {IMAGE} /probe report"
    );
    shell.args(["-c", &line]).arg(rbox.get_program()).current_dir(env.work()).env_clear();
    shell.envs(rbox.get_envs().filter_map(|(k, v)| Some((k, v?)))).stdin(Stdio::null());
    let report: Value = serde_json::from_str(&outcome(&mut shell).stdout).unwrap();
    assert_eq!(numbers(&report), ["0", "1", "2", "3"], "{report:#}");
}

#[test]
fn s12_terminals_take_no_injected_input() {
    let env = loaded("s12");
    let refused = |report: &Value| {
        for (call, answer) in report.as_object().unwrap() {
            let errno = answer.as_i64().unwrap_or(0);
            assert!([EPERM, 25, 22].contains(&errno), "{call}: {answer}");
        }
    };
    // Without a terminal of its own the container must not reach the caller's; with one, not even that.
    for options in ["-i", "-it"] {
        let rbox = env.command([""; 0]);
        let line = format!(
            "{} run {options} --rm --network=none {IMAGE} /probe tty; timeout 1 cat",
            rbox.get_program().to_str().unwrap()
        );
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env_clear().current_dir(env.work());
        script.envs(rbox.get_envs().filter_map(|(k, v)| Some((k, v?)))).stdin(Stdio::piped());
        let outcome = outcome(&mut script);
        let json = outcome.stdout.find('{').unwrap_or_else(|| panic!("{outcome:#?}"));
        let end = outcome.stdout.find('}').unwrap();
        refused(&serde_json::from_str(&outcome.stdout[json..=end]).unwrap());
        // What follows the report would be what the outer shell's `cat` got to read.
        let rest = outcome.stdout[end + 1..].replace(['\r', '\n'], "");
        assert_eq!(rest, "", "{outcome:#?}");
    }
}

#[test]
fn s13_keys_of_the_session_stay_outside() {
    let env = loaded("s13");
    let probe = probe_binary();
    let rbox = env.command([""; 0]);
    for options in [&[][..], &["--security-opt=seccomp=unconfined"], &["--privileged"]] {
        let mut command = Command::new(&probe);
        command.args(["with-key", "rboxsecret"]).arg(rbox.get_program());
        command.args(["run", "--rm", "--network=none"]).args(options).args([
            IMAGE,
            "/probe",
            "find-key",
            "rboxsecret",
        ]);
        command.current_dir(env.work()).env_clear().envs(rbox.get_envs().filter_map(|(k, v)| Some((k, v?))));
        let outcome = outcome(command.stdin(Stdio::null()));
        let report: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:#?}"));
        for (ring, answer) in report["found"].as_object().unwrap_or_else(|| panic!("{report}")) {
            assert_ne!(answer, "ok", "{options:?}: found in keyring {ring}");
        }
        if options != ["--privileged"] {
            assert_eq!(report["listed"], false, "{options:?}: /proc/keys shows it");
        }
    }
    // The oracle itself: on the host the same search finds the key.
    let mut control = Command::new(&probe);
    control.args(["with-key", "rboxsecret"]).arg(&probe).args(["find-key", "rboxsecret"]);
    let report: Value = serde_json::from_str(&outcome(&mut control).stdout).unwrap();
    assert_eq!(report["found"]["-3"], "ok", "{report}");
}

#[test]
fn s14_dangerous_system_calls_are_refused() {
    let env = loaded("s14");
    let report = env.probe(&[], &["syscalls"]);
    for (name, answer) in report.as_object().unwrap() {
        let errno = answer.as_i64().unwrap_or(0);
        let unknown = matches!(name.as_str(), "clone3" | "nosuchcall");
        assert!(errno == ENOSYS || (errno == EPERM && !unknown), "{name}: {answer}");
    }
    // The oracle itself: without the filter the kernel's own answers differ.
    let control = env.probe(&["--security-opt=seccomp=unconfined", "--cap-add=SYS_ADMIN"], &["syscalls"]);
    for name in [
        "add_key",
        "keyctl",
        "mount",
        "umount2",
        "move_mount",
        "open_tree",
        "mount_setattr",
        "setns",
        "unshare_user",
        "clone3",
        "io_uring_setup",
    ] {
        assert_ne!(report[name], control[name], "{name} is refused by something else than the filter");
    }
    assert_eq!(env.probe(&[], &["report"])["status"]["Seccomp"], "2");
    assert_eq!(env.probe(&["--security-opt=seccomp=unconfined"], &["report"])["status"]["Seccomp"], "0");
}

#[test]
fn s16_socket_families_are_an_allow_list() {
    let env = loaded("s16");
    let allowed = |options: &[&str]| {
        let report = env.probe(options, &["sockets"]);
        let ok = report.as_object().unwrap().iter().filter(|(_, v)| *v == "ok");
        let mut families: Vec<u32> = ok.map(|(k, _)| k.parse().unwrap()).collect();
        families.sort_unstable();
        families
    };
    let (unix, inet, inet6, netlink, packet) = (1, 2, 10, 16, 17);
    assert_eq!(allowed(&[]), [unix, inet, inet6, netlink]);
    assert_eq!(allowed(&["--cap-add=NET_RAW"]), [unix, inet, inet6, netlink, packet]);
    let report = env.probe(&["--privileged"], &["sockets"]);
    assert_eq!(report["17"], "ok");
}

#[test]
fn s17_no_nested_namespaces_and_no_network_administration() {
    let env = loaded("s17");
    for command in [
        "unshare -Urn true",
        "unshare -m true",
        "unshare -U true",
        "ip link add d0 type dummy",
        "ip link set lo mtu 1000",
    ] {
        let outcome = env.run(["run", "--rm", "--network=none", IMAGE, "sh", "-c", command]);
        assert_ne!(outcome.code, 0, "{command}: {outcome:#?}");
        let refused = ["Operation not permitted", "Function not implemented"];
        assert!(refused.iter().any(|r| outcome.stderr.contains(r)), "{command}: {outcome:#?}");
    }
}

#[test]
fn s20_crashes_write_no_core_files() {
    let env = loaded("s20");
    let script = "cd /tmp; sh -c 'kill -SEGV $$'; ls /tmp; ulimit -c; echo x > /proc/sys/kernel/core_pattern";
    // The caller's own limit would allow them.
    let rbox = env.command([""; 0]);
    let mut shell = Command::new("/bin/sh");
    let line = "ulimit -c unlimited; exec \"$@\"";
    shell.args(["-c", line, "sh"]).arg(rbox.get_program()).current_dir(env.work()).env_clear();
    shell.envs(rbox.get_envs().filter_map(|(k, v)| Some((k, v?)))).stdin(Stdio::null());
    shell.args(["run", "--rm", "--network=none", IMAGE, "sh", "-c", script]);
    let outcome = outcome(&mut shell);
    assert_eq!(outcome.stdout, "0\n", "{outcome:#?}");
    assert_ne!(outcome.code, 0);
}

#[test]
fn s21_only_namespaced_sysctls_are_set() {
    let env = loaded("s21");
    for sysctl in [
        "kernel.core_pattern=x",
        "kernel.shm_rmid_forced=1+kernel.core_pattern=|/x",
        "net.a/../../kernel/core_pattern=1",
        "net/../kernel/core_pattern=1",
        "vm.overcommit_memory=1",
        "fs.file-max=10",
        "kernel.shm_rmid_forced",
        "=1",
    ] {
        let outcome = env.run(["run", "--rm", "--network=none", "--sysctl", sysctl, IMAGE, "true"]);
        assert!((125..=127).contains(&outcome.code), "{sysctl:?}: {outcome:#?}");
        assert!(
            !outcome.stderr.is_empty() && !outcome.stderr.contains("panicked"),
            "{sysctl:?}: {outcome:#?}"
        );
    }
    // What follows a line end is not read at all, as by podman: nothing of it may be set.
    let pattern = || std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let before = pattern();
    let smuggled = "--sysctl=kernel.shm_rmid_forced=1\nkernel.core_pattern=|/x";
    let outcome =
        env.run(["run", "--rm", "--network=none", smuggled, IMAGE, "cat", "/proc/sys/kernel/core_pattern"]);
    assert!(outcome.code != 0 || outcome.stdout == before, "{outcome:#?}");
    assert_eq!(pattern(), before);
    // A network setting would change the host's network there.
    let outcome = env.run(["run", "--rm", "--network=host", "--sysctl=net.ipv4.ip_forward=1", IMAGE, "true"]);
    assert_eq!(outcome.code, 125, "{outcome:#?}");
    let args = [
        "run",
        "--rm",
        "--network=none",
        "--sysctl=kernel.msgmax=12345",
        IMAGE,
        "cat",
        "/proc/sys/kernel/msgmax",
    ];
    assert_eq!(env.ok(args), "12345");
}

#[test]
fn s32_kernel_information_is_masked() {
    let env = loaded("s32");
    let masked = [
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
        "/sys/devices/system/cpu/cpu0/thermal_throttle",
    ];
    let knobs = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/vm/drop_caches",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/proc/sys/kernel/domainname",
        "/sys/kernel/uevent_helper",
    ];
    let mut mode = vec!["paths"];
    mode.extend(masked);
    mode.extend(knobs);
    let report = env.probe(&[], &mode);
    for path in masked {
        let read = &report[path]["read"];
        let nothing = read["bytes"] == 0 || read["entries"] == 0 || read["errno"].is_i64();
        assert!(nothing, "{path}: {read}");
    }
    for path in knobs {
        let errno = report[path]["write"]["errno"].as_i64();
        assert!(matches!(errno, Some(1 | 2 | 13 | 30)), "{path}: {}", report[path]);
    }
    // Parameters of the container's own namespaces are its root's by their owner: only the mount keeps them.
    let own = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax"];
    let report = env.probe(&["--cap-add=NET_ADMIN"], &["paths", own[0], own[1]]);
    for path in own {
        assert_eq!(report[path]["write"]["errno"], 30, "{path}: {report}");
    }
    // A mask cannot be taken off.
    for command in
        ["umount /proc/keys", "umount -l /proc/keys", "umount /proc/sys", "mount -o remount,rw /proc/sys"]
    {
        let outcome = env.run(["run", "--rm", "--network=none", IMAGE, "sh", "-c", command]);
        assert_eq!(outcome.code, 1, "{command}: {outcome:#?}");
    }
    // The oracle itself: unmasked, something is there.
    let report =
        env.probe(&["--security-opt=unmask=all"], &["paths", "/proc/timer_list", "/proc/interrupts"]);
    assert!(report["/proc/interrupts"]["read"]["bytes"].as_i64() > Some(0), "{report}");
    let report = env.probe(&["--security-opt=mask=/etc/passwd"], &["paths", "/etc/passwd"]);
    assert_eq!(report["/etc/passwd"]["read"]["bytes"], 0, "{report}");
}

#[test]
fn s34_control_groups_are_read_only_and_private() {
    let env = loaded("s34");
    let script = "mkdir /tmp/c; mount -t cgroup -o memory c /tmp/c; mount -t cgroup2 c /tmp/c; \
                  for f in $(find /sys/fs/cgroup -name cgroup.procs -o -name release_agent 2>/dev/null); do echo $$ > $f && echo wrote $f; done; true";
    for options in [&[][..], &["--cgroupns=host"]] {
        let mut args = vec!["run", "--rm", "--network=none"];
        args.extend(options);
        args.extend([IMAGE, "sh", "-c", script]);
        let outcome = env.run(args);
        assert_eq!(outcome.stdout, "", "{options:?}: {outcome:#?}");
    }
    let report = env.probe(&[], &["report"]);
    for line in report["cgroup"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()) {
        // On a hybrid host the v1 hierarchies stay where the caller is; the v2 one is private.
        assert!(!line.starts_with("0::") || line == "0::/", "{line}");
    }
}

#[test]
fn s36_devices_cannot_be_made() {
    let env = loaded("s36");
    let outcome = env.run([
        "run",
        "--rm",
        "--network=none",
        IMAGE,
        "sh",
        "-c",
        "mknod /tmp/m c 1 1; mknod /tmp/b b 8 0; mknod /dev/n c 1 3",
    ]);
    assert_ne!(outcome.code, 0);
    let refused = outcome.stderr.matches("Operation not permitted").count()
        + outcome.stderr.matches("Read-only").count();
    assert_eq!(refused, 3, "{outcome:#?}");
}

#[test]
fn s39_nothing_tells_who_the_user_is_on_the_host() {
    let mut env = loaded("s39");
    env.set("USER", "hostusername").set("SECRET_OF_HOST", "hostsecret");
    let user = std::env::var("USER").unwrap();
    for options in [&[][..], &["--privileged"]] {
        let report = env.probe(options, &["report"]);
        let text = report.to_string();
        // Bind mounts show their source relative to its file system.
        let store = "/rbox/containers/";
        for needle in
            ["hostusername", "hostsecret", store, env.home().to_str().unwrap(), &format!("/home/{user}")]
        {
            assert!(!text.contains(needle), "{options:?}: {needle} is in {report:#}");
        }
    }
}

#[test]
fn privileged_containers_say_what_they_are() {
    let env = loaded("privileged");
    let report = env.probe(&["--privileged"], &["report"]);
    assert_eq!(report["status"]["Seccomp"], "0");
    assert_eq!(report["status"]["NoNewPrivs"], "0");
    let answers = env.probe(&["--privileged"], &["syscalls"]);
    assert_eq!(answers["unshare_mount"], "ok", "{answers}");
    // Still in a user namespace: the kernel itself stays out of reach.
    assert_eq!(answers["swapon"], EPERM, "{answers}");
}

#[test]
fn processes_of_the_host_are_out_of_sight() {
    let env = loaded("pidns");
    let outcome = env.run([
        "run",
        "--rm",
        "--network=none",
        IMAGE,
        "sh",
        "-c",
        "echo $$; ps -o pid= | wc -l; ls -d /proc/[0-9]* | wc -l",
    ]);
    let lines: Vec<u32> = outcome.stdout.lines().map(|l| l.trim().parse().unwrap()).collect();
    assert_eq!(lines[0], 1);
    assert!(lines[1] <= 4 && lines[2] <= 4, "{outcome:#?}");
}

#[test]
fn custom_seccomp_profiles_apply_and_broken_ones_are_refused() {
    let env = loaded("seccomp");
    let profile = env.work().join("profile.json");
    let text = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
    ]});
    std::fs::write(&profile, text.to_string()).unwrap();
    let option = format!("--security-opt=seccomp={}", profile.display());
    let outcome = env.run(["run", "--rm", "--network=none", &option, IMAGE, "sh", "-c", "mkdir /tmp/x"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("not supported"), "{outcome:#?}");
    for text in ["{", "[]", "{\"defaultAction\": \"SCMP_ACT_NOSUCH\"}", ""] {
        std::fs::write(&profile, text).unwrap();
        let outcome = env.run(["run", "--rm", "--network=none", &option, IMAGE, "true"]);
        assert!(
            (125..=126).contains(&outcome.code) && !outcome.stderr.contains("panicked"),
            "{text:?}: {outcome:#?}"
        );
    }
    let outcome = env.run(["run", "--rm", "--network=none", "--security-opt=seccomp=/nosuch", IMAGE, "true"]);
    assert!(outcome.code == 125 && outcome.stderr.contains("/nosuch"), "{outcome:#?}");
    let outcome = env.run(["run", "--rm", "--network=none", "--security-opt=nosuch=1", IMAGE, "true"]);
    assert_eq!(outcome.code, 125, "{outcome:#?}");
}

#[test]
fn s60_images_cannot_ask_for_privileges() {
    // Labels and annotations of an image are content.
    let env = TestEnv::new("s60");
    let mut config = busybox_config();
    config["Labels"] = json!({
        "io.podman.annotations.privileged": "TRUE", "io.podman.annotations.init": "TRUE", "privileged": "true",
        "io.podman.annotations.seccomp": "unconfined", "run.oci.keep_original_groups": "1", "io.containers.capabilities": "SYS_ADMIN",
    });
    env.load_image("localhost/busybox:latest", &busybox_entries(), &config);
    let report = env.probe(&[], &["report"]);
    assert_eq!(caps(&report)[1], DEFAULT_CAPS);
    assert_eq!(report["status"]["Seccomp"], "2");
}
