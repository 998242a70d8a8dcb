//! Root file systems made to lead the runtime astray while it prepares them. Names of tests carry the numbers of
//! the attack catalogue.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::support::canary::Canary;
use super::support::env::{finish, outcome, rbox_binary, spawn_captured};
use super::support::image::{Entry, busybox_config, busybox_entries, dir, file, gzip, layer, link, sha256};
use super::support::{Outcome, TestEnv};

const EVIL: &str = "localhost/evil:1";

/// The busybox system without the entries called `without`, and with `more`.
fn system(without: &str, more: Vec<Entry>) -> Vec<Entry> {
    let mut entries = busybox_entries();
    entries.retain(|entry| match entry {
        Entry::Dir(name, _) | Entry::File(name, ..) | Entry::Link(name, _) => {
            name.trim_end_matches('/') != without
        }
        _ => true,
    });
    entries.extend(more);
    entries
}

/// A run ended with a decent error or with success, and the canary is as it was.
#[track_caller]
fn harmless(what: &str, canary: &Canary, outcome: &Outcome) {
    assert!(!outcome.stderr.contains("panicked"), "{what}: {outcome:#?}");
    assert!(outcome.code < 128 || outcome.code == 255, "{what}: {outcome:#?}");
    canary.assert_unseen(&outcome.stdout);
    canary.assert_unseen(&outcome.stderr);
    canary.assert_untouched();
}

fn run(env: &TestEnv, options: &[&str], command: &[&str]) -> Outcome {
    let mut args = vec!["run", "--rm", "--network=none"];
    args.extend(options);
    args.push(EVIL);
    args.extend(command);
    env.run(args)
}

/// A copy of rbox that the container's root could write if it could reach it.
fn writable_copy(env: &TestEnv) -> PathBuf {
    let copy = env.work().join("rbox");
    std::fs::copy(rbox_binary(), &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

#[test]
fn s01_the_binary_of_rbox_cannot_be_written_from_inside() {
    let env = TestEnv::new("s01");
    let more = vec![link("bin/evil", "/proc/self/exe"), link("evil", "/proc/1/exe")];
    env.load_image(EVIL, &system("", more), &busybox_config());
    let copy = writable_copy(&env);
    let before = sha256(&std::fs::read(&copy).unwrap());
    let sealed = env.command([""; 0]);
    let with_copy = |args: &[&str]| {
        let mut command = Command::new(&copy);
        command.args(args).env_clear().current_dir(env.work()).stdin(Stdio::null());
        command.envs(sealed.get_envs().filter_map(|(k, v)| Some((k, v?))));
        command
    };
    let mut watcher =
        with_copy(&["run", "--rm", "--name", "w", "--network=none", EVIL, "/probe", "exe-writers", "6"]);
    let watching = spawn_captured(&mut watcher);
    super::support::env::wait_until("the watcher runs", || {
        outcome(&mut with_copy(&["exec", "w", "true"])).code == 0
    });
    for _ in 0..40 {
        for command in [&["true"][..], &["/bin/evil", "x"], &["/evil"]] {
            let mut args = vec!["exec", "w"];
            args.extend(command);
            assert!(outcome(&mut with_copy(&args)).code <= 255);
        }
        // The link executes whatever the process at that moment is: it must not be rbox.
        let ran = outcome(&mut with_copy(&["run", "--rm", "--network=none", EVIL, "/bin/evil", "--version"]));
        assert!(!ran.stdout.contains("rbox version"), "rbox ran inside: {ran:#?}");
    }
    let found = finish(watching, &watcher);
    let report: Value = serde_json::from_str(&found.stdout).unwrap_or_else(|_| panic!("{found:#?}"));
    assert_eq!(report["writable"], json!({}), "{report:#}");
    assert!(report["tries"].as_u64() > Some(1000), "the oracle did not look: {report}");
    assert_eq!(sha256(&std::fs::read(&copy).unwrap()), before, "rbox was changed");
}

#[test]
fn s01_what_enters_a_container_cannot_be_looked_into() {
    let env = TestEnv::new("s01enter");
    env.load_image(EVIL, &busybox_entries(), &busybox_config());
    let mut watcher =
        env.command(["run", "--rm", "--name", "w", "--network=none", EVIL, "/probe", "exe-writers", "4"]);
    let watching = spawn_captured(watcher.stdin(Stdio::null()));
    super::support::env::wait_until("the watcher runs", || env.run(["exec", "w", "true"]).code == 0);
    for _ in 0..30 {
        env.run(["exec", "w", "true"]);
        env.run(["exec", "-u", "1000", "w", "true"]);
    }
    let found = finish(watching, &watcher);
    let report: Value = serde_json::from_str(&found.stdout).unwrap_or_else(|_| panic!("{found:#?}"));
    assert!(report["tries"].as_u64() > Some(1000), "the oracle did not look: {report}");
    // Not even a handle: at first it has more rights than the watcher, and when it has not it is not dumpable.
    assert_eq!(report["reached"], 0, "{report:#}");
}

#[test]
fn s03_working_directories_cannot_be_open_descriptors_of_the_host() {
    let env = TestEnv::new("s03");
    let canary = Canary::plant(&env.home().join("canary"));
    env.load_image(EVIL, &busybox_entries(), &busybox_config());
    let up = "../".repeat(20);
    let look = format!("cat {up}{}/secret; pwd; ls; /probe report", canary.dir().display());
    let inside = |what: &str, outcome: &Outcome| {
        harmless(what, &canary, outcome);
        if let Some(at) = outcome.stdout.find('{') {
            let report: Value = serde_json::from_str(&outcome.stdout[at..]).unwrap();
            let cwd = report["cwd"].as_str().unwrap();
            assert!(cwd.starts_with('/') && !cwd.contains("unreachable"), "{what}: {cwd}");
        }
    };
    for number in 3..=24 {
        for form in ["/proc/self/fd/N", "/proc/thread-self/fd/N/../../..", "/proc/1/fd/N"] {
            let path = form.replace('N', &number.to_string());
            inside(&path, &run(&env, &["-w", &path], &["sh", "-c", &look]));
        }
    }
    for path in ["/proc/self/cwd", "/proc/self/root", "/proc/1/cwd/..", "/proc/self/fd", "/dev/fd/7"] {
        inside(path, &run(&env, &["-w", path], &["sh", "-c", &look]));
        env.load_image(
            "localhost/evil:2",
            &busybox_entries(),
            &json!({"Env": ["PATH=/bin"], "WorkingDir": path}),
        );
        let outcome = env.run(["run", "--rm", "--network=none", "localhost/evil:2", "sh", "-c", &look]);
        inside(path, &outcome);
    }
    env.ok(["run", "-d", "--name", "c", "--network=none", EVIL, "sleep", "1000"]);
    for number in 3..=24 {
        let path = format!("/proc/self/fd/{number}");
        inside(&path, &env.run(["exec", "-w", &path, "c", "sh", "-c", &look]));
    }
    env.ok(["rm", "-f", "-t", "0", "c"]);
}

#[test]
fn s25_proc_and_sys_are_real() {
    let env = TestEnv::new("s25");
    let canary = Canary::plant(&env.home().join("canary"));
    let fake = vec![dir("fake"), dir("fake/self"), dir("fake/self/attr"), file("fake/self/status", "forged")];
    for (name, target) in [
        ("proc", "/fake"),
        ("proc", "fake"),
        ("sys", ".."),
        ("sys", "/"),
        ("proc", "/etc"),
        ("sys", canary.dir().to_str().unwrap()),
    ] {
        let what = format!("/{name} -> {target}");
        let mut more = fake.clone();
        more.push(link(name, target));
        env.load_image(EVIL, &system(name, more), &busybox_config());
        let outcome = run(&env, &[], &["/probe", "report"]);
        harmless(&what, &canary, &outcome);
        // Refused, or the name is a true proc again.
        if outcome.code == 0 {
            let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
            let mounted = report["mountinfo"].as_array().unwrap().iter().map(|l| l.as_str().unwrap());
            let kind = if name == "proc" { " - proc " } else { " - sysfs " };
            let at = format!(" /{name} ");
            assert!(mounted.clone().any(|l| l.contains(&at) && l.contains(kind)), "{what}: {report:#}");
        }
    }
    env.load_image(EVIL, &busybox_entries(), &busybox_config());
    let host = env.work().join("shared");
    std::fs::create_dir_all(host.join("self/attr")).unwrap();
    for target in ["/proc", "/proc/self/attr", "/proc/sys", "/proc/../proc", "/sys/../proc/self"] {
        let volume = format!("-v={}:{target}", host.display());
        let outcome = run(&env, &[&volume], &["cat", "/proc/self/status"]);
        harmless(target, &canary, &outcome);
        assert_ne!(outcome.code, 0, "{target}: {outcome:#?}");
    }
}

#[test]
fn s29_links_in_place_of_dev_lead_nowhere() {
    let env = TestEnv::new("s29");
    let canary = Canary::plant(&env.home().join("canary"));
    let target = canary.dir().to_str().unwrap();
    let up = format!("{}{target}", "../".repeat(20));
    let mut cases =
        vec![vec![link("dev", target)], vec![link("dev", &up)], vec![link("dev", "/proc/self/cwd")]];
    for name in ["pts", "ptmx", "fd", "shm", "mqueue", "null", "console", "stdin", "core"] {
        cases.push(vec![dir("dev"), link(&format!("dev/{name}"), target)]);
        cases.push(vec![dir("dev"), link(&format!("dev/{name}"), &format!("{target}/new"))]);
    }
    for more in cases {
        let what = format!("{more:?}");
        env.load_image(EVIL, &system("dev", more), &busybox_config());
        for options in [&[][..], &["-t"]] {
            let outcome = run(
                &env,
                options,
                &["sh", "-c", "ls -l /dev/; echo x > /dev/null; cat /dev/shm/secret /dev/pts/secret"],
            );
            harmless(&what, &canary, &outcome);
        }
    }
}

#[test]
fn s30_working_directories_are_made_inside_the_root() {
    let env = TestEnv::new("s30");
    let canary = Canary::plant(&env.home().join("canary"));
    let target = canary.dir().to_str().unwrap();
    let relative = format!("{}{target}", "../".repeat(20));
    for to in [target, &relative] {
        for config_dir in ["/w/new/deep", "/w/../w/new", "w/new", "/w"] {
            let config = json!({"Env": ["PATH=/bin"], "WorkingDir": config_dir, "User": "1000"});
            env.load_image(EVIL, &system("", vec![link("w", to)]), &config);
            harmless(config_dir, &canary, &run(&env, &[], &["sh", "-c", "pwd; touch here; ls"]));
        }
        harmless(to, &canary, &run(&env, &["-w", "/w/new/deep"], &["sh", "-c", "pwd; touch here"]));
        for volume in ["/w/sub", "/w"] {
            let host = env.work().join("shared");
            std::fs::create_dir_all(&host).unwrap();
            let option = format!("-v={}:{volume}", host.display());
            harmless(volume, &canary, &run(&env, &[&option], &["true"]));
        }
        harmless("tmpfs", &canary, &run(&env, &["--tmpfs=/w/t"], &["true"]));
        harmless("device", &canary, &run(&env, &["--device=/dev/null:/w/null"], &["true"]));
    }
}

#[test]
fn folders_that_are_made_are_open_to_users_of_the_container_whatever_the_umask() {
    let env = TestEnv::new("umask");
    let config = json!({"Env": ["PATH=/bin"], "WorkingDir": "/made/by/image", "User": "1000"});
    env.load_image(EVIL, &busybox_entries(), &config);
    let host = env.work().join("shared");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("file"), "seen").unwrap();
    std::fs::set_permissions(&host, std::fs::Permissions::from_mode(0o755)).unwrap();
    let rbox = env.command([""; 0]);
    let mut shell = Command::new("/bin/sh");
    let line = format!(
        "umask 077; exec \"$0\" run --rm --network=none -v {}:/deep/er/m {EVIL} \
         sh -c 'cat /deep/er/m/file; pwd; cat /etc/hosts >/dev/null && umask'",
        host.display()
    );
    shell.args(["-c", &line]).arg(rbox.get_program()).current_dir(env.work()).env_clear();
    shell.envs(rbox.get_envs().filter_map(|(k, v)| Some((k, v?)))).stdin(Stdio::null());
    let found = outcome(&mut shell);
    assert_eq!(found.stdout, "seen/made/by/image\n0022\n", "{found:#?}");
}

#[test]
fn engine_files_are_not_written_through_links() {
    let env = TestEnv::new("etc-links");
    let canary = Canary::plant(&env.home().join("canary"));
    for name in [
        "etc/hosts",
        "etc/resolv.conf",
        "etc/hostname",
        "etc/passwd",
        "etc/group",
        "etc/mtab",
        "run/.containerenv",
    ] {
        for to in [canary.dir().join("secret"), canary.dir().join("new")] {
            let more = vec![dir("run"), link(name, to.to_str().unwrap())];
            env.load_image(EVIL, &system(name, more), &busybox_config());
            let outcome = run(&env, &["--userns=keep-id"], &["cat", &format!("/{name}")]);
            harmless(name, &canary, &outcome);
        }
    }
    let more = vec![link("etc", canary.dir().to_str().unwrap())];
    let mut entries = busybox_entries();
    entries.retain(|e| !matches!(e, Entry::Dir(n, _) | Entry::File(n, ..) if n.starts_with("etc")));
    entries.extend(more);
    env.load_image(EVIL, &entries, &busybox_config());
    harmless("etc", &canary, &run(&env, &[], &["cat", "/etc/hosts"]));
}

#[test]
fn s61_user_files_of_the_image_are_read_with_care() {
    let env = TestEnv::new("s61");
    let canary = Canary::plant(&env.home().join("canary"));
    let fifo = env.home().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let million: String = (0..200_000).map(|n| format!("user{n}:x:{n}:{n}::/:/bin/sh\n")).collect();
    for name in ["etc/passwd", "etc/group"] {
        let cases: Vec<(&str, Vec<Entry>)> = vec![
            ("fifo", vec![Entry::Node(name.into(), b'6', 0, 0)]),
            ("zero", vec![link(name, "/dev/zero")]),
            ("host's fifo", vec![link(name, fifo.to_str().unwrap())]),
            ("canary", vec![link(name, canary.dir().join("passwd").to_str().unwrap())]),
            ("folder", vec![dir(name)]),
            ("loop", vec![link(name, name.trim_start_matches("etc/"))]),
            ("one long line", vec![file(name, &"x".repeat(3 << 20))]),
            ("many lines", vec![file(name, &million)]),
            ("not text", vec![Entry::File(name.into(), 0o644, vec![0xff; 5000])]),
        ];
        for (what, more) in cases {
            let what = format!("{name}: {what}");
            env.load_image(EVIL, &system(name, more), &busybox_config());
            for options in
                [&["-u", "worker"][..], &["-u", "1000:staff"], &["--userns=keep-id"], &["-u", "1000"]]
            {
                let begin = std::time::Instant::now();
                harmless(&what, &canary, &run(&env, options, &["true"]));
                assert!(begin.elapsed().as_secs() < 30, "{what} took {:?}", begin.elapsed());
            }
        }
    }
}

#[test]
fn s93_names_are_checked_at_the_gate() {
    let env = TestEnv::new("s93");
    env.load_image(EVIL, &busybox_entries(), &busybox_config());
    let canary = Canary::plant(&env.home().join("canary"));
    let long = "n".repeat(4096);
    let up = format!("../../../../../../..{}", canary.dir().display());
    for name in [
        "..",
        "../../x",
        "a/b",
        ".",
        "-x",
        "a\nb",
        "a b",
        "",
        long.as_str(),
        "ü",
        "a\u{202e}b",
        up.as_str(),
        "/",
        "\u{1b}[31m",
    ] {
        let named = format!("--name={name}");
        let mut refused = vec![vec!["exec", "--", name, "true"]];
        if name != "a/b" {
            refused.push(vec!["tag", "--", EVIL, name]);
        }
        if !name.is_empty() {
            refused.push(vec!["run", "--rm", "--network=none", &named, EVIL, "true"]);
        }
        for command in ["inspect", "start", "stop", "rm", "logs", "kill", "rmi"] {
            refused.push(vec![command, "--", name]);
        }
        for args in refused {
            let command = args[0];
            let outcome = env.run(&args);
            harmless(&format!("{command} {name:?}"), &canary, &outcome);
            assert_ne!(outcome.code, 0, "{command} {name:?}: {outcome:#?}");
            assert!(
                !outcome.stderr.contains('\u{1b}'),
                "{command}: the terminal is sent {:?}",
                outcome.stderr
            );
        }
    }
    assert_eq!(env.ok(["ps", "-aq"]), "");
    let outside = env.work().join("cid/../../../cid");
    let option = format!("--cidfile={}", outside.display());
    harmless("cidfile", &canary, &env.run(["run", "--rm", "--network=none", &option, EVIL, "true"]));
}

#[test]
fn layers_of_many_entries_and_deep_folders_unpack() {
    let env = TestEnv::new("deep");
    let mut entries = busybox_entries();
    let mut path = String::new();
    for _ in 0..120 {
        path.push_str("d/");
        entries.push(dir(&path));
    }
    entries.push(file(&format!("{path}leaf"), "x"));
    entries.extend((0..3000).map(|n| file(&format!("f{n}"), "")));
    env.load_layers(EVIL, &[layer(&entries)], &busybox_config());
    let outcome = run(&env, &[], &["sh", "-c", "find / -xdev -name leaf | wc -l; ls / | grep -c ^f"]);
    assert_eq!(outcome.stdout, "1\n3000\n", "{outcome:#?}");
}

#[test]
fn s18_large_arguments_environments_and_mount_lists_are_neither_cut_nor_fatal() {
    let env = TestEnv::new("s18");
    env.load_image(EVIL, &busybox_entries(), &busybox_config());
    let piece = "x".repeat(100_000);
    let variable = format!("BIG={piece}");
    let script = "echo $# ${#1} ${#8} ${#BIG}";
    let mut args = vec!["-e", &variable, EVIL, "sh", "-c", script, "sh"];
    args.extend([piece.as_str(); 8]);
    let mut command = vec!["run", "--rm", "--network=none"];
    command.extend(args);
    assert_eq!(env.ok(command), "8 100000 100000 100000");
    // Hundreds of mounts, with long paths.
    let host = env.work().join("shared");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("file"), "seen").unwrap();
    let deep = "d".repeat(200);
    let volumes: Vec<_> =
        (0..300).map(|number| format!("-v={}:/m/{deep}/{deep}/{number}", host.display())).collect();
    let mut args = vec!["run", "--rm", "--network=none"];
    args.extend(volumes.iter().map(String::as_str));
    let last = format!("cat /m/{deep}/{deep}/299/file; grep -c /m/ddd /proc/self/mountinfo");
    args.extend([EVIL, "sh", "-c", &last]);
    assert_eq!(env.ok(args), "seen300");
    // More than any process can be given: an error, and not a hang.
    let too_much = format!("-e=BIG={}", "y".repeat(131_000));
    let mut args = vec!["run", "--rm", "--network=none"];
    args.extend(std::iter::repeat_n(too_much.as_str(), 3));
    args.extend([EVIL, "true"]);
    let outcome = env.run(args);
    assert!(!outcome.stderr.contains("panicked") && outcome.code <= 127, "{outcome:#?}");
}

#[test]
fn s23_s24_targets_that_are_swapped_for_links_lead_nowhere() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let env = TestEnv::new("s23");
    env.load_image(EVIL, &busybox_entries(), &busybox_config());
    let canary = Canary::plant(&env.home().join("canary"));
    let (volume, data) = (env.work().join("volume"), env.work().join("data"));
    for dir in [&volume, &volume.join("d"), &data] {
        std::fs::create_dir(dir).unwrap();
    }
    std::fs::write(data.join("mark"), "data").unwrap();
    // The folder `d` and a link to the canary change places as fast as they can.
    let up = format!("{}{}", "../".repeat(20), canary.dir().display());
    std::os::unix::fs::symlink(up, volume.join("link")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (one, other) = (volume.join("d"), volume.join("link"));
            // Ends by itself where the test fails.
            let begin = std::time::Instant::now();
            while !stop.load(Ordering::Relaxed) && begin.elapsed().as_secs() < 60 {
                let _ = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    &one,
                    rustix::fs::CWD,
                    &other,
                    rustix::fs::RenameFlags::EXCHANGE,
                );
            }
        });
        let outer = format!("-v={}:/vol", volume.display());
        for round in 0..40 {
            // S23: the target is there; S24: it is to be made, deeper and deeper.
            let target =
                if round % 2 == 0 { "/vol/d/sub".to_owned() } else { format!("/vol/d/new{round}/deep") };
            let inner = format!("-v={}:{target}", data.display());
            let outcome = run(&env, &[&outer, &inner], &["true"]);
            harmless(&target, &canary, &outcome);
        }
        stop.store(true, Ordering::Relaxed);
    });
    harmless("after all", &canary, &run(&env, &[], &["true"]));
}

#[test]
fn s73_names_that_look_like_ids_are_ids() {
    let env = TestEnv::new("s73");
    env.load_image(EVIL, &busybox_entries(), &busybox_config());
    let other = [layer(&busybox_entries()), layer(&[file("other", "x")])];
    env.load_layers("localhost/other:1", &other, &busybox_config());
    let id = env.ok(["image", "inspect", "--format", "{{.Id}}", EVIL]);
    let id = id.trim_start_matches("sha256:");
    // Another image that takes the id of the first one as its name does not become it.
    let outcome = env.run(["tag", "localhost/other:1", id]);
    assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
    let found = env.ok(["image", "inspect", "--format", "{{.Id}}", id]);
    assert_eq!(found.trim_start_matches("sha256:"), id, "it is another image now");
    // Nothing that could be an id is looked for in a registry.
    for absent in ["0".repeat(64), format!("sha256:{}", "0".repeat(64))] {
        let begin = std::time::Instant::now();
        let outcome = env.run(["run", "--rm", "--network=none", &absent, "true"]);
        assert_eq!(outcome.code, 125, "{outcome:#?}");
        assert!(begin.elapsed().as_secs() < 5, "it was looked for: {outcome:#?}");
    }
}

#[test]
fn s90_no_program_of_the_image_runs_outside() {
    let env = TestEnv::new("s90");
    let marker = env.work().join("escaped");
    let text = format!("#!/bin/sh\necho $0 >> {}\necho $0 >> /escaped\n", marker.display());
    let mut entries = busybox_entries();
    let names = [
        "ps",
        "top",
        "tar",
        "gzip",
        "xz",
        "zstd",
        "unpigz",
        "pigz",
        "bzip2",
        "chown",
        "id",
        "diff",
        "newuidmap",
        "newgidmap",
        "nsenter",
        "pasta",
        "getent",
        "mount",
    ];
    entries.retain(
        |entry| !matches!(entry, Entry::Link(name, _) if names.contains(&name.trim_start_matches("bin/"))),
    );
    for name in names {
        entries.push(Entry::File(format!("bin/{name}"), 0o755, text.clone().into_bytes()));
    }
    for library in ["lib/libnss_files.so.2", "lib/libc.so.6", "lib/x86_64-linux-gnu/libnss_files.so.2"] {
        entries.push(Entry::File(library.into(), 0o755, text.clone().into_bytes()));
    }
    let config = json!({"Env": ["PATH=/bin", "LD_PRELOAD=/lib/libc.so.6"], "Cmd": ["sh"]});
    env.load_image(EVIL, &entries, &config);
    env.ok(["run", "-d", "--name", "c", EVIL, "sleep", "1000"]);
    let archive = env.work().join("saved.tar");
    let (exported, copied) = (env.work().join("exported.tar"), env.work().join("copied"));
    let packed = env.work().join("packed.tar.gz");
    std::fs::write(&packed, gzip(&layer(&[file("packed", "x")]))).unwrap();
    let to_copy = packed.to_str().unwrap();
    for args in [
        &["top", "c"][..],
        &["exec", "-u", "worker", "c", "true"],
        &["inspect", "c"],
        &["logs", "c"],
        &["ps", "-a", "--size"],
        &["system", "df"],
        &["save", "-q", "-o", archive.to_str().unwrap(), EVIL],
        &["run", "--rm", "-u", "worker", "--userns=keep-id", EVIL, "true"],
        &["cp", to_copy, "c:/tmp/packed.tar.gz"],
        &["cp", "c:/etc", copied.to_str().unwrap()],
        &["diff", "c"],
        &["export", "-o", exported.to_str().unwrap(), "c"],
        &["commit", "-q", "c", "localhost/kept"],
        &["stats", "--no-stream", "c"],
        &["port", "c"],
        &["volume", "create", "v"],
        &["run", "--rm", "-v", "v:/etc", EVIL, "true"],
        &["stop", "-t", "0", "c"],
        &["cp", "c:/etc/passwd", "-"],
        &["container", "clone", "c", "d"],
        &["import", exported.to_str().unwrap(), "localhost/imported"],
    ] {
        let outcome = env.run(args);
        assert!(!outcome.stderr.contains("panicked"), "{args:?}: {outcome:#?}");
    }
    env.ok(["start", "c"]);
    assert_eq!(env.run(["exec", "c", "cat", "/escaped"]).stdout, "", "something of it ran inside unasked");
    env.ok(["rm", "-f", "-t", "0", "c"]);
    assert!(!marker.exists(), "{}", std::fs::read_to_string(&marker).unwrap_or_default());
}
