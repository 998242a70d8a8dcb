//! `commit`, `diff` and `export`.

use std::io::Read as _;

use serde_json::Value;

use super::support::TestEnv;

const IMAGE: &str = "localhost/busybox";

#[track_caller]
fn ok(env: &TestEnv, args: &[&str]) -> String {
    let outcome = env.run(args);
    assert_eq!(outcome.code, 0, "{args:?}: {outcome:#?}");
    outcome.stdout.trim_end().to_owned()
}

#[track_caller]
fn fails(env: &TestEnv, args: &[&str], message: &str) {
    let outcome = env.run(args);
    assert_eq!(outcome.code, 125, "{args:?}: {outcome:#?}");
    assert!(outcome.stderr.contains(message), "{args:?}: {outcome:#?}");
}

/// A container that changed much; it is named `c`.
fn changed(name: &str, options: &[&str]) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    // A base that has something to remove and to replace.
    ok(
        &env,
        &[
            "run",
            "--name=base",
            "--network=none",
            IMAGE,
            "sh",
            "-c",
            "mkdir -p /old/dir /swap; echo a > /old/dir/f; echo b > /old/gone; echo c > /swap/x",
        ],
    );
    ok(&env, &["commit", "-q", "base", "localhost/base"]);
    let mut args = vec!["run", "--name=c", "--network=none"];
    args.extend(options);
    args.extend(["localhost/base", "sh", "-c",
        "rm /old/gone; rm -r /swap; mkdir /swap; echo n > /swap/y; echo new > /new; ln /new /hard; ln -s new /soft; \
         mkfifo /pipe; chown 3:4 /soft -h; echo o > /owned; chown 5:6 /owned; chmod 4750 /owned"]);
    ok(&env, &args);
    env
}

const LOOK: &str = "cat /new; ls /swap; test -e /old/gone || echo gone; cat /old/dir/f; stat -c %h /hard; \
                    readlink /soft; test -p /pipe && echo pipe; stat -c '%u:%g %a' /owned; stat -c %u:%g /soft";
const SEEN: &str = "new\ny\ngone\na\n2\nnew\npipe\n5:6 4750\n3:4";

#[test]
fn an_image_of_a_container_holds_what_it_changed() {
    let env = changed("commit", &[]);
    for (tag, option) in [("plain", "--pause"), ("squashed", "--squash"), ("docker", "--format=docker")] {
        let name = format!("localhost/{tag}");
        let id = ok(&env, &["commit", "-q", option, "c", &name]);
        assert_eq!(id.len(), 64);
        assert_eq!(ok(&env, &["run", "--rm", "--network=none", &name, "sh", "-c", LOOK]), SEEN, "{tag}");
        // It is as good as one that was pulled.
        let archive = env.work().join("saved.tar");
        let archive = archive.to_str().unwrap();
        ok(&env, &["save", "-q", "-o", archive, &name]);
        ok(&env, &["rmi", &name]);
        ok(&env, &["load", "-q", "-i", archive]);
        assert_eq!(ok(&env, &["image", "inspect", "-f", "{{.Id}}", &name]), id, "{tag}");
        assert_eq!(ok(&env, &["run", "--rm", "--network=none", &name, "sh", "-c", LOOK]), SEEN, "{tag}");
        // Each blob is told of once, though all of them are here already.
        let told = env.run(["load", "-i", archive]).stderr;
        let blobs: Vec<&str> = told.lines().filter(|line| line.starts_with("Copying blob")).collect();
        let distinct: std::collections::HashSet<_> = blobs.iter().collect();
        assert!(!blobs.is_empty() && blobs.len() == distinct.len(), "{told}");
        std::fs::remove_file(archive).unwrap();
    }
    let layers = |name: &str| ok(&env, &["image", "inspect", "-f", "{{len .RootFS.Layers}}", name]);
    assert_eq!((layers("localhost/plain").as_str(), layers("localhost/squashed").as_str()), ("3", "1"));
    let told = env.run(["commit", "c", "told"]).stderr;
    for line in
        ["Getting image source signatures", "Copying blob sha256:", "Copying config ", "Writing manifest"]
    {
        assert!(told.contains(line), "{told}");
    }
    assert_eq!(env.run(["commit", "-q", "c", "told"]).stderr, "");
    ok(&env, &["rm", "-a"]);
}

#[test]
fn owners_are_those_that_the_container_sees() {
    let env = changed("commitauto", &["--userns=auto"]);
    ok(&env, &["commit", "-q", "c", "localhost/auto"]);
    assert_eq!(ok(&env, &["run", "--rm", "--network=none", "localhost/auto", "sh", "-c", LOOK]), SEEN);
    ok(&env, &["rm", "-a"]);
}

#[test]
fn the_config_is_that_of_the_container_and_its_changes() {
    let env = TestEnv::new("commitconfig");
    env.busybox();
    ok(
        &env,
        &[
            "create",
            "--name=c",
            "--network=none",
            "-e",
            "A=b",
            "-w",
            "/tmp",
            "-u",
            "7",
            "-l",
            "l=m",
            "--expose=80",
            "-v",
            "/anonymous",
            "-v",
            "named:/named",
            IMAGE,
            "sleep",
            "5",
        ],
    );
    let iid = env.work().join("iid");
    let file = iid.to_str().unwrap();
    fails(
        &env,
        &["commit", "-q", "-m", "text", "c"],
        "messages are only compatible with the docker image format",
    );
    let id = ok(&env, &["commit", "-q", "-f", "docker", "-a", "me", "-m", "text", "--iidfile", file, "c"]);
    assert_eq!(std::fs::read_to_string(iid).unwrap(), id);
    let inspected: Value = serde_json::from_str(&ok(&env, &["image", "inspect", &id])).unwrap();
    let (image, config) = (&inspected[0], &inspected[0]["Config"]);
    assert_eq!(image["Author"], "me");
    assert_eq!(config["Cmd"], serde_json::json!(["sleep", "5"]));
    assert!(config["Env"].as_array().unwrap().contains(&"A=b".into()), "{config:#}");
    assert_eq!((&config["User"], &config["WorkingDir"]), (&"7".into(), &"/tmp".into()));
    assert_eq!(config["Labels"]["l"], "m");
    assert_eq!(config["Volumes"], serde_json::json!({ "/anonymous": {} }));
    assert_eq!(config["ExposedPorts"], serde_json::json!({ "80/tcp": {} }));
    assert!(ok(&env, &["history", "--format", "{{.Comment}}", &id]).starts_with("text"));
    let id =
        ok(&env, &["commit", "-q", "--include-volumes", "-c", "CMD [\"/bin/true\"]", "-c", "ENV=X=y", "c"]);
    let inspected: Value = serde_json::from_str(&ok(&env, &["image", "inspect", &id])).unwrap();
    assert_eq!(inspected[0]["Config"]["Cmd"], serde_json::json!(["/bin/true"]));
    assert_eq!(inspected[0]["Config"]["Volumes"].as_object().unwrap().len(), 2);
    fails(&env, &["commit", "-c", "RUN x", "c"], "invalid change");
    fails(&env, &["commit", "-f", "x", "c"], "unrecognized image format");
    fails(&env, &["commit", "c", "UPPER"], "");
    fails(&env, &["commit", "none"], "no container with name or ID \"none\" found");
    ok(&env, &["rm", "-a", "-v"]);
}

#[test]
fn diff_lists_changes_and_nothing_of_the_engine() {
    let env = changed("diff", &["-v", "/volume"]);
    let text = ok(&env, &["diff", "c"]);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.retain(|line| !matches!(*line, "C /etc" | "C /"));
    assert_eq!(
        lines,
        [
            "A /hard",
            "A /new",
            "C /old",
            "D /old/gone",
            "A /owned",
            "A /pipe",
            "A /soft",
            "C /swap",
            "D /swap/x",
            "A /swap/y"
        ]
    );
    let json: Value =
        serde_json::from_str(&ok(&env, &["container", "diff", "--format", "json", "-l"])).unwrap();
    assert_eq!(json["deleted"], serde_json::json!(["/old/gone", "/swap/x"]));
    assert!(ok(&env, &["image", "diff", "localhost/base"]).contains("A /old/dir/f"));
    fails(&env, &["diff", "none"], "none not found");
    fails(&env, &["diff", "--format", "x", "c"], "only supported value for '--format' is 'json'");
    ok(&env, &["rm", "-a", "-v"]);
}

#[test]
fn export_writes_the_root_of_any_container() {
    let env = changed("export", &[]);
    let tar = env.command(["export", "c"]).output().unwrap().stdout;
    let path = env.work().join("out.tar");
    ok(&env, &["export", "-o", path.to_str().unwrap(), "c"]);
    assert!(std::fs::read(&path).unwrap() == tar);
    let mut archive = tar::Archive::new(tar.as_slice());
    let (mut names, mut content) = (Vec::new(), String::new());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        if name == "hard" {
            entry.read_to_string(&mut content).unwrap();
        }
        names.push(name);
    }
    assert_eq!(content, "new\n");
    assert!(names.contains(&"swap/y".to_owned()) && !names.contains(&"swap/x".to_owned()), "{names:?}");
    fails(&env, &["export", "none"], "no container with name or ID \"none\" found");
    // One that runs is read without being disturbed.
    ok(&env, &["run", "-d", "--name=live", "--network=none", IMAGE, "sleep", "1000"]);
    ok(&env, &["exec", "live", "sh", "-c", "echo 1 > /live"]);
    let tar = env.command(["export", "live"]).output().unwrap().stdout;
    let mut archive = tar::Archive::new(tar.as_slice());
    assert!(archive.entries().unwrap().any(|entry| entry.unwrap().path().unwrap().ends_with("live")));
    ok(&env, &["exec", "live", "sh", "-c", "echo 2 > /live; cat /live"]);
    ok(&env, &["rm", "-fa", "-t0"]);
}

#[test]
fn import_makes_an_image_of_an_archive() {
    let env = changed("import", &[]);
    let tar = env.work().join("c.tar");
    let tar = tar.to_str().unwrap();
    ok(&env, &["export", "-o", tar, "c"]);
    let id =
        ok(&env, &["import", "-q", "-c", "CMD [\"cat\", \"/new\"]", "-m", "text", tar, "localhost/imported"]);
    assert_eq!(id.len(), "sha256:".len() + 64);
    assert_eq!(ok(&env, &["run", "--rm", "--network=none", "localhost/imported"]), "new");
    assert_eq!(ok(&env, &["run", "--rm", "--network=none", "localhost/imported", "sh", "-c", LOOK]), SEEN);
    assert!(ok(&env, &["history", "--format", "{{.Comment}}", "localhost/imported"]).contains("text"));
    let archive = std::fs::read(tar).unwrap();
    let outcome = env.run_with_input(["import", "-"], &archive[..archive.len() / 2]);
    assert_eq!(outcome.code, 125, "{outcome:#?}");
    fails(&env, &["import", "http://127.0.0.1:1/x.tar"], "connection refused");
    fails(&env, &["import", "/no/such"], "no such file or directory");
    fails(&env, &["import", "-c", "RUN x", tar], "invalid change");
    ok(&env, &["rm", "-a"]);
}

#[test]
fn roots_are_mounted_for_one_session() {
    let env = changed("mount", &[]);
    fails(
        &env,
        &["mount", "c"],
        "cannot run command \"podman mount\" in rootless mode, must execute `podman unshare` first",
    );
    let rbox = std::env::var("RBOX_TEST_BIN").unwrap();
    let script = "set -e; at=$($0 mount c); cat $at/new; echo w > $at/written; $0 mount | grep -q $at; \
                  $0 unmount c > /dev/null; test ! -e $at/new; $0 mount";
    assert_eq!(ok(&env, &["unshare", "sh", "-c", script, &rbox]), "new");
    ok(&env, &["cp", "c:/written", "back"]);
    fails(&env, &["unshare", &rbox, "unmount", "c"], "is not mounted");
    // Nothing is left that would keep it from being removed.
    ok(&env, &["rm", "-a"]);
}
