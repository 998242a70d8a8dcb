//! Encrypted layers, by rbox and by skopeo: keys of all kinds, wrong keys, changed bytes.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::support::TestEnv;
use super::support::env::{Outcome, outcome, tool};
use super::support::image::{busybox_config, busybox_entries, file, layer, sha256};
use super::support::registry::Registry;

const IMAGE: &str = "localhost/two:latest";
const PUBLIC_OPTIONS: &str = "org.opencontainers.image.enc.pubopts";

fn path(env: &TestEnv, name: &str) -> String {
    env.work().join(name).to_str().unwrap().to_owned()
}

/// Makes a pair of keys; returned are the private and the public one.
fn key(env: &TestEnv, name: &str, kind: &[&str]) -> (String, String) {
    let (private, public) = (path(env, &format!("{name}.pem")), path(env, &format!("{name}.pub")));
    tool("openssl", ["genpkey", "-out", &private].iter().chain(kind));
    tool("openssl", ["pkey", "-in", &private, "-pubout", "-out", &public]);
    (private, public)
}

fn rsa(env: &TestEnv, name: &str) -> (String, String) {
    key(env, name, &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
}

fn curve(env: &TestEnv, name: &str) -> (String, String) {
    let option = format!("ec_paramgen_curve:{name}");
    key(env, name, &["-algorithm", "EC", "-pkeyopt", &option, "-pkeyopt", "ec_param_enc:named_curve"])
}

/// An image of two layers; its id.
fn load(env: &TestEnv) -> String {
    let layers = [layer(&busybox_entries()), layer(&[file("etc/second", "two\n")])];
    env.load_layers(IMAGE, &layers, &busybox_config());
    env.ok(["image", "inspect", "--format", "{{.Id}}", IMAGE])
}

fn pull(env: &TestEnv, keys: &[&str], source: &str) -> Outcome {
    let keys = keys.iter().flat_map(|key| ["--decryption-key", key]);
    env.run(["pull", "-q", "--tls-verify=false", "--retry=0"].into_iter().chain(keys).chain([source]))
}

fn skopeo(args: &[&str]) -> Outcome {
    outcome(std::process::Command::new("skopeo").arg("--insecure-policy").args(args))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn blob_of(layout: &Path, digest: &Value) -> PathBuf {
    layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/"))
}

fn manifest_of(layout: &Path) -> Value {
    json(&blob_of(layout, &json(&layout.join("index.json"))["manifests"][0]["digest"]))
}

/// Nothing but the empty folders of a store.
#[track_caller]
fn is_empty(env: &TestEnv) {
    assert_eq!(env.ok(["images", "-aq"]), "");
    for dir in ["blobs/sha256", "blobs/partial", "layers", "tmp"] {
        let left: Vec<_> = fs::read_dir(env.data().join(dir)).unwrap().flatten().collect();
        assert!(left.is_empty(), "{dir}: {left:?}");
    }
}

#[test]
fn what_skopeo_encrypts_is_pulled_with_keys_of_all_kinds() {
    let env = TestEnv::new("decrypt");
    let registry = Registry::open(&env.work());
    let id = load(&env);
    let plain = format!("oci:{}", path(&env, "plain"));
    env.ok(["push", "-q", IMAGE, &plain]);
    env.ok(["rmi", IMAGE]);
    let keys = [rsa(&env, "rsa"), curve(&env, "P-256"), curve(&env, "P-384"), curve(&env, "P-521")];
    for (at, (private, public)) in keys.iter().enumerate() {
        let name = format!("{}/sealed:{at}", registry.host());
        let (encrypted, recipient) = (format!("docker://{name}"), format!("jwe:{public}"));
        let copied = skopeo(&[
            "copy",
            "-q",
            "--dest-tls-verify=false",
            "--encryption-key",
            &recipient,
            &plain,
            &encrypted,
        ]);
        assert_eq!(copied.code, 0, "{copied:#?}");
        let pulled = pull(&env, &[private], &name);
        assert_eq!((pulled.code, pulled.stdout.trim()), (0, id.as_str()), "{private}: {pulled:#?}");
        assert_eq!(env.ok(["run", "--rm", "--network=none", &name, "cat", "/etc/second"]), "two");
        // It is an ordinary image now, which is found by the digest that the registry knows as well.
        let report: Value = serde_json::from_str(&env.ok(["image", "inspect", &name])).unwrap();
        let served = registry.inspect(&format!("sealed:{at}"));
        let served_digest = format!("@sha256:{}", sha256(served.to_string().as_bytes()));
        let digests = report[0]["RepoDigests"].to_string();
        assert!(!report.to_string().contains("encrypted"), "{report:#}");
        assert!(report[0]["RepoDigests"].as_array().unwrap().len() > 1, "{served_digest} {digests}");
        env.ok(["system", "check"]);
        let again = format!("oci:{}", path(&env, &format!("again-{at}")));
        env.ok(["push", "-q", &name, &again]);
        let layers = manifest_of(&env.work().join(format!("again-{at}")))["layers"].to_string();
        assert!(!layers.contains("enc"), "{layers}");
        // Once more, without a request for blobs.
        assert_eq!(pull(&env, &[private], &name).code, 0);
        env.ok(["rmi", "-a", "-f"]);
        is_empty(&env);
    }
}

#[test]
fn keys_that_do_not_fit_leave_nothing() {
    let env = TestEnv::new("wrong-key");
    let registry = Registry::open(&env.work());
    load(&env);
    let ((private, public), (wrong, _)) = (rsa(&env, "rsa"), rsa(&env, "wrong"));
    let name = format!("{}/sealed", registry.host());
    env.ok(["push", "-q", "--tls-verify=false", "--encryption-key", &format!("jwe:{public}"), IMAGE, &name]);
    env.ok(["rmi", IMAGE]);
    let none = pull(&env, &[], &name);
    assert_eq!(none.code, 125, "{none:#?}");
    assert!(none.stderr.contains("missing private key needed for decryption"), "{none:#?}");
    assert!(none.stderr.contains("Hint: `--decryption-key"), "{none:#?}");
    let before = registry.requests().len();
    let other = pull(&env, &[&wrong], &name);
    assert_eq!(other.code, 125, "{other:#?}");
    let text = "no suitable key unwrapper found or none of the private keys could be used for decryption";
    assert!(other.stderr.contains(text), "{other:#?}");
    // The config alone was asked for: no layer is fetched for nothing.
    let blobs = registry.requests()[before..].iter().filter(|r| r.contains("/blobs/")).count();
    assert!(blobs <= 1, "{:#?}", registry.requests());
    for (keys, why) in [
        (&public, "it has no private key"),
        (&path(&env, "nosuch"), "no such file"),
        (&format!("{private}:file=/nosuch"), "no such file"),
        (&"provider:x:y".to_owned(), "is supported"),
    ] {
        let failed = pull(&env, &[keys], &name);
        assert_eq!(failed.code, 125, "{failed:#?}");
        assert!(failed.stderr.contains("unable to obtain decryption config: invalid decryption keys: "));
        assert!(failed.stderr.contains(why), "{failed:#?}");
    }
    is_empty(&env);
    // Any of several keys does, and `run` takes them too.
    let fails = env.fails(125, ["run", "--rm", "--network=none", "--tls-verify=false", &name, "true"]);
    assert!(fails.contains("missing private key needed for decryption"), "{fails}");
    let keys = [format!("--decryption-key={wrong}"), format!("--decryption-key={private}")];
    let run = ["run", "--rm", "--quiet", "--network=none", "--tls-verify=false", &keys[0], &keys[1], &name];
    assert_eq!(env.ok(run.iter().copied().chain(["cat", "/etc/second"])), "two");
}

#[test]
fn keys_with_passphrases() {
    let env = TestEnv::new("passphrases");
    load(&env);
    let ((plain_rsa, public), (plain_curve, public_curve)) = (rsa(&env, "rsa"), curve(&env, "P-256"));
    let sealed = format!("oci:{}", path(&env, "sealed"));
    let (rsa_key, curve_key) = (format!("jwe:{public}"), format!("jwe:{public_curve}"));
    env.ok(["push", "-q", "--encryption-key", &rsa_key, "--encryption-key", &curve_key, IMAGE, &sealed]);
    let (secret, first) = (path(&env, "secret"), path(&env, "first.pem"));
    fs::write(&secret, "pass:word\n").unwrap();
    let pass = format!("file:{secret}");
    let make: [(&str, &[&str]); 4] = [
        ("rsa", &["-in", &plain_rsa, "-aes256", "-passout", &pass, "-out", &first]),
        ("rsa", &["-in", &plain_rsa, "-aes128", "-traditional", "-passout", &pass, "-out", &first]),
        ("pkcs8", &["-topk8", "-in", &plain_curve, "-scrypt", "-passout", &pass, "-out", &first]),
        ("ec", &["-in", &plain_curve, "-aes192", "-passout", &pass, "-out", &first]),
    ];
    env.ok(["rmi", "-a", "-f"]);
    for (at, (program, args)) in make.into_iter().enumerate() {
        tool("openssl", [program].iter().chain(args));
        let texts = [
            (format!("{first}:nonsense"), "the passphrase is wrong"),
            (first.clone(), "it is encrypted: give its passphrase"),
            (format!("{first}:file={secret}"), ""),
            (format!("{first}:pass=pass:word"), ""),
            (format!("{first}:pass:word"), ""),
        ];
        // However it is encrypted, the passphrase comes the same ways.
        for (text, why) in texts.iter().take(if at == 0 { 5 } else { 3 }) {
            let pulled = pull(&env, &[text], &sealed);
            assert_eq!(pulled.code, if why.is_empty() { 0 } else { 125 }, "{text}: {pulled:#?}");
            assert!(pulled.stderr.contains(why), "{text}: {pulled:#?}");
            assert!(!pulled.stderr.contains("nonsense"), "{pulled:#?}");
        }
    }
}

#[test]
fn chosen_layers_are_encrypted_for_skopeo_and_back() {
    let env = TestEnv::new("encrypt");
    let registry = Registry::open(&env.work());
    let id = load(&env);
    let ((private, public), (other, other_public)) = (rsa(&env, "rsa"), curve(&env, "P-384"));
    let (jwe, other_jwe) = (format!("jwe:{public}"), format!("jwe:{other_public}"));
    let name = format!("{}/sealed", registry.host());
    let push = |more: &[&str], target: &str| {
        let flags = ["push", "-q", "--tls-verify=false", "--encryption-key", &jwe];
        env.run(flags.iter().chain(more).chain(&[IMAGE, target]))
    };
    let outcome = push(&["--encryption-key", &other_jwe, "--encrypt-layer=-1"], &name);
    assert_eq!(outcome.code, 0, "{outcome:#?}");
    let served = registry.inspect("sealed");
    let types: Vec<&str> =
        served["layers"].as_array().unwrap().iter().map(|l| l["mediaType"].as_str().unwrap()).collect();
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    assert_eq!(types, [gzip, &format!("{gzip}+encrypted")]);
    for key in [&private, &other] {
        let target = format!("oci:{}", path(&env, "decrypted"));
        let source = format!("docker://{name}");
        let copied =
            skopeo(&["copy", "-q", "--src-tls-verify=false", "--decryption-key", key, &source, &target]);
        assert_eq!(copied.code, 0, "{copied:#?}");
        env.ok(["rmi", "-a", "-f"]);
        assert_eq!(pull(&env, &[], &target).stdout.trim(), id);
        env.ok(["rmi", "-a", "-f"]);
        assert_eq!(pull(&env, &[key], &name).stdout.trim(), id);
    }
    env.ok(["tag", &id, IMAGE]);
    // Files and folders, compressed anew, and all layers.
    for target in ["oci", "oci-archive", "dir"].map(|kind| format!("{kind}:{}", path(&env, kind))) {
        let outcome = push(&["--compression-format=zstd", "--force-compression"], &target);
        assert_eq!(outcome.code, 0, "{target}: {outcome:#?}");
        env.ok(["rmi", "-a", "-f"]);
        assert_eq!(pull(&env, &[], &target).code, 125, "{target}");
        assert_eq!(pull(&env, &[&private], &target).stdout.trim(), id, "{target}");
        env.ok(["tag", &id, IMAGE]);
    }
    let layers = &manifest_of(&env.work().join("oci"))["layers"];
    assert_eq!(layers[0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd+encrypted");
    let missing = path(&env, "missing");
    for (more, target, why) in [
        (&["--encrypt-layer=2"][..], format!("oci:{missing}"), "the image has 2"),
        (&["--encrypt-layer=-3"], format!("oci:{missing}"), "the image has 2"),
        (&["--format=v2s2"], name.clone(), "does not support encryption"),
        (&["--format=v2s2"], format!("dir:{missing}"), "cannot be encrypted"),
        (&[], format!("docker-archive:{missing}"), "cannot be encrypted"),
        (&["--encryption-key=pgp:me"], format!("oci:{missing}"), "only jwe:"),
        (&["--encryption-key=jwe:/nosuch"], format!("oci:{missing}"), "no such file"),
    ] {
        let outcome = push(more, &target);
        assert_eq!(outcome.code, 125, "{more:?} {target}");
        assert!(outcome.stderr.contains(why), "{outcome:#?}");
        assert!(!Path::new(&missing).join("index.json").exists());
    }
    let wrong = format!("--encryption-key=jwe:{private}");
    assert!(env.fails(125, ["push", &wrong, IMAGE, &name]).contains("it is a private key"));
    assert!(
        env.fails(125, ["push", "--encrypt-layer=0", IMAGE, &name]).contains("encryption keys are required")
    );
}

#[test]
fn images_of_lists_are_encrypted() {
    let env = TestEnv::new("encrypt-list");
    let registry = Registry::open(&env.work());
    let id = load(&env);
    let (private, public) = curve(&env, "P-256");
    let jwe = format!("jwe:{public}");
    env.ok(["manifest", "create", "many", IMAGE]);
    let reader = TestEnv::new("encrypt-list-reader");
    let places = [
        format!("docker://{}/sealed", registry.host()),
        format!("oci:{}:x", path(&env, "layout")),
        format!("oci-archive:{}:x", path(&env, "archive")),
        format!("dir:{}", path(&env, "dir")),
    ];
    for place in places {
        env.ok(["push", "-q", "--tls-verify=false", "--encryption-key", &jwe, "many", &place]);
        let refused = pull(&reader, &[], &place);
        assert!(refused.code == 125 && refused.stderr.contains("encrypted"), "{place}: {refused:#?}");
        let pulled = pull(&reader, &[&private], &place);
        assert_eq!(pulled.stdout.trim(), id, "{place}: {pulled:#?}");
        reader.ok(["rmi", "-a", "-f"]);
        let copy = format!("dir:{}", path(&env, "copy"));
        let copied =
            skopeo(&["copy", "-q", "--src-tls-verify=false", "--decryption-key", &private, &place, &copy]);
        assert_eq!(copied.code, 0, "{place}: {copied:#?}");
    }
    let docker = format!("dir:{}", path(&env, "missing"));
    let said = env.fails(125, ["push", "-q", "--format=v2s2", "--encryption-key", &jwe, "many", &docker]);
    assert!(said.contains("cannot be encrypted"), "{said}");
}

/// Changes a layer of a layout, or what is said about it, and makes all digests above it right again.
fn change(layout: &Path, edit: impl Fn(&mut Vec<u8>, &mut Value)) {
    let index_path = layout.join("index.json");
    let mut index = json(&index_path);
    let mut manifest = manifest_of(layout);
    let mut bytes = fs::read(blob_of(layout, &manifest["layers"][1]["digest"])).unwrap();
    edit(&mut bytes, &mut manifest["layers"][1]);
    manifest["layers"][1]["digest"] = json!(format!("sha256:{}", sha256(&bytes)));
    manifest["layers"][1]["size"] = json!(bytes.len());
    fs::write(layout.join("blobs/sha256").join(sha256(&bytes)), &bytes).unwrap();
    let text = manifest.to_string();
    index["manifests"][0]["digest"] = json!(format!("sha256:{}", sha256(text.as_bytes())));
    index["manifests"][0]["size"] = json!(text.len());
    fs::write(layout.join("blobs/sha256").join(sha256(text.as_bytes())), text).unwrap();
    fs::write(index_path, index.to_string()).unwrap();
}

#[test]
fn what_was_changed_after_encryption_is_refused() {
    let env = TestEnv::new("tampered");
    load(&env);
    let (private, public) = rsa(&env, "rsa");
    let options = |options: &str| {
        let encoded = BASE64.encode(options);
        move |_: &mut Vec<u8>, layer: &mut Value| layer["annotations"][PUBLIC_OPTIONS] = json!(encoded)
    };
    type Edit = Box<dyn Fn(&mut Vec<u8>, &mut Value)>;
    let edits: [(&str, Edit); 6] = [
        ("its HMAC is another one", Box::new(|bytes, _| bytes[20] ^= 1)),
        ("its HMAC is another one", Box::new(|bytes, _| bytes.truncate(30))),
        ("unsupported cipher type: ROT13", Box::new(options(r#"{"cipher":"ROT13"}"#))),
        ("lack a key", Box::new(options(r#"{"cipher":"AES_256_CTR_HMAC_SHA256","hmac":null}"#))),
        ("cannot be read", Box::new(options("x"))),
        (
            "does not say for whom",
            Box::new(|_, layer| {
                layer["annotations"].as_object_mut().unwrap().retain(|name, _| !name.contains("keys"));
            }),
        ),
    ];
    let (whole, jwe) = (path(&env, "whole"), format!("jwe:{public}"));
    env.ok(["push", "-q", "--encryption-key", &jwe, IMAGE, &format!("oci:{whole}")]);
    env.ok(["rmi", "-a", "-f"]);
    for (at, (why, edit)) in edits.iter().enumerate() {
        let folder = path(&env, &format!("sealed-{at}"));
        tool("cp", ["-r", &whole, &folder]);
        change(Path::new(&folder), edit);
        let sealed = format!("oci:{folder}");
        let refused = pull(&env, &[&private], &sealed);
        assert_eq!(refused.code, 125, "{why}: {refused:#?}");
        assert!(refused.stderr.contains("decrypting layer sha256:"), "{refused:#?}");
        assert!(refused.stderr.contains(why), "{why}: {refused:#?}");
        env.ok(["image", "prune", "-f"]);
        is_empty(&env);
    }
}

#[test]
fn files_of_artifacts_are_decrypted() {
    let env = TestEnv::new("sealed-files");
    let registry = Registry::open(&env.work());
    let ((private, public), (wrong, _)) = (rsa(&env, "rsa"), rsa(&env, "wrong"));
    let (plain, sealed) = (format!("{}/plain:1", registry.host()), format!("{}/sealed:1", registry.host()));
    let text = path(&env, "text");
    fs::write(&text, "in confidence\n").unwrap();
    let media_type = "application/vnd.oci.image.layer.v1.tar";
    env.ok(["artifact", "add", "--file-type", media_type, &plain, &text]);
    env.ok(["artifact", "push", "-q", "--tls-verify=false", &plain]);
    env.ok(["artifact", "rm", &plain]);
    let (source, target) = (format!("docker://{plain}"), format!("docker://{sealed}"));
    let flags = ["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", "--encryption-key"];
    let jwe = format!("jwe:{public}");
    let copied = skopeo(&[&flags[..], &[&jwe, &source, &target]].concat());
    assert_eq!(copied.code, 0, "{copied:#?}");
    let pull = |keys: &[&str]| {
        env.run(["artifact", "pull", "-q", "--tls-verify=false"].iter().chain(keys).chain(&[sealed.as_str()]))
    };
    let folder = env.data().join("artifacts/blobs/sha256");
    let refused = pull(&["--decryption-key", &wrong]);
    assert_eq!(refused.code, 125, "{refused:#?}");
    assert!(refused.stderr.contains("none of the private keys could be used"), "{refused:#?}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    assert_eq!(pull(&["--decryption-key", &private]).code, 0);
    let out = path(&env, "out");
    env.ok(["artifact", "extract", &sealed, &out]);
    assert_eq!(fs::read(&out).unwrap(), b"in confidence\n");
    let report: Value = serde_json::from_str(&env.ok(["artifact", "inspect", &sealed])).unwrap();
    let layer = &report["Manifest"]["layers"][0];
    assert_eq!(layer["mediaType"], media_type);
    assert_eq!(layer["annotations"], json!({"org.opencontainers.image.title": "text"}));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "manifest, config, file");
    // Without a key it stays as it is, to be passed on.
    assert_eq!(pull(&[]).code, 0);
    env.ok(["artifact", "extract", &sealed, &out]);
    assert_ne!(fs::read(&out).unwrap(), b"in confidence\n");
}
