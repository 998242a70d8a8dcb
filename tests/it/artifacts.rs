//! `artifact`: files in a store of their own, to and from registries, with skopeo on the other side.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use super::support::TestEnv;
use super::support::env::tool;
use super::support::fake::FakeRegistry;
use super::support::image::{descriptor, sha256};
use super::support::registry::Registry;

const NAME: &str = "localhost/team/files";

fn put(env: &TestEnv, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = env.work().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn inspect(env: &TestEnv, name: &str) -> Value {
    serde_json::from_str(&env.ok(["artifact", "inspect", name])).unwrap()
}

/// Files below the store of artifacts, without its lock.
fn blobs(env: &TestEnv) -> usize {
    fs::read_dir(env.data().join("artifacts/blobs/sha256")).unwrap().count()
}

#[test]
fn files_are_added_listed_extracted_and_removed() {
    let env = TestEnv::new("artifact");
    assert_eq!(env.ok(["artifact", "ls", "-n"]), "");
    let (one, two) = (put(&env, "one.txt", "first\n"), put(&env, "two.gz", b"\x1f\x8b\x08 packed"));
    let digest =
        env.ok(["artifact", "add", "--type", "application/x-files", "--annotation", "a=b", NAME, &one]);
    assert_eq!(digest.len(), 64, "{digest}");
    let report = inspect(&env, NAME);
    assert_eq!(report["Name"], NAME);
    assert_eq!(report["Digest"], format!("sha256:{digest}"));
    let manifest = &report["Manifest"];
    assert_eq!(manifest["artifactType"], "application/x-files");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    assert_eq!(manifest["annotations"]["a"], "b");
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], "text/plain; charset=utf-8");
    assert_eq!(layer["annotations"], json!({"a": "b", "org.opencontainers.image.title": "one.txt"}));
    assert_eq!(layer["digest"], format!("sha256:{}", sha256(b"first\n")));
    let created = r#"{{index .Manifest.Annotations "org.opencontainers.image.created"}}"#;
    let before = env.ok(["artifact", "inspect", "--format", created, NAME]);

    assert!(env.fails(125, ["artifact", "add", NAME, &two]).contains("artifact already exists"));
    assert!(
        env.fails(125, ["artifact", "add", "--append", NAME, &one])
            .contains("file already exists in artifact")
    );
    assert!(
        env.fails(125, ["artifact", "add", "--append", "localhost/none", &one]).contains("does not exist")
    );
    env.fails(125, ["artifact", "add", "--append", "--replace", NAME, &two]);
    env.fails(125, ["artifact", "add", "localhost/other", "/nosuch"]);
    let appended = env.ok(["artifact", "add", "--append", NAME, &two]);
    assert_ne!(appended, digest);
    assert_eq!(env.ok(["artifact", "inspect", "--format", created, NAME]), before);
    assert_eq!(inspect(&env, NAME)["Manifest"]["layers"][1]["mediaType"], "application/x-gzip");
    let row = env.ok(["artifact", "ls", "-n", "--format", "{{.Repository}} {{.Tag}} {{.Digest}} {{.Size}}"]);
    assert_eq!(row, format!("{NAME}  {} 16B", &appended[..12]));
    assert!(env.ok(["artifact", "ls"]).starts_with("REPOSITORY"));

    let folder = env.work().join("out");
    fs::create_dir(&folder).unwrap();
    let out = folder.to_str().unwrap();
    env.ok(["artifact", "extract", NAME, out]);
    assert_eq!(fs::read(folder.join("one.txt")).unwrap(), b"first\n");
    assert_eq!(fs::read(folder.join("two.gz")).unwrap(), b"\x1f\x8b\x08 packed");
    let single = folder.join("single").to_str().unwrap().to_owned();
    assert!(env.fails(125, ["artifact", "extract", NAME, &single]).contains("several blobs"));
    env.ok(["artifact", "extract", "--title", "one.txt", NAME, &single]);
    assert_eq!(fs::read(&single).unwrap(), b"first\n");
    assert!(env.fails(125, ["artifact", "extract", "--title", "three", NAME, &single]).contains("no blob"));

    let replaced = env.ok(["artifact", "add", "--replace", NAME, &two]);
    assert_eq!(inspect(&env, NAME)["Manifest"]["layers"].as_array().unwrap().len(), 1);
    // A manifest, an empty config, one file.
    assert_eq!(blobs(&env), 3, "what nothing names any more stayed");
    assert_eq!(env.ok(["artifact", "rm", &replaced[..12]]), replaced);
    assert_eq!(blobs(&env), 0);
    assert!(env.fails(125, ["artifact", "rm", NAME]).contains("artifact does not exist"));
    env.ok(["artifact", "rm", "--ignore", NAME]);
    env.ok(["artifact", "add", NAME, &one]);
    env.ok(["artifact", "rm", "--all"]);
    assert_eq!(env.ok(["artifact", "ls", "-n"]), "");
    env.fails(125, ["artifact", "rm"]);
}

#[test]
fn artifacts_travel_through_registries() {
    let env = TestEnv::new("artifact-registry");
    let dir = env.work().join("registry");
    fs::create_dir_all(&dir).unwrap();
    let registry = Registry::open(&dir);
    let name = format!("{}/team/files:1", registry.host());
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let (one, two) = (put(&env, "one.txt", "first\n"), put(&env, "large.bin", &large));
    let digest = env.ok(["artifact", "add", &name, &one, &two]);
    let file = env.work().join("digest");
    let to_file = format!("--digestfile={}", file.display());
    env.ok(["artifact", "push", "-q", "--tls-verify=false", &to_file, &name]);
    assert_eq!(fs::read_to_string(file).unwrap(), format!("sha256:{digest}"));
    let served = registry.inspect("team/files:1");
    assert_eq!(served["layers"][1]["size"], large.len());
    // What is there is not sent again.
    let puts = || registry.requests().iter().filter(|line| line.contains("/blobs/uploads/")).count();
    let before = puts();
    env.ok(["artifact", "push", "-q", "--tls-verify=false", &name]);
    assert_eq!(puts(), before);

    env.ok(["artifact", "rm", "-a"]);
    // By way of a layout and a copy of skopeo's.
    let copy = format!("docker://{}/other/files:2", registry.host());
    let source = format!("docker://{name}");
    let args = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
    tool("skopeo", [&args[..], &[source.as_str(), &copy]].concat());
    let name = format!("{}/other/files:2", registry.host());
    env.ok(["artifact", "pull", "-q", "--tls-verify=false", &name]);
    let folder = env.work().join("out");
    fs::create_dir(&folder).unwrap();
    env.ok(["artifact", "extract", &name, folder.to_str().unwrap()]);
    assert_eq!(fs::read(folder.join("large.bin")).unwrap(), large);
    let missing = format!("{}/none/files:2", registry.host());
    env.fails(125, ["artifact", "pull", "-q", "--tls-verify=false", &missing]);
    // The policy is asked for artifacts as for images.
    let policy = env.config().join("containers/policy.json");
    fs::create_dir_all(policy.parent().unwrap()).unwrap();
    fs::write(policy, r#"{"default":[{"type":"reject"}]}"#).unwrap();
    assert!(
        env.fails(125, ["artifact", "pull", "-q", "--tls-verify=false", &name])
            .contains("rejected by policy")
    );
}

#[test]
fn hostile_artifacts_write_nothing_outside() {
    let env = TestEnv::new("artifact-hostile");
    let serve = |title: &str, content: &[u8], claimed: &[u8]| {
        let mut layer = descriptor(claimed, "text/plain");
        layer["annotations"] = json!({"org.opencontainers.image.title": title});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(b"{}", "application/vnd.oci.empty.v1+json"), "layers": [layer],
        });
        let mut contents = BTreeMap::new();
        let kind = "application/vnd.oci.image.manifest.v1+json".to_owned();
        contents.insert("/v2/x/manifests/1".to_owned(), (kind, manifest.to_string().into_bytes()));
        for (digest, bytes) in [(sha256(claimed), content), (sha256(b"{}"), b"{}".as_slice())] {
            contents.insert(format!("/v2/x/blobs/sha256:{digest}"), (String::new(), bytes.to_vec()));
        }
        contents.insert("/v2/".into(), ("application/json".into(), b"{}".to_vec()));
        FakeRegistry::start(contents, Box::new(|_, _, honest| honest))
    };
    let pull = |registry: &FakeRegistry| {
        let name = format!("{}/x:1", registry.host());
        (env.run(["artifact", "pull", "-q", "--retry=0", "--tls-verify=false", &name]), name)
    };
    let folder = env.work().join("in/out");
    fs::create_dir_all(&folder).unwrap();
    for title in ["../escaped", "/tmp/rbox-escaped", "..", "a/b"] {
        let (outcome, name) = pull(&serve(title, b"evil", b"evil"));
        assert_eq!(outcome.code, 0, "{outcome:#?}");
        let error = env.fails(125, ["artifact", "extract", &name, folder.to_str().unwrap()]);
        assert!(error.contains("title invalid"), "{title}: {error}");
        assert!(!env.work().join("in/escaped").exists() && fs::read_dir(&folder).unwrap().next().is_none());
    }
    let (outcome, name) = pull(&serve("x", b"evil", b"good"));
    assert_eq!(outcome.code, 125, "{outcome:#?}");
    env.fails(125, ["artifact", "inspect", &name]);
}
