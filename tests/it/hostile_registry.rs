//! Registries that fail, lie or attack: one clear error, in bounded time and memory, and a store as before.
//! Names of tests carry the numbers of the attack catalogue.

use std::time::{Duration, Instant};

use serde_json::json;

use super::support::fake::{Answer, FakeRegistry, Request, Rule};
use super::support::image::{OciImage, TAR_GZIP, busybox_config, busybox_entries, file, gzip, layer};
use super::support::{Outcome, TestEnv};

fn small_image() -> OciImage {
    let plain = [layer(&[file("one", "1")]), layer(&[file("two", &"2".repeat(200_000))])];
    let mut oci = OciImage::new(&plain, &busybox_config());
    for (slot, plain) in oci.layers.iter_mut().zip(&plain) {
        *slot = (gzip(plain), TAR_GZIP);
    }
    oci.describe();
    oci
}

fn pull(env: &TestEnv, registry: &FakeRegistry) -> Outcome {
    env.run(["pull", "-q", "--tls-verify=false", "--retry=0", &registry.image()])
}

/// One clear error with exit code 125, and nothing half made.
#[track_caller]
fn clean(env: &TestEnv, what: &str, outcome: &Outcome) {
    assert_eq!(outcome.code, 125, "{what}: {outcome:#?}");
    assert!(
        !outcome.stderr.contains("panicked") && !outcome.stderr.trim().is_empty(),
        "{what}: {outcome:#?}"
    );
    assert_eq!(env.ok(["images", "-aq"]), "", "{what}: something was kept");
    assert!(env.leaks().is_empty(), "{what}: {:#?}", env.leaks());
}

fn is_blob(request: &Request) -> bool {
    request.path.contains("/blobs/")
}

fn is_manifest(request: &Request) -> bool {
    request.path.contains("/manifests/")
}

/// Pulls once with `rule` and once honestly.
#[track_caller]
fn fails_then_works(
    what: &str,
    rule: impl Fn(&Request, usize, Answer) -> Answer + Send + Sync + 'static,
) -> Outcome {
    let env = TestEnv::new("registry");
    let image = small_image();
    let evil = FakeRegistry::serve(&image, Box::new(rule));
    let outcome = pull(&env, &evil);
    clean(&env, what, &outcome);
    let honest = FakeRegistry::serve(&image, Box::new(|_, _, answer| answer));
    let after = pull(&env, &honest);
    assert_eq!(after.code, 0, "after {what}: {after:#?}");
    outcome
}

#[test]
fn statuses_of_the_registry_are_told() {
    for (status, part) in [
        (401, "unauthorized"),
        (403, "denied"),
        (404, "manifest unknown"),
        (429, "429"),
        (500, "500"),
        (418, "418"),
    ] {
        let outcome = fails_then_works(&format!("{status} for the manifest"), move |request, _, answer| {
            if is_manifest(request) { Answer::new(status, "") } else { answer }
        });
        let text = outcome.stderr.to_lowercase();
        assert!(text.contains(part) || text.contains(&status.to_string()), "{status}: {outcome:#?}");
        fails_then_works(&format!("{status} for blobs"), move |request, _, answer| {
            if is_blob(request) { Answer::new(status, "<html>no</html>") } else { answer }
        });
    }
}

#[test]
fn an_absent_registry_is_named() {
    let env = TestEnv::new("absent");
    let port = super::support::registry::free_port();
    let name = format!("127.0.0.1:{port}/test:latest");
    let outcome = env.run(["pull", "-q", "--retry=0", "--tls-verify=false", &name]);
    clean(&env, "nobody listens", &outcome);
    assert!(outcome.stderr.contains(&port.to_string()), "{outcome:#?}");
    let outcome = env.run(["pull", "-q", "--retry=0", "registry.invalid/test"]);
    clean(&env, "no such host", &outcome);
    for name in ["UPPER/case", "a//b", "host:port/x", "x@sha256:short", "", "-", "a:b:c"] {
        let outcome = env.run(["pull", "-q", "--retry=0", "--", name]);
        clean(&env, name, &outcome);
    }
}

#[test]
fn a_stream_that_is_cut_resumes_or_fails_cleanly() {
    fails_then_works("blobs cut in the middle", |request, _, mut answer| {
        if is_blob(request) {
            answer.cut_after = Some(answer.body.len() / 2);
        }
        answer
    });
    fails_then_works("a manifest cut in the middle", |request, _, mut answer| {
        if is_manifest(request) {
            answer.cut_after = Some(answer.body.len() / 2);
        }
        answer
    });
    // With retries the rest is asked for, not the whole.
    let env = TestEnv::new("resume");
    let image = small_image();
    let rule: Rule = Box::new(|request, before, mut answer| {
        if is_blob(request) && before == 0 && answer.body.len() > 300 {
            answer.cut_after = Some(answer.body.len() - 100);
        }
        answer
    });
    let registry = FakeRegistry::serve(&image, rule);
    let args = ["pull", "-q", "--tls-verify=false", "--retry=3", "--retry-delay=10ms", &registry.image()];
    env.ok(args);
    let resumed = registry.requests().iter().any(|r| is_blob(r) && r.header("range").starts_with("bytes="));
    assert!(resumed, "{:#?}", registry.requests());
}

#[test]
fn an_interrupted_pull_resumes_in_the_next_command() {
    let env = TestEnv::new("resume-later");
    let image = small_image();
    let rule: Rule = Box::new(|request, before, mut answer| {
        if is_blob(request) && before == 0 && answer.body.len() > 300 {
            answer.cut_after = Some(answer.body.len() - 100);
        }
        answer
    });
    let registry = FakeRegistry::serve(&image, rule);
    assert_eq!(pull(&env, &registry).code, 125);
    // The config comes before the layers, so the first cut of a layer is seen by the second command.
    let done = (0..3).find(|_| pull(&env, &registry).code == 0);
    assert!(done.is_some(), "{:#?}", registry.requests());
    let resumed = registry.requests().iter().any(|r| is_blob(r) && !r.header("range").is_empty());
    assert!(resumed, "{:#?}", registry.requests());
}

#[test]
fn s57_wrong_bytes_are_refused() {
    fails_then_works("a flipped bit in blobs", |request, _, mut answer| {
        if is_blob(request) && !answer.body.is_empty() {
            let middle = answer.body.len() / 2;
            answer.body[middle] ^= 1;
        }
        answer
    });
    fails_then_works("blobs that are too long", |request, _, mut answer| {
        if is_blob(request) {
            answer.body.push(0);
        }
        answer
    });
    fails_then_works("another manifest than its digest says", |request, _, mut answer| {
        if is_manifest(request) {
            answer.body.push(b' ');
        }
        answer
    });
    fails_then_works("a header with another digest", |request, _, mut answer| {
        if is_manifest(request) {
            answer.headers.retain(|(name, _)| name != "Docker-Content-Digest");
            return answer.with("Docker-Content-Digest", format!("sha256:{}", "1".repeat(64)));
        }
        answer
    });
}

#[test]
fn s64_credentials_stay_with_their_host() {
    let env = TestEnv::new("s64");
    let image = small_image();
    let target = std::sync::Arc::new(FakeRegistry::serve(&image, Box::new(|_, _, answer| answer)));
    let other = target.host();
    let rule: Rule = Box::new(move |request, _, answer| {
        if !request.header("authorization").starts_with("Basic ") {
            return Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"test\"");
        }
        if is_blob(request) {
            return Answer::new(307, "").with("Location", format!("http://{other}{}", request.path));
        }
        answer
    });
    let registry = FakeRegistry::serve(&image, rule);
    env.ok(["pull", "-q", "--tls-verify=false", "--creds=user:hidden", &registry.image()]);
    let seen = target.requests();
    assert!(!seen.is_empty(), "the redirect was not followed: the test shows nothing");
    for request in &seen {
        assert_eq!(request.header("authorization"), "", "{request:#?}");
        assert_eq!(request.header("cookie"), "");
    }
    assert!(registry.requests().iter().any(|r| r.header("authorization").starts_with("Basic ")));
}

#[test]
fn s66_urls_in_descriptors_are_not_visited() {
    let env = TestEnv::new("s66");
    let trap = FakeRegistry::start(std::collections::BTreeMap::new(), Box::new(|_, _, answer| answer));
    let mut image = small_image();
    image.manifest["layers"][0]["urls"] =
        json!([format!("http://{}/stolen", trap.host()), "file:///etc/passwd", "http://169.254.169.254/"]);
    let registry = FakeRegistry::serve(
        &image,
        Box::new(
            |request, _, answer| {
                if is_blob(request) && answer.body.len() < 500 { Answer::new(404, "") } else { answer }
            },
        ),
    );
    let outcome = pull(&env, &registry);
    clean(&env, "urls", &outcome);
    assert!(trap.requests().is_empty(), "{:#?}", trap.requests());
}

#[test]
fn s67_documents_have_one_meaning() {
    for (what, change) in [
        ("manifest and index at once", json!({"manifests": []})),
        ("an unknown schema", json!({"schemaVersion": 1})),
        ("another media type inside", json!({"mediaType": "application/vnd.oci.image.index.v1+json"})),
    ] {
        let env = TestEnv::new("s67");
        let mut image = small_image();
        for (key, value) in change.as_object().unwrap() {
            image.manifest[key] = value.clone();
        }
        let registry = FakeRegistry::serve(
            &image,
            Box::new(|request, _, mut answer| {
                if is_manifest(request) {
                    answer.headers.retain(|(name, _)| name != "Content-Type");
                    answer = answer.with("Content-Type", "application/vnd.oci.image.manifest.v1+json");
                }
                answer
            }),
        );
        clean(&env, what, &pull(&env, &registry));
    }
}

#[test]
fn s69_hostile_servers_neither_hang_nor_exhaust() {
    let begin = Instant::now();
    fails_then_works("a manifest of 10 MB", |request, _, answer| {
        if is_manifest(request) {
            let mut body = answer.body.clone();
            body.resize(10 << 20, b' ');
            return Answer::new(200, body).with("Content-Type", "application/vnd.oci.image.manifest.v1+json");
        }
        answer
    });
    fails_then_works("a loop of redirects", |request, _, answer| {
        if is_blob(request) { Answer::new(307, "").with("Location", request.path.clone()) } else { answer }
    });
    fails_then_works("a length that is a lie", |request, _, mut answer| {
        if is_blob(request) {
            answer.claimed_length = Some(1 << 50);
        }
        answer
    });
    fails_then_works("an error page without end", |request, _, answer| {
        if is_manifest(request) { Answer::new(500, vec![b'x'; 20 << 20]) } else { answer }
    });
    fails_then_works("a token server that answers rubbish", |request, _, answer| {
        if is_manifest(request) {
            let realm = format!("Bearer realm=\"http://{}/token\",service=\"x\"", request.header("host"));
            return Answer::new(401, "").with("WWW-Authenticate", realm);
        }
        if request.path.starts_with("/token") { Answer::new(200, vec![b'{'; 5 << 20]) } else { answer }
    });
    // Nothing is decoded on the way, so such an answer can neither grow nor mean two things: its bytes count.
    let env = TestEnv::new("encoding");
    let rule: Rule = Box::new(|_, _, answer| answer.with("Content-Encoding", "gzip"));
    let registry = FakeRegistry::serve(&small_image(), rule);
    assert_eq!(pull(&env, &registry).code, 0);
    assert!(registry.requests().iter().all(|r| r.header("accept-encoding") == "identity"));
    assert!(begin.elapsed() < Duration::from_secs(80), "{:?}", begin.elapsed());
}

#[test]
fn s54_a_gzip_bomb_ends_within_its_limits() {
    // 64 MiB of zeros in a layer that its diff id does not describe: refused, and no trace of it stays.
    let env = TestEnv::new("s54pull");
    let mut image = small_image();
    image.layers[1] = (gzip(&vec![0; 64 << 20]), TAR_GZIP);
    image.describe();
    let registry = FakeRegistry::serve(&image, Box::new(|_, _, answer| answer));
    clean(&env, "zeros", &pull(&env, &registry));
    let used = super::support::env::tool("du", ["-sk", env.data().to_str().unwrap()]).stdout;
    let kilobytes: u64 = used.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kilobytes < 20_000, "{used}");
}

#[test]
fn a_slow_registry_is_waited_for_and_shown() {
    let env = TestEnv::new("slow");
    let mut image = OciImage::new(&[layer(&busybox_entries())], &busybox_config());
    image.describe();
    let registry = FakeRegistry::serve(
        &image,
        Box::new(|request, _, mut answer| {
            if is_blob(request) {
                answer.pause = Some((1 << 20, Duration::from_millis(50)));
            }
            answer
        }),
    );
    let outcome = env.run(["pull", "--tls-verify=false", &registry.image()]);
    assert_eq!(outcome.code, 0, "{outcome:#?}");
    assert_eq!(outcome.stdout.trim().len(), 64, "the id alone is data: {outcome:#?}");
    assert!(
        !outcome.stderr.contains('\u{1b}'),
        "no cursor movements where there is no terminal: {outcome:#?}"
    );
}
