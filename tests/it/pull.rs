//! `pull` from a real registry: Debian's docker-registry, open and secured.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::support::env::tool;
use super::support::image::{
    OciImage, TAR_GZIP, busybox_archive, busybox_config, busybox_entries, file, gzip, layer,
};
use super::support::registry::{PASSWORD, Registry, USER};
use super::support::{TestEnv, image};

/// A registry in a folder of the test, with the busybox system as `busybox:1`.
fn registry(env: &TestEnv, secured: bool) -> Registry {
    let dir = env.work().join("registry");
    std::fs::create_dir_all(&dir).unwrap();
    let registry = if secured { Registry::secured(&dir) } else { Registry::open(&dir) };
    registry.push_archive(&busybox_archive(&env.work(), "localhost/busybox:1"), "busybox:1");
    registry
}

fn authorize(env: &TestEnv, host: &str, user: &str, password: &str) {
    let dir = env.config().join("containers");
    std::fs::create_dir_all(&dir).unwrap();
    let token = base64(&format!("{user}:{password}"));
    std::fs::write(dir.join("auth.json"), json!({"auths": {host: {"auth": token}}}).to_string()).unwrap();
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn tags_and_digests_are_pulled_and_run() {
    let env = TestEnv::new("pull");
    let registry = registry(&env, false);
    let name = format!("{}/busybox:1", registry.host());
    let id = env.ok(["pull", "-q", "--tls-verify=false", &name]);
    assert_eq!(id.len(), 64, "{id}");
    assert_eq!(env.ok(["run", "--rm", "--network=none", &name, "echo", "pulled"]), "pulled");
    let digest = env.ok(["image", "inspect", "--format", "{{.Digest}}", &name]);
    env.ok(["rmi", &name]);
    let by_digest = format!("{}/busybox@{digest}", registry.host());
    assert_eq!(env.ok(["pull", "-q", "--tls-verify=false", &by_digest]), id);
    assert_eq!(env.ok(["run", "--rm", "--network=none", &by_digest, "echo", "digest"]), "digest");
    let wrong = format!("{}/busybox@sha256:{}", registry.host(), "0".repeat(64));
    assert!(!env.fails(125, ["pull", "-q", "--tls-verify=false", &wrong]).is_empty());
}

#[test]
fn run_pulls_what_is_missing_and_obeys_the_policy() {
    let env = TestEnv::new("policy");
    let registry = registry(&env, false);
    let conf = env.config().join("containers");
    std::fs::create_dir_all(&conf).unwrap();
    let text = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry.host());
    std::fs::write(conf.join("registries.conf"), text).unwrap();
    let name = format!("{}/busybox:1", registry.host());
    let run = |policy: &str| {
        env.run(["run", "--rm", "--network=none", &format!("--pull={policy}"), &name, "echo", "ran"])
    };
    assert_eq!(run("never").code, 125);
    let outcome = run("missing");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "ran\n"), "{outcome:#?}");
    let requests = |registry: &Registry| registry.log().matches("/v2/busybox/manifests").count();
    let before = requests(&registry);
    assert_eq!(run("missing").stdout, "ran\n");
    assert_eq!(requests(&registry), before, "asked the registry for what is there");
    assert_eq!(run("always").stdout, "ran\n");
    assert!(requests(&registry) > before);
    assert_eq!(run("newer").stdout, "ran\n");
    assert_eq!(run("nosuch").code, 125);
    let host = registry.host();
    drop(registry);
    assert_eq!(run("newer").stdout, "ran\n", "an unreachable registry has nothing newer");
    let outcome = run("always");
    assert!(outcome.code == 125 && outcome.stderr.contains(&host), "{outcome:#?}");
}

#[test]
fn secured_registries_ask_for_certificate_and_password() {
    let env = TestEnv::new("secured");
    let registry = registry(&env, true);
    let name = format!("{}/busybox:1", registry.host());
    let certs = env.work().join("certs");
    std::fs::create_dir(&certs).unwrap();
    std::fs::copy(env.work().join("registry/ca.crt"), certs.join("ca.crt")).unwrap();
    let trusted = format!("--cert-dir={}", certs.display());
    let credentials = format!("--creds={USER}:{PASSWORD}");
    let unknown = env.run(["pull", "-q", &credentials, &name]);
    assert!(unknown.code == 125 && unknown.stderr.contains("certificate"), "s71: {unknown:#?}");
    let anonymous = env.run(["pull", "-q", &trusted, &name]);
    assert_eq!(anonymous.code, 125, "{anonymous:#?}");
    let wrong = env.run(["pull", "-q", &trusted, &format!("--creds={USER}:guess"), &name]);
    assert_eq!(wrong.code, 125);
    assert!(!wrong.stderr.contains("guess"), "s74: the password is in the message: {wrong:#?}");
    env.ok(["pull", "-q", &trusted, &credentials, &name]);
    env.ok(["rmi", &name]);
    env.ok(["pull", "-q", "--tls-verify=false", &credentials, &name]);
    env.ok(["rmi", &name]);
    authorize(&env, &registry.host(), USER, PASSWORD);
    env.ok(["pull", "-q", &trusted, &name]);
    authorize(&env, &registry.host(), USER, "wrong");
    env.ok(["rmi", &name]);
    assert_eq!(env.run(["pull", "-q", &trusted, &name]).code, 125);
    // A file named on the command line comes first.
    let other = env.work().join("auth.json");
    std::fs::write(
        &other,
        json!({"auths": {registry.host(): {"auth": base64(&format!("{USER}:{PASSWORD}"))}}}).to_string(),
    )
    .unwrap();
    env.ok(["pull", "-q", &trusted, &format!("--authfile={}", other.display()), &name]);
}

#[test]
fn certificates_are_found_in_certs_d() {
    let env = TestEnv::new("certsd");
    let registry = registry(&env, true);
    let folder = env.config().join("containers/certs.d").join(registry.host());
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(env.work().join("registry/ca.crt"), folder.join("ca.crt")).unwrap();
    let name = format!("{}/busybox:1", registry.host());
    env.ok(["pull", "-q", &format!("--creds={USER}:{PASSWORD}"), &name]);
}

#[test]
fn credential_helpers_are_asked() {
    let mut env = TestEnv::new("credhelper");
    let registry = registry(&env, true);
    let bin = env.work().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let helper = bin.join("docker-credential-test");
    let text = format!(
        "#!/bin/sh\nread host\necho \"$host\" >> {}/asked\nprintf '{{\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n",
        bin.display()
    );
    std::fs::write(&helper, text).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    env.set("PATH", path);
    let conf = env.config().join("containers");
    std::fs::create_dir_all(&conf).unwrap();
    std::fs::write(conf.join("auth.json"), json!({"credHelpers": {registry.host(): "test"}}).to_string())
        .unwrap();
    env.ok(["pull", "-q", "--tls-verify=false", &format!("{}/busybox:1", registry.host())]);
    assert_eq!(std::fs::read_to_string(bin.join("asked")).unwrap().trim(), registry.host());
}

#[test]
fn media_types_of_layers_are_understood() {
    let env = TestEnv::new("media");
    let dir = env.work().join("registry");
    std::fs::create_dir(&dir).unwrap();
    let registry = Registry::open(&dir);
    let archive = env.work().join("oci.tar");
    let plain = [layer(&busybox_entries()), layer(&[file("two", "2")])];
    let mut oci = OciImage::new(&plain, &busybox_config());
    oci.layers[0] = (gzip(&plain[0]), TAR_GZIP);
    let zstd = zstd::encode_all(plain[1].as_slice(), 3).unwrap();
    oci.layers[1] = (zstd, "application/vnd.oci.image.layer.v1.tar+zstd");
    oci.describe();
    oci.write(&archive, "mixed:1");
    // skopeo gives what it takes out of an archive to the archive's owners, which only root may do.
    let layout = env.work().join("layout");
    std::fs::create_dir(&layout).unwrap();
    tool("tar", ["-C", layout.to_str().unwrap(), "-xf", archive.to_str().unwrap()]);
    registry.copy(&format!("oci:{}:mixed:1", layout.display()), "mixed:1");
    let name = format!("{}/mixed:1", registry.host());
    env.ok(["pull", "-q", "--tls-verify=false", &name]);
    assert_eq!(env.ok(["run", "--rm", "--network=none", &name, "cat", "/two"]), "2");
}

#[test]
fn indexes_are_searched_for_the_platform() {
    let env = TestEnv::new("index");
    let config = |arch: &str| {
        let mut oci = OciImage::new(&[layer(&[file("arch", arch)])], &json!({}));
        oci.config["architecture"] = json!(arch);
        oci.describe();
        oci
    };
    let own = image::architecture();
    let images = [config("amd64"), config("arm64"), config("s390x")];
    let mut contents = std::collections::BTreeMap::new();
    let mut entries = Vec::new();
    for (oci, arch) in images.iter().zip(["amd64", "arm64", "s390x"]) {
        let manifest = serde_json::to_vec(&oci.manifest).unwrap();
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let mut entry = image::descriptor(&manifest, kind);
        entry["platform"] = json!({"os": "linux", "architecture": arch});
        let path = format!("/v2/test/manifests/{}", entry["digest"].as_str().unwrap());
        contents.insert(path, (kind.to_owned(), manifest));
        entries.push(entry);
        for (descriptor, bytes) in [
            (&oci.manifest["config"], serde_json::to_vec(&oci.config).unwrap()),
            (&oci.manifest["layers"][0], oci.layers[0].0.clone()),
        ] {
            let path = format!("/v2/test/blobs/{}", descriptor["digest"].as_str().unwrap());
            contents.insert(path, ("application/octet-stream".to_owned(), bytes));
        }
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": entries});
    contents.insert("/v2/test/manifests/latest".into(), (kind.into(), serde_json::to_vec(&index).unwrap()));
    contents.insert("/v2/".into(), ("application/json".into(), b"{}".to_vec()));
    let registry = super::support::fake::FakeRegistry::start(contents, Box::new(|_, _, answer| answer));
    let pull = |more: &[&str]| {
        let mut args = vec!["pull", "-q", "--tls-verify=false"];
        args.extend(more);
        let name = registry.image();
        args.push(&name);
        env.run(args)
    };
    assert_eq!(pull(&[]).code, 0);
    let inspect = || env.ok(["image", "inspect", "--format", "{{.Architecture}}", &registry.image()]);
    assert_eq!(inspect(), own);
    assert_eq!(pull(&["--platform=linux/s390x"]).code, 0);
    assert_eq!(inspect(), "s390x");
    assert_eq!(pull(&["--arch=arm64"]).code, 0);
    assert_eq!(inspect(), "arm64");
    let missing = pull(&["--platform=linux/riscv64"]);
    assert!(missing.code == 125 && missing.stderr.contains("riscv64"), "{missing:#?}");
}

#[test]
fn additional_stores_of_podman_are_named_and_not_searched() {
    let mut env = TestEnv::new("additional");
    let registry = registry(&env, false);
    let image = format!("{}/busybox:1", registry.host());
    let conf = env.work().join("storage.conf");
    let text =
        "[storage]\ndriver = \"overlay\"\n[storage.options]\nadditionalimagestores = [\"/shared/images\"]\n";
    std::fs::write(&conf, text).unwrap();
    env.set("CONTAINERS_STORAGE_CONF", conf.to_str().unwrap());
    let pulled = env.run(["pull", "-q", "--tls-verify=false", &image]);
    let way = format!("pull 'containers-storage:[overlay@/shared/images]{image}'");
    assert!(pulled.code == 0 && pulled.stderr.contains(&way), "{pulled:#?}");
    let here = env.run(["run", "--rm", &image, "true"]);
    assert!(here.code == 0 && here.stderr.is_empty(), "{here:#?}");
    // One of rbox's own form has the ids of its owner: what everybody can read is a layout.
    let other = TestEnv::new("additional-own");
    other.ok(["images"]);
    std::fs::write(&conf, text.replace("/shared/images", other.data().to_str().unwrap())).unwrap();
    let pulled = env.run(["pull", "-q", "--tls-verify=false", &image]);
    assert!(pulled.code == 0 && pulled.stderr.contains("pull oci:DIR:NAME"), "{pulled:#?}");
    for option in ["additionalimagestore=/x", "overlay.imagestore=/x"] {
        let said = env.fails(125, ["--storage-opt", option, "images"]);
        assert!(said.contains("[overlay@/x]NAME"), "{said}");
    }
    assert!(env.fails(125, ["--imagestore=/x", "images"]).contains("--root DIR"));
}
