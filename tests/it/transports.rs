//! Images in files and folders, written and read by rbox and by skopeo, umoci and buildah; podman's store.

use std::path::Path;

use serde_json::Value;

use super::support::TestEnv;
use super::support::env::tool;
use super::support::image::{OciImage, TAR_GZIP, busybox_config, busybox_entries, file, gzip, layer};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// An image of two plain layers.
fn load(env: &TestEnv) -> &'static str {
    let layers = [layer(&busybox_entries()), layer(&[file("etc/second", "two\n")])];
    env.load_layers("localhost/two:latest", &layers, &busybox_config());
    "localhost/two:latest"
}

fn id(env: &TestEnv, name: &str) -> String {
    env.ok(["image", "inspect", "--format", "{{.Id}}", name])
}

#[test]
fn every_transport_is_written_and_read() {
    let env = TestEnv::new("transports");
    let image = load(&env);
    let expected = id(&env, image);
    let work = env.work();
    for target in [
        format!("oci:{}/layout:v1", work.display()),
        format!("oci-archive:{}/oci.tar:v1", work.display()),
        format!("docker-archive:{}/docker.tar:localhost/back:1", work.display()),
        format!("dir:{}/dir", work.display()),
    ] {
        assert_eq!(env.ok(["push", "-q", image, &target]), "");
        // skopeo reads it and finds the same config.
        let config: Value =
            serde_json::from_str(&tool("skopeo", ["inspect", "--config", target.as_str()]).stdout).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2, "{target}");
        env.ok(["rmi", image]);
        let source = target.replace(":localhost/back:1", "");
        assert_eq!(env.ok(["pull", "-q", &source]), expected, "{target}");
        assert_eq!(env.ok(["run", "--rm", "--network=none", &expected, "cat", "/etc/second"]), "two");
        env.ok(["tag", &expected, image]);
    }
    assert_eq!(id(&env, "localhost/back:1"), expected);
    // skopeo writes, rbox reads.
    for (kind, suffix) in
        [("oci", ":x"), ("oci-archive", ":x"), ("docker-archive", ":localhost/y:1"), ("dir", "")]
    {
        let made = format!("{kind}:{}/skopeo-{kind}{suffix}", work.display());
        let from = format!("oci:{}/layout:v1", work.display());
        tool("skopeo", ["--insecure-policy", "copy", "-q", from.as_str(), made.as_str()]);
        assert_eq!(env.ok(["pull", "-q", &made]), expected, "{made}");
    }
}

#[test]
fn layouts_hold_several_images() {
    let env = TestEnv::new("layout");
    let image = load(&env);
    let busybox = env.busybox();
    let folder = env.work().join("layout");
    let target = |name: &str| format!("oci:{}:{name}", folder.display());
    env.ok(["push", "-q", image, &target("a")]);
    env.ok(["push", "-q", busybox, &target("b")]);
    env.ok(["push", "-q", image, &target("a")]);
    let names: Vec<String> = json(&folder.join("index.json"))["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(env.ok(["pull", "-q", &target("b")]), id(&env, busybox));
    assert!(env.fails(125, ["pull", "-q", &target("c")]).contains('c'));
    // umoci takes one and adds to it.
    let bundle = env.work().join("bundle");
    let (layout, bundle) = (format!("{}:a", folder.display()), bundle.display().to_string());
    tool("umoci", ["unpack", "--rootless", "--image", &layout, &bundle]);
    std::fs::write(format!("{bundle}/rootfs/added"), "by umoci").unwrap();
    tool("umoci", ["repack", "--image", &format!("{}:c", folder.display()), &bundle]);
    let third = env.ok(["pull", "-q", &target("c")]);
    assert_eq!(env.ok(["run", "--rm", "--network=none", &third, "cat", "/added"]), "by umoci");
}

#[test]
fn saved_layers_are_as_asked() {
    let env = TestEnv::new("savelayers");
    let image = load(&env);
    let types = |folder: &Path, manifest: &Path| -> Vec<String> {
        let manifest = json(&folder.join(manifest));
        let layers = manifest["layers"].as_array().unwrap().clone();
        layers
            .iter()
            .map(|layer| layer["mediaType"].as_str().unwrap().rsplit('.').next().unwrap().to_owned())
            .collect()
    };
    let manifest_of = |folder: &Path| {
        let index = json(&folder.join("index.json"));
        Path::new("blobs").join(index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/"))
    };
    let folder = |name: &str| env.work().join(name);
    let save = |format: &str, more: &[&str], name: &str| {
        let path = folder(name).display().to_string();
        let mut args = vec!["save", "-q", "--format", format, "-o", &path];
        args.extend(more);
        args.push(image);
        env.ok(args);
    };
    save("oci-dir", &[], "usual");
    assert_eq!(types(&folder("usual"), &manifest_of(&folder("usual"))), ["tar+gzip", "tar+gzip"]);
    save("oci-dir", &["--uncompressed"], "plain");
    assert_eq!(types(&folder("plain"), &manifest_of(&folder("plain"))), ["tar", "tar"]);
    save("docker-dir", &[], "dir");
    assert_eq!(types(&folder("dir"), Path::new("manifest.json")), ["tar", "tar"]);
    save("docker-dir", &["--compress"], "packed");
    assert_eq!(types(&folder("packed"), Path::new("manifest.json")), ["gzip", "gzip"]);
    for name in ["usual", "plain"] {
        tool("skopeo", ["inspect", &format!("oci:{}:{image}", folder(name).display())]);
    }
    tool("skopeo", ["inspect", &format!("dir:{}", folder("packed").display())]);
    let zstd = format!("dir:{}", folder("zstd").display());
    env.ok(["push", "-q", "--format=oci", image, &zstd]);
    let manifest = json(&folder("zstd").join("manifest.json"));
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    env.fails(125, ["push", image, "docker-daemon:x"]);
    env.fails(125, ["push", image, "oci:"]);
    env.fails(125, ["push", image, &format!("oci-archive:{}/no/such/folder.tar", env.work().display())]);
    assert!(env.leaks().is_empty());
}

/// Layers go into a file by several threads, and through a pipe by one: the bytes are the same.
#[test]
fn archives_are_the_same_in_a_file_and_through_a_pipe() {
    let env = TestEnv::new("side-by-side");
    let noise =
        |seed: u32| (0..300_000_u32).map(|i| format!("{}", i.wrapping_mul(seed) >> 7)).collect::<String>();
    let layers: Vec<Vec<u8>> =
        (1..6_u32).map(|i| layer(&[file(&format!("f{i}"), &noise(i * 2_654_435))])).collect();
    let mut image = OciImage::new(&layers, &busybox_config());
    image.layers = layers.iter().map(|layer| (gzip(layer), TAR_GZIP)).collect();
    image.describe();
    let packed = env.work().join("packed");
    image.write(&packed, "localhost/many:1");
    env.ok(["load", "-q", "-i", packed.to_str().unwrap()]);
    let saved = env.work().join("saved.tar");
    env.ok(["save", "-q", "-o", saved.to_str().unwrap(), "localhost/many:1"]);
    let piped = env.work().join("piped.tar");
    let mut command = env.command(["save", "-q", "localhost/many:1"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::copy(&mut child.stdout.take().unwrap(), &mut std::fs::File::create(&piped).unwrap()).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(std::fs::read(&saved).unwrap() == std::fs::read(&piped).unwrap());
    // A damaged layer leaves no archive.
    let manifest = &image.manifest["layers"][2]["digest"];
    let blob = env.data().join("blobs").join(manifest.as_str().unwrap().replace(':', "/"));
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    std::fs::write(&blob, bytes).unwrap();
    std::fs::remove_file(&saved).unwrap();
    env.fails(125, ["save", "-q", "-o", saved.to_str().unwrap(), "localhost/many:1"]);
    assert!(!saved.exists());
}

#[test]
fn images_come_over_from_podmans_store() {
    let env = TestEnv::new("podmanstore");
    let image = load(&env);
    let expected = id(&env, image);
    let layout = format!("oci:{}/layout:x", env.work().display());
    env.ok(["push", "-q", image, &layout]);
    let store = env.work().join("store");
    // skopeo writes that store in a user namespace of its own.
    let place = format!("[vfs@{0}/root+{0}/run]", store.display());
    let target = format!("containers-storage:{place}localhost/over:1");
    tool("skopeo", ["--insecure-policy", "copy", "-q", &layout, &target]);
    env.ok(["rmi", "-f", &expected]);
    assert!(
        env.fails(125, ["pull", "-q", &format!("containers-storage:{place}localhost/not:1")])
            .contains("localhost/not:1")
    );
    assert_eq!(env.ok(["pull", "-q", &target]), expected);
    assert_eq!(env.ok(["run", "--rm", "--network=none", "localhost/over:1", "cat", "/etc/second"]), "two");
    env.ok(["rmi", "-f", &expected]);
    assert_eq!(env.ok(["pull", "-q", &format!("containers-storage:{place}over:1")]), expected);
    // A file that was changed there is found out.
    env.ok(["rmi", "-f", &expected]);
    let found = tool("find", [store.to_str().unwrap(), "-path", "*etc/second"]).stdout;
    std::fs::write(found.lines().next().unwrap(), "bad\n").unwrap();
    let stderr = env.fails(125, ["pull", "-q", &target]);
    assert!(stderr.contains("digest does not match"), "{stderr}");
    assert_eq!(env.run(["image", "exists", &expected]).code, 1);
}
