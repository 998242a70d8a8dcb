//! Images made to harm: whatever their layers and configs say, nothing outside the container changes or leaks,
//! and the store works as before. Names of tests carry the numbers of the attack catalogue.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::support::canary::Canary;
use super::support::image::{
    self, Entry, OciImage, TAR_GZIP, busybox_config, busybox_entries, dir, file, hard, header, layer, link,
};
use super::support::{Outcome, TestEnv};

const GOOD: &str = "localhost/busybox";
const EVIL: &str = "localhost/evil:1";

/// An environment with a good image, which must work to the end, and a canary tree.
struct Arena {
    env: TestEnv,
    canary: Canary,
}

impl Arena {
    fn new(name: &str) -> Self {
        let env = TestEnv::new(name);
        env.busybox();
        let canary = Canary::plant(&env.home().join("canary"));
        Self { env, canary }
    }

    /// The canary's folder as an absolute path.
    fn target(&self) -> &str {
        self.canary.dir().to_str().unwrap()
    }

    /// Loads layers; if they are accepted, runs a look around. Whatever happens, nothing leaks.
    #[track_caller]
    fn try_layers(&self, what: &str, layers: &[Vec<u8>]) -> Outcome {
        self.try_image(what, layers, &busybox_config())
    }

    #[track_caller]
    fn try_image(&self, what: &str, layers: &[Vec<u8>], config: &Value) -> Outcome {
        let loaded = self.env.try_load_layers(EVIL, layers, config);
        self.harmless(what, &loaded);
        if loaded.code != 0 {
            assert_ne!(
                self.env.run(["image", "exists", EVIL]).code,
                0,
                "{what}: refused, and there nevertheless"
            );
            return loaded;
        }
        let look = "find / -xdev 2>/dev/null | grep -v ^/proc | head -n 400; cat /secret /a/secret /x /a /stolen /etc/passwd 2>/dev/null; true";
        let ran = self.env.run(["run", "--rm", "--network=none", EVIL, "sh", "-c", look]);
        self.harmless(what, &ran);
        self.env.ok(["rmi", "-f", EVIL]);
        ran
    }

    /// One clear error or success; no secret in it, the canary as it was, the good image still good.
    #[track_caller]
    fn harmless(&self, what: &str, outcome: &Outcome) {
        assert!(!outcome.stderr.contains("panicked"), "{what}: {outcome:#?}");
        assert!(outcome.code <= 127, "{what}: {outcome:#?}");
        assert!(outcome.code == 0 || !outcome.stderr.trim().is_empty(), "{what}: refused without a word");
        self.canary.assert_unseen(&outcome.stdout);
        self.canary.assert_unseen(&outcome.stderr);
        self.canary.assert_untouched();
    }

    /// The store after all attacks.
    #[track_caller]
    fn intact(&self) {
        assert_eq!(self.env.ok(["run", "--rm", "--network=none", GOOD, "echo", "fine"]), "fine");
        assert!(self.env.leaks().is_empty(), "{:#?}", self.env.leaks());
        let mut seen = String::new();
        collect_text(&self.env.data(), &mut seen);
        self.canary.assert_unseen(&seen);
    }
}

/// The text of all small files below `dir` that the user can read.
fn collect_text(dir: &Path, text: &mut String) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect_text(&entry.path(), text);
        } else if kind.is_file() && entry.metadata().is_ok_and(|m| m.len() < 100_000) {
            text.push_str(&String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap_or_default()));
        }
    }
}

/// The busybox system with `more` behind it.
fn with(more: Vec<Entry>) -> Vec<u8> {
    let mut entries = busybox_entries();
    entries.extend(more);
    layer(&entries)
}

#[test]
fn s42_entry_names_stay_inside_the_root() {
    let arena = Arena::new("s42");
    let target = arena.target().to_owned();
    let up = "../".repeat(24);
    for name in [
        "../x".to_owned(),
        "/x".to_owned(),
        "a/../../x".to_owned(),
        "./../x".to_owned(),
        "//x".to_owned(),
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "a/..".to_owned(),
        "bin/../../../etc/x".to_owned(),
        format!("{up}{target}/pwned"),
        format!("{up}tmp/rbox-pwned"),
        format!("{target}/pwned"),
        "long/".repeat(60) + "x",
        "y".repeat(300),
        "z".repeat(65536),
    ] {
        let short: String = name.chars().take(40).collect();
        arena.try_layers(&format!("file {short:?}"), &[with(vec![file(&name, "pwned")])]);
        arena.try_layers(&format!("folder {short:?}"), &[with(vec![dir(&name)])]);
        arena.try_layers(&format!("link {short:?}"), &[with(vec![link(&name, "/")])]);
    }
    assert!(!Path::new("/tmp/rbox-pwned").exists());
    let mut raw = header(b'0', "nul", "", 0o644, (0, 0), 0);
    raw.as_old_mut().name[..7].copy_from_slice(b"nul\0/..");
    raw.set_cksum();
    arena.try_layers("NUL in a name", &[with(vec![Entry::Raw(raw.as_bytes().to_vec())])]);
    arena.intact();
}

#[test]
fn s43_nothing_is_written_through_links_of_the_image() {
    let arena = Arena::new("s43");
    let target = arena.target().to_owned();
    let relative = format!("{}{target}", "../".repeat(24));
    for to in [&target, &relative] {
        let planted = vec![link("a", to), file("a/pwned", "x"), dir("a/sub"), file("a/secret", "x")];
        arena.try_layers("one layer", &[with(planted.clone())]);
        arena.try_layers("two layers", &[with(planted[..1].to_vec()), layer(&planted[1..])]);
        let file_link = vec![link("etc/passwd", &format!("{to}/secret")), file("etc/passwd", "x")];
        arena.try_layers("file over a link", &[with(file_link)]);
        arena.try_layers("folder over a link", &[with(vec![link("a", to), Entry::Dir("a".into(), 0o777)])]);
        arena.try_layers(
            "owner through a link",
            &[with(vec![link("a", to), Entry::Owned(5, 5, Box::new(dir("a")))])],
        );
    }
    let mut chain = vec![link("l0", &target)];
    chain.extend((1..40).map(|n| link(&format!("l{n}"), &format!("l{}", n - 1))));
    chain.push(file("l39/pwned", "x"));
    arena.try_layers("a chain of 40", &[with(chain)]);
    arena.try_layers("a loop", &[with(vec![link("p", "q"), link("q", "p"), file("p/x", "x")])]);
    arena.intact();
}

#[test]
fn s45_hard_links_stay_inside_the_layer() {
    let arena = Arena::new("s45");
    let target = format!("{}/secret", arena.target());
    let relative = format!("{}{target}", "../".repeat(24));
    for (what, entries) in [
        ("absolute", vec![hard("stolen", &target)]),
        ("relative", vec![hard("stolen", &relative)]),
        ("through a link", vec![link("a", arena.target()), hard("stolen", "a/secret")]),
        ("to a link", vec![link("a", &target), hard("stolen", "a"), file("stolen", "x")]),
        ("to itself", vec![hard("stolen", "stolen")]),
        ("to a later entry", vec![hard("stolen", "later"), file("later", "x")]),
        ("to a folder", vec![dir("d"), hard("stolen", "d")]),
        ("to the root", vec![hard("stolen", ".")]),
        ("host's passwd", vec![hard("stolen", "/etc/shadow")]),
    ] {
        arena.try_layers(what, &[with(entries.clone())]);
        arena.try_layers(&format!("{what}, second layer"), &[with(vec![]), layer(&entries)]);
    }
    arena.intact();
}

#[test]
fn s46_whiteouts_remove_nothing_outside_their_folder() {
    let arena = Arena::new("s46");
    let first = with(vec![link("a", arena.target()), dir("keep"), file("keep/f", "x")]);
    for names in [
        vec!["a/.wh.secret", "a/.wh..wh..opq"],
        vec!["a/.wh.sub"],
        vec![".wh."],
        vec![".wh.."],
        vec![".wh..."],
        vec![".wh..wh.x"],
        vec!["keep/.wh./"],
        vec!["keep/../a/.wh.secret"],
        vec![".wh.a/b"],
        vec![".wh..wh..opq/x"],
        vec!["keep/.wh..wh.plnk/1.1"],
    ] {
        let second: Vec<_> = names.iter().map(|n| file(n, "")).collect();
        arena.try_layers(&format!("{names:?}"), &[first.clone(), layer(&second)]);
    }
    // The oracle itself: an honest whiteout and an opaque folder do remove.
    let second =
        layer(&[file(".wh.a", ""), dir("keep"), file("keep/.wh..wh..opq", ""), file("keep/new", "")]);
    arena.env.load_layers(EVIL, &[first, second], &busybox_config());
    let args = ["run", "--rm", "--network=none", EVIL, "sh", "-c", "ls /keep; ls -d /a; true"];
    assert_eq!(arena.env.ok(args), "new");
    arena.intact();
}

#[test]
fn s48_layers_carry_no_overlay_metadata() {
    let arena = Arena::new("s48");
    let attribute =
        |name: &str, value: &str| Entry::Pax(vec![(format!("SCHILY.xattr.{name}"), value.into())]);
    let first = with(vec![dir("victim"), file("victim/f", "there"), dir("other"), file("other/g", "there")]);
    for (what, second) in [
        ("opaque", vec![attribute("user.overlay.opaque", "y"), dir("victim")]),
        ("trusted opaque", vec![attribute("trusted.overlay.opaque", "y"), dir("victim")]),
        ("redirect", vec![attribute("user.overlay.redirect", "/other"), dir("victim")]),
        ("redirect out", vec![attribute("user.overlay.redirect", "/../.."), dir("victim")]),
        ("metacopy", vec![attribute("user.overlay.metacopy", ""), file("victim/f", "there")]),
        (
            "whiteout by attribute",
            vec![
                attribute("user.overlay.opaque", "x"),
                dir("victim"),
                attribute("user.overlay.whiteout", "y"),
                file("victim/f", ""),
            ],
        ),
        ("device 0:0", vec![Entry::Node("victim/f".into(), b'3', 0, 0)]),
    ] {
        let loaded = arena.env.try_load_layers(EVIL, &[first.clone(), layer(&second)], &busybox_config());
        arena.harmless(what, &loaded);
        if loaded.code == 0 {
            let args = ["run", "--rm", "--network=none", EVIL, "sh", "-c", "ls /victim /other"];
            let outcome = arena.env.run(args);
            assert_eq!(outcome.stdout, "/other:\ng\n\n/victim:\nf\n", "{what}: {outcome:#?}");
        }
    }
    arena.intact();
}

#[test]
fn s49_the_root_entry_is_a_folder() {
    let arena = Arena::new("s49");
    for name in [".", "./", "/", ""] {
        for (what, entry) in [
            ("link", link(name, arena.target())),
            ("file", file(name, "x")),
            ("device", Entry::Node(name.into(), b'3', 1, 3)),
            ("hard link", hard(name, "/etc/passwd")),
        ] {
            let mut entries = vec![entry];
            entries.extend(busybox_entries());
            entries.push(file("pwned", "x"));
            arena.try_layers(&format!("{what} {name:?}"), &[layer(&entries)]);
        }
    }
    // An honest root entry sets the mode of the root.
    let mut entries = vec![Entry::Dir("./".into(), 0o711)];
    entries.extend(busybox_entries());
    arena.env.load_image(EVIL, &entries, &busybox_config());
    assert_eq!(arena.env.ok(["run", "--rm", "--network=none", EVIL, "stat", "-c", "%a", "/"]), "711");
    arena.intact();
}

#[test]
fn s36_device_nodes_of_layers_are_of_no_use() {
    let arena = Arena::new("s36layer");
    for (kind, major, minor) in [(b'4', 8, 0), (b'3', 1, 1), (b'3', 5, 1)] {
        let layers = [with(vec![Entry::Node("node".into(), kind, major, minor)])];
        let loaded = arena.env.try_load_layers(EVIL, &layers, &busybox_config());
        arena.harmless("node", &loaded);
        if loaded.code == 0 {
            let script = "test -b /node -o -c /node && head -c 1 /node && echo opened; true";
            let outcome = arena.env.run(["run", "--rm", "--network=none", EVIL, "sh", "-c", script]);
            assert!(!outcome.stdout.contains("opened"), "{outcome:#?}");
        }
    }
    arena.intact();
}

#[test]
fn s50_the_store_is_private_whatever_the_umask() {
    let env = TestEnv::new("s50");
    let mut entries = busybox_entries();
    entries.push(Entry::File("setuid".into(), 0o4755, b"#!/bin/sh\n".to_vec()));
    let archive = env.work().join("image.tar");
    image::docker_archive(&archive, EVIL, &[layer(&entries)], &busybox_config());
    let rbox = env.command([""; 0]);
    let script = format!(
        "umask 000; \"$0\" load -q -i {} && \"$0\" run -d --name c --network=none {EVIL} sleep 1000",
        archive.display()
    );
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", &script]).arg(rbox.get_program()).current_dir(env.work()).env_clear();
    shell.envs(rbox.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let outcome = super::support::env::outcome(&mut shell);
    assert_eq!(outcome.code, 0, "{outcome:#?}");
    for top in [env.data(), env.run_dir()] {
        let mode = std::fs::metadata(&top).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o700, "{}", top.display());
        assert_private_records(&top);
    }
    env.ok(["rm", "-f", "-t", "0", "c"]);
}

/// Records, logs and sockets are of the user alone; files of layers keep their modes behind a private folder.
fn assert_private_records(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (kind, path) = (entry.file_type().unwrap(), entry.path());
        if kind.is_dir() {
            if !["layers", "upper", "work", "merged", "etc", "_data", "userns"]
                .iter()
                .any(|n| path.ends_with(n))
            {
                assert_private_records(&path);
            }
        } else if !kind.is_symlink() {
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{} {mode:o}", path.display());
        }
    }
}

#[test]
fn s54_decompression_bombs_end_with_an_error() {
    let arena = Arena::new("s54");
    // A file that claims more than any disk has, in a few bytes.
    let huge = header(b'0', "huge", "", 0o644, (0, 0), 1 << 50).as_bytes().to_vec();
    let mut raw = with(vec![]);
    raw.truncate(raw.len() - 1024);
    raw.extend(huge);
    raw.extend([0; 4096]);
    let outcome = arena.try_layers("a size without the data", &[raw]);
    assert_eq!(outcome.code, 125, "{outcome:#?}");
    // Gzip in gzip in gzip is no tar archive.
    // A layer that is not in the store yet: one that is would not be looked at.
    let plain = with(vec![file("nested", "gzip")]);
    let nested = image::gzip(&image::gzip(&image::gzip(&plain)));
    let mut oci = OciImage::new(&[plain], &busybox_config());
    oci.layers[0] = (nested, TAR_GZIP);
    oci.describe();
    let archive = arena.env.work().join("nested.tar");
    oci.write(&archive, "evil:1");
    let outcome = arena.env.run(["load", "-i", archive.to_str().unwrap()]);
    assert_eq!(outcome.code, 125, "{outcome:#?}");
    arena.harmless("nested gzip", &outcome);
    arena.intact();
}

#[test]
fn s57_bytes_that_are_not_what_the_digests_say_are_refused() {
    let arena = Arena::new("s57");
    let layers = [with(vec![file("one", "1")]), layer(&[file("two", "2")])];
    let good = OciImage::new(&layers, &busybox_config());
    let flipped = |index: usize, good: &OciImage| {
        let mut image = good.clone();
        let middle = image.layers[index].0.len() / 2;
        image.layers[index].0[middle] ^= 1;
        image
    };
    let changed = |change: &dyn Fn(&mut OciImage), describe: bool| {
        let mut image = good.clone();
        change(&mut image);
        if describe {
            image.describe();
        }
        image
    };
    for (what, image) in [
        ("a flipped bit in a layer", flipped(0, &good)),
        ("a flipped bit in the last layer", flipped(1, &good)),
        (
            "a layer that is too short",
            changed(
                &|i| {
                    i.layers[1].0.pop();
                },
                false,
            ),
        ),
        ("a layer that is too long", changed(&|i| i.layers[1].0.push(0), false)),
        (
            "a size one too large",
            changed(&|i| i.manifest["layers"][0]["size"] = json!(layers[0].len() + 1), false),
        ),
        (
            "a size one too small",
            changed(&|i| i.manifest["layers"][0]["size"] = json!(layers[0].len() - 1), false),
        ),
        (
            "another diff id",
            changed(
                &|i| i.config["rootfs"]["diff_ids"][0] = json!(format!("sha256:{}", "0".repeat(64))),
                true,
            ),
        ),
        (
            "diff ids in another order",
            changed(&|i| i.config["rootfs"]["diff_ids"].as_array_mut().unwrap().reverse(), true),
        ),
        (
            "a diff id too many",
            changed(
                &|i| {
                    i.config["rootfs"]["diff_ids"]
                        .as_array_mut()
                        .unwrap()
                        .push(json!(format!("sha256:{}", "1".repeat(64))));
                },
                true,
            ),
        ),
        (
            "a diff id missing",
            changed(
                &|i| {
                    i.config["rootfs"]["diff_ids"].as_array_mut().unwrap().pop();
                },
                true,
            ),
        ),
        ("a config that changed", changed(&|i| i.config["author"] = json!("somebody"), false)),
        (
            "a digest that is none",
            changed(&|i| i.manifest["layers"][0]["digest"] = json!("sha256:../../../../etc/passwd"), false),
        ),
        ("an unknown algorithm", changed(&|i| i.manifest["layers"][0]["digest"] = json!("md5:abc"), false)),
        (
            "upper case",
            changed(
                &|i| {
                    i.manifest["layers"][0]["digest"] = json!(
                        i.manifest["layers"][0]["digest"]
                            .as_str()
                            .unwrap()
                            .to_uppercase()
                            .replace("SHA", "sha")
                    );
                },
                false,
            ),
        ),
        ("a negative size", changed(&|i| i.manifest["layers"][0]["size"] = json!(-1), false)),
    ] {
        let archive = arena.env.work().join("tampered.tar");
        image.write(&archive, "evil:1");
        let outcome = arena.env.run(["load", "-i", archive.to_str().unwrap()]);
        assert_eq!(outcome.code, 125, "{what}: {outcome:#?}");
        arena.harmless(what, &outcome);
        assert_eq!(arena.env.ok(["images", "-q"]).lines().count(), 1, "{what}: something was kept");
        // Layers that were right are kept for the next try, which would not look at them again: take them away.
        let archive = arena.env.work().join("good.tar");
        good.write(&archive, "evil:1");
        arena.env.ok(["load", "-q", "-i", archive.to_str().unwrap()]);
        arena.env.ok(["rmi", EVIL]);
    }
    arena.intact();
}

#[test]
fn s59_environment_of_the_image_is_never_read_from_the_host() {
    let mut arena = Arena::new("s59");
    let token = arena.canary.token().to_owned();
    arena.env.set("SECRET", &token).set("SECOND", &token);
    let config =
        json!({"Env": ["PATH=/bin", "SECRET", "SEC*", "=x", "", " SECRET", "SECOND*", "*"], "Cmd": ["env"]});
    arena.env.load_image(EVIL, &busybox_entries(), &config);
    let outcome = arena.env.run(["run", "--rm", "--network=none", EVIL]);
    arena.harmless("run", &outcome);
    let outcome = arena.env.run(["run", "-d", "--name", "c", "--network=none", EVIL, "sleep", "1000"]);
    if outcome.code == 0 {
        let outcome = arena.env.run(["exec", "c", "env"]);
        arena.harmless("exec", &outcome);
        arena.canary.assert_unseen(&arena.env.ok(["inspect", "c"]));
        arena.env.ok(["rm", "-f", "-t", "0", "c"]);
    }
    arena.intact();
}

#[test]
fn s40_volumes_of_the_image_resolve_inside_the_root() {
    let arena = Arena::new("s40");
    let out = format!("{}{}", "/..".repeat(24), arena.target());
    for volume in [
        out.as_str(),
        "/a/../..",
        "/proc",
        "/proc/self",
        "",
        "/",
        "relative",
        "/evil-link",
        "/evil-link/sub",
        "/bin/../../../x",
    ] {
        let config = json!({"Env": ["PATH=/bin"], "Cmd": ["sh"], "Volumes": {volume: {}}});
        arena.try_image(volume, &[with(vec![link("evil-link", arena.target())])], &config);
    }
    arena.intact();
}

#[test]
fn s62_archives_refer_only_to_their_own_members() {
    let arena = Arena::new("s62");
    let secret = format!("{}/secret", arena.target());
    let relative = format!("{}{secret}", "../".repeat(24));
    let good = with(vec![]);
    let config =
        serde_json::to_vec(&image::image_config(std::slice::from_ref(&good), &busybox_config())).unwrap();
    let path = arena.env.work().join("archive.tar");
    let file_name = path.to_str().unwrap();
    for reference in [&secret, &relative] {
        for (layer_ref, config_ref) in
            [(reference.as_str(), "config.json"), ("layer.tar", reference.as_str())]
        {
            let manifest = json!([{"Config": config_ref, "RepoTags": [EVIL], "Layers": [layer_ref]}]);
            let members = [
                ("config.json".to_owned(), config.clone()),
                ("layer.tar".to_owned(), good.clone()),
                ("manifest.json".to_owned(), serde_json::to_vec(&manifest).unwrap()),
            ];
            image::archive(&path, &members);
            let outcome = arena.env.run(["load", "-i", file_name]);
            assert_eq!(outcome.code, 125, "{reference}: {outcome:#?}");
            arena.harmless(reference, &outcome);
        }
        // Members that are links out of the archive.
        let manifest = json!([{"Config": "config.json", "RepoTags": [EVIL], "Layers": ["layer.tar"]}]);
        let bytes = layer(&[
            Entry::File("config.json".into(), 0o644, config.clone()),
            link("layer.tar", reference),
            file("manifest.json", &manifest.to_string()),
        ]);
        std::fs::write(&path, bytes).unwrap();
        let outcome = arena.env.run(["load", "-i", file_name]);
        assert_eq!(outcome.code, 125, "{reference}: {outcome:#?}");
        arena.harmless(reference, &outcome);
    }
    for text in ["", "not an archive", "\u{1f}\u{8b}broken"] {
        std::fs::write(&path, text).unwrap();
        let outcome = arena.env.run(["load", "-i", file_name]);
        assert_eq!(outcome.code, 125, "{text:?}: {outcome:#?}");
        arena.harmless(text, &outcome);
    }
    arena.intact();
}
