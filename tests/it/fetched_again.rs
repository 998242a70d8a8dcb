//! `system check --repair` with a registry: what is damaged or gone comes again from there.

use std::fs;
use std::path::{Path, PathBuf};

use super::support::TestEnv;
use super::support::image::busybox_archive;
use super::support::registry::Registry;

const STILL: &str = "damage in local storage still present after repair attempt";

fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(path, bytes).unwrap();
}

/// Has the registry's host be asked without TLS.
fn insecure(env: &TestEnv, registry: &Registry) {
    let folder = env.config().join("containers");
    fs::create_dir_all(&folder).unwrap();
    let text = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry.host());
    fs::write(folder.join("registries.conf"), text).unwrap();
}

fn blob(env: &TestEnv, digest: &str) -> PathBuf {
    env.data().join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
}

#[test]
fn parts_of_images_come_again() {
    let env = TestEnv::new("fetch-image");
    let registry = Registry::open(&env.work());
    insecure(&env, &registry);
    registry.push_archive(&busybox_archive(&env.work(), "localhost/bb:1"), "team/bb:1");
    let name = format!("{}/team/bb:1", registry.host());
    env.ok(["pull", "-q", &name]);
    env.ok(["tag", &name, "localhost/mine:1"]);
    let of = |format: &str| env.ok(["image", "inspect", "--format", format, &name]);
    let (id, manifest) = (of("{{.Id}}"), of("{{.Digest}}"));
    let layer = of("{{index .RootFS.Layers 0}}");
    let served = registry.inspect("team/bb:1");
    let archive = blob(&env, served["layers"][0]["digest"].as_str().unwrap());
    let tree = env.data().join("layers").join(layer.trim_start_matches("sha256:"));
    let record = env.data().join("images").join(format!("{id}.json"));
    let names = env.ok(["images", "--format", "{{.Names}}"]);
    let remove_tree = || drop(env.ok(["unshare", "rm", "-rf", tree.to_str().unwrap()]));
    let damages: [(&str, &dyn Fn()); 7] = [
        ("archive damaged", &|| spoil(&archive)),
        ("archive gone", &|| fs::remove_file(&archive).unwrap()),
        ("config damaged", &|| spoil(&blob(&env, &id))),
        ("manifest gone", &|| fs::remove_file(blob(&env, &manifest)).unwrap()),
        ("layer and archive gone", &|| {
            remove_tree();
            fs::remove_file(&archive).unwrap();
        }),
        ("layer changed, archive damaged", &|| {
            fs::write(tree.join("diff/etc/new"), "").unwrap();
            spoil(&archive);
        }),
        ("record and config damaged", &|| {
            fs::write(&record, "{").unwrap();
            spoil(&blob(&env, &id));
        }),
    ];
    for (what, damage) in damages {
        damage();
        let found = env.run(["system", "check"]);
        assert_eq!(found.code, 125, "{what}: {found:#?}");
        let repaired = env.run(["system", "check", "--repair"]);
        assert_eq!(repaired.code, 0, "{what}: {repaired:#?}");
        assert!(repaired.stderr.contains("Trying to pull"), "{what}: {repaired:#?}");
        assert_eq!(env.ok(["system", "check"]), "", "{what}");
        assert_eq!(env.ok(["images", "--format", "{{.Names}}"]), names, "{what}");
        assert_eq!(env.ok(["run", "--rm", "--network=none", &name, "echo", "whole"]), "whole", "{what}");
    }
    // The registry has gone: that blob goes, the image is named, and stays.
    drop(registry);
    spoil(&archive);
    let outcome = env.run(["system", "check", "--repair"]);
    assert_eq!(outcome.code, 125, "{outcome:#?}");
    assert!(outcome.stderr.contains(STILL) && outcome.stderr.contains("connect"), "{outcome:#?}");
    let needed = format!("the image {} needs it (", &id[..12]);
    assert!(outcome.stdout.contains(&needed) && outcome.stdout.contains(&name), "{outcome:#?}");
    assert!(!archive.exists());
    assert_eq!(env.ok(["run", "--rm", "--network=none", &name, "echo", "runs"]), "runs");
}

#[test]
fn files_of_artifacts_come_again() {
    let env = TestEnv::new("fetch-artifact");
    let registry = Registry::open(&env.work());
    insecure(&env, &registry);
    let text = env.work().join("text");
    fs::write(&text, "some words\n").unwrap();
    let text = text.to_str().unwrap();
    let (name, local) = (format!("{}/files:1", registry.host()), "localhost/files:1");
    env.ok(["artifact", "add", &name, text]);
    env.ok(["artifact", "push", "-q", &name]);
    let before = env.ok(["artifact", "inspect", &name]);
    let format = ["artifact", "inspect", "--format"];
    let file = env.ok(format.iter().chain(&["{{(index .Manifest.Layers 0).Digest}}", name.as_str()]));
    let digest = env.ok(format.iter().chain(&["{{.Digest}}", name.as_str()]));
    let path = |digest: &str| env.data().join("artifacts/blobs/sha256").join(&digest[7..]);
    let (file, manifest) = (path(&file), path(&digest));
    assert_eq!(env.ok(["system", "check"]), "");
    let damages: [(&str, &dyn Fn(), bool); 4] = [
        ("file damaged", &|| spoil(&file), false),
        ("file gone", &|| fs::remove_file(&file).unwrap(), true),
        ("manifest damaged", &|| spoil(&manifest), true),
        ("manifest gone", &|| fs::remove_file(&manifest).unwrap(), true),
    ];
    for (what, damage, quick) in &damages {
        damage();
        assert_eq!(env.run(["system", "check", "--quick"]).code == 125, *quick, "{what}");
        let found = env.run(["system", "check"]);
        assert_eq!(found.code, 125, "{what}: {found:#?}");
        assert!(found.stdout.contains(&format!("Damaged artifact {name}:")), "{what}: {found:#?}");
        let repaired = env.run(["system", "check", "--repair"]);
        assert_eq!(repaired.code, 0, "{what}: {repaired:#?}");
        assert_eq!(env.ok(["artifact", "inspect", &name]), before, "{what}");
    }
    // What was made here comes from nowhere: it stays damaged, or goes with --force, and alone.
    fs::write(env.work().join("other"), "other words\n").unwrap();
    env.ok(["artifact", "add", local, env.work().join("other").to_str().unwrap()]);
    let other = path(&env.ok(format.iter().chain(&["{{(index .Manifest.Layers 0).Digest}}", local])));
    spoil(&other);
    assert!(env.fails(125, ["system", "check", "--repair"]).contains(STILL));
    let removed = env.ok(["system", "check", "--repair", "--force"]);
    assert!(removed.contains(&format!("Deleted damaged artifact: {local}")), "{removed}");
    assert_eq!(env.ok(["artifact", "ls", "-n"]).lines().count(), 1);
    assert!(!other.exists());
    fs::write(env.data().join("artifacts/index.json"), "{").unwrap();
    assert_eq!(env.run(["system", "check", "--repair"]).code, 125);
    env.ok(["system", "check", "--force"]);
    assert_eq!(env.ok(["artifact", "ls", "-n"]), "");
}

#[test]
fn artifacts_are_counted() {
    let env = TestEnv::new("df-artifacts");
    let text = env.work().join("text");
    fs::write(&text, vec![7; 300_000]).unwrap();
    let row = || {
        env.ok(["system", "df", "--format", "{{if eq .Type \"Artifacts\"}}{{.Total}} {{.RawSize}}{{end}}"])
    };
    assert!(row().trim().starts_with("0 "), "{}", row());
    env.ok(["artifact", "add", "localhost/a:1", text.to_str().unwrap()]);
    let (count, size) =
        row().trim().split_once(' ').map(|(c, s)| (c.to_owned(), s.parse::<u64>().unwrap())).unwrap();
    assert_eq!(count, "1");
    assert!((300_000..400_000).contains(&size), "{size}");
}
