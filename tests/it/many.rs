//! Many objects, many commands after one another, and many at once on the same names.
//! Names of tests carry the numbers of the fault catalogue; `tests/bench` and `tests/faults` have the large sizes.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::support::env::wait_until;
use super::support::image::busybox_archive;
use super::support::{Outcome, TestEnv};

const IMAGE: &str = "localhost/busybox";

fn loaded(name: &str) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    env
}

fn count(dir: &Path) -> usize {
    fs::read_dir(dir).map_or(0, Iterator::count)
}

/// A generator of one worker, so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn new(worker: u64) -> Self {
        Self(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(worker + 1))
    }

    fn roll(&mut self, sides: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % sides).unwrap()
    }
}

/// Runs commands by `workers` at once for some seconds. None may take long, or fail without a reason for the user.
fn chaos(env: &TestEnv, workers: u64, seconds: u64, command: impl Fn(&mut Dice) -> Vec<String> + Sync) {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let (env, command) = (&env, &command);
            scope.spawn(move || {
                let mut dice = Dice::new(worker);
                while begin.elapsed() < Duration::from_secs(seconds) {
                    let args = command(&mut dice);
                    let asked = Instant::now();
                    let outcome = env.run(&args);
                    assert!(asked.elapsed() < Duration::from_secs(30), "{args:?} took {:?}", asked.elapsed());
                    check(&args, &outcome);
                }
            });
        }
    });
}

/// Objects may be missing or in use, taken away or replaced at any time; nothing else is an excuse.
#[track_caller]
fn check(args: &[String], outcome: &Outcome) {
    let reasons = [
        "no such",
        "not known",
        "already in use",
        "in use",
        "already exists",
        "is being",
        "improper",
        "not running",
        "is running",
        "running or paused",
        "can only",
        "cannot be removed",
        "was removed",
        "busy",
        "is gone",
        "not found",
        "no container",
        "volume",
        "depend",
        "ended before",
        "prematurely",
    ];
    let text = outcome.stderr.to_lowercase();
    let explained = reasons.iter().any(|reason| text.contains(reason));
    // 137 and 143: another worker has killed it.
    assert!(
        matches!(outcome.code, 0 | 137 | 143) || (explained && !text.contains("panicked")),
        "{args:?}: {outcome:#?}"
    );
    for raw in ["os error", "panicked", "internal error", "(errno"] {
        assert!(!text.contains(raw), "{args:?}: {outcome:#?}");
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Whatever happened before: everything can be removed, nothing is left over, and the store works.
fn assert_empties(env: &TestEnv) {
    env.ok(["rm", "--all", "--force", "-t", "0"]);
    env.ok(["rmi", "--all", "--force"]);
    env.ok(["volume", "prune", "--force"]);
    for args in [&["ps", "-aq"][..], &["images", "-q"], &["volume", "ls", "-q"]] {
        assert_eq!(env.ok(args), "", "{args:?}");
    }
    for folder in ["names", "containers", "images", "tags", "layers", "volumes"] {
        assert_eq!(count(&env.data().join(folder)), 0, "{folder} is not empty");
    }
    assert!(env.leaks().is_empty(), "{:?}", env.leaks());
    env.busybox();
    assert_eq!(env.ok(["run", "--rm", "--name", "a", "--network=none", IMAGE, "echo", "fine"]), "fine");
}

#[test]
fn f18_images_that_are_pruned_while_they_are_used_are_whole_or_gone() {
    let env = TestEnv::new("f18");
    let archive = busybox_archive(&env.work(), "localhost/busybox:latest");
    let load = format!("load -q -i {}", archive.display());
    env.ok(words(&load));
    chaos(&env, 4, 10, |dice| {
        let name = ["u", "v", "w"][dice.roll(3)];
        words(&match dice.roll(9) {
            0 | 1 => load.clone(),
            2 => "system prune --all --force".to_owned(),
            3 => format!("rmi {IMAGE}"),
            4 => format!("run --rm --pull=never --network=none {IMAGE} ls /bin/busybox"),
            5 => format!("run --name {name} --replace --pull=never --network=none {IMAGE} touch /made"),
            6 => format!("commit -q {name} localhost/made-{name}"),
            7 => format!("run --rm --pull=never --network=none localhost/made-{name} ls /made"),
            _ => "rm --force --ignore u".to_owned(),
        })
    });
    // What is listed is whole.
    for id in env.ok(["images", "-q"]).lines() {
        assert_eq!(env.ok(["run", "--rm", "--network=none", id, "ls", "/bin/busybox"]), "/bin/busybox");
    }
    assert_empties(&env);
}

#[test]
fn f19_commands_at_once_on_containers_images_and_volumes_leave_nothing() {
    let env = TestEnv::new("f19all");
    let archive = busybox_archive(&env.work(), "localhost/busybox:latest");
    let load = format!("load -q -i {}", archive.display());
    env.ok(words(&load));
    chaos(&env, 4, 15, |dice| {
        let name = ["u", "v"][dice.roll(2)];
        let volume = ["v", "w"][dice.roll(2)];
        words(&match dice.roll(24) {
            0 | 1 => {
                format!("run -d --name {name} --pull=never --network=none -v {volume}:/v {IMAGE} sleep 1000")
            }
            2 => {
                format!("create --name {name} --pull=never --network=none -v {volume}:/v {IMAGE} touch /v/x")
            }
            3 => format!("start {name}"),
            4 => format!("stop -t 0 {name}"),
            5 => format!("restart -t 0 {name}"),
            6 => format!("kill {name}"),
            7 => format!("rm -f -t 0 {name}"),
            8 => format!("rm -f -t 0 -v {name}"),
            9 => format!("rename {name} c"),
            10 => "rename w u".to_owned(),
            11 => format!("exec {name} true"),
            12 => format!("logs {name}"),
            13 => format!("inspect {name}"),
            14 => format!("commit -q {name} localhost/made"),
            15 => format!("volume create {volume}"),
            16 => format!("volume rm {volume}"),
            17 => "volume prune --force".to_owned(),
            18 => format!("tag {IMAGE} localhost/tagged"),
            19 => "rmi localhost/tagged".to_owned(),
            20 => load.clone(),
            21 => "system prune --all --force --volumes".to_owned(),
            22 => format!("run --rm --name {name} --pull=never --network=none -v {volume}:/v {IMAGE} true"),
            _ => format!("wait --condition=exited --ignore {name}-not"),
        })
    });
    assert_empties(&env);
}

#[test]
fn f20_many_containers_and_volumes_make_no_further_one_slower() {
    let (few, many) = (loaded("f20few"), loaded("f20many"));
    let make = |env: &TestEnv, number: u32| {
        let begin = Instant::now();
        env.ok(["create", "--name", &format!("c{number}"), "--network=none", IMAGE, "true"]);
        env.ok(["volume", "create", &format!("v{number}")]);
        begin.elapsed()
    };
    for number in 0..160 {
        make(&many, number);
    }
    // In turns, so that a busy machine slows both; a table that is read or written whole would show.
    let (mut fast, mut slow): (Vec<_>, Vec<_>) =
        (200..230).map(|number| (make(&few, number), make(&many, number))).unzip();
    fast.sort();
    slow.sort();
    assert!(slow[15] < 2 * fast[15], "{:?} beside 160, {:?} alone", slow[15], fast[15]);
    assert_eq!(many.ok(["ps", "-aq"]).lines().count(), 190);
    assert_eq!(many.ok(["volume", "ls", "-q"]).lines().count(), 190);
    assert_empties(&many);
}

#[test]
fn f22_lifecycles_do_not_add_up() {
    let env = loaded("f22");
    let cycle = |worker: usize, round: usize| {
        let name = format!("c{worker}");
        env.ok(["create", "--name", &name, "--network=none", IMAGE, "echo", &round.to_string()]);
        assert_eq!(env.ok(["start", "--attach", &name]), round.to_string());
        env.ok(["rm", &name]);
    };
    let everything = || {
        let mut found: Vec<_> = [env.data(), env.run_dir()].iter().flat_map(|dir| walk(dir)).collect();
        // The events are limited in size, which f35 looks at.
        found.retain(|path| !path.contains("events."));
        found.sort();
        found
    };
    cycle(0, 0);
    let before = everything();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let cycle = &cycle;
            scope.spawn(move || (0..12).for_each(|round| cycle(worker, round)));
        }
    });
    assert!(env.leaks().is_empty(), "{:?}", env.leaks());
    assert_eq!(everything(), before);
}

fn walk(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        }
    }
    found
}

#[test]
fn f35_the_log_of_events_keeps_to_its_limit() {
    let mut env = loaded("f35");
    let conf = env.work().join("containers.conf");
    fs::write(&conf, "[engine]\nevents_logfile_max_size=\"20kb\"\n").unwrap();
    env.set("CONTAINERS_CONF", conf.to_str().unwrap());
    let log = env.data().join("events.log");
    let (mut largest, mut rotated) = (0, false);
    std::thread::scope(|scope| {
        let worker = |worker: u32| {
            for round in 0..40 {
                let name = format!("c{worker}-{round}");
                env.ok(["create", "--name", &name, "--network=none", IMAGE, "true"]);
                env.ok(["rm", &name]);
            }
        };
        let workers: Vec<_> = (0..3).map(|number| scope.spawn(move || worker(number))).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            let size = fs::metadata(&log).map_or(0, |file| file.len());
            rotated |= size < largest;
            largest = largest.max(size);
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    assert!(largest <= 20_480 && largest > 10_000 && rotated, "{largest}, {rotated}");
    let told = env.ok(["events", "--stream=false", "--format", "{{.Status}} {{.Name}}"]);
    for worker in 0..3 {
        assert!(
            told.lines().any(|line| line == format!("remove c{worker}-39")),
            "the newest is missing: {told}"
        );
    }
    assert!(!told.contains(" c0-0\n") && told.lines().count() > 20, "{told}");
    let used: u64 =
        walk(&env.run_dir()).iter().map(|path| fs::metadata(path).map_or(0, |file| file.len())).sum();
    assert!(used < 10 << 20, "{used} bytes in the run folder");
}

/// Each ignores the stop signal, and notes that it came.
fn start_stubborn(env: &TestEnv, names: &[&str]) {
    let script = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.1; done";
    for name in names {
        env.ok(["run", "-d", "--replace", "--name", name, "--network=none", IMAGE, "sh", "-c", script]);
    }
    for name in names {
        wait_until("a container that ignores its stop signal", || env.ok(["logs", name]).contains("ready"));
    }
}

#[test]
fn containers_take_their_time_to_end_side_by_side() {
    let env = loaded("sidebyside");
    let names = ["c3", "c1", "c7", "c2", "c6", "c4", "c8", "c5"];
    let shown = names.join("\n");
    // One after the other they would take twice as long as the limit.
    let within = |args: &[&str]| {
        let begin = Instant::now();
        let outcome = env.run(args);
        assert!(begin.elapsed() < Duration::from_secs(16), "{args:?} took {:?}", begin.elapsed());
        outcome
    };
    start_stubborn(&env, &names);
    let outcome = within(&[&["stop", "-t", "4"][..], &names].concat());
    assert_eq!((outcome.code, outcome.stdout.trim_end()), (0, shown.as_str()), "{outcome:#?}");
    assert_eq!(outcome.stderr.matches("resorting to SIGKILL").count(), names.len(), "{outcome:#?}");
    for name in names {
        assert_eq!(env.ok(["logs", name]).matches("asked").count(), 1, "{name} was asked once");
        assert_eq!(
            env.ok(["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name]),
            "exited 137"
        );
    }
    start_stubborn(&env, &names);
    let outcome = within(&[&["rm", "-f", "-t", "4", "nosuch"][..], &names].concat());
    assert_eq!((outcome.code, outcome.stdout.trim_end()), (0, shown.as_str()), "{outcome:#?}");
    start_stubborn(&env, &names);
    let outcome = within(&["rm", "-fa", "-t", "4"]);
    assert_eq!((outcome.code, outcome.stdout.lines().count()), (0, names.len()), "{outcome:#?}");
    assert_eq!(env.ok(["ps", "-aq"]), "");
    assert!(env.leaks().is_empty(), "{:?}", env.leaks());
}

#[test]
fn what_may_not_be_removed_is_not_stopped_with_the_others() {
    let env = loaded("notstopped");
    start_stubborn(&env, &["base", "other"]);
    env.ok(["run", "-d", "--name", "user", "--network=container:base", IMAGE, "sleep", "1000"]);
    let outcome = env.run(["rm", "-f", "-t", "1", "base", "other"]);
    assert_eq!((outcome.code, outcome.stdout.trim_end()), (125, "other"), "{outcome:#?}");
    assert!(outcome.stderr.contains("has dependent containers"), "{outcome:#?}");
    assert_eq!(env.ok(["inspect", "--format", "{{.State.Status}}", "base"]), "running");
    assert!(!env.ok(["logs", "base"]).contains("asked"));
    // The codes of `kill` and its order with some that do not run.
    env.ok(["create", "--name", "made", "--network=none", IMAGE, "true"]);
    let outcome = env.run(["kill", "user", "made", "base"]);
    assert_eq!((outcome.code, outcome.stdout.trim_end()), (125, "user\nbase"), "{outcome:#?}");
    assert!(outcome.stderr.contains("can only kill running containers"), "{outcome:#?}");
    assert_eq!(env.ok(["ps", "-q"]), "");
    assert_eq!(env.ok(["kill", "--all"]), "");
    env.ok(["rm", "--all", "--force"]);
}
