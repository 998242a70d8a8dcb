//! What a power cut leaves of files that were never synced, clocks that jump, and stores of other versions. Names of tests
//! carry the numbers of the fault catalogue.

use std::fs;
use std::path::Path;

use super::support::TestEnv;
use super::support::env::{tool, wait_until};
use super::support::fake::{Answer, FakeRegistry};
use super::support::image::{OciImage, busybox_config, busybox_entries, file, layer, sha256};

const IMAGE: &str = "localhost/busybox";

/// Replaces a time of a record by one in ten years.
fn to_the_future(path: &Path, field: &str) {
    let text = fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(&format!("\"{field}\":\"20")).unwrap();
    fs::write(path, format!("{before}\"{field}\":\"2036{}", &rest[2..])).unwrap();
}

/// The files that are written last before the power goes are empty, or full of zeros or rubbish.
#[test]
fn f08_after_a_power_cut_during_a_pull_the_next_one_is_whole() {
    let layers = [layer(&busybox_entries()), layer(&[file("etc/own", "own")])];
    let image = OciImage::new(&layers, &busybox_config());
    let registry = FakeRegistry::serve(&image, Box::new(|_: &_, _, answer: Answer| answer));
    let name = registry.image();
    let env = TestEnv::new("f08");
    let pull = ["pull", "-q", "--tls-verify=false", &name];
    let id = env.ok(pull);
    let data = env.data();
    let files = |dir: &str| fs::read_dir(data.join(dir)).unwrap().map(|entry| entry.unwrap().path());
    // Nothing of an image that has no record yet is believed unread.
    let cuts: [&dyn Fn(&Path); 3] =
        [&|path| fs::write(path, "").unwrap(), &|path| fs::write(path, vec![0; 5000]).unwrap(), &|path| {
            fs::write(path, [b"rubbish".repeat(1000), fs::read(path).unwrap()].concat()).unwrap();
        }];
    for (number, cut) in cuts.iter().enumerate() {
        env.ok(["rmi", "--force", &id]);
        // What was on its way.
        for (blob, _) in &image.layers {
            let path = data.join("blobs/partial").join(format!("sha256-{}", sha256(blob)));
            fs::write(&path, &blob[..blob.len() / 2]).unwrap();
            cut(&path);
        }
        fs::create_dir_all(data.join("tmp/9999999-cut/layer-1/diff")).unwrap();
        fs::write(data.join("images/.tmp-9999999-0"), "").unwrap();
        assert_eq!(env.ok(pull), id, "{number}");
        assert_eq!(env.ok(["system", "check"]), "", "{number}");
        assert_eq!(env.ok(["run", "--rm", "--network=none", &name, "cat", "/etc/own"]), "own", "{number}");
        assert_eq!(files("blobs/partial").count(), 0, "{number}");
        assert!(!data.join("tmp/9999999-cut").exists(), "{number}");
    }
}

/// The clock was ahead and is right again, or jumps back.
#[test]
fn f42_times_in_the_future_are_shown_and_compared_all_the_same() {
    let env = TestEnv::new("f42");
    env.busybox();
    let id = env.ok(["run", "-d", "--name=c", "--network=none", IMAGE, "sh", "-c", "echo line; sleep 1000"]);
    let dir = env.data().join("containers").join(&id);
    to_the_future(&dir.join("record.json"), "created");
    to_the_future(&dir.join("state.json"), "started");
    let listed = env.ok(["ps", "--format={{.Names}}|{{.RunningFor}}|{{.Status}}"]);
    assert!(listed.starts_with("c|") && listed.contains("|Up ") && !listed.contains('-'), "{listed}");
    let log = dir.join("ctr.log");
    wait_until("the line is logged", || fs::read_to_string(&log).is_ok_and(|text| text.ends_with("line\n")));
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, format!("2036{}", &text[4..])).unwrap();
    assert_eq!(env.ok(["logs", "c"]), "line");
    assert_eq!(env.ok(["logs", "--since=1h", "c"]), "line");
    assert_eq!(env.ok(["logs", "--until=2035-01-01T00:00:00Z", "c"]), "");
    // Waiting is by a clock that nobody sets.
    env.ok(["stop", "-t1", "c"]);
    let listed = env.ok(["ps", "-a", "--format={{.Names}}|{{.RunningFor}}|{{.Status}}"]);
    assert!(listed.contains("|Exited (") && !listed.contains('-'), "{listed}");
    to_the_future(&dir.join("state.json"), "finished");
    let listed = env.ok(["ps", "-a", "--format={{.Status}}"]);
    assert!(listed.starts_with("Exited (137) ") && !listed.contains('-'), "{listed}");
    env.ok(["start", "c"]);
    env.ok(["rm", "-f", "-t0", "c"]);
}

#[test]
fn f60_a_store_of_a_later_version_is_refused_and_left_alone() {
    let env = TestEnv::new("f60");
    env.busybox();
    let path = env.data().join("store.json");
    let own = fs::read_to_string(&path).unwrap();
    fs::write(&path, "{\"version\":2,\"more\":true}").unwrap();
    for command in
        [&["images"][..], &["run", "--rm", IMAGE, "true"], &["rmi", IMAGE], &["tag", IMAGE, "localhost/x"]]
    {
        let refused = env.run(command);
        assert!(refused.code == 125 && refused.stderr.contains("version 2"), "{command:?}: {refused:?}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"version\":2,\"more\":true}");
    fs::write(&path, own).unwrap();
    assert_eq!(env.ok(["run", "--rm", "--network=none", IMAGE, "echo", "whole"]), "whole");
}

/// Of what a removal has done, any part reaches the disk before the power goes, and any other does not.
#[test]
fn f59_after_a_power_cut_during_a_removal_everything_is_there_or_gone() {
    const FOLDERS: [&str; 6] = ["tags", "images", "layers", "blobs", "names", "containers"];
    let env = TestEnv::new("f59");
    env.busybox();
    env.ok(["create", "--name", "c", "--network=none", IMAGE, "echo", "fine"]);
    let (data, before) = (env.data(), env.work().join("before"));
    let copy = |from: &Path, to: &Path| {
        assert_eq!(tool("cp", ["-a".as_ref(), from.as_os_str(), to.as_os_str()]).code, 0);
    };
    copy(&data, &before);
    // A name goes after its directory, and journals keep the order of what is done to directories.
    let possible = |lost: &u32| lost & 0b11_0000 != 0b10_0000;
    for lost in (1..1_u32 << FOLDERS.len()).filter(possible) {
        env.ok(["system", "prune", "--all", "--force"]);
        for (number, folder) in FOLDERS.iter().enumerate() {
            if lost & 1 << number != 0 {
                fs::remove_dir_all(data.join(folder)).unwrap();
                copy(&before.join(folder), &data.join(folder));
            }
        }
        let what = format!("{lost:06b}");
        for args in [&["ps", "-a"][..], &["images"]] {
            let outcome = env.run(args);
            assert!(outcome.code == 0, "{what}: {args:?}: {outcome:#?}");
        }
        // What is there works, or says why not.
        for args in
            [&["start", "-a", "c"][..], &["run", "--rm", "--network=none", "--pull=never", IMAGE, "true"]]
        {
            let outcome = env.run(args);
            let said = outcome.stderr.starts_with("Error: ") && !outcome.stderr.contains("panicked");
            assert!(outcome.code == 0 || said, "{what}: {args:?}: {outcome:#?}");
        }
        // Nothing is in the way of having it anew.
        env.ok(["rm", "--force", "--ignore", "c"]);
        env.busybox();
        let again = ["run", "--name", "c", "--network=none", IMAGE, "echo", "fine"];
        assert_eq!(env.ok(again), "fine", "{what}");
        assert_eq!(env.ok(["system", "check"]), "", "{what}");
    }
}
