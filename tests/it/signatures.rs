//! Signatures: made by openssl, gpg and skopeo and checked by rbox, made by rbox and checked by openssl and skopeo.
//! Debian has switched signatures of sigstore off in its skopeo.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::support::env::{outcome, tool};
use super::support::fake::FakeRegistry;
use super::support::image::{OciImage, descriptor, docker_archive, file, layer, sha256};
use super::support::registry::Registry;
use super::support::{Outcome, TestEnv};

/// A key pair that `skopeo generate-sigstore-key` has made; the passphrase is `open sesame`.
const PRIVATE_KEY: &str = "\
-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6
OCwicCI6MX0sInNhbHQiOiJPakNOWDFBYTJpOFhLU3FWSUd6VkJ3ZkxpcUFqWHJB
ZFRDaUdnMUZRM2NZPSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94
Iiwibm9uY2UiOiI5L2M3ZUtXZllJR0padWpUbldxTHBwN3l6YmphZkVwSSJ9LCJj
aXBoZXJ0ZXh0IjoiV2VIcDRCWDBzNFAyLzNzSHV1NDN5bWZwZjVlSTVnRUF4WExi
U1p0Sm42dWhJRFNoMm9sdGNjTXZOYXRQcTlEUjFNYUtiV1VYNm4zNkQ5ZzczUWV6
anIxcmJFdEdrVUFpR0gwVkVuOGg2ZWRSWFVIdzU5QUQ3R0x6TEVqejNzMURtNXVs
ZmJ5NDRzRlNiU0RuczVMbDVnM0tOdElJQUpoVVRzTEVvanJidE9sUFNWbGg1bUFr
L3VKOXZNYWovZEcvR1dDNUh3eXhtazBmUkE9PSJ9
-----END ENCRYPTED COSIGN PRIVATE KEY-----
";
const PUBLIC_KEY: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEpS2unJ2abft4POPIhUXg9pMff1ha
ptCp1XF6nIH4Mx7qt5lndOWZkUFRuVgeI/lVhPIhoRhMIPjpO08Jol5bYw==
-----END PUBLIC KEY-----
";

/// A small image of its own in an archive.
fn archive(env: &TestEnv, content: &str) -> String {
    let path = env.work().join(format!("{content}.tar"));
    docker_archive(&path, "localhost/x:1", &[layer(&[file("content", content)])], &json!({}));
    format!("docker-archive:{}", path.display())
}

fn registry(env: &TestEnv) -> Registry {
    let dir = env.work().join("registry");
    fs::create_dir_all(&dir).unwrap();
    Registry::open(&dir)
}

fn write(env: &TestEnv, name: &str, text: &str) -> PathBuf {
    let path = env.config().join("containers").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

/// A file of the test.
fn put(env: &TestEnv, name: &str, text: &str) -> String {
    let path = env.work().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Makes the policy for images of registries.
fn policy(env: &TestEnv, requirement: &Value) -> PathBuf {
    let policy = json!({
        "default": [{"type": "reject"}],
        "transports": {
            "docker": {"": [requirement]}, "dir": {"": [requirement]},
            "docker-archive": {"": [{"type": "insecureAcceptAnything"}]},
        },
    });
    write(env, "policy.json", &policy.to_string())
}

fn pull(env: &TestEnv, name: &str) -> Outcome {
    env.run(["pull", "-q", "--tls-verify=false", "--retry=0", name])
}

#[track_caller]
fn is_refused(env: &TestEnv, name: &str, why: &str) {
    let outcome = pull(env, name);
    assert_eq!(outcome.code, 125, "{outcome:#?}");
    assert!(outcome.stderr.starts_with("Error: Source image rejected: "), "{outcome:#?}");
    assert!(outcome.stderr.contains(why), "{why}: {outcome:#?}");
    assert_eq!(env.ok(["images", "-q"]), "", "a refused image is here");
}

#[track_caller]
fn is_accepted(env: &TestEnv, name: &str) {
    let outcome = pull(env, name);
    assert_eq!(outcome.code, 0, "{outcome:#?}");
    env.ok(["rmi", "-a", "-f"]);
}

/// Runs skopeo with the test's configuration.
fn skopeo(env: &TestEnv, args: &[&str]) -> Outcome {
    let mut command = Command::new("skopeo");
    command.arg("--registries.d").arg(env.config().join("containers/registries.d")).args(args);
    command.env("GNUPGHOME", env.work().join("gpg")).env("HOME", env.home());
    outcome(&mut command)
}

const ATTACHMENTS: &str = "default-docker:\n  use-sigstore-attachments: true\n";

/// The name of the image in tests with a registry that is made for them.
const NAME: &str = "signed.example.com/app:1";

/// Has `NAME` and its like come from `registry`.
fn redirect(env: &TestEnv, registry: &FakeRegistry) {
    let host = registry.host();
    let text =
        format!("[[registry]]\nprefix = \"signed.example.com\"\nlocation = \"{host}\"\ninsecure = true\n");
    write(env, "registries.conf", &text);
}

#[test]
fn sigstore_signatures_of_others_are_checked() {
    let signer = Signer::new("sig-sigstore");
    let env = &signer.env;
    for (name, algorithm) in
        [("p256", "EC:P-256"), ("p384", "EC:P-384"), ("rsa", "RSA"), ("ed25519", "ED25519")]
    {
        signer.key_of(name, algorithm);
    }
    signer.key("other");
    let serve = |key: &str, payload: &str| {
        let registry =
            signer.serve(payload, &json!({"dev.cosignproject.cosign/signature": signer.sign(key, payload)}));
        redirect(env, &registry);
        registry
    };
    let public = |name: &str| signer.path(&format!("{name}.pub"));
    let signed = |more: Value| {
        let mut requirement = json!({"type": "sigstoreSigned"});
        requirement.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        policy(env, &requirement);
    };
    let payload = signer.payload(NAME);
    for key in ["p256", "p384", "rsa", "ed25519"] {
        let _registry = serve(key, &payload);
        signed(json!({"keyPath": public(key)}));
        is_accepted(env, NAME);
        signed(json!({"keyPath": public("other")}));
        is_refused(env, NAME, "cryptographic signature verification failed");
    }
    let registry = serve("p256", &payload);
    for good in [
        json!({"keyData": base64(signer.read("p256.pub").as_bytes())}),
        json!({"keyPaths": [public("other"), public("p256")]}),
        json!({"keyPath": public("p256"), "signedIdentity": {"type": "matchExact"}}),
        json!({"keyPath": public("p256"), "signedIdentity": {"type": "exactReference", "dockerReference": NAME}}),
    ] {
        signed(good);
        is_accepted(env, NAME);
    }
    let identity = |rule: Value| signed(json!({"keyPath": public("p256"), "signedIdentity": rule}));
    identity(json!({"type": "exactReference", "dockerReference": "elsewhere.io/app:1"}));
    is_refused(env, NAME, &format!("Signature for identity \"{NAME}\" is not accepted"));
    identity(
        json!({"type": "remapIdentity", "prefix": "signed.example.com", "signedPrefix": "elsewhere.io"}),
    );
    is_refused(env, NAME, "is not accepted");
    // The same image under another tag has the same signature, which names the first.
    let other = "signed.example.com/app:2";
    signed(json!({"keyPath": public("p256")}));
    is_refused(env, other, "is not accepted");
    identity(json!({"type": "matchRepository"}));
    is_accepted(env, other);

    // Attachments are looked for where that is allowed only.
    signed(json!({"keyPath": public("p256")}));
    write(env, "registries.d/all.yaml", "");
    is_refused(env, NAME, "A signature was required, but no signature exists");
    write(env, "registries.d/all.yaml", ATTACHMENTS);
    drop(registry);

    // A good signature of something else.
    let wrong = payload.replace(&sha256(&signer.manifest()), &"0".repeat(64));
    let _registry = serve("p256", &wrong);
    is_refused(env, NAME, "Signature for digest sha256:0000");
    let _registry = serve("p256", &payload.replace("cosign container image", "atomic container"));
    is_refused(env, NAME, "Unrecognized signature type");
    signed(json!({"keyPath": "/nosuch.pub"}));
    is_refused(env, NAME, "/nosuch.pub");
}

#[test]
fn sigstore_signatures_of_rbox_are_verified_by_openssl() {
    let env = TestEnv::new("sig-push");
    let registry = registry(&env);
    env.ok(["pull", "-q", &archive(&env, "one")]);
    let image = env.ok(["images", "-q"]);
    let name = format!("{}/team/app:1", registry.host());
    let (key, passphrase) =
        (put(&env, "key", PRIVATE_KEY), put(&env, "passphrase", "open sesame\nsecond line"));
    let wrong = put(&env, "wrong", "guess");
    let push = |key: &str, passphrase: &str| {
        let key = format!("--sign-by-sigstore-private-key={key}");
        let passphrase = format!("--sign-passphrase-file={passphrase}");
        env.run(["push", "-q", "--tls-verify=false", &key, &passphrase, &image, &name])
    };
    let refused = push(&key, &wrong);
    assert!(refused.code == 125 && refused.stderr.contains("passphrase is wrong"), "{refused:#?}");
    let refused = push(&put(&env, "no-key", PUBLIC_KEY), &passphrase);
    assert!(refused.code == 125 && refused.stderr.contains("no encrypted private key"), "{refused:#?}");
    assert!(!registry.requests().iter().any(|r| r.starts_with("PUT")), "pushed without a signature");
    let refused = push(&key, &passphrase);
    assert!(refused.stderr.contains("sigstore attachments is disabled"), "{refused:#?}");
    write(&env, "registries.d/all.yaml", ATTACHMENTS);
    assert_eq!(push(&key, &passphrase).code, 0);
    // Again, by a file of parameters and under another tag: what is there stays.
    let parameters =
        put(&env, "parameters", &format!("privateKeyFile: {key}\nprivateKeyPassphraseFile: {passphrase}\n"));
    let signed = format!("--sign-by-sigstore={parameters}");
    let other = format!("{}/team/app:2", registry.host());
    env.ok(["push", "-q", "--tls-verify=false", &signed, &image, &other]);

    let public = put(&env, "key.pub", PUBLIC_KEY);
    let text = tool("skopeo", ["inspect", "--tls-verify=false", &format!("docker://{name}")]).stdout;
    let digest = serde_json::from_str::<Value>(&text).unwrap()["Digest"].as_str().unwrap().to_owned();
    let manifest = registry.inspect(&format!("team/app:{}.sig", digest.replace(':', "-")));
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2, "the second signature replaced the first: {manifest:#}");
    let folder = env.work().join("copy");
    let source = format!("docker://{}/team/app:{}.sig", registry.host(), digest.replace(':', "-"));
    let target = format!("dir:{}", folder.display());
    tool("skopeo", ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", &source, &target]);
    for (layer, name) in layers.iter().zip([&name, &other]) {
        let payload = folder.join(layer["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap());
        let document: Value = serde_json::from_slice(&fs::read(&payload).unwrap()).unwrap();
        assert_eq!(document["critical"]["image"]["docker-manifest-digest"], digest.as_str());
        assert_eq!(document["critical"]["identity"]["docker-reference"], name.as_str());
        let signature = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().unwrap();
        let file = env.work().join("signature");
        fs::write(&file, from_base64(signature)).unwrap();
        let (file, payload) = (file.to_str().unwrap(), payload.to_str().unwrap());
        tool("openssl", ["dgst", "-sha256", "-verify", &public, "-signature", file, payload]);
    }
    env.ok(["rmi", "-a", "-f"]);
    policy(&env, &json!({"type": "sigstoreSigned", "keyPath": public}));
    is_accepted(&env, &name);
    is_accepted(&env, &other);
    // Pulling all tags leaves those of signatures out.
    env.ok(["pull", "-q", "--all-tags", "--tls-verify=false", &format!("{}/team/app", registry.host())]);
    let names = env.ok(["images", "--format", "{{.Tag}}"]);
    assert_eq!(names.lines().collect::<std::collections::BTreeSet<_>>(), ["1", "2"].into());
}

/// What a certificate, a log and a signer make of an image, by openssl.
struct Signer {
    env: TestEnv,
    image: OciImage,
}

impl Signer {
    fn new(name: &str) -> Self {
        let env = TestEnv::new(name);
        write(&env, "registries.d/all.yaml", ATTACHMENTS);
        let image = OciImage::new(&[layer(&[file("content", "x")])], &json!({}));
        Self { env, image }
    }

    fn path(&self, name: &str) -> String {
        self.env.work().join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn key(&self, name: &str) {
        self.key_of(name, "EC:P-256");
    }

    fn key_of(&self, name: &str, algorithm: &str) {
        let (key, public) = (self.path(&format!("{name}.key")), self.path(&format!("{name}.pub")));
        let (kind, curve) = algorithm.split_once(':').unwrap_or((algorithm, ""));
        let curve = format!("ec_paramgen_curve:{curve}");
        let more: &[&str] = if kind == "EC" { &["-pkeyopt", &curve] } else { &[] };
        tool("openssl", [&["genpkey", "-algorithm", kind, "-out", &key], more].concat());
        tool("openssl", ["pkey", "-in", &key, "-pubout", "-out", &public]);
    }

    fn authority(&self, name: &str) {
        self.key(name);
        let (key, out) = (self.path(&format!("{name}.key")), self.path(&format!("{name}.crt")));
        let subject = format!("/CN={name}");
        let extension = "basicConstraints=critical,CA:TRUE";
        let args =
            ["req", "-x509", "-new", "-key", &key, "-days", "2", "-subj", &subject, "-addext", extension];
        tool("openssl", [&args[..], &["-out", &out]].concat());
    }

    /// A certificate for `signer` by `authority`.
    fn certificate(&self, authority: &str, email: &str, issuer: &str, usage: &str) {
        self.key("signer");
        let extensions = put(
            &self.env,
            "extensions",
            &format!(
                "subjectAltName=critical,email:{email}\nextendedKeyUsage={usage}\nkeyUsage=critical,digitalSignature\n\
                 1.3.6.1.4.1.57264.1.1=DER:{}\n1.3.6.1.4.1.57264.1.8=ASN1:UTF8String:{issuer}\n",
                issuer.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
            ),
        );
        let (key, request, out) = (self.path("signer.key"), self.path("request"), self.path("signer.crt"));
        tool("openssl", ["req", "-new", "-key", &key, "-subj", "/", "-out", &request]);
        let (crt, ca_key) = (self.path(&format!("{authority}.crt")), self.path(&format!("{authority}.key")));
        let args = ["x509", "-req", "-in", &request, "-CA", &crt, "-CAkey", &ca_key, "-CAcreateserial"];
        tool("openssl", [&args[..], &["-days", "1", "-extfile", &extensions, "-out", &out]].concat());
    }

    /// A signature in base64.
    fn sign(&self, key: &str, what: &str) -> String {
        let (input, output) = (put(&self.env, "to-sign", what), self.path("signed"));
        let key_file = self.path(&format!("{key}.key"));
        if key == "ed25519" {
            let args = ["pkeyutl", "-sign", "-rawin", "-inkey", &key_file, "-in", &input, "-out", &output];
            tool("openssl", args);
        } else {
            tool("openssl", ["dgst", "-sha256", "-sign", &key_file, "-out", &output, &input]);
        }
        base64(&fs::read(output).unwrap())
    }

    fn manifest(&self) -> Vec<u8> {
        serde_json::to_vec(&self.image.manifest).unwrap()
    }

    fn payload(&self, name: &str) -> String {
        json!({
            "critical": {
                "type": "cosign container image signature",
                "image": {"docker-manifest-digest": format!("sha256:{}", sha256(&self.manifest()))},
                "identity": {"docker-reference": name},
            },
            "optional": null,
        })
        .to_string()
    }

    /// The word of the log `log` that it had the signature at `time`.
    fn bundle(&self, log: &str, payload: &str, signature: &str, time: i64) -> String {
        let body = base64(
            json!({
                "apiVersion": "0.0.1", "kind": "hashedrekord",
                "spec": {
                    "data": {"hash": {"algorithm": "sha256", "value": sha256(payload.as_bytes())}},
                    "signature": {
                        "content": signature, "publicKey": {"content": base64(self.read("signer.crt").as_bytes())},
                    },
                },
            })
            .to_string()
            .as_bytes(),
        );
        let canonical =
            format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"c0ffee","logIndex":7}}"#);
        let stamp = self.sign(log, &canonical);
        json!({"SignedEntryTimestamp": stamp, "Payload": {
            "logIndex": 7, "body": body, "integratedTime": time, "logID": "c0ffee",
        }})
        .to_string()
    }

    /// Serves the image as `app:1` and `app:2` with one signature.
    fn serve(&self, payload: &str, annotations: &Value) -> FakeRegistry {
        let manifest = self.manifest();
        let mut layer = descriptor(payload.as_bytes(), "application/vnd.dev.cosign.simplesigning.v1+json");
        layer["annotations"] = annotations.clone();
        let signature = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(b"{}", "application/vnd.oci.image.config.v1+json"), "layers": [layer],
        });
        let kind = || "application/vnd.oci.image.manifest.v1+json".to_owned();
        let mut contents = BTreeMap::new();
        let tag = format!("sha256-{}.sig", sha256(&manifest));
        for version in ["1", "2"] {
            contents.insert(format!("/v2/app/manifests/{version}"), (kind(), manifest.clone()));
        }
        contents.insert(format!("/v2/app/manifests/{tag}"), (kind(), signature.to_string().into_bytes()));
        for blob in
            [payload.as_bytes(), &serde_json::to_vec(&self.image.config).unwrap(), &self.image.layers[0].0]
        {
            let path = format!("/v2/app/blobs/sha256:{}", sha256(blob));
            contents.insert(path, ("application/octet-stream".to_owned(), blob.to_vec()));
        }
        contents.insert("/v2/".into(), ("application/json".into(), b"{}".to_vec()));
        FakeRegistry::start(contents, Box::new(|_, _, honest| honest))
    }
}

const EMAIL: &str = "signer@example.com";
const ISSUER: &str = "https://accounts.example.com";

#[test]
fn keyless_signatures_need_authority_log_time_and_subject() {
    let keyless = Signer::new("sig-keyless");
    for name in ["authority", "stranger"] {
        keyless.authority(name);
    }
    for name in ["log", "other-log"] {
        keyless.key(name);
    }
    let now = || i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let name = "signed.example.com/app:1";
    let check = |authority: &str, subject: (&str, &str, &str), log: &str, after: i64, payload_name: &str| {
        keyless.certificate(authority, subject.0, subject.1, subject.2);
        let time = now() + after;
        let payload = keyless.payload(payload_name);
        let signature = keyless.sign("signer", &payload);
        let annotations = json!({
            "dev.cosignproject.cosign/signature": signature,
            "dev.sigstore.cosign/certificate": keyless.read("signer.crt"),
            "dev.sigstore.cosign/bundle": keyless.bundle(log, &payload, &signature, time),
        });
        let registry = keyless.serve(&payload, &annotations);
        policy(
            &keyless.env,
            &json!({
                "type": "sigstoreSigned",
                "fulcio": {"caPath": keyless.path("authority.crt"), "oidcIssuer": ISSUER, "subjectEmail": EMAIL},
                "rekorPublicKeyPath": keyless.path("log.pub"),
                "signedIdentity": {"type": "exactReference", "dockerReference": name},
            }),
        );
        let outcome = pull(&keyless.env, &format!("{}/app:1", registry.host()));
        if outcome.code == 0 {
            keyless.env.ok(["rmi", "-a", "-f"]);
        }
        (outcome.code, outcome.stderr)
    };
    let good = (EMAIL, ISSUER, "codeSigning");
    assert_eq!(check("authority", good, "log", 60, name), (0, String::new()));
    for (authority, subject, log, time, reference, why) in [
        ("stranger", good, "log", 60, name, "leaf certificate failed"),
        ("authority", ("other@example.com", ISSUER, "codeSigning"), "log", 60, name, "Required email"),
        ("authority", (EMAIL, "https://evil.example.com", "codeSigning"), "log", 60, name, "OIDC issuer"),
        ("authority", (EMAIL, ISSUER, "serverAuth"), "log", 60, name, "leaf certificate failed"),
        ("authority", good, "other-log", 60, name, "Rekor SET failed"),
        ("authority", good, "log", 9 * 86400, name, "leaf certificate failed"),
        ("authority", good, "log", 60, "signed.example.com/app:2", "is not accepted"),
    ] {
        let (code, message) = check(authority, subject, log, time, reference);
        assert!(code == 125 && message.contains("Source image rejected"), "{why}: {message}");
        assert!(message.contains(why), "{why}: {message}");
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A home of gpg; its agent ends with it.
struct Gpg(PathBuf);

impl Gpg {
    fn new(env: &TestEnv) -> Self {
        let home = env.work().join("gpg");
        fs::create_dir_all(&home).unwrap();
        fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        Self(home)
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Outcome {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]).args(args);
        let outcome = outcome(command.env("GNUPGHOME", &self.0));
        assert_eq!(outcome.code, 0, "{command:?} {outcome:#?}");
        outcome
    }

    /// Makes a key for `user`; `algorithm` and `expires` as gpg takes them.
    fn key(&self, user: &str, algorithm: &str, expires: &str) {
        self.run(&["--quick-gen-key", user, algorithm, "sign,cert", expires]);
    }

    fn fingerprint(&self, user: &str) -> String {
        let listing = self.run(&["--with-colons", "--list-keys", user]).stdout;
        let line = listing.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    fn export(&self, env: &TestEnv, user: &str, armored: bool) -> String {
        let path = env.work().join(format!("{user}.gpg")).to_str().unwrap().to_owned();
        let armor = if armored { "--armor" } else { "--no-armor" };
        self.run(&["--yes", armor, "--output", &path, "--export", user]);
        path
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", &self.0).output();
    }
}

fn signed_by(path: &str) -> Value {
    json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": path})
}

/// registries.d with a lookaside in a folder of the test.
fn lookaside(env: &TestEnv, read: &str) -> PathBuf {
    let folder = env.work().join("lookaside");
    let text =
        format!("default-docker:\n  lookaside: {read}\n  lookaside-staging: file://{}\n", folder.display());
    write(env, "registries.d/all.yaml", &text);
    folder
}

/// Copies an image to `destination` with skopeo, signed by `user`'s key.
#[track_caller]
fn push_simple(env: &TestEnv, gpg: &Gpg, user: &str, source: &str, destination: &str) {
    let copy = ["--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "--src-tls-verify=false"];
    let outcome =
        skopeo(env, &[&copy[..], &["--sign-by", &gpg.fingerprint(user), source, destination]].concat());
    assert_eq!(outcome.code, 0, "{outcome:#?}");
}

#[test]
fn simple_signatures_of_all_kinds_of_keys_are_checked() {
    let env = TestEnv::new("sig-simple");
    let registry = registry(&env);
    let gpg = Gpg::new(&env);
    let folder = lookaside(&env, &format!("file://{}", env.work().join("lookaside").display()));
    let source = archive(&env, "one");
    for (number, algorithm) in ["rsa2048", "ed25519", "nistp256", "nistp384"].into_iter().enumerate() {
        gpg.key(algorithm, algorithm, "never");
        let name = format!("{}/app:{algorithm}", registry.host());
        let _ = fs::remove_dir_all(&folder);
        push_simple(&env, &gpg, algorithm, &source, &format!("docker://{name}"));
        let public = gpg.export(&env, algorithm, number % 2 == 0);
        policy(&env, &signed_by(&public));
        is_accepted(&env, &name);
        if number > 0 {
            policy(&env, &signed_by(&env.work().join("rsa2048.gpg").display().to_string()));
            is_refused(&env, &name, "signature by key");
        }
    }
    let name = format!("{}/app:nistp384", registry.host());
    let path = env.work().join("nistp384.gpg");
    let all =
        json!({"type": "signedBy", "keyType": "GPGKeys", "keyPaths": [env.work().join("rsa2048.gpg"), path]});
    policy(&env, &all);
    is_accepted(&env, &name);
    policy(
        &env,
        &json!({"type": "signedBy", "keyType": "GPGKeys", "keyData": base64(&fs::read(&path).unwrap())}),
    );
    is_accepted(&env, &name);
    policy(&env, &signed_by("/nosuch.gpg"));
    is_refused(&env, &name, "/nosuch.gpg");
    policy(&env, &signed_by(path.to_str().unwrap()));
    // A signature is for one name.
    registry.copy(&source, "app:other");
    is_refused(&env, &format!("{}/app:other", registry.host()), "Signature for identity");
    // One bit makes it another, unless it is one that nobody signs, such as the time in the document's packet.
    let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path().join("signature-1");
    let good = fs::read(&file).unwrap();
    let (mut flips, mut refused) = (0, 0);
    for at in (0..good.len()).step_by(11) {
        let mut bad = good.clone();
        bad[at] ^= 4;
        fs::write(&file, bad).unwrap();
        let outcome = pull(&env, &name);
        assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
        flips += 1;
        if outcome.code == 125 {
            refused += 1;
        } else {
            gpg.run(&["--verify", file.to_str().unwrap()]);
        }
    }
    env.ok(["rmi", "-a", "-f"]);
    assert!(refused * 2 > flips, "{refused} of {flips}");
    fs::remove_dir_all(&folder).unwrap();
    is_refused(&env, &name, "A signature was required, but no signature exists");
}

#[test]
fn keys_that_do_not_count_any_more_are_refused() {
    let env = TestEnv::new("sig-keys");
    let registry = registry(&env);
    let gpg = Gpg::new(&env);
    let folder = lookaside(&env, &format!("file://{}", env.work().join("lookaside").display()));
    let source = archive(&env, "one");
    let push = |user: &str| {
        let _ = fs::remove_dir_all(&folder);
        push_simple(&env, &gpg, user, &source, &format!("docker://{}/app:1", registry.host()));
    };
    let name = format!("{}/app:1", registry.host());
    gpg.key("mortal", "ed25519", "never");
    push("mortal");
    policy(&env, &signed_by(&gpg.export(&env, "mortal", false)));
    is_accepted(&env, &name);
    let mortal = gpg.fingerprint("mortal");
    // It ends in a second.
    gpg.run(&["--quick-set-expire", &mortal, "seconds=1"]);
    let expired = gpg.export(&env, "mortal", false);
    policy(&env, &signed_by(&expired));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    is_refused(&env, &name, "it has expired");

    gpg.key("revoked", "rsa2048", "never");
    push("revoked");
    let id = gpg.fingerprint("revoked");
    let certificate = env.work().join(format!("gpg/openpgp-revocs.d/{id}.rev"));
    let text = fs::read_to_string(&certificate).unwrap().replace(":-----BEGIN", "-----BEGIN");
    fs::write(&certificate, text).unwrap();
    policy(&env, &signed_by(&gpg.export(&env, "revoked", false)));
    is_accepted(&env, &name);
    gpg.run(&["--import", certificate.to_str().unwrap()]);
    policy(&env, &signed_by(&gpg.export(&env, "revoked", true)));
    is_refused(&env, &name, "it has been revoked");

    // A subkey signs for its owner; one for encryption does not.
    gpg.run(&["--quick-gen-key", "owner", "rsa2048", "cert", "never"]);
    let owner = gpg.fingerprint("owner");
    gpg.run(&["--quick-add-key", &owner, "ed25519", "sign", "never"]);
    push("owner");
    policy(&env, &signed_by(&gpg.export(&env, "owner", false)));
    is_accepted(&env, &name);
}

#[test]
fn lookasides_on_web_servers_and_dir_folders_have_signatures() {
    let env = TestEnv::new("sig-places");
    let registry = registry(&env);
    let gpg = Gpg::new(&env);
    gpg.key("me", "ed25519", "never");
    let folder = lookaside(&env, "https://nosuch.invalid/sigs");
    let name = format!("{}/team/app:1", registry.host());
    push_simple(&env, &gpg, "me", &archive(&env, "one"), &format!("docker://{name}"));
    let (inner, mut contents) = (folder.join("team"), BTreeMap::new());
    for entry in fs::read_dir(&inner).unwrap().map(Result::unwrap) {
        let path = format!("/sigs/team/{}/signature-1", entry.file_name().to_str().unwrap());
        contents.insert(path, (String::new(), fs::read(entry.path().join("signature-1")).unwrap()));
    }
    let server = FakeRegistry::start(contents, Box::new(|_, _, honest| honest));
    lookaside(&env, &format!("http://{}/sigs", server.host()));
    let public = gpg.export(&env, "me", true);
    policy(&env, &signed_by(&public));
    is_accepted(&env, &name);
    let paths: Vec<String> = server.requests().into_iter().map(|request| request.path).collect();
    assert!(paths.len() == 2 && paths[1].ends_with("signature-2"), "{paths:#?}");

    let dir = env.work().join("folder").to_str().unwrap().to_owned();
    let target = format!("dir:{dir}");
    let copy = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--sign-by"];
    let source = format!("docker://{name}");
    let copied = skopeo(
        &env,
        &[&copy[..], &[&gpg.fingerprint("me"), "--sign-identity", "example.com/app:1", &source, &target]]
            .concat(),
    );
    assert_eq!(copied.code, 0, "{copied:#?}");
    is_refused(&env, &target, "is not accepted");
    let mut requirement = signed_by(&public);
    requirement["signedIdentity"] = json!({"type": "exactReference", "dockerReference": "example.com/app:1"});
    policy(&env, &requirement);
    is_accepted(&env, &target);
    fs::remove_file(Path::new(&dir).join("signature-1")).unwrap();
    is_refused(&env, &target, "no signature exists");
}

#[test]
fn simple_signatures_of_rbox_are_accepted_by_skopeo() {
    let mut env = TestEnv::new("sig-simple-push");
    let registry = registry(&env);
    let gpg = Gpg::new(&env);
    gpg.key("me", "rsa2048", "never");
    gpg.key("other", "rsa2048", "never");
    let folder = lookaside(&env, &format!("file://{}", env.work().join("lookaside").display()));
    env.set("GNUPGHOME", gpg.0.to_str().unwrap());
    env.ok(["pull", "-q", &archive(&env, "one")]);
    let image = env.ok(["images", "-q"]);
    let name = format!("{}/team/app:1", registry.host());
    let refused = env.fails(125, ["push", "-q", "--tls-verify=false", "--sign-by=nobody", &image, &name]);
    assert!(refused.contains("nobody"), "{refused}");
    env.ok(["push", "-q", "--tls-verify=false", "--sign-by=me", &image, &name]);
    assert!(folder.join("team").is_dir());
    let check = |user: &str| {
        let policy = policy(&env, &signed_by(&gpg.export(&env, user, false)));
        let (source, target) =
            (format!("docker://{name}"), format!("dir:{}", env.work().join(user).display()));
        let policy = policy.to_str().unwrap();
        skopeo(&env, &["--policy", policy, "copy", "-q", "--src-tls-verify=false", &source, &target]).code
    };
    assert_eq!(check("me"), 0);
    assert_ne!(check("other"), 0);
}

/// The policy of the command line counts, and nothing but it.
#[test]
fn a_policy_can_be_named() {
    let env = TestEnv::new("sig-named");
    let archive = archive(&env, "x");
    let path = archive.strip_prefix("docker-archive:").unwrap();
    let reject = put(&env, "reject.json", r#"{"default":[{"type":"reject"}]}"#);
    let accept = put(&env, "accept.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
    let broken = put(&env, "broken.json", "{}");
    let key = "signature-policy";
    for (policy, why) in
        [(&reject, "rejected by policy"), (&broken, "invalid policy"), (&"/nosuch".into(), "/nosuch")]
    {
        let flag = format!("--{key}={policy}");
        for command in [
            vec!["load", &flag, "-i", path],
            vec!["pull", &flag, &archive],
            vec!["run", "--rm", "--network=none", &flag, &archive, "/x"],
        ] {
            let outcome = env.run(&command);
            assert_eq!(outcome.code, 125, "{command:?}: {outcome:#?}");
            assert!(outcome.stderr.contains(why), "{command:?}: {outcome:#?}");
        }
        assert_eq!(env.ok(["images", "-q"]), "");
    }
    write(&env, "policy.json", &fs::read_to_string(&reject).unwrap());
    env.fails(125, ["load", "-i", path]);
    env.ok(["load", &format!("--{key}={accept}"), "-i", path]);
    // What goes out is asked of the store, where nothing is signed.
    let out = format!("oci:{}", env.work().join("out").display());
    let saved = env.work().join("saved.tar");
    let saved = saved.to_str().unwrap();
    for policy in [&reject, &accept] {
        let flag = format!("--{key}={policy}");
        let code = if policy == &accept { 0 } else { 125 };
        assert_eq!(env.run(["push", "-q", &flag, "localhost/x:1", &out]).code, code);
        assert_eq!(env.run(["save", "-q", &flag, "-o", saved, "localhost/x:1"]).code, code);
    }
}
