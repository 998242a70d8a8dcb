//! `builtin:hello`: an image without a registry, made of the running program itself.
//!
//! One layer holds a copy of the executable at `/rbox` and the directories that a container wants. It is a
//! copy and never a hard link: container root owns the file and could write to the user's program through
//! it. Made again when the program changed, which its device, inode, size and time tell.

use std::fs::{File, Metadata};
use std::io::{Cursor, Read, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::error::{Error, Result};
use super::record::VERSION;
use super::tar::{Header, Kind, Writer};
use super::{Hasher, ImageId, ImageLayer, ImageRecord, Store, UnpackOptions};
use crate::kernel;

/// The image's name.
pub const HELLO: &str = "builtin:hello";
/// The label that says which program the image was made from.
const IDENTITY: &str = "rbox.builtin.identity";
/// Directories of its root.
const DIRS: [(&str, u32); 7] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o555),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("root", 0o700),
];

impl Store {
    /// The image `builtin:hello` made of the program at `exe`, made now if it is not there or is of another
    /// program. `users` lists the containers of an image, so that one of an older program can go.
    pub fn builtin_image(
        &self,
        exe: &Path,
        options: &UnpackOptions,
        users: impl FnOnce(&ImageId) -> Vec<String>,
    ) -> Result<ImageRecord> {
        let fail =
            |e| Error::Kernel { action: "read the program", source: kernel::Error::path("open", exe, e) };
        let mut file = File::open(exe).map_err(fail)?;
        let meta = file.metadata().map_err(fail)?;
        let identity =
            format!("{}:{}:{}:{}.{}", meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
        let before = match self.resolve(HELLO)? {
            Some(tag) => self.image(&tag.image)?,
            None => None,
        };
        if let Some(record) = &before
            && record.labels.get(IDENTITY) == Some(&identity)
            && record.layers.iter().all(|layer| matches!(self.layer(&layer.diff_id), Ok(Some(_))))
        {
            return Ok(record.clone());
        }
        let diff_id = {
            let mut hasher = Hasher::sha256();
            let mut archive = archive(&mut file, &meta);
            let mut buffer = vec![0; 256 << 10];
            loop {
                match archive.read(&mut buffer).map_err(fail)? {
                    0 => break hasher.finish(),
                    count => hasher.update(&buffer[..count]),
                }
            }
        };
        let lock = self.lock_layer(&diff_id)?;
        if lock.present().is_none() {
            file.rewind().map_err(fail)?;
            self.unpack_layer(&lock, archive(&mut file, &meta), options)?;
        }
        let layer = ImageLayer { diff_id, blob: None, media_type: None };
        let (config, record) = describe(layer, identity, &meta);
        let record = self.put_image(record, &config)?;
        self.tag(HELLO, &record.id, None)?;
        if let Some(before) = before.filter(|before| before.id != record.id)
            && self.names_of(&before.id)?.is_empty()
        {
            match self.remove_image(&before.id, None, users) {
                Ok(_) | Err(Error::InUse { .. } | Error::NotFound { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(record)
    }
}

/// The layer as a stream: it is read twice and never held.
fn archive<'a>(file: &'a mut File, meta: &Metadata) -> impl Read + use<'a> {
    let header = |path: &str, kind, mode, size| Header {
        mtime: (meta.mtime(), 0),
        ..Header::plain(path, kind, mode, size)
    };
    let mut writer = Writer::new(Vec::new());
    let entries = DIRS.iter().map(|(name, mode)| header(&format!("{name}/"), Kind::Directory, *mode, 0));
    for entry in entries.chain([header("rbox", Kind::File, 0o755, meta.len())]) {
        writer.header(&entry).expect("a vector takes everything");
    }
    let padding = meta.len().wrapping_neg() % 512 + 1024;
    let tail = vec![0; usize::try_from(padding).expect("less than three blocks")];
    Cursor::new(writer.into_unfinished()).chain(file.take(meta.len())).chain(Cursor::new(tail))
}

fn describe(layer: ImageLayer, identity: String, meta: &Metadata) -> (Vec<u8>, ImageRecord) {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    };
    let created = jiff::Timestamp::from_second(meta.mtime()).map(|time| time.to_string()).ok();
    let config = serde_json::json!({
        "created": created,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Env": ["PATH=/"],
            "Entrypoint": ["/rbox", "internals", "hello"],
            "WorkingDir": "/",
            "Labels": { IDENTITY: identity },
        },
        "rootfs": { "type": "layers", "diff_ids": [layer.diff_id.to_string()] },
        "history": [{ "created": created, "created_by": "rbox", "comment": "the running program" }],
    });
    let config = serde_json::to_vec(&config).expect("a value serialises");
    let record = ImageRecord {
        version: VERSION,
        id: ImageId::of(&config),
        manifest: None,
        manifests: Vec::new(),
        layers: vec![layer],
        attributes: None,
        size: 0,
        created,
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        variant: None,
        labels: [(IDENTITY.to_owned(), identity)].into(),
        list: false,
        sources: std::collections::BTreeMap::new(),
    };
    (config, record)
}
