//! `manifest`: lists of images are made, changed, pushed to Debian's docker-registry and read back.

use serde_json::{Value, json};

use super::support::TestEnv;
use super::support::env::tool;
use super::support::image::{architecture, busybox_archive, busybox_config, file};
use super::support::registry::Registry;

fn registry(env: &TestEnv) -> Registry {
    let dir = env.work().join("registry");
    std::fs::create_dir_all(&dir).unwrap();
    Registry::open(&dir)
}

fn inspect(env: &TestEnv, list: &str) -> Value {
    serde_json::from_str(&env.ok(["manifest", "inspect", "--tls-verify=false", list])).unwrap()
}

#[test]
fn lists_are_made_changed_and_removed() {
    let env = TestEnv::new("lists");
    let image = env.busybox();
    env.load_image("localhost/other:latest", &[file("other", "x")], &busybox_config());
    assert_eq!(env.run(["manifest", "exists", "multi:1"]).code, 1);
    let id = env.ok(["manifest", "create", "multi:1"]);
    assert_eq!(id.len(), 64);
    env.ok(["manifest", "exists", "multi:1"]);
    assert_eq!(inspect(&env, &id)["mediaType"], "application/vnd.docker.distribution.manifest.list.v2+json");
    assert!(env.fails(125, ["manifest", "create", "multi:1"]).contains("already in use"));
    assert_eq!(env.ok(["manifest", "create", "--amend", "multi:1"]), id);
    assert_eq!(env.ok(["manifest", "add", "multi:1", image]), id);
    env.ok([
        "manifest",
        "add",
        "--arch=arm64",
        "--variant=v8",
        "--annotation=a=b",
        "multi:1",
        "containers-storage:localhost/other",
    ]);
    let list = inspect(&env, "multi:1");
    assert_eq!(list["mediaType"], "application/vnd.oci.image.index.v1+json");
    let entries = list["manifests"].as_array().unwrap();
    assert_eq!(entries[0]["platform"]["architecture"], architecture());
    assert_eq!(entries[1]["platform"]["architecture"], "arm64");
    assert_eq!(entries[1]["annotations"]["a"], "b");
    let digest = entries[1]["digest"].as_str().unwrap().to_owned();
    env.ok(["manifest", "annotate", "--os-version=7", "--os-features=x,y", "multi:1", &digest]);
    let list = inspect(&env, "multi:1");
    assert_eq!(list["manifests"][1]["platform"]["os.version"], "7");
    assert_eq!(list["manifests"][1]["platform"]["os.features"], serde_json::json!(["x", "y"]));
    let listed =
        env.ok(["images", "--filter=manifest=true", "--format={{.Repository}}:{{.Tag}} {{.IsManifestList}}"]);
    assert_eq!(listed, "localhost/multi:1 true");
    // The image for this machine runs, and the other one if it is asked for.
    assert_eq!(
        env.ok(["run", "--rm", "--network=none", "--pull=never", "multi:1", "echo", "chosen"]),
        "chosen"
    );
    let container = env.ok(["create", "--network=none", "--arch=arm64", "multi:1", "x"]);
    let other = env.ok(["image", "inspect", "--format={{.ID}}", "localhost/other"]);
    assert_eq!(env.ok(["inspect", "--format={{.Image}}", &container]), other);
    env.ok(["rm", &container]);
    let error = env.fails(125, ["run", "--rm", "--platform=linux/s390x", "multi:1", "true"]);
    assert!(error.contains("no image found in image index"), "{error}");
    assert_eq!(env.ok(["manifest", "remove", "multi:1", &digest]), id);
    assert_eq!(inspect(&env, "multi:1")["manifests"].as_array().unwrap().len(), 1);
    for (code, args) in [
        (125, vec!["manifest", "remove", "multi:1", &digest]),
        (125, vec!["manifest", "remove", "multi:1", "nodigest"]),
        (125, vec!["manifest", "add", "nosuch", image]),
        (125, vec!["manifest", "add", "multi:1", "localhost:1/nosuch"]),
        (125, vec!["manifest", "add", "--annotation=x", "multi:1", image]),
        (125, vec!["manifest", "rm", image]),
        (1, vec!["manifest", "rm", "nosuch"]),
        (125, vec!["manifest", "push", "nosuch", "localhost:1/x"]),
    ] {
        assert!(!env.fails(code, args).is_empty());
    }
    env.ok(["manifest", "rm", "--ignore", "nosuch"]);
    env.ok(["manifest", "rm", "multi:1"]);
    assert_eq!(env.run(["manifest", "exists", "multi:1"]).code, 1);
    env.ok(["run", "--rm", "--network=none", image, "true"]);
}

#[test]
fn lists_are_pushed_with_their_images() {
    let env = TestEnv::new("listpush");
    let registry = registry(&env);
    let image = env.busybox();
    env.load_image("localhost/other:latest", &[file("other", "x")], &busybox_config());
    env.ok(["manifest", "create", "multi", image]);
    env.ok(["manifest", "add", "--arch=riscv64", "multi", "other"]);
    let to = format!("{}/multi:1", registry.host());
    let digestfile = env.work().join("digest");
    let digest = format!("--digestfile={}", digestfile.display());
    env.ok(["manifest", "push", "-q", "--tls-verify=false", &digest, "multi", &to]);
    let raw = registry.inspect("multi:1");
    assert_eq!(raw["manifests"].as_array().unwrap().len(), 2);
    let pushed = std::fs::read_to_string(&digestfile).unwrap();
    assert_eq!(inspect(&env, &to), raw);
    tool(
        "skopeo",
        ["inspect", "--tls-verify=false", "--raw", &format!("docker://{}/multi@{pushed}", registry.host())],
    );
    // Each platform gets its own image.
    let id = env.ok(["pull", "-q", "--tls-verify=false", &to]);
    assert_eq!(id, env.ok(["image", "inspect", "--format={{.Id}}", image]));
    let other = env.ok(["pull", "-q", "--tls-verify=false", "--arch=riscv64", &to]);
    assert_eq!(other, env.ok(["image", "inspect", "--format={{.Id}}", "other"]));
    // `push` of a list is the same; zstd is marked for clients that can choose.
    env.ok([
        "push",
        "-q",
        "--tls-verify=false",
        "--compression-format=zstd",
        "multi",
        &format!("{}/zstd", registry.host()),
    ]);
    assert_eq!(
        registry.inspect("zstd:latest")["manifests"][0]["annotations"]["io.github.containers.compression.zstd"],
        "true"
    );
    // A list of what is in a registry: its images come from there when they are pushed on.
    env.ok(["rmi", "-f", &id, &other]);
    env.ok(["manifest", "create", "--tls-verify=false", "--all", "again", &format!("docker://{to}")]);
    env.ok([
        "manifest",
        "push",
        "-q",
        "--tls-verify=false",
        "--rm",
        "again",
        &format!("{}/again:2", registry.host()),
    ]);
    assert_eq!(registry.inspect("again:2")["manifests"], raw["manifests"]);
    assert_eq!(env.run(["manifest", "exists", "again"]).code, 1);
}

/// Each reads the list, changes it and writes it: nothing of the others may be lost.
#[test]
fn changes_of_one_list_at_once_are_all_kept() {
    let env = TestEnv::new("lists-at-once");
    let names: Vec<String> = (0..6).map(|number| format!("localhost/part{number}:latest")).collect();
    for name in &names {
        env.load_image(name, &[file("name", name)], &busybox_config());
    }
    let id = env.ok(["manifest", "create", "multi:1"]);
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| assert_eq!(env.ok(["manifest", "add", "multi:1", name]), id));
        }
    });
    assert_eq!(inspect(&env, "multi:1")["manifests"].as_array().unwrap().len(), names.len());
}

#[test]
fn files_are_added_as_artifacts() {
    let env = TestEnv::new("list-artifacts");
    let registry = Registry::open(&env.work());
    let put = |name: &str, content: &[u8]| {
        let path = env.work().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (text, zeros, config) =
        (put("text", b"oh yeah\n"), put("zeros", &[0; 5000]), put("config", b"{\"a\":1}"));
    let list = "localhost/list:1";
    env.ok(["manifest", "create", list]);
    env.ok(["manifest", "add", "--artifact", "--annotation=a=b", "--artifact-config=", list, &text, &zeros]);
    let typed =
        ["--artifact", "--artifact-type=text/x", "--artifact-config", &config, "--os=linux", "--arch=arm"];
    let image = env.busybox();
    let more =
        ["--artifact-layer-type=x/y", "--artifact-exclude-titles", "--artifact-subject", image, list, &text];
    env.ok(["manifest", "add"].iter().chain(&typed).chain(&more));
    // Nothing of it goes with what is pruned.
    env.ok(["image", "prune", "-f"]);
    let name = format!("{}/list:1", registry.host());
    env.ok(["manifest", "push", "-q", "--tls-verify=false", list, &name]);
    let index = registry.inspect("list:1");
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{index:#}");
    assert_eq!(entries[0]["annotations"]["a"], "b");
    assert!(entries[0]["platform"].is_null(), "{index:#}");
    assert_eq!(
        (&entries[1]["artifactType"], &entries[1]["platform"]["os"]),
        (&json!("text/x"), &json!("linux"))
    );
    let manifest = |at: usize| registry.inspect(&format!("list@{}", entries[at]["digest"].as_str().unwrap()));
    let (first, second) = (manifest(0), manifest(1));
    assert_eq!(first["artifactType"], "application/vnd.unknown.artifact.v1");
    assert_eq!(first["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    let types: Vec<_> = first["layers"].as_array().unwrap().iter().map(|l| l["mediaType"].clone()).collect();
    assert_eq!(types, ["text/plain", "application/octet-stream"]);
    assert_eq!(first["layers"][1]["annotations"]["org.opencontainers.image.title"], "zeros");
    assert_eq!(second["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
    assert_eq!(second["layers"][0]["mediaType"], "x/y");
    assert!(second["layers"][0]["annotations"].is_null() && second["subject"]["digest"].is_string());
    // What is taken out of the list goes with it.
    env.ok(["manifest", "remove", list, entries[0]["digest"].as_str().unwrap()]);
    env.ok(["image", "prune", "-f"]);
    let blob = |digest: &Value| env.data().join("blobs/sha256").join(&digest.as_str().unwrap()[7..]);
    assert!(!blob(&first["layers"][1]["digest"]).exists() && blob(&second["layers"][0]["digest"]).exists());
    assert_eq!(env.ok(["system", "check"]), "");
    let alone = env.fails(125, ["manifest", "add", "--artifact-type=x", "--artifact-subject=y", list, &text]);
    assert!(alone.contains("--artifact-type/--artifact-subject require --artifact"), "{alone}");
    assert!(env.fails(125, ["manifest", "add", "--artifact", list, "/nosuch"]).contains("no such file"));
    env.ok(["manifest", "rm", list]);
    assert!(!blob(&second["layers"][0]["digest"]).exists());
}

#[test]
fn images_are_also_pushed_in_other_compressions() {
    let env = TestEnv::new("also-zstd");
    let registry = registry(&env);
    env.ok(["manifest", "create", "multi:1", env.busybox()]);
    let name = format!("{}/multi:1", registry.host());
    let push = ["manifest", "push", "-q", "--tls-verify=false", "--format=oci"];
    env.ok(push.iter().chain(&["--add-compression=zstd,gzip", "multi:1", name.as_str()]));
    let index = registry.inspect("multi:1");
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{index:#}");
    let mark = "io.github.containers.compression.zstd";
    assert!(
        entries[0]["annotations"][mark].is_null() && entries[1]["annotations"][mark] == "true",
        "{index:#}"
    );
    assert_eq!(entries[0]["platform"], entries[1]["platform"]);
    for (entry, kind) in entries.iter().zip(["gzip", "zstd"]) {
        let manifest = registry.inspect(&format!("multi@{}", entry["digest"].as_str().unwrap()));
        let media_type = format!("application/vnd.oci.image.layer.v1.tar+{kind}");
        assert_eq!(manifest["layers"][0]["mediaType"], media_type);
    }
    // The list itself is as it was.
    assert_eq!(inspect(&env, "multi:1")["manifests"].as_array().unwrap().len(), 1);
    for wrong in ["--add-compression=lz4", "--all=false"] {
        env.fails(125, push.iter().chain(&["--add-compression=zstd", wrong, "multi:1", name.as_str()]));
    }
    // What the registry has is listed.
    let tags = env.ok(["search", "--list-tags", "--tls-verify=false", "--format={{.Name}} {{.Tag}}", &name]);
    assert!(tags.lines().any(|line| line == format!("{}/multi 1", registry.host())), "{tags}");
}

/// Layouts, archives and folders, read back by skopeo, which looks at every blob, and by platform.
#[test]
fn lists_are_written_into_files() {
    let env = TestEnv::new("listfiles");
    let id = env.ok(["image", "inspect", "--format={{.Id}}", env.busybox()]);
    env.load_image("localhost/other:latest", &[file("other", "x")], &busybox_config());
    let other = env.ok(["image", "inspect", "--format={{.Id}}", "other"]);
    env.ok(["manifest", "create", "multi", env.busybox()]);
    env.ok(["manifest", "add", "--arch=riscv64", "multi", "other"]);
    let path = |name: &str| env.work().join(name).display().to_string();
    let reader = TestEnv::new("listfiles-reader");
    let places = [("oci", ":one"), ("oci-archive", ":one"), ("dir", "")];
    for (kind, name) in places {
        let target = format!("{kind}:{}{name}", path(kind));
        env.ok(["manifest", "push", "-q", "--all", "multi", &target]);
        let raw = tool("skopeo", ["inspect", "--raw", &target]).stdout;
        let raw: Value = serde_json::from_str(&raw).unwrap();
        assert_eq!(raw["manifests"].as_array().unwrap().len(), 2, "{target}: {raw}");
        assert_eq!(raw["manifests"][1]["platform"]["architecture"], "riscv64", "{target}: {raw}");
        let copy = format!("dir:{}", path(&format!("copy-of-{kind}")));
        tool("skopeo", ["--insecure-policy", "copy", "-q", "--all", &target, &copy]);
        for source in [&target, &copy] {
            assert_eq!(reader.ok(["pull", "-q", source]), id, "{source}");
            assert_eq!(reader.ok(["pull", "-q", "--arch=riscv64", source]), other, "{source}");
            let wrong = reader.fails(125, ["pull", "-q", "--arch=s390x", source]);
            reader.ok(["rmi", "-f", &id, &other]);
            assert!(wrong.contains("s390x"), "{source}: {wrong}");
        }
    }
    // `push` of a list does the same, compressed as asked, and without its images it is the list alone.
    let zstd = format!("oci:{}:two", path("oci"));
    env.ok(["push", "-q", "--compression-format=zstd", "--force-compression", "multi", &zstd]);
    let raw: Value = serde_json::from_str(&tool("skopeo", ["inspect", "--raw", &zstd]).stdout).unwrap();
    assert_eq!(raw["manifests"][0]["annotations"]["io.github.containers.compression.zstd"], "true", "{raw}");
    assert_eq!(reader.ok(["pull", "-q", &zstd]), id);
    env.ok(["manifest", "push", "-q", "--all=false", "multi", &format!("oci:{}", path("bare"))]);
    let blobs = std::fs::read_dir(env.work().join("bare/blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 1, "only the index");
    // An altered manifest is noticed.
    let folder = env.work().join("dir");
    let list: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let digest = list["manifests"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let manifest = folder.join(format!("{digest}.manifest.json"));
    let mut bytes = std::fs::read(&manifest).unwrap();
    bytes.push(b' ');
    std::fs::write(&manifest, bytes).unwrap();
    reader.fails(125, ["pull", "-q", &format!("dir:{}", path("dir"))]);
    let none = path("none");
    for (flags, target, why) in [
        (&[][..], format!("docker-archive:{none}"), "cannot hold a manifest list"),
        (&["--format=v2s2"], format!("oci:{none}"), "OCI documents only"),
        (&["--add-compression=zstd"], format!("oci:{none}"), "not supported yet: --add-compression"),
        (&["--sign-by=me"], format!("oci:{none}"), "not supported yet: signatures in files"),
        (&[], "containers-storage:x".to_owned(), "only read here"),
    ] {
        let line = ["manifest", "push", "-q"].iter().chain(flags).copied().chain(["multi", &target]);
        let said = env.fails(125, line);
        assert!(said.contains(why), "{target}: {said}");
        assert!(!env.work().join("none").exists(), "{target}");
    }
}

#[test]
fn files_of_a_list_go_into_a_layout() {
    let env = TestEnv::new("listartifact");
    std::fs::write(env.work().join("notes"), "some notes").unwrap();
    env.ok(["manifest", "create", "multi", env.busybox()]);
    env.ok(["manifest", "add", "--artifact", "--artifact-type=text/x-notes", "multi", "notes"]);
    let layout = env.work().join("layout");
    env.ok(["manifest", "push", "-q", "multi", &format!("oci:{}:x", layout.display())]);
    let digest = super::support::image::sha256(b"some notes");
    assert_eq!(std::fs::read(layout.join("blobs/sha256").join(digest)).unwrap(), b"some notes");
    let archive = format!("oci-archive:{}", env.work().join("archive").display());
    env.ok(["manifest", "push", "-q", "multi", &archive]);
    env.ok(["pull", "-q", &archive]);
}

#[test]
fn images_of_a_list_are_asked_for_with_a_password() {
    use super::support::registry::{PASSWORD, USER};
    let env = TestEnv::new("listcreds");
    let dir = env.work().join("registry");
    std::fs::create_dir_all(&dir).unwrap();
    let registry = Registry::secured(&dir);
    let image = format!("docker://{}/busybox:1", registry.host());
    registry.push_archive(&busybox_archive(&env.work(), "localhost/busybox:1"), "busybox:1");
    env.ok(["manifest", "create", "multi"]);
    let add = |more: &[&str]| {
        let line = ["manifest", "add", "--tls-verify=false"].iter().chain(more).copied();
        env.run(line.chain(["multi", &image]))
    };
    assert_eq!(add(&[]).code, 125);
    let wrong = add(&["--creds", &format!("{USER}:guess")]);
    assert!(wrong.code == 125 && !wrong.stderr.contains("guess"), "{wrong:#?}");
    let right = add(&["--creds", &format!("{USER}:{PASSWORD}")]);
    assert_eq!(right.code, 0, "{right:#?}");
    assert_eq!(inspect(&env, "multi")["manifests"].as_array().unwrap().len(), 1);
}
