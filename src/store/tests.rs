//! The store as a whole: several processes, crashes, foreign and damaged states. Numbers are those of the
//! project's security (S) and reliability (F) cases.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink as make_link};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::testing::*;
use std::path::Path;

use super::*;
use crate::config::ErrorKind;

/// Environment of a worker process: the store, and what to do.
const STORE: &str = "RBOX_TEST_STORE";
const JOB: &str = "RBOX_TEST_JOB";

fn variable(name: &str) -> Option<String> {
    std::env::vars().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// This test program again, running only [`worker`].
fn spawn(data: &Path, job: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::worker", "--nocapture", "--quiet"])
        .env(STORE, data)
        .env(JOB, job)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finish(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A line for the parent process.
fn say(line: &str) {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{line}").unwrap();
}

/// Not a test by itself: the other processes of the tests below.
#[test]
fn worker() {
    let (Some(data), Some(job)) = (variable(STORE), variable(JOB)) else { return };
    let store = Store::open_at(Path::new(&data)).unwrap();
    match job.as_str() {
        "pull" => say(&format!("wrote {}", pull(&store))),
        "remove" => remove(&store),
        "check" => assert_whole(&store, "check"),
        "clean" => {
            assert_whole(&store, "clean");
            assert_clean(&store, "clean");
        }
        "stage" => {
            store.put_blob(b"x").unwrap();
            say("ready");
            std::thread::sleep(Duration::from_secs(600));
        }
        "slow blob" => {
            let BlobSlot::Missing(mut writer) = store.blob_writer(&Digest::of(b"abcdef"), Some(6)).unwrap()
            else {
                panic!("it is there");
            };
            writer.write(b"abc").unwrap();
            say("ready");
            std::thread::sleep(Duration::from_millis(300));
            writer.write(b"def").unwrap();
            writer.commit().unwrap();
        }
        other => panic!("{other}"),
    }
}

pub(super) fn base() -> Vec<u8> {
    let mut items = vec![dir("etc").mode(0o711), dir("closed").mode(0), file("closed/f", "x").mode(0)];
    items.extend((0..40).map(|i| file(format!("etc/f{i}"), vec![b'x'; 2000])));
    archive(&items)
}

fn layers_of_both() -> [Vec<Vec<u8>>; 2] {
    [
        vec![base(), archive(&[file("etc/a", "a"), file(".wh.closed", "")])],
        vec![base(), archive(&[file("etc/b", "b")]), archive(&[file("c", vec![7; 100_000])])],
    ]
}

/// Brings two images with a shared layer; returns how many blobs and layers this process wrote itself.
fn pull(store: &Store) -> usize {
    let mut written = 0;
    for (name, layers) in ["localhost/one:latest", "localhost/two:latest"].iter().zip(layers_of_both()) {
        for layer in &layers {
            let digest = Digest::of(layer);
            match store.blob_writer(&digest, Some(layer.len() as u64)).unwrap() {
                BlobSlot::Present(_) => {}
                BlobSlot::Missing(mut writer) => {
                    written += 1;
                    let start = usize::try_from(writer.offset()).unwrap();
                    for piece in layer[start..].chunks(10_000) {
                        writer.write(piece).unwrap();
                    }
                    writer.commit().unwrap();
                }
            }
            let lock = store.lock_layer(&digest).unwrap();
            if lock.present().is_none() {
                written += 1;
                store.unpack_layer(&lock, layer.as_slice(), &options()).unwrap();
            }
        }
        image(store, Some(name), &layers);
    }
    written
}

/// Removes the second image and everything that only it needed.
fn remove(store: &Store) {
    if let Ok(found) = store.find_image("localhost/two") {
        match store.remove_image(&found.record.id, found.name.as_deref(), |_| Vec::new()) {
            // Another process was faster.
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    store.gc(Partials::Keep).unwrap();
}

/// Every image that is visible is whole, to the last byte.
fn assert_whole(store: &Store, why: &str) {
    let scratch = Scratch::new("reference");
    let reference = scratch.store();
    for layers in layers_of_both() {
        for layer in layers {
            unpack(&reference, &layer).unwrap();
        }
    }
    for record in store.images().unwrap() {
        store.read_blob(&record.id.digest(), 1 << 20).unwrap();
        for layer in &record.layers {
            store.read_blob(layer.blob.as_ref().unwrap(), 1 << 30).unwrap();
        }
        for id in record.mount_layers() {
            let layer = store.layer(&id).unwrap().unwrap_or_else(|| panic!("{why}: layer {id} is missing"));
            if let Some(expected) = reference.layer(&id).unwrap() {
                assert_eq!(listing(&layer.diff()), listing(&expected.diff()), "{why}");
            }
        }
    }
    for tag in store.tags().unwrap() {
        if let Some(record) = store.image(&tag.image).unwrap() {
            assert_eq!(store.find_image(&tag.name).unwrap().record, record, "{why}");
        }
    }
}

/// After a collection exactly what the images need is left.
pub(super) fn assert_clean(store: &Store, why: &str) {
    store.gc(Partials::Remove).unwrap();
    let mut needed: BTreeSet<String> = BTreeSet::new();
    for record in store.images().unwrap() {
        needed.extend(
            table::references(&record).into_iter().map(|(kind, digest)| format!("{kind:?} {}", digest.hex())),
        );
    }
    let names = |dir: &str| store.list(dir).unwrap();
    let layers = names("layers").into_iter().map(|name| format!("Layer {name}"));
    let blobs = names("blobs/sha256").into_iter().map(|name| format!("Blob {name}"));
    assert_eq!(layers.chain(blobs).collect::<BTreeSet<_>>(), needed, "{why}");
    assert_eq!(names("blobs/partial"), [""; 0], "{why}");
    assert_eq!(names("locks"), ["table"], "{why}");
    assert!(names("tmp").len() <= 1, "{why}: {:?}", names("tmp"));
}

/// Kills a job at many moments of its life, and lets another process do it again each time.
fn kill_sweep(job: &str, prepare: impl Fn(&Store)) {
    let scratch = Scratch::new("kill");
    let data = scratch.0.join("data");
    prepare(&Store::open_at(&data).unwrap());
    let start = Instant::now();
    finish(spawn(&data, job));
    let whole = start.elapsed();
    let points = 40;
    for point in 0..points {
        prepare(&Store::open_at(&data).unwrap());
        let mut child = spawn(&data, job);
        // The first third is the start of the program.
        std::thread::sleep(whole.mul_f64(0.3 + 0.7 * f64::from(point) / f64::from(points)));
        child.kill().unwrap();
        child.wait().unwrap();
        let why = format!("{job} killed at point {point}");
        assert_whole(&Store::open_at(&data).unwrap(), &why);
        finish(spawn(&data, job));
        let store = Store::open_at(&data).unwrap();
        assert_whole(&store, &why);
        assert_clean(&store, &why);
    }
}

#[test]
fn f1_a_pull_killed_anywhere_leaves_whole_images_or_none() {
    kill_sweep("pull", |store| {
        for record in store.images().unwrap() {
            store.remove_image(&record.id, None, |_| Vec::new()).unwrap();
        }
        store.gc(Partials::Remove).unwrap();
    });
}

#[test]
fn f5_a_removal_killed_anywhere_spares_shared_layers() {
    kill_sweep("remove", |store| {
        pull(store);
    });
}

#[test]
fn f16_eight_processes_bring_each_object_once() {
    let scratch = Scratch::new("f16");
    let store = scratch.store();
    let children: Vec<_> = (0..8).map(|_| spawn(store.data(), "pull")).collect();
    let written: usize = children
        .into_iter()
        .map(|child| {
            finish(child).lines().find_map(|line| line.strip_prefix("wrote ")?.parse::<usize>().ok()).unwrap()
        })
        .sum();
    // Four archives, each as a blob and as a layer.
    assert_eq!(written, 8);
    assert_whole(&store, "eight pulls");
    assert_clean(&store, "eight pulls");
}

#[test]
fn f16_pulls_and_removals_at_once_leave_a_whole_store() {
    let scratch = Scratch::new("f16");
    let store = scratch.store();
    for round in 0..4 {
        let jobs = ["pull", "remove", "pull", "remove", "pull"];
        let children: Vec<_> = jobs.iter().map(|job| spawn(store.data(), job)).collect();
        for child in children {
            finish(child);
        }
        assert_whole(&store, &format!("round {round}"));
        assert_clean(&store, &format!("round {round}"));
    }
}

#[test]
fn f16_a_second_writer_waits_and_finds_the_blob() {
    let scratch = Scratch::new("f16");
    let store = scratch.store();
    let mut child = spawn(store.data(), "slow blob");
    let _output = wait_for_ready(&mut child);
    let digest = Digest::of(b"abcdef");
    assert!(store.try_blob_writer(&digest, Some(6)).unwrap().is_none(), "somebody writes it");
    assert!(store.blob(&digest).unwrap().is_none(), "a half blob is no blob");
    assert!(matches!(store.blob_writer(&digest, Some(6)).unwrap(), BlobSlot::Present(_)));
    finish(child);
    assert_eq!(store.list("blobs/partial").unwrap(), [""; 0]);
}

/// Keeps the other end of the pipe open: a test program that cannot print fails.
fn wait_for_ready(child: &mut Child) -> impl Sized + use<> {
    use std::io::BufRead as _;
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));
    lines
}

#[test]
fn f43_staging_of_the_dead_is_reclaimed_and_of_the_living_is_not() {
    let scratch = Scratch::new("f43");
    let store = scratch.store();
    let mut child = spawn(store.data(), "stage");
    let _output = wait_for_ready(&mut child);
    let living = store.list("tmp").unwrap();
    assert_eq!(living.len(), 1);
    let dead = store.data().join("tmp/99-dead");
    fs::create_dir_all(dead.join("layer-0/diff/closed")).unwrap();
    put(&dead.join("layer-0/diff/closed/f"), b"x");
    fs::set_permissions(dead.join("layer-0/diff/closed"), fs::Permissions::from_mode(0o000)).unwrap();
    store.gc(Partials::Keep).unwrap();
    assert_eq!(store.list("tmp").unwrap(), living);
    assert!(store.blob(&Digest::of(b"x")).unwrap().is_some(), "a living process relies on it");
    child.kill().unwrap();
    child.wait().unwrap();
    store.gc(Partials::Keep).unwrap();
    assert_eq!(store.list("tmp").unwrap(), [""; 0]);
    assert!(store.blob(&Digest::of(b"x")).unwrap().is_none());
}

#[test]
fn f46_trees_of_any_mode_owner_and_depth_are_removed() {
    let scratch = Scratch::new("f46");
    let tree = scratch.0.join("tree");
    let mut path = tree.clone();
    // Deeper than a path is long.
    let deep = scratch.0.join("deep");
    fs::create_dir(&deep).unwrap();
    let mut at = fs::File::open(&deep).unwrap();
    for _ in 0..3000 {
        use rustix::fs::{Mode, OFlags};
        rustix::fs::mkdirat(&at, "dddd", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "dddd", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .unwrap()
            .into();
    }
    for level in 0..80 {
        fs::create_dir(&path).unwrap();
        put(&path.join("f"), b"x");
        make_link("/", path.join("link")).unwrap();
        path = path.join(format!("d{level}"));
    }
    fs::rename(&deep, tree.join("deep")).unwrap();
    let mut dirs: Vec<_> = (0..80)
        .scan(tree.clone(), |path, level| {
            let this = path.clone();
            *path = path.join(format!("d{level}"));
            Some(this)
        })
        .collect();
    dirs.reverse();
    for (number, dir) in dirs.iter().enumerate() {
        if is_root() {
            std::os::unix::fs::chown(dir, Some(1000 + number as u32), None).unwrap();
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let root = crate::kernel::path::RootDir::open(&scratch.0).unwrap();
    root.remove_tree("tree").unwrap();
    assert!(!tree.exists());
    root.remove_tree("tree").unwrap();
}

#[test]
fn f59_a_directory_without_a_record_is_replaced() {
    let scratch = Scratch::new("f59");
    let store = scratch.store();
    let bytes = base();
    let layer = unpack(&store, &bytes).unwrap();
    // What a power cut leaves of a removal in place.
    fs::remove_file(layer.diff().parent().unwrap().join("layer.json")).unwrap();
    assert!(store.layer(&Digest::of(&bytes)).unwrap().is_none());
    let layer = unpack(&store, &bytes).unwrap();
    assert!(layer.diff().join("etc/f0").exists());
}

#[test]
fn s50_the_store_is_closed_to_others() {
    let scratch = Scratch::new("s50");
    let data = scratch.0.join("data");
    let mode = || data.metadata().unwrap().mode() & 0o777;
    Store::open_at(&data).unwrap();
    assert_eq!(mode(), 0o700);
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    Store::open_at(&data).unwrap();
    assert_eq!(mode(), 0o700);
}

#[test]
fn what_is_no_store_of_ours_is_refused() {
    let scratch = Scratch::new("refused");
    let problem = |data: &Path| {
        let error = Store::open_at(data).unwrap_err();
        (error.kind(), error.to_string())
    };
    let other = scratch.0.join("other");
    fs::create_dir(&other).unwrap();
    put(&other.join("precious"), b"x");
    assert!(problem(&other).1.contains("not empty"), "{:?}", problem(&other));
    assert_eq!(fs::read_dir(&other).unwrap().count(), 1);
    let data = scratch.0.join("data");
    Store::open_at(&data).unwrap();
    put(&data.join("store.json"), b"{\"version\":2,\"new\":1}");
    assert_eq!(problem(&data).0, ErrorKind::Unsupported);
    assert!(problem(&data).1.contains("version 2"), "{:?}", problem(&data));
    put(&data.join("store.json"), b"");
    assert!(problem(&data).1.contains("damaged"), "{:?}", problem(&data));
    put(&scratch.0.join("file"), b"");
    assert_eq!(problem(&scratch.0.join("file")).0, ErrorKind::Denied);
    if is_root() {
        let foreign = scratch.0.join("foreign");
        fs::create_dir(&foreign).unwrap();
        std::os::unix::fs::chown(&foreign, Some(1), None).unwrap();
        assert!(problem(&foreign).1.contains("belongs to uid 1"), "{:?}", problem(&foreign));
    } else {
        assert!(problem(Path::new("/proc/nothing/rbox")).1.contains("cannot create"));
    }
}

#[test]
fn a_download_is_resumed_checked_and_refused_if_wrong() {
    let scratch = Scratch::new("resume");
    let store = scratch.store();
    let digest = Digest::of(b"abcdef");
    let missing = |slot| match slot {
        BlobSlot::Missing(writer) => writer,
        BlobSlot::Present(_) => panic!("it is there"),
    };
    let mut writer = missing(store.blob_writer(&digest, Some(6)).unwrap());
    writer.write(b"abc").unwrap();
    assert!(writer.commit().is_err(), "too short");
    let mut writer = missing(store.blob_writer(&digest, Some(6)).unwrap());
    assert_eq!(writer.offset(), 3);
    assert!(writer.write(b"defg").is_err(), "too long");
    writer.write(b"xyz").unwrap();
    let error = writer.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(store.blob(&digest).unwrap().is_none());
    let mut writer = missing(store.blob_writer(&digest, None).unwrap());
    assert_eq!(writer.offset(), 0, "a wrong blob is not continued");
    writer.write(b"rubbish").unwrap();
    writer.restart().unwrap();
    writer.write(b"abcdef").unwrap();
    writer.commit().unwrap();
    assert_eq!(store.read_blob(&digest, 6).unwrap(), b"abcdef");
    assert!(store.read_blob(&digest, 5).is_err());
    let sha512: Digest = {
        let mut hasher = Hasher::like(&format!("sha512:{}", "0".repeat(128)).parse().unwrap());
        hasher.update(b"abcdef");
        hasher.finish()
    };
    let mut writer = missing(store.blob_writer(&sha512, Some(6)).unwrap());
    writer.write(b"abcdef").unwrap();
    writer.commit().unwrap();
    assert_eq!(store.read_blob(&sha512, 6).unwrap(), b"abcdef");
}

#[test]
fn f19_who_holds_an_image_can_change_the_tables_while_it_is_being_removed() {
    let scratch = Scratch::new("f19");
    let store = scratch.store();
    pull(&store);
    let image = store.images().unwrap().remove(0).id;
    let guard = store.hold_image(&image).unwrap();
    std::thread::scope(|scope| {
        let removal = scope.spawn(|| store.remove_image(&image, None, |_| Vec::new()).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        let (sender, receiver) = std::sync::mpsc::channel();
        let (store, image) = (&store, &image);
        scope.spawn(move || sender.send(store.tag("localhost/added:1", image, None).is_ok()));
        let tagged = receiver.recv_timeout(Duration::from_secs(5));
        drop(guard);
        assert_eq!(tagged, Ok(true), "each waits for the other");
        assert!(removal.join().unwrap().untagged.contains(&"localhost/added:1".to_owned()));
    });
}

#[test]
fn f19_who_holds_an_image_can_change_the_tables_while_it_is_brought_again() {
    let scratch = Scratch::new("f19");
    let store = scratch.store();
    pull(&store);
    let image = store.images().unwrap().remove(0).id;
    let guard = store.hold_image(&image).unwrap();
    std::thread::scope(|scope| {
        let again = scope.spawn(|| pull(&store));
        std::thread::sleep(Duration::from_millis(200));
        let (sender, receiver) = std::sync::mpsc::channel();
        let (store, image) = (&store, &image);
        scope.spawn(move || sender.send(store.tag("localhost/added:1", image, None).is_ok()));
        let tagged = receiver.recv_timeout(Duration::from_secs(5));
        drop(guard);
        assert_eq!(tagged, Ok(true), "each waits for the other");
        again.join().unwrap();
    });
}

#[test]
fn s57_an_image_without_all_its_parts_is_refused() {
    let scratch = Scratch::new("s57");
    let store = scratch.store();
    let good = image(&store, None, &[base()]);
    let config = store.read_blob(&good.id.digest(), 1 << 20).unwrap();
    let extra = ImageLayer { diff_id: Digest::of(b"nothing"), blob: None, media_type: None };
    let mut record = good.clone();
    record.layers.push(extra);
    assert!(store.put_image(record, &config).is_err(), "a layer is missing");
    let record = ImageRecord { manifest: Some(Digest::of(b"nothing")), ..good.clone() };
    assert!(matches!(store.put_image(record, &config), Err(Error::Incomplete { what: "blob", .. })));
    assert!(store.put_image(good.clone(), b"another").is_err(), "the id is the digest of the configuration");
    assert!(store.tag("localhost/x:latest", &ImageId::of(b"nothing"), None).is_err());
    assert_eq!(store.images().unwrap(), [good]);
}

#[test]
fn one_damaged_record_hides_nothing_else() {
    let scratch = Scratch::new("damaged");
    let store = scratch.store();
    let good = image(&store, Some("localhost/good:latest"), &[base()]);
    let bad = image(&store, Some("localhost/bad:latest"), &[archive(&[file("b", "2")])]);
    put(&store.data().join("images").join(format!("{}.json", bad.id)), b"{\"ver");
    put(&store.data().join("tags/localhost%2Fbroken"), b"");
    assert_eq!(store.images().unwrap(), [good]);
    assert!(store.find_image("good").is_ok());
    assert!(matches!(store.find_image(bad.id.as_str()), Err(Error::Record { .. })));
    store.gc(Partials::Keep).unwrap();
    assert!(store.layer(&bad.layers[0].diff_id).unwrap().is_some(), "what it needs is unknown, so all stays");
    store.remove_image(&bad.id, None, |_| Vec::new()).unwrap();
    drop(store);
    let store = scratch.store();
    assert_clean(&store, "after the removal");
}

#[test]
fn the_builtin_image_is_a_copy_made_once() {
    let scratch = Scratch::new("builtin");
    let store = scratch.store();
    let exe = scratch.0.join("rbox");
    put(&exe, b"program one");
    let record = store.builtin_image(&exe, &options(), |_| Vec::new()).unwrap();
    let layer = store.layer(&record.layers[0].diff_id).unwrap().unwrap();
    let copy = layer.diff().join("rbox");
    assert_eq!(fs::read(&copy).unwrap(), b"program one");
    assert_ne!(copy.metadata().unwrap().ino(), exe.metadata().unwrap().ino(), "no hard link to the program");
    assert_eq!(copy.metadata().unwrap().mode() & 0o777, 0o755);
    assert_eq!(store.builtin_image(&exe, &options(), |_| Vec::new()).unwrap(), record);
    assert_eq!(store.find_image(HELLO).unwrap().record, record);
    put(&exe, b"program number two");
    let newer = store.builtin_image(&exe, &options(), |_| Vec::new()).unwrap();
    assert_ne!(newer.id, record.id);
    assert_eq!(store.images().unwrap(), [newer]);
}
