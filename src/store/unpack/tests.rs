//! Hostile and odd layers, unpacked for real. Numbers are those of the project's security cases.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use crate::kernel::xattr;
use crate::store::testing::*;
use crate::store::{Digest, Error, Layer, Store, UnpackOptions};

/// Unpacks into a fresh store; whatever happens, the canary stays and a refused layer leaves nothing.
fn attempt(name: &str, items: impl Fn(&Canary) -> Vec<Item>, check: impl Fn(Result<&Layer, &Error>)) {
    let scratch = Scratch::new("unpack");
    let canary = Canary::new(&scratch);
    let store = scratch.store();
    let result = unpack(&store, &archive(&items(&canary)));
    canary.assert_untouched(name);
    check(result.as_ref());
    if result.is_err() {
        assert_nothing_left(&store, name);
    }
    assert!(!listing(&scratch.0.join("data")).contains("token-7c1f"), "{name}");
}

fn assert_nothing_left(store: &Store, why: &str) {
    assert_eq!(fs::read_dir(store.data().join("layers")).unwrap().count(), 0, "{why}");
    for session in fs::read_dir(store.data().join("tmp")).unwrap() {
        let names: Vec<_> =
            fs::read_dir(session.unwrap().path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["pins"], "{why}");
    }
}

fn unpack_ok(items: &[Item]) -> (Scratch, Layer) {
    let scratch = Scratch::new("unpack");
    let layer = unpack(&scratch.store(), &archive(items)).unwrap();
    (scratch, layer)
}

fn user_xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    xattr::get(fs::File::open(path).unwrap(), name.as_bytes()).unwrap()
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0)
}

#[test]
fn s42_names_stay_inside_or_are_refused() {
    for (name, inside) in [
        (&b"../x"[..], None),
        (b"a/../../x", None),
        (b"./../x", None),
        (b"..", None),
        (b"/x", Some("x")),
        (b"//x", Some("x")),
        (b"/../x", Some("x")),
        (b"a/../x", Some("x")),
        (b"./x", Some("x")),
        (b"", None),
        (b".", None),
        (b"a/.", Some("a")),
        (&[b'n'; 256], None),
        (&[b"d/".repeat(32768), b"x".to_vec()].concat(), None),
    ] {
        let text = String::from_utf8_lossy(&name[..name.len().min(40)]).into_owned();
        attempt(
            &text,
            |_| vec![file(name, "x")],
            |result| match (result, inside) {
                (Ok(layer), Some(path)) => assert!(layer.diff().join(path).is_file(), "{text}"),
                (Err(_), None) => {}
                (result, _) => panic!("{text:?}: {result:?}"),
            },
        );
    }
}

#[test]
fn s42_a_name_with_a_nul_ends_there_or_is_refused() {
    let mut bytes = archive(&[file("abc", "x")]);
    bytes[1] = 0;
    fix_checksum(&mut bytes);
    let scratch = Scratch::new("nul");
    let layer = unpack(&scratch.store(), &bytes).unwrap();
    assert!(layer.diff().join("a").is_file());
}

fn fix_checksum(bytes: &mut [u8]) {
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes[..512].iter().map(|b| u32::from(*b)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn s43_links_never_lead_out() {
    let canary_dir = |canary: &Canary| canary.dir.to_str().unwrap().to_owned();
    // An absolute link is one inside the layer.
    attempt(
        "absolute link",
        |c| vec![symlink("a", canary_dir(c)), file("a/pwn", "x")],
        |result| assert!(result.unwrap().diff().join("a").is_symlink()),
    );
    attempt(
        "relative link",
        |_| vec![symlink("a", "../../../../../../../../canary"), file("a/pwn", "x"), dir("a/sub")],
        |result| assert!(result.unwrap().diff().join("canary/pwn").is_file()),
    );
    attempt(
        "replaced directory",
        |c| vec![dir("a"), symlink("a", canary_dir(c)), file("a/secret", "x"), dir("a/sub").mode(0)],
        |result| assert!(result.is_ok()),
    );
    attempt(
        "the last name is a link",
        |c| vec![symlink("a", format!("{}/secret", canary_dir(c))), file("a", "x")],
        |result| assert!(result.unwrap().diff().join("a").metadata().unwrap().is_file()),
    );
    attempt(
        "a chain of 40",
        |c| {
            let mut items: Vec<_> =
                (0..40).map(|i| symlink(format!("l{i}"), format!("l{}", i + 1))).collect();
            items.extend([symlink("l40", canary_dir(c)), file("l0/pwn", "x")]);
            items
        },
        |result| assert!(result.is_err()),
    );
    attempt(
        "a loop",
        |_| vec![symlink("a", "b"), symlink("b", "a"), file("a/x", "x")],
        |result| assert!(result.is_err()),
    );
}

#[test]
fn s43_links_of_lower_layers_are_not_followed() {
    let scratch = Scratch::new("s43");
    let canary = Canary::new(&scratch);
    let store = scratch.store();
    unpack(&store, &archive(&[symlink("a", canary.dir.to_str().unwrap())])).unwrap();
    let layer = unpack(&store, &archive(&[file("a/pwn", "x")])).unwrap();
    canary.assert_untouched("two layers");
    assert!(layer.diff().join("a/pwn").is_file());
    assert_eq!(layer.record().implied, ["", "a"]);
}

#[test]
fn s45_hard_links_stay_in_the_layer() {
    let secret = |c: &Canary| format!("{}/secret", c.dir.display());
    type Make = fn(&Canary) -> Vec<Item>;
    let refused: [(&str, Make); 8] = [
        ("relative", |_| vec![link("l", "../../../canary/secret")]),
        ("absolute", |_| vec![link("l", "/etc/passwd")]),
        ("itself", |_| vec![link("l", "l")]),
        ("later", |_| vec![link("l", "f"), file("f", "x")]),
        ("directory", |_| vec![dir("d"), link("l", "d")]),
        ("root", |_| vec![link("l", ".")]),
        ("whiteout", |_| vec![file(".wh.f", ""), link("l", "f")]),
        ("whiteout by its name", |_| vec![file(".wh.f", ""), link("l", ".wh.f")]),
    ];
    for (name, items) in refused {
        attempt(name, items, |result| assert!(result.is_err(), "{name}"));
    }
    // A link to a link is one to the link itself, and the parents of a target resolve inside the layer.
    attempt(
        "to a symlink",
        |c| vec![symlink("s", secret(c)), link("l", "s")],
        |result| assert!(result.unwrap().diff().join("l").is_symlink()),
    );
    attempt(
        "through a symlink",
        |c| vec![symlink("s", c.dir.to_str().unwrap()), link("l", "s/secret")],
        |result| assert!(result.is_err()),
    );
    let (_scratch, layer) = unpack_ok(&[file("d/f", "x"), link("l", "d/f"), link("d/m", "/l")]);
    assert_eq!(layer.diff().join("l").metadata().unwrap().nlink(), 3);
}

#[test]
fn s46_whiteouts_touch_this_layer_only() {
    for name in ["a/.wh.secret", "a/.wh..wh..opq"] {
        attempt(
            name,
            |c| vec![symlink("a", c.dir.to_str().unwrap()), file(name, "")],
            |result| assert!(result.is_ok()),
        );
    }
    for name in [".wh.", ".wh..", ".wh...", ".wh..wh.x", ".wh.a/b", "d/.wh..wh.aufs"] {
        attempt(name, |_| vec![file(name, "")], |result| assert!(result.is_err(), "{name}"));
    }
    attempt("a directory", |_| vec![dir(".wh.a")], |result| assert!(result.is_err()));
    attempt(
        "aufs",
        |_| vec![dir(".wh..wh.plnk"), file(".wh..wh.plnk/1", "x")],
        |result| {
            assert_eq!(fs::read_dir(result.unwrap().diff()).unwrap().count(), 0);
        },
    );
}

#[test]
fn whiteouts_hide_lower_layers_only_wherever_they_stand() {
    let (_scratch, layer) = unpack_ok(&[
        file(".wh.gone", ""),
        file("kept", "1"),
        file(".wh.kept", ""),
        file(".wh.late", ""),
        file("late", "2"),
        dir("first"),
        file("first/x", ""),
        file(".wh.first", ""),
        file(".wh.after", ""),
        dir("after"),
        file(".wh.parent", ""),
        file("parent/x", ""),
        dir("opaque"),
        file("opaque/.wh..wh..opq", ""),
        file("opaque/.wh.useless", ""),
        file("opaque/in/.wh.useless", ""),
    ]);
    let diff = layer.diff();
    assert!(is_whiteout(&diff.join("gone")));
    assert_eq!(fs::read(diff.join("kept")).unwrap(), b"1");
    assert_eq!(fs::read(diff.join("late")).unwrap(), b"2");
    for dir in ["first", "after", "parent", "opaque"] {
        assert_eq!(user_xattr(&diff.join(dir), "user.overlay.opaque").as_deref(), Some(&b"y"[..]), "{dir}");
    }
    assert!(diff.join("first/x").is_file() && diff.join("parent/x").is_file());
    assert!(!diff.join("opaque/useless").exists() && !diff.join("opaque/in/useless").exists());
    assert_eq!(layer.record().opaque, ["after", "first", "opaque", "parent"]);
}

#[test]
fn s48_overlay_metadata_is_not_taken_from_a_layer() {
    let forged = ["redirect", "opaque", "metacopy", "origin", "whiteout", "impure", "nlink"];
    for name in forged {
        for prefix in ["user.overlay.", "trusted.overlay.", "user.fuseoverlayfs.", "user.rbox."] {
            let name = format!("{prefix}{name}");
            let (_scratch, layer) = unpack_ok(&[
                file("f", "x").xattr(&name, "/../.."),
                dir("d").xattr(&name, "y"),
                dir(".").xattr(&name, "y"),
            ]);
            for path in ["f", "d", "."] {
                let file = fs::File::open(layer.diff().join(path)).unwrap();
                assert!(xattr::list(file).unwrap().is_empty(), "{name} on {path}");
            }
            assert_eq!(layer.record().dropped_xattrs, 3);
        }
    }
    let (_scratch, layer) = unpack_ok(&[file("f", "x"), device("f", 0, 0), device("n", 1, 3)]);
    assert!(!layer.diff().join("f").exists() && !layer.diff().join("n").exists());
    assert_eq!(layer.record().devices, 2);
}

#[test]
fn s49_the_root_stays_a_directory() {
    for name in [".", "./", "/", ""] {
        attempt(name, |c| vec![symlink(name, c.dir.to_str().unwrap())], |result| assert!(result.is_err()));
        attempt(name, |_| vec![file(name, "x")], |result| assert!(result.is_err()));
        attempt(name, |_| vec![fifo(name)], |result| assert!(result.is_err()));
        attempt(name, |_| vec![file("f", "x"), link(name, "f")], |result| assert!(result.is_err()));
    }
    let (_scratch, layer) = unpack_ok(&[dir("./").mode(0o1777).mtime(5, 7), file("f", "")]);
    let meta = layer.diff().metadata().unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec()), (0o1777, 5, 7));
}

#[test]
fn s54_limits_hold_before_the_disk_fills() {
    let scratch = Scratch::new("s54");
    let store = scratch.store();
    let bytes = archive(&[file("big", vec![0; 1 << 20])]);
    let lock = store.lock_layer(&Digest::of(&bytes)).unwrap();
    let small = UnpackOptions { max_bytes: 100_000, ..options() };
    let error = store.unpack_layer(&lock, bytes.as_slice(), &small).unwrap_err();
    assert!(format!("{error:?}").contains("Limit"), "{error:?}");
    let few = UnpackOptions { max_entries: 10, ..options() };
    let items: Vec<_> = (0..11).map(|i| file(format!("{i}"), "")).collect();
    let bytes = archive(&items);
    let lock = store.lock_layer(&Digest::of(&bytes)).unwrap();
    assert!(store.unpack_layer(&lock, bytes.as_slice(), &few).is_err());
    assert_nothing_left(&store, "limits");
}

#[test]
fn s57_a_wrong_digest_leaves_nothing() {
    let scratch = Scratch::new("s57");
    let store = scratch.store();
    let good = archive(&[file("f", "content"), dir("d").mode(0)]);
    for (what, bad) in [
        ("flipped", {
            let mut b = good.clone();
            b[600] ^= 1;
            b
        }),
        ("longer", [&good[..], b"x"].concat()),
        ("shorter", good[..good.len() - 1].to_vec()),
        ("cut", good[..600].to_vec()),
        ("empty", Vec::new()),
    ] {
        let lock = store.lock_layer(&Digest::of(&good)).unwrap();
        assert!(store.unpack_layer(&lock, bad.as_slice(), &options()).is_err(), "{what}");
        assert_nothing_left(&store, what);
    }
    unpack(&store, &good).unwrap();
}

#[test]
fn attributes_are_as_the_archive_says() {
    let long = "n/".repeat(60) + &"x".repeat(200);
    let (_scratch, layer) = unpack_ok(&[
        dir("d").mode(0o2751).mtime(3, 4),
        file("d/setuid", "x").mode(0o4755).mtime(1, 999_999_999),
        file("d/none", "x").mode(0).xattr("user.a", "1").xattr("user.b", [0, 255]),
        fifo("d/fifo").mode(0o622).mtime(9, 0),
        symlink("d/link", "nowhere").mtime(7, 8),
        file(&long, "long"),
        file("before", "").mtime(-5, 500_000_000),
        file("f\u{fc}r", "utf8"),
        file(b"latin\xfc", "bytes"),
    ]);
    let meta = |path: &str| fs::symlink_metadata(layer.diff().join(path)).unwrap();
    let at = |path: &str| (meta(path).mode() & 0o7777, meta(path).mtime(), meta(path).mtime_nsec());
    assert_eq!(at("d"), (0o2751, 3, 4));
    assert_eq!(at("d/setuid"), (0o4755, 1, 999_999_999));
    assert_eq!(at("d/none").0, 0);
    assert_eq!(at("d/fifo"), (0o622, 9, 0));
    assert!(meta("d/fifo").file_type().is_fifo());
    assert_eq!((meta("d/link").mtime(), meta("d/link").mtime_nsec()), (7, 8));
    assert_eq!(at("before").1, -5);
    assert_eq!(fs::read(layer.diff().join(&long)).unwrap(), b"long");
    if is_root() {
        assert_eq!(user_xattr(&layer.diff().join("d/none"), "user.b").unwrap(), [0, 255]);
    }
}

#[test]
fn owners_are_kept_and_unknown_ones_named() {
    if !is_root() {
        // Setting owners needs the rights of a user namespace's root.
        return;
    }
    let (_scratch, layer) = unpack_ok(&[
        dir("d").owner(1, 2),
        file("d/f", "x").owner(3, 4).mode(0o6755),
        symlink("d/l", "f").owner(5, 6),
        fifo("d/p").owner(7, 8),
    ]);
    assert_eq!((layer.record().max_uid, layer.record().max_gid), (7, 8));
    for (path, owner) in [("d", (1, 2)), ("d/f", (3, 4)), ("d/l", (5, 6)), ("d/p", (7, 8))] {
        let meta = fs::symlink_metadata(layer.diff().join(path)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), owner, "{path}");
    }
    assert_eq!(layer.diff().join("d/f").metadata().unwrap().mode() & 0o7777, 0o6755);
    for (uid, gid) in [(65536, 0), (0, 70000), (u64::from(u32::MAX), 0), (1 << 33, 0)] {
        attempt(
            "a high id",
            |_| vec![file("f", "x").owner(uid, gid)],
            |result| {
                let text = result.unwrap_err().to_string();
                assert!(text.contains("65536 ids") && text.contains("/etc/sub"), "{text}");
            },
        );
    }
}

#[test]
fn with_one_id_every_owner_becomes_it() {
    let scratch = Scratch::new("squash");
    let store = scratch.store();
    let bytes = archive(&[file("f", "x").owner(4_000_000, 12), dir("d").owner(1, 1)]);
    let lock = store.lock_layer(&Digest::of(&bytes)).unwrap();
    let one = UnpackOptions { squash: true, ..options() };
    let layer = store.unpack_layer(&lock, bytes.as_slice(), &one).unwrap();
    assert!(layer.record().squashed);
    let me = rustix::process::geteuid().as_raw();
    assert_eq!(layer.diff().join("f").metadata().unwrap().uid(), me);
}

#[test]
fn later_entries_replace_earlier_ones() {
    let (_scratch, layer) = unpack_ok(&[
        file("a", "old"),
        file("a", "new"),
        dir("d").mode(0o700),
        file("d/kept", "x"),
        dir("d").mode(0o711),
        dir("gone"),
        file("gone/deep/x", "x"),
        file("gone", "file"),
        symlink("l", "a"),
        dir("l"),
        file("l/x", "x"),
    ]);
    let diff = layer.diff();
    assert_eq!(fs::read(diff.join("a")).unwrap(), b"new");
    assert!(diff.join("d/kept").is_file());
    assert_eq!(diff.join("d").metadata().unwrap().mode() & 0o777, 0o711);
    assert_eq!(fs::read(diff.join("gone")).unwrap(), b"file");
    assert!(diff.join("l/x").is_file() && !diff.join("l").is_symlink());
    assert_eq!(layer.record().implied, [""]);
}

#[test]
fn a_file_is_no_directory() {
    attempt("below a file", |_| vec![file("a", ""), file("a/b", "")], |result| assert!(result.is_err()));
}
