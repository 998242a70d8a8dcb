//! Engine operations on containers, archives and folders that were made to lead them astray. Names of tests carry
//! the numbers of the attack catalogue.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::support::TestEnv;
use super::support::canary::Canary;
use super::support::env::{outcome, wait_until};
use super::support::image::{Entry, busybox_config, busybox_entries, dir, file, hard, layer, link};

const IMAGE: &str = "localhost/busybox";

fn loaded(name: &str) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    env
}

/// What `run -t` with `folder` in the place of /dev/pts says about its console, if it runs.
fn console(env: &TestEnv, folder: &Path) -> Option<String> {
    let pts = format!("-v={}:/dev/pts", folder.display());
    let script = "stat -c %F,%t /dev/console";
    let real = "--mount=type=devpts,destination=/real";
    let outcome = env.run(["run", "--rm", "-t", "--network=none", real, &pts, IMAGE, "sh", "-c", script]);
    assert!(!outcome.stderr.contains("panicked") && outcome.code < 128, "{outcome:#?}");
    (outcome.code == 0).then(|| outcome.stdout.lines().next().unwrap_or_default().trim().to_owned())
}

#[test]
fn s27_the_console_is_the_terminal_whatever_is_at_its_name() {
    let env = TestEnv::new("s27");
    let mut entries = busybox_entries();
    entries.extend([dir("real"), file("decoy", "decoy")]);
    env.load_image("localhost/busybox:latest", &entries, &busybox_config());
    let folder = env.work().join("pts");
    std::fs::create_dir(&folder).unwrap();
    // The multiplexer is a real one, what is called as its terminals is not (CVE-2025-52565).
    symlink("/real/ptmx", folder.join("ptmx")).unwrap();
    for number in 0..8 {
        symlink("/decoy", folder.join(number.to_string())).unwrap();
    }
    assert_eq!(console(&env, &folder).as_deref(), Some("character special file,88"));
    // Changed while the container starts, as another container with the folder could.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (name, other) = (folder.join("ptmx"), folder.join("other"));
            symlink("/decoy", &other).unwrap();
            let begin = std::time::Instant::now();
            while !stop.load(Ordering::Relaxed) && begin.elapsed().as_secs() < 60 {
                let here = rustix::fs::CWD;
                let _ =
                    rustix::fs::renameat_with(here, &name, here, &other, rustix::fs::RenameFlags::EXCHANGE);
            }
        });
        for _ in 0..20 {
            if let Some(found) = console(&env, &folder) {
                assert_eq!(found, "character special file,88");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    // What is no multiplexer at all is refused, and not waited for.
    let ptmx = folder.join("ptmx");
    for kind in ["file", "fifo", "folder", "null", "process"] {
        let _ = std::fs::remove_file(&ptmx);
        match kind {
            "file" => std::fs::write(&ptmx, "decoy").unwrap(),
            "fifo" => {
                let fifo = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, &ptmx, fifo, 0o666.into(), 0).unwrap();
            }
            "folder" => std::fs::create_dir(&ptmx).unwrap(),
            "null" => {
                std::fs::remove_dir(&ptmx).unwrap();
                symlink("/dev/null", &ptmx).unwrap();
            }
            _ => symlink("/proc/self/fd/0", &ptmx).unwrap(),
        }
        assert_eq!(console(&env, &folder), None, "{kind}");
    }
}

/// Archives that make a link and then write through it.
fn archives(canary: &Canary) -> Vec<(&'static str, Vec<u8>)> {
    let target = canary.dir().to_str().unwrap();
    let up = format!("{}{target}", "../".repeat(20));
    let secret = format!("{target}/secret");
    let through = |to: &str| layer(&[link("a", to), file("a/new", "pwned"), file("a/secret", "pwned")]);
    let hard_link: Vec<Entry> = vec![hard("h", &secret), file("h", "pwned")];
    vec![
        ("absolute", through(target)),
        ("relative", through(&up)),
        ("chain", layer(&[link("b", target), link("a", "b"), file("a/new", "pwned")])),
        ("file", layer(&[link("a", &secret), file("a", "pwned")])),
        ("hard link", layer(&hard_link)),
        (
            "names",
            layer(&[file(&format!("{}{target}/new", "../".repeat(20)), "pwned"), file(&secret, "pwned")]),
        ),
    ]
}

#[test]
fn s89_archives_write_through_no_link_of_their_own() {
    let env = loaded("s89in");
    let canary = Canary::plant(&env.home().join("canary"));
    env.ok(["create", "--name=c", "--network=none", IMAGE, "sleep", "1000"]);
    for running in [false, true] {
        for (what, archive) in archives(&canary) {
            let outcome = env.run_with_input(["cp", "-", "c:/tmp"], &archive);
            assert!(!outcome.stderr.contains("panicked"), "{what}: {outcome:#?}");
            canary.assert_untouched();
        }
        if !running {
            env.ok(["start", "c"]);
        }
    }
    for (what, archive) in archives(&canary) {
        env.ok(["volume", "create", "v"]);
        let outcome = env.run_with_input(["volume", "import", "v", "-"], &archive);
        assert!(!outcome.stderr.contains("panicked"), "{what}: {outcome:#?}");
        canary.assert_untouched();
        env.ok(["volume", "rm", "v"]);
    }
    env.ok(["rm", "-f", "-t", "0", "c"]);
}

#[test]
fn s89_what_is_copied_out_stays_in_the_folder_it_was_meant_for() {
    let env = loaded("s89out");
    let canary = Canary::plant(&env.home().join("canary"));
    let script =
        "mkdir -p /x/a/sub /y; echo pwned > /x/a/secret; echo pwned > /x/a/sub/secret; echo pwned > /x/f;
        ln -s /x/a /y/link; echo pwned > /y/passwd";
    env.ok(["run", "-d", "--name=c", "--network=none", IMAGE, "sh", "-c", &format!("{script}; sleep 1000")]);
    wait_until("the files are there", || env.run(["exec", "c", "test", "-f", "/y/passwd"]).code == 0);
    for round in 0..2 {
        // Links that an earlier copy, or somebody else, has left where folders and files will be.
        let out = env.work().join(format!("out{round}"));
        std::fs::create_dir_all(out.join("x")).unwrap();
        std::fs::create_dir_all(out.join("y")).unwrap();
        symlink(canary.dir(), out.join("x/a")).unwrap();
        symlink(canary.dir().join("secret"), out.join("x/f")).unwrap();
        symlink(canary.dir().join("passwd"), out.join("y/passwd")).unwrap();
        let to = out.to_str().unwrap();
        for source in ["c:/x", "c:/y", "c:/x/."] {
            let outcome = env.run(["cp", source, to]);
            assert!(!outcome.stderr.contains("panicked"), "{source}: {outcome:#?}");
            canary.assert_untouched();
        }
        env.ok(["stop", "-t", "0", "c"]);
    }
    env.ok(["rm", "-f", "-t", "0", "c"]);
}

#[test]
fn s95_shared_memory_is_bounded_and_goes_with_its_owner() {
    let env = loaded("s95");
    env.ok([
        "run",
        "-d",
        "--name=owner",
        "--network=none",
        "--ipc=shareable",
        "--shm-size=1m",
        IMAGE,
        "sleep",
        "1000",
    ]);
    let fill = "dd if=/dev/zero of=/dev/shm/$1 bs=64k 2>/dev/null; true";
    // Ended in every way, and begun again: what earlier ones have left counts.
    for round in 0..4 {
        let name = format!("f{round}");
        let script = format!("{fill}; kill -9 $$");
        env.run([
            "run",
            "--rm",
            "--network=none",
            "--ipc=container:owner",
            IMAGE,
            "sh",
            "-c",
            &script,
            "sh",
            &name,
        ]);
    }
    let used: u64 = env
        .ok(["exec", "owner", "busybox", "du", "-sk", "/dev/shm"])
        .split('\t')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!((512..=1024).contains(&used), "{used} KiB in 1 MiB of shared memory");
    env.ok(["restart", "-t", "0", "owner"]);
    assert_eq!(env.ok(["exec", "owner", "ls", "-A", "/dev/shm"]), "", "it outlived its owner");
    env.ok(["rm", "-f", "-t", "0", "owner"]);
}

/// Everything below `base`.
fn tree(base: &Path) -> Vec<std::path::PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![base.to_owned()]);
    while let Some(path) = open.pop() {
        if std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            open.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        found.push(path);
    }
    found
}

#[test]
fn s97_sockets_are_the_users_alone() {
    let env = loaded("s97");
    let rbox = env.command([""; 0]);
    let mut shell = Command::new("/bin/sh");
    let line = format!("umask 000; exec \"$0\" run -dit --name c --network=none {IMAGE} sh");
    shell.args(["-c", &line]).arg(rbox.get_program()).current_dir(env.work()).env_clear();
    shell.envs(rbox.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert_eq!(outcome(&mut shell).code, 0);
    let mut sockets = 0;
    for path in tree(&env.run_dir()) {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let mode = meta.permissions().mode() & 0o777;
        if meta.file_type().is_socket() {
            sockets += 1;
            assert_eq!(mode & 0o177, 0, "{}: {mode:o}", path.display());
        }
        assert_eq!(mode & 0o022, 0, "others may write {}: {mode:o}", path.display());
    }
    assert!(sockets > 0, "the test shows nothing");
    let mode = std::fs::metadata(env.run_dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "{mode:o}");
    // Names without a file have no owner and no mode: every container on the host's network could connect.
    let abstract_names = std::fs::read_to_string("/proc/net/unix").unwrap();
    assert!(!abstract_names.lines().any(|l| l.contains("@") && l.contains("rbox")), "{abstract_names}");
    env.ok(["rm", "-f", "-t", "0", "c"]);
}

#[test]
fn s109_packets_are_not_forged() {
    let env = loaded("s109");
    let raw = ["raw_icmp", "raw_icmp6", "packet"];
    for options in [&["-u", "0"][..], &["-u", "1000"]] {
        let report = env.probe(options, &["raw-sockets"]);
        for name in raw {
            assert!([1, 97].contains(&report[name].as_i64().unwrap_or(0)), "{options:?}: {name}: {report}");
        }
    }
    // The oracle itself.
    let report = env.probe(&["--cap-add=NET_RAW"], &["raw-sockets"]);
    for name in raw {
        assert_eq!(report[name], "ok", "{name}: {report}");
    }
}
