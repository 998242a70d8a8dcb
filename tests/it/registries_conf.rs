//! The rules of registries.conf, one test a rule, against registries that are asked or must not be.

use std::collections::BTreeMap;
use std::fs;

use super::support::TestEnv;
use super::support::fake::FakeRegistry;
use super::support::image::{OciImage, file, layer, sha256};

/// A registry with a small image of its own below each of `repositories`, as `:1`; the image holds `content`.
fn registry(repositories: &[&str], content: &str) -> FakeRegistry {
    let image = OciImage::new(&[layer(&[file("content", content)])], &serde_json::json!({}));
    let manifest = serde_json::to_vec(&image.manifest).unwrap();
    let kind = image.manifest["mediaType"].as_str().unwrap().to_owned();
    let mut contents = BTreeMap::new();
    for repository in repositories {
        for version in ["1".to_owned(), "latest".to_owned(), format!("sha256:{}", sha256(&manifest))] {
            contents
                .insert(format!("/v2/{repository}/manifests/{version}"), (kind.clone(), manifest.clone()));
        }
        let mut blob = |bytes: &[u8]| {
            let path = format!("/v2/{repository}/blobs/sha256:{}", sha256(bytes));
            contents.insert(path, ("application/octet-stream".to_owned(), bytes.to_vec()));
        };
        blob(&serde_json::to_vec(&image.config).unwrap());
        blob(&image.layers[0].0);
    }
    contents.insert("/v2/".into(), ("application/json".into(), b"{}".to_vec()));
    FakeRegistry::start(contents, Box::new(|_, _, honest| honest))
}

/// The manifest paths that were asked for.
fn asked(registry: &FakeRegistry) -> Vec<String> {
    let requests = registry.requests();
    requests.into_iter().map(|request| request.path).filter(|path| path.contains("/manifests/")).collect()
}

fn write(env: &TestEnv, name: &str, text: &str) {
    let path = env.config().join("containers").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn insecure(host: &str) -> String {
    format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n")
}

fn digest_of(env: &TestEnv, name: &str) -> String {
    env.ok(["image", "inspect", "--format", "{{.Digest}}", name])
}

#[test]
fn insecure_allows_plain_http_for_that_registry_only() {
    let env = TestEnv::new("rc-insecure");
    let (one, other) = (registry(&["a"], "1"), registry(&["a"], "1"));
    write(&env, "registries.conf", &insecure(&one.host()));
    env.ok(["pull", "-q", &format!("{}/a:1", one.host())]);
    env.fails(125, ["pull", "-q", "--retry=0", &format!("{}/a:1", other.host())]);
    // The command line has the last word.
    env.fails(125, ["pull", "-q", "--retry=0", "--tls-verify=true", &format!("{}/a:1", one.host())]);
}

#[test]
fn blocked_registries_are_not_asked() {
    let env = TestEnv::new("rc-blocked");
    let one = registry(&["a", "ok/a"], "1");
    let host = one.host();
    let text = format!(
        "{}blocked = true\n[[registry]]\nprefix = \"{host}/ok\"\nlocation = \"{host}/ok\"\ninsecure = true\n",
        insecure(&host)
    );
    write(&env, "registries.conf", &text);
    let error = env.fails(125, ["pull", "-q", &format!("{host}/a:1")]);
    assert!(error.contains(&format!("registry {host} is blocked")), "{error}");
    assert!(one.requests().is_empty(), "{:#?}", one.requests());
    // The longer prefix wins.
    env.ok(["pull", "-q", &format!("{host}/ok/a:1")]);
}

#[test]
fn prefixes_are_rewritten_to_their_locations() {
    let env = TestEnv::new("rc-location");
    let one = registry(&["deep/team/app", "all/team/app", "star/x", "wild/team/app"], "1");
    let host = one.host();
    let table = |prefix: &str, path: &str| {
        format!("[[registry]]\nprefix = \"{prefix}\"\nlocation = \"{host}/{path}\"\ninsecure = true\n")
    };
    let text = [
        table("example.com", "all"),
        table("example.com/deeper", "nowhere"),
        table("example.org/some", "deep"),
        table("*.example.net", "wild"),
        table("x.example.net/star", "star"),
    ];
    write(&env, "registries.conf", &text.concat());
    for (name, path) in [
        ("example.com/team/app:1", "all/team/app"),
        ("example.org/some/team/app:1", "deep/team/app"),
        ("a.b.example.net/team/app:1", "wild/team/app"),
        ("x.example.net/star/x:1", "star/x"),
    ] {
        env.ok(["pull", "-q", name]);
        assert_eq!(asked(&one).pop().unwrap(), format!("/v2/{path}/manifests/1"));
        // The image has the name that the user gave.
        env.ok(["image", "exists", name]);
    }
    // No border of a name, no match: these lead to the network, where there is nobody of that name.
    let before = one.requests().len();
    env.fails(125, ["pull", "-q", "--retry=0", "example.orgs/some/team/app:1"]);
    assert_eq!(one.requests().len(), before);
}

#[test]
fn mirrors_are_asked_first_and_may_fail() {
    let env = TestEnv::new("rc-mirrors");
    let (empty, full, own) = (registry(&[], ""), registry(&["m/app"], "1"), registry(&["app", "only"], "1"));
    let text = format!(
        "{}[[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"{}/m\"\ninsecure = true\n",
        insecure(&own.host()),
        empty.host(),
        full.host(),
    );
    write(&env, "registries.conf", &text);
    let name = format!("{}/app:1", own.host());
    env.ok(["pull", "-q", &name]);
    assert_eq!(asked(&empty).len(), 1, "the first mirror is asked first");
    assert!(asked(&own).is_empty(), "what a mirror has is not fetched from its origin");
    env.ok(["image", "exists", &name]);
    // What no mirror has comes from the registry itself.
    env.ok(["pull", "-q", &format!("{}/only:1", own.host())]);
    assert!(!asked(&own).is_empty());
    // What is written goes to no mirror.
    let before = (empty.requests().len(), full.requests().len());
    let _ = env.run(["push", "-q", "--retry=0", &name]);
    assert_eq!((empty.requests().len(), full.requests().len()), before);
}

#[test]
fn mirrors_may_be_for_digests_or_for_tags() {
    for (setting, by_tag, by_digest) in [
        ("[[registry.mirror]]\npull-from-mirror = \"all\"\n", true, true),
        ("[[registry.mirror]]\npull-from-mirror = \"digest-only\"\n", false, true),
        ("[[registry.mirror]]\npull-from-mirror = \"tag-only\"\n", true, false),
        ("mirror-by-digest-only = true\n[[registry.mirror]]\n", false, true),
    ] {
        let env = TestEnv::new("rc-mirror-use");
        let (mirror, own) = (registry(&["app"], "1"), registry(&["app"], "1"));
        let text =
            format!("{}{setting}location = \"{}\"\ninsecure = true\n", insecure(&own.host()), mirror.host());
        write(&env, "registries.conf", &text);
        let name = format!("{}/app", own.host());
        env.ok(["pull", "-q", &format!("{name}:1")]);
        assert_eq!(!asked(&mirror).is_empty(), by_tag, "{setting}");
        let before = asked(&mirror).len();
        let digest = digest_of(&env, &format!("{name}:1"));
        env.ok(["pull", "-q", &format!("{name}@{digest}")]);
        assert_eq!(asked(&mirror).len() > before, by_digest, "{setting}");
    }
}

#[test]
fn short_names_are_looked_for_in_all_search_registries() {
    let env = TestEnv::new("rc-search");
    let (first, second) = (registry(&["first"], "1"), registry(&["first", "second"], "2"));
    let text = |mode: &str| {
        format!(
            "unqualified-search-registries = [\"{}\", \"{}\"]\nshort-name-mode = \"{mode}\"\n{}{}",
            first.host(),
            second.host(),
            insecure(&first.host()),
            insecure(&second.host())
        )
    };
    write(&env, "registries.conf", &text("permissive"));
    env.ok(["pull", "-q", "first:1"]);
    env.ok(["image", "exists", &format!("{}/first:1", first.host())]);
    assert!(asked(&second).is_empty());
    env.ok(["pull", "-q", "second:1"]);
    env.ok(["image", "exists", &format!("{}/second:1", second.host())]);
    let error = env.fails(125, ["pull", "-q", "third:1"]);
    assert!(error.contains(&first.host()) && error.contains(&second.host()), "{error}");
    write(&env, "registries.conf", &text("enforcing"));
    let error = env.fails(125, ["pull", "-q", "--policy=always", "third:1"]);
    assert!(error.contains("short-name"), "{error}");
}

#[test]
fn aliases_come_before_search_registries_and_later_files_before_earlier_ones() {
    let mut env = TestEnv::new("rc-alias");
    let (one, two) = (registry(&["real/app", "other/app"], "1"), registry(&["app"], "2"));
    let (host, other) = (one.host(), two.host());
    let conf = format!(
        "unqualified-search-registries = [\"{other}\"]\n{}{}[aliases]\napp = \"{host}/real/app\"\n",
        insecure(&host),
        insecure(&other)
    );
    write(&env, "registries.conf", &conf);
    env.ok(["pull", "-q", "app:1"]);
    env.ok(["image", "exists", &format!("{host}/real/app:1")]);
    assert!(two.requests().is_empty());
    // A drop-in changes it, a later one takes it back, and what was learned stands above all.
    write(&env, "registries.conf.d/10.conf", &format!("[aliases]\napp = \"{host}/other/app\"\n"));
    env.ok(["pull", "-q", "app:1"]);
    env.ok(["image", "exists", &format!("{host}/other/app:1")]);
    write(&env, "registries.conf.d/20.conf", "[aliases]\napp = \"\"\n");
    write(&env, "registries.conf.d/30.ignored", "not read");
    env.ok(["pull", "-q", "app:1"]);
    env.ok(["image", "exists", &format!("{other}/app:1")]);
    let cache = env.work().join("cache");
    fs::create_dir_all(cache.join("containers")).unwrap();
    let learned = format!("[aliases]\n\"app\" = \"{host}/real/app\"\n");
    fs::write(cache.join("containers/short-name-aliases.conf"), learned).unwrap();
    env.set("XDG_CACHE_HOME", cache.to_str().unwrap());
    let before = two.requests().len();
    env.ok(["pull", "-q", "app:1"]);
    assert_eq!(two.requests().len(), before);
}

#[test]
fn a_named_file_replaces_the_usual_ones_but_not_their_drop_ins() {
    let mut env = TestEnv::new("rc-named");
    let one = registry(&["real/app"], "1");
    write(&env, "registries.conf", "nonsense");
    write(&env, "registries.conf.d/10.conf", &format!("[aliases]\nrbox-app = \"{}/real/app\"\n", one.host()));
    let named = env.work().join("named.conf");
    fs::write(&named, insecure(&one.host())).unwrap();
    let error = env.fails(125, ["pull", "-q", "rbox-app:1"]);
    assert!(error.contains("containers/registries.conf"), "{error}");
    for variable in ["REGISTRIES_CONFIG_PATH", "CONTAINERS_REGISTRIES_CONF"] {
        env.set(variable, named.to_str().unwrap());
        env.ok(["pull", "-q", "rbox-app:1"]);
    }
    env.set("CONTAINERS_REGISTRIES_CONF", "/nosuch.conf");
    assert!(env.fails(125, ["pull", "-q", "rbox-app:1"]).contains("/nosuch.conf"));
}

#[test]
fn wrong_files_are_one_clear_error() {
    let env = TestEnv::new("rc-wrong");
    for (text, word) in [
        ("[registries.search]\nregistries = [\"a\"]\n", "v1"),
        ("[[registry]]\nprefix = \"a.io\"\n", "location is unset"),
        ("[[registry]]\nlocation = \"https://a.io\"\n", "URI schemes"),
        ("[[registry]]\nlocation = \"a.io\"\npull-from-mirror = \"all\"\n", "non-mirror"),
        ("short-name-mode = \"maybe\"\n", "maybe"),
        ("unqualified-search-registries = \"a.io\"\n", "sequence"),
    ] {
        write(&env, "registries.conf", text);
        let error = env.fails(125, ["pull", "-q", "rbox-app:1"]);
        assert!(error.contains("registries.conf") && error.contains(word), "{text}: {error}");
        assert!(!error.contains("panicked"), "{error}");
    }
}

#[test]
fn a_newer_image_is_looked_for_without_a_word() {
    let env = TestEnv::new("rc-newer");
    let one = registry(&["app"], "1");
    write(&env, "registries.conf", &insecure(&one.host()));
    let name = format!("{}/app:1", one.host());
    let id = env.ok(["pull", "-q", &name]);
    let outcome = env.run(["pull", "--policy=newer", &name]);
    assert_eq!((outcome.code, outcome.stdout.trim(), outcome.stderr.as_str()), (0, id.as_str(), ""));
}
