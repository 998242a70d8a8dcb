//! podman's store, read only: `containers-storage:NAME` brings an image over without a network.
//!
//! | file below the root | what |
//! |---|---|
//! | `DRIVER-images/images.json` | images: id, names, top layer |
//! | `DRIVER-images/ID/` | manifest and config; a name with other than plain characters is `=` and its base64 |
//! | `DRIVER-layers/layers.json` | layers: parent, digest and size of the archive |
//! | `DRIVER-layers/ID.tar-split.gz` | the archive without the content of its files, as JSON lines |
//! | `overlay/ID/diff`, `vfs/dir/ID` | the files |
//!
//! Each layer's archive is put together again byte for byte, so it has the digest that the config names, which the store
//! checks as always. Compressed blobs are not kept by podman: the manifest that is written has plain layers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;

use super::ArchiveError;
use super::layout::Failure;
use super::load::{Found, Packed};
use crate::image::config::ImageConfig;
use crate::image::error::Refusal;
use crate::image::inflate::Inflated;
use crate::image::manifest::{DOCUMENT_MAX, Descriptor, Document, Family, Manifest, media_type};
use crate::image::pull::write::Documents;
use crate::image::reference::{LOCALHOST, Reference, is_short_name};
use crate::kernel::file::read_limited;
use crate::kernel::path::RootDir;
use crate::store::Digest;

/// The largest table that is read.
const TABLE_MAX: u64 = 64 << 20;
/// No chain of layers is longer.
const LAYERS_MAX: usize = 500;

#[derive(Debug, Deserialize)]
struct ImageEntry {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    layer: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LayerEntry {
    id: String,
    #[serde(default)]
    parent: String,
    diff_digest: Option<Digest>,
    #[serde(default)]
    diff_size: u64,
}

/// Where one layer's archive comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rebuilt {
    split: PathBuf,
    tree: PathBuf,
    pub(super) size: u64,
}

/// The image of a name or id in the store at `root`.
pub(super) fn image(root: &Path, wanted: &str) -> Result<Found, Failure> {
    let driver = ["overlay", "vfs"]
        .into_iter()
        .find(|driver| root.join(format!("{driver}-images/images.json")).exists())
        .ok_or(ArchiveError::Refused("there is no store of podman's with images"))?;
    let images: Vec<ImageEntry> = table(root, &format!("{driver}-images/images.json"))?;
    let entry = find(&images, wanted).ok_or_else(|| ArchiveError::NoSuchImage(wanted.to_owned()))?;
    let folder = root.join(format!("{driver}-images")).join(&entry.id);
    let config_bytes = big_data(&folder, &format!("sha256:{}", entry.id))?;
    let config = ImageConfig::parse(&config_bytes).map_err(Refusal::Config)?;
    let layers = chain(root, driver, &entry.layer)?;
    let diff_ids = &config.rootfs.diff_ids;
    if layers.len() != diff_ids.len() {
        return Err(Refusal::LayerCount { layers: layers.len(), diff_ids: diff_ids.len() }.into());
    }
    let family = match Document::parse(&big_data(&folder, "manifest")?, None).map_err(Refusal::Manifest)? {
        Document::Manifest(manifest) => manifest.family,
        Document::Index(_) => return Err(ArchiveError::Refused("it is a list of images").into()),
    };
    let (config_type, layer_type) = match family {
        Family::Oci => (media_type::OCI_CONFIG, media_type::OCI_LAYER),
        Family::Docker => (media_type::DOCKER_CONFIG, media_type::DOCKER_LAYER_TAR),
    };
    let described = diff_ids.iter().zip(&layers);
    let manifest = Manifest {
        family,
        config: Descriptor::new(config_type, Digest::of(&config_bytes), config_bytes.len() as u64),
        layers: described.map(|(id, layer)| Descriptor::new(layer_type, id.clone(), layer.size)).collect(),
        annotations: BTreeMap::new(),
    };
    let manifest_bytes = manifest.to_json();
    let top = Digest::of(&manifest_bytes);
    let documents = Documents {
        image: wanted.to_owned(),
        manifest_bytes,
        manifest_digest: top.clone(),
        manifest,
        indexes: vec![],
        config_bytes,
        config,
    };
    let contents = layers.into_iter().map(super::bring::Supply::Rebuilt).collect();
    Ok(Found { top, names: entry.names.clone(), image: Packed { documents, contents } })
}

/// A full or short name, or the beginning of an id.
fn find<'i>(images: &'i [ImageEntry], wanted: &str) -> Option<&'i ImageEntry> {
    let full = |name: &str| Reference::parse(name).ok().map(|name| name.with_default_tag().to_string());
    let mut names: Vec<String> = full(wanted).into_iter().collect();
    if is_short_name(wanted) {
        names.extend(full(&format!("{LOCALHOST}/{wanted}")));
    }
    let by_name = names.iter().find_map(|name| images.iter().find(|image| image.names.contains(name)));
    let id = wanted.strip_prefix('@').unwrap_or(wanted);
    let is_id = id.len() >= 3 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    by_name.or_else(|| images.iter().find(|image| is_id && image.id.starts_with(id)))
}

/// The layers of an image, lowest first.
fn chain(root: &Path, driver: &str, top: &str) -> Result<Vec<Rebuilt>, Failure> {
    let layers: Vec<LayerEntry> = table(root, &format!("{driver}-layers/layers.json"))?;
    let mut found = Vec::new();
    let mut next = top.to_owned();
    while !next.is_empty() {
        let layer = layers
            .iter()
            .find(|layer| layer.id == next && layer.diff_digest.is_some())
            .ok_or_else(|| ArchiveError::Missing(format!("layer {next}")))?;
        // The id becomes a part of paths.
        if !layer.id.bytes().all(|byte| byte.is_ascii_alphanumeric()) || found.len() >= LAYERS_MAX {
            return Err(ArchiveError::Refused("the list of layers is damaged").into());
        }
        let tree = match driver {
            "vfs" => root.join("vfs/dir").join(&layer.id),
            driver => root.join(driver).join(&layer.id).join("diff"),
        };
        let split = root.join(format!("{driver}-layers/{}.tar-split.gz", layer.id));
        found.push(Rebuilt { split, tree, size: layer.diff_size });
        next.clone_from(&layer.parent);
    }
    found.reverse();
    Ok(found)
}

fn table<T: serde::de::DeserializeOwned>(root: &Path, name: &str) -> Result<T, ArchiveError> {
    let bytes = read_limited(&root.join(name), TABLE_MAX)?;
    serde_json::from_slice(&bytes).map_err(|source| ArchiveError::Json { name: name.to_owned(), source })
}

fn big_data(folder: &Path, name: &str) -> Result<Vec<u8>, ArchiveError> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let file = if is_plain { name.to_owned() } else { format!("={}", BASE64.encode(name)) };
    Ok(read_limited(&folder.join(file), DOCUMENT_MAX)?)
}

impl Rebuilt {
    /// The archive from its beginning.
    pub(super) fn open(&self) -> io::Result<impl Read + Send + use<>> {
        let broken = |error: crate::kernel::Error| io::Error::other(error.to_string());
        let tree = RootDir::open(&self.tree).map_err(broken)?;
        let lines = BufReader::new(Inflated::new(File::open(&self.split)?));
        Ok(Rebuilding { lines, tree, bytes: io::Cursor::new(Vec::new()), file: None })
    }
}

/// One line of the archive's description.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: u32,
    #[serde(default)]
    name: Option<String>,
    /// A name that is no text.
    #[serde(default)]
    name_raw: Option<String>,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    payload: Option<String>,
}

/// An archive that is put together while it is read.
struct Rebuilding<R> {
    lines: R,
    tree: RootDir,
    /// Headers and padding.
    bytes: io::Cursor<Vec<u8>>,
    /// Content, with what of it must still come.
    file: Option<io::Take<File>>,
}

impl<R: BufRead> Rebuilding<R> {
    /// Takes the next line; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        let mut text = String::new();
        if self.lines.by_ref().take(TABLE_MAX).read_line(&mut text)? == 0 {
            return Ok(false);
        }
        let line: Line = serde_json::from_str(&text)?;
        let decode = |text: Option<String>| {
            BASE64
                .decode(text.unwrap_or_default())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        };
        match (line.kind, line.size) {
            (2, _) => self.bytes = io::Cursor::new(decode(line.payload)?),
            (1, 0) => {}
            (1, size) => {
                let name = match line.name {
                    Some(name) => name.into_bytes(),
                    None => decode(line.name_raw)?,
                };
                let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(name.as_slice());
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                let file = self.tree.open_file(name, flags, Mode::empty());
                let file = file.map_err(|error| io::Error::other(error.to_string()))?;
                self.file = Some(file.take(size));
            }
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "an entry of an unknown kind")),
        }
        Ok(true)
    }
}

impl<R: BufRead> Read for Rebuilding<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.file {
                match file.read(buffer)? {
                    0 if file.limit() > 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    0 => self.file = None,
                    count => return Ok(count),
                }
            }
            match self.bytes.read(buffer)? {
                0 if self.next()? => {}
                count => return Ok(count),
            }
        }
    }
}
