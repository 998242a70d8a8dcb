//! Save: images of the store into a file or folder.
//!
//! Configs are written byte for byte, so an image keeps its id on every way out and in. Layers are written as they
//! were pulled; where a format or the caller wants them plain, they are decompressed while they are written. Manifests
//! are kept where they are of the family that the format asks for, and otherwise written with the other media types.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::ArchiveError;
use super::layout::REF_NAME;
use crate::image::decompress::{Decompressor, Failure, Sink};
use crate::image::error::{Error, Result};
use crate::image::manifest::{Descriptor, Family, Manifest, media_type};
use crate::image::outgoing::{Outgoing, layer_type, missing};
use crate::image::progress::{Event, Progress};
use crate::image::reference::Reference;
use crate::kernel;
use crate::store::tar::{Header, Kind, Writer};
use crate::store::{Digest, ImageRecord, Store};

const PIECE: usize = 256 << 10;

/// What `save` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveFormat {
    /// `docker save`.
    DockerArchive,
    /// An OCI layout in an archive.
    OciArchive,
    /// An OCI layout in a folder.
    OciDir,
    /// skopeo's `dir:` with a Docker manifest.
    DockerDir,
}

impl std::str::FromStr for SaveFormat {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "docker-archive" => Ok(Self::DockerArchive),
            "oci-archive" => Ok(Self::OciArchive),
            "oci-dir" => Ok(Self::OciDir),
            "docker-dir" => Ok(Self::DockerDir),
            other => Err(format!("unsupported format {other:?} for saving images")),
        }
    }
}

/// One image to save.
#[derive(Debug, Clone, PartialEq)]
pub struct SaveImage {
    /// The image.
    pub record: ImageRecord,
    /// The names that it gets in the archive.
    pub names: Vec<Reference>,
}

/// Where it is written to.
#[derive(Debug)]
pub enum SaveTarget {
    /// A file or folder, by the format.
    Path(PathBuf),
    /// An open file, such as standard output.
    File(File),
}

/// What to save.
#[derive(Debug)]
pub struct SaveRequest {
    /// The images; several only with [`SaveFormat::DockerArchive`].
    pub images: Vec<SaveImage>,
    /// The format.
    pub format: SaveFormat,
    /// Layers of OCI formats are written uncompressed.
    pub uncompressed: bool,
    /// Where to.
    pub target: SaveTarget,
}

/// Writes the images.
pub fn save(store: &Store, request: SaveRequest, progress: &mut dyn Progress) -> Result<()> {
    let shown = match &request.target {
        SaveTarget::Path(path) => Some(path.clone()),
        SaveTarget::File(_) => None,
    };
    let mut images = Vec::new();
    for image in request.images {
        images.push(Loaded { names: image.names, image: Outgoing::read(store, image.record)? });
    }
    let saver = Saver { store, images: &images, uncompressed: request.uncompressed };
    let written = match (request.format, request.target) {
        (SaveFormat::OciDir, SaveTarget::Path(path)) => saver.folder(&path, progress, Saver::oci),
        (SaveFormat::DockerDir, SaveTarget::Path(path)) => saver.folder(&path, progress, Saver::docker_dir),
        (SaveFormat::OciDir | SaveFormat::DockerDir, SaveTarget::File(_)) => {
            return Err(Error::Options("a folder cannot be written to standard output: use -o"));
        }
        (SaveFormat::DockerArchive, target) => saver.archive(target, progress, Saver::docker_archive),
        (SaveFormat::OciArchive, target) => saver.archive(target, progress, Saver::oci),
    };
    written.map_err(|problem| match problem {
        Problem::Archive(error) => Error::Archive { path: shown, source: Box::new(error) },
        Problem::Image(error) => *error,
    })
}

/// An image with the names that it gets.
struct Loaded {
    names: Vec<Reference>,
    image: Outgoing,
}

enum Problem {
    Archive(ArchiveError),
    Image(Box<Error>),
}

impl<E: Into<ArchiveError>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Archive(error.into())
    }
}

type Saved = std::result::Result<(), Problem>;

/// Takes files one after the other.
trait Output {
    /// Writes a file of exactly `size` bytes.
    fn file(&mut self, name: &str, size: u64, fill: &mut dyn FnMut(&mut dyn Write) -> Saved) -> Saved;
}

impl dyn Output + '_ {
    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Saved {
        self.file(name, bytes.len() as u64, &mut |out| Ok(out.write_all(bytes)?))
    }
}

#[derive(Clone, Copy)]
struct Saver<'s> {
    store: &'s Store,
    images: &'s [Loaded],
    uncompressed: bool,
}

/// Writes everything to an output in one of the formats.
type Format<'s> = fn(&Saver<'s>, &mut dyn Output, &mut dyn Progress) -> Saved;

impl<'s> Saver<'s> {
    fn archive(&self, target: SaveTarget, progress: &mut dyn Progress, format: Format<'s>) -> Saved {
        let (file, path) = match target {
            SaveTarget::File(file) => (file, None),
            SaveTarget::Path(path) => {
                let file = File::create(&path).map_err(|error| kernel::Error::path("open", &path, error))?;
                (file, Some(path))
            }
        };
        let is_regular = file.metadata().is_ok_and(|meta| meta.is_file());
        let written = (|| {
            let mut out = TarOutput(Writer::new(BufWriter::with_capacity(PIECE, &file)));
            format(self, &mut out, progress)?;
            out.0.finish()?.flush()?;
            Ok(())
        })();
        if let (Err(_), Some(path), true) = (&written, &path, is_regular) {
            // Half an archive helps nobody; the error that counts is the one above.
            let _ = std::fs::remove_file(path);
        }
        written
    }

    fn folder(&self, path: &Path, progress: &mut dyn Progress, format: Format<'s>) -> Saved {
        if path.is_file() {
            let there = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(kernel::Error::path("mkdir", path, there).into());
        }
        format(self, &mut FolderOutput(path.to_owned()), progress)
    }

    fn docker_archive(&self, out: &mut dyn Output, progress: &mut dyn Progress) -> Saved {
        let mut list = Vec::new();
        let mut written = std::collections::HashSet::new();
        for Loaded { names, image } in self.images {
            let mut layers = Vec::new();
            for (at, diff_id) in image.config.rootfs.diff_ids.iter().enumerate() {
                let name = format!("{}.tar", diff_id.hex());
                if written.insert(name.clone()) {
                    self.plain_layer(image, at, &name, out, progress)?;
                }
                layers.push(name);
            }
            let config = format!("{}.json", image.record.id);
            progress.event(Event::Config(&image.record.id.digest()));
            if written.insert(config.clone()) {
                out.bytes(&config, &image.config_bytes)?;
            }
            let tags: Vec<String> = names.iter().map(ToString::to_string).collect();
            list.push(json!({ "Config": config, "RepoTags": tags, "Layers": layers }));
        }
        progress.event(Event::Manifest);
        out.bytes("manifest.json", &serde_json::to_vec(&list).expect("a list serialises"))
    }

    fn oci(&self, out: &mut dyn Output, progress: &mut dyn Progress) -> Saved {
        let Loaded { names, image } = &self.images[0];
        let blob = |digest: &Digest| format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        let mut written = std::collections::HashSet::new();
        let mut manifest = Manifest { family: Family::Oci, ..image.manifest.clone() };
        media_type::OCI_CONFIG.clone_into(&mut manifest.config.media_type);
        for (at, layer) in manifest.layers.iter_mut().enumerate() {
            if self.uncompressed {
                let diff_id = &image.config.rootfs.diff_ids[at];
                layer.digest = diff_id.clone();
                layer.size = self.plain_size(image, diff_id)?;
                media_type::OCI_LAYER.clone_into(&mut layer.media_type);
            } else {
                layer.media_type = layer_type(&layer.media_type, Family::Oci).to_owned();
            }
            let name = blob(&layer.digest);
            if !written.insert(name.clone()) {
                continue;
            }
            if self.uncompressed {
                self.plain_layer(image, at, &name, out, progress)?;
            } else {
                self.layer(image, layer, &name, out, progress)?;
            }
        }
        progress.event(Event::Config(&manifest.config.digest));
        out.bytes(&blob(&manifest.config.digest), &image.config_bytes)?;
        let bytes =
            if manifest == image.manifest { image.manifest_bytes.clone() } else { manifest.to_json() };
        let digest = Digest::of(&bytes);
        progress.event(Event::Manifest);
        out.bytes(&blob(&digest), &bytes)?;
        let entry = |name: Option<&Reference>| {
            let mut entry =
                json!({ "mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": bytes.len() });
            if let Some(name) = name {
                entry["annotations"] = json!({ REF_NAME: name.to_string() });
            }
            entry
        };
        let entries: Vec<_> = match names.as_slice() {
            [] => vec![entry(None)],
            names => names.iter().map(|name| entry(Some(name))).collect(),
        };
        out.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let index = json!({ "schemaVersion": 2, "manifests": entries });
        out.bytes("index.json", &serde_json::to_vec(&index).expect("an index serialises"))
    }

    fn docker_dir(&self, out: &mut dyn Output, progress: &mut dyn Progress) -> Saved {
        let Loaded { image, .. } = &self.images[0];
        let mut manifest = Manifest { family: Family::Docker, ..image.manifest.clone() };
        media_type::DOCKER_CONFIG.clone_into(&mut manifest.config.media_type);
        let mut written = std::collections::HashSet::new();
        for layer in &mut manifest.layers {
            layer.media_type = layer_type(&layer.media_type, Family::Docker).to_owned();
            let name = layer.digest.hex();
            if written.insert(name.clone()) {
                self.layer(image, layer, &name, out, progress)?;
            }
        }
        progress.event(Event::Config(&manifest.config.digest));
        out.bytes(&manifest.config.digest.hex(), &image.config_bytes)?;
        let bytes =
            if manifest == image.manifest { image.manifest_bytes.clone() } else { manifest.to_json() };
        progress.event(Event::Manifest);
        out.bytes("version", b"Directory Transport Version: 1.1\n")?;
        out.bytes("manifest.json", &bytes)
    }

    /// Writes a layer as it is in the store.
    fn layer(
        &self,
        image: &Outgoing,
        layer: &Descriptor,
        name: &str,
        out: &mut dyn Output,
        progress: &mut dyn Progress,
    ) -> Saved {
        progress.event(Event::BlobStarted { digest: &layer.digest, size: Some(layer.size), offset: 0 });
        let mut file = self.blob(image, &layer.digest)?;
        out.file(name, layer.size, &mut |out| {
            let mut position = 0;
            copy(&mut file, |piece| {
                out.write_all(piece)?;
                position += piece.len() as u64;
                progress.event(Event::BlobProgress { digest: &layer.digest, position });
                Ok(())
            })
        })?;
        progress.event(Event::BlobDone(&layer.digest));
        Ok(())
    }

    /// Writes a layer as a plain archive.
    fn plain_layer(
        &self,
        image: &Outgoing,
        at: usize,
        name: &str,
        out: &mut dyn Output,
        progress: &mut dyn Progress,
    ) -> Saved {
        let diff_id = &image.config.rootfs.diff_ids[at];
        let size = self.plain_size(image, diff_id)?;
        progress.event(Event::BlobStarted { digest: diff_id, size: Some(size), offset: 0 });
        let mut file = self.blob(image, &image.manifest.layers[at].digest)?;
        out.file(name, size, &mut |out| {
            let mut sink = Plain { out, position: 0, digest: diff_id, progress: &mut *progress };
            let mut decompressor = Decompressor::default();
            copy(&mut file, |piece| decompressor.push(piece, &mut sink).map_err(Problem::from))?;
            Ok(decompressor.finish(&mut sink)?)
        })?;
        progress.event(Event::BlobDone(diff_id));
        Ok(())
    }

    fn plain_size(&self, image: &Outgoing, diff_id: &Digest) -> std::result::Result<u64, Problem> {
        let layer = self.store.layer(diff_id).map_err(|error| Problem::Image(Box::new(error.into())))?;
        let layer =
            layer.ok_or_else(|| Problem::Image(Box::new(missing(&image.record, "layer", diff_id))))?;
        Ok(layer.record().archive_size)
    }

    fn blob(&self, image: &Outgoing, digest: &Digest) -> std::result::Result<File, Problem> {
        let file = self.store.blob(digest).map_err(|error| Problem::Image(Box::new(error.into())))?;
        file.ok_or_else(|| Problem::Image(Box::new(missing(&image.record, "blob", digest))))
    }
}

fn copy(file: &mut File, mut each: impl FnMut(&[u8]) -> Saved) -> Saved {
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => each(&buffer[..count])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

struct Plain<'p> {
    out: &'p mut dyn Write,
    position: u64,
    digest: &'p Digest,
    progress: &'p mut dyn Progress,
}

impl Sink for Plain<'_> {
    type Error = std::io::Error;

    fn buffer(&mut self) -> std::io::Result<Vec<u8>> {
        Ok(vec![0; PIECE])
    }

    fn take(&mut self, buffer: Vec<u8>, filled: usize) -> std::io::Result<()> {
        self.out.write_all(&buffer[..filled])?;
        self.position += filled as u64;
        self.progress.event(Event::BlobProgress { digest: self.digest, position: self.position });
        Ok(())
    }
}

impl From<Failure<std::io::Error>> for ArchiveError {
    fn from(failure: Failure<std::io::Error>) -> Self {
        match failure {
            Failure::Stream(error) => error.into(),
            Failure::Sink(error) => error.into(),
        }
    }
}

struct TarOutput<W: Write>(Writer<W>);

impl<W: Write> Output for TarOutput<W> {
    fn file(&mut self, name: &str, size: u64, fill: &mut dyn FnMut(&mut dyn Write) -> Saved) -> Saved {
        self.0.header(&Header {
            path: name.as_bytes().to_vec(),
            kind: Kind::File,
            link: Vec::new(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            size,
            mtime: (0, 0),
            device: (0, 0),
            xattrs: Vec::new(),
            sparse: false,
        })?;
        fill(&mut Body(&mut self.0))
    }
}

struct Body<'w, W: Write>(&'w mut Writer<W>);

impl<W: Write> Write for Body<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct FolderOutput(PathBuf);

impl Output for FolderOutput {
    fn file(&mut self, name: &str, _: u64, fill: &mut dyn FnMut(&mut dyn Write) -> Saved) -> Saved {
        let path = self.0.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| kernel::Error::path("mkdir", folder, error))?;
        }
        let mut file = File::create(&path).map_err(|error| kernel::Error::path("open", &path, error))?;
        fill(&mut file)
    }
}
