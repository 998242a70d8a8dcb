//! `artifact add`: files of the host into an artifact.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::mime;
use super::{
    ArtifactError, ArtifactManifest, Artifacts, Blob, CREATED, EMPTY_TYPE, Result, TITLE, media_type,
};
use crate::kernel;
use crate::store::{Digest, Hasher};

const PIECE: usize = 256 << 10;
/// The config of what has none.
pub(in crate::image) const EMPTY: &[u8] = b"{}";

/// What is added.
#[derive(Debug, Clone, Default)]
pub struct AddRequest {
    /// The artifact's name.
    pub name: String,
    /// The files.
    pub files: Vec<PathBuf>,
    /// What is said about each of them, and about a new artifact.
    pub annotations: BTreeMap<String, String>,
    /// What a new artifact is.
    pub artifact_type: String,
    /// The type of the files; guessed where it is empty.
    pub file_type: String,
    /// To one that is there.
    pub append: bool,
    /// In place of one that may be there.
    pub replace: bool,
}

impl Artifacts {
    /// Makes an artifact of files, or adds them to one; returns its digest.
    ///
    /// # Errors
    /// When there is one of that name or none, or a file cannot be read.
    pub fn add(&self, request: &AddRequest) -> Result<Digest> {
        if request.name.is_empty() {
            return Err(ArtifactError::Unnamed);
        }
        if request.append && !request.artifact_type.is_empty() {
            let text = "append option is not compatible with type option";
            return Err(ArtifactError::Options(text.to_owned()));
        }
        let _lock = self.lock()?;
        let (name, mut manifest) = match (self.find(&request.name), request.append) {
            (Ok(found), true) => (found.name, found.manifest),
            (Err(ArtifactError::NotFound(_)), false) => (request.name.clone(), empty(request)),
            (Ok(_), false) if request.replace => (request.name.clone(), empty(request)),
            (Ok(_), false) => return Err(ArtifactError::Exists(request.name.clone())),
            (Err(error), _) => return Err(error),
        };
        for file in &request.files {
            let blob = self.file(file, request, &manifest.layers)?;
            manifest.layers.push(blob);
        }
        self.write_blob(EMPTY)?;
        let bytes = serde_json::to_vec(&manifest).expect("a manifest serialises");
        self.put(&name, &bytes, &manifest.artifact_type)
    }

    /// Takes a file in.
    fn file(&self, path: &Path, request: &AddRequest, others: &[Blob]) -> Result<Blob> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let has =
            |title: &str| others.iter().any(|blob| blob.annotations.get(TITLE).is_some_and(|t| t == title));
        let mut annotations = request.annotations.clone();
        match annotations.get(TITLE) {
            Some(title) if has(title) => return Err(ArtifactError::Title),
            Some(_) => {}
            None if has(&name) => return Err(ArtifactError::FileExists(name)),
            None => {
                annotations.insert(TITLE.to_owned(), name);
            }
        }
        let failed = |error: std::io::Error| kernel::Error::path("read", path, error);
        let input = File::open(path).map_err(|error| kernel::Error::path("open", path, error))?;
        if input.metadata().is_ok_and(|meta| meta.is_dir()) {
            return Err(ArtifactError::Options(format!("{}: is a directory", path.display())));
        }
        let mut start = Vec::with_capacity(mime::SNIFFED);
        (&input).take(mime::SNIFFED as u64).read_to_end(&mut start).map_err(failed)?;
        let media_type = match request.file_type.as_str() {
            "" => mime::detect(&start),
            given => given,
        };
        let (digest, size) = self.take_in(&mut start.as_slice().chain(input), path)?;
        Ok(Blob {
            media_type: media_type.to_owned(),
            digest,
            size,
            annotations,
            data: None,
            artifact_type: None,
        })
    }

    /// Stores what `input` gives, which comes from `source`.
    fn take_in(&self, input: &mut dyn std::io::Read, source: &Path) -> Result<(Digest, u64)> {
        let mut writer = self.writer()?;
        let mut buffer = vec![0; PIECE];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return writer.finish(),
                Ok(count) => writer.write(&buffer[..count])?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(kernel::Error::path("read", source, error).into()),
            }
        }
    }

    /// Stores some bytes.
    pub(super) fn write_blob(&self, bytes: &[u8]) -> Result<(Digest, u64)> {
        let mut writer = self.writer()?;
        writer.write(bytes)?;
        writer.finish()
    }

    /// A new blob. The caller has the lock, under which there is one writer at a time.
    pub(super) fn writer(&self) -> Result<BlobWriter> {
        let folder = self.dir.join("blobs/sha256");
        let path = folder.join("new");
        // What an interrupted one has left is overwritten.
        let file = File::create(&path).map_err(|error| kernel::Error::path("open", &path, error))?;
        Ok(BlobWriter { file, path, folder, hasher: Hasher::sha256(), size: 0 })
    }
}

/// A blob that is being written.
pub(super) struct BlobWriter {
    file: File,
    path: PathBuf,
    folder: PathBuf,
    hasher: Hasher,
    size: u64,
}

impl BlobWriter {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| kernel::Error::path("write", &self.path, error).into())
    }

    /// Begins again.
    pub(super) fn restart(&mut self) -> Result<()> {
        let failed = |error| kernel::Error::path("truncate", &self.path, error);
        self.file.set_len(0).map_err(failed)?;
        std::io::Seek::rewind(&mut self.file).map_err(failed)?;
        self.hasher = Hasher::sha256();
        self.size = 0;
        Ok(())
    }

    /// Puts it in its place.
    pub(super) fn finish(self) -> Result<(Digest, u64)> {
        let digest = self.hasher.finish();
        let target = self.folder.join(digest.hex());
        self.file.sync_all().map_err(|error| kernel::Error::path("fsync", &self.path, error))?;
        std::fs::rename(&self.path, &target)
            .map_err(|error| kernel::Error::path("rename", &target, error))?;
        Ok((digest, self.size))
    }
}

/// An artifact without files.
fn empty(request: &AddRequest) -> ArtifactManifest {
    let mut annotations = request.annotations.clone();
    annotations.insert(CREATED.to_owned(), Timestamp::now().to_string());
    ArtifactManifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST.to_owned(),
        artifact_type: request.artifact_type.clone(),
        config: Blob {
            media_type: EMPTY_TYPE.to_owned(),
            digest: Digest::of(EMPTY),
            size: EMPTY.len() as u64,
            annotations: BTreeMap::new(),
            data: Some("e30=".to_owned()),
            artifact_type: None,
        },
        layers: Vec::new(),
        subject: None,
        annotations,
    }
}
