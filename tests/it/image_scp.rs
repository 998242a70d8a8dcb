//! `image scp`, with a program in place of ssh that runs what it is told as another user would have it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::support::TestEnv;
use super::support::env::rbox_binary;

/// Puts an `ssh` into the environment's PATH that leads to `other`.
fn ssh(env: &mut TestEnv, other: &TestEnv) {
    let bin = env.work().join("bin");
    fs::create_dir_all(&bin).unwrap();
    symlink(rbox_binary(), bin.join("rbox")).unwrap();
    let data = other.data().parent().unwrap().display().to_string();
    let run = other.run_dir().parent().unwrap().display().to_string();
    let text = format!(
        "#!/bin/sh\necho \"$@\" >> {}/asked\nwhile [ \"$1\" != -- ]; do shift; done\n[ \"$2\" = me@machine ] || \
         {{ echo 'no route to host' >&2; exit 255; }}\nXDG_DATA_HOME={data} XDG_RUNTIME_DIR={run} exec sh -c \"$3\"\n",
        bin.display()
    );
    fs::write(bin.join("ssh"), text).unwrap();
    fs::set_permissions(bin.join("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    env.set("PATH", path);
}

#[test]
fn images_are_copied_to_and_from_other_machines() {
    let (mut env, other) = (TestEnv::new("scp"), TestEnv::new("scp-other"));
    ssh(&mut env, &other);
    let image = env.busybox();
    let id = env.ok(["images", "-q", "--no-trunc"]);
    env.ok(["image", "scp", "-q", image, "me@machine:2222::"]);
    assert_eq!(other.ok(["images", "-q", "--no-trunc"]), id);
    let asked = fs::read_to_string(env.work().join("bin/asked")).unwrap();
    assert!(asked.starts_with("-p 2222 -- me@machine if command -v rbox"), "{asked}");
    env.ok(["image", "scp", "-q", image, "me@machine::renamed:2"]);
    other.ok(["image", "exists", "localhost/renamed:2"]);
    env.ok(["rmi", "-a", "-f"]);
    env.ok(["image", "scp", "-q", "me@machine::localhost/renamed:2"]);
    env.ok(["image", "exists", "localhost/renamed:2"]);
    env.ok(["image", "scp", "-q", "me@machine::localhost/renamed:2", "here:3"]);
    assert_eq!(env.ok(["run", "--rm", "--network=none", "here:3", "echo", "copied"]), "copied");
    for (args, why) in [
        (vec!["nosuch", "me@machine::"], "nosuch"),
        (vec!["me@machine::nosuch"], "me@machine failed"),
        (vec!["here:3", "you@elsewhere::"], "no route to host"),
        (vec!["here:3", "there:3"], "neither side is another machine"),
        (vec!["here:3", "you@localhost::"], "another user"),
        (vec!["here:3", "-oProxyCommand=touch x::"], "unknown"),
        (vec!["--", "-oProxyCommand=x::here:3"], "no image of another machine"),
        (vec!["me@machine::a;touch x"], "no name of an image"),
    ] {
        let mut whole = vec!["image", "scp"];
        whole.extend(args);
        let error = env.fails(125, &whole);
        assert!(error.contains(why), "{whole:?}: {error}");
    }
    let left = fs::read_dir(env.work())
        .unwrap()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("rbox-scp"));
    assert_eq!(left.count(), 0);
}
