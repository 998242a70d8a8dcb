//! What the store takes and what is freed: `system df` beside du, the last use of images, `image prune` and
//! `system prune` with all of their filters.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::support::TestEnv;
use super::support::fake::{FakeRegistry, Rule};
use super::support::image::{Entry, OciImage, TAR_GZIP, busybox_config, busybox_entries, file, gzip, layer};

const IMAGE: &str = "localhost/busybox";
const DAY: u64 = 24 * 60 * 60;

/// What du says of the store, seen with the rights of its owner.
fn du(env: &TestEnv, more: &[&str]) -> u64 {
    let data = env.data();
    let mut args = vec!["unshare", "du", "-s", "-B1"];
    args.extend(more);
    args.push(data.to_str().unwrap());
    env.ok(args).split_whitespace().next().unwrap().parse().unwrap()
}

/// The sizes of `system df`, by their types.
fn df(env: &TestEnv) -> BTreeMap<String, u64> {
    let rows: Vec<Value> = serde_json::from_str(&env.ok(["system", "df", "--format=json"])).unwrap();
    rows.iter().map(|row| (row["Type"].as_str().unwrap().into(), row["RawSize"].as_u64().unwrap())).collect()
}

#[track_caller]
fn equals_du(env: &TestEnv, what: &str) {
    let rows = df(env);
    assert_eq!(rows.values().sum::<u64>(), du(env, &[]), "{what}: {rows:#?}");
}

fn noise(bytes: usize, mut seed: u32) -> Vec<u8> {
    std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    })
    .take(bytes)
    .collect()
}

/// The busybox system with a layer of `bytes` of its own.
fn load_with(env: &TestEnv, name: &str, bytes: usize, seed: u32) {
    let own = layer(&[Entry::File("own".into(), 0o644, noise(bytes, seed))]);
    env.load_layers(name, &[layer(&busybox_entries()), own], &busybox_config());
}

fn id(env: &TestEnv, name: &str) -> String {
    env.ok(["image", "inspect", "--format={{.Id}}", name])
}

/// Makes an image look as if it was used so many days ago.
fn age(env: &TestEnv, name: &str, days: u64) {
    let path = env.data().join(format!("images/{}.json", id(env, name)));
    let time = SystemTime::now() - Duration::from_secs(days * DAY);
    File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn df_says_what_du_says() {
    let env = TestEnv::new("df-du");
    equals_du(&env, "nothing");
    env.busybox();
    equals_du(&env, "an image");
    load_with(&env, "localhost/one:1", 300_000, 1);
    load_with(&env, "localhost/two:1", 500_000, 2);
    equals_du(&env, "images that share a layer");
    let script = "dd if=/dev/zero of=/big bs=1k count=333 2>/dev/null; mkdir /shut; echo x > /shut/x; chmod 0 /shut; \
                  chown -R 1000:1000 /shut; ln /big /again; echo 1 > /v/file; echo a line of the log";
    env.ok(["run", "--name=c", "--network=none", "-v=v:/v", IMAGE, "sh", "-c", script]);
    env.ok(["run", "-d", "--name=r", "--network=none", "-v=/anonymous", IMAGE, "sleep", "1000"]);
    equals_du(&env, "containers with data");
    env.ok(["commit", "-q", "c", "localhost/committed"]);
    env.ok(["tag", "localhost/committed", "localhost/other"]);
    env.ok(["untag", "localhost/other"]);
    equals_du(&env, "a commit");
    // A download that is cut off, and what a killed process leaves.
    let mut image =
        OciImage::new(&[layer(&[Entry::File("x".into(), 0o644, noise(400_000, 3))])], &busybox_config());
    for slot in &mut image.layers {
        *slot = (gzip(&slot.0), TAR_GZIP);
    }
    image.describe();
    let rule: Rule = Box::new(|request, _, mut answer| {
        if request.path.contains("/blobs/") && answer.body.len() > 10_000 {
            answer.cut_after = Some(200_000);
        }
        answer
    });
    let registry = FakeRegistry::serve(&image, rule);
    env.fails(125, ["pull", "-q", "--tls-verify=false", "--retry=0", &registry.image()]);
    let partial = std::fs::read_dir(env.data().join("blobs/partial")).unwrap().count();
    assert_eq!(partial, 1, "nothing was left to go on with");
    equals_du(&env, "a download that was cut off");
    let left = env.data().join("tmp/1-0badcafe");
    std::fs::create_dir(&left).unwrap();
    std::fs::set_permissions(&left, PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(left.join("junk"), noise(100_000, 4)).unwrap();
    equals_du(&env, "what a killed process left");
    // The size of an image is what its layers take.
    let sizes = env.ok(["image", "inspect", "--format={{.Size}}", "localhost/one:1"]);
    let rows = df(&env);
    assert!(rows["Images"] > sizes.parse().unwrap(), "{rows:#?}");
    env.ok(["rm", "-f", "-t0", "c", "r"]);
    env.ok(["rmi", "-a", "-f"]);
    equals_du(&env, "all removed");
}

#[test]
fn what_prune_says_is_what_is_free_afterwards() {
    let env = TestEnv::new("prune-numbers");
    env.busybox();
    load_with(&env, "localhost/one:1", 300_000, 1);
    load_with(&env, "localhost/two:1", 500_000, 2);
    env.ok(["create", "--name=never", "--network=none", "localhost/one:1", "true"]);
    env.ok(["run", "--name=c", "--network=none", "-v=v:/v", IMAGE, "sh", "-c", "echo 1 > /v/f; echo 2 > /g"]);
    env.ok(["run", "-d", "--name=r", "--network=none", IMAGE, "sleep", "1000"]);
    env.ok(["commit", "-q", "c"]);
    let left = env.data().join("tmp/1-0badcafe");
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("junk"), noise(100_000, 4)).unwrap();
    let total = |text: &str| text.lines().last().unwrap().rsplit(": ").next().unwrap().to_owned();
    for flags in [&["--force"][..], &["--force", "--all"], &["--force", "--all", "--volumes"]] {
        let mut args = vec!["system", "prune"];
        args.extend(flags);
        // The log of events grows by what is removed.
        let before = du(&env, &["--exclude=events.log"]);
        let planned = env.ok(args.iter().copied().chain(["--dry-run"]));
        assert_eq!(du(&env, &["--exclude=events.log"]), before, "--dry-run removed something");
        let done = env.ok(args.clone());
        let freed = before - du(&env, &["--exclude=events.log"]);
        assert_eq!(planned.replace("Would delete", "Deleted").replace("reclaimable", "reclaimed"), done);
        // Four digits, as podman prints them.
        let shown: f64 = total(&done).trim_end_matches(['k', 'M', 'B']).parse().unwrap();
        let unit = if total(&done).ends_with("MB") { 1e6 } else { 1e3 };
        let shown = if total(&done) == "0B" { 0.0 } else { shown * unit };
        assert!((shown - freed as f64).abs() <= freed as f64 * 0.001, "{flags:?}: {freed} freed, but {done}");
    }
    assert_eq!(env.ok(["ps", "-a", "--format={{.Names}}"]), "r");
    assert_eq!(env.ok(["images", "--format={{.Repository}}"]), IMAGE);
    assert_eq!(env.ok(["volume", "ls", "-q"]), "");
    assert!(env.ok(["system", "prune", "-af"]).ends_with("space: 0B"));
    env.ok(["rm", "-f", "-t0", "r"]);
}

#[test]
fn images_know_when_they_were_used() {
    let env = TestEnv::new("last-use");
    env.busybox();
    for (name, seed) in [("localhost/one:1", 1), ("localhost/two:1", 2)] {
        load_with(&env, name, 1000, seed);
        age(&env, name, 40);
    }
    age(&env, IMAGE, 40);
    assert_eq!(env.ok(["images", "--format={{.LastUsed}}", "localhost/one:1"]), "5 weeks ago");
    let list: Value = serde_json::from_str(&env.ok(["images", "--format=json"])).unwrap();
    assert!(list[0]["LastUsed"].as_i64().unwrap() > 1_600_000_000, "{list:#}");
    // A run is a use, and so is the end of a container that ran for long.
    env.ok(["run", "--rm", "--network=none", "localhost/one:1", "true"]);
    assert_eq!(env.ok(["images", "--format={{.LastUsed}}", "localhost/one:1"]), "Less than a second ago");
    env.ok(["create", "--name=c", "--network=none", IMAGE, "true"]);
    age(&env, IMAGE, 40);
    env.ok(["rm", "c"]);
    assert!(env.ok(["images", "--format={{.LastUsed}}", IMAGE]).contains("second"));
    // Looking at an image is none.
    age(&env, IMAGE, 20);
    env.ok(["tag", IMAGE, "localhost/tagged"]);
    env.ok(["history", IMAGE]);
    assert!(env.ok(["images", "--format={{.LastUsed}}", IMAGE]).contains("2 weeks"));
    let unused = env.ok(["images", "-q", "--no-trunc", "--filter=unused-for=720h"]);
    assert_eq!(unused, format!("sha256:{}", id(&env, "localhost/two:1")));
    assert!(!env.fails(125, ["images", "--filter=unused-for=soon"]).is_empty());
    // What a container has is in use, however old.
    env.ok(["create", "--name=c", "--network=none", "localhost/two:1", "true"]);
    age(&env, "localhost/two:1", 50);
    assert_eq!(env.ok(["image", "prune", "-a", "-f", "--filter=unused-for=720h"]), "");
    env.ok(["rm", "c"]);
    age(&env, "localhost/two:1", 50);
    assert_eq!(env.ok(["image", "prune", "-a", "-f", "--filter=unused-for=720h"]).lines().count(), 1);
    assert_eq!(env.run(["image", "exists", "localhost/two:1"]).code, 1);
    age(&env, "localhost/one:1", 20);
    load_with(&env, "localhost/three:1", 1000, 3);
    let text = env.ok(["system", "prune", "-a", "-f", "--filter=unused-for=240h"]);
    assert!(text.contains("Deleted Images") && text.lines().count() == 3, "{text}");
    // What was used today stays, and so does what it builds on.
    assert_eq!(env.ok(["images", "-q"]).lines().count(), 2);
}

#[test]
fn keep_storage_removes_the_least_recently_used() {
    let env = TestEnv::new("keep-storage");
    // The youngest is the oldest by its date, and the largest.
    for (name, bytes, days) in [
        ("localhost/old:1", 2_000_000, 30),
        ("localhost/middle:1", 2_000_000, 20),
        ("localhost/new:1", 2_000_000, 10),
    ] {
        load_with(&env, name, bytes, days);
    }
    for (name, days) in [("localhost/old:1", 30), ("localhost/middle:1", 20), ("localhost/new:1", 10)] {
        age(&env, name, days);
    }
    let total = du(&env, &[]);
    let keep = |bytes: u64| bytes.to_string();
    let names = || env.ok(["images", "--format={{.Repository}}", "--sort=repository"]);
    let all = names();
    for bad in ["much", "-1", ""] {
        env.fails(125, ["system", "prune", "-f", "--keep-storage", bad]);
    }
    // Enough room: nothing goes.
    let text = env.ok(["system", "prune", "-a", "-f", "--keep-storage", &keep(total)]);
    assert_eq!((text.as_str(), names()), ("Total reclaimed space: 0B", all.clone()));
    let one_less = keep(total - 1);
    let planned = env.ok(["system", "prune", "-a", "--dry-run", "--keep-storage", &one_less]);
    assert!(planned.contains(&id(&env, "localhost/old:1")) && planned.lines().count() == 3, "{planned}");
    assert_eq!(names(), all);
    // Named images only with --all, and a warning that the store is still too large.
    let outcome = env.run(["system", "prune", "-f", "--keep-storage", &one_less]);
    assert!(outcome.code == 0 && outcome.stderr.contains("the store still takes"), "{outcome:#?}");
    assert_eq!(names(), all);
    env.ok(["system", "prune", "-a", "-f", "--keep-storage", &one_less]);
    assert_eq!(names(), "localhost/middle\nlocalhost/new");
    // The base layer is shared: removing all but one frees only what is theirs alone.
    let left = du(&env, &[]);
    env.ok(["system", "prune", "-a", "-f", "--keep-storage", &keep(left - 2_000_000)]);
    assert_eq!(names(), "localhost/new");
    assert!(du(&env, &[]) <= left - 2_000_000);
    // What runs stays, whatever the size.
    env.ok(["run", "-d", "--name=r", "--network=none", "localhost/new:1", "sleep", "1000"]);
    env.run(["system", "prune", "-a", "-f", "--volumes", "--keep-storage=0"]);
    assert_eq!(names(), "localhost/new");
    env.ok(["rm", "-f", "-t0", "r"]);
}

#[test]
fn prune_obeys_all_of_its_flags() {
    let env = TestEnv::new("prune-flags");
    env.busybox();
    env.ok(["create", "--name=keep", "--label=keep=yes", "--network=none", IMAGE, "true"]);
    env.ok(["create", "--name=go", "--network=none", IMAGE, "true"]);
    for label in ["keep=yes", "keep=no"] {
        env.ok(["volume", "create", "--label", label]);
    }
    let refused = env.fails(125, ["system", "prune", "--external", "--all", "-f"]);
    assert!(refused.contains("cannot be combined"), "{refused}");
    assert!(env.fails(125, ["system", "prune", "-f", "--filter=bogus=1"]).contains("bogus"));
    assert!(
        env.fails(125, ["system", "prune", "-f", "--volumes", "--filter=unused-for=1h"])
            .contains("--volumes")
    );
    let question = env.run_with_input(["system", "prune", "--volumes", "--build"], b"n\n").stdout;
    for line in ["stopped containers", "networks", "volumes", "build containers", "dangling images"] {
        assert!(question.contains(line), "{question}");
    }
    assert_eq!(env.ok(["ps", "-aq"]).lines().count(), 2, "something went without an answer");
    let text = env.ok(["system", "prune", "-f", "--volumes", "--filter=label!=keep=yes"]);
    assert!(text.contains("Deleted Containers") && text.contains("Deleted Volumes"), "{text}");
    assert_eq!(env.ok(["ps", "-a", "--format={{.Names}}"]), "keep");
    assert_eq!(env.ok(["volume", "ls", "-q"]).lines().count(), 1);
    let left = env.data().join("tmp/1-0badcafe");
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("junk"), noise(100_000, 4)).unwrap();
    assert!(env.ok(["system", "prune", "--external", "--dry-run"]).contains("102.4kB"));
    assert!(env.ok(["system", "prune", "--external"]).ends_with("reclaimed space: 102.4kB"));
    assert!(!left.exists() && env.ok(["system", "prune", "--external"]).is_empty());
}

#[test]
fn a_pull_is_not_pruned_away() {
    let env = TestEnv::new("pull-prune");
    let layers = [layer(&busybox_entries()), layer(&[file("more", &"x".repeat(200_000))])];
    let mut image = OciImage::new(&layers, &busybox_config());
    for (slot, plain) in image.layers.iter_mut().zip(&layers) {
        *slot = (gzip(plain), TAR_GZIP);
    }
    image.describe();
    let rule: Rule = Box::new(|request, _, mut answer| {
        if request.path.contains("/blobs/") {
            answer.pause = Some((20_000, Duration::from_millis(15)));
        }
        answer
    });
    let registry = FakeRegistry::serve(&image, rule);
    for _ in 0..5 {
        let mut pull = env.command(["pull", "-q", "--tls-verify=false", &registry.image()]);
        let mut pull = pull.stdout(std::process::Stdio::null()).spawn().unwrap();
        let status = loop {
            env.ok(["system", "prune", "-a", "-f"]);
            if let Some(status) = pull.try_wait().unwrap() {
                break status;
            }
        };
        assert!(status.success());
        // Pruned as a whole after its end, or whole.
        if env.run(["image", "exists", &registry.image()]).code == 0 {
            env.ok(["run", "--rm", "--network=none", &registry.image(), "cat", "/more"]);
        }
        env.ok(["rmi", "-a", "-f"]);
    }
    assert!(env.leaks().is_empty(), "{:?}", env.leaks());
}
