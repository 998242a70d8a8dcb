//! Pulls that are slowed down, cut, killed, or made twice at once; and servers whose ranges, certificates or
//! answers are not what they should be. Names of tests carry the numbers of the catalogues.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::support::env::{finish, spawn_captured, tool, wait_until};
use super::support::fake::{Answer, FakeRegistry, Request, Rule};
use super::support::image::{
    OciImage, TAR_GZIP, busybox_archive, busybox_config, busybox_entries, file, gzip, layer,
};
use super::support::registry::{PASSWORD, Registry, USER, free_port, make_authority};
use super::support::{Outcome, TestEnv};

const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// The busybox system and a second layer that does not compress.
fn image() -> OciImage {
    let mut seed = 1_u32;
    let noise: String = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + (seed >> 24) as u8 % 90)
    })
    .take(400_000)
    .collect();
    let plain = [layer(&busybox_entries()), layer(&[file("noise", &noise)])];
    let mut oci = OciImage::new(&plain, &busybox_config());
    for (slot, plain) in oci.layers.iter_mut().zip(&plain) {
        *slot = (gzip(plain), TAR_GZIP);
    }
    oci.describe();
    oci
}

fn is_blob(request: &Request) -> bool {
    request.path.contains("/blobs/")
}

/// Whether an answer has the bytes of a layer, and not of the config.
fn is_large(answer: &Answer) -> bool {
    answer.body.len() > 10_000
}

fn pull(env: &TestEnv, registry: &FakeRegistry, more: &[&str]) -> Outcome {
    let mut args = vec!["pull", "-q", "--tls-verify=false"];
    args.extend(more);
    let name = registry.image();
    args.push(&name);
    env.run(args)
}

#[track_caller]
fn works(env: &TestEnv, name: &str) {
    assert_eq!(env.ok(["run", "--rm", "--network=none", name, "wc", "-c", "/noise"]), "400000 /noise");
    assert!(env.leaks().is_empty(), "{:?}", env.leaks());
}

#[track_caller]
fn refused(env: &TestEnv, what: &str, outcome: &Outcome) {
    assert_eq!(outcome.code, 125, "{what}: {outcome:#?}");
    assert!(!outcome.stderr.contains("panicked") && !outcome.stderr.trim().is_empty(), "{outcome:#?}");
    assert_eq!(env.ok(["images", "-aq"]), "", "{what}: something was kept");
    assert!(env.leaks().is_empty(), "{what}: {:?}", env.leaks());
}

#[test]
fn a_busy_registry_is_asked_again_when_it_says() {
    let env = TestEnv::new("retryafter");
    for status in [429, 503] {
        let rule: Rule =
            Box::new(
                move |_, before, answer| {
                    if before == 0 { Answer::new(status, "").with("Retry-After", "1") } else { answer }
                },
            );
        let registry = FakeRegistry::serve(&image(), rule);
        let begin = Instant::now();
        // The server's wish counts more than the user's pause, which would take minutes here.
        let outcome = pull(&env, &registry, &["--retry=3"]);
        assert_eq!(outcome.code, 0, "{status}: {outcome:#?}");
        let taken = begin.elapsed();
        assert!((1..30).contains(&taken.as_secs()), "{status}: {taken:?}");
        env.ok(["rmi", "-f", &registry.image()]);
        // Without retries the first answer is the last.
        let registry = FakeRegistry::serve(&image(), Box::new(move |_, _, _| Answer::new(status, "")));
        let outcome = pull(&env, &registry, &["--retry=0"]);
        refused(&env, "no retries", &outcome);
        assert!(
            outcome.stderr.contains(&status.to_string()) || outcome.stderr.contains("too"),
            "{outcome:#?}"
        );
        assert!(registry.requests().len() <= 2, "{:#?}", registry.requests());
    }
}

#[test]
fn registries_that_lie_about_ranges_are_not_believed() {
    type Lie = fn(Answer) -> Answer;
    let whole: Lie = |answer| answer;
    let lies: [(&str, Lie); 5] = [
        ("another beginning", |mut answer| {
            answer.headers.retain(|(name, _)| name != "Content-Range");
            answer.with("Content-Range", "bytes 0-9/10")
        }),
        ("no range", |mut answer| {
            answer.headers.retain(|(name, _)| name != "Content-Range");
            answer
        }),
        ("not satisfiable", |_| Answer::new(416, "")),
        ("other bytes", |mut answer| {
            answer.body.fill(0);
            answer
        }),
        ("what was asked for", whole),
    ];
    for (what, lie) in lies {
        let env = TestEnv::new("ranges");
        let rule: Rule = Box::new(move |request, before, mut answer| {
            if is_blob(request) && is_large(&answer) && before == 0 {
                answer.cut_after = Some(answer.body.len() / 2);
                return answer;
            }
            if request.header("range").is_empty() { answer } else { lie(answer) }
        });
        let registry = FakeRegistry::serve(&image(), rule);
        let outcome = pull(&env, &registry, &["--retry=3", "--retry-delay=10ms"]);
        let asked = registry.requests().iter().any(|request| !request.header("range").is_empty());
        assert!(asked, "{what}: no range was asked for");
        // Believed or not: what is kept is what the digests say.
        if outcome.code == 0 {
            works(&env, &registry.image());
        } else {
            refused(&env, what, &outcome);
            let honest = FakeRegistry::serve(&image(), Box::new(|_, _, answer| answer));
            let outcome = pull(&env, &honest, &[]);
            assert_eq!(outcome.code, 0, "after {what}: {outcome:#?}");
            works(&env, &honest.image());
        }
    }
    // A server that knows no ranges sends the whole again.
    let env = TestEnv::new("noranges");
    let served = image();
    let bodies: Vec<Vec<u8>> = served.layers.iter().map(|(bytes, _)| bytes.clone()).collect();
    let rule: Rule = Box::new(move |request, before, mut answer| {
        if is_blob(request) && is_large(&answer) && before == 0 {
            answer.cut_after = Some(answer.body.len() / 2);
        } else if answer.status == 206 {
            let whole = bodies.iter().find(|body| body.ends_with(&answer.body)).unwrap();
            return Answer::new(200, whole.clone());
        }
        answer
    });
    let registry = FakeRegistry::serve(&served, rule);
    let outcome = pull(&env, &registry, &["--retry=3", "--retry-delay=10ms"]);
    assert_eq!(outcome.code, 0, "{outcome:#?}");
    works(&env, &registry.image());
}

#[test]
fn f01_a_pull_killed_half_way_goes_on_where_it_was() {
    let env = TestEnv::new("killed-pull");
    let served = image();
    let total: usize = served.layers.iter().map(|(bytes, _)| bytes.len()).sum();
    // Whatever is large comes in pieces, and after its first half not at all until the first client is dead.
    let rule: Rule = Box::new(|request, before, mut answer| {
        if is_blob(request) && is_large(&answer) && before == 0 {
            answer.pause = Some((answer.body.len() / 2 + 1, Duration::from_secs(5)));
        }
        answer
    });
    let registry = FakeRegistry::serve(&served, rule);
    let name = registry.image();
    let mut command = env.command(["pull", "-q", "--tls-verify=false", &name]);
    let mut child = spawn_captured(command.stdin(Stdio::null()));
    let partial = env.data().join("blobs/partial");
    let kept = || -> u64 {
        let entries = std::fs::read_dir(&partial).into_iter().flatten().flatten();
        entries.map(|entry| entry.metadata().map_or(0, |meta| meta.len())).sum()
    };
    wait_until("half of it is there", || kept() > total as u64 / 3);
    child.kill().unwrap();
    finish(child, &command);
    assert_ne!(env.run(["image", "exists", &name]).code, 0);
    assert_eq!(env.ok(["images", "-aq"]), "");
    let before = registry.requests().len();
    env.ok(["pull", "-q", "--tls-verify=false", &name]);
    let second = registry.requests().split_off(before);
    let ranges = second.iter().filter(|request| request.header("range").starts_with("bytes=")).count();
    assert_eq!(ranges, 2, "both layers go on: {second:#?}");
    works(&env, &name);
    assert_eq!(kept(), 0, "an interrupted download is left");
}

#[test]
fn f16_pulls_of_one_image_at_once_share_the_work() {
    let env = TestEnv::new("twopulls");
    let rule: Rule = Box::new(|request, _, mut answer| {
        if is_blob(request) {
            answer.pause = Some((100_000, Duration::from_millis(20)));
        }
        answer
    });
    let registry = FakeRegistry::serve(&image(), rule);
    let name = registry.image();
    let pulls: Vec<_> = (0..4)
        .map(|_| {
            let mut command = env.command(["pull", "-q", "--tls-verify=false", &name]);
            (spawn_captured(command.stdin(Stdio::null())), command)
        })
        .collect();
    let ids: Vec<_> = pulls
        .into_iter()
        .map(|(child, command)| {
            let outcome = finish(child, &command);
            assert_eq!(outcome.code, 0, "{outcome:#?}");
            outcome.stdout
        })
        .collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    let requests = registry.requests();
    for (bytes, _) in &image().layers {
        let path = format!("/v2/test/blobs/sha256:{}", super::support::image::sha256(bytes));
        let fetched =
            requests.iter().filter(|request| request.path == path && request.method == "GET").count();
        assert!((1..=2).contains(&fetched), "{path} was fetched {fetched} times");
    }
    works(&env, &name);
}

#[test]
fn s54_s56_layers_that_end_early_or_never_are_refused() {
    let good = image();
    let zeros = vec![0; 64 << 20];
    let first = good.layers[0].0.clone();
    let truncated = first[..first.len() / 2].to_vec();
    let mut garbage = first.clone();
    garbage.extend(b"garbage behind the end");
    let mut wrong = first.clone();
    let end = wrong.len() - 6;
    wrong[end] ^= 0xff;
    let cases = [
        ("a gzip bomb", gzip(&zeros), TAR_GZIP),
        ("a zstd bomb", zstd::encode_all(zeros.as_slice(), 19).unwrap(), ZSTD),
        ("a truncated gzip", truncated, TAR_GZIP),
        ("a truncated zstd", zstd::encode_all(zeros.as_slice(), 3).unwrap()[..50].to_vec(), ZSTD),
        ("a wrong checksum", wrong, TAR_GZIP),
        ("garbage behind the end", garbage, TAR_GZIP),
        ("gzip that says zstd", gzip(b"x"), ZSTD),
        ("nothing at all", Vec::new(), TAR_GZIP),
    ];
    for (what, bytes, kind) in cases {
        let env = TestEnv::new("bombs");
        let mut evil = good.clone();
        // Size and digest agree: only what is inside is wrong.
        evil.layers[0] = (bytes, kind);
        evil.describe();
        let registry = FakeRegistry::serve(&evil, Box::new(|_, _, answer| answer));
        let begin = Instant::now();
        refused(&env, what, &pull(&env, &registry, &["--retry=0"]));
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}: {:?}", begin.elapsed());
        let honest = FakeRegistry::serve(&good, Box::new(|_, _, answer| answer));
        let outcome = pull(&env, &honest, &[]);
        assert_eq!(outcome.code, 0, "after {what}: {outcome:#?}");
        works(&env, &honest.image());
    }
}

#[test]
fn s71_plain_http_is_spoken_only_where_it_is_configured() {
    let env = TestEnv::new("plainhttp");
    let registry = FakeRegistry::serve(&image(), Box::new(|_, _, answer| answer));
    let outcome = env.run(["pull", "-q", "--retry=0", &registry.image()]);
    refused(&env, "https only", &outcome);
    assert!(registry.requests().is_empty(), "asked over plain HTTP: {:#?}", registry.requests());
    let conf = env.config().join("containers");
    std::fs::create_dir_all(&conf).unwrap();
    let write = |location: &str| {
        let text = format!("[[registry]]\nlocation = \"{location}\"\ninsecure = true\n");
        std::fs::write(conf.join("registries.conf"), text).unwrap();
    };
    // Another registry's permission is not this one's.
    write("127.0.0.1:1");
    refused(&env, "another's permission", &env.run(["pull", "-q", "--retry=0", &registry.image()]));
    assert!(registry.requests().is_empty());
    write(&registry.host());
    env.ok(["pull", "-q", &registry.image()]);
    // The command line has the last word.
    env.ok(["rmi", "-f", &registry.image()]);
    let strict = env.run(["pull", "-q", "--retry=0", "--tls-verify=true", &registry.image()]);
    refused(&env, "--tls-verify=true", &strict);
}

/// `openssl s_server` with a certificate of the test's own authority; ended when dropped.
struct TlsServer(Child, u16);

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl TlsServer {
    fn start(dir: &std::path::Path, subject: &str, more: &[&str], options: &[&str]) -> Self {
        let path = |name: &str| dir.join(name).display().to_string();
        let request = [
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=test",
            "-keyout",
            &path("key"),
            "-out",
            &path("csr"),
        ];
        tool("openssl", request);
        std::fs::write(dir.join("ext"), format!("subjectAltName={subject}\n")).unwrap();
        let mut sign = vec!["x509", "-req", "-CAcreateserial"];
        let (csr, ca, key, ext, out) =
            (path("csr"), path("ca.crt"), path("ca.key"), path("ext"), path("crt"));
        sign.extend(["-in", &csr, "-CA", &ca, "-CAkey", &key, "-extfile", &ext, "-out", &out]);
        sign.extend(more);
        tool("openssl", sign);
        let port = free_port();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")]);
        command.args(["-cert", &path("crt"), "-key", &path("key")]).args(options);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self(child, port);
        wait_until("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        server
    }
}

#[test]
fn s71_certificates_are_checked_for_name_time_and_issuer() {
    let env = TestEnv::new("s71");
    let dir = env.work();
    make_authority(&dir);
    let certs = env.work().join("certs");
    std::fs::create_dir(&certs).unwrap();
    std::fs::copy(dir.join("ca.crt"), certs.join("ca.crt")).unwrap();
    let trusted = format!("--cert-dir={}", certs.display());
    let good = "DNS:localhost,IP:127.0.0.1";
    for (what, subject, more, options, trust, reaches) in [
        ("a good one", good, &["-days", "2"][..], &[][..], true, true),
        ("another's name", "DNS:elsewhere.example", &["-days", "2"], &[], true, false),
        ("one that is over", good, &["-days", "-1"], &[], true, false),
        ("an unknown issuer", good, &["-days", "2"], &[], false, false),
        (
            "an old protocol",
            good,
            &["-days", "2"],
            &["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"],
            true,
            false,
        ),
    ] {
        let server = TlsServer::start(&dir, subject, more, options);
        let name = format!("localhost:{}/test", server.1);
        let mut args = vec!["pull", "-q", "--retry=0"];
        if trust {
            args.push(&trusted);
        }
        args.push(&name);
        let outcome = env.run(args);
        refused(&env, what, &outcome);
        // The good one is no registry: the failure is another one, behind the handshake.
        let handshake = ["certificate", "protocol", "tls", "handshake"];
        let about_tls = handshake.iter().any(|word| outcome.stderr.to_lowercase().contains(word));
        assert_eq!(about_tls, !reaches, "{what}: {outcome:#?}");
    }
}

#[test]
fn credential_stores_serve_all_registries_and_their_failures_are_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut env = TestEnv::new("credsstore");
    let dir = env.work().join("registry");
    std::fs::create_dir_all(&dir).unwrap();
    let registry = Registry::secured(&dir);
    registry.push_archive(&busybox_archive(&env.work(), "localhost/busybox:1"), "busybox:1");
    let bin = env.work().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    env.set("PATH", path);
    // Docker's own file serves as well.
    let docker = env.home().join(".docker");
    std::fs::create_dir_all(&docker).unwrap();
    std::fs::write(docker.join("config.json"), json!({"credsStore": "store"}).to_string()).unwrap();
    let name = format!("{}/busybox:1", registry.host());
    let answer = |script: &str| {
        let helper = bin.join("docker-credential-store");
        std::fs::write(&helper, format!("#!/bin/sh\nread host\n{script}\n")).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        env.run(["pull", "-q", "--retry=0", "--tls-verify=false", &name])
    };
    for (what, script) in [
        ("not found", "echo 'credentials not found in native keychain'; exit 1"),
        ("a failure", "echo broken >&2; exit 1"),
        ("rubbish", "echo '{'"),
        ("an empty answer", "true"),
        ("other credentials", "printf '{\"Username\":\"x\",\"Secret\":\"hidden-secret\"}'"),
        (
            "endless output",
            "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done",
        ),
    ] {
        let outcome = answer(script);
        refused(&env, what, &outcome);
        assert!(!outcome.stderr.contains("hidden-secret"), "{what}: {outcome:#?}");
    }
    let outcome = answer(&format!("printf '{{\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'"));
    assert_eq!(outcome.code, 0, "{outcome:#?}");
    assert_eq!(env.ok(["run", "--rm", "--network=none", &name, "echo", "fetched"]), "fetched");
}
