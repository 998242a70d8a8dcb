//! The main job: an image from an archive, a container, its output and its exit code.

use super::support::{TestEnv, image};

#[test]
fn version_is_printed() {
    let env = TestEnv::new("version");
    assert!(env.ok(["--version"]).starts_with("rbox version "));
}

#[test]
fn a_loaded_image_runs_and_leaves_nothing() {
    let env = TestEnv::new("run");
    let archive = image::busybox_archive(&env.work(), "localhost/busybox:latest");
    env.ok(["load", "-q", "-i", archive.to_str().unwrap()]);
    assert_eq!(env.ok(["run", "--rm", "--network=none", "localhost/busybox", "echo", "hello"]), "hello");
    assert_eq!(env.run(["run", "--rm", "--network=none", "localhost/busybox", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(env.ok(["ps", "-aq"]), "");
}
