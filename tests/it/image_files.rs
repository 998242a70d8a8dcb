//! Images from and to files and the web: `load`, `import` and `save` with whatever they are given, on disks that fill, and
//! killed half-way; the names that an image had; a pull of what is here already.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use super::support::TestEnv;
use super::support::disk::on_small_disk;
use super::support::env::wait_until;
use super::support::fake::{Answer, FakeRegistry, Request, Rule};
use super::support::image::{
    Entry, OciImage, archive, busybox_archive, busybox_config, busybox_entries, docker_archive, file, gzip,
    layer, sha256,
};

const IMAGE: &str = "localhost/busybox";

fn honest() -> Rule {
    Box::new(|_: &Request, _, answer: Answer| answer)
}

/// Serves files at their paths.
fn web(files: &[(&str, Vec<u8>)], rule: Rule) -> FakeRegistry {
    let contents: BTreeMap<_, _> =
        files.iter().map(|(path, bytes)| ((*path).to_owned(), (String::new(), bytes.clone()))).collect();
    FakeRegistry::start(contents, rule)
}

#[test]
fn an_unchanged_image_is_pulled_in_one_round_trip() {
    let env = TestEnv::new("one-trip");
    let image = OciImage::new(&[layer(&busybox_entries())], &busybox_config());
    let registry = FakeRegistry::serve(&image, honest());
    let pull = |more: &[&str]| {
        let name = registry.image();
        let mut args = vec!["pull", "--tls-verify=false"];
        args.extend(more);
        args.push(&name);
        let before = registry.requests().len();
        let outcome = env.run(args);
        assert_eq!(outcome.code, 0, "{outcome:#?}");
        let made: Vec<_> =
            registry.requests()[before..].iter().map(|r| format!("{} {}", r.method, r.path)).collect();
        (outcome, made)
    };
    let (first, _) = pull(&[]);
    assert!(first.stderr.contains("Writing manifest"), "{first:#?}");
    let (again, made) = pull(&[]);
    assert_eq!(made, ["HEAD /v2/test/manifests/latest"]);
    assert!(again.stdout == first.stdout && again.stderr.contains("Writing manifest"), "{again:#?}");
    let (newer, made) = pull(&["--policy=newer"]);
    assert_eq!((made.len(), newer.stdout, newer.stderr.as_str()), (1, first.stdout.clone(), ""));
    let (_, made) = pull(&["--policy=missing"]);
    assert!(made.is_empty(), "{made:?}");
    // It is only believed to be here when it is.
    let layers = env.data().join("layers");
    let one = fs::read_dir(&layers).unwrap().next().unwrap().unwrap().path();
    env.ok(["unshare", "rm", "-r", one.to_str().unwrap()]);
    pull(&[]);
    env.ok(["run", "--rm", "--network=none", &registry.image(), "true"]);
}

#[test]
fn images_come_from_the_web() {
    let env = TestEnv::new("web");
    let path = busybox_archive(&env.work(), "localhost/busybox:1");
    let tar = fs::read(&path).unwrap();
    let root = layer(&busybox_entries());
    let rule: Rule = Box::new(|request, _, mut answer| {
        match request.path.as_str() {
            "/short.tar" => answer.cut_after = Some(answer.body.len() / 2),
            "/secret.tar?token=geheim" => answer.status = 403,
            "/moved.tar" => return Answer::new(302, "").with("Location", "/image.tar"),
            "/round.tar" => return Answer::new(302, "").with("Location", "/round.tar"),
            _ => {}
        }
        answer
    });
    let files = [
        ("/image.tar", tar.clone()),
        ("/image.tar.gz", gzip(&tar)),
        ("/short.tar", tar),
        ("/root.tar", root.clone()),
        ("/root.tgz", gzip(&root)),
        ("/page.html", b"<html>not an archive</html>".to_vec()),
    ];
    let server = web(&files, rule);
    let url = |path: &str| format!("http://{}/{path}", server.host());
    for path in ["image.tar", "image.tar.gz", "moved.tar"] {
        assert_eq!(env.ok(["load", "-q", "-i", &url(path)]), "Loaded image: localhost/busybox:1");
        env.ok(["rmi", "localhost/busybox:1"]);
    }
    for path in ["root.tar", "root.tgz"] {
        let id = env.ok(["import", "-q", "--change=CMD [\"echo\", \"hi\"]", &url(path), "imported"]);
        assert_eq!(env.ok(["run", "--rm", "--network=none", "imported"]), "hi");
        let history = env.ok(["history", "--no-trunc", "--format={{.Comment}}", "imported"]);
        assert_eq!(history, format!("imported from {}", url(path)));
        assert!(id.starts_with("sha256:"), "{id}");
        env.ok(["rmi", "imported"]);
    }
    for (path, why) in [
        ("nothing.tar", "the server answered 404"),
        ("short.tar", "EOF"),
        ("round.tar", "the server answered 302"),
        ("page.html", "not an archive"),
        ("secret.tar?token=geheim", "the server answered 403"),
    ] {
        for args in [&["load", "-q", "-i"][..], &["import", "-q"]] {
            let error = env.fails(125, args.iter().map(|arg| (*arg).to_owned()).chain([url(path)]));
            let known = error.contains(why) || path == "page.html" || path == "short.tar";
            assert!(known && !error.contains("geheim"), "{path}: {error}");
        }
    }
    env.fails(125, ["load", "-q", "-i", "http://127.0.0.1:1/x.tar"]);
    env.fails(125, ["load", "-q", "-i", "https:///"]);
    assert_eq!(env.ok(["images", "-q"]), "");
    assert!(env.leaks().is_empty(), "{:?}", env.leaks());
}

/// The store has nothing that it did not have, and works.
#[track_caller]
fn intact(env: &TestEnv, what: &str) {
    assert_eq!(env.ok(["images", "-a", "-q"]).lines().count(), 1, "{what}");
    assert!(env.leaks().is_empty(), "{what}: {:?}", env.leaks());
    assert_eq!(env.ok(["run", "--rm", "--network=none", IMAGE, "echo", "well"]), "well", "{what}");
}

#[test]
fn what_is_no_image_is_refused_by_every_transport() {
    let env = TestEnv::new("noimage");
    env.busybox();
    let work = env.work();
    let write = |name: &str, bytes: &[u8]| fs::write(work.join(name), bytes).unwrap();
    let members = |name: &str, members: &[(&str, Vec<u8>)]| {
        let members: Vec<_> =
            members.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        archive(&work.join(name), &members);
    };
    let plain = layer(&[file("a", "b")]);
    let config = serde_json::to_vec(&json!({"architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&plain))]}}))
    .unwrap();
    let manifest = |value: Value| ("manifest.json", serde_json::to_vec(&value).unwrap());
    let other = layer(&[file("a", "another")]);
    write("empty.tar", b"");
    write("zeros.tar", &[0; 10240]);
    write("text.tar", b"this is no archive at all, whatever its name says\n");
    write("root.tar", &layer(&busybox_entries()));
    write("cut.tar", &fs::read(busybox_archive(&work, "localhost/cut:1")).unwrap()[..100_000]);
    write("gzip.tar", &gzip(b"still none"));
    write("bad.gz", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1, 2, 3, 4, 5]);
    members("json.tar", &[("manifest.json", b"[{".to_vec())]);
    members("none.tar", &[manifest(json!([]))]);
    members(
        "missing.tar",
        &[manifest(json!([{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["l.tar"]}]))],
    );
    members(
        "layer.tar",
        &[
            ("c.json", config.clone()),
            manifest(json!([{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["l.tar"]}])),
        ],
    );
    members(
        "wrong.tar",
        &[
            ("c.json", config.clone()),
            ("l.tar", other),
            manifest(json!([{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["l.tar"]}])),
        ],
    );
    members(
        "count.tar",
        &[
            ("c.json", config.clone()),
            ("l.tar", plain.clone()),
            manifest(json!([{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["l.tar", "l.tar"]}])),
        ],
    );
    members(
        "name.tar",
        &[
            ("c.json", config),
            ("l.tar", plain),
            manifest(json!([{"Config": "c.json", "RepoTags": ["../../x:1"], "Layers": ["l.tar"]}])),
        ],
    );
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": format!("sha256:{}", "0".repeat(64)), "size": 2}]});
    members(
        "oci.tar",
        &[
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json", serde_json::to_vec(&index).unwrap()),
        ],
    );
    let mut files: Vec<String> = fs::read_dir(&work)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("busybox"))
        .collect();
    files.sort();
    assert!(files.len() >= 14, "{files:?}");
    for name in files {
        let path = work.join(&name).to_str().unwrap().to_owned();
        if fs::read(&path).is_ok_and(|bytes| bytes.len() > 1_000_000) && name != "root.tar" {
            continue; // the archive that others are made of
        }
        let ways = [
            vec!["load".into(), "-q".into(), "-i".into(), path.clone()],
            vec!["pull".into(), "-q".into(), format!("docker-archive:{path}")],
            vec!["pull".into(), "-q".into(), format!("oci-archive:{path}")],
            vec!["pull".into(), "-q".into(), format!("oci:{path}")],
            vec!["pull".into(), "-q".into(), format!("dir:{path}")],
            vec!["pull".into(), "-q".into(), format!("containers-storage:[overlay@{path}+{path}]x")],
        ];
        for args in ways {
            let error = env.fails(125, args.clone());
            assert!(error.lines().count() <= 7 && !error.contains("panicked"), "{args:?}: {error}");
        }
        intact(&env, &name);
    }
    for args in [
        &["load", "-i", "/nonexistent.tar"][..],
        &["load", "-i", "/dev/null"],
        &["load", "-i", "/"],
        &["import", "/nonexistent.tar"],
        &["import", "/"],
        &["save", "-o", "/nonexistent/x.tar", IMAGE],
        &["save", "-o", "/tmp", IMAGE],
        &["save", "--format=oci-dir", "-o", "/dev/null", IMAGE],
        &["save", "--format=bogus", "-o", "x", IMAGE],
        &["save", "-m", "--format=oci-archive", "-o", "x", IMAGE, "nosuch"],
        &["save", "-o", "x", "nosuch"],
        &["save", "--compress", "-o", "x", IMAGE],
    ] {
        env.fails(125, args);
        assert!(!work.join("x").exists(), "{args:?} left a file");
    }
    intact(&env, "paths");
}

#[test]
fn a_disk_that_fills_leaves_no_half_of_an_image() {
    let (disk, env) = on_small_disk("fullimages");
    env.busybox();
    let big = layer(&[Entry::File("big".into(), 0o644, vec![7; 80 << 20])]);
    let tar = env.work().join("big.tar");
    docker_archive(&tar, "localhost/big:1", std::slice::from_ref(&big), &busybox_config());
    fs::write(env.work().join("root.tar"), &big).unwrap();
    let (tar, root) = (tar.to_str().unwrap(), env.work().join("root.tar"));
    let copy = format!("docker-archive:{tar}");
    for args in
        [&["load", "-q", "-i", tar][..], &["pull", "-q", &copy], &["import", "-q", root.to_str().unwrap()]]
    {
        let error = env.fails(125, args);
        assert!(error.to_lowercase().contains("no space left"), "{args:?}: {error}");
        intact(&env, args[0]);
    }
    // The target of a save is what is full.
    let target = disk.path.join("saved.tar");
    let folder = disk.path.join("saved");
    disk.fill();
    for (format, target) in [("docker-archive", &target), ("oci-archive", &target), ("oci-dir", &folder)] {
        let error = env.fails(125, ["save", "-q", "--format", format, "-o", target.to_str().unwrap(), IMAGE]);
        assert!(error.to_lowercase().contains("no space left"), "{format}: {error}");
        assert!(!target.is_file(), "{format}: half an archive is left");
    }
    disk.free();
    let _ = fs::remove_dir_all(&folder);
    intact(&env, "save");
    env.ok(["system", "prune", "-a", "-f"]);
    env.ok(["rmi", "-a", "-f"]);
}

/// What is killed leaves staging that the next command reclaims, and no image.
#[test]
fn killed_loads_imports_and_saves_leave_nothing() {
    let env = TestEnv::new("killed");
    env.busybox();
    let big = layer(&[Entry::File("big".into(), 0o644, vec![7; 60 << 20])]);
    let tar = env.work().join("big.tar");
    docker_archive(&tar, "localhost/big:1", std::slice::from_ref(&big), &busybox_config());
    let saved = env.work().join("saved.tar");
    let (tar, out) = (tar.to_str().unwrap(), saved.to_str().unwrap());
    let staged =
        |env: &TestEnv| tree_bytes(&env.data().join("tmp")) + tree_bytes(&env.data().join("blobs/partial"));
    let nothing_left = |what: &str| {
        assert_eq!(env.ok(["images", "-a", "-q"]).lines().count(), 1, "{what}");
        env.ok(["image", "prune", "-f"]);
        assert!(env.leaks().is_empty(), "{what}: {:?}", env.leaks());
    };
    // A fast machine may be done before it is killed; it is tried again then.
    for _ in 0..10 {
        let mut child = env.command(["load", "-q", "-i", tar]).stdout(Stdio::null()).spawn().unwrap();
        let mut ended = false;
        wait_until("bytes in staging", || {
            ended = child.try_wait().unwrap().is_some();
            ended || staged(&env) > 1 << 20
        });
        let _ = child.kill();
        if !child.wait().unwrap().success() {
            break;
        }
        env.ok(["rmi", "localhost/big:1"]);
    }
    nothing_left("load");
    // It waits for the rest, which never comes.
    let mut child =
        env.command(["import", "-q", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&big[..30 << 20]).unwrap();
    wait_until("bytes in staging", || staged(&env) > 1 << 20);
    child.kill().unwrap();
    child.wait().unwrap();
    nothing_left("import");
    env.ok(["load", "-q", "-i", tar]);
    let mut child = env.command(["save", "-q", "-o", out, "localhost/big:1"]).spawn().unwrap();
    wait_until("bytes in the archive", || {
        fs::metadata(&saved).is_ok_and(|meta| meta.len() > 0) || child.try_wait().unwrap().is_some()
    });
    let _ = child.kill();
    child.wait().unwrap();
    // What is there can be overwritten, and the image is as it was.
    env.ok(["save", "-q", "-o", out, "localhost/big:1"]);
    env.ok(["rmi", "localhost/big:1"]);
    assert_eq!(env.ok(["load", "-q", "-i", out]), "Loaded image: localhost/big:1");
    assert_eq!(env.ok(["run", "--rm", "--network=none", IMAGE, "echo", "well"]), "well");
}

fn tree_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => tree_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

#[test]
fn names_that_an_image_had_are_remembered() {
    let env = TestEnv::new("past-names");
    env.busybox();
    let history = || {
        let text = env.ok(["images", "--no-trunc", "--format={{.History}}", IMAGE]);
        text.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(history(), "localhost/busybox:latest");
    for name in ["first", "second"] {
        env.ok(["tag", IMAGE, name]);
        env.ok(["rmi", name]);
    }
    assert_eq!(history(), "localhost/busybox:latest, localhost/second:latest, localhost/first:latest");
    // A name that goes to another image, and comes back.
    env.ok(["tag", IMAGE, "moving"]);
    env.load_image("localhost/moving:latest", &[file("x", "y")], &busybox_config());
    assert!(history().starts_with("localhost/busybox:latest, localhost/moving:latest, localhost/second"));
    env.ok(["tag", IMAGE, "first"]);
    assert!(history().starts_with("localhost/busybox:latest, localhost/first:latest, localhost/moving"));
    let names = env.ok(["image", "inspect", "--format={{len .NamesHistory}}", IMAGE]);
    assert_eq!(names, "4");
    let id = env.ok(["image", "inspect", "--format={{.Id}}", IMAGE]);
    let file = env.data().join(format!("history/{id}.json"));
    // A damaged memory is none.
    fs::write(&file, "{").unwrap();
    assert_eq!(history(), "localhost/busybox:latest, localhost/first:latest");
    let shown = env.ok(["images", "-a", "--format={{.Id}} {{.IsDangling}} {{.IsReadOnly}}", IMAGE]);
    assert_eq!(shown.lines().next(), Some(format!("{id} false false").as_str()));
    env.ok(["rmi", "-a", "-f"]);
    assert!(!file.exists());
}
