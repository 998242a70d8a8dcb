//! Root file systems, mounted for real. Mounting needs a process with one thread and a mount namespace of
//! its own, so each test runs once more, alone, under `unshare`.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use rustix::io::Errno;

use super::*;
use crate::kernel::idmap::IdRange;
use crate::kernel::mount::FileSystemContext;
use crate::kernel::path::proc_fd_path;
use crate::store::DriverOptions;
use crate::store::probe::Problem;
use crate::store::testing::*;

/// Whether this is the second run of the test, in namespaces of its own; else makes it.
fn alone(test: &str) -> bool {
    if std::env::args().any(|arg| arg == "--test-threads=1") {
        return true;
    }
    let flags = if is_root() { "-m" } else { "-Urm" };
    let exe = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .arg(flags)
        .arg(exe)
        .args(["--exact", &format!("store::root::tests::{test}"), "--test-threads=1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

fn c(text: impl AsRef<std::ffi::OsStr>) -> CString {
    CString::new(text.as_ref().as_bytes()).unwrap()
}

fn mount(root: &RootMount) -> OwnedFd {
    let RootMount::Overlay { base, lowers, upper, work, options } = root else { panic!("{root:?}") };
    rustix::process::chdir(base).unwrap();
    let context = FileSystemContext::open(c"overlay").unwrap();
    for lower in lowers {
        context.set(c"lowerdir+", &c(lower)).unwrap();
    }
    if let (Some(upper), Some(work)) = (upper, work) {
        context.set(c"upperdir", &c(upper)).unwrap();
        context.set(c"workdir", &c(work)).unwrap();
    }
    for (key, value) in options {
        match value {
            Some(value) => context.set(&c(key), &c(value)).unwrap(),
            None => context.set_flag(&c(key)).unwrap(),
        }
    }
    context.mount(0).unwrap()
}

fn see(root: &OwnedFd) -> PathBuf {
    PathBuf::from(proc_fd_path(root.as_fd()))
}

fn layers_of(archives: &[Vec<u8>]) -> Vec<Digest> {
    archives.iter().map(|archive| Digest::of(archive)).collect()
}

#[test]
fn the_driver_is_remembered_and_can_be_forced() {
    if !alone("the_driver_is_remembered_and_can_be_forced") {
        return;
    }
    let scratch = Scratch::new("driver");
    let store = scratch.store();
    store.probe_here();
    let info = store.driver().unwrap();
    assert_eq!(info.driver, Driver::Overlay, "{info:?}");
    let kept = fs::read(store.data().join("probe/overlay.json")).unwrap();
    assert_eq!(fs::read_dir(store.data().join("tmp")).unwrap().count(), 1, "only the session is left");
    assert_eq!(store.driver().unwrap(), info);
    assert_eq!(fs::read(store.data().join("probe/overlay.json")).unwrap(), kept);
    let forced = |driver, program: Option<&str>| {
        let options = DriverOptions { driver: Some(driver), fuse_program: program.map(PathBuf::from) };
        scratch.store().with_driver(options).driver()
    };
    assert_eq!(forced(Driver::FuseOverlay, Some("/x")).unwrap().program, Some("/x".into()));
    assert_eq!(forced(Driver::Overlay, None).unwrap(), info);
    // A host that said no is asked no more, and says why.
    let text = String::from_utf8(kept).unwrap().replace("\"refusal\":null", "\"refusal\":\"no, on nfs\"");
    put(&store.data().join("probe/overlay.json"), text.as_bytes());
    let error = forced(Driver::Overlay, None).unwrap_err();
    assert!(error.to_string().contains("no, on nfs"), "{error}");
    let info = scratch
        .store()
        .with_driver(DriverOptions { driver: None, fuse_program: Some("/x".into()) })
        .driver()
        .unwrap();
    assert_eq!((info.driver, info.reason.as_deref()), (Driver::FuseOverlay, Some("no, on nfs")));
}

#[test]
fn a_root_shows_what_the_layers_say() {
    if !alone("a_root_shows_what_the_layers_say") {
        return;
    }
    let scratch = Scratch::new("root");
    let store = scratch.store();
    store.probe_here();
    let archives = [
        archive(&[
            dir(".").mode(0o1755),
            dir("etc").mode(0o751),
            file("etc/a", "1"),
            file("etc/b", "1"),
            dir("gone"),
            file("gone/x", "1"),
            dir("hidden"),
            file("hidden/x", "1"),
            dir("again"),
            file("again/x", "1"),
        ]),
        archive(&[
            file("etc/.wh.a", ""),
            file(".wh.gone", ""),
            file("hidden/.wh..wh..opq", ""),
            file("hidden/y", "2"),
            file(".wh.again", ""),
            file("again/y", "2"),
            file("etc/sub/c", "2"),
        ]),
    ];
    let record = image(&store, Some("localhost/x:latest"), &archives);
    let layers = record.mount_layers();
    assert_eq!(layers.len(), 3, "etc was only implied by the second layer");
    let identity = options().maps;
    assert_eq!(store.root_attributes(&layers, &identity).unwrap().mode, 0o1755);
    let container = scratch.0.join("data/containers/x");
    fs::create_dir_all(&container).unwrap();
    let (upper, work) = (container.join("upper"), container.join("work"));
    store.make_upper(&layers, &identity, &upper, &work).unwrap();
    let root = store.root_mount(&layers, Some(&upper), Some(&work), &identity).unwrap();
    let mounted = mount(&root);
    let at = |path: &str| see(&mounted).join(path);
    assert_eq!(fs::metadata(at(".")).unwrap().mode() & 0o7777, 0o1755);
    assert_eq!(fs::metadata(at("etc")).unwrap().mode() & 0o7777, 0o751, "implied by the upper layer");
    assert!(!at("etc/a").exists() && at("etc/b").exists() && at("etc/sub/c").exists());
    assert!(!at("gone").exists());
    assert!(!at("hidden/x").exists() && at("hidden/y").exists());
    assert!(!at("again/x").exists() && at("again/y").exists());
    changes_are_listed_and_packed(&store, &layers, &upper, &see(&mounted));
}

fn changes_are_listed_and_packed(store: &Store, layers: &[Digest], upper: &Path, root: &Path) {
    use crate::store::Change::{Added, Changed, Deleted};
    put(&root.join("etc/b"), b"changed");
    put(&root.join("new"), b"n");
    fs::hard_link(root.join("new"), root.join("new2")).unwrap();
    fs::remove_dir_all(root.join("again")).unwrap();
    fs::remove_dir_all(root.join("hidden")).unwrap();
    fs::create_dir(root.join("hidden")).unwrap();
    put(&root.join("short-lived"), b"");
    fs::remove_file(root.join("short-lived")).unwrap();
    let changes = store.changes(layers, upper).unwrap();
    let changes: Vec<_> = changes.iter().map(|(change, path)| (*change, path.to_str().unwrap())).collect();
    assert_eq!(
        changes,
        [
            (Deleted, "/again"),
            (Changed, "/etc"),
            (Changed, "/etc/b"),
            (Changed, "/hidden"),
            (Deleted, "/hidden/y"),
            (Added, "/new"),
            (Added, "/new2"),
        ]
    );
    let pack = || {
        let dir = fs::File::open(upper).unwrap().into();
        let mut writer = crate::store::tar::Writer::new(Vec::new());
        let options =
            crate::store::pack::PackOptions { maps: options().maps, overlay: true, ..Default::default() };
        crate::store::pack::pack(&dir, &options, &mut writer).unwrap();
        writer.finish().unwrap()
    };
    let packed = pack();
    assert_eq!(packed, pack(), "the same tree gives the same bytes");
    // Unpacked again it is a layer with the same effect.
    let layer = unpack(store, &packed).unwrap();
    let mut more = layers.to_vec();
    more.push(layer.record().id.clone());
    let again = mount(&store.root_mount(&more, None, None, &options().maps).unwrap());
    let (one, two) = (listing(root), listing(&see(&again)));
    let plain = |text: &str| -> Vec<String> {
        let line =
            |line: &str| line.split(' ').filter(|word| !word.contains('.')).collect::<Vec<_>>().join(" ");
        text.lines().skip(1).map(line).collect()
    };
    assert_eq!(plain(&one), plain(&two));
}

#[test]
fn owners_shift_with_the_containers_map() {
    if !alone("owners_shift_with_the_containers_map")
        || !is_root()
        || !crate::kernel::ns::in_initial_user_namespace()
    {
        return;
    }
    let scratch = Scratch::new("shift");
    let store = scratch.store();
    store.probe_here();
    let archives = [archive(&[
        dir("d").owner(1, 2).mode(0o2755),
        file("d/f", "content").owner(3, 0).mode(0o4755).mtime(5, 6),
        link("d/g", "d/f"),
        file("d/empty", "").xattr("user.x", "1"),
        symlink("d/l", "f").owner(1, 1),
        fifo("d/p").owner(1, 1),
        file(".wh.w", ""),
    ])];
    image(&store, None, &archives);
    let map = vec![IdRange { inside: 0, outside: 1000, count: 1000 }];
    let maps = IdMaps { uid: map.clone(), gid: map };
    for data_only in [true, false] {
        let text = fs::read_to_string(store.data().join("probe/overlay.json")).unwrap();
        assert!(!data_only || text.contains("\"data_only\":true"), "{text}");
        let text = text.replace("\"data_only\":true", &format!("\"data_only\":{data_only}"));
        put(&store.data().join("probe/overlay.json"), text.as_bytes());
        let layers = layers_of(&archives);
        let (upper, work) =
            (scratch.0.join(format!("upper-{data_only}")), scratch.0.join(format!("work-{data_only}")));
        for dir in [&upper, &work] {
            fs::create_dir(dir).unwrap();
        }
        let mounted = mount(&store.root_mount(&layers, Some(&upper), Some(&work), &maps).unwrap());
        let at = |path: &str| see(&mounted).join(path);
        let owner = |path: &str| {
            let meta = fs::symlink_metadata(at(path)).unwrap();
            (meta.uid(), meta.gid(), meta.mode() & 0o7777)
        };
        assert_eq!(owner("."), (1000, 1000, 0o555));
        assert_eq!(owner("d"), (1001, 1002, 0o2755));
        assert_eq!(owner("d/f"), (1003, 1000, 0o4755));
        assert_eq!((owner("d/l").0, owner("d/p").1), (1001, 1001));
        let meta = fs::metadata(at("d/f")).unwrap();
        assert_eq!((meta.mtime(), meta.mtime_nsec(), meta.nlink(), meta.len()), (5, 6, 2, 7));
        assert_eq!(fs::read_to_string(at("d/f")).unwrap(), "content");
        assert_eq!(fs::read_to_string(at("d/g")).unwrap(), "content");
        let derived = fs::read_dir(store.data().join("derived")).unwrap().count();
        store.root_mount(&layers, None, None, &maps).unwrap();
        assert_eq!(fs::read_dir(store.data().join("derived")).unwrap().count(), derived, "made once");
    }
    let narrow = IdMaps { uid: vec![IdRange { inside: 0, outside: 9, count: 1 }], ..maps };
    let error = store.root_mount(&layers_of(&archives), None, None, &narrow).unwrap_err();
    assert!(error.to_string().contains("id map"), "{error}");
}

#[test]
fn more_layers_than_overlay_stacks_are_merged() {
    if !alone("more_layers_than_overlay_stacks_are_merged") {
        return;
    }
    let scratch = Scratch::new("many");
    let store = scratch.store();
    store.probe_here();
    let mut archives: Vec<_> = (0..520).map(|i| archive(&[file(format!("f{i}"), format!("{i}"))])).collect();
    archives[10] = archive(&[file(".wh.f3", ""), dir("o"), file("o/x", "")]);
    archives[11] = archive(&[dir("o").mode(0o700), file("o/.wh..wh..opq", ""), file("o/y", "")]);
    for archive in &archives {
        unpack(&store, archive).unwrap();
    }
    let root = store.root_mount(&layers_of(&archives), None, None, &options().maps).unwrap();
    let count = |root: &RootMount| match root {
        RootMount::Overlay { lowers, .. } => lowers.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(count(&root), 401);
    // An old kernel takes fewer.
    let probe = store.data().join("probe/overlay.json");
    let text = fs::read_to_string(&probe).unwrap().replace("\"one_by_one\":true", "\"one_by_one\":false");
    put(&probe, text.as_bytes());
    assert_eq!(count(&store.root_mount(&layers_of(&archives), None, None, &options().maps).unwrap()), 46);
    let mounted = mount(&root);
    let at = |path: &str| see(&mounted).join(path);
    assert_eq!(fs::read_to_string(at("f0")).unwrap(), "0");
    assert_eq!(fs::read_to_string(at("f519")).unwrap(), "519");
    assert!(!at("f3").exists() && !at("o/x").exists() && at("o/y").exists());
    assert_eq!(fs::metadata(at("o")).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn f55_overlay_on_overlay_is_refused_with_a_reason() {
    if !alone("f55_overlay_on_overlay_is_refused_with_a_reason") {
        return;
    }
    let scratch = Scratch::new("f55");
    for dir in ["lower", "upper", "work", "merged"] {
        fs::create_dir(scratch.0.join(dir)).unwrap();
    }
    let root = RootMount::Overlay {
        base: scratch.0.clone(),
        lowers: vec!["lower".into()],
        upper: Some("upper".into()),
        work: Some("work".into()),
        options: vec![("userxattr".into(), None)],
    };
    let mounted = mount(&root);
    let store = Store::open_at(&see(&mounted).join("data")).unwrap();
    let problem = store.try_here().unwrap_err();
    assert!(problem.text.contains("whiteout"), "{problem:?}");
    // Layers can be unpacked all the same, for fuse-overlayfs.
    let layer =
        unpack(&store, &archive(&[file("a/.wh.b", ""), file("a/.wh..wh..opq", ""), file("a/c", "1")]));
    let diff = layer.unwrap().diff();
    assert!(diff.join("a/.wh.b").is_file() && diff.join("a/.wh..wh..opq").is_file());
    assert_eq!(fs::read_to_string(diff.join("a/c")).unwrap(), "1");
}

#[test]
fn f12_a_full_disk_fails_cleanly_and_can_be_freed() {
    if !alone("f12_a_full_disk_fails_cleanly_and_can_be_freed") {
        return;
    }
    let scratch = Scratch::new("f12");
    let small = scratch.0.join("small");
    fs::create_dir(&small).unwrap();
    rustix::mount::mount("none", &small, "tmpfs", rustix::mount::MountFlags::empty(), c"size=8m,mode=0700")
        .unwrap();
    let store = Store::open_at(&small.join("data")).unwrap();
    let kept = image(&store, Some("localhost/kept:latest"), &[archive(&[file("f", vec![1; 1 << 20])])]);
    let gone = image(&store, Some("localhost/gone:latest"), &[archive(&[file("f", vec![2; 1 << 20])])]);
    // A blob and a layer that do not fit.
    let big: Vec<u8> = (0..8_u32 << 20).map(|i| (i >> 8) as u8).collect();
    let error = store.put_blob(&big).unwrap_err();
    assert!(format!("{error:?}").contains("StorageFull"), "{error:?}");
    store.gc(crate::store::Partials::Remove).unwrap();
    let error = unpack(&store, &archive(&[file("big", &big)])).unwrap_err();
    assert!(format!("{error:?}").contains("StorageFull"), "{error:?}");
    drop(store);
    // Full to the last byte, everything that reads or deletes works, in a process that wrote nothing yet.
    let mut filler = fs::File::create(small.join("filler")).unwrap();
    while std::io::Write::write(&mut filler, &[0; 4096]).is_ok_and(|count| count > 0) {}
    let store = Store::open_at(&small.join("data")).unwrap();
    assert_eq!(store.images().unwrap().len(), 2);
    assert_eq!(store.find_image("kept").unwrap().record.id, kept.id);
    let removed = store.remove_image(&gone.id, None, |_| Vec::new()).unwrap();
    assert_eq!(removed.deleted, Some(gone.id));
    let collected = store.gc(crate::store::Partials::Remove).unwrap();
    assert!(collected.bytes > 1 << 20 && collected.layers == 1, "{collected:?}");
    assert_eq!(fs::read_dir(small.join("data/tmp")).unwrap().count(), 0);
    // There is room again.
    image(&store, None, &[archive(&[file("f", vec![3; 1 << 20])])]);
    // A mount left behind would not be removed, on purpose.
    rustix::mount::unmount(&small, rustix::mount::UnmountFlags::DETACH).unwrap();
}

#[test]
fn a_read_only_store_can_be_read() {
    if !alone("a_read_only_store_can_be_read") {
        return;
    }
    let scratch = Scratch::new("readonly");
    let disk = scratch.0.join("disk");
    fs::create_dir(&disk).unwrap();
    rustix::mount::mount("none", &disk, "tmpfs", rustix::mount::MountFlags::empty(), c"mode=0700").unwrap();
    let store = Store::open_at(&disk.join("data")).unwrap();
    store.probe_here();
    let record = image(&store, Some("localhost/x:latest"), &[archive(&[file("f", "x")])]);
    drop(store);
    rustix::mount::mount_remount(&disk, rustix::mount::MountFlags::RDONLY, c"").unwrap();
    let store = Store::open_at(&disk.join("data")).unwrap();
    assert_eq!(store.find_image("x").unwrap().record, record);
    drop(store.hold_image(&record.id).unwrap());
    store.root_mount(&record.mount_layers(), None, None, &options().maps).unwrap();
    for error in [
        store.put_blob(b"x").unwrap_err(),
        store.untag("localhost/x:latest").unwrap_err(),
        store.remove_image(&record.id, None, |_| Vec::new()).unwrap_err(),
        Store::open_at(&disk.join("other")).unwrap_err(),
    ] {
        assert_eq!(error.kind(), crate::config::ErrorKind::Denied, "{error:?}");
    }
    rustix::mount::unmount(&disk, rustix::mount::UnmountFlags::DETACH).unwrap();
}

/// Out of descriptors or space: that says nothing of the kernel, and must not be kept as its answer.
#[test]
fn passing_failures_are_no_answer() {
    for (errno, passing) in
        [(Errno::MFILE, true), (Errno::NOSPC, true), (Errno::IO, true), (Errno::PERM, false)]
    {
        assert_eq!(Problem::of_call("mkdir", &errno.into()).passing, passing, "{errno:?}");
    }
}
