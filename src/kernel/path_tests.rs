//! Paths below a hostile root: wherever its links lead, nothing outside is seen or touched.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// A root with a secret beside it.
struct Place {
    dir: PathBuf,
    root: RootDir,
}

impl Place {
    fn new() -> Self {
        let dir = crate::kernel::scratch::path("path");
        fs::create_dir_all(dir.join("root/dir")).unwrap();
        fs::create_dir_all(dir.join("outside")).unwrap();
        make(&dir.join("outside/secret"), b"secret");
        make(&dir.join("root/dir/file"), b"inside");
        let root = RootDir::open(&dir.join("root")).unwrap();
        Self { dir, root }
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.dir.join("root").join(path)
    }

    fn outside_is_untouched(&self) {
        let names: Vec<_> =
            fs::read_dir(self.dir.join("outside")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"]);
        assert_eq!(fs::read(self.dir.join("outside/secret")).unwrap(), b"secret");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let parent = fs::File::open(self.dir.parent().unwrap()).unwrap();
        let name = self.dir.file_name().unwrap();
        crate::kernel::remove::remove_tree(parent.as_fd(), name, &self.dir).unwrap();
    }
}

fn make(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

fn rwx() -> Mode {
    Mode::from_raw_mode(0o755)
}

#[test]
fn links_and_dots_stay_inside() {
    let place = Place::new();
    let outside = place.dir.join("outside");
    symlink(&outside, place.inside("absolute")).unwrap();
    symlink("../outside", place.inside("relative")).unwrap();
    symlink("/dir", place.inside("good")).unwrap();
    symlink("/proc/self/root", place.inside("magic")).unwrap();
    for path in
        ["absolute/secret", "relative/secret", "../outside/secret", "magic/etc", "dir/../../outside/secret"]
    {
        assert!(!place.root.exists(path).unwrap(), "{path}");
        assert!(place.root.read_limited(path, 100).is_err(), "{path}");
    }
    for path in ["good/file", "/good/file", "../../dir/file", "dir/./../dir/file"] {
        assert_eq!(place.root.read_limited(path, 100).unwrap(), b"inside", "{path}");
    }
    assert!(place.root.read_limited("dir/file", 5).is_err(), "too long");
    assert!(place.root.read_limited("dir", 5).is_err(), "a directory");
    assert_eq!(place.root.read_link("good").unwrap(), Path::new("/dir"));
}

#[test]
fn what_is_made_is_made_inside() {
    let place = Place::new();
    let outside = place.dir.join("outside");
    symlink(&outside, place.inside("absolute")).unwrap();
    symlink("../../../../outside/new", place.inside("dangling")).unwrap();
    symlink("loop", place.inside("loop")).unwrap();
    place.root.create_dir_all("absolute/a/b", rwx()).unwrap();
    let same = place.inside(outside.strip_prefix("/").unwrap().to_str().unwrap());
    assert!(same.join("a/b").is_dir(), "the target of an absolute link is made inside");
    place.root.create_file("dangling", rwx()).unwrap();
    assert!(place.inside("outside/new").is_file());
    place.root.create_file("dangling", rwx()).unwrap();
    place.root.create_file("x/y/../z", rwx()).unwrap();
    assert!(place.inside("x/z").is_file());
    place.root.create_dir_all("x/y", rwx()).unwrap();
    for path in ["loop", "loop/x"] {
        assert!(place.root.create_dir_all(path, rwx()).is_err(), "{path}");
        assert!(place.root.create_file(path, rwx()).is_err(), "{path}");
    }
    assert!(place.root.create_dir_all("dir/file/x", rwx()).is_err(), "below a file");
    assert!(place.root.create_file("dir", rwx()).is_err(), "a directory is no file");
    assert!(place.root.create_new("dangling", rwx()).is_err(), "a link is in the way");
    place.outside_is_untouched();
}

#[test]
fn the_last_name_is_not_followed_by_changes() {
    let place = Place::new();
    let secret = place.dir.join("outside/secret");
    symlink(&secret, place.inside("link")).unwrap();
    let root = &place.root;
    assert!(root.set_mode("link", Mode::empty()).is_err());
    root.hard_link("link", "second").unwrap();
    assert!(place.inside("second").is_symlink());
    root.rename("second", "third").unwrap();
    root.symlink("anything", "fourth").unwrap();
    root.create_dir("fifth", rwx()).unwrap();
    root.mknod("fifth/fifo", FileType::Fifo, rwx(), 0).unwrap();
    assert!(root.read_limited("fifth/fifo", 10).is_err(), "without waiting for a writer");
    root.set_mode("dir/file", Mode::RUSR).unwrap();
    assert_eq!(place.inside("dir/file").metadata().unwrap().mode() & 0o777, 0o400);
    for path in ["link", "third", "fourth", "fifth/fifo"] {
        root.remove_file(path).unwrap();
    }
    root.remove_dir("fifth").unwrap();
    assert!(root.remove_dir("..").is_err() && root.remove_tree("").is_err());
    place.outside_is_untouched();
}

#[test]
fn trees_are_removed_without_following_links() {
    let place = Place::new();
    symlink(place.dir.join("outside"), place.inside("dir/link")).unwrap();
    fs::create_dir(place.inside("dir/closed")).unwrap();
    make(&place.inside("dir/closed/file"), b"");
    fs::set_permissions(place.inside("dir/closed"), fs::Permissions::from_mode(0o000)).unwrap();
    place.root.remove_tree("dir").unwrap();
    place.root.remove_tree("dir").unwrap();
    assert_eq!(fs::read_dir(place.inside("")).unwrap().count(), 0);
    place.outside_is_untouched();
}

#[test]
fn a_directory_swapped_for_a_link_leads_nowhere() {
    let place = Place::new();
    fs::create_dir(place.inside("swap")).unwrap();
    symlink(place.dir.join("outside"), place.inside("evil")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let root = fs::File::open(place.inside("")).unwrap();
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            while !stop.load(Ordering::Relaxed) {
                let _ = rustix::fs::renameat_with(&root, "swap", &root, "evil", flags);
            }
        });
        for round in 0..1000 {
            let _ = place.root.create_file(format!("swap/a{round}"), rwx());
            let _ = place.root.create_dir_all(format!("swap/d{round}/e"), rwx());
            assert!(place.root.read_limited("swap/secret", 100).is_err());
            let _ = place.root.remove_tree("swap/secret");
        }
        stop.store(true, Ordering::Relaxed);
    });
    place.outside_is_untouched();
}
