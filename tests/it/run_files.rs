//! `run`: bind mounts, tmpfs, volumes of images and the read-only root.

use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};

use super::support::TestEnv;
use super::support::image::{busybox_entries, dir, file, link};

const IMAGE: &str = "localhost/busybox";

fn loaded(name: &str) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    let shared = env.work().join("shared");
    std::fs::create_dir_all(shared.join("sub")).unwrap();
    std::fs::write(shared.join("file"), "from host\n").unwrap();
    env
}

fn shared(env: &TestEnv) -> String {
    env.work().join("shared").to_str().unwrap().to_owned()
}

fn sh(env: &TestEnv, options: &[&str], script: &str) -> super::support::Outcome {
    let mut args = vec!["run", "--rm", "--network=none"];
    args.extend(options);
    args.extend([IMAGE, "sh", "-c", script]);
    env.run(args)
}

/// The options of the mount at `target`, per mount and per super block.
fn mount_options(report: &Value, target: &str) -> (Vec<String>, String) {
    let lines = report["mountinfo"].as_array().unwrap();
    let line = lines.iter().map(|l| l.as_str().unwrap()).rfind(|l| l.split(' ').nth(4) == Some(target));
    let line = line.unwrap_or_else(|| panic!("nothing is mounted at {target}: {lines:#?}"));
    let options = line.split(' ').nth(5).unwrap().split(',').map(str::to_owned).collect();
    (options, line.split(" - ").nth(1).unwrap().to_owned())
}

#[test]
fn bind_mounts_show_and_take_files() {
    let env = loaded("bind");
    let host = shared(&env);
    for option in [
        format!("-v={host}:/m"),
        format!("--volume={host}:/m:rw"),
        format!("--mount=type=bind,src={host},dst=/m"),
        format!("--mount=type=bind,source={host},target=/m,readonly=false"),
        format!("-v={host}:/m:z,rslave"),
        "-v=./shared:/m".to_owned(),
    ] {
        let outcome = sh(&env, &[&option], "cat /m/file; echo written > /m/new");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "from host\n"), "{option}: {outcome:#?}");
        let new = env.work().join("shared/new");
        assert_eq!(std::fs::read_to_string(&new).unwrap(), "written\n", "{option}");
        std::fs::remove_file(new).unwrap();
    }
}

#[test]
fn read_only_bind_mounts_refuse_writing() {
    let env = loaded("bindro");
    let host = shared(&env);
    for option in [
        format!("-v={host}:/m:ro"),
        format!("--mount=type=bind,src={host},dst=/m,ro"),
        format!("--mount=type=bind,src={host},dst=/m,readonly"),
        format!("--mount=type=bind,src={host},dst=/m,ro=true"),
    ] {
        let outcome = sh(&env, &[&option], "cat /m/file && touch /m/new");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (1, "from host\n"), "{option}: {outcome:#?}");
        assert!(outcome.stderr.contains("Read-only"), "{option}: {outcome:#?}");
        assert!(!env.work().join("shared/new").exists());
    }
}

#[test]
fn single_files_are_mounted() {
    let env = loaded("bindfile");
    let option = format!("-v={}/file:/etc/mounted", shared(&env));
    assert_eq!(sh(&env, &[&option], "cat /etc/mounted").stdout, "from host\n");
    let option = format!("-v={}/file:/new/deep/file:ro", shared(&env));
    assert_eq!(sh(&env, &[&option], "cat /new/deep/file").stdout, "from host\n");
}

#[test]
fn s36_mounts_carry_no_devices_and_no_set_user_id() {
    let env = loaded("s36flags");
    let host = shared(&env);
    let report = env.probe(&["-v", &format!("{host}:/m"), "--tmpfs", "/t"], &["report"]);
    for target in ["/m", "/t"] {
        let (options, _) = mount_options(&report, target);
        for wanted in ["nosuid", "nodev"] {
            assert!(options.iter().any(|o| o == wanted), "{target}: {options:?}");
        }
    }
    for target in ["/proc", "/sys", "/dev/shm", "/dev/mqueue"] {
        let (options, _) = mount_options(&report, target);
        for wanted in ["nosuid", "nodev", "noexec"] {
            assert!(options.iter().any(|o| o == wanted), "{target}: {options:?}");
        }
    }
    assert!(mount_options(&report, "/sys").0.contains(&"ro".to_owned()));
    let has = |report: &Value, target: &str, wanted: &[&str]| {
        let (options, _) = mount_options(report, target);
        assert!(wanted.iter().all(|w| options.iter().any(|o| o == w)), "{target}: {options:?}");
    };
    has(&report, "/", &["nodev"]);
    for node in ["/dev/null", "/dev/tty", "/dev/urandom"] {
        has(&report, node, &["nosuid", "noexec"]);
    }
    for name in ["/etc/hosts", "/etc/hostname"] {
        has(&report, name, &["nosuid", "nodev"]);
    }
    has(&report, "/sys/fs/cgroup", &["ro", "nosuid", "nodev", "noexec"]);
    has(
        &env.probe(&["--cgroupns=host"], &["report"]),
        "/sys/fs/cgroup",
        &["ro", "nosuid", "nodev", "noexec"],
    );
}

#[test]
fn missing_sources_and_bad_targets_are_refused() {
    let env = loaded("badbind");
    let host = shared(&env);
    for (option, part) in [
        (format!("-v={host}/nosuch:/m"), "nosuch"),
        (format!("-v={host}:m"), "m"),
        (format!("-v={host}:/m:nosuchoption"), "nosuchoption"),
        (format!("--mount=type=bind,src={host}/nosuch,dst=/m"), "nosuch"),
        (format!("--mount=type=bind,src={host}"), "volume destination"),
        (format!("--mount=type=nosuch,src={host},dst=/m"), "nosuch"),
        (format!("--mount=type=bind,src={host},dst=/m,nosuch=1"), "nosuch"),
        ("--tmpfs=relative".to_owned(), "relative"),
        ("--tmpfs=/t:size=many".to_owned(), "tmpfs"),
    ] {
        let outcome = sh(&env, &[&option], "true");
        assert!((125..=126).contains(&outcome.code), "{option}: {outcome:#?}");
        assert!(outcome.stderr.contains(part), "{option}: {}", outcome.stderr);
    }
    let twice = [format!("-v={host}:/m"), format!("-v={host}/sub:/m")];
    assert_eq!(sh(&env, &[&twice[0], &twice[1]], "true").code, 125, "two mounts at one place");
    assert_eq!(env.ok(["ps", "-aq"]), "");
}

#[test]
fn s37_propagation_is_validated_and_private_by_default() {
    let env = loaded("s37");
    let host = shared(&env);
    for options in ["rshared,ro,foo", "rshared,suid,nosuch", "shared,slave", "rprivate rshared"] {
        let outcome = sh(&env, &[&format!("-v={host}:/m:{options}")], "true");
        assert_eq!(outcome.code, 125, "{options}: {outcome:#?}");
    }
    let outcome =
        sh(&env, &[&format!("--mount=type=bind,src={host},dst=/m,bind-propagation=nosuch")], "true");
    assert_eq!(outcome.code, 125, "{outcome:#?}");
    // No peer group: nothing mounted on one side shows on the other.
    let report = env.probe(&["-v", &format!("{host}:/m")], &["report"]);
    let mut lines = report["mountinfo"].as_array().unwrap().iter().map(|l| l.as_str().unwrap());
    let line = lines.rfind(|l| l.split(' ').nth(4) == Some("/m")).unwrap().to_owned();
    assert!(!line.contains("shared:") && !line.contains("master:"), "{line}");
}

#[test]
fn tmpfs_has_its_size_mode_and_copy_of_the_image() {
    let env = TestEnv::new("tmpfs");
    let mut entries = busybox_entries();
    entries.extend([dir("filled"), file("filled/kept", "x")]);
    env.load_image("localhost/busybox:latest", &entries, &json!({"Env": ["PATH=/bin"]}));
    let outcome = sh(
        &env,
        &["--tmpfs=/t:size=1m,mode=0711"],
        "df -k /t | tail -n 1 | tr -s ' ' | busybox cut -d' ' -f2; stat -c %a /t; dd if=/dev/zero of=/t/big bs=1M count=2 2>/dev/null",
    );
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, "1024\n711\n"), "{outcome:#?}");
    let script = "ls /filled; stat -c %a /filled";
    assert_eq!(sh(&env, &["--tmpfs=/filled"], script).stdout.lines().next(), Some("kept"));
    assert_eq!(
        sh(
            &env,
            &["--mount=type=tmpfs,dst=/t,tmpfs-size=512k,notmpcopyup"],
            "mount | grep -c 'on /t .*size=512k'"
        )
        .stdout,
        "1\n"
    );
}

#[test]
fn a_read_only_root_keeps_temporary_folders_writable() {
    let env = loaded("readonly");
    let script =
        "for d in / /etc /tmp /run /var/tmp /dev/shm; do touch $d/x 2>/dev/null && echo $d; done; true";
    assert_eq!(sh(&env, &["--read-only"], script).stdout, "/tmp\n/run\n/var/tmp\n/dev/shm\n");
    assert_eq!(sh(&env, &["--read-only", "--read-only-tmpfs=false"], script).stdout, "");
    assert_eq!(sh(&env, &[], script).stdout.lines().next(), Some("/"));
}

#[test]
fn shared_memory_has_the_asked_size() {
    let env = loaded("shm");
    let script = "df -k /dev/shm | tail -n 1 | tr -s ' ' | busybox cut -d' ' -f2";
    assert_eq!(sh(&env, &[], script).stdout, "65536\n");
    assert_eq!(sh(&env, &["--shm-size=8m"], script).stdout, "8192\n");
    assert_eq!(sh(&env, &["--shm-size=lots"], script).code, 125);
}

#[test]
fn overlay_and_chown_options_of_volumes() {
    let env = loaded("volopts");
    let host = shared(&env);
    let outcome = sh(&env, &[&format!("-v={host}:/m:O")], "cat /m/file; echo x > /m/new; rm /m/file; ls /m");
    assert_eq!(outcome.stdout, "from host\nnew\nsub\n", "{outcome:#?}");
    assert!(env.work().join("shared/file").exists() && !env.work().join("shared/new").exists());
    let own = rustix::process::getuid().as_raw();
    let outcome = sh(
        &env,
        &["-u", "1000:2000", &format!("-v={host}:/m:U")],
        "stat -c %u:%g /m /m/file; echo y >> /m/file",
    );
    assert_eq!(outcome.stdout, "1000:2000\n1000:2000\n", "{outcome:#?}");
    assert_ne!(std::fs::metadata(&host).unwrap().uid(), own);
    env.ok(["unshare", "chown", "-R", "0:0", &host]);
}

#[test]
fn links_in_the_image_do_not_lead_mounts_astray() {
    let env = TestEnv::new("mountlink");
    let mut entries = busybox_entries();
    entries.extend([dir("real"), link("l", "/real"), link("up", "../../../real"), link("etc/abs", "/real")]);
    env.load_image("localhost/busybox:latest", &entries, &json!({"Env": ["PATH=/bin"]}));
    std::fs::create_dir(env.work().join("shared")).unwrap();
    std::fs::write(env.work().join("shared/file"), "x").unwrap();
    for target in ["/l", "/up", "/etc/abs", "/l/deeper", "/etc/../l"] {
        let outcome = sh(&env, &[&format!("-v={}:{target}", shared(&env))], "find /real -name file");
        let place = if target.ends_with("deeper") { "/real/deeper/file\n" } else { "/real/file\n" };
        assert_eq!(outcome.stdout, place, "{target}: {outcome:#?}");
    }
}

#[test]
fn s41_volumes_of_images_are_filled_once_and_private_to_the_container() {
    let env = TestEnv::new("imagevol");
    let mut entries = busybox_entries();
    entries.extend([dir("data"), file("data/f", "image\n")]);
    env.load_image("localhost/vol:1", &entries, &json!({"Env": ["PATH=/bin"], "Volumes": {"/data": {}}}));
    let args = |name: &'static str, script: &'static str| {
        ["run", "--name", name, "--network=none", "localhost/vol:1", "sh", "-c", script]
    };
    assert_eq!(env.ok(args("one", "cat /data/f; echo changed > /data/f")), "image");
    assert_eq!(env.ok(args("two", "cat /data/f")), "image");
    assert_eq!(env.ok(["start", "-a", "one"]), "changed");
    env.ok(["rm", "-v", "one", "two"]);
    let args =
        ["run", "--rm", "--network=none", "--image-volume=ignore", "localhost/vol:1", "cat", "/data/f"];
    assert_eq!(env.ok(args), "image");
    let args = ["run", "--rm", "--network=none", "--image-volume=tmpfs", "localhost/vol:1", "ls", "/data"];
    assert_eq!(env.ok(args), "f");
}

#[test]
fn mount_order_follows_the_depth_of_targets() {
    let env = loaded("order");
    let host = shared(&env);
    let inner = env.work().join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(inner.join("deep"), "deep\n").unwrap();
    let outcome = sh(
        &env,
        &[&format!("-v={}:/m/sub", inner.display()), &format!("-v={host}:/m"), "--tmpfs=/m/sub/t"],
        "cat /m/file /m/sub/deep; ls -d /m/sub/t",
    );
    assert_eq!(outcome.stdout, "from host\ndeep\n/m/sub/t\n", "{outcome:#?}");
}

#[test]
fn devices_are_the_usual_ones_and_those_asked_for() {
    let env = loaded("devices");
    let listing = sh(&env, &[], "ls /dev").stdout;
    let mut found: Vec<_> = listing.lines().collect();
    found.retain(|name| *name != "console" && *name != "core");
    let usual = [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ];
    assert_eq!(found, usual);
    let script = "echo x > /dev/null && test $(dd if=/dev/zero bs=10 count=1 2>/dev/null | wc -c) = 10 && head -c 4 /dev/urandom | wc -c; echo x > /dev/full";
    let outcome = sh(&env, &[], script);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, "4\n"), "{outcome:#?}");
    let outcome = sh(&env, &["--device=/dev/full:/dev/mine"], "ls /dev/mine; echo x > /dev/mine");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, "/dev/mine\n"), "{outcome:#?}");
    assert_eq!(sh(&env, &["--device=/dev/nosuch"], "true").code, 125);
}
