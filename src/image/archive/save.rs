//! Save: images of the store into a file or folder.
//!
//! Configs are written byte for byte, so an image keeps its id on every way out and in. Layers are written as they
//! were pulled; where a format or the caller wants them plain, they are decompressed while they are written, and plain
//! ones are compressed for the formats that have them so. Manifests are kept where nothing about them changes.

use std::fs::File;
use std::io::{BufWriter, Seek as _, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::layout::REF_NAME;
use super::output::{FolderOutput, Output, PIECE, Problem, Saved, TarOutput, copy, plain};
use super::side_by_side::{self, Part};
use super::spool;
use crate::image::compress::{Settings, compress};
use crate::image::encryption::{EncryptionError, EncryptionKeys, LayerCipher};
use crate::image::error::{Error, Result};
use crate::image::inflate::Inflated;
use crate::image::manifest::{Descriptor, Family, media_type};
use crate::image::outgoing::{Leaving, Outgoing, Wanted, described, layer_type, missing};
use crate::image::progress::{Event, Progress};
use crate::image::pull::Context;
use crate::image::push::Pushed;
use crate::kernel;
use crate::store::{Digest, Hasher, ImageRecord};

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
    /// skopeo's `dir:` with the image's own manifest, or for what is encrypted, which only this has, one of OCI.
    Dir,
    /// skopeo's `dir:` with an OCI manifest.
    OciManifestDir,
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
    pub names: Vec<String>,
}

/// Where it is written to.
#[derive(Debug)]
pub enum SaveTarget {
    /// A file or folder, by the format.
    Path(PathBuf),
    /// An open file, such as standard output.
    File(File),
}

/// How layers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveLayers {
    /// As the format usually has them: plain ones of an OCI layout are compressed.
    Usual,
    /// Plain.
    Plain,
    /// Plain ones are compressed so; with the mark all others, too.
    Compressed(Settings, bool),
}

/// What to save.
#[derive(Debug)]
pub struct SaveRequest {
    /// The images; several only with [`SaveFormat::DockerArchive`].
    pub images: Vec<SaveImage>,
    /// The format.
    pub format: SaveFormat,
    /// The layers.
    pub layers: SaveLayers,
    /// Whom they are encrypted for.
    pub encryption: EncryptionKeys,
    /// Where to.
    pub target: SaveTarget,
}

/// Writes the images; returns the digest of the last manifest.
///
/// # Errors
/// When an image is not whole, or the target cannot be written.
pub fn save(context: Context<'_>, request: SaveRequest, progress: &mut dyn Progress) -> Result<Digest> {
    let shown = match &request.target {
        SaveTarget::Path(path) => Some(path.clone()),
        SaveTarget::File(_) => None,
    };
    let mut images = Vec::new();
    for image in request.images {
        images.push(Named { names: image.names, image: Outgoing::read(context.store, image.record)? });
    }
    progress.event(Event::Source);
    let format = match request.format {
        format if request.encryption.is_empty() => format,
        SaveFormat::DockerArchive | SaveFormat::DockerDir => {
            return Err(Error::Options("images in Docker's formats cannot be encrypted: use an OCI format"));
        }
        SaveFormat::Dir => SaveFormat::OciManifestDir,
        format => format,
    };
    let saver = Saver { context, images: &images, layers: request.layers, encryption: &request.encryption };
    let written = match (format, request.target) {
        (SaveFormat::OciDir, SaveTarget::Path(path)) => saver.folder(&path, progress, &Saver::oci),
        (SaveFormat::DockerDir, SaveTarget::Path(path)) => saver.folder(&path, progress, &Saver::docker_dir),
        (SaveFormat::Dir, SaveTarget::Path(path)) => saver.folder(&path, progress, &Saver::dir),
        (SaveFormat::OciManifestDir, SaveTarget::Path(path)) => {
            saver.folder(&path, progress, &Saver::oci_dir)
        }
        (SaveFormat::DockerArchive, target) => saver.archive(target, progress, &Saver::docker_archive),
        (SaveFormat::OciArchive, target) => saver.archive(target, progress, &Saver::oci),
        (_, SaveTarget::File(_)) => {
            return Err(Error::Options("a folder cannot be written to standard output: use -o"));
        }
    };
    written.map_err(|problem| problem.of(shown))
}

/// An image with the names that it gets.
pub(super) struct Named {
    names: Vec<String>,
    image: Outgoing,
}

#[derive(Clone, Copy)]
pub(super) struct Saver<'s> {
    pub(super) context: Context<'s>,
    pub(super) images: &'s [Named],
    pub(super) layers: SaveLayers,
    pub(super) encryption: &'s EncryptionKeys,
}

/// Writes everything to an output in one of the formats.
type Format<'f, 's> = &'f dyn Fn(&Saver<'s>, &mut dyn Output, &mut dyn Progress) -> Saved<Digest>;

impl<'s> Saver<'s> {
    pub(super) fn archive(
        &self,
        target: SaveTarget,
        progress: &mut dyn Progress,
        format: Format<'_, 's>,
    ) -> Saved<Digest> {
        let (file, path) = match target {
            SaveTarget::File(file) => (file, None),
            SaveTarget::Path(path) => {
                let file = File::create(&path).map_err(|error| kernel::Error::path("open", &path, error))?;
                (file, Some(path))
            }
        };
        let is_regular = file.metadata().is_ok_and(|meta| meta.is_file());
        let written = (|| {
            // What was opened elsewhere may be open for appending.
            let own = if path.is_some() && is_regular { Some(file.try_clone()?) } else { None };
            let mut out = TarOutput::new(BufWriter::with_capacity(PIECE, &file), own);
            let digest = format(self, &mut out, progress)?;
            out.writer.finish()?.flush()?;
            Ok(digest)
        })();
        if let (Err(_), Some(path), true) = (&written, &path, is_regular) {
            // Half an archive helps nobody; the error that counts is the one above.
            let _ = std::fs::remove_file(path);
        }
        written
    }

    pub(super) fn folder(
        &self,
        path: &Path,
        progress: &mut dyn Progress,
        format: Format<'_, 's>,
    ) -> Saved<Digest> {
        if path.is_file() {
            let there = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(kernel::Error::path("mkdir", path, there).into());
        }
        format(self, &mut FolderOutput(path.to_owned()), progress)
    }

    fn docker_archive(&self, out: &mut dyn Output, progress: &mut dyn Progress) -> Saved<Digest> {
        let mut list = Vec::new();
        let mut digest = Digest::of(b"");
        let mut written = std::collections::HashSet::new();
        let mut parts = Vec::new();
        for Named { names, image } in self.images {
            let mut layers = Vec::new();
            for (at, diff_id) in image.config.rootfs.diff_ids.iter().enumerate() {
                let name = format!("{}.tar", diff_id.hex());
                if written.insert(name.clone()) {
                    let size = self.plain_size(image, diff_id)?;
                    match out.reserve(&name, size)? {
                        None => self.plain_layer(image, at, &name, out, progress)?,
                        Some(place) => {
                            let source = self.blob(&image.record, &image.manifest.layers[at].digest)?;
                            parts.push(Part { source, place, digest: diff_id.clone(), size });
                        }
                    }
                }
                layers.push(name);
            }
            let config = format!("{}.json", image.record.id);
            progress.event(Event::Config(&image.record.id.digest()));
            if written.insert(config.clone()) {
                out.bytes(&config, &image.config_bytes)?;
            }
            list.push(json!({ "Config": config, "RepoTags": names, "Layers": layers }));
            digest = Digest::of(&image.manifest_bytes);
        }
        side_by_side::write(parts, progress)?;
        progress.event(Event::Manifest);
        out.bytes("manifest.json", &serde_json::to_vec(&list).expect("a list serialises"))?;
        Ok(digest)
    }

    fn oci(&self, out: &mut dyn Output, progress: &mut dyn Progress) -> Saved<Digest> {
        let Named { names, image } = &self.images[0];
        let written = self.member(image, Family::Oci, &Naming::LAYOUT, out, progress)?;
        finish_layout(&written.manifest, names, out)?;
        Ok(written.manifest.digest)
    }

    /// Writes an image with its manifest.
    pub(super) fn member(
        &self,
        image: &Outgoing,
        family: Family,
        naming: &Naming,
        out: &mut dyn Output,
        progress: &mut dyn Progress,
    ) -> Saved<Pushed> {
        let layers = self.all_layers(image, naming.usual, &naming.blob, out, progress)?;
        let has_zstd = layers
            .iter()
            .any(|layer| layer_type(&layer.media_type, Family::Oci) == media_type::OCI_LAYER_ZSTD);
        let config = &image.manifest.config.digest;
        progress.event(Event::Config(config));
        let size = image.config_bytes.len() as u64;
        if !out.has(&(naming.blob)(config), size) {
            out.bytes(&(naming.blob)(config), &image.config_bytes)?;
        }
        let (bytes, family) = image.manifest_with(layers, family);
        let digest = Digest::of(&bytes);
        progress.event(Event::Manifest);
        let name = (naming.manifest)(&digest);
        if !out.has(&name, bytes.len() as u64) {
            out.bytes(&name, &bytes)?;
        }
        Ok(Pushed { manifest: Descriptor::new(family.manifest_type(), digest, bytes.len() as u64), has_zstd })
    }

    fn docker_dir(&self, out: &mut dyn Output, progress: &mut dyn Progress) -> Saved<Digest> {
        self.dir_of(Family::Docker, out, progress)
    }

    fn oci_dir(&self, out: &mut dyn Output, progress: &mut dyn Progress) -> Saved<Digest> {
        self.dir_of(Family::Oci, out, progress)
    }

    fn dir(&self, out: &mut dyn Output, progress: &mut dyn Progress) -> Saved<Digest> {
        self.dir_of(self.images[0].image.manifest.family, out, progress)
    }

    fn dir_of(&self, family: Family, out: &mut dyn Output, progress: &mut dyn Progress) -> Saved<Digest> {
        let Named { image, .. } = &self.images[0];
        let written = self.member(image, family, &Naming::DIR, out, progress)?;
        out.bytes("version", DIR_VERSION)?;
        Ok(written.manifest.digest)
    }

    /// Writes each layer once; `usual` is how the format has plain ones.
    fn all_layers(
        &self,
        image: &Outgoing,
        usual: Option<Settings>,
        name: &fn(&Digest) -> String,
        out: &mut dyn Output,
        progress: &mut dyn Progress,
    ) -> Saved<Vec<Descriptor>> {
        let leaving = match (self.layers, usual) {
            (SaveLayers::Compressed(settings, true), _) => image.leaving(Wanted::All(settings)),
            (SaveLayers::Compressed(settings, false), _) | (SaveLayers::Usual, Some(settings)) => {
                image.leaving(Wanted::Plain(settings))
            }
            (SaveLayers::Usual, None) => image.manifest.layers.iter().cloned().map(Leaving::AsIs).collect(),
            (SaveLayers::Plain, _) => return self.all_plain(image, name, out, progress),
        };
        let chosen =
            self.encryption.chosen(leaving.len()).map_err(|error| Problem::Image(Box::new(error.into())))?;
        let leaving: Vec<(Leaving, bool)> = leaving.into_iter().zip(chosen).collect();
        let mut done: Vec<Descriptor> = Vec::new();
        for (at, both @ (layer, is_encrypted)) in leaving.iter().enumerate() {
            if let Some(known) = leaving[..at].iter().position(|other| other == both) {
                done.push(done[known].clone());
                continue;
            }
            let (mut descriptor, mut file) = match layer {
                Leaving::AsIs(descriptor) => {
                    (descriptor.clone(), self.blob(&image.record, &descriptor.digest)?)
                }
                Leaving::Encoded { blob, diff_id, settings } => {
                    progress.event(Event::BlobStarted { digest: diff_id, size: None, offset: 0 });
                    self.encode(image, blob, *settings)?
                }
            };
            if *is_encrypted {
                (descriptor, file) = self.seal(&descriptor, &mut file)?;
            }
            self.layer(&descriptor, &mut file, &name(&descriptor.digest), out, progress)?;
            done.push(descriptor);
        }
        Ok(done)
    }

    fn all_plain(
        &self,
        image: &Outgoing,
        name: &fn(&Digest) -> String,
        out: &mut dyn Output,
        progress: &mut dyn Progress,
    ) -> Saved<Vec<Descriptor>> {
        let mut done: Vec<Descriptor> = Vec::new();
        for (at, diff_id) in image.config.rootfs.diff_ids.iter().enumerate() {
            let layer =
                Descriptor::new(media_type::OCI_LAYER, diff_id.clone(), self.plain_size(image, diff_id)?);
            if !done.contains(&layer) {
                self.plain_layer(image, at, &name(diff_id), out, progress)?;
            }
            done.push(layer);
        }
        Ok(done)
    }

    /// Compresses a layer into a file without a name: its digest must be known before it is written.
    fn encode(&self, image: &Outgoing, blob: &Digest, settings: Settings) -> Saved<(Descriptor, File)> {
        let mut input = Inflated::new(self.blob(&image.record, blob)?);
        let mut file = spool::nameless(&spool::folder((self.context.config, self.context.env)))?;
        let (mut hasher, mut size) = (Hasher::sha256(), 0);
        let annotations = compress(&mut input, settings, &mut |piece| {
            hasher.update(&piece);
            size += piece.len() as u64;
            file.write_all(&piece)
        })?;
        file.rewind()?;
        Ok((described(settings.algorithm, Family::Oci, (hasher.finish(), size), annotations), file))
    }

    /// Encrypts a layer into a file without a name.
    fn seal(&self, plain: &Descriptor, input: &mut File) -> Saved<(Descriptor, File)> {
        let failed = |error: EncryptionError| Problem::Image(Box::new(error.into()));
        let cipher = LayerCipher::generate().map_err(failed)?;
        let (mut stream, mut sum, mut hasher) = (cipher.stream(0), cipher.sum(), Hasher::sha256());
        let mut file = spool::nameless(&spool::folder((self.context.config, self.context.env)))?;
        copy(input, |piece| {
            let mut piece = piece.to_vec();
            stream.apply(&mut piece);
            sum.update(&piece);
            hasher.update(&piece);
            Ok(file.write_all(&piece)?)
        })?;
        file.rewind()?;
        let media_type = layer_type(&plain.media_type, Family::Oci).to_owned();
        let plain = Descriptor { media_type, ..plain.clone() };
        let encrypted = (hasher.finish(), plain.size);
        let descriptor =
            self.encryption.describe(&plain, &cipher, &sum.finish(), encrypted).map_err(failed)?;
        Ok((descriptor, file))
    }

    /// Writes a layer as it is in `file`.
    pub(super) fn layer(
        &self,
        layer: &Descriptor,
        file: &mut File,
        name: &str,
        out: &mut dyn Output,
        progress: &mut dyn Progress,
    ) -> Saved {
        if out.has(name, layer.size) {
            progress.event(Event::BlobSkipped(&layer.digest));
            return Ok(());
        }
        progress.event(Event::BlobStarted { digest: &layer.digest, size: Some(layer.size), offset: 0 });
        out.file(name, layer.size, &mut |out| {
            let mut position = 0;
            copy(file, |piece| {
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
        let mut file = self.blob(&image.record, &image.manifest.layers[at].digest)?;
        out.file(name, size, &mut |out| {
            plain(&mut file, &mut |piece, position| {
                out.write_all(piece)?;
                progress.event(Event::BlobProgress { digest: diff_id, position });
                Ok(())
            })
        })?;
        progress.event(Event::BlobDone(diff_id));
        Ok(())
    }

    fn plain_size(&self, image: &Outgoing, diff_id: &Digest) -> Saved<u64> {
        let layer =
            self.context.store.layer(diff_id).map_err(|error| Problem::Image(Box::new(error.into())))?;
        let layer =
            layer.ok_or_else(|| Problem::Image(Box::new(missing(&image.record, "layer", diff_id))))?;
        Ok(layer.record().archive_size)
    }

    pub(super) fn blob(&self, image: &ImageRecord, digest: &Digest) -> Saved<File> {
        let file = self.context.store.blob(digest).map_err(|error| Problem::Image(Box::new(error.into())))?;
        file.ok_or_else(|| Problem::Image(Box::new(missing(image, "blob", digest))))
    }
}

/// How files are named, and how layers usually are.
#[derive(Clone, Copy)]
pub(super) struct Naming {
    /// Plain layers are compressed so.
    usual: Option<Settings>,
    /// Blobs.
    pub(super) blob: fn(&Digest) -> String,
    /// The manifests of images.
    pub(super) manifest: fn(&Digest) -> String,
}

/// The mark of a `dir:`.
pub(super) const DIR_VERSION: &[u8] = b"Directory Transport Version: 1.1\n";

impl Naming {
    /// An OCI layout.
    pub(super) const LAYOUT: Self =
        Self { usual: Some(Settings::DEFAULT), blob: in_layout, manifest: in_layout };
    /// A `dir:` of one image.
    const DIR: Self = Self { usual: None, blob: Digest::hex, manifest: |_| "manifest.json".to_owned() };
    /// A `dir:` of a list.
    pub(super) const LIST_DIR: Self =
        Self { manifest: |digest| format!("{}.manifest.json", digest.hex()), ..Self::DIR };
}

fn in_layout(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// Has the index of a layout lead to `top`.
pub(super) fn finish_layout(top: &Descriptor, names: &[String], out: &mut dyn Output) -> Saved {
    let entry = |name: Option<&String>| {
        let mut entry = json!({ "mediaType": top.media_type, "digest": top.digest, "size": top.size });
        if let Some(name) = name {
            entry["annotations"] = json!({ REF_NAME: name });
        }
        entry
    };
    let entries: Vec<_> = match names {
        [] => vec![entry(None)],
        names => names.iter().map(|name| entry(Some(name))).collect(),
    };
    let index = merged(out.existing("index.json"), entries);
    out.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    out.bytes("index.json", &serde_json::to_vec(&index).expect("an index serialises"))
}

/// An index with `entries`, which replace those of the same name in the one that is there.
fn merged(existing: Option<Vec<u8>>, entries: Vec<Value>) -> Value {
    let existing = existing.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let old = existing.as_ref().and_then(|index| index["manifests"].as_array()).cloned().unwrap_or_default();
    let name = |entry: &Value| entry["annotations"][REF_NAME].clone();
    let replaced = |old: &Value| {
        entries.iter().any(|entry| {
            name(entry) == name(old) && (!name(old).is_null() || entry["digest"] == old["digest"])
        })
    };
    let kept: Vec<Value> = old.into_iter().filter(|old| !replaced(old)).collect();
    json!({ "schemaVersion": 2, "manifests": kept.into_iter().chain(entries).collect::<Vec<_>>() })
}
