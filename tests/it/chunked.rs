//! zstd:chunked and eStargz: what is here is not fetched again, and what comes out is what was pushed.

use super::support::TestEnv;
use super::support::chunked::{Counted, MANIFEST_CHECKSUM, noise, stargz, table, zstd_chunked};
use super::support::image::{Entry, OciImage, busybox_config, busybox_entries, dir, hard, layer, link};
use super::support::registry::Registry;

/// Files that an image has: so many with content that nothing compresses, between small things of all kinds.
fn files(count: u64, version: impl Fn(u64) -> u64) -> Vec<Entry> {
    let mut entries = vec![dir("data/")];
    for number in 0..count {
        let seed = number * 100 + version(number);
        let size = 2_000 + usize::try_from(number * 7919 % 30_000).unwrap();
        entries.push(Entry::File(format!("data/{number}"), 0o644, noise(size, seed)));
        entries.push(link(&format!("data/link{number}"), &number.to_string()));
        if number % 10 == 0 {
            entries.push(hard(&format!("data/hard{number}"), &format!("data/{number}")));
            entries.push(Entry::File(format!("data/empty{number}"), 0o600, Vec::new()));
        }
    }
    // One that has chunks: it is changed in the middle.
    let mut large = noise(1 << 20, 5);
    large[500_000] ^= u8::try_from(version(3)).unwrap();
    large.splice(700_000..700_000, [0; 5000]);
    entries.push(Entry::File("data/large".into(), 0o755, large));
    entries
}

/// Two images that have nine of ten files in common.
fn versions(make: impl Fn(&[u8]) -> OciImage) -> [OciImage; 2] {
    let one = files(300, |_| 0);
    let two = files(300, |number| u64::from(number % 10 == 3));
    [make(&layer(&one)), make(&layer(&two))]
}

fn pull(env: &TestEnv, image: &str) {
    env.ok(["pull", "-q", "--tls-verify=false", image]);
}

/// What the files of an image are, also their times and owners.
fn look(env: &TestEnv, image: &str) -> String {
    env.load_image("localhost/tools:1", &busybox_entries(), &busybox_config());
    let mount = format!("--mount=type=image,source={image},destination=/image");
    let script = "cd /image; find . | sort | while read -r f; do stat -c '%n %a %u %g %s %Y %F %h' \"$f\"; done; \
                  find . -type f | sort | xargs md5sum";
    env.ok(["run", "--rm", "--network=none", &mount, "localhost/tools:1", "sh", "-c", script])
}

/// Pulls both and says what the second one cost, as a part of its size.
#[track_caller]
fn second_pull(images: &[OciImage; 2], what: &str) -> f64 {
    let served = Counted::serve(&[("one", &images[0]), ("two", &images[1])], |_, _, answer| answer);
    let env = TestEnv::new("chunked");
    let size = images[1].layers[0].0.len() as f64;
    pull(&env, &served.image("one"));
    let first = served.sent() as f64;
    assert!(first < size * 1.05, "{what}: the first costs no more than it is: {first}");
    pull(&env, &served.image("two"));
    let part = served.sent() as f64 / size;
    // It is what another one has that fetched all of it, as files and as blobs.
    assert_eq!(env.ok(["system", "check"]), "", "{what}");
    let other = TestEnv::new("whole");
    pull(&other, &served.image("two"));
    assert_eq!(look(&env, &served.image("two")), look(&other, &served.image("two")), "{what}");
    let ranges = served.registry.requests().iter().filter(|r| !r.header("range").is_empty()).count();
    assert!(ranges < 400, "{what}: {ranges} requests");
    part
}

#[test]
fn only_files_that_are_not_here_are_fetched() {
    let part = second_pull(&versions(zstd_chunked), "zstd:chunked");
    assert!((0.09..0.15).contains(&part), "zstd:chunked: {part}");
    let part = second_pull(&versions(stargz), "eStargz");
    assert!((0.09..0.30).contains(&part), "eStargz: {part}");
}

#[test]
fn a_blob_that_came_in_parts_is_pushed_as_it_was() {
    let images = versions(zstd_chunked);
    let served = Counted::serve(&[("one", &images[0]), ("two", &images[1])], |_, _, answer| answer);
    let env = TestEnv::new("chunkedpush");
    pull(&env, &served.image("one"));
    pull(&env, &served.image("two"));
    let registry = env.work().join("registry");
    std::fs::create_dir_all(&registry).unwrap();
    let registry = Registry::open(&registry);
    let to = format!("{}/two:1", registry.host());
    env.ok(["push", "-q", "--tls-verify=false", &served.image("two"), &to]);
    assert_eq!(registry.inspect("two:1"), images[1].manifest);
    // A real registry serves ranges, too; another layer that is there but for its blob is brought in the same way.
    let other = TestEnv::new("chunkedreal");
    pull(&other, &served.image("one"));
    pull(&other, &to);
    let log = registry.log();
    let ranges = log.lines().filter(|line| line.contains("\" 206 ")).count();
    assert!(ranges > 3, "{ranges}: {log}");
    assert_eq!(other.ok(["system", "check"]), "");
    // A layer that is here without this blob.
    let third = TestEnv::new("chunkedlayer");
    let plain = zstd::decode_all(&*images[1].layers[0].0).unwrap();
    third.load_layers("localhost/plain:1", &[plain], &busybox_config());
    served.sent();
    pull(&third, &served.image("one"));
    let whole = served.sent();
    pull(&third, &served.image("two"));
    assert!(served.sent() < whole / 5, "of {whole}");
    assert_eq!(third.ok(["system", "check"]), "");
}

#[test]
fn zstd_chunked_is_written() {
    let entries = files(20, |_| 0);
    let image = zstd_chunked(&layer(&entries));
    let described = table(&image);
    let names = |kind: &str| {
        let entries = described["entries"].as_array().unwrap().iter();
        entries.filter(|entry| entry["type"] == kind).count()
    };
    assert_eq!((names("dir"), names("symlink"), names("hardlink"), names("reg")), (1, 20, 2, 23));
    assert!(names("chunk") > 5, "large files have chunks");
    let holes = described["entries"].as_array().unwrap().iter().filter(|entry| entry["chunkType"] == "zeros");
    assert_eq!(holes.count(), 1);
    // What has no table is a zstd layer all the same: a name that comes twice.
    let mut twice = entries.clone();
    twice.push(entries[1].clone());
    let plain = zstd_chunked(&layer(&twice));
    assert!(
        plain.manifest["layers"][0].get("annotations").is_none_or(|all| all.get(MANIFEST_CHECKSUM).is_none())
    );
    // A level, all layers anew, and a format that has no zstd.
    let env = TestEnv::new("chunkedlevel");
    env.load_layers("localhost/x:1", &[layer(&entries)], &busybox_config());
    let to = |name: &str| format!("oci:{}:x", env.work().join(name).display());
    for (name, options) in [
        ("one", &["--compression-format=zstd:chunked", "--compression-level=19"][..]),
        ("two", &["--compression-format=zstd:chunked", "--force-compression"]),
        ("three", &["--compression-format=zstd"]),
    ] {
        env.ok([&["push", "-q"], options, &["localhost/x:1", &to(name)]].concat());
        let archive = env.work().join(name);
        let tool =
            super::support::env::tool("skopeo", ["inspect", "--raw", &format!("oci:{}", archive.display())]);
        let manifest: serde_json::Value = serde_json::from_str(&tool.stdout).unwrap();
        let annotations = &manifest["layers"][0]["annotations"];
        assert_eq!(annotations.get(MANIFEST_CHECKSUM).is_some(), name != "three", "{manifest}");
    }
    let refused = env.fails(
        125,
        [
            "push",
            "-q",
            "--format=v2s2",
            "--compression-format=zstd:chunked",
            "localhost/x:1",
            "localhost:1/x",
        ],
    );
    assert!(refused.contains("OCI format"), "{refused}");
}
