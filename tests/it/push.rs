//! `push` to a real registry: Debian's docker-registry, open and secured, read back with skopeo.

use serde_json::json;

use super::support::TestEnv;
use super::support::cutter::{Cutter, Rememberer};
use super::support::image::{busybox_archive, busybox_config, busybox_entries, file, layer};
use super::support::registry::{PASSWORD, Registry, USER};

fn registry(env: &TestEnv, secured: bool) -> Registry {
    let dir = env.work().join("registry");
    std::fs::create_dir_all(&dir).unwrap();
    if secured { Registry::secured(&dir) } else { Registry::open(&dir) }
}

/// Text that compresses to about three quarters.
fn noise(size: usize, seed: u64) -> String {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(
            b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[(state >> 58) as usize],
        )
    };
    (0..size).map(|_| next()).collect()
}

/// Loads an image with a layer that is not small.
fn load_large(env: &TestEnv) -> &'static str {
    let large = [file("large", &noise(6 << 20, 7))];
    let layers = [layer(&busybox_entries()), layer(&large)];
    env.load_layers("localhost/large:latest", &layers, &busybox_config());
    "localhost/large:latest"
}

fn push(env: &TestEnv, more: &[&str], image: &str, to: &str) -> String {
    let digestfile = env.work().join("digest");
    let digest = format!("--digestfile={}", digestfile.display());
    let mut args = vec!["push", "-q", "--tls-verify=false", &digest];
    args.extend(more);
    args.extend([image, to]);
    assert_eq!(env.ok(args), "");
    std::fs::read_to_string(digestfile).unwrap()
}

#[test]
fn what_was_pulled_is_pushed_byte_for_byte_and_not_twice() {
    let env = TestEnv::new("push");
    let registry = registry(&env, false);
    registry.push_archive(&busybox_archive(&env.work(), "localhost/busybox:1"), "busybox:1");
    let name = format!("{}/busybox:1", registry.host());
    env.ok(["pull", "-q", "--tls-verify=false", &name]);
    let digest = env.ok(["image", "inspect", "--format", "{{.Digest}}", &name]);
    let copy = format!("{}/team/copy:2", registry.host());
    env.ok(["tag", &name, &copy]);
    // The destination is the name where none is given.
    assert_eq!(env.ok(["push", "--tls-verify=false", &copy]), "");
    assert_eq!(registry.inspect("busybox:1"), registry.inspect("team/copy:2"));
    let mounted = |line: &&String| line.contains("?mount=") && line.ends_with("201");
    assert_eq!(registry.requests().iter().filter(mounted).count(), 2, "{:#?}", registry.requests());
    let before = registry.requests().len();
    assert_eq!(push(&env, &[], &copy, &copy), digest);
    let requests = registry.requests();
    let writes: Vec<&String> = requests[before..].iter().filter(|line| !line.starts_with("HEAD")).collect();
    assert_eq!(writes, ["PUT /v2/team/copy/manifests/2 201"], "only the manifest is written again");
    // The same from an id, and to a digest-less name.
    let id = env.ok(["image", "inspect", "--format", "{{.Id}}", &name]);
    assert_eq!(push(&env, &[], &id[..12], &format!("docker://{}/by-id", registry.host())), digest);
    registry.inspect("by-id:latest");
}

#[test]
fn plain_layers_are_compressed_on_the_way() {
    let env = TestEnv::new("pushnew");
    let registry = registry(&env, false);
    let image = load_large(&env);
    let digest = push(&env, &[], image, &format!("{}/one:1", registry.host()));
    let manifest = registry.inspect("one:1");
    assert!(manifest["layers"][1]["size"].as_u64().unwrap() < 5 << 20, "{manifest}");
    let types = ["vnd.docker.image.rootfs.diff.tar.gzip"; 2];
    let found: Vec<&str> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["mediaType"].as_str().unwrap().trim_start_matches("application/"))
        .collect();
    assert_eq!(found, types);
    // What was compressed once is known, also for other repositories.
    let before = registry.requests().len();
    assert_eq!(push(&env, &[], image, &format!("{}/two:1", registry.host())), digest);
    assert!(!registry.requests()[before..].iter().any(|line| line.starts_with("PATCH")));
    let name = format!("{}/one:1", registry.host());
    env.ok(["rmi", image]);
    env.ok(["pull", "-q", "--tls-verify=false", &name]);
    let size = env.ok(["run", "--rm", "--network=none", &name, "sh", "-c", "wc -c < /large"]);
    assert_eq!(size, (6 << 20).to_string());
    assert_eq!(push(&env, &[], &name, &format!("{}/three", registry.host())), digest);
}

#[test]
fn formats_and_compressions() {
    let env = TestEnv::new("pushformat");
    let registry = registry(&env, false);
    let image = load_large(&env);
    let host = registry.host();
    let kind = |name: &str| {
        let manifest = registry.inspect(name);
        let text = |value: &serde_json::Value| value.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        (
            text(&manifest["mediaType"]),
            text(&manifest["config"]["mediaType"]),
            text(&manifest["layers"][1]["mediaType"]),
        )
    };
    let oci = |layer: &str| {
        (
            "vnd.oci.image.manifest.v1+json".to_owned(),
            "vnd.oci.image.config.v1+json".to_owned(),
            layer.to_owned(),
        )
    };
    push(&env, &["--format=oci"], image, &format!("{host}/oci"));
    assert_eq!(kind("oci"), oci("vnd.oci.image.layer.v1.tar+gzip"));
    push(&env, &["--compression-format=zstd", "--compression-level=9"], image, &format!("{host}/zstd"));
    assert_eq!(kind("zstd"), oci("vnd.oci.image.layer.v1.tar+zstd"));
    let name = format!("{host}/zstd");
    env.ok(["pull", "-q", "--tls-verify=false", &name]);
    assert_eq!(env.ok(["run", "--rm", "--network=none", &name, "echo", "zstd"]), "zstd");
    // What is zstd here stays so, unless gzip is asked for by name.
    push(&env, &[], &name, &format!("{host}/again"));
    assert_eq!(kind("again"), kind("zstd"));
    push(&env, &["--compression-format=gzip", "--format=v2s2"], &name, &format!("{host}/back"));
    assert_eq!(kind("back").2, "vnd.docker.image.rootfs.diff.tar.gzip");
    push(&env, &["--compression-format=gzip", "--force-compression=false"], &name, &format!("{host}/kept"));
    assert_eq!(kind("kept"), kind("zstd"));
    for (flags, message) in [
        (vec!["--format=v2s2", "--compression-format=zstd"], "--format oci"),
        (vec!["--format=v3"], "unknown format"),
        (vec!["--format=v2s1"], "v2s1"),
        (vec!["--compression-format=lzma"], "lzma"),
        (vec!["--compression-level=99"], "99"),
        (vec!["--creds=:x"], "user name is empty"),
    ] {
        let mut args = vec!["push", "--tls-verify=false"];
        args.extend(flags);
        let to = format!("{host}/refused");
        args.extend([image, &to]);
        let stderr = env.fails(125, args);
        assert!(stderr.contains(message), "{stderr}");
    }
    assert!(env.fails(125, ["push", "nosuch", &format!("{host}/x")]).contains("nosuch: image not known"));
    assert!(env.fails(125, ["push", image, "UPPER/case"]).contains("lowercase"));
}

#[test]
fn uploads_go_on_after_a_cut() {
    let env = TestEnv::new("pushcut");
    let registry = registry(&env, false);
    let image = load_large(&env);
    let whole = push(&env, &[], image, &format!("{}/whole", registry.host()));
    // Compressed anew, and a blob of the store.
    let name = format!("{}/whole", registry.host());
    env.ok(["pull", "-q", "--tls-verify=false", &name]);
    for (repository, source, format) in
        [("stored", name.as_str(), "--force-compression=false"), ("encoded", image, "--compression-level=6")]
    {
        let cutter = Cutter::new(registry.port(), 2, 2 << 20);
        let before = registry.requests().len();
        let to = format!("{}/{repository}", cutter.host());
        let digest = push(&env, &["--retry-delay=10ms", format], source, &to);
        assert_eq!(cutter.left(), 0, "the connection was cut");
        if repository == "stored" {
            assert_eq!(digest, whole);
        }
        let requests = registry.requests();
        let asked = requests[before..]
            .iter()
            .filter(|line| line.starts_with("GET /v2/") && line.contains("/uploads/"));
        assert_eq!(asked.count(), 2, "{:#?}", &requests[before..]);
        let copy = format!("{}/{repository}", registry.host());
        env.ok(["pull", "-q", "--tls-verify=false", &copy]);
    }
    let cutter = Cutter::new(registry.port(), 100, 1 << 20);
    let to = format!("{}/never", cutter.host());
    let stderr = env.fails(125, ["push", "--tls-verify=false", "--retry=2", "--retry-delay=1ms", &name, &to]);
    assert!(stderr.contains("retrying in 1ms"), "{stderr}");
}

#[test]
fn a_registry_that_remembers_gets_the_rest_only() {
    let env = TestEnv::new("pushrest");
    let image = "localhost/large:latest";
    env.load_image(image, &[file("large", &noise(6 << 20, 7))], &busybox_config());
    let registry = Rememberer::new(3, 1 << 20);
    push(&env, &["--retry-delay=1ms"], image, &format!("{}/x", registry.host()));
    let received = registry.received();
    let patches: Vec<u64> = received
        .requests
        .iter()
        .filter_map(|line| line.strip_prefix("PATCH /v2/x/blobs/uploads/one ")?.parse().ok())
        .collect();
    // Three times it went on from where it was.
    assert!(
        patches.len() >= 4 && patches.iter().filter(|at| **at > 0).count() == 3,
        "{:#?}",
        received.requests
    );
    let manifest: serde_json::Value = serde_json::from_slice(&received.blobs["manifest"]).unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        let blob = &received.blobs[layer["digest"].as_str().unwrap().trim_start_matches("sha256:")];
        assert_eq!(blob.len() as u64, layer["size"].as_u64().unwrap());
    }
}

#[test]
fn secured_registries_want_certificate_and_password() {
    let env = TestEnv::new("pushsecured");
    let registry = registry(&env, true);
    let image = env.busybox();
    let to = format!("{}/private:1", registry.host());
    let certs = env.work().join("certs");
    std::fs::create_dir(&certs).unwrap();
    std::fs::copy(env.work().join("registry/ca.crt"), certs.join("ca.crt")).unwrap();
    let trusted = format!("--cert-dir={}", certs.display());
    let credentials = format!("--creds={USER}:{PASSWORD}");
    let unknown = env.fails(125, ["push", &credentials, image, &to]);
    assert!(unknown.contains("certificate"), "{unknown}");
    let anonymous = env.fails(125, ["push", &trusted, image, &to]);
    assert!(anonymous.contains("authentication required"), "{anonymous}");
    let wrong = env.fails(125, ["push", &trusted, &format!("--creds={USER}:guess"), image, &to]);
    assert!(!wrong.contains("guess"), "s74: {wrong}");
    assert!(registry.requests().iter().all(|line| !line.starts_with("PUT")));
    env.ok(["push", "-q", &trusted, &credentials, image, &to]);
    let login = ["login", &trusted, "-u", USER, "-p", PASSWORD, &registry.host()];
    env.ok(login);
    env.ok(["push", "-q", &trusted, image, &to]);
    let conf = env.config().join("containers");
    std::fs::create_dir_all(&conf).unwrap();
    let text = format!("[[registry]]\nlocation = \"{}\"\nblocked = true\n", registry.host());
    std::fs::write(conf.join("registries.conf"), text).unwrap();
    assert!(env.fails(125, ["push", &trusted, image, &to]).contains("blocked"));
}

#[test]
fn progress_is_in_podmans_words() {
    let env = TestEnv::new("pushwords");
    let registry = registry(&env, false);
    let image = env.busybox();
    let outcome = env.run(["push", "--tls-verify=false", image, &format!("{}/words", registry.host())]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{outcome:#?}");
    for line in [
        "Getting image source signatures",
        "Copying blob sha256:",
        "Copying config sha256:",
        "Writing manifest to image destination",
    ] {
        assert!(outcome.stderr.contains(line), "{}", outcome.stderr);
    }
    let config = json!(env.ok(["image", "inspect", "--format", "{{.Id}}", image]));
    assert!(outcome.stderr.contains(config.as_str().unwrap()));
    let events = env.ok(["events", "--stream=false", "--since=1h", "--filter=event=push"]);
    assert!(events.contains("push"), "{events}");
}
