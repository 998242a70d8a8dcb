//! `system check`: damage of images is found, and repaired without touching anything else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::support::TestEnv;
use super::support::image::{busybox_config, busybox_entries, dir, file, layer};

const ONE: &str = "localhost/one:latest";
const TWO: &str = "localhost/two:latest";
const DAMAGED: &str = "damage detected in local storage";
const STILL: &str = "damage in local storage still present after repair attempt";

/// Two images that share their first layer.
struct Images {
    env: TestEnv,
    layers: Vec<Vec<u8>>,
}

impl Images {
    fn new(name: &str) -> Self {
        let own = |text: &str| layer(&[dir("etc"), file("etc/own", text), file("etc/other", "as it was")]);
        let layers = vec![layer(&busybox_entries()), own("one"), own("two")];
        let images = Self { env: TestEnv::new(name), layers };
        images.load();
        images.is_whole("at first");
        images
    }

    fn load(&self) {
        let [base, one, two] = &self.layers[..] else { unreachable!() };
        self.env.load_layers(ONE, &[base.clone(), one.clone()], &busybox_config());
        self.env.load_layers(TWO, &[base.clone(), two.clone()], &busybox_config());
    }

    /// What the configuration and names of both look like, and what a container sees.
    fn look(&self) -> String {
        let listed = self.env.ok([
            "images",
            "--no-trunc",
            "--digests",
            "--format",
            "{{.ID}} {{.Names}} {{.Digest}} {{.Size}}",
        ]);
        let script = "ls -ldn --full-time /bin/* /etc/o* | md5sum; ls /etc; cat /etc/own /etc/other";
        let seen = |image| self.env.ok(["run", "--rm", "--network=none", image, "sh", "-c", script]);
        format!("{listed}\n{}\n{}", seen(ONE), seen(TWO))
    }

    fn is_whole(&self, when: &str) {
        for quick in [&["system", "check", "--quick"][..], &["system", "check"]] {
            assert_eq!(self.env.ok(quick), "", "{when}");
        }
    }

    /// The directory of the layer that only `image` has.
    fn own_layer(&self, image: &str) -> PathBuf {
        let format = "{{index .RootFS.Layers 1}}";
        let id = self.env.ok(["image", "inspect", "--format", format, image]);
        self.env.data().join("layers").join(id.strip_prefix("sha256:").unwrap())
    }

    fn id(&self, image: &str) -> String {
        self.env.ok(["image", "inspect", "--format", "{{.Id}}", image])
    }

    fn blob(&self, id: &str) -> PathBuf {
        self.env.data().join("blobs/sha256").join(id)
    }

    /// The blob of that layer: an archive that is loaded is kept as it is.
    fn own_blob(&self, image: &str) -> PathBuf {
        self.blob(self.own_layer(image).file_name().unwrap().to_str().unwrap())
    }
}

fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(path, bytes).unwrap();
}

#[test]
fn layers_are_unpacked_again_from_their_archives() {
    let images = Images::new("check-layers");
    let (env, before) = (&images.env, images.look());
    let one = images.own_layer(ONE);
    // What is done to a layer, what is said of it, and whether that needs no reading.
    let damages: [(&str, &dyn Fn(), &str, bool); 7] = [
        ("content", &|| fs::write(one.join("diff/etc/own"), "ONE").unwrap(), "/etc/own: changed", false),
        ("mode", &|| chmod(&one.join("diff/etc/own"), 0o4755), "/etc/own: changed", false),
        ("removed", &|| fs::remove_file(one.join("diff/etc/own")).unwrap(), "/etc/own: missing", false),
        ("added", &|| fs::write(one.join("diff/etc/new"), "").unwrap(), "/etc/new: not from it", false),
        ("record", &|| fs::write(one.join("layer.json"), "{\"version\":1").unwrap(), "is damaged", true),
        ("no record", &|| fs::remove_file(one.join("layer.json")).unwrap(), "layer.json is missing", true),
        ("all", &|| drop(env.ok(["unshare", "rm", "-rf", one.to_str().unwrap()])), "it is missing", true),
    ];
    for (what, damage, said, quick) in damages {
        damage();
        if quick {
            assert!(env.fails(125, ["system", "check", "--quick"]).contains(DAMAGED), "{what}");
        } else {
            assert_eq!(env.ok(["system", "check", "--quick"]), "", "{what}");
        }
        let found = env.run(["system", "check"]);
        assert_eq!(found.code, 125, "{what}: {found:?}");
        assert!(
            found.stdout.contains("Damaged layer sha256:") && found.stdout.contains(said),
            "{what}: {found:?}"
        );
        assert_eq!(
            found.stdout.matches("Damaged").count(),
            1 + usize::from(["all", "no record"].contains(&what)),
            "{what}: {found:?}"
        );
        let repaired = env.ok(["system", "check", "--repair"]);
        assert!(repaired.contains("Repaired layer: sha256:"), "{what}: {repaired}");
        images.is_whole(what);
        assert_eq!(images.look(), before, "{what}");
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn layer_of_a_running_container_is_left_to_it() {
    let images = Images::new("check-mounted");
    let env = &images.env;
    env.ok(["run", "-d", "--name=c", "--network=none", ONE, "sleep", "1000"]);
    let path = images.own_layer(ONE).join("diff/etc/own");
    fs::write(&path, "ONE").unwrap();
    assert!(env.fails(125, ["system", "check", "--repair", "--force"]).contains(STILL));
    assert_eq!(fs::read_to_string(&path).unwrap(), "ONE");
    env.ok(["rm", "-f", "-t0", "c"]);
    env.ok(["system", "check", "--repair"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "one");
    images.is_whole("at the end");
}

#[test]
fn records_and_names_are_written_anew() {
    let images = Images::new("check-records");
    let (env, before, id) = (&images.env, images.look(), images.id(ONE));
    let record = env.data().join("images").join(format!("{id}.json"));
    for text in ["", "{\"version\":1,\"id\":", "[]"] {
        fs::write(&record, text).unwrap();
        assert!(env.fails(125, ["system", "check", "--quick"]).contains(DAMAGED), "{text}");
        assert!(env.ok(["system", "check", "--repair"]).contains("Repaired image record: "), "{text}");
        images.is_whole(text);
        assert_eq!(images.look(), before, "{text}");
    }
    // One of a newer version is not ours to change.
    let text = fs::read_to_string(&record).unwrap();
    let newer = text.replacen("\"version\":1", "\"version\":99", 1);
    fs::write(&record, &newer).unwrap();
    assert!(env.fails(125, ["system", "check", "--repair", "--force"]).contains(STILL));
    assert_eq!(fs::read_to_string(&record).unwrap(), newer);
    fs::write(&record, text).unwrap();
    images.is_whole("as it was");

    let tags = env.data().join("tags");
    let tag = fs::read_dir(&tags).unwrap().map(|tag| tag.unwrap().path());
    let tag = tag.into_iter().find(|path| path.to_str().unwrap().contains("one")).unwrap();
    fs::write(&tag, "{").unwrap();
    assert!(env.fails(125, ["system", "check"]).contains(DAMAGED));
    assert!(env.ok(["system", "check", "--repair"]).contains("Deleted damaged image name: "));
    images.is_whole("without the name");
    assert_eq!(env.ok(["image", "inspect", "--format", "{{len .RepoTags}}", &id]), "0");
    env.ok(["tag", &id, ONE]);
    assert_eq!(images.look(), before);
}

#[test]
fn what_cannot_be_repaired_goes_only_when_forced_and_alone() {
    let images = Images::new("check-lost");
    let (env, before) = (&images.env, images.look());
    let spoil_both = || {
        spoil(&images.own_blob(ONE));
        fs::write(images.own_layer(ONE).join("diff/etc/own"), "ONE").unwrap();
    };
    let damages: [(&str, &dyn Fn()); 3] = [
        // An image without it runs, but cannot be saved.
        ("blob", &|| spoil(&images.own_blob(ONE))),
        ("config", &|| fs::remove_file(images.blob(&images.id(ONE))).unwrap()),
        ("both", &spoil_both),
    ];
    for (what, damage) in damages {
        damage();
        let found = env.run(["system", "check"]);
        assert!(found.code == 125 && found.stderr.contains(DAMAGED), "{what}: {found:?}");
        let left = env.run(["system", "check", "--repair"]);
        assert!(left.code == 125 && left.stderr.contains(STILL), "{what}: {left:?}");
        assert!(left.stderr.contains("rbox pull"), "{what}: {left:?}");
        // Another command brings back what is missing, and only that.
        if what != "both" {
            images.load();
            images.is_whole(what);
            assert_eq!(images.look(), before, "{what}");
            damage();
        }
        let forced = env.ok(["system", "check", "--repair", "--force"]);
        assert!(forced.contains("Deleted damaged image: "), "{what}: {forced}");
        assert_eq!(env.ok(["images", "--format", "{{.Repository}}"]), "localhost/two", "{what}");
        images.is_whole(what);
        images.load();
        images.is_whole(what);
        assert_eq!(images.look(), before, "{what}");
    }
}

/// A pull, or a collection, at the same time is no damage.
#[test]
fn images_that_come_and_go_are_not_damaged() {
    let images = Images::new("check-busy");
    let env = &images.env;
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            for _ in 0..6 {
                env.ok(["rmi", ONE]);
                images.load();
            }
        });
        while !busy.is_finished() {
            assert_eq!(env.ok(["system", "check"]), "");
        }
    });
    images.is_whole("at the end");
}
