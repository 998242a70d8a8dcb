//! Output that comes fast, is read slowly, or finds no room on the disk.
//! Names of tests carry the numbers of the fault catalogue.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{ChildStdout, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::support::TestEnv;
use super::support::disk::on_small_disk;
use super::support::env::{spawn_captured, wait_until};

const IMAGE: &str = "localhost/busybox";

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

/// Reads to the end in small pieces, with a pause after each of the first.
fn read_slowly(mut stream: ChildStdout) -> String {
    let (mut text, mut piece) = (Vec::new(), [0; 3001]);
    loop {
        let n = stream.read(&mut piece).unwrap();
        if n == 0 {
            return String::from_utf8(text).unwrap();
        }
        text.extend_from_slice(&piece[..n]);
        if text.len() < 200_000 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[track_caller]
fn assert_same(found: &str, expected: &str, what: &str) {
    if found != expected {
        let at = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
        let at = at.unwrap_or(found.lines().count().min(expected.lines().count()));
        let near: Vec<_> = found.lines().skip(at.saturating_sub(2)).take(5).collect();
        panic!("{what}: {} bytes instead of {}, line {at}: {near:?}", found.len(), expected.len());
    }
}

#[test]
fn f31_a_reader_that_stops_holds_up_neither_container_nor_log() {
    let env = TestEnv::new("f31");
    env.busybox();
    let expected = numbers(1..100_001);
    let run = ["run", "--name", "c", "--network=none", IMAGE, "seq", "1", "100000"];
    let mut command = env.command(run);
    let mut child = spawn_captured(command.stdin(Stdio::null()));
    let stdout = child.stdout.take().unwrap();
    // Nobody reads, and ten times as much comes as a pipe holds.
    wait_until("the container has ended", || {
        let seen = env.run(["inspect", "--format", "{{.State.Status}}", "c"]);
        seen.code == 0 && seen.stdout.trim() == "exited"
    });
    assert_same(&format!("{}\n", env.ok(["logs", "c"])), &expected, "log");
    assert_same(&read_slowly(stdout), &expected, "run");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for args in [&["logs", "c"][..], &["logs", "-f", "c"], &["start", "-a", "c"]] {
        let mut command = env.command(args);
        let mut child = spawn_captured(command.stdin(Stdio::null()));
        let stdout = child.stdout.take().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert_same(&read_slowly(stdout), &expected, args[0]);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    env.ok(["run", "-d", "--name", "d", "--network=none", IMAGE, "sleep", "1000"]);
    let mut command = env.command(["exec", "d", "seq", "1", "100000"]);
    let mut child = spawn_captured(command.stdin(Stdio::null()));
    let stdout = child.stdout.take().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_same(&read_slowly(stdout), &expected, "exec");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    env.ok(["rm", "-f", "-t", "0", "d"]);
}

/// Reads to the end; opens one of the gates for each 400 lines that have come, or all after ten seconds without them.
fn follow_in_step(stdout: ChildStdout, gate: &Path) -> String {
    let read = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = Instant::now();
            for number in 0..50 {
                fs::write(gate.join(number.to_string()), "").unwrap();
                while read.load(Ordering::Relaxed) <= 400 * (number + 1)
                    && last.elapsed() < Duration::from_secs(10)
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
                last = if last.elapsed() < Duration::from_secs(10) { Instant::now() } else { last };
            }
        });
        let mut text = String::new();
        for line in BufReader::new(stdout).lines() {
            text = text + &line.unwrap() + "\n";
            read.fetch_add(1, Ordering::Relaxed);
        }
        text
    })
}

#[test]
fn f33_rotation_keeps_to_its_limit_and_followers_neither_lose_nor_repeat() {
    let env = TestEnv::new("f33");
    env.busybox();
    // 20,000 lines: twenty times the limit and more. Each 400, less than a file holds, wait until the follower has had
    // those before: what a slow machine lets rotate away twice is lost to every follower.
    let script = "echo first; i=0; while [ $i -lt 50 ]; do until [ -e /gate/$i ]; do usleep 1000; done; \
                  seq $((i*400)) $((i*400+399)); i=$((i+1)); done";
    for (driver, options) in [
        ("k8s-file", &["--log-opt=max-size=60kb"][..]),
        ("json-file", &["--log-opt=max-size=60kb"]),
        ("local", &["--log-opt=max-size=30kb", "--log-opt=max-file=2"]),
    ] {
        let gate = env.work().join(driver);
        fs::create_dir(&gate).unwrap();
        let (volume, flag) = (format!("-v={}:/gate", gate.display()), format!("--log-driver={driver}"));
        let first = ["run", "-d", "--network=none", "--name", driver, &volume, &flag];
        env.ok(first.iter().chain(options).chain(&[IMAGE, "sh", "-c", script]));
        let mut command = env.command(["logs", "-f", driver]);
        let mut child = spawn_captured(command.stdin(Stdio::null()));
        let followed = follow_in_step(child.stdout.take().unwrap(), &gate);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{driver}");
        assert_same(&followed, &format!("first\n{}", numbers(0..20_000)), driver);
        let log = env.ok(["inspect", "--format={{.HostConfig.LogConfig.Path}}", driver]);
        let files = fs::read_dir(Path::new(&log).parent().unwrap()).unwrap().flatten();
        let sizes: Vec<u64> = files
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("ctr.log"))
            .map(|entry| entry.metadata().unwrap().len())
            .collect();
        assert!(sizes.iter().sum::<u64>() <= 60 << 10 && sizes.len() == 2, "{driver}: {sizes:?}");
        // What is kept is the end of it, whole.
        let kept = format!("{}\n", env.ok(["logs", driver]));
        let begin = 20_000 - u32::try_from(kept.lines().count()).unwrap();
        assert!(begin > 0 && begin <= 19_700, "{driver}: {begin}");
        assert_same(&kept, &numbers(begin..20_000), driver);
    }
}

#[test]
fn f12_a_full_disk_costs_log_lines_but_tears_none_and_says_how_many() {
    for driver in ["k8s-file", "json-file"] {
        let (disk, env) = on_small_disk(&format!("f12-log-{driver}"));
        env.busybox();
        let gate = env.work().join("gate");
        let wait = |name: &str| format!("while ! test -e /gate/{name}; do usleep 20000; done");
        fs::create_dir(&gate).unwrap();
        let script = format!(
            "seq 1 3000; {}; seq 3001 9000; echo done > /gate/written; {}; seq 9001 9100",
            wait("full"),
            wait("free")
        );
        let (volume, flag) = (format!("-v={}:/gate", gate.display()), format!("--log-driver={driver}"));
        env.ok(["run", "-d", "--name", "c", "--network=none", &volume, &flag, IMAGE, "sh", "-c", &script]);
        wait_until("the first lines are logged", || env.ok(["logs", "--tail=1", "c"]) == "3000");
        disk.fill();
        fs::write(gate.join("full"), "").unwrap();
        // The container is not held up by the disk.
        wait_until("all is written", || gate.join("written").exists());
        disk.free();
        fs::write(gate.join("free"), "").unwrap();
        assert_eq!(env.ok(["wait", "c"]), "0");
        let text = format!("{}\n", env.ok(["logs", "c"]));
        // Every byte is in its place, or counted there.
        let (expected, mut at, mut lost) = (numbers(1..9101), 0, 0);
        for line in text.lines() {
            let (logged, note) =
                line.split_once('[').map_or((line, None), |(before, note)| (before, Some(note)));
            assert!(
                expected[at..].starts_with(logged),
                "{driver}: {line:?}, not {:?}",
                &expected[at..at + 20]
            );
            at += logged.len();
            let missing = match note.map(|note| note.split_once(" bytes of output could not be logged]")) {
                Some(Some((count, ""))) => count.parse::<usize>().unwrap(),
                Some(_) => panic!("{driver}: {line}"),
                None => {
                    assert!(expected[at..].starts_with('\n'), "{driver}: {line:?} is torn");
                    at += 1;
                    continue;
                }
            };
            (at, lost) = (at + missing, lost + missing);
        }
        assert_eq!(at, expected.len(), "{driver}");
        assert!(lost > 10_000 && lost < 31_000, "{driver}: {lost}");
        env.ok(["rm", "c"]);
        env.ok(["rmi", "--all", "--force"]);
    }
}

#[test]
fn f13_a_full_disk_during_commit_leaves_container_and_store_as_they_were() {
    let (disk, env) = on_small_disk("f13-commit");
    env.busybox();
    let script = "head -c 6000000 /dev/urandom > /big; echo ready; sleep 1000";
    env.ok(["run", "-d", "--name", "c", "--network=none", IMAGE, "sh", "-c", script]);
    wait_until("the file is there", || env.ok(["logs", "c"]) == "ready");
    // Room for a part of the layer.
    let filler = disk.path.join("half");
    let taken = fs::File::create(&filler).unwrap();
    let mut size = 0;
    while rustix::fs::fallocate(&taken, rustix::fs::FallocateFlags::empty(), size, 1 << 20).is_ok() {
        size += 1 << 20;
    }
    taken.set_len(size.saturating_sub(3 << 20)).unwrap();
    for full in [false, true] {
        if full {
            disk.fill();
        }
        for option in ["--squash=false", "--squash"] {
            let error = env.fails(125, ["commit", "-q", option, "c", "localhost/made"]);
            assert!(error.to_lowercase().contains("no space left"), "{error}");
            assert_eq!(env.ok(["inspect", "--format", "{{.State.Status}}", "c"]), "running");
            assert_eq!(env.run(["image", "exists", "localhost/made"]).code, 1);
            assert_eq!(env.ok(["images", "-q"]).lines().count(), 1);
        }
    }
    disk.free();
    drop(taken);
    fs::remove_file(filler).unwrap();
    let staging = disk.path.join("f13-commit/rbox/tmp");
    assert_eq!(fs::read_dir(staging).unwrap().count(), 0, "staging is left behind");
    env.ok(["commit", "-q", "c", "localhost/made"]);
    env.ok(["rm", "-f", "-t", "0", "c"]);
    let look = ["run", "--rm", "--network=none", "localhost/made", "wc", "-c", "/big"];
    assert_eq!(env.ok(look), "6000000 /big");
    env.ok(["rmi", "--all", "--force"]);
}
