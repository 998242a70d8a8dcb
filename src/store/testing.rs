//! What the tests of the store share: scratch directories, hostile archives, and the canary.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::tar::{Header, Kind, Writer};
use super::{Digest, ImageId, ImageLayer, ImageRecord, Layer, Store, UnpackOptions};
use crate::kernel::idmap::{IdMaps, IdRange};

/// A directory that goes away with the value.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Self {
        let dir = crate::kernel::scratch::path(test);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        Self(dir)
    }

    pub(crate) fn store(&self) -> Store {
        Store::open_at(&self.0.join("data")).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        super::session::remove(&self.0);
    }
}

/// A tree outside the store that no archive may reach.
pub(crate) struct Canary {
    pub(crate) dir: PathBuf,
    before: String,
}

impl Canary {
    pub(crate) fn new(scratch: &Scratch) -> Self {
        let dir = scratch.0.join("canary");
        fs::create_dir(&dir).unwrap();
        put(&dir.join("secret"), b"token-7c1f");
        fs::create_dir(dir.join("sub")).unwrap();
        put(&dir.join("sub/file"), b"token-7c1f");
        let before = listing(&dir);
        Self { dir, before }
    }

    pub(crate) fn assert_untouched(&self, why: &str) {
        assert_eq!(listing(&self.dir), self.before, "canary touched by {why}");
    }
}

/// Everything about a tree that a write would change.
pub(crate) fn listing(dir: &Path) -> String {
    let mut text = String::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content =
            if meta.is_file() { Digest::of(&fs::read(&path).unwrap()).hex() } else { String::new() };
        let target = fs::read_link(&path).map(|t| t.display().to_string()).unwrap_or_default();
        // A whiteout has no content and no times that count.
        let (seconds, nanos) =
            if meta.file_type().is_char_device() { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) };
        text.push_str(&format!(
            "{} {:o} {} {} {} {seconds}.{nanos} {content} {target}\n",
            path.strip_prefix(dir).unwrap().display(),
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.nlink(),
        ));
        if let Ok(entries) = fs::read_dir(&path) {
            let mut names: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
            names.sort();
            todo.extend(names);
        }
    }
    text
}

pub(crate) fn put(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// All ids where the test may set them, else one.
pub(crate) fn options() -> UnpackOptions {
    let all = vec![IdRange { inside: 0, outside: 0, count: 65536 }];
    UnpackOptions {
        maps: IdMaps { uid: all.clone(), gid: all },
        squash: !is_root(),
        max_entries: 100_000,
        max_bytes: 1 << 30,
    }
}

/// One entry of an archive for a test.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) header: Header,
    pub(crate) content: Vec<u8>,
}

fn item(path: impl AsRef<[u8]>, kind: Kind) -> Item {
    let mode = if kind == Kind::Directory { 0o755 } else { 0o644 };
    let header = Header { mtime: (1_000_000_000, 0), ..Header::plain(path.as_ref(), kind, mode, 0) };
    Item { header, content: Vec::new() }
}

pub(crate) fn file(path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Item {
    let mut item = item(path, Kind::File);
    item.content = content.as_ref().to_vec();
    item.header.size = item.content.len() as u64;
    item
}

pub(crate) fn dir(path: impl AsRef<[u8]>) -> Item {
    item(path, Kind::Directory)
}

pub(crate) fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Item {
    let mut item = item(path, Kind::Symlink);
    item.header.link = target.as_ref().to_vec();
    item
}

pub(crate) fn link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Item {
    let mut item = item(path, Kind::HardLink);
    item.header.link = target.as_ref().to_vec();
    item
}

pub(crate) fn device(path: impl AsRef<[u8]>, major: u32, minor: u32) -> Item {
    let mut item = item(path, Kind::CharDevice);
    item.header.device = (major, minor);
    item
}

pub(crate) fn fifo(path: impl AsRef<[u8]>) -> Item {
    item(path, Kind::Fifo)
}

impl Item {
    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.header.mode = mode;
        self
    }

    pub(crate) fn owner(mut self, uid: u64, gid: u64) -> Self {
        (self.header.uid, self.header.gid) = (uid, gid);
        self
    }

    pub(crate) fn xattr(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.header.xattrs.push((name.into(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn mtime(mut self, seconds: i64, nanos: u32) -> Self {
        self.header.mtime = (seconds, nanos);
        self
    }
}

pub(crate) fn archive(items: &[Item]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for item in items {
        writer.append(&item.header, item.content.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

/// Unpacks an archive as the layer of its own digest.
pub(crate) fn unpack(store: &Store, archive: &[u8]) -> super::Result<Layer> {
    let lock = store.lock_layer(&Digest::of(archive))?;
    store.unpack_layer(&lock, archive, &options())
}

/// Puts an image of these layers (lowest first) into the store.
pub(crate) fn image(store: &Store, name: Option<&str>, layers: &[Vec<u8>]) -> ImageRecord {
    let mut image_layers = Vec::new();
    for archive in layers {
        unpack(store, archive).unwrap();
        let blob = store.put_blob(archive).unwrap();
        image_layers.push(ImageLayer { diff_id: Digest::of(archive), blob: Some(blob), media_type: None });
    }
    let config = format!("{{\"layers\":{}}}", serde_json::to_string(&image_layers).unwrap());
    let manifest = store.put_blob(format!("manifest of {config}").as_bytes()).unwrap();
    let record = ImageRecord {
        version: 1,
        id: ImageId::of(config.as_bytes()),
        manifest: Some(manifest),
        manifests: Vec::new(),
        layers: image_layers,
        attributes: None,
        size: 0,
        created: None,
        architecture: "amd64".into(),
        os: "linux".into(),
        variant: None,
        labels: std::collections::BTreeMap::new(),
        list: false,
        sources: std::collections::BTreeMap::new(),
    };
    loop {
        let record = store.put_image(record.clone(), config.as_bytes()).unwrap();
        match name.map(|name| store.tag(name, &record.id, record.manifest.clone())) {
            // Another process removed it in between.
            Some(Err(super::Error::NotFound { .. })) => {}
            Some(Err(error)) => panic!("{error:?}"),
            Some(Ok(_)) | None => return record,
        }
    }
}
