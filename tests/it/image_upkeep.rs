//! `image prune`, `image tree`, `image trust`, and what policy.json says about images.

use std::fs;

use serde_json::{Value, json};

use super::support::TestEnv;
use super::support::image::{busybox_archive, busybox_config, busybox_entries, file, layer};
use super::support::registry::Registry;

fn exists(env: &TestEnv, image: &str) -> bool {
    env.run(["image", "exists", image]).code == 0
}

#[test]
fn prune_removes_what_nobody_uses() {
    let env = TestEnv::new("imageprune");
    let used = env.busybox();
    env.ok(["create", "--name=c", "--network=none", used, "true"]);
    let mut old = busybox_config();
    old["Labels"] = json!({"keep": "no"});
    env.load_image("localhost/old:1", &[file("old", "1")], &old);
    let dangling = env.ok(["image", "inspect", "--format={{.Id}}", "localhost/old:1"]);
    env.load_image("localhost/old:1", &[file("old", "2")], &busybox_config());
    assert!(env.fails(125, ["image", "prune", "-f", "--filter=bogus=1"]).contains("invalid image filter"));
    assert!(!env.fails(125, ["image", "prune", "-f", "--filter=until=whenever"]).is_empty());
    // Without a yes nothing happens.
    assert!(env.fails(125, ["image", "prune"]).contains("EOF"));
    let asked = env.run_with_input(["image", "prune"], b"no\n");
    assert!(asked.code == 0 && asked.stdout.contains("WARNING"), "{asked:#?}");
    assert!(exists(&env, &dangling));
    assert_eq!(env.ok(["image", "prune", "-f", "--filter=label=keep=yes"]), "");
    assert_eq!(env.ok(["image", "prune", "-f", "--filter=until=2001-01-01"]), "");
    assert_eq!(env.ok(["image", "prune", "-f", "--filter=label=keep=no"]), dangling);
    assert!(exists(&env, "localhost/old:1"));
    let removed = env.ok(["image", "prune", "-a", "-f"]);
    assert_eq!(removed.lines().count(), 1);
    assert!(exists(&env, used) && !exists(&env, "localhost/old:1"));
    env.ok(["rm", "c"]);
    env.ok(["image", "prune", "-a", "-f"]);
    assert_eq!(env.ok(["images", "-q"]), "");
    // Nothing of theirs is left in the store.
    for folder in ["layers", "blobs/sha256"] {
        let left = std::fs::read_dir(env.data().join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder}");
    }
}

#[test]
fn trees_show_layers_and_what_builds_on_them() {
    let env = TestEnv::new("imagetree");
    let base = layer(&busybox_entries());
    env.load_layers("localhost/base:1", std::slice::from_ref(&base), &busybox_config());
    env.load_layers("localhost/top:1", &[base, layer(&[file("top", "x")])], &busybox_config());
    let tree = env.ok(["image", "tree", "localhost/top:1"]);
    let lines: Vec<&str> = tree.lines().collect();
    assert!(lines[0].starts_with("Image ID: ") && lines[1] == "Tags:     [localhost/top:1]", "{tree}");
    assert!(lines[3] == "Image Layers" && lines[4].starts_with("├── ID: "), "{tree}");
    assert!(lines[4].ends_with("Top Layer of: [localhost/base:1]"), "{tree}");
    assert!(
        lines[5].starts_with("└── ID: ") && lines[5].ends_with("Top Layer of: [localhost/top:1]"),
        "{tree}"
    );
    let tree = env.ok(["image", "tree", "--whatrequires", "localhost/base:1"]);
    assert!(tree.lines().last().unwrap().ends_with("Top Layer of: [localhost/top:1]"), "{tree}");
    env.fails(125, ["image", "tree", "nosuch"]);
}

#[test]
fn policies_are_set_shown_and_obeyed() {
    let env = TestEnv::new("trust");
    let dir = env.work().join("registry");
    std::fs::create_dir_all(&dir).unwrap();
    let registry = Registry::open(&dir);
    let archive = busybox_archive(&env.work(), "localhost/busybox:1");
    registry.push_archive(&archive, "good/busybox:1");
    registry.push_archive(&archive, "bad/busybox:1");
    assert!(
        env.fails(125, ["image", "trust", "set", "--type=bogus", "default"])
            .contains("invalid choice: bogus")
    );
    env.ok(["image", "trust", "set", "--type=reject", "default"]);
    let good = format!("{}/good", registry.host());
    env.ok(["image", "trust", "set", "-t", "accept", &good]);
    let shown = env.ok(["image", "trust", "show"]);
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("all ") && line.contains("default") && line.contains("reject")),
        "{shown}"
    );
    let list: Value = serde_json::from_str(&env.ok(["image", "trust", "show", "--json"])).unwrap();
    assert_eq!((&list[1]["repo_name"], &list[1]["type"]), (&json!(good), &json!("accept")));
    let file = env.config().join("containers/policy.json");
    let raw: Value = serde_json::from_str(&env.ok(["image", "trust", "show", "--raw"])).unwrap();
    assert_eq!(raw, serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()).unwrap());
    let pull =
        |path: &str| env.run(["pull", "-q", "--tls-verify=false", &format!("{}/{path}", registry.host())]);
    assert_eq!(pull("good/busybox:1").code, 0);
    let refused = pull("bad/busybox:1");
    assert!(refused.code == 125 && refused.stderr.contains("rejected by policy"), "{refused:#?}");
    let asked = |line: &String| line.contains("/v2/bad/busybox/blobs/") && line.starts_with("GET");
    assert!(!registry.requests().iter().any(asked), "{:#?}", registry.requests());
    let archive = busybox_archive(&env.work(), "localhost/other:1");
    let refused = env.fails(125, ["load", "-q", "-i", archive.to_str().unwrap()]);
    assert!(refused.contains("rejected by policy"), "{refused}");
    // What is here runs; keys that there are none of prove nothing.
    env.ok(["run", "--rm", "--network=none", &format!("{}/good/busybox:1", registry.host()), "true"]);
    let key = env.work().join("key.gpg");
    std::fs::write(&key, "").unwrap();
    env.ok(["image", "trust", "set", "-f", key.to_str().unwrap(), &format!("{}/bad", registry.host())]);
    let unchecked = pull("bad/busybox:1");
    assert!(unchecked.code == 125 && unchecked.stderr.contains("No public keys imported"), "{unchecked:#?}");
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(pull("good/busybox:1").code, 125, "a policy that cannot be read refuses everything");
    assert!(env.leaks().is_empty());
}

#[test]
fn s62_the_image_that_loses_a_name_is_told() {
    let env = TestEnv::new("moved");
    let dir = env.work().join("registry");
    fs::create_dir_all(&dir).unwrap();
    let registry = Registry::open(&dir);
    let served = format!("{}/team/one:1", registry.host());
    env.load_image("localhost/one:1", &[file("a", "1")], &json!({}));
    env.load_image("localhost/two:1", &[file("a", "2")], &json!({}));
    let id = |name: &str| env.ok(["image", "inspect", "--format={{.Id}}", name])[..12].to_owned();
    let (one, two) = (id("localhost/one:1"), id("localhost/two:1"));
    let archive = env.work().join("one.tar");
    let archive = archive.to_str().unwrap();
    env.ok(["save", "-q", "-o", archive, "localhost/one:1"]);
    let said = |words: &[&str]| {
        let outcome = env.run(words);
        assert_eq!(outcome.code, 0, "{outcome:#?}");
        outcome.stderr.lines().filter(|line| line.contains(" before")).collect::<Vec<_>>().join("\n")
    };
    let moved = |name: &str, id: &str| format!("{name} named image {id} before");
    let to_one = ["tag", "localhost/two:1", "localhost/one:1"];
    assert_eq!(said(&to_one), "", "who moves a name by hand knows");
    assert_eq!(said(&["load", "-i", archive]), moved("localhost/one:1", &two));
    env.ok(to_one);
    assert_eq!(said(&["load", "-q", "-i", archive]), "");
    assert_eq!(id("localhost/one:1"), one, "it was given the name all the same");

    env.ok(["push", "-q", "--tls-verify=false", "localhost/one:1", &served]);
    env.ok(["tag", "localhost/two:1", &served]);
    assert_eq!(said(&["pull", "--tls-verify=false", &served]), moved(&served, &two));
    env.ok(["tag", "localhost/two:1", &served]);
    assert_eq!(said(&["pull", "-q", "--tls-verify=false", &served]), "");

    env.ok(["create", "--name=c", "localhost/two:1", "sh"]);
    assert_eq!(
        said(&["commit", "c", "localhost/two:1"]),
        moved("localhost/two:1", &two) + ", which has no name now"
    );
    let three = id("localhost/two:1");
    fs::write(archive, layer(&[file("b", "3")])).unwrap();
    assert_eq!(
        said(&["import", archive, "localhost/two:1"]),
        moved("localhost/two:1", &three) + ", which has no name now"
    );
    assert_eq!(said(&["import", "-q", archive, "localhost/one:1"]), "");
    env.ok(["rm", "c"]);
}
