//! `--mount type=artifact`: which files are where, and that no container can change one.

use std::fs;

use serde_json::{Value, json};

use super::support::TestEnv;
use super::support::image::sha256;

const ONE: &str = "localhost/one";
const TWO: &str = "localhost/two";

fn put(env: &TestEnv, name: &str, content: &str) -> String {
    let path = env.work().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// An image, an artifact of one file and one of two.
fn prepare(name: &str) -> (TestEnv, &'static str) {
    let env = TestEnv::new(name);
    let image = env.busybox();
    let (first, second) = (put(&env, "first", "first\n"), put(&env, "second", "second\n"));
    env.ok(["artifact", "add", ONE, &first]);
    env.ok(["artifact", "add", TWO, &first, &second]);
    (env, image)
}

fn blob(env: &TestEnv, content: &str) -> std::path::PathBuf {
    env.data().join("artifacts/blobs/sha256").join(sha256(content.as_bytes()))
}

#[test]
fn files_are_where_podman_puts_them() {
    let (env, image) = prepare("artifact-mount");
    let digest = sha256(b"second\n");
    let by_digest = format!("src={TWO},dst=/tmp,digest=sha256:{digest}");
    let at_digest = format!("/tmp/sha256-{digest}");
    for (options, file, content) in [
        // One file goes onto what is no directory, be it there or not, and else below.
        (format!("src={ONE},dst=/new"), "/new", "first"),
        (format!("src={ONE},dst=/new/deeper/file"), "/new/deeper/file", "first"),
        (format!("src={ONE},dst=/etc/passwd"), "/etc/passwd", "first"),
        (format!("src={ONE},dst=/tmp"), "/tmp/first", "first"),
        (format!("src={ONE},dst=/tmp,name=n"), "/tmp/n", "first"),
        (format!("src={ONE},dst=/new,name=n"), "/new", "first"),
        (format!("src={TWO},dst=/new,title=second"), "/new", "second"),
        (format!("src={TWO},dst=/tmp,title=second"), "/tmp/second", "second"),
        (by_digest, &at_digest, "second"),
        // Several always go below.
        (format!("src={TWO},dst=/new"), "/new/second", "second"),
        (format!("src={TWO},dst=/tmp"), "/tmp/first", "first"),
        (format!("src={TWO},dst=/new,name=n"), "/new/n-1", "second"),
    ] {
        let mount = format!("--mount=type=artifact,{options}");
        // Also for who is not the owner of the file.
        let shown = env.ok(["run", "--rm", "--network=none", "--user=77:88", &mount, image, "cat", file]);
        assert_eq!(shown, content, "{options}");
    }
    let volume = ["run", "--rm", "--network=none", "--tmpfs=/vol", "--mount"];
    let below = format!("type=artifact,src={ONE},dst=/vol/model");
    let shown = env.ok(volume.iter().copied().chain([&*below, image, "cat", "/vol/model"]));
    assert_eq!(shown, "first", "what lies below is mounted later");
}

#[test]
fn what_cannot_be_mounted_leaves_nothing() {
    let (env, image) = prepare("artifact-refused");
    for (code, options, words) in [
        (125, "src=localhost/none,dst=/new".to_owned(), "localhost/none: artifact does not exist"),
        (125, format!("src={TWO},dst=/new,title=third"), "no blob with the title \"third\""),
        (125, format!("src={TWO},dst=/new,digest=sha256:77"), "no blob with the digest"),
        (125, format!("src={TWO},dst=/new,digest=x,title=y"), "cannot specify both digest and title"),
        (125, format!("src={ONE},dst=/new,rw=true"), "rw: invalid mount option"),
        (125, format!("src={ONE},dst=/proc/x"), "must be mounted on ordinary directory"),
        (126, format!("src={TWO},dst=/etc/passwd"), "more than one blob"),
    ] {
        let mount = format!("--mount=type=artifact,{options}");
        let said = env.fails(code, ["run", "--rm", "--network=none", &mount, image, "true"]);
        assert!(said.contains(words), "{options}: {said}");
    }
    let mount = format!("--mount=type=artifact,src={ONE},dst=/x");
    let said = env.fails(125, ["create", &mount, "--volume=/tmp:/x", image, "true"]);
    assert!(said.contains("/x: duplicate mount destination"), "{said}");
    fs::remove_file(blob(&env, "first\n")).unwrap();
    env.fails(125, ["create", &mount, image, "true"]);
    fs::write(blob(&env, "first\n"), "short").unwrap();
    let said = env.fails(125, ["create", &mount, image, "true"]);
    assert!(said.contains("system check --repair"), "{said}");
    assert_eq!(env.ok(["ps", "-aq"]), "");
    assert_eq!(fs::read_dir(env.data().join("containers")).unwrap().count(), 0);
}

#[test]
fn no_container_can_write_to_the_store() {
    let (env, image) = prepare("artifact-write");
    let artifact = format!("--mount=type=artifact,src={ONE},dst=/file");
    let of_image = format!("--mount=type=image,src={image},dst=/image");
    // It may mount as it likes, as root of its own namespace.
    let script = "for id in 0 1; do
          mount -o remount,bind,rw /file; mount -o remount,rw /file; chmod 777 /file; echo bad > /file
          mount -o remount,bind,rw /image; mount -o remount,rw /image; touch /image/bad; rm -r /image/bin
          touch /tmp/again; mount --bind /file /tmp/again; mount -o remount,bind,rw /tmp/again; echo bad >> /tmp/again
        done; cat /file; ls -d /image/bin; grep -c 'HOST' /proc/self/mountinfo; exit 0";
    let script = script.replace("HOST", &format!(" /file .*{}", env.work().display()));
    for userns in ["host", "keep-id", "auto"] {
        let mode = format!("--userns={userns}");
        let shown = env.ok([
            "run",
            "--rm",
            "--network=none",
            "--privileged",
            &mode,
            &artifact,
            &of_image,
            image,
            "sh",
            "-c",
            &script,
        ]);
        // mountinfo says nothing of where the store lies.
        assert_eq!(shown, "first\n/image/bin\n0", "{userns}");
    }
    assert_eq!(fs::read_to_string(blob(&env, "first\n")).unwrap(), "first\n");
    assert_eq!(env.ok(["run", "--rm", "--network=none", image, "ls", "-d", "/bin"]), "/bin");
    assert_eq!(env.ok(["system", "check"]), "");
}

#[test]
fn an_artifact_that_is_gone_stays_where_it_is_mounted() {
    let (env, image) = prepare("artifact-gone");
    let mount = format!("--mount=type=artifact,src={ONE},dst=/tmp");
    let run = ["run", "-d", "--network=none", "--name=c", "--stop-timeout=0", &mount, image, "sleep", "100"];
    env.ok(run);
    let inspection: Value = serde_json::from_str(&env.ok(["inspect", "c"])).unwrap();
    let shown = &inspection[0]["Mounts"][0];
    assert_eq!(
        (&shown["Type"], &shown["Source"], &shown["Destination"], &shown["RW"]),
        (&json!("artifact"), &json!(ONE), &json!("/tmp"), &json!(false))
    );
    env.ok(["artifact", "rm", "--all"]);
    assert!(!blob(&env, "first\n").exists());
    assert_eq!(env.ok(["exec", "c", "cat", "/tmp/first"]), "first");
    let said = env.fails(125, ["restart", "-t0", "c"]);
    assert!(said.contains(&format!("{ONE}: artifact does not exist")), "{said}");
    // The next start shows what has that name by then.
    let (other, third) = (put(&env, "first", "other\n"), put(&env, "third", "third\n"));
    env.ok(["artifact", "add", ONE, &other, &third]);
    env.ok(["start", "c"]);
    assert_eq!(env.ok(["exec", "c", "cat", "/tmp/first", "/tmp/third"]), "other\nthird");
    env.ok(["rm", "-f", "c"]);
}
